//! Sending what was found, and what could not be read, to the broker.

use crate::shell::worker::Worker;
use midwatch_clients::error::Gravity;
use midwatch_clients::kafka::KafkaError;
use midwatch_events::{Envelope, Event};

impl Worker {
    /// Sends dead letters and transitions, and waits for the broker.
    ///
    /// # Errors
    /// The broker is away; what it has not acknowledged stays to be sent.
    pub(super) fn publish(&mut self) -> anyhow::Result<()> {
        while let Some(letter) = self.dead.first() {
            let coordinates = &letter.coordinates;
            let sent = self.handle.block_on(self.parts.producer.dead_letter(
                &coordinates.topic,
                letter.key.as_deref(),
                &letter.payload,
                coordinates,
                "detection",
                letter.kind,
                &letter.reason,
            ));
            if let Err(error) = sent {
                if error.gravity() == Gravity::Transient {
                    return Err(error.into());
                }
                // Better one message less on the dead-letter topic than none
                // ever again from this partition.
                tracing::error!(%error, ?coordinates, "the dead-letter topic refuses the message; it stays in its own topic");
            }
            tracing::warn!(
                topic = coordinates.topic,
                partition = coordinates.partition,
                offset = coordinates.offset,
                kind = letter.kind,
                "not readable: {}",
                letter.reason
            );
            metrics::counter!("midwatch_detection_dead_letters_total",
                "topic" => coordinates.topic.clone(), "kind" => letter.kind)
            .increment(1);
            self.dead.remove(0);
        }
        self.dead_bytes = 0;
        if self.emissions.is_empty() {
            return Ok(());
        }
        let producer = &self.parts.producer;
        let sent = match self.handle.block_on(producer.publish_all(&self.emissions)) {
            Ok(()) => std::mem::take(&mut self.emissions),
            Err(error) if error.gravity() == Gravity::Permanent => {
                one_by_one(&mut self.emissions, |envelope| {
                    self.handle.block_on(producer.publish(envelope)).map(|_| ())
                })?
            }
            Err(error) => return Err(error.into()),
        };
        for envelope in sent {
            if let (Some(classifier), Event::Anomaly(anomaly)) =
                (&mut self.parts.classifier, envelope.event)
            {
                classifier.offer(&anomaly);
            }
        }
        Ok(())
    }
}

/// Sends one after the other, so that one message which the broker will never
/// take does not hold up the rest: it is logged with all it says, counted and
/// left out. Returns what was sent; the same ids may be on the broker already.
///
/// # Errors
/// The broker is away; what is left in `waiting` was not sent.
fn one_by_one(
    waiting: &mut Vec<Envelope>,
    mut send: impl FnMut(&Envelope) -> Result<(), KafkaError>,
) -> Result<Vec<Envelope>, KafkaError> {
    let mut sent = Vec::new();
    while let Some(envelope) = waiting.first() {
        match send(envelope) {
            Ok(()) => sent.push(waiting.remove(0)),
            Err(error) if error.gravity() == Gravity::Permanent => {
                metrics::counter!("midwatch_detection_refused_total").increment(1);
                tracing::error!(
                    event_id = %envelope.meta.event_id,
                    event = %String::from_utf8_lossy(&envelope.encode()),
                    "the broker refuses this transition for good; it is not published: {error}"
                );
                waiting.remove(0);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use midwatch_events::{Meta, RawMetric};
    use rdkafka::error::KafkaError as Inner;
    use rdkafka::types::RDKafkaErrorCode;
    use uuid::Uuid;

    fn envelope(number: u128) -> Envelope {
        Envelope {
            meta: Meta {
                event_id: Uuid::from_u128(number),
                cause_id: None,
                schema_version: 1,
                event_time_ms: 1,
                producer: "test".to_owned(),
            },
            event: Event::Metric(RawMetric {
                timestamp_ms: 1,
                service: "a".to_owned(),
                environment: "e".to_owned(),
                metric_name: "m".to_owned(),
                metric_value: 1.0,
                labels: Default::default(),
            }),
        }
    }

    fn numbers(envelopes: &[Envelope]) -> Vec<u128> {
        envelopes
            .iter()
            .map(|one| one.meta.event_id.as_u128())
            .collect()
    }

    fn failure(code: RDKafkaErrorCode) -> Result<(), KafkaError> {
        Err(KafkaError::new(
            "publishing",
            Inner::MessageProduction(code),
        ))
    }

    #[test]
    fn what_is_refused_for_good_is_left_out_and_an_absent_broker_is_waited_for() {
        let mut waiting: Vec<Envelope> = (1..=4).map(envelope).collect();
        let sent = one_by_one(&mut waiting, |one| match one.meta.event_id.as_u128() {
            2 => failure(RDKafkaErrorCode::MessageSizeTooLarge),
            _ => Ok(()),
        });
        assert_eq!(numbers(&sent.expect("the broker is there")), [1, 3, 4]);
        assert!(waiting.is_empty());

        let mut waiting: Vec<Envelope> = (1..=4).map(envelope).collect();
        let result = one_by_one(&mut waiting, |one| match one.meta.event_id.as_u128() {
            3 => failure(RDKafkaErrorCode::MessageTimedOut),
            _ => Ok(()),
        });
        assert!(result.is_err());
        assert_eq!(numbers(&waiting), [3, 4]);
    }
}
