//! Two outcomes side by side: what only one of them has, and what differs.
//!
//! Ids differ where decisions do, so incidents and anomalies are matched by
//! where and when they were: the same environment, a common service (or the
//! same series) and overlapping times. Of several, the one that began nearest
//! is taken; each is taken once.

use super::tally::{Episode, IncidentRow, Outcome, SeriesKey, SeriesRow};
use midwatch_events::Severity;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What ended so shortly before the other began still overlaps with it: a
/// higher threshold sees the same fault later.
const NEAR_MS: i64 = 300_000;

/// The same incident under both configurations, where anything differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChangedIncident {
    pub a: String,
    pub b: String,
    pub title: String,
    /// The new title where that differs.
    pub new_title: Option<String>,
    /// Severity at the page.
    pub severity: (Severity, Severity),
    pub paged_ms: (i64, i64),
    /// The page of the new configuration comes so much later; less than 0 is
    /// earlier.
    pub later_ms: i64,
    pub resolved_ms: (Option<i64>, Option<i64>),
    pub services: (Vec<String>, Vec<String>),
}

/// How the anomalies of one series differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChangedSeries {
    pub environment: String,
    pub service: String,
    pub metric: String,
    pub only_a: usize,
    pub only_b: usize,
    /// In both, with another severity.
    pub severity_changed: usize,
    /// In both, decided at another time.
    pub time_changed: usize,
    /// In both, with any of that.
    pub changed: usize,
    /// In both, alike in time and severity.
    pub same: usize,
    /// Event time of the first that differs.
    pub first_ms: Option<i64>,
    pub severity: (Option<Severity>, Option<Severity>),
}

/// Two outcomes compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Difference {
    /// Short ids of incidents that only one configuration has.
    pub incidents_only_a: Vec<String>,
    pub incidents_only_b: Vec<String>,
    pub incidents_changed: Vec<ChangedIncident>,
    pub incidents_same: usize,
    pub anomalies_only_a: usize,
    pub anomalies_only_b: usize,
    pub anomalies_changed: usize,
    pub anomalies_same: usize,
    /// Series whose anomalies differ.
    pub series: Vec<ChangedSeries>,
}

/// When something was: its beginning, and its end where it has one.
type Time = (i64, Option<i64>);

fn meets(a: Time, b: Time) -> bool {
    let end = |time: Time| time.1.unwrap_or(i64::MAX - NEAR_MS);
    a.0 <= end(b) + NEAR_MS && b.0 <= end(a) + NEAR_MS
}

/// Pairs of what fits together, the nearest first.
fn pairs(a: &[Time], b: &[Time], fits: impl Fn(usize, usize) -> bool) -> Vec<(usize, usize)> {
    let mut near: Vec<(i64, usize, usize)> = Vec::new();
    let mut first = 0;
    for (left, one) in a.iter().enumerate() {
        // Both begin in order, so what ended long before `one` is passed over.
        while first < b.len() && !meets(*one, b[first]) && b[first].0 < one.0 {
            first += 1;
        }
        let after = b.iter().enumerate().skip(first);
        let reach = one.1.unwrap_or(i64::MAX - NEAR_MS) + NEAR_MS;
        for (right, other) in after.take_while(|(_, other)| other.0 <= reach) {
            if meets(*one, *other) && fits(left, right) {
                near.push(((one.0 - other.0).abs(), left, right));
            }
        }
    }
    near.sort_unstable();
    let (mut taken_a, mut taken_b) = (BTreeSet::new(), BTreeSet::new());
    let mut found: Vec<(usize, usize)> = near
        .into_iter()
        .filter(|(_, left, right)| {
            let free = !taken_a.contains(left) && !taken_b.contains(right);
            if free {
                taken_a.insert(*left);
                taken_b.insert(*right);
            }
            free
        })
        .map(|(_, left, right)| (left, right))
        .collect();
    found.sort_unstable();
    found
}

/// What differs between two outcomes.
#[must_use]
pub fn compare(a: &Outcome, b: &Outcome) -> Difference {
    let mut difference = Difference::default();
    incidents(a, b, &mut difference);
    series(a, b, &mut difference);
    difference
}

fn incidents(a: &Outcome, b: &Outcome, difference: &mut Difference) {
    let times = |rows: &[IncidentRow]| -> Vec<Time> {
        rows.iter()
            .map(|row| (row.opened_ms, row.resolved_ms))
            .collect()
    };
    let fits = |left: usize, right: usize| {
        let (one, other) = (&a.incidents[left], &b.incidents[right]);
        one.environment == other.environment
            && one
                .services
                .iter()
                .any(|name| other.services.contains(name))
    };
    let together = pairs(&times(&a.incidents), &times(&b.incidents), fits);
    let (left, right): (BTreeSet<usize>, BTreeSet<usize>) = together.iter().copied().unzip();
    let alone = |rows: &[IncidentRow], paired: &BTreeSet<usize>| -> Vec<String> {
        rows.iter()
            .enumerate()
            .filter(|(index, _)| !paired.contains(index))
            .map(|(_, row)| row.short_id.clone())
            .collect()
    };
    difference.incidents_only_a = alone(&a.incidents, &left);
    difference.incidents_only_b = alone(&b.incidents, &right);
    for (left, right) in together {
        let (one, other) = (&a.incidents[left], &b.incidents[right]);
        let alike = one.severity == other.severity
            && one.highest_severity == other.highest_severity
            && one.paged_ms == other.paged_ms
            && one.resolved_ms == other.resolved_ms
            && one.title == other.title
            && one.services == other.services;
        if alike {
            difference.incidents_same += 1;
            continue;
        }
        difference.incidents_changed.push(ChangedIncident {
            a: one.short_id.clone(),
            b: other.short_id.clone(),
            title: one.title.clone(),
            new_title: (one.title != other.title).then(|| other.title.clone()),
            severity: (one.severity, other.severity),
            paged_ms: (one.paged_ms, other.paged_ms),
            later_ms: other.paged_ms - one.paged_ms,
            resolved_ms: (one.resolved_ms, other.resolved_ms),
            services: (one.services.clone(), other.services.clone()),
        });
    }
}

