//! How an incident grows, is split and merged, is taken back, and is answered in
//! time.

use super::story::{Story, T0, errors, log_rule, opened, pool_fault};
use midwatch_events::anomaly::Transition;
use midwatch_events::incident::{IncidentChange, RootCauseCandidate};
use midwatch_events::{Event, IncidentState, ids};
use midwatch_investigation::decide::Core;
use midwatch_investigation::decide::facts::Facts;
use midwatch_investigation::decide::revision;
use midwatch_runtime::Input;
use serde_json::json;

#[test]
fn where_a_line_came_first_the_reading_that_joined_tells_whether_an_action_helps() {
    let mut story = Story::default();
    story.open(&[log_rule()]);
    assert_eq!(story.rcas[0].trigger_metric, "log:timeout");
    story.update(
        IncidentChange::Grown,
        &[log_rule(), errors()],
        "errors joined",
    );
    story.work();
    let rca = story.rcas.last().expect("it was looked at again");
    assert_eq!(rca.root_cause_candidates[0].service, "user-service");
    assert_eq!(
        (&*rca.trigger_metric, rca.observed_value, rca.baseline_value),
        ("errors", 900.0, 380.0)
    );
    // A reading that triggered stays what an action is measured by.
    let mut story = Story::default();
    story.open(&[errors(), log_rule()]);
    assert_eq!(story.rcas[0].trigger_metric, "errors");
}

#[test]
fn a_grown_incident_is_looked_at_again_and_the_revision_says_why() {
    let (members, facts) = pool_fault();
    // Nobody has complained yet when the incident opens.
    let complaints = facts.logs.clone();
    let mut story = Story {
        facts: Facts {
            logs: Vec::new(),
            ..facts
        },
        ..Story::default()
    };
    story.open(&members[2..3]);
    story.facts.logs = complaints;
    assert_eq!(
        story.rcas[0].root_cause_candidates[0].service,
        "api-gateway"
    );
    assert!(!story.rcas[0].top_changed);
    story.update(IncidentChange::Grown, &members, "grown");
    story.work();
    let revised = &story.rcas[1];
    assert_eq!(revised.revision, 2);
    assert_eq!(revised.root_cause_candidates[0].service, "payment-service");
    assert!(revised.top_changed);
    let words = &revised.revision_reason;
    for part in [
        "Looked again because service_db_connections on payment-service, ",
        " joined: DB connection exhaustion on payment-service comes first now, before ",
        " on api-gateway because of “",
    ] {
        assert!(words.contains(part), "{part} in {words}");
    }
    // A series that became normal makes no other whole of it.
    let mut cleared = members.clone();
    cleared[3].cleared_at_ms = Some(T0 + 60_000);
    story.update(IncidentChange::Grown, &cleared, "latency is normal again");
    assert!(story.jobs.is_empty());
    // An update that comes late holds an older whole.
    let mut late = story.updated(IncidentChange::Grown, &members[..1], "late");
    late.revision = 1;
    assert_eq!(story.hear(Event::Updated(Box::new(late))), Vec::new());
    // The same whole, looked at again, is the same answer: nobody is told.
    let mut earlier = cleared.clone();
    earlier[0].onset_ms -= 20_000;
    story.update(IncidentChange::Grown, &earlier, "an earlier onset");
    story.work();
    assert_eq!(story.rcas.len() + story.said("RCA_CONFIRMED").len(), 3);
}

#[test]
fn what_grows_during_a_look_is_looked_at_after_it() {
    let (members, facts) = pool_fault();
    let mut story = Story {
        facts,
        ..Story::default()
    };
    story.hear(Event::Opened(Box::new(opened(&members[2..3]))));
    story.update(IncidentChange::Grown, &members, "grown");
    assert_eq!(story.jobs.len(), 1);
    story.work();
    assert_eq!((story.rcas.len(), story.jobs.len()), (1, 1));
    story.work();
    // The anomalies were known to the first look; their records are not new.
    assert_eq!((story.rcas.len(), story.jobs.len()), (1, 0));
    let line = story.said("RCA_CONFIRMED")[0];
    assert!(line.summary.contains(" joined: the answer stands."));
}

