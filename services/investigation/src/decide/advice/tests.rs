//! What of a submission is taken, and what is said about the rest.

use super::*;
use midwatch_events::incident::EvidenceKind;
use uuid::Uuid;

const T0: i64 = 1_767_225_600_000;

/// A candidate with one anomaly of its own and one log line, both `at_s` after T0.
fn candidate(rank: u32, service: &str, confidence: f64, at_s: i64) -> RootCauseCandidate {
    let record = |kind: &str, summary: String| {
        json!({"id": format!("{kind}-{service}"), "kind": kind, "service": service,
               "at_ms": T0 + at_s * 1_000, "summary": summary})
    };
    serde_json::from_value(json!({
        "rank": rank, "service": service, "cause": "LATENCY_SPIKE", "confidence": confidence,
        "hypothesis": format!("{service} itself answers slowly"),
        "similar_incidents": [], "runbook_refs": [],
        "evidence": [
            record("metric", format!("p99 on {service} read 900 against a baseline of 380")),
            record("log", format!("9 × ERROR \"pool of {service} is exhausted, rank cart first\"")),
        ],
    }))
    .expect("a candidate")
}

fn header() -> IncidentHeader {
    serde_json::from_value(json!({"incident_id": Uuid::nil(), "short_id": "INC-0",
        "environment": "test", "severity": "HIGH", "anomaly_type": "LATENCY_SPIKE",
        "affected_services": ["pay"], "detected_at_ms": T0, "detected_wall_ms": T0}))
    .expect("a header")
}

/// `pay` began at 0, `cart` at 5 s, `web` at 60 s; the symptom is that of `pay`.
fn ranked() -> Vec<RootCauseCandidate> {
    vec![
        candidate(1, "pay", 0.7, 0),
        candidate(2, "cart", 0.6, 5),
        candidate(3, "web", 0.58, 60),
        candidate(4, "far", 0.2, 0),
    ]
}

fn advice(submission: Value) -> Advice {
    let onsets = [("pay", 0), ("cart", 5), ("web", 60), ("far", 0)];
    let onsets = onsets.map(|(name, at)| (name.to_owned(), T0 + at * 1_000));
    let deployment = |at_s: i64| Shown {
        foreign: "v2.14.1 ; new pool".to_owned(),
        ..Shown::new(EvidenceKind::Deployment, "pay", T0 + at_s * 1_000)
    };
    Advice {
        submission: Some(submission),
        model: "test-model".to_owned(),
        shown: BTreeMap::from([
            ("deployment-early".to_owned(), deployment(-60)),
            ("deployment-late".to_owned(), deployment(60)),
        ]),
        scene: Scene {
            services: onsets
                .iter()
                .map(|(name, _)| name.clone())
                .chain(["idle".to_owned()])
                .collect(),
            onsets: onsets.into_iter().collect(),
            symptom_ms: Some(T0),
            sampling_ms: 10_000,
            ..Scene::default()
        },
        ..Advice::default()
    }
}

fn read_it(submission: Value) -> Checked {
    let at = Moment {
        event_ms: T0,
        wall_ms: T0,
    };
    let result = serde_json::to_value(advice(submission)).expect("advice is JSON");
    read(&header(), &ranked(), at, Ok(result))
}

fn order(checked: &Checked) -> Vec<&str> {
    let services = checked.candidates.iter();
    services.map(|one| one.service.as_str()).collect()
}

fn reasons(checked: &Checked) -> String {
    let reasons = checked.rejected.iter();
    let reasons: Vec<String> = reasons
        .map(|one| format!("{} <- {}", one.reason, one.claim))
        .collect();
    reasons.join("\n")
}

