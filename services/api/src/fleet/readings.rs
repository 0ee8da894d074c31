//! What detection keeps in Redis of each series: which there are, and the last
//! readings of some.

use crate::series::{Point, Recent, wall_point};
use fred::interfaces::{SetsInterface, SortedSetsInterface};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Series of one environment that are looked at.
pub const SERIES: usize = 20_000;
/// Metrics of one service that are drawn on its page.
pub const CHARTS: usize = 24;
/// Readings of one metric on its service's page; detection keeps no more.
pub const POINTS: usize = 720;
/// Environments that are looked at.
const ENVIRONMENTS: usize = 20;
/// How long Redis may take for one page.
const LIMIT: Duration = Duration::from_secs(2);
/// Ranges asked for at a time.
const PIPELINE: usize = 100;
/// A series is silent after five of its usual pauses, but not before this:
/// readings come to Redis in batches.
const SILENT_MS: i64 = 60_000;

/// How a metric is, from harmless to grave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The newest reading lies in its normal range.
    Normal,
    /// There are readings, but detection does not yet know what is normal.
    Learning,
    /// Readings have stopped, or there never were any.
    NoData,
    /// The newest reading lies outside of its normal range.
    Unusual,
}

/// A metric and what was expected of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricNow {
    pub metric: String,
    pub state: State,
    pub value: f64,
    pub expected: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Event time of the newest reading.
    pub at_ms: i64,
    /// Wall clock at which the broker took it.
    pub wall_ms: Option<i64>,
    /// Oldest first.
    pub points: Vec<Point>,
}

/// Which series there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub environments: Vec<String>,
    /// Service and environment → metrics, the telling ones first.
    pub series: BTreeMap<(String, String), Vec<String>>,
    /// Whether an environment has more than were looked at.
    pub truncated: bool,
}

impl Seen {
    /// The metrics of a service in an environment.
    #[must_use]
    pub fn metrics(&self, service: &str, environment: Option<&str>) -> &[String] {
        environment
            .and_then(|environment| {
                let key = (service.to_owned(), environment.to_owned());
                self.series.get(&key)
            })
            .map_or(&[], Vec::as_slice)
    }
}

/// The metrics of some services.
pub type Recently = BTreeMap<(String, Option<String>), Vec<MetricNow>>;

impl Recent {
    /// Which environments, services and metrics were read lately.
    ///
    /// # Errors
    /// Says in words that Redis is not there or does not answer.
    pub async fn seen(&self) -> Result<Seen, String> {
        let client = self.reached()?;
        let ask = async {
            let found: Vec<String> = client.smembers("midwatch:envs").await?;
            let names: BTreeSet<String> = found.into_iter().collect();
            let mut seen = Seen::default();
            for environment in names.into_iter().take(ENVIRONMENTS) {
                let key = format!("midwatch:series:{environment}");
                // Distinct ones, and all of them where there are no more.
                let members: Vec<String> = client.srandmember(&key, Some(SERIES)).await?;
                seen.truncated |= members.len() == SERIES;
                for member in members {
                    if let Some((service, metric)) = member.split_once('\0') {
                        let key = (service.to_owned(), environment.clone());
                        let metrics = seen.series.entry(key).or_default();
                        metrics.push(metric.to_owned());
                    }
                }
                seen.environments.push(environment);
            }
            for metrics in seen.series.values_mut() {
                metrics.sort_by_cached_key(|metric| (rank(metric), metric.clone()));
            }
            Ok::<_, fred::error::Error>(seen)
        };
        in_time(ask).await
    }

    /// The newest `points` readings of each series (service, environment,
    /// metric), judged at `now_ms`. A series without readings is silent and
    /// left out.
    ///
    /// # Errors
    /// As [`Recent::seen`].
    pub async fn series(
        &self,
        series: &[(String, Option<String>, String)],
        points: usize,
        now_ms: i64,
    ) -> Result<Recently, String> {
        let mut recently = Recently::new();
        if series.is_empty() {
            return Ok(recently);
        }
        let client = self.reached()?;
        let last = i64::try_from(points).unwrap_or(i64::MAX) - 1;
        let ask = async {
            let mut answers: Vec<Vec<String>> = Vec::with_capacity(series.len());
            for some in series.chunks(PIPELINE) {
                let pipeline = client.pipeline();
                for (service, environment, metric) in some {
                    let environment = environment.as_deref().unwrap_or_default();
                    let key = format!("midwatch:recent:{environment}:{service}:{metric}");
                    let () = pipeline.zrevrange(key, 0, last, false).await?;
                }
                let part: Vec<Vec<String>> = pipeline.all().await?;
                answers.extend(part);
            }
            Ok::<_, fred::error::Error>(answers)
        };
        let answers = in_time(ask).await?;
        for ((service, environment, metric), members) in series.iter().zip(answers) {
            if let Some(now) = judge(metric, &members, now_ms) {
                let key = (service.clone(), environment.clone());
                recently.entry(key).or_default().push(now);
            }
        }
        Ok(recently)
    }

