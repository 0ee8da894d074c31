//! `midwatch doctor`: is everything there that Midwatch needs, and set up as it
//! needs it?
//!
//! All probes run at once, each with a limit of its own. A probe reads only: it
//! creates no topic, writes no key and sends no mail.

mod api;
mod embedder;
mod kafka;
mod knowledge;
mod model;
mod nearest;
mod postgres;
mod redis;
mod settings;
mod smtp;

pub use nearest::nearest;
pub use settings::known as known_settings;

use crate::configuration::Configuration;
use crate::output::{self, Paint, Style};
use futures::future::{BoxFuture, join_all};
use serde::Serialize;
use std::time::{Duration, Instant};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// Works, but not as it should, or could not be looked at.
    Warn,
    /// Midwatch, or a part of it, does not work like this.
    Fail,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::Warn => "WARN",
            Status::Fail => "FAIL",
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name; stable, for programs.
    pub check: &'static str,
    pub status: Status,
    /// What was found.
    pub found: String,
    /// How to mend it; `null` where nothing is wrong.
    pub remedy: Option<String>,
    /// How long its probe took, milliseconds.
    pub took_ms: u64,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Finding {
        Finding {
            check,
            status: Status::Ok,
            found: found.into(),
            remedy: None,
            took_ms: 0,
        }
    }

    fn warn(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            status: Status::Warn,
            remedy: Some(remedy.into()),
            ..Finding::ok(check, found)
        }
    }

    fn fail(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            status: Status::Fail,
            ..Finding::warn(check, found, remedy)
        }
    }
}

/// Some checks of one system.
struct Probe {
    /// In the order in which they are shown. The first one is whether the
    /// system answers at all.
    checks: &'static [&'static str],
    limit: Duration,
    /// What to do where nothing answers within the limit.
    remedy: &'static str,
    /// What is missing in the answer could not be looked at.
    answer: BoxFuture<'static, Vec<Finding>>,
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Which configuration was looked at.
    pub configuration: String,
    /// The worst of all.
    pub status: Status,
    pub checks: Vec<Finding>,
}

/// Looks at everything.
pub async fn examine(configuration: &Configuration, api: Option<&str>) -> Report {
    let probes = vec![
        settings::probe(configuration),
        kafka::probe(configuration),
        postgres::probe(configuration),
        redis::probe(configuration),
        knowledge::probe(configuration),
        embedder::probe(configuration),
        smtp::probe(configuration),
        model::probe(configuration),
        api::probe(configuration, api),
    ];
    let found = join_all(probes.into_iter().map(run)).await;
    let mut checks: Vec<Finding> = found.into_iter().flatten().collect();
    for finding in &mut checks {
        finding.found = configuration.mask(&finding.found);
        finding.remedy = finding
            .remedy
            .take()
            .map(|remedy| configuration.mask_secrets(&remedy));
    }
    Report {
        configuration: configuration.origin.clone(),
        status: checks
            .iter()
            .map(|finding| finding.status)
            .max()
            .unwrap_or(Status::Ok),
        checks,
    }
}

async fn run(probe: Probe) -> Vec<Finding> {
    let begun = Instant::now();
    let first = probe.checks[0];
    let mut answer = match tokio::time::timeout(probe.limit, probe.answer).await {
        Ok(answer) => answer,
        Err(_) => {
            let found = format!("no answer within {} s", probe.limit.as_secs());
            vec![Finding::fail(first, found, probe.remedy)]
        }
    };
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut findings = Vec::new();
    for check in probe.checks {
        let (own, others): (Vec<_>, Vec<_>) = answer
            .into_iter()
            .partition(|finding| finding.check == *check);
        answer = others;
        if own.is_empty() {
            let remedy = format!("{first} first, then look again");
            findings.push(Finding::warn(check, "could not be looked at", remedy));
        }
        findings.extend(own);
    }
    for finding in &mut findings {
        finding.took_ms = took_ms;
    }
    findings
}

/// Columns of the status and of the name of a check, with their gaps.
const STATUS: usize = 6;
const INDENT: usize = 27;