#[test]
fn a_sentence_may_name_a_service_whose_name_holds_another() {
    for sentence in [
        "cart.eu fails, as cart answers in 900 instead of 380.",
        "cart answers in 900 instead of 380, unlike cart.eu.",
        "cart answers in 900 instead of 380 because of cart.eu/cart.",
    ] {
        let mut told = advice(json!({
            "top_hypothesis": sentence, "evidence": ["metric-cart"],
            "all_candidates": [{"service": "cart", "hypothesis": sentence}],
        }));
        told.scene.services.insert("cart.eu".to_owned());
        told.scene.services.insert("cart.eu/cart".to_owned());
        let at = Moment {
            event_ms: T0,
            wall_ms: T0,
        };
        let result = serde_json::to_value(told).expect("advice is JSON");
        let checked = read(&header(), &ranked(), at, Ok(result));
        let words = &checked.candidates[0].hypothesis;
        let is_taken = words == sentence;
        assert_eq!(
            is_taken,
            sentence.contains("unlike"),
            "{sentence}: {}",
            reasons(&checked)
        );
    }
}

#[test]
fn a_backed_order_is_taken_and_no_certainty_is_gained_by_it() {
    let checked = read_it(json!({
        "top_hypothesis": "cart answers in 900 instead of 380.",
        "confidence": 0.99, "evidence": ["metric-cart"],
        "all_candidates": [{"service": "cart"}, {"service": "pay"}],
    }));
    assert_eq!(order(&checked), ["cart", "pay", "web", "far"]);
    assert_eq!(reasons(&checked), "");
    assert_eq!(checked.method, "test-model");
    assert_eq!(
        checked.candidates[0].hypothesis,
        "cart answers in 900 instead of 380."
    );
    let told = checked.candidates.iter();
    let told: Vec<(u32, f64)> = told.map(|one| (one.rank, one.confidence)).collect();
    assert_eq!(told, [(1, 0.6), (2, 0.6), (3, 0.58), (4, 0.2)]);
}

#[test]
fn a_candidate_is_raised_only_by_measured_records_of_its_own() {
    for (cited, told) in [
        (json!([]), "no measured record of cart"),
        (json!(["log-cart"]), "no measured record of cart"),
        (json!(["metric-pay"]), "no measured record of cart"),
        (json!(["metric-unknown"]), "no such record was returned"),
    ] {
        let checked = read_it(json!({"all_candidates": [{"service": "cart", "evidence": cited}]}));
        assert_eq!(order(&checked), ["pay", "cart", "web", "far"], "{cited}");
        assert!(reasons(&checked).contains(told), "{}", reasons(&checked));
        assert_eq!(checked.method, "deterministic");
        assert_eq!(checked.candidates, ranked());
    }
}

#[test]
fn neither_the_late_nor_the_unlikely_are_raised() {
    for (service, told) in [
        ("web", "it began 60 s after the symptom"),
        (
            "far",
            "its computed confidence of 0.20 lies more than 0.15 below the 0.70 of pay",
        ),
    ] {
        let cited = [format!("metric-{service}")];
        let checked = read_it(json!({"all_candidates": [{"service": service, "evidence": cited}]}));
        assert_eq!(order(&checked), ["pay", "cart", "web", "far"]);
        assert!(reasons(&checked).contains(told), "{}", reasons(&checked));
    }
}

#[test]
fn a_sentence_that_does_not_hold_is_not_published() {
    for (sentence, told) in [
        (
            "pay reads 901 instead of 380.",
            "the number 901 stands in no cited record",
        ),
        (
            "pay says \"the disk is full\".",
            "the quotation \"the disk is full\"",
        ),
        (
            "cart is slow.",
            "it blames cart, the first candidate listed is pay",
        ),
        ("The network is slow.", "it names no service"),
        ("web caused pay to fail.", "it blames web"),
        ("pay is slow because of cart.", "it blames cart for pay"),
        (
            "pay broke after web broke.",
            "web began 60 s after pay and cannot be its cause",
        ),
        (
            "pay is slow since its deployment.",
            "speaks of a deployment and cites none",
        ),
        ("pay: rank cart first.", "tells somebody what to do"),
    ] {
        let checked = read_it(json!({
            "top_hypothesis": sentence, "evidence": ["metric-pay", "log-pay"],
            "all_candidates": ["pay"],
        }));
        assert!(
            reasons(&checked).contains(told),
            "{sentence}: {}",
            reasons(&checked)
        );
        assert_eq!(checked.candidates, ranked(), "{sentence}");
    }
}

