//! The acting part: recent readings from Redis, one look at a time.

use super::{Judgement, Reading, Untouched, first_ms, given_up, judge};
use crate::execution::Check;
use anyhow::Context as _;
use fred::clients::Client;
use fred::interfaces::{SetsInterface, SortedSetsInterface};
use midwatch_events::action::Verification;
use midwatch_events::knowledge::Catalogue;
use midwatch_runtime::{JobError, clock};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// From one look to the next, wall clock: a reading comes every few seconds,
/// and a look costs some twenty small reads.
const PAUSE: Duration = Duration::from_secs(3);
/// Age at which a question is given up however long its effect may take.
const GIVE_UP: Duration = Duration::from_secs(3_600);
/// Added to twice the effect's time before the wall clock ends it: restarts and
/// lag of the pipeline itself.
const SLACK_MS: i64 = 60_000;
/// Readings of one series in one look; detection keeps no more.
const POINTS: i64 = 720;
/// Untouched series that are looked at.
const CONTROLS: usize = 16;

/// Looks whether actions helped.
#[derive(Clone)]
pub struct Proof {
    redis: Client,
    catalogue: Catalogue,
}

impl Proof {
    /// Reads from `redis`; `catalogue` says who calls whom.
    #[must_use]
    pub fn new(redis: Client, catalogue: Catalogue) -> Proof {
        Proof { redis, catalogue }
    }

    /// One look at the readings.
    ///
    /// # Errors
    /// [`JobError::Later`] while nothing can be said, so that no worker waits
    /// for minutes; transient where Redis is away.
    pub async fn verify(&self, check: &Check) -> Result<Verification, JobError> {
        let (environment, effect) = (&check.environment, &check.effect);
        let from_ms = first_ms(check);
        let readings = self
            .readings(environment, &effect.service, &effect.metric, from_ms)
            .await?;
        let names: Vec<String> = self
            .redis
            .smembers(format!("midwatch:series:{environment}"))
            .await
            .context("reading the series of the environment")?;
        let mut controls = Vec::new();
        for service in untouched(check, &self.catalogue, &names) {
            let readings = self
                .readings(environment, &service, &effect.metric, from_ms)
                .await?;
            controls.push(Untouched { service, readings });
        }
        let now_ms = reached(check, &readings, &controls);
        match judge(check, &readings, &controls, now_ms) {
            Judgement::Done(verification) => Ok(*verification),
            Judgement::Wait { .. } if is_over(check, clock::now_ms()) => {
                Ok(given_up(check, &readings))
            }
            Judgement::Wait { .. } => Err(JobError::Later {
                error: anyhow::anyhow!("there are too few readings yet"),
                wait: PAUSE,
                give_up: GIVE_UP,
            }),
        }
    }

    /// Readings of a series since a time, in order.
    async fn readings(
        &self,
        environment: &str,
        service: &str,
        metric: &str,
        from_ms: i64,
    ) -> anyhow::Result<Vec<Reading>> {
        let key = format!("midwatch:recent:{environment}:{service}:{metric}");
        #[expect(
            clippy::cast_precision_loss,
            reason = "scores are epoch ms, below 2^53"
        )]
        let from = from_ms as f64;
        let members: Vec<String> = self
            .redis
            .zrangebyscore(&key, from, f64::INFINITY, false, Some((0, POINTS)))
            .await
            .with_context(|| format!("reading {key}"))?;
        let mut readings: Vec<Reading> = members.iter().filter_map(|one| reading(one)).collect();
        readings.sort_by_key(|one| one.at_ms);
        Ok(readings)
    }
}

/// Reads `[timestamp_ms, value, …]`, as detection keeps it.
fn reading(member: &str) -> Option<Reading> {
    let fields: Vec<Value> = serde_json::from_str(member).ok()?;
    Some(Reading {
        at_ms: fields.first()?.as_i64()?,
        value: fields.get(1)?.as_f64()?,
    })
}

/// Services that report the metric and that the action cannot have touched:
/// the incident does not name them, and nobody wrote down that they call one
/// that it names, or are called by one. `names` are the series of the
/// environment, each `service\0metric`.
#[must_use]
pub fn untouched(check: &Check, catalogue: &Catalogue, names: &[String]) -> Vec<String> {
    let own = &check.effect.service;
    let touched: BTreeSet<&str> = check
        .affected_services
        .iter()
        .chain([own])
        .map(String::as_str)
        .collect();
    let mut near = touched.clone();
    for entry in catalogue.iter() {
        let neighbours = entry
            .dependencies_downstream
            .iter()
            .chain(&entry.dependencies_upstream)
            .map(String::as_str);
        if touched.contains(entry.name.as_str()) {
            near.extend(neighbours);
        } else if neighbours.into_iter().any(|one| touched.contains(one)) {
            near.insert(&entry.name);
        }
    }
    let others: BTreeSet<&str> = names
        .iter()
        .filter_map(|name| name.split_once('\0'))
        .filter(|(service, metric)| *metric == check.effect.metric && !near.contains(service))
        .map(|(service, _)| service)
        .collect();
    others
        .into_iter()
        .take(CONTROLS)
        .map(str::to_owned)
        .collect()
}