fn candidate(service: &str, cause: &str, confidence: f64, records: &[&str]) -> RootCauseCandidate {
    let piece = |id: &&str| json!({"id": id, "kind": "metric", "service": service, "at_ms": 1, "summary": format!("{id} says so.")});
    let (refuting, evidence): (Vec<&str>, Vec<&str>) =
        records.iter().partition(|id| id.starts_with("not-"));
    serde_json::from_value(
        json!({"rank": 1, "service": service, "cause": cause, "hypothesis": "h",
        "confidence": confidence, "similar_incidents": [], "runbook_refs": [],
        "evidence": evidence.iter().map(piece).collect::<Vec<_>>(),
        "refuting": refuting.iter().map(piece).collect::<Vec<_>>()}),
    )
    .expect("a candidate")
}

#[test]
fn a_revision_names_who_rose_and_fell_and_the_evidence_for_it() {
    let old = [
        candidate("gateway", "LATENCY_SPIKE", 0.62, &["e1"]),
        candidate("payment", "CPU_SATURATION", 0.40, &["e2"]),
        candidate("orders", "UNKNOWN", 0.20, &["e3"]),
    ];
    for (new, expected) in [
        (
            vec![
                candidate("payment", "CPU_SATURATION", 0.81, &["e2", "e9"]),
                candidate("gateway", "LATENCY_SPIKE", 0.31, &["e1", "not-e1"]),
            ],
            "Looked again because X: CPU saturation on payment comes first now, before Latency spike on gateway because of “e9 says so”; gateway fell from 62 % to 31 % because of what speaks against it: “not-e1 says so”; Unclassified anomaly on orders is no longer a candidate.",
        ),
        (
            vec![
                candidate("gateway", "LATENCY_SPIKE", 0.75, &["e1"]),
                candidate("payment", "CPU_SATURATION", 0.30, &[]),
                candidate("orders", "UNKNOWN", 0.22, &["e3"]),
            ],
            "Looked again because X: gateway rose from 62 % to 75 % because the other candidates changed; payment fell from 40 % to 30 % because it no longer rests on “e2 says so”.",
        ),
        (
            old.to_vec(),
            "Looked again because X: the candidates stay as they were.",
        ),
        (
            Vec::new(),
            "Looked again because X: Latency spike on gateway is no longer a candidate.",
        ),
    ] {
        assert_eq!(revision::reason("X", &old, &new), expected);
    }
}

#[test]
fn another_answer_is_another_cause_another_verdict_or_a_suspect_less() {
    use midwatch_events::incident::Verdict::{Conclusive, Inconclusive};
    let of = |list: &[(&str, &str, f64)]| -> Vec<RootCauseCandidate> {
        list.iter()
            .map(|(service, cause, confidence)| candidate(service, cause, *confidence, &[]))
            .collect()
    };
    let old = of(&[("a", "CPU_SATURATION", 0.5), ("b", "UNKNOWN", 0.2)]);
    for (new, verdict, differs, top) in [
        (old.clone(), Conclusive, false, false),
        (old.clone(), Inconclusive, true, false),
        (
            of(&[("a", "CPU_SATURATION", 0.58), ("b", "UNKNOWN", 0.4)]),
            Conclusive,
            false,
            false,
        ),
        (
            of(&[("a", "CPU_SATURATION", 0.6), ("b", "UNKNOWN", 0.2)]),
            Conclusive,
            true,
            false,
        ),
        (of(&[("a", "CPU_SATURATION", 0.5)]), Conclusive, true, false),
        (
            of(&[("a", "MEMORY_LEAK", 0.5), ("b", "UNKNOWN", 0.2)]),
            Conclusive,
            true,
            true,
        ),
        (
            of(&[("b", "UNKNOWN", 0.5), ("a", "CPU_SATURATION", 0.4)]),
            Conclusive,
            true,
            true,
        ),
        (Vec::new(), Conclusive, true, true),
    ] {
        let answer = (verdict, new.as_slice());
        assert_eq!(
            revision::differs((Some(Conclusive), &old), answer),
            differs,
            "{new:?}"
        );
        assert_eq!(revision::top_changed(&old, &new), top, "{new:?}");
    }
}

