//! Members of an incident beyond those that are listed in full.
//!
//! A storm has hundreds of anomalies. The first [`LISTED`] are told whole; each
//! further one keeps what a reader may ask of it (which series, how bad, since
//! when, whether it is over and why it belongs), as a row whose names and
//! reasons are written once.

use crate::anomaly::{AnomalyType, Direction, Severity};
use crate::incident::{GroupedAnomaly, IncidentOpened, IncidentUpdated};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Members that are told whole; the first that joined.
pub const LISTED: usize = 200;

/// One member: id; the places of service, metric and reason in their lists;
/// type, severity and direction; observed value, baseline value and deviation in
/// sigma; the event times (epoch milliseconds) of onset, detection, worst reading
/// and clearing.
pub type Row = (
    Uuid,
    (usize, usize, usize),
    (AnomalyType, Severity, Direction),
    (f64, f64, f64),
    (i64, i64, Option<i64>, Option<i64>),
);

/// Members beyond the listed ones, and how many there are beyond these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct More {
    pub services: Vec<String>,
    pub metrics: Vec<String>,
    pub reasons: Vec<String>,
    pub members: Vec<Row>,
    /// Anomalies beyond the rows.
    #[serde(flatten)]
    pub beyond: Beyond,
}

/// Anomalies of which only a number is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Beyond {
    /// How many there are.
    pub unlisted: u64,
    /// How many of them are still active.
    pub unlisted_active: u64,
    /// How many of them nobody follows one by one: whether they are over is
    /// unknown.
    pub unfollowed: u64,
}

impl Beyond {
    /// What the end of the incident waits for, in words, where it does.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<String> {
        let mut open = Vec::new();
        if self.unlisted_active > 0 {
            let count = self.unlisted_active;
            open.push(format!("{count} anomalies that are not listed (active)"));
        }
        if self.unfollowed > 0 {
            let count = self.unfollowed;
            open.push(format!(
                "a person to close it: {count} anomalies were too many to follow"
            ));
        }
        open
    }
}

/// The place of a text in a list of distinct ones.
fn place<'a>(known: &mut BTreeMap<&'a str, usize>, list: &mut Vec<String>, text: &'a str) -> usize {
    *known.entry(text).or_insert_with(|| {
        list.push(text.to_owned());
        list.len() - 1
    })
}

impl More {
    /// These members as rows.
    #[must_use]
    pub fn of(members: &[GroupedAnomaly]) -> More {
        let mut more = More::default();
        let mut known = [BTreeMap::new(), BTreeMap::new(), BTreeMap::new()];
        for one in members {
            let names = (
                place(&mut known[0], &mut more.services, &one.service),
                place(&mut known[1], &mut more.metrics, &one.trigger_metric),
                place(&mut known[2], &mut more.reasons, &one.reason),
            );
            more.members.push((
                one.anomaly_id,
                names,
                (one.anomaly_type, one.severity, one.direction),
                (one.observed_value, one.baseline_value, one.deviation_sigma),
                (
                    one.onset_ms,
                    one.detected_at_ms,
                    one.observed_at_ms,
                    one.cleared_at_ms,
                ),
            ));
        }
        more
    }

    /// The rows as members; their description is the one of [`brief`]. A row
    /// whose names are not there is left out.
    #[must_use]
    pub fn members(&self) -> Vec<GroupedAnomaly> {
        self.members
            .iter()
            .filter_map(|row| self.member(row))
            .collect()
    }

    fn member(&self, row: &Row) -> Option<GroupedAnomaly> {
        let (anomaly_id, names, kinds, values, times) = *row;
        let mut member = GroupedAnomaly {
            anomaly_id,
            service: self.services.get(names.0)?.clone(),
            trigger_metric: self.metrics.get(names.1)?.clone(),
            anomaly_type: kinds.0,
            severity: kinds.1,
            direction: kinds.2,
            observed_value: values.0,
            baseline_value: values.1,
            deviation_sigma: values.2,
            onset_ms: times.0,
            detected_at_ms: times.1,
            observed_at_ms: times.2,
            description: String::new(),
            reason: self.reasons.get(names.2)?.clone(),
            cleared_at_ms: times.3,
        };
        member.description = brief(&member);
        Some(member)
    }

    /// Whether there is nothing beyond the listed ones.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.beyond == Beyond::default()
    }

    /// About how many bytes it takes as JSON.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // A row without its names: an id, three kinds, three numbers of up to
        // 17 digits and four times.
        const ROW: usize = 210;
        let texts = [&self.services, &self.metrics, &self.reasons];
        let texts = texts.iter().flat_map(|list| list.iter());
        texts.map(|text| text.len() + 3).sum::<usize>() + self.members.len() * ROW
    }
}

/// A member in a few words, made of its numbers.
#[must_use]
pub fn brief(member: &GroupedAnomaly) -> String {
    let (metric, service) = (&member.trigger_metric, &member.service);
    if metric.contains(':') {
        return format!("{metric} on {service}");
    }
    format!(
        "{metric} on {service} read {:.1}, usually {:.1} ({:+.1} σ)",
        member.observed_value, member.baseline_value, member.deviation_sigma
    )
}

/// The listed members and the others.
#[must_use]
pub fn divided(members: &[GroupedAnomaly]) -> (&[GroupedAnomaly], &[GroupedAnomaly]) {
    members.split_at(members.len().min(LISTED))
}

