//! From a message to its effects.

use crate::decide::naming::write_series_name;
use crate::decide::samples::{Kept, Sample};
use crate::decide::table::SeriesName;
use crate::decide::transition::Emission;
use crate::decide::{At, Effect, Input};
use crate::shell::TOPICS;
use crate::shell::store::Place;
use crate::shell::worker::{DeadLetter, Parts, Worker};
use midwatch_events::decode::{PlainMetric, SCHEMA_VERSION, decode, plain_metric};
use midwatch_events::{Coordinates, Envelope, Event, Meta, Topic};
use midwatch_runtime::clock;
use rdkafka::message::{BorrowedMessage, Message};
use std::time::Instant;

/// Where the message at hand lay. Messages come in runs of one partition, so
/// the names are kept from one to the next instead of being made for each.
#[derive(Debug)]
pub(super) struct Current {
    pub place: Place,
    topic: Option<Topic>,
    /// Its place among [`TOPICS`].
    number: usize,
    coordinates: Coordinates,
}

impl Current {
    pub fn nowhere(epoch: &str) -> Current {
        Current {
            place: (String::new(), -1),
            topic: None,
            number: 0,
            coordinates: Coordinates {
                epoch: epoch.to_owned(),
                topic: String::new(),
                partition: -1,
                offset: -1,
                record_ms: 0,
            },
        }
    }

    /// Goes to where `message` lay; its topic, if it is one of Midwatch's.
    fn arrive(
        &mut self,
        parts: &Parts,
        message: &BorrowedMessage<'_>,
        record_ms: i64,
    ) -> Option<Topic> {
        if self.place.0 != message.topic() {
            message.topic().clone_into(&mut self.place.0);
            self.topic = Topic::from_name(parts.context.kafka.bare(&self.place.0));
            let number = TOPICS.iter().position(|topic| Some(*topic) == self.topic);
            self.number = number.unwrap_or(0);
            let name = self.topic.map_or("", Topic::name);
            name.clone_into(&mut self.coordinates.topic);
        }
        self.place.1 = message.partition();
        self.coordinates.partition = message.partition();
        self.coordinates.offset = message.offset();
        self.coordinates.record_ms = record_ms;
        self.topic
    }
}

impl Worker {
    /// Takes in a message of a batch that began at `begun`, `now_ms` on the
    /// wall.
    pub(super) fn message(&mut self, message: &BorrowedMessage<'_>, begun: Instant, now_ms: i64) {
        let offset = message.offset();
        let record_ms = message
            .timestamp()
            .to_millis()
            .unwrap_or_else(clock::now_ms);
        let Some(topic) = self.current.arrive(&self.parts, message, record_ms) else {
            return;
        };
        let place = &self.current.place;
        let Some(partition) = self.partitions.get_mut(place) else {
            return;
        };
        if partition.started && offset < partition.next_offset {
            return;
        }
        if !partition.started && offset < partition.next_offset {
            tracing::error!(
                topic = place.0,
                partition = place.1,
                stored = partition.next_offset,
                found = offset,
                "the log ends before the stored offset within one epoch: records were lost on the broker; going on from what there is"
            );
        }
        partition.started = true;
        partition.next_offset = offset + 1;
        partition.last_message = begun;
        if record_ms < partition.skip_before_ms {
            return;
        }
        let payload = message.payload().unwrap_or_default();
        self.handled[self.current.number] += 1;
        // A producer sets its records' times; they are never in the future.
        let wall_ms = if record_ms <= now_ms {
            record_ms
        } else {
            record_ms.min(clock::now_ms())
        };
        let plain = match topic {
            Topic::RawMetrics => plain_metric(payload, &self.current.coordinates),
            _ => None,
        };
        match plain {
            Some(metric) => self.sample(wall_ms, &metric),
            None => self.event(message, topic, payload, wall_ms),
        }
    }

