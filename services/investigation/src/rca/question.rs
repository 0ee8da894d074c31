//! Which series an alert is about, where it names none exactly.

use super::quantity::Quantity;
use super::recording::{Question, Recording};

/// The target's metric that the question means: the one that it names, with
/// labels or without; else the one whose name has the same letters and digits;
/// else the first, by name, that measures the same quantity, one with the same
/// number in its name (`p95`) before others. `None` where there is none.
pub(super) fn recorded_metric(recording: &Recording, question: &Question) -> Option<String> {
    let wanted = question.target_metric.as_str();
    let own = recording.series.iter();
    let own = own.filter(|one| one.service == question.target);
    let mut names: Vec<&str> = own.map(|one| one.metric.as_str()).collect();
    names.sort_unstable();
    let bare = |name: &str| name.split('{').next().unwrap_or_default().to_owned();
    if names
        .iter()
        .any(|name| *name == wanted || bare(name) == wanted)
    {
        return Some(wanted.to_owned());
    }
    let letters = |name: &str| -> String {
        let letters = name.chars().filter(|letter| letter.is_alphanumeric());
        letters.flat_map(char::to_lowercase).collect()
    };
    let alike =
        |name: &&&str| letters(name) == letters(wanted) || letters(&bare(name)) == letters(wanted);
    if let Some(name) = names.iter().find(alike) {
        return Some((*name).to_owned());
    }
    let quantity = Quantity::of(wanted);
    let measures = |name: &str| {
        let theirs = Quantity::of(name);
        theirs == quantity || (theirs.is_failure() && quantity.is_failure())
    };
    let digits = |name: &str| -> String {
        let digits = name.chars().filter(char::is_ascii_digit);
        digits.collect()
    };
    names
        .into_iter()
        .filter(|name| quantity != Quantity::Other && measures(name))
        .min_by_key(|name| digits(&bare(name)) != digits(wanted))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::recording::Series;
    use super::*;

    #[test]
    fn an_alert_finds_its_series_under_another_name() {
        let series = |service: &str, metric: &str| Series {
            service: service.to_owned(),
            metric: metric.to_owned(),
            ..Series::default()
        };
        let recording = Recording {
            series: vec![
                series("shop", "Latency-90"),
                series("shop", "latency-50"),
                series("shop", "availability_Average{pod=a}"),
                series("cart", "cpu"),
            ],
            ..Recording::default()
        };
        for (asked, expected) in [
            ("latency-50", Some("latency-50")),
            ("availability_Average", Some("availability_Average")),
            ("latency_90", Some("Latency-90")),
            ("response_time_p90", Some("Latency-90")),
            ("availability", Some("availability_Average{pod=a}")),
            ("error_rate", Some("availability_Average{pod=a}")),
            ("cpu", None),
            ("temperature", None),
        ] {
            let question = Question {
                target: "shop".to_owned(),
                target_metric: asked.to_owned(),
                start_ms: 0,
                at_ms: 0,
                end_ms: 0,
            };
            let found = recorded_metric(&recording, &question);
            assert_eq!(found.as_deref(), expected, "{asked}");
        }
    }
}
