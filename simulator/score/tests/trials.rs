//! The judgement of trials by hand, some of them lived through, and that no
//! agent hears the truth.

use midwatch_events::Event;
use midwatch_events::knowledge::Catalogue;
use midwatch_score::decisions::{Decision, reliability, reliability_words};
use midwatch_score::judge::{Candidate, Fault, Incident, Return};
use midwatch_score::report::WIDTH;
use midwatch_score::results::Results;
use midwatch_score::trial_report::{missed_targets, trial_complaints, trial_words};
use midwatch_score::trials::{TrialRow, judge_trial, trial_summary};
use midwatch_score::virtual_run::replay::Replay;
use midwatch_score::virtual_run::{ENVIRONMENT, Setup};
use midwatch_simulator::trials::{Kind, Trial, single};
use midwatch_simulator::variation::Variation;
use midwatch_simulator::world::{Plan, STEP_MS, World, WorldConfig};

const SEED: u64 = 5;

fn drawn(kind: Kind) -> Trial {
    single(kind, SEED, 0, Variation::drawn(SEED))
        .trials
        .remove(0)
}

/// The faults of a trial as the ground truth tells them.
fn faults(trial: &Trial) -> Vec<Fault> {
    let fault = |strike: &midwatch_simulator::trials::Strike| Fault {
        id: strike.scenario.name().to_owned(),
        scenario: strike.scenario.name().to_owned(),
        service: strike.service.name().to_owned(),
        environment: ENVIRONMENT.to_owned(),
        started_ms: strike.start_ms,
        ended_ms: strike.start_ms + 200_000,
        affected: vec![strike.service.name().to_owned()],
    };
    trial.strikes.iter().map(fault).collect()
}

/// An incident so long after the first fault, with these candidates.
fn incident(at_ms: i64, services: &[&str], candidates: &[(&str, &str, f64)]) -> Incident {
    Incident {
        id: format!("INC-{at_ms}"),
        environment: ENVIRONMENT.to_owned(),
        detected_ms: at_ms,
        onset_ms: None,
        opened_ms: at_ms + 3_000,
        decided_ms: Some(at_ms + 4_000),
        conclusive: Some(true),
        resolved_ms: Some(at_ms + 300_000),
        services: services.iter().map(|one| (*one).to_owned()).collect(),
        anomaly_type: "UNKNOWN".to_owned(),
        candidates: candidates
            .iter()
            .map(|(service, cause, confidence)| Candidate {
                service: (*service).to_owned(),
                cause: (*cause).to_owned(),
                confidence: *confidence,
            })
            .collect(),
        mails: None,
        merged: false,
        returns: Vec::new(),
    }
}

fn told(trial: &Trial, incidents: &[Incident]) -> TrialRow {
    judge_trial(SEED, trial, &faults(trial), incidents)
}

#[test]
fn a_fault_that_its_own_incident_was_opened_again_for_is_not_missed() {
    let trial = drawn(Kind::Plain);
    let strike = &trial.strikes[0];
    let (service, at_ms) = (strike.service.name(), strike.start_ms + 15_000);
    let cause = strike.scenario.name();
    // It was opened in the story before.
    let before_ms = trial.slot.start - 900_000;
    let mut back = incident(before_ms, &[service], &[(service, cause, 0.9)]);
    assert!(!told(&trial, &[back.clone()]).one_each, "it stayed closed");
    let decided_ms = Some(at_ms + 2_000);
    back.returns = vec![Return { at_ms, decided_ms }];
    let row = told(&trial, &[back.clone()]);
    assert!(row.one_each && row.faults[0].first);
    assert_eq!(row.faults[0].decided_after_ms, Some(17_000));
    // Opened again with no fault about, it is one incident too many.
    let second = incident(at_ms, &[service], &[(service, cause, 0.9)]);
    back.returns[0].at_ms = trial.slot.start + 1;
    assert!(!told(&trial, &[back, second]).one_each);
}