    /// The way of nearly all messages; allocates nothing.
    fn sample(&mut self, wall_ms: i64, metric: &PlainMetric<'_>) {
        let Some(partition) = self.partitions.get_mut(&self.current.place) else {
            return;
        };
        let at = At {
            event_id: metric.event_id,
            wall_ms,
        };
        write_series_name(&mut self.series, metric.metric_name, |label| {
            metric.label(label)
        });
        let sample = Sample {
            environment: metric.environment,
            service: metric.service,
            series: &self.series,
            at_ms: metric.timestamp_ms,
            value: metric.metric_value,
        };
        let mut effects = std::mem::take(&mut self.effects);
        let detector = &self.parts.detector;
        if let Some(kept) = detector.sample(&mut partition.state, at, sample, &mut effects) {
            self.recent.reading(kept, wall_ms);
        }
        self.perform(at, &mut effects);
        self.effects = effects;
    }

    /// The general way.
    fn event(&mut self, message: &BorrowedMessage<'_>, topic: Topic, payload: &[u8], wall_ms: i64) {
        match decode(topic, payload, &self.current.coordinates) {
            Ok(envelope) => {
                let at = At {
                    event_id: envelope.meta.event_id,
                    wall_ms,
                };
                if let Some(input) = Input::of(envelope.event) {
                    let place = self.current.place.clone();
                    self.decide(&place, at, input);
                }
            }
            Err(error) => {
                self.dead_bytes += payload.len();
                self.dead.push(DeadLetter {
                    coordinates: self.current.coordinates.clone(),
                    key: message.key().map(<[u8]>::to_vec),
                    payload: payload.to_vec(),
                    kind: error.kind(),
                    reason: error.to_string(),
                });
            }
        }
    }

    pub(super) fn decide(&mut self, place: &Place, at: At, input: Input) {
        let Some(partition) = self.partitions.get_mut(place) else {
            return;
        };
        let detector = &self.parts.detector;
        let mut effects = detector.decide(&mut partition.state, at, input);
        self.perform(at, &mut effects);
    }

    fn perform(&mut self, at: At, effects: &mut Vec<Effect>) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Emit(emission) => self.emit(*emission),
                Effect::RememberReading {
                    environment,
                    service,
                    series,
                    reading,
                } => {
                    // Only what is not written in the plain form comes this way.
                    let kept = Kept {
                        name: SeriesName::new(&environment, &service, &series),
                        reading,
                        first_in_minute: true,
                    };
                    self.recent.reading(kept, at.wall_ms);
                }
                Effect::RememberLog { event_id, log } => self.recent.log(&log, event_id),
                Effect::RememberSpan { event_id, span } => self.recent.span(&span, event_id),
                Effect::ClockJump => {
                    metrics::counter!("midwatch_detection_clock_jumps_total").increment(1);
                }
                Effect::Ignore(reason) => {
                    metrics::counter!("midwatch_detection_ignored_total", "reason" => reason.as_str())
                        .increment(1);
                }
            }
        }
    }

    fn emit(&mut self, emission: Emission) {
        let anomaly = &emission.anomaly;
        let transition = format!("{:?}", anomaly.transition).to_lowercase();
        tracing::info!(
            anomaly_id = %anomaly.anomaly_id,
            transition,
            severity = %anomaly.severity,
            environment = anomaly.environment,
            "{}",
            anomaly.description
        );
        metrics::counter!("midwatch_detection_anomalies_total",
            "transition" => transition, "type" => anomaly.anomaly_type.as_str())
        .increment(1);
        self.emissions.push(Envelope {
            meta: Meta {
                event_id: emission.event_id,
                cause_id: Some(emission.cause_id),
                schema_version: SCHEMA_VERSION,
                event_time_ms: anomaly.detected_at_ms,
                producer: "midwatch.detection".to_owned(),
            },
            event: Event::Anomaly(emission.anomaly),
        });
    }
}