fn series(a: &Outcome, b: &Outcome, difference: &mut Difference) {
    let by_key = |rows: &[SeriesRow]| -> BTreeMap<SeriesKey, usize> {
        let key = |row: &SeriesRow| {
            (
                row.environment.clone(),
                row.service.clone(),
                row.metric.clone(),
            )
        };
        let indexed = rows.iter().enumerate();
        indexed.map(|(index, row)| (key(row), index)).collect()
    };
    let (left, right) = (by_key(&a.series), by_key(&b.series));
    let keys: BTreeSet<&SeriesKey> = left.keys().chain(right.keys()).collect();
    for key in keys {
        let one = left.get(key).map(|index| &a.series[*index]);
        let other = right.get(key).map(|index| &b.series[*index]);
        let changed = of_series(key, one, other);
        difference.anomalies_only_a += changed.only_a;
        difference.anomalies_only_b += changed.only_b;
        difference.anomalies_changed += changed.changed;
        difference.anomalies_same += changed.same;
        if changed.first_ms.is_some() {
            difference.series.push(changed);
        }
    }
}

fn of_series(key: &SeriesKey, one: Option<&SeriesRow>, other: Option<&SeriesRow>) -> ChangedSeries {
    let empty: &[Episode] = &[];
    let (a, b) = (
        one.map_or(empty, |row| &row.episodes),
        other.map_or(empty, |row| &row.episodes),
    );
    let times = |episodes: &[Episode]| -> Vec<Time> {
        let spans = episodes.iter();
        spans.map(|one| (one.from_ms, one.to_ms)).collect()
    };
    let together = pairs(&times(a), &times(b), |_, _| true);
    let mut changed = ChangedSeries {
        environment: key.0.clone(),
        service: key.1.clone(),
        metric: key.2.clone(),
        only_a: a.len() - together.len(),
        only_b: b.len() - together.len(),
        severity: (
            one.and_then(|row| row.severity),
            other.and_then(|row| row.severity),
        ),
        ..ChangedSeries::default()
    };
    let mut first_ms: Option<i64> = None;
    let mut differs = |at_ms: i64| first_ms = Some(first_ms.map_or(at_ms, |ms| ms.min(at_ms)));
    let (left, right): (BTreeSet<usize>, BTreeSet<usize>) = together.iter().copied().unzip();
    let alone_a = (0..a.len()).filter(|index| !left.contains(index));
    alone_a.for_each(|index| differs(a[index].from_ms));
    let alone_b = (0..b.len()).filter(|index| !right.contains(index));
    alone_b.for_each(|index| differs(b[index].from_ms));
    for (left, right) in together {
        let (one, other) = (&a[left], &b[right]);
        let severity = one.severity != other.severity;
        let time = (one.from_ms, one.to_ms) != (other.from_ms, other.to_ms);
        changed.severity_changed += usize::from(severity);
        changed.time_changed += usize::from(time);
        if !severity && !time {
            changed.same += 1;
        } else {
            changed.changed += 1;
            differs(one.from_ms.min(other.from_ms));
        }
    }
    changed.first_ms = first_ms;
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_belong_together_and_each_only_once() {
        let minute = |from: i64, to: i64| (from * 60_000, Some(to * 60_000));
        let a = [minute(0, 10), minute(30, 40), minute(100, 101)];
        let b = [
            minute(2, 9),
            minute(39, 60),
            minute(41, 50),
            minute(300, 301),
        ];
        assert_eq!(pairs(&a, &b, |_, _| true), [(0, 0), (1, 1)]);
        assert_eq!(
            pairs(&a, &b, |left, right| left + right != 2),
            [(0, 0), (1, 2)]
        );
        // What never ended meets all that comes.
        let open = [(0, None)];
        assert_eq!(pairs(&open, &b, |_, right| right == 3), [(0, 3)]);
        // A quarter of an hour between them is another one.
        assert_eq!(pairs(&[minute(0, 1)], &[minute(16, 17)], |_, _| true), []);
        // A long one is not lost behind short ones that came before it.
        let long = [minute(0, 500), minute(1, 2), minute(200, 201)];
        let late = [minute(199, 210)];
        assert_eq!(pairs(&late, &long, |_, right| right == 0), [(0, 0)]);
    }
}