#[test]
fn what_a_split_takes_away_is_not_waited_for() {
    let (members, facts) = pool_fault();
    let mut story = Story {
        facts,
        ..Story::default()
    };
    story.open(&members);
    let rest = &members[2..];
    story.update(IncidentChange::Split, rest, "payment-service left");
    let reason = |story: &Story| story.state.case.as_ref().expect("open").reason.clone();
    assert!(
        reason(&story).ends_with("left the incident"),
        "{}",
        reason(&story)
    );
    story.work();
    let revised = story.rcas.last().expect("a revision");
    assert_eq!(revised.revision, 2, "a suspect is gone");
    assert!(
        revised
            .root_cause_candidates
            .iter()
            .all(|candidate| candidate.service != "payment-service" || rest.len() == 2)
    );
    assert_eq!(story.channels.len(), 2);
    // The trigger left with it: another series takes its place.
    assert_eq!(story.said("WATCH_MOVED").len(), 1);
    for (index, of) in rest.iter().enumerate() {
        assert!(story.resolved.is_empty(), "after {index} cleared series");
        story.transition(of, Transition::Cleared, 300);
    }
    assert_eq!(story.resolved.len(), 1);
    assert!(story.channels.is_empty());
}

#[test]
fn the_last_abnormal_series_may_leave_with_a_split() {
    let mut other = errors();
    other.anomaly_id = ids::derive(&["other"]);
    other.service = "order-service".to_owned();
    let mut story = Story::default();
    story.open(&[errors(), other.clone()]);
    story.transition(&errors(), Transition::Cleared, 60);
    assert!(story.resolved.is_empty());
    story.update(IncidentChange::Split, &[errors()], "two faults");
    story.work();
    assert_eq!(story.resolved.len(), 1);
}

#[test]
fn a_merged_incident_ends_in_the_other_and_hears_nothing_more() {
    let (members, facts) = pool_fault();
    let mut story = Story {
        facts,
        ..Story::default()
    };
    story.hear(Event::Opened(Box::new(opened(&members))));
    let into = ids::derive(&["survivor"]);
    let told = format!("merged into {}: one fault", ids::short_incident(into));
    let mut absorbed = story.updated(IncidentChange::Merged, &[], &told);
    absorbed.revision = 1;
    absorbed.related = vec![into];
    story.hear(Event::Updated(Box::new(absorbed)));
    let end = &story.resolved[0];
    assert_eq!(end.resolution_method, "MERGED");
    assert_eq!(
        end.top_root_cause,
        format!(
            "merged into {}, which goes on: one fault",
            ids::short_incident(into)
        )
    );
    assert_eq!(
        story.moves,
        [IncidentState::Investigating, IncidentState::Resolved]
    );
    assert!(story.channels.is_empty() && story.timers.is_empty());
    // The records that were asked for before come to nothing.
    story.work();
    assert!(story.rcas.is_empty());
    // The other one only grows.
    let mut survivor = Story::default();
    survivor.open(&[errors()]);
    survivor.update(IncidentChange::Merged, &[errors(), log_rule()], "one fault");
    assert_eq!((survivor.resolved.len(), survivor.jobs.len()), (0, 1));
}

#[test]
fn a_relapse_takes_the_end_back_and_the_second_end_counts_from_the_start() {
    let mut story = Story::default();
    let members = [errors(), log_rule()];
    story.open(&members);
    story.transition(&errors(), Transition::Cleared, 300);
    assert_eq!(story.resolved[0].mttr_ms, 300_000);
    // What comes for an incident that is over changes nothing by itself.
    story.transition(&errors(), Transition::Started, 400);
    story.update(IncidentChange::Grown, &members, "grown");
    assert_eq!((story.resolved.len(), story.jobs.len()), (1, 0));

    story.update(
        IncidentChange::Reopened,
        &members,
        "errors broke out again within the hold-down",
    );
    assert_eq!(story.resolution, None);
    assert_eq!(story.channels.len(), 2);
    assert!(story.timers.contains_key("watch"));
    story.work();
    // The answer is the same, and is told all the same.
    assert_eq!(story.rcas.len(), 2);
    assert!(
        story.rcas[1]
            .revision_reason
            .starts_with("Looked again because the incident was reopened"),
        "{}",
        story.rcas[1].revision_reason
    );
    assert!(!story.rcas[1].top_changed);
    assert_eq!(story.resolved.len(), 1, "not yet over again");
    story.transition(&errors(), Transition::Cleared, 600);
    assert_eq!(story.resolved[1].mttr_ms, 600_000);
    use IncidentState::{Investigating, RcaComplete, Resolved};
    assert_eq!(
        story.moves,
        [
            Investigating,
            RcaComplete,
            Resolved,
            Investigating,
            RcaComplete,
            Resolved
        ]
    );
}

