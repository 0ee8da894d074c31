//! Where the partitions end on the broker: lag for people, and proof that a
//! quiet partition is quiet and not merely unreachable.

use crate::shell::group::Events;
use crate::shell::store::Place;
use midwatch_clients::kafka::KafkaSettings;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(5);
const REQUEST: Duration = Duration::from_secs(2);
/// An answer older than this proves nothing about now.
const FRESH: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, Default)]
struct Position {
    next: i64,
    high: i64,
    asked: Option<Instant>,
}

/// Positions, shared between the worker and the thread that asks the broker.
#[derive(Clone, Debug, Default)]
pub struct Positions(Arc<Mutex<BTreeMap<Place, Position>>>);

impl Positions {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<Place, Position>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The next offset to be read.
    pub fn set(&self, place: &Place, next: i64) {
        self.with(|all| match all.get_mut(place) {
            Some(position) => position.next = next,
            None => {
                let position = Position {
                    next,
                    ..Position::default()
                };
                all.insert(place.clone(), position);
            }
        });
    }

    /// The partition is no longer ours.
    pub fn remove(&self, place: &Place) {
        self.with(|all| all.remove(place));
    }

    /// Whether the broker said lately that nothing lies beyond what was read.
    #[must_use]
    pub fn at_end(&self, place: &Place) -> bool {
        self.with(|all| {
            all.get(place).is_some_and(|position| {
                position.high <= position.next
                    && position.asked.is_some_and(|asked| asked.elapsed() < FRESH)
            })
        })
    }

    fn places(&self) -> Vec<Place> {
        self.with(|all| all.keys().cloned().collect())
    }

    fn answered(&self, place: &Place, high: i64) -> Option<i64> {
        self.with(|all| {
            let position = all.get_mut(place)?;
            position.high = high;
            position.asked = Some(Instant::now());
            Some((high - position.next).max(0))
        })
    }
}

/// Asks the broker for the ends of the partitions until the worker is gone.
pub fn watch(
    consumer: &std::sync::Weak<BaseConsumer<Events>>,
    positions: &Positions,
    kafka: &KafkaSettings,
) {
    loop {
        for place in positions.places() {
            let Some(consumer) = consumer.upgrade() else {
                return;
            };
            match consumer.fetch_watermarks(&place.0, place.1, REQUEST) {
                Ok((_, high)) => {
                    if let Some(lag) = positions.answered(&place, high) {
                        metrics::gauge!("midwatch_consumer_lag",
                            "topic" => kafka.bare(&place.0).to_owned(),
                            "partition" => place.1.to_string())
                        .set(lag as f64);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, topic = place.0, partition = place.1, "no watermark");
                }
            }
        }
        if consumer.strong_count() == 0 {
            return;
        }
        std::thread::sleep(EVERY);
    }
}
