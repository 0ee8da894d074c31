//! `midwatch incident start` and `midwatch incident resolve`: what people say
//! begins and ends an incident. It is recorded as what they said.

use crate::api::Api;
use crate::arguments::{IncidentCommand, Resolve, Start};
use crate::configuration::Configuration;
use crate::failure::Failure;
use crate::incidents;
use crate::operate;
use crate::output::{self, Paint, Style};
use serde_json::{Value, json};

/// The request that a command line stands for: a path and a body.
///
/// # Errors
/// The id is none.
pub fn asked(command: &IncidentCommand) -> Result<(String, Value), Failure> {
    match command {
        IncidentCommand::Start(start) => Ok(("/api/incidents".to_owned(), started(start))),
        IncidentCommand::Resolve(resolve) => {
            incidents::harmless(&resolve.id)?;
            let path = format!("/api/incidents/{}/commands", resolve.id);
            Ok((path, resolved(resolve)))
        }
    }
}

fn started(start: &Start) -> Value {
    let mut body = json!({"service": start.service, "title": start.title,
        "severity": start.severity.to_uppercase(), "force": start.force, "channel": "cli"});
    let more = [
        ("environment", &start.environment),
        ("reason", &start.reason.reason),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    body
}

fn resolved(resolve: &Resolve) -> Value {
    let mut stated = json!({"root_cause": resolve.root_cause});
    let more = [
        ("fix", resolve.fix.as_ref().map(|text| json!(text))),
        (
            "category",
            resolve.category.as_ref().map(|text| json!(text)),
        ),
        (
            "component",
            resolve.component.as_ref().map(|text| json!(text)),
        ),
        (
            "toil_minutes",
            resolve.toil_minutes.map(|minutes| json!(minutes)),
        ),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            stated[name] = value;
        }
    }
    let mut body = json!({"command": "close", "channel": "cli", "stated": stated});
    if let Some(reason) = &resolve.reason.reason {
        body["reason"] = json!(reason);
    }
    body
}

/// Asks, and answers with what the broker has.
///
/// # Errors
/// No token, or as [`Api::post`].
pub async fn ask(
    configuration: &Configuration,
    api: &Api,
    command: &IncidentCommand,
) -> Result<Value, Failure> {
    let (path, body) = asked(command)?;
    let token = operate::token(configuration)?;
    api.post(&path, &body, &token).await
}

/// What was said, for people.
#[must_use]
pub fn render(answer: &Value, paint: Paint) -> String {
    let opens = &answer["opens"]["short_id"];
    let Some(short) = opens.as_str() else {
        return operate::render(answer, paint);
    };
    let mut out = format!(
        "{}\n",
        paint.text(
            Style::Good,
            &format!("{} is being opened", output::fit(short, 12))
        )
    );
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let beside = answer["beside"].as_array().map_or(&[][..], Vec::as_slice);
    let beside: Vec<String> = beside.iter().map(|one| text(&one["short_id"])).collect();
    let values = [
        ("title", text(&answer["declared"]["title"])),
        ("severity", text(&answer["declared"]["severity"])),
        ("service", text(&answer["target"])),
        ("environment", text(&answer["environment"])),
        ("beside", beside.join(", ")),
        (
            "by",
            format!(
                "{} ({})",
                text(&answer["by"]),
                text(&answer["credential_id"])
            ),
        ),
    ];
    for (label, value) in values {
        if !value.is_empty() {
            output::hang(&mut out, label, 13, &value);
        }
    }
    let words = format!(
        "`midwatch incidents show {short}` tells how it goes on; `midwatch incident resolve {short}` ends it."
    );
    output::hang(&mut out, "", 0, &words);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::{Arguments, Command, ResponseCommand};
    use clap::Parser as _;

    fn read(words: &[&str]) -> (String, Value) {
        let arguments = Arguments::try_parse_from(words).expect("a command line");
        match arguments.command {
            Command::Respond(ResponseCommand::Incident { command }) => {
                asked(&command).expect("a request")
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_people_say_is_a_request_of_the_api() {
        let start = read(&[
            "midwatch",
            "incident",
            "start",
            "--service",
            "payment-service",
            "--title",
            "Nobody can pay",
            "--severity",
            "high",
        ]);
        assert_eq!(
            start,
            (
                "/api/incidents".to_owned(),
                json!({"service": "payment-service", "title": "Nobody can pay", "severity": "HIGH",
                    "force": false, "channel": "cli"})
            )
        );
        let (path, body) = read(&[
            "midwatch",
            "incident",
            "resolve",
            "INC-1",
            "--root-cause",
            "a certificate",
            "--fix",
            "renewed",
            "--category",
            "certificate",
            "--component",
            "gateway",
            "--toil-minutes",
            "42.5",
        ]);
        assert_eq!(path, "/api/incidents/INC-1/commands");
        assert_eq!(
            body["stated"],
            json!({"root_cause": "a certificate", "fix": "renewed", "category": "certificate",
                "component": "gateway", "toil_minutes": 42.5})
        );
        assert_eq!(body["command"], "close");
    }

    #[test]
    fn what_is_being_opened_fits_eighty_columns() {
        let answer = json!({"opens": {"short_id": "INC-A1B2C3D4"}, "beside": [{"short_id": "INC-00000001"}],
            "declared": {"title": "Nobody can pay \u{1b}[31m, nobody at all, anywhere, and it has been so for long", "severity": "HIGH"},
            "target": "payment-service", "environment": "simulation", "by": "ana", "credential_id": "sha256:0123456789ab"});
        let shown = render(&answer, Paint::PLAIN);
        assert!(
            shown
                .lines()
                .all(|line| output::columns(line) <= output::WIDTH),
            "{shown}"
        );
        assert!(!shown.contains('\u{1b}') && shown.contains("INC-00000001"));
    }
}
