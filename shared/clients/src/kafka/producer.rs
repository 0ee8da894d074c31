//! Sending: every call waits for the broker's acknowledgement.

use super::{KafkaError, KafkaSettings, Original};
use futures::future::try_join_all;
use midwatch_events::{Coordinates, Envelope};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Headers as pairs, in order.
pub type HeaderPairs = Vec<(String, String)>;

/// The largest part of an unreadable message that goes along where the whole
/// does not fit under the broker's limit.
const DEAD_LETTER_HEAD: usize = 1024 * 1024;

/// A producer; cheap to clone.
#[derive(Clone)]
pub struct Producer {
    inner: FutureProducer,
    settings: KafkaSettings,
}

impl Producer {
    /// Makes a producer. Nothing is sent yet, so an unreachable broker shows
    /// only at the first message.
    ///
    /// # Errors
    /// A property that librdkafka does not know or take.
    pub fn new(settings: &KafkaSettings) -> Result<Producer, KafkaError> {
        Ok(Producer {
            inner: settings
                .producer_config()
                .create()
                .map_err(|error| KafkaError::new("the producer", error))?,
            settings: settings.clone(),
        })
    }

    /// Publishes an event and waits for the acknowledgement; answers with
    /// partition and offset.
    ///
    /// # Errors
    /// The broker refused the message, or did not answer within 30 s.
    pub async fn publish(&self, envelope: &Envelope) -> Result<(i32, i64), KafkaError> {
        let topic = envelope.event.topic();
        let headers = event_headers(envelope);
        let payload = envelope.encode();
        let key = envelope.event.key();
        self.publish_bytes(topic.name(), key.as_bytes(), &payload, &headers)
            .await
    }

    /// Publishes all events, in order per key, and waits for all
    /// acknowledgements.
    ///
    /// # Errors
    /// As [`Producer::publish`]; some of the events may be on the broker then.
    pub async fn publish_all(&self, envelopes: &[Envelope]) -> Result<(), KafkaError> {
        // Bounded, so that a large history does not fill the send queue.
        for chunk in envelopes.chunks(2_000) {
            try_join_all(chunk.iter().map(|envelope| self.publish(envelope))).await?;
        }
        Ok(())
    }

    /// Publishes bytes under `topic` (its name without prefix).
    ///
    /// # Errors
    /// As [`Producer::publish`].
    pub async fn publish_bytes(
        &self,
        topic: &str,
        key: &[u8],
        payload: &[u8],
        headers: &[(String, String)],
    ) -> Result<(i32, i64), KafkaError> {
        let name = self.settings.topic(topic);
        let mut owned = OwnedHeaders::new_with_capacity(headers.len());
        for (key, value) in headers {
            owned = owned.insert(Header {
                key,
                value: Some(value),
            });
        }
        let record = FutureRecord::to(&name)
            .key(key)
            .payload(payload)
            .headers(owned);
        self.inner
            .send(record, Duration::from_secs(30))
            .await
            .map(|delivery| (delivery.partition, delivery.offset))
            .map_err(|(error, _)| KafkaError::new(&format!("publishing to {name}"), error))
    }

    /// Publishes a message once more with its very bytes, on `partition` of
    /// `topic` (its name without prefix): with the same key, behind what
    /// followed it.
    ///
    /// # Errors
    /// As [`Producer::publish`].
    pub async fn republish(
        &self,
        topic: &str,
        partition: i32,
        message: &Original,
    ) -> Result<(i32, i64), KafkaError> {
        let name = self.settings.topic(topic);
        let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
        for (key, value) in &message.headers {
            headers = headers.insert(Header {
                key,
                value: value.as_deref(),
            });
        }
        let mut record = FutureRecord::<[u8], [u8]>::to(&name)
            .partition(partition)
            .payload(&message.payload)
            .headers(headers);
        if let Some(key) = &message.key {
            record = record.key(key);
        }
        self.inner
            .send(record, Duration::from_secs(30))
            .await
            .map(|delivery| (delivery.partition, delivery.offset))
            .map_err(|(error, _)| KafkaError::new(&format!("publishing to {name}"), error))
    }

    /// Puts what could not be read onto `<topic>.dlq`: the original bytes, or
    /// their head and hash where they would not fit, with typed headers.
    ///
    /// # Errors
    /// As [`Producer::publish`].
    #[expect(clippy::too_many_arguments, reason = "what a dead letter says")]
    pub async fn dead_letter(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        payload: &[u8],
        coordinates: &Coordinates,
        agent: &str,
        kind: &str,
        reason: &str,
    ) -> Result<(), KafkaError> {
        let limit = midwatch_events::topics::DLQ_MAX_BYTES as usize - 64 * 1024;
        let whole = payload.len() <= limit;
        let body = if whole {
            payload
        } else {
            &payload[..DEAD_LETTER_HEAD]
        };
        let hash = uuid::Uuid::new_v5(&midwatch_events::ids::NAMESPACE, payload);
        let mut short: String = reason.chars().take(1_000).collect();
        short.retain(|letter| !letter.is_control());
        let headers: HeaderPairs = [
            ("midwatch_agent", agent.to_owned()),
            ("midwatch_error_kind", kind.to_owned()),
            ("midwatch_error", short),
            ("midwatch_epoch", coordinates.epoch.clone()),
            ("midwatch_topic", coordinates.topic.clone()),
            ("midwatch_partition", coordinates.partition.to_string()),
            ("midwatch_offset", coordinates.offset.to_string()),
            ("midwatch_record_ms", coordinates.record_ms.to_string()),
            ("midwatch_payload_bytes", payload.len().to_string()),
            ("midwatch_payload_uuid5", hash.to_string()),
            ("midwatch_payload_whole", whole.to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        self.publish_bytes(
            &format!("{topic}.dlq"),
            key.unwrap_or_default(),
            body,
            &headers,
        )
        .await
        .map(|_| ())
    }
}

/// CloudEvents headers (binary mode) and the W3C trace context of an event.
/// All events of an incident share its trace.
#[must_use]
pub fn event_headers(envelope: &Envelope) -> HeaderPairs {
    let meta = &envelope.meta;
    let nanos = i128::from(meta.event_time_ms) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default();
    let trace = envelope
        .event
        .incident_id()
        .or(meta.cause_id)
        .unwrap_or(meta.event_id);
    let span = meta.event_id.simple().to_string();
    [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", meta.event_id.to_string()),
        ("ce_source", format!("/midwatch/{}", meta.producer)),
        ("ce_type", envelope.event.topic().spec().ce_type.to_owned()),
        ("ce_time", time),
        ("ce_subject", envelope.event.key()),
        ("content-type", "application/json".to_owned()),
        (
            "traceparent",
            format!("00-{}-{}-01", trace.simple(), &span[..16]),
        ),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
