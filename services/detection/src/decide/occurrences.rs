//! Findings that come as single records: a log line, a Kubernetes event.
//!
//! One (service, rule) has at most one open anomaly: its first record (or the
//! first that completes the demanded number) starts it, further ones only
//! keep it open, and it clears when none has come for a while. Coming back
//! within the same while after that opens the same anomaly again.

use crate::config::Tuning;
use crate::decide::transition::{Origin, Sketch};
use midwatch_events::anomaly::AnomalyEvidence;
use midwatch_events::{AnomalyType, Direction, Severity, Transition};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How many records, within which event time, make a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    pub times: usize,
    pub within_ms: i64,
}

/// What a record stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `log:<rule>` or `kubernetes:<kind>`.
    pub name: &'static str,
    pub kind: AnomalyType,
    pub severity: Severity,
    pub demand: Demand,
}

/// What is said of a finding where its record does not say it by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub words: String,
    /// When it began, event time.
    pub onset_ms: i64,
    /// An earlier record of its kind, shown beside the one that decided.
    pub first: Option<Quote>,
}

/// What a log line is a sign of.
#[derive(Clone, Debug, PartialEq)]
pub enum Sign {
    /// A finding that the line's own words stand for.
    Matched(Finding),
    /// A finding, and what is to be said of it.
    Found(Finding, Told),
    /// A finding that has lasted so long that it is usual from now on.
    Accepted(Finding, String),
}

impl Sign {
    #[must_use]
    pub fn finding(&self) -> &Finding {
        match self {
            Sign::Matched(finding) | Sign::Found(finding, _) | Sign::Accepted(finding, _) => {
                finding
            }
        }
    }
}

/// A record that a rule matched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quote {
    pub at_ms: i64,
    /// At most 500 characters of it.
    pub text: String,
    pub event_id: Uuid,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OpenFinding {
    anomaly_id: Uuid,
    kind: AnomalyType,
    severity: Severity,
    onset_ms: i64,
    count: u32,
    last: Quote,
}

/// What is known about one (service, rule).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Occurrences {
    /// Records towards the demanded number, oldest first.
    hits: Vec<Quote>,
    /// Silence clock at the last record.
    heard_ms: i64,
    open: Option<OpenFinding>,
    /// (anomaly id, silence clock when it cleared).
    closed: Option<(Uuid, i64)>,
}

/// How long a finding of this name stays open without another record.
#[must_use]
pub fn quiet_ms(name: &str, tuning: &Tuning) -> i64 {
    if name.starts_with("log:") {
        tuning.log_dedup_ms
    } else {
        tuning.kubernetes_clear_ms
    }
}

fn score(severity: Severity) -> f64 {
    match severity {
        Severity::Critical => 0.95,
        Severity::High => 0.8,
        Severity::Medium => 0.6,
        Severity::Low => 0.4,
    }
}

impl Occurrences {
    /// Takes in a matching record. `silence_ms` is the silence clock, `what`
    /// the record's kind (`log`, `kubernetes`).
    pub fn record(
        &mut self,
        origin: &Origin<'_>,
        finding: &Finding,
        quote: Quote,
        silence_ms: i64,
        what: &str,
    ) -> Option<Sketch> {
        self.record_told(origin, finding, quote, None, silence_ms, what)
    }

    /// Takes in a log line that is a sign of this finding.
    pub fn sign(
        &mut self,
        origin: &Origin<'_>,
        sign: Sign,
        quote: Quote,
        silence_ms: i64,
    ) -> Option<Sketch> {
        match sign {
            Sign::Matched(finding) => self.record(origin, &finding, quote, silence_ms, "log"),
            Sign::Found(finding, told) => {
                self.record_told(origin, &finding, quote, Some(told), silence_ms, "log")
            }
            Sign::Accepted(_, words) => self.accept(origin, quote, &words, silence_ms, "log"),
        }
    }

    /// As [`Occurrences::record`], with what is to be said of the record.
    pub fn record_told(
        &mut self,
        origin: &Origin<'_>,
        finding: &Finding,
        quote: Quote,
        told: Option<Told>,
        silence_ms: i64,
        what: &str,
    ) -> Option<Sketch> {
        if self.open.is_some() {
            return self.go_on(origin, finding, quote, told.as_ref(), silence_ms, what);
        }
        let demand = finding.demand;
        if self.hits.iter().any(|hit| hit.event_id == quote.event_id) {
            return None;
        }
        self.heard_ms = silence_ms;
        self.hits.push(quote.clone());
        let newest_ms = self
            .hits
            .iter()
            .map(|hit| hit.at_ms)
            .max()
            .unwrap_or(quote.at_ms);
        self.hits
            .retain(|hit| newest_ms - hit.at_ms <= demand.within_ms);
        if self.hits.len() < demand.times {
            return None;
        }
        let hits = std::mem::take(&mut self.hits);
        let first = hits.iter().min_by_key(|hit| hit.at_ms).unwrap_or(&quote);
        let quiet_ms = quiet_ms(origin.name, origin.tuning);
        let anomaly_id = match self.closed.take() {
            Some((id, cleared_ms)) if silence_ms - cleared_ms <= quiet_ms => id,
            _ => origin.anomaly_id(&first.event_id, first.at_ms, ""),
        };
        let onset_ms = told.as_ref().map_or(first.at_ms, |told| told.onset_ms);
        let count = u32::try_from(hits.len()).unwrap_or(u32::MAX);
        self.open = Some(OpenFinding {
            anomaly_id,
            kind: finding.kind,
            severity: finding.severity,
            onset_ms,
            count,
            last: quote.clone(),
        });
        let words = words(origin, count, &quote, told.as_ref());
        let mut quotes = hits;
        if let Some(first) = told.and_then(|told| told.first)
            && quotes.iter().all(|hit| hit.event_id != first.event_id)
        {
            quotes.insert(0, first);
        }
        Some(self.sketch(
            origin,
            Transition::Started,
            quote.at_ms,
            words,
            what,
            &quotes,
        ))
    }