/// The event time that the judged series has reached. Where others are ahead
/// of it by more than a quarter of the effect's time, it has stopped.
fn reached(check: &Check, readings: &[Reading], controls: &[Untouched]) -> i64 {
    let last = |readings: &[Reading]| readings.last().map_or(i64::MIN, |one| one.at_ms);
    let ahead = controls
        .iter()
        .map(|one| last(&one.readings))
        .max()
        .unwrap_or(i64::MIN);
    last(readings).max(ahead.saturating_sub(check.effect.within_ms / 4))
}

/// Whether the wall clock ends the question.
fn is_over(check: &Check, wall_ms: i64) -> bool {
    let limit_ms = 2 * check.effect.within_ms + SLACK_MS;
    check
        .asked_wall_ms
        .is_some_and(|asked_ms| wall_ms > asked_ms + limit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use midwatch_events::action::ExpectedEffect;
    use midwatch_events::anomaly::Direction;

    fn check(asked_wall_ms: Option<i64>) -> Check {
        Check {
            incident_id: uuid::Uuid::nil(),
            environment: "e".to_owned(),
            step_id: "S1".to_owned(),
            effect: ExpectedEffect {
                service: "b".to_owned(),
                metric: "m".to_owned(),
                direction: Direction::Below,
                baseline_value: 1.0,
                within_ms: 100_000,
            },
            onset_ms: 0,
            acted_at_ms: 50_000,
            affected_services: vec!["b".to_owned(), "a".to_owned()],
            asked_wall_ms,
        }
    }

    #[test]
    fn a_member_of_detections_is_read_and_a_broken_one_is_left_out() {
        let read = reading("[20,7.5,0.9,4.0,3.0,5.0,99,\"id\",\"\"]").expect("a reading");
        assert_eq!((read.at_ms, read.value), (20, 7.5));
        for broken in ["{}", "[]", "[20]", "[20,null]", "[\"x\",1]", "nonsense"] {
            assert_eq!(reading(broken), None, "{broken}");
        }
    }

    #[test]
    fn who_calls_or_is_called_is_no_comparison() {
        // a → b → c, d → e, f alone: the incident names a and b.
        let record = |name: &str, down: &str, up: &str| {
            let list = |text: &str| {
                if text.is_empty() {
                    Vec::new()
                } else {
                    vec![text.to_owned()]
                }
            };
            serde_json::json!({"name": name, "dependencies_downstream": list(down),
                "dependencies_upstream": list(up)})
        };
        let catalogue = serde_json::json!([
            record("a", "b", ""),
            record("b", "c", "a"),
            record("c", "", ""),
            record("d", "e", ""),
            record("e", "", "d"),
            record("g", "a", ""),
        ]);
        let catalogue = Catalogue::parse(&catalogue.to_string()).expect("a catalogue");
        let names: Vec<String> = ["a", "b", "c", "d", "e", "f", "g"]
            .into_iter()
            .flat_map(|one| [format!("{one}\0m"), format!("{one}\0other")])
            .collect();
        assert_eq!(untouched(&check(None), &catalogue, &names), ["d", "e", "f"]);
        assert!(untouched(&check(None), &catalogue, &["d\0other".to_owned()]).is_empty());
    }

    #[test]
    fn a_series_that_stopped_does_not_hold_up_the_clock() {
        let at = |at_ms| Reading { at_ms, value: 1.0 };
        let other = |at_ms| Untouched {
            service: "d".to_owned(),
            readings: vec![at(at_ms)],
        };
        assert_eq!(reached(&check(None), &[at(60_000)], &[]), 60_000);
        assert_eq!(
            reached(&check(None), &[at(60_000)], &[other(80_000)]),
            60_000
        );
        assert_eq!(
            reached(&check(None), &[at(60_000)], &[other(200_000)]),
            175_000
        );
        assert_eq!(reached(&check(None), &[], &[]), i64::MIN);
    }

    #[test]
    fn the_wall_clock_ends_it_twice_the_time_and_a_minute_later() {
        let asked = check(Some(1_000));
        assert!(!is_over(&asked, 261_000));
        assert!(is_over(&asked, 261_001));
        assert!(!is_over(&check(None), i64::MAX));
    }
}