/// The report for people.
#[must_use]
pub fn render(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    let configuration = format!("Configuration: {}", report.configuration);
    output::hang(&mut out, "", 0, &configuration);
    out.push('\n');
    for finding in &report.checks {
        let mut block = String::new();
        let name = format!("{:STATUS$}{}", finding.status.name(), finding.check);
        output::hang(&mut block, &name, INDENT, &finding.found);
        if let Some(remedy) = &finding.remedy {
            output::hang(&mut block, "", INDENT, &format!("mend: {remedy}"));
        }
        // The status stands at the very beginning and is coloured last, so
        // that no column shifts.
        let word = finding.status.name();
        let style = match finding.status {
            Status::Ok => Style::Good,
            Status::Warn => Style::Doubtful,
            Status::Fail => Style::Bad,
        };
        out.push_str(&paint.text(style, word));
        out.push_str(&block[word.len()..]);
    }
    let number = |status| {
        report
            .checks
            .iter()
            .filter(|one| one.status == status)
            .count()
    };
    out.push_str(&format!(
        "\n{} checks: {} OK, {} WARN, {} FAIL\n",
        report.checks.len(),
        number(Status::Ok),
        number(Status::Warn),
        number(Status::Fail),
    ));
    out
}

/// `3 ms` since then.
fn since(begun: Instant) -> String {
    format!("{} ms", begun.elapsed().as_millis())
}

/// At most four names, and how many more there are.
fn names<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<&str> = names.iter().take(4).map(AsRef::as_ref).collect();
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// An error with all that caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors repeat their cause.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    reason(&text)
}

/// What an error says, without what only its library's authors can use.
fn reason(text: &str) -> String {
    let refused = ["Connection refused", "ConnectionRefused"];
    if refused.iter().any(|word| text.contains(word)) {
        return "nothing listens there (connection refused)".to_owned();
    }
    let end = text.find(" MetadataMap").unwrap_or(text.len());
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_fits_eighty_columns_and_says_how_to_mend() {
        let report = Report {
            configuration: "the running demo of this checkout, and .env".to_owned(),
            status: Status::Fail,
            checks: vec![
                Finding::ok("settings", "78 variables are known, 9 are set"),
                Finding::warn(
                    "kafka-dead-letters",
                    "3 messages could not be read: raw.logs.dlq 2, incidents.opened.dlq 1",
                    "see why with `midwatch topics tail raw.logs.dlq`, or on the agents page",
                ),
                Finding::fail(
                    "redis-policy",
                    "maxmemory-policy is allkeys-lru, so Redis may drop baselines when its memory is full",
                    "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
                ),
            ],
        };
        let text = render(&report, Paint::PLAIN);
        assert!(
            text.lines()
                .all(|line| output::columns(line) <= output::WIDTH)
        );
        insta::assert_snapshot!(text);
    }

    #[tokio::test]
    async fn a_probe_that_hangs_fails_by_itself_and_leaves_the_rest_open() {
        let probe = Probe {
            checks: &["kafka", "kafka-topics"],
            limit: Duration::from_millis(10),
            remedy: "start it",
            answer: Box::pin(std::future::pending()),
        };
        let found = run(probe).await;
        let told: Vec<(&str, Status, &str)> = found
            .iter()
            .map(|one| {
                (
                    one.check,
                    one.status,
                    one.remedy.as_deref().unwrap_or_default(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("kafka", Status::Fail, "start it"),
                ("kafka-topics", Status::Warn, "kafka first, then look again"),
            ]
        );
    }

    #[test]
    fn errors_say_what_a_person_can_use() {
        let refused = "Os { code: 111, kind: ConnectionRefused, message: \"Connection refused\" }";
        assert_eq!(
            reason(refused),
            "nothing listens there (connection refused)"
        );
        assert_eq!(reason("denied MetadataMap { headers: {} }"), "denied");
        assert_eq!(reason("certificate expired"), "certificate expired");
    }

    #[test]
    fn many_names_become_some() {
        assert_eq!(names(&["a", "b"]), "a, b");
        assert_eq!(
            names(&["a", "b", "c", "d", "e", "f"]),
            "a, b, c, d and 2 more"
        );
    }
}