#[test]
fn one_incident_may_tell_of_two_faults_in_one_call_path_but_not_of_two_apart() {
    for (kind, one_each) in [
        (Kind::Related, true),
        (Kind::Siblings, true),
        (Kind::Apart, false),
    ] {
        let trial = drawn(kind);
        let [one, other] = &faults(&trial)[..] else {
            panic!("two faults: {trial:?}");
        };
        let at_ms = other.started_ms + 10_000;
        let both = incident(
            at_ms,
            &[&one.service, &other.service],
            &[
                (&one.service, &one.scenario, 0.9),
                (&other.service, &other.scenario, 0.6),
            ],
        );
        let row = told(&trial, std::slice::from_ref(&both));
        assert_eq!(row.one_each, one_each, "{row:#?}");
        let first = |name: &str| {
            let mut said = row.faults.iter();
            said.find(|said| said.scenario == name)
                .map(|said| (said.first, said.shared))
        };
        assert_eq!(first(&one.scenario), Some((true, one_each)), "{kind:?}");
        // The true candidate for one is left aside while the other is looked for.
        assert_eq!(
            first(&other.scenario),
            Some((one_each, one_each)),
            "{kind:?}"
        );
        let own = |fault: &Fault| {
            let at_ms = fault.started_ms + 20_000;
            let mut own = incident(
                at_ms,
                &[&fault.service],
                &[(&fault.service, &fault.scenario, 0.8)],
            );
            own.id.clone_from(&fault.id);
            own
        };
        let row = told(&trial, &[own(one), own(other)]);
        assert!(
            row.one_each && row.faults.iter().all(|said| said.first),
            "{row:#?}"
        );
        assert_eq!((row.incidents, row.decisions.len()), (2, 2));
        // A third one is too many, unless it was merged.
        let mut third = incident(one.started_ms + 90_000, &["inventory-nobody"], &[]);
        assert!(!told(&trial, &[own(one), own(other), third.clone()]).one_each);
        third.merged = true;
        assert!(told(&trial, &[own(one), own(other), third]).one_each);
    }
}

#[test]
fn a_herring_counts_where_it_is_ranked_first_and_not_beside_the_cause() {
    let trial = drawn(Kind::Cron);
    let fault = &faults(&trial)[0];
    let herring = trial
        .decoy
        .as_ref()
        .and_then(|one| one.service)
        .expect("one");
    let herring = herring.name();
    let true_one = (fault.service.as_str(), fault.scenario.as_str(), 0.8);
    let false_one = (herring, "CPU_SATURATION", 0.7);
    let at = |after_ms: i64, candidates: &[(&str, &str, f64)]| {
        incident(
            fault.started_ms + after_ms,
            &[&fault.service, herring],
            candidates,
        )
    };
    let fine = told(&trial, &[at(10_000, &[true_one, false_one])]);
    assert_eq!(
        (fine.herring_first, fine.herring_told, fine.one_each),
        (false, false, true)
    );
    assert_eq!(fine.herring.as_deref(), Some(herring));
    let lured = told(&trial, &[at(10_000, &[false_one, true_one])]);
    assert_eq!((lured.herring_first, lured.faults[0].first), (true, false));
    assert!(lured.faults[0].in_three);
    // Opened on the herring before the fault, which joined it.
    let joined = told(&trial, &[at(-60_000, &[true_one, false_one])]);
    assert!(joined.one_each && joined.faults[0].first, "{joined:#?}");
    assert_eq!(joined.faults[0].decided_after_ms, Some(-56_000));
    assert!(told(&trial, &[at(-60_000, &[false_one])]).herring_first);
    // An incident about the herring alone beside that of the fault.
    let alone = incident(fault.started_ms + 30_000, &[herring], &[false_one]);
    let own = incident(fault.started_ms + 10_000, &[&fault.service], &[true_one]);
    let beside = told(&trial, &[own, alone]);
    assert_eq!(
        (beside.herring_first, beside.herring_told, beside.one_each),
        (false, true, false)
    );
    assert_eq!(
        beside
            .decisions
            .iter()
            .filter(|one| one.right_cause)
            .count(),
        1
    );
    let mut doubtful = incident(fault.started_ms + 30_000, &[herring], &[false_one]);
    doubtful.conclusive = Some(false);
    assert!(told(&trial, &[at(10_000, &[true_one]), doubtful]).one_each);
    let words = trial_complaints(&beside).join("\n");
    assert!(words.contains("other incident"), "{words}");
}