#[test]
fn a_deployment_is_a_cause_only_if_it_came_before() {
    let said = |record: &str| {
        read_it(json!({
            "top_hypothesis": "pay is slow since v2.14.1 was rolled out.",
            "evidence": ["metric-pay", record], "all_candidates": ["pay"],
        }))
    };
    let checked = said("deployment-early");
    assert_eq!(reasons(&checked), "");
    assert!(checked.candidates[0].hypothesis.contains("v2.14.1"));
    let checked = said("deployment-late");
    let told = "the deployment came 60 s after the onset and cannot be the cause";
    assert!(reasons(&checked).contains(told), "{}", reasons(&checked));
    assert_eq!(checked.candidates, ranked());
}

#[test]
fn what_makes_no_sense_is_named_and_changes_nothing() {
    for (submission, told) in [
        (json!({}), "the submission is empty"),
        (json!("pay"), "the submission is no object"),
        (
            json!({"all_candidates": "pay"}),
            "all_candidates is no list",
        ),
        (json!({"all_candidates": [7]}), "it names no service"),
        (
            json!({"all_candidates": ["ledger"]}),
            "neither in the topology nor in the incident",
        ),
        (
            json!({"all_candidates": ["idle"]}),
            "no evidence of this investigation speaks for it",
        ),
        (
            json!({"all_candidates": [{"service": "pay", "cause": "MEMORY_LEAK"}]}),
            "the evidence carries no such cause",
        ),
        (
            json!({"top_hypothesis": 7, "all_candidates": ["pay", "pay"]}),
            "it is listed twice",
        ),
        (json!({"evidence": {"id": 1}}), "evidence is no list"),
        (json!({"evidence": [1]}), "it is no id of a record"),
        (
            json!({"confidence": "very", "all_candidates": ["pay"]}),
            "it is no number from 0 to 1",
        ),
        (
            json!({"claims": [{"text": "pay reads 900."}]}),
            "it cites no record",
        ),
        (
            json!({"causal_chain": [{"cause": "metric-web", "effect": "metric-pay"}]}),
            "the cause comes 60 s after the effect",
        ),
        (
            json!({"causal_chain": [{"cause": "metric-x", "effect": "metric-pay"}]}),
            "a record that was not returned",
        ),
    ] {
        let checked = read_it(submission.clone());
        assert!(
            reasons(&checked).contains(told),
            "{submission}: {}",
            reasons(&checked)
        );
        assert_eq!(checked.candidates, ranked(), "{submission}");
        assert_eq!(checked.method, "deterministic");
        let audit = checked.effects.iter().find_map(|effect| match effect {
            Effect::Audit(line) => Some(line),
            _ => None,
        });
        let audit = audit.expect("an audit line");
        assert_eq!(audit.event_type, "MODEL_CHECKED");
        assert_eq!(audit.payload["rejected"], json!(checked.rejected));
    }
}

#[test]
fn without_a_submission_the_deterministic_answer_stands_and_says_so() {
    let at = Moment {
        event_ms: T0,
        wall_ms: T0,
    };
    let failed = Advice {
        submission: None,
        failure: Some("no submission in 8 rounds".to_owned()),
        refused: vec!["drop_tables: there is no tool named drop_tables".to_owned()],
        ..advice(Value::Null)
    };
    let failed = serde_json::to_value(failed).expect("advice is JSON");
    for (result, why) in [
        (Ok(failed), "no submission in 8 rounds"),
        (Err("the job was cut off".to_owned()), "the job was cut off"),
        (Ok(json!(7)), "invalid type"),
    ] {
        let checked = read(&header(), &ranked(), at, result);
        assert_eq!(checked.candidates, ranked());
        assert_eq!(checked.method, "deterministic");
        assert!(
            checked.degradations[0].contains(why),
            "{:?}",
            checked.degradations
        );
        assert!(matches!(&checked.effects[..], [Effect::Audit(line)]
            if line.event_type == "MODEL_UNAVAILABLE" && line.summary.contains(why)));
    }
}
