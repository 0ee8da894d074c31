//! Any storm gives the same incidents, however often the state is stored and
//! read again, and whatever is told twice.

use crate::story::{Story, anomaly};
use midwatch_events::anomaly::{Anomaly, AnomalyType, Severity, Transition};
use proptest::prelude::*;
use uuid::Uuid;

/// One word of a storm.
#[derive(Clone, Debug)]
struct Word {
    service: usize,
    metric: usize,
    transition: Transition,
    severity: Severity,
    /// Seconds of event time and milliseconds of wall clock since the last one.
    later_s: i64,
    later_ms: i64,
    /// What is asked for or ends at the same time.
    also: Also,
    twice: bool,
}

#[derive(Clone, Copy, Debug)]
enum Also {
    Nothing,
    Acknowledge,
    Maintain,
    Resolve,
}

const SERVICES: [&str; 6] = [
    "payment-service",
    "order-service",
    "api-gateway",
    "user-service",
    "batch-reports",
    "notification-service",
];
const METRICS: [(&str, AnomalyType); 4] = [
    ("service_latency_p99_ms", AnomalyType::LatencySpike),
    ("service_error_rate_percent", AnomalyType::ErrorRateSpike),
    ("service_cpu_percent", AnomalyType::CpuSaturation),
    ("slo:availability", AnomalyType::ErrorRateSpike),
];

fn words() -> impl Strategy<Value = Vec<Word>> {
    let transition = prop_oneof![
        5 => Just(Transition::Started),
        2 => Just(Transition::Worsened),
        4 => Just(Transition::Cleared),
        1 => Just(Transition::Missing),
    ];
    let severity = prop_oneof![
        Just(Severity::Low),
        Just(Severity::High),
        Just(Severity::Critical)
    ];
    let also = prop_oneof![
        8 => Just(Also::Nothing),
        1 => Just(Also::Acknowledge),
        1 => Just(Also::Maintain),
        3 => Just(Also::Resolve),
    ];
    let word = (
        0..6_usize,
        0..4_usize,
        transition,
        severity,
        0..120_i64,
        0..6_000_i64,
        also,
    );
    let word = (word, any::<bool>()).prop_map(|(word, twice)| {
        let (service, metric, transition, severity, later_s, later_ms, also) = word;
        Word {
            service,
            metric,
            transition,
            severity,
            later_s,
            later_ms,
            also,
            twice,
        }
    });
    proptest::collection::vec(word, 1..60)
}

/// What people were told of, and what is left.
type Told = (
    Vec<(Uuid, Vec<Uuid>, Severity)>,
    Vec<(Uuid, Vec<Uuid>)>,
    Vec<Uuid>,
);

fn run(words: &[Word], is_disturbed: bool) -> Told {
    let mut story = Story::new();
    story.stored = is_disturbed;
    let mut at_s = 0;
    for (number, word) in words.iter().enumerate() {
        at_s += word.later_s;
        let (metric, kind) = METRICS[word.metric];
        let heard = Anomaly {
            transition: word.transition,
            severity: word.severity,
            ..anomaly(SERVICES[word.service], kind, metric, at_s)
        };
        story.hear(heard.clone());
        if is_disturbed && word.twice && word.transition != Transition::Missing {
            story.hear(heard);
        }
        let last = story.opened.last().map(|opened| opened.header.incident_id);
        match (word.also, last) {
            (Also::Acknowledge, Some(id)) => {
                story.ask(story.command("acknowledge", id, ""));
            }
            (Also::Maintain, _) => {
                let mut command = story.command("maintain", Uuid::nil(), SERVICES[number % 6]);
                command.until_ms = Some(story.wall_ms + 20_000);
                story.ask(command);
            }
            (Also::Resolve, Some(id)) => story.resolve(id, "RECOVERED", at_s),
            _ => {}
        }
        story.pass(word.later_ms);
    }
    story.pass(400_000);
    let members = |list: &[midwatch_events::GroupedAnomaly]| -> Vec<Uuid> {
        list.iter().map(|member| member.anomaly_id).collect()
    };
    let opened = story.opened.iter().map(|one| {
        let id = one.header.incident_id;
        (id, members(&one.grouped_anomalies), one.header.severity)
    });
    let left = story.state.groups.values();
    let left = left.map(|group| (group.incident_id, members(&group.anomalies)));
    (opened.collect(), left.collect(), story.moves.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_storm_survives_storing_and_repetition(words in words()) {
        let undisturbed = run(&words, false);
        prop_assert_eq!(run(&words, true), undisturbed.clone());
        // No anomaly is in two incidents that go on.
        let mut members: Vec<Uuid> = undisturbed.1.into_iter().flat_map(|one| one.1).collect();
        let all = members.len();
        members.sort();
        members.dedup();
        prop_assert_eq!(members.len(), all);
    }
}

#[test]
fn a_state_of_an_earlier_build_is_read() {
    let stored = include_str!("earlier_state.json");
    let mut story = Story::new();
    story.state = serde_json::from_str(stored).expect("what an earlier build stored is read");
    let group = story.state.groups.values().next().expect("one group");
    assert_eq!(
        group.surroundings.topology.callees("api-gateway"),
        ["payment-service"]
    );
    story.hear(crate::story::slow("api-gateway", 20));
    story.settle();
    assert_eq!((story.opened.len(), story.updated.len()), (0, 1));
}