#[test]
fn a_harmless_release_on_the_struck_service_is_told_by_its_cause() {
    let trial = drawn(Kind::ReleaseSame);
    let fault = &faults(&trial)[0];
    let first = |cause: &str| {
        let candidates = [(fault.service.as_str(), cause, 0.8)];
        told(
            &trial,
            &[incident(
                fault.started_ms + 10_000,
                &[&fault.service],
                &candidates,
            )],
        )
    };
    assert!(!first(&fault.scenario).herring_first);
    assert!(first("DEPLOYMENT_FAILURE").herring_first);
    let wrong = first("DEPLOYMENT_FAILURE");
    assert!(wrong.faults[0].first_service && !wrong.faults[0].first);
    assert!(wrong.decisions[0].right_service && !wrong.decisions[0].right_cause);
}

#[test]
fn a_control_is_quiet_without_an_incident_or_without_a_conclusion() {
    let trial = drawn(Kind::HarmlessErrors);
    let say = |conclusive: Option<bool>| {
        let mut one = incident(
            trial.slot.start + 1,
            &["user-service"],
            &[("user-service", "UNKNOWN", 0.3)],
        );
        one.conclusive = conclusive;
        told(&trial, &[one])
    };
    assert!(told(&trial, &[]).is_as_it_should_be());
    assert!(say(Some(false)).is_as_it_should_be());
    assert!(!say(Some(true)).is_as_it_should_be());
    assert!(!say(None).is_as_it_should_be(), "no answer is no verdict");
    let late = incident(trial.slot.end, &["user-service"], &[]);
    assert!(
        told(&trial, &[late]).quiet,
        "what comes later is another story"
    );
}

fn decision(confidence: f64, right: bool) -> Decision {
    Decision {
        seed: 1,
        story: "plain".to_owned(),
        trial: "PLAIN".to_owned(),
        incident: "INC-1".to_owned(),
        scenario: "LATENCY_SPIKE".to_owned(),
        guilty: Some("a".to_owned()),
        ranking: vec!["a".to_owned()],
        causes: vec!["LATENCY_SPIKE".to_owned()],
        confidences: vec![confidence],
        cause: "LATENCY_SPIKE".to_owned(),
        right_service: true,
        right_cause: right,
        verdict: "conclusive",
    }
}

#[test]
fn the_reliability_table_adds_up_as_by_hand() {
    let all = [
        decision(0.1, false),
        decision(0.75, true),
        decision(0.75, false),
        decision(0.8, true),
        decision(0.84, true),
        decision(1.0, true),
    ];
    let table = reliability(&all);
    let used: Vec<(f64, f64, u32, u32)> = table
        .bins
        .iter()
        .filter(|bin| bin.decisions > 0)
        .map(|bin| (bin.from, bin.to, bin.decisions, bin.right))
        .collect();
    let expected = [
        (0.0, 0.2, 1, 0),
        (0.7, 0.8, 2, 1),
        (0.8, 0.9, 2, 2),
        (0.9, 1.0, 1, 1),
    ];
    assert_eq!(used, expected);
    // 1/6 × |0 − 0.1| + 2/6 × |0.5 − 0.75| + 2/6 × |1 − 0.82| + 1/6 × |1 − 1|
    // = (0.1 + 0.5 + 0.36 + 0) / 6 = 0.16.
    assert!((table.calibration_error - 0.16).abs() < 1e-12, "{table:?}");
    let words = reliability_words(&table);
    for line in [
        "0.7–0.8             2    75.0 %     50.0 %",
        "expected calibration error  0.160 over 6 decisions",
    ] {
        assert!(words.lines().any(|one| one == line), "{line:?} in\n{words}");
    }
    assert_eq!(reliability_words(&reliability(&[])), "");
}

