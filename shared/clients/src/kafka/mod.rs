//! The broker: settings, producer, topics and epoch, and a reader that looks at
//! topics, messages and consumer groups without taking part.

mod admin;
mod browse;
mod groups;
mod original;
mod producer;
mod reader;
mod settings;

pub use admin::{create_topics, ensure_epoch, read_epoch};
pub use browse::{Follow, Followed, Page, Record, Start};
pub use groups::{Group, GroupMember, GroupPartition, GroupsReading};
pub use original::Original;
pub use producer::{HeaderPairs, Producer, event_headers};
pub use reader::{BrokerReader, Logs, PartitionLog};
pub use settings::{KafkaSettings, SESSION_TIMEOUT_MS};

use crate::error::Gravity;
use rdkafka::types::RDKafkaErrorCode;

/// A failed conversation with the broker.
#[derive(Debug, thiserror::Error)]
#[error("kafka: {what}: {detail}")]
pub struct KafkaError {
    what: String,
    detail: String,
    gravity: Gravity,
}

impl KafkaError {
    /// Wraps an error of librdkafka with what was being done.
    #[must_use]
    pub fn new(what: &str, error: rdkafka::error::KafkaError) -> KafkaError {
        use rdkafka::error::KafkaError as Inner;
        let gravity = match &error {
            Inner::ClientConfig(..) | Inner::ClientCreation(_) => Gravity::Fatal,
            Inner::MessageProduction(
                RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessage
                | RDKafkaErrorCode::UnknownTopicOrPartition,
            ) => Gravity::Permanent,
            _ => Gravity::Transient,
        };
        KafkaError {
            what: what.to_owned(),
            detail: error.to_string(),
            gravity,
        }
    }

    pub(crate) fn internal(detail: &str) -> KafkaError {
        KafkaError {
            what: "internal".to_owned(),
            detail: detail.to_owned(),
            gravity: Gravity::Transient,
        }
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn gravity(&self) -> Gravity {
        self.gravity
    }
}

/// Whether a consumer heals from this error by itself, by going on polling.
#[must_use]
pub fn is_passing(error: &rdkafka::error::KafkaError) -> bool {
    use rdkafka::error::KafkaError as Inner;
    !matches!(error, Inner::MessageConsumptionFatal(_))
}