fn all(listed: &[GroupedAnomaly], more: Option<&More>) -> Vec<GroupedAnomaly> {
    let mut all = listed.to_vec();
    all.extend(more.map(More::members).unwrap_or_default());
    all
}

fn size(told: &[GroupedAnomaly], more: Option<&More>) -> usize {
    let more = more.map_or(0, |more| {
        more.members.len() + usize::try_from(more.beyond.unlisted).unwrap_or(usize::MAX)
    });
    told.len().saturating_add(more)
}

impl IncidentOpened {
    /// How many members there are, told or not.
    #[must_use]
    pub fn size(&self) -> usize {
        size(&self.grouped_anomalies, self.more_anomalies.as_deref())
    }

    /// Keeps this many members; of the others the number stays.
    pub fn keep_anomalies(&mut self, most: usize) {
        let size = self.size();
        self.grouped_anomalies.truncate(most);
        let unlisted = size.saturating_sub(self.grouped_anomalies.len()) as u64;
        let of_old = self.more_anomalies.as_deref().map(|more| more.beyond);
        let beyond = Beyond {
            unlisted,
            ..of_old.unwrap_or_default()
        };
        self.more_anomalies = (unlisted > 0).then(|| {
            Box::new(More {
                beyond,
                ..More::default()
            })
        });
    }

    /// Every member, the listed ones first.
    #[must_use]
    pub fn all_anomalies(&self) -> Vec<GroupedAnomaly> {
        all(&self.grouped_anomalies, self.more_anomalies.as_deref())
    }
}

impl IncidentUpdated {
    /// How many members there are, told or not.
    #[must_use]
    pub fn size(&self) -> usize {
        size(&self.grouped_anomalies, self.more_anomalies.as_deref())
    }

    /// Every member, the listed ones first.
    #[must_use]
    pub fn all_anomalies(&self) -> Vec<GroupedAnomaly> {
        all(&self.grouped_anomalies, self.more_anomalies.as_deref())
    }
}

/// Members as a document of their own, in the form of [`stored`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Members(#[serde(with = "stored")] pub Vec<GroupedAnomaly>);

/// A list of members in a stored document: an array up to [`LISTED`], and beyond
/// that an object of the listed ones and the rows of the others. For
/// `#[serde(with = "…")]`.
pub mod stored {
    use super::{More, divided};
    use crate::incident::GroupedAnomaly;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Whole(Vec<GroupedAnomaly>),
        Divided {
            listed: Vec<GroupedAnomaly>,
            more: More,
        },
    }

    #[derive(Serialize)]
    struct Divided<'a> {
        listed: &'a [GroupedAnomaly],
        more: More,
    }

    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(list: &[GroupedAnomaly], to: S) -> Result<S::Ok, S::Error> {
        let (listed, rest) = divided(list);
        if rest.is_empty() {
            return listed.serialize(to);
        }
        let more = More::of(rest);
        Divided { listed, more }.serialize(to)
    }

    /// # Errors
    /// Neither form is there.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<GroupedAnomaly>, D::Error> {
        Ok(match Stored::deserialize(from)? {
            Stored::Whole(list) => list,
            Stored::Divided { mut listed, more } => {
                listed.extend(more.members());
                listed
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u128) -> GroupedAnomaly {
        let mut member = GroupedAnomaly {
            anomaly_id: Uuid::from_u128(number),
            service: format!("service-{}", number % 40),
            trigger_metric: format!("metric_{}", number % 13),
            anomaly_type: AnomalyType::LatencySpike,
            severity: Severity::High,
            direction: Direction::Above,
            observed_value: 900.25 + number as f64,
            baseline_value: 380.5,
            deviation_sigma: 4.125,
            onset_ms: 1_767_225_600_000,
            detected_at_ms: 1_767_225_610_000,
            observed_at_ms: number.is_multiple_of(2).then_some(1_767_225_620_000),
            description: String::new(),
            reason: format!("it calls service-{}", number % 7),
            cleared_at_ms: number.is_multiple_of(3).then_some(1_767_225_900_000),
        };
        member.description = brief(&member);
        member
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Document {
        #[serde(with = "stored")]
        members: Vec<GroupedAnomaly>,
    }

    #[test]
    fn a_long_list_comes_back_as_it_was_and_a_short_one_stays_an_array() {
        for count in [0, 1, 200, 201, 2_000] {
            let members: Vec<GroupedAnomaly> = (0..count).map(member).collect();
            let document = Document { members };
            let value = serde_json::to_value(&document).expect("it is JSON");
            assert_eq!(value["members"].is_array(), count <= 200);
            let read: Document = serde_json::from_value(value).expect("it is read");
            assert_eq!(read, document);
        }
    }

    #[test]
    fn two_thousand_take_less_than_half_a_megabyte_and_the_estimate_is_no_less() {
        let members: Vec<GroupedAnomaly> = (0..2_000).map(member).collect();
        let more = More::of(&members[LISTED..]);
        let text = serde_json::to_string(&more).expect("it is JSON");
        assert!(text.len() < 500_000, "{}", text.len());
        assert!(
            more.bytes() >= text.len(),
            "{} {}",
            more.bytes(),
            text.len()
        );
    }

    #[test]
    fn a_row_whose_names_are_missing_is_left_out() {
        let mut more = More::of(&[member(1)]);
        more.reasons.clear();
        assert_eq!(more.members(), []);
    }
}