#[test]
fn targets_are_counted_over_trials_and_one_slip_is_let_pass() {
    let trial = drawn(Kind::Plain);
    let fault = &faults(&trial)[0];
    let candidates = [(fault.service.as_str(), fault.scenario.as_str(), 0.8)];
    let good = told(
        &trial,
        &[incident(
            fault.started_ms + 10_000,
            &[&fault.service],
            &candidates,
        )],
    );
    let bad = told(&trial, &[]);
    let rows = |right: usize, wrong: usize| {
        let right = std::iter::repeat_n(good.clone(), right);
        right
            .chain(std::iter::repeat_n(bad.clone(), wrong))
            .collect::<Vec<_>>()
    };
    let missed = |rows: &[TrialRow]| missed_targets(&trial_summary(rows));
    assert_eq!(missed(&rows(9, 1)), Vec::<String>::new());
    // 17 of 19 faults, 89.5 %, and as many trials.
    assert_eq!(missed(&rows(17, 2)).len(), 2);
    // 46 of 49, 93.9 %: the cause suffices, one incident per fault does not.
    assert_eq!(missed(&rows(46, 3)).len(), 1);
    let results = Results {
        trials: rows(1, 60),
        ..Results::default()
    };
    let words = results.words();
    assert!(
        words.contains("one incident per fault   1 of 61 (1.6 %"),
        "{words}"
    );
    assert!(words.contains("more, which --json shows"), "{words}");
    assert!(
        words.lines().all(|line| line.chars().count() <= WIDTH),
        "{words}"
    );
    assert!(trial_words(&results.trials, &trial_summary(&results.trials)).contains("14s"));
}

fn setup(seed: u64) -> Setup {
    let text = include_str!("../../../knowledge/services.json");
    Setup::new(
        seed,
        Catalogue::parse(text).expect("the catalogue is readable"),
    )
}

#[test]
fn a_plain_story_and_a_quiet_one_are_lived_through() {
    let setup = setup(SEED);
    let story = setup.trial(Kind::Plain, None);
    let row = judge_trial(
        SEED,
        &story.trial,
        &story.story.faults(),
        &story.story.incidents,
    );
    assert!(row.one_each, "{row:#?}");
    assert!(row.faults[0].first_service, "{row:#?}");
    let decided_ms = row.faults[0].decided_after_ms.expect("it is decided");
    assert!(decided_ms >= row.faults[0].opened_after_ms.expect("it is opened"));
    let story = setup.trial(Kind::ReleaseAlone, None);
    let row = judge_trial(
        SEED,
        &story.trial,
        &story.story.faults(),
        &story.story.incidents,
    );
    assert!(
        row.is_as_it_should_be() && row.faults.is_empty(),
        "{row:#?}"
    );
}

/// Everything that the agents publish about a trial, with or without the
/// messages of the ground-truth topic among what they hear.
fn published(with_truth: bool) -> (usize, Vec<String>) {
    let live_ms = 1_795_305_600_000;
    let fleet = single(Kind::Related, SEED, live_ms, Variation::drawn(SEED));
    let end_ms = fleet.trials[0].slot.end;
    let mut world = World::new(WorldConfig {
        seed: SEED,
        environment: ENVIRONMENT.to_owned(),
        start_ms: live_ms - 1_000_000,
        live_ms,
        plan: Plan::Quiet,
        variation: fleet,
    });
    let mut replay = Replay::new(&setup(SEED), "virtual", 30_000);
    let (mut truths, mut said) = (0, Vec::new());
    while world.now_ms() < end_ms {
        for envelope in world.advance(world.now_ms() + STEP_MS) {
            let is_truth = matches!(envelope.event, Event::GroundTruth(_));
            truths += usize::from(is_truth);
            if with_truth || !is_truth {
                replay.take(world.now_ms(), 0, envelope);
            }
        }
    }
    replay.finish();
    said.extend(replay.take_published().iter().map(|one| format!("{one:?}")));
    (truths, said)
}

#[test]
fn the_agents_say_the_same_whether_or_not_the_truth_is_told() {
    let ((truths, with), (_, without)) = (published(true), published(false));
    assert_eq!(truths, 4, "two faults begin and end");
    assert!(
        with.iter().any(|line| line.contains("RcaCompleted")),
        "{}",
        with.len()
    );
    assert_eq!(with, without);
}
