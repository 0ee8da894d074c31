//! The chain of typed artifacts of an incident: what was concluded, by whom,
//! from what.

use super::format;
use midwatch_events::artifact::{Artifact, ArtifactStatus};
use serde::Serialize;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Artifacts shown at most, of those that stand and of those that do not.
const SHOWN: usize = 60;
/// Characters of a body that are shown; the JSON has all.
const BODY: usize = 4_000;

/// An artifact that another one was concluded from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Input {
    pub id: Uuid,
    pub words: String,
    /// Whether it stands on the page.
    pub shown: bool,
}

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    pub id: Uuid,
    pub kind: String,
    pub status: &'static str,
    pub producer: String,
    pub consumer: String,
    pub at_ms: i64,
    pub replay: bool,
    pub schema_version: u32,
    pub inputs: Vec<Input>,
    /// Records that it rests on.
    pub records: usize,
    pub body: String,
}

/// What stands, and what a later artifact replaced or a check rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Chain {
    pub standing: Vec<Link>,
    pub replaced: Vec<Link>,
    /// Artifacts that did not fit.
    pub more: usize,
}

/// The chain of an incident, given in the order of writing.
#[must_use]
pub fn collect(artifacts: &[Artifact]) -> Chain {
    let (standing, replaced): (Vec<&Artifact>, Vec<&Artifact>) =
        artifacts.iter().partition(|one| {
            matches!(
                one.status,
                ArtifactStatus::Complete | ArtifactStatus::Partial
            )
        });
    let mut standing = standing;
    // By place in the chain; those of one kind in the order of writing.
    standing.sort_by_key(|one| one.kind);
    let mut shown: BTreeMap<Uuid, &Artifact> = BTreeMap::new();
    let newest = replaced.len().saturating_sub(SHOWN);
    let replaced = &replaced[newest..];
    let more = newest + standing.len().saturating_sub(SHOWN);
    standing.truncate(SHOWN);
    shown.extend(
        standing
            .iter()
            .chain(replaced)
            .map(|one| (one.artifact_id, *one)),
    );
    let links = |list: &[&Artifact]| list.iter().map(|one| link(one, &shown)).collect();
    Chain {
        standing: links(&standing),
        replaced: links(replaced),
        more,
    }
}

fn link(artifact: &Artifact, shown: &BTreeMap<Uuid, &Artifact>) -> Link {
    let body = serde_json::to_string_pretty(&artifact.body).unwrap_or_default();
    Link {
        id: artifact.artifact_id,
        kind: format::words(artifact.kind.as_str()),
        status: status(artifact.status),
        producer: artifact.producer.clone(),
        consumer: artifact.consumer.clone(),
        at_ms: artifact.created_at_ms,
        replay: artifact.replay,
        schema_version: artifact.schema_version,
        inputs: artifact
            .inputs
            .iter()
            .map(|id| {
                let found = shown.get(id);
                Input {
                    id: *id,
                    words: found.map_or_else(
                        || "an earlier one".to_owned(),
                        |one| format::words(one.kind.as_str()).to_lowercase(),
                    ),
                    shown: found.is_some(),
                }
            })
            .collect(),
        records: artifact.evidence.len(),
        body: match body.char_indices().nth(BODY) {
            Some((end, _)) => format!("{}…", &body[..end]),
            None => body,
        },
    }
}

fn status(status: ArtifactStatus) -> &'static str {
    match status {
        ArtifactStatus::Complete => "complete",
        ArtifactStatus::Partial => "partial",
        ArtifactStatus::Superseded => "superseded",
        ArtifactStatus::Rejected => "rejected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use midwatch_events::artifact::ArtifactKind;
    use serde_json::json;

    fn artifact(id: u128, kind: ArtifactKind, status: ArtifactStatus, from: &[u128]) -> Artifact {
        Artifact {
            artifact_id: Uuid::from_u128(id),
            incident_id: Uuid::nil(),
            kind,
            schema_version: 1,
            producer: "correlation".to_owned(),
            consumer: "investigation".to_owned(),
            status,
            inputs: from.iter().map(|id| Uuid::from_u128(*id)).collect(),
            evidence: vec!["log-1".to_owned()],
            created_at_ms: 0,
            replay: false,
            body: json!({"x": 1}),
        }
    }

    #[test]
    fn what_stands_comes_in_the_order_of_the_chain_and_names_what_it_rests_on() {
        use ArtifactKind::{AnomalyFinding, RootCauseHypothesis};
        use ArtifactStatus::{Complete, Superseded};
        let chain = collect(&[
            artifact(1, RootCauseHypothesis, Superseded, &[2]),
            artifact(3, RootCauseHypothesis, Complete, &[2, 9]),
            artifact(2, AnomalyFinding, Complete, &[]),
        ]);
        let ids = |links: &[Link]| links.iter().map(|one| one.id.as_u128()).collect::<Vec<_>>();
        assert_eq!(
            (ids(&chain.standing), ids(&chain.replaced)),
            (vec![2, 3], vec![1])
        );
        let inputs: Vec<(&str, bool)> = chain.standing[1]
            .inputs
            .iter()
            .map(|input| (input.words.as_str(), input.shown))
            .collect();
        assert_eq!(
            inputs,
            [("anomaly finding", true), ("an earlier one", false)]
        );
        let many: Vec<Artifact> = (0..200)
            .map(|id| artifact(id, AnomalyFinding, Complete, &[]))
            .collect();
        let chain = collect(&many);
        assert_eq!((chain.standing.len(), chain.more), (SHOWN, 200 - SHOWN));
    }
}