#[test]
fn a_word_about_the_first_outbreak_that_is_heard_after_the_reopening_ends_nothing() {
    let mut story = Story::default();
    story.open(&[errors()]);
    story.transition(&errors(), Transition::Cleared, 300);
    let mut again = errors();
    again.onset_ms = T0 + 390_000;
    story.update(IncidentChange::Reopened, &[again.clone()], "a relapse");
    story.work();
    // Said twice; the second time waited until the series was watched again.
    story.transition(&errors(), Transition::Cleared, 301);
    assert_eq!(story.resolved.len(), 1);
    story.transition(&again, Transition::Cleared, 600);
    assert_eq!(story.resolved.len(), 2);
}

#[test]
fn records_that_never_come_leave_an_answer_in_time_and_are_used_when_they_do() {
    let mut story = Story::default();
    story.hear(Event::Opened(Box::new(opened(&[errors()]))));
    story.transition(&errors(), Transition::Cleared, 20);
    story.ring("conclude");
    assert!(story.rcas.is_empty(), "a restart is given a moment");
    story.ring("conclude");
    assert!(story.wall_s <= 60, "{} s", story.wall_s);
    assert_eq!(
        story.rcas[0].degradations,
        ["the records could not be read within 45 s"]
    );
    assert_eq!((story.resolved.len(), story.timers.len()), (1, 0));

    let mut story = Story::default();
    story.hear(Event::Opened(Box::new(opened(&[errors()]))));
    story.ring("conclude");
    story.ring("conclude");
    let deployment = serde_json::from_value(json!({"service": "user-service", "version": "v2",
        "timestamp_ms": T0 - 30_000, "environment": "simulation"}))
    .expect("a deployment");
    story.facts = Facts {
        deployments: vec![midwatch_investigation::decide::facts::DeploymentFact {
            deployment,
            record_id: "deployment-1".to_owned(),
        }],
        ..Facts::default()
    };
    story.work();
    assert_eq!(
        story.rcas[1].root_cause_candidates[0].cause,
        "DEPLOYMENT_FAILURE"
    );
    assert!(story.rcas[1].degradations.is_empty());
    let words = &story.rcas[1].revision_reason;
    assert!(
        words.contains("the records could be read after all"),
        "{words}"
    );
}

#[test]
fn a_model_that_stalls_is_not_waited_for() {
    let (members, facts) = pool_fault();
    let mut story = Story {
        core: Core {
            model: true,
            ..Core::default()
        },
        facts,
        ..Story::default()
    };
    story.open(&members);
    let stalled = story.jobs.remove(0);
    assert_eq!(stalled.kind, "advise");
    for of in &members {
        story.transition(of, Transition::Cleared, 100);
    }
    assert!(story.rcas.is_empty() && story.resolved.is_empty());
    story.ring("conclude");
    story.ring("conclude");
    let rca = &story.rcas[0];
    assert_eq!(rca.method, "deterministic");
    assert_eq!(rca.degradations, ["the model gave no answer within 165 s"]);
    assert_eq!(story.resolved.len(), 1);
    // What it says after that costs, and changes nothing.
    let result = Err("the loop was cut off".to_owned());
    let effects = story.decide(Input::JobDone {
        job: stalled,
        result,
    });
    assert_eq!(effects, Vec::new());
}

#[test]
fn the_version_that_people_rolled_back_to_is_not_named_as_the_cause() {
    let rolled_out =
        |version: &str, at_s: i64| midwatch_investigation::decide::facts::DeploymentFact {
            deployment: serde_json::from_value(
                json!({"service": "user-service", "version": version,
            "timestamp_ms": T0 + at_s * 1_000, "environment": "simulation"}),
            )
            .expect("a deployment"),
            record_id: format!("deployment-{version}"),
        };
    // v2 breaks it at T0; a minute later v1 is rolled out again.
    let mut story = Story {
        facts: Facts {
            deployments: vec![
                rolled_out("v1", -7_200),
                rolled_out("v2", -30),
                rolled_out("v1-again", 60),
            ],
            ..Facts::default()
        },
        ..Story::default()
    };
    story.open(&[errors()]);
    let top = &story.rcas[0].root_cause_candidates[0];
    assert_eq!(top.cause, "DEPLOYMENT_FAILURE");
    assert!(
        top.hypothesis
            .starts_with("user-service fails since version v2 was rolled out"),
        "{}",
        top.hypothesis
    );
    let quoted = top.evidence.iter().map(|one| one.id.as_str());
    assert!(!quoted.into_iter().any(|id| id == "deployment-v1-again"));
}