    /// Takes in a further record of an open finding.
    fn go_on(
        &mut self,
        origin: &Origin<'_>,
        finding: &Finding,
        quote: Quote,
        told: Option<&Told>,
        silence_ms: i64,
        what: &str,
    ) -> Option<Sketch> {
        let open = self.open.as_mut()?;
        if open.last.event_id == quote.event_id {
            return None;
        }
        self.heard_ms = silence_ms;
        open.count = open.count.saturating_add(1);
        open.last = quote.clone();
        if finding.severity <= open.severity {
            return None;
        }
        open.severity = finding.severity;
        let words = words(origin, open.count, &quote, told);
        let words = format!("{words} is now {}", open.severity);
        let at_ms = quote.at_ms;
        Some(self.sketch(origin, Transition::Worsened, at_ms, words, what, &[quote]))
    }

    /// Ends the finding where no record has come for long enough.
    pub fn check_quiet(
        &mut self,
        origin: &Origin<'_>,
        silence_ms: i64,
        now_ms: i64,
        what: &str,
    ) -> Option<Sketch> {
        let quiet_ms = quiet_ms(origin.name, origin.tuning);
        let silent_ms = silence_ms - self.heard_ms;
        let open = self.open.as_ref()?;
        if silent_ms < quiet_ms {
            return None;
        }
        let last = open.last.clone();
        // Of a burst some lines are usual: it is over, they are not.
        let over = if origin.name.ends_with("_burst") {
            "not more than usual"
        } else {
            "nothing further"
        };
        let words = format!(
            "{} of {}: {over} for {} s, after {} record(s)",
            origin.name,
            origin.service,
            silent_ms / 1000,
            open.count
        );
        let sketch = self.sketch(origin, Transition::Cleared, now_ms, words, what, &[last]);
        self.closed = Some((sketch.anomaly_id, silence_ms));
        self.open = None;
        Some(sketch)
    }

    /// Ends an open finding that became usual; `quote` is the record that
    /// showed it.
    pub fn accept(
        &mut self,
        origin: &Origin<'_>,
        quote: Quote,
        words: &str,
        silence_ms: i64,
        what: &str,
    ) -> Option<Sketch> {
        let open = self.open.as_mut()?;
        open.last = quote.clone();
        let words = format!("{} of {}: {words}", origin.name, origin.service);
        let at_ms = quote.at_ms;
        let sketch = self.sketch(origin, Transition::Cleared, at_ms, words, what, &[quote]);
        self.heard_ms = silence_ms;
        self.closed = Some((sketch.anomaly_id, silence_ms));
        self.open = None;
        Some(sketch)
    }

    /// The source's clock was set back: what was counted lies in its future.
    pub fn set_back(&mut self) {
        self.hits.clear();
    }

    /// Whether nothing in it can matter any more.
    #[must_use]
    pub fn is_over(&self, name: &str, tuning: &Tuning, silence_ms: i64) -> bool {
        self.open.is_none() && silence_ms - self.heard_ms > 3 * quiet_ms(name, tuning)
    }

    fn sketch(
        &self,
        origin: &Origin<'_>,
        transition: Transition,
        at_ms: i64,
        description: String,
        what: &str,
        quotes: &[Quote],
    ) -> Sketch {
        let open = self
            .open
            .as_ref()
            .expect("a transition is of an open finding");
        Sketch {
            anomaly_id: open.anomaly_id,
            transition,
            kind: open.kind,
            severity: open.severity,
            trigger_metric: origin.name.to_owned(),
            observed_value: f64::from(open.count),
            baseline_value: 0.0,
            deviation_sigma: 0.0,
            score: score(open.severity),
            direction: Direction::None,
            detected_ms: at_ms,
            onset_ms: open.onset_ms,
            description,
            evidence: quotes
                .iter()
                .map(|quote| AnomalyEvidence {
                    kind: what.to_owned(),
                    at_ms: quote.at_ms,
                    value: None,
                    text: quote.text.clone(),
                    source_event_id: quote.event_id,
                })
                .collect(),
            cause_id: open.last.event_id,
            gone: false,
        }
    }
}

fn words(origin: &Origin<'_>, count: u32, quote: &Quote, told: Option<&Told>) -> String {
    if let Some(told) = told {
        let example = told.first.as_ref().unwrap_or(quote);
        let place = if told.first.is_some() {
            "the first"
        } else {
            "for example"
        };
        return format!(
            "{} of {}: {}; {place}: {}",
            origin.name, origin.service, told.words, example.text
        );
    }
    let times = if count > 1 {
        format!(" ({count} records)")
    } else {
        String::new()
    };
    format!(
        "{} of {}{times}: {}",
        origin.name, origin.service, quote.text
    )
}