    fn reached(&self) -> Result<&fred::clients::Client, String> {
        self.client().ok_or_else(|| {
            "Redis was not reached yet; REDIS_URL says where it should be".to_owned()
        })
    }
}

async fn in_time<T>(ask: impl Future<Output = Result<T, fred::error::Error>>) -> Result<T, String> {
    match tokio::time::timeout(LIMIT, ask).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("Redis answers {error}")),
        Err(_) => Err(format!("Redis gave no answer within {} s", LIMIT.as_secs())),
    }
}

/// What people look at first comes first.
fn rank(metric: &str) -> usize {
    let order = [
        "request_rate",
        "error_rate",
        "latency",
        "cpu",
        "memory",
        "connections",
        "lag",
    ];
    order
        .iter()
        .position(|part| metric.contains(part))
        .unwrap_or(order.len())
}

/// Makes a metric of its newest readings, newest first.
fn judge(metric: &str, members: &[String], now_ms: i64) -> Option<MetricNow> {
    let mut read: Vec<(Point, Option<i64>)> = members
        .iter()
        .filter_map(|member| wall_point(member))
        .filter(|(point, _)| point.value.is_finite())
        .collect();
    read.reverse();
    let (newest, wall_ms) = read.last()?.clone();
    let mut pauses: Vec<i64> = read
        .windows(2)
        .filter_map(|pair| Some(pair[1].1? - pair[0].1?))
        .collect();
    pauses.sort_unstable();
    let usual = pauses.get(pauses.len() / 2).copied().unwrap_or(0);
    let silent = wall_ms.is_none_or(|wall| now_ms - wall > SILENT_MS.max(usual * 5));
    let state = match (newest.low, newest.high) {
        _ if silent => State::NoData,
        (Some(low), Some(high)) if newest.value < low || newest.value > high => State::Unusual,
        (Some(_), Some(_)) => State::Normal,
        _ => State::Learning,
    };
    Some(MetricNow {
        metric: metric.to_owned(),
        state,
        value: newest.value,
        expected: newest.expected,
        low: newest.low,
        high: newest.high,
        at_ms: newest.at_ms,
        wall_ms,
        points: read.into_iter().map(|(point, _)| point).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(at_s: i64, value: f64, range: &str, wall_s: i64) -> String {
        let (at_ms, wall_ms) = (at_s * 1_000, wall_s * 1_000);
        format!("[{at_ms},{value},0.1,{range},{wall_ms},\"id\"]")
    }

    #[test]
    fn a_metric_is_judged_by_its_newest_reading() {
        let range = "100,80,120";
        for (newest, now_s, expected) in [
            (member(20, 100.0, range, 20), 25, State::Normal),
            (member(20, 120.5, range, 20), 25, State::Unusual),
            (member(20, 79.0, range, 20), 25, State::Unusual),
            (member(20, 100.0, "null,null,null", 20), 25, State::Learning),
            (member(20, 100.0, range, 20), 81, State::NoData),
            (member(20, 900.0, range, 20), 81, State::NoData),
        ] {
            let members = [newest.clone(), member(10, 90.0, range, 10)];
            let now = judge("m", &members, now_s * 1_000).unwrap();
            assert_eq!(now.state, expected, "{newest} at {now_s}");
            assert_eq!((now.points[0].at_ms, now.at_ms), (10_000, 20_000));
        }
        assert_eq!(judge("m", &["{}".to_owned()], 0), None);
    }

    #[test]
    fn a_slow_series_is_not_silent_between_two_of_its_readings() {
        let slow = [
            member(600, 1.0, "1,0,2", 600),
            member(300, 1.0, "1,0,2", 300),
            member(0, 1.0, "1,0,2", 0),
        ];
        assert_eq!(judge("m", &slow, 900_000).unwrap().state, State::Normal);
        assert_eq!(judge("m", &slow, 2_101_000).unwrap().state, State::NoData);
    }

    #[test]
    fn the_gravest_state_is_the_greatest() {
        let mut states = [
            State::Unusual,
            State::Normal,
            State::NoData,
            State::Learning,
        ];
        states.sort();
        assert_eq!(
            states,
            [
                State::Normal,
                State::Learning,
                State::NoData,
                State::Unusual
            ]
        );
    }
}
