//! The chain of artifacts: from findings to hypotheses.

use super::story::{Story, pool_fault};
use midwatch_events::artifact::{Artifact, ArtifactKind, ArtifactStatus, SCHEMA_VERSION};
use midwatch_events::incident::IncidentChange;
use std::collections::BTreeSet;
use uuid::Uuid;

fn of(story: &Story, kind: ArtifactKind, status: ArtifactStatus) -> Vec<&Artifact> {
    story
        .artifacts
        .iter()
        .filter(|artifact| artifact.kind == kind && artifact.status == status)
        .collect()
}

#[test]
fn every_answer_leaves_a_chain_and_a_revision_replaces_the_one_before() {
    use ArtifactKind::{AnomalyFinding, ObservationSummary, RootCauseHypothesis};
    use ArtifactStatus::{Complete, Superseded};
    let (members, facts) = pool_fault();
    let mut story = Story {
        facts,
        ..Story::default()
    };
    story.open(&members[2..]);
    let first: BTreeSet<Uuid> = of(&story, RootCauseHypothesis, Complete)
        .iter()
        .map(|artifact| artifact.artifact_id)
        .collect();
    assert_eq!(first.len(), story.rcas[0].root_cause_candidates.len());
    story.update(IncidentChange::Grown, &members, "grown");
    story.work();

    let known: BTreeSet<Uuid> = story
        .artifacts
        .iter()
        .map(|artifact| artifact.artifact_id)
        .collect();
    let findings = of(&story, AnomalyFinding, Complete);
    assert_eq!(findings.len(), 4, "two of them from the first look");
    let [summary] = of(&story, ObservationSummary, Complete)[..] else {
        panic!("one summary counts");
    };
    assert_eq!(of(&story, ObservationSummary, Superseded).len(), 1);
    let grouped: BTreeSet<Uuid> = summary.inputs.iter().copied().collect();
    let found: BTreeSet<Uuid> = findings.iter().map(|one| one.artifact_id).collect();
    assert_eq!(grouped, found);
    assert!(summary.evidence.contains(&"log-1".to_owned()));

    let replaced: BTreeSet<Uuid> = of(&story, RootCauseHypothesis, Superseded)
        .iter()
        .map(|artifact| artifact.artifact_id)
        .collect();
    assert_eq!(replaced, first);
    let rca = &story.rcas[1];
    let hypotheses = of(&story, RootCauseHypothesis, Complete);
    assert_eq!(hypotheses.len(), rca.root_cause_candidates.len());
    for (artifact, candidate) in hypotheses.iter().zip(&rca.root_cause_candidates) {
        assert_eq!(artifact.body["service"], candidate.service.as_str());
        assert_eq!(artifact.body["revision"], 2);
        assert_eq!(artifact.inputs[0], summary.artifact_id);
        assert!(artifact.inputs.iter().all(|input| known.contains(input)));
        let cited: Vec<&str> = candidate
            .evidence
            .iter()
            .chain(&candidate.refuting)
            .map(|piece| piece.id.as_str())
            .collect();
        assert_eq!(artifact.evidence, cited);
    }
    for artifact in &story.artifacts {
        assert_eq!(artifact.schema_version, SCHEMA_VERSION);
        assert_eq!(artifact.producer, "midwatch.investigation");
        assert!(!artifact.replay);
    }
}

#[test]
fn a_finding_that_left_the_incident_is_superseded_and_counts_again_when_it_returns() {
    use ArtifactKind::AnomalyFinding;
    use ArtifactStatus::{Complete, Superseded};
    let (members, facts) = pool_fault();
    let mut story = Story {
        facts,
        ..Story::default()
    };
    story.open(&members);
    story.update(IncidentChange::Split, &members[..3], "two faults");
    story.work();
    assert_eq!(of(&story, AnomalyFinding, Superseded).len(), 1);
    story.update(IncidentChange::Merged, &members, "one fault after all");
    story.work();
    assert_eq!(of(&story, AnomalyFinding, Complete).len(), 4);
    assert_eq!(of(&story, AnomalyFinding, Superseded).len(), 0);
}

#[test]
fn what_could_not_be_read_makes_the_conclusion_partial() {
    let (members, mut facts) = pool_fault();
    facts.gaps.push("runbooks could not be searched".to_owned());
    let mut story = Story {
        facts,
        ..Story::default()
    };
    story.open(&members);
    for artifact in &story.artifacts {
        let expected = if artifact.kind == ArtifactKind::AnomalyFinding {
            ArtifactStatus::Complete
        } else {
            ArtifactStatus::Partial
        };
        assert_eq!(artifact.status, expected, "{:?}", artifact.kind);
    }
}
