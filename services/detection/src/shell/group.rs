//! The consumer: membership of the group, and rebalances as plain data.
//!
//! librdkafka wants an answer to each rebalance (assign or unassign). The
//! callback only notes it; the worker answers between two polls, after it has
//! loaded or saved the partitions' state.

use crate::shell::store::Place;
use midwatch_clients::kafka::KafkaSettings;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// A change of the assignment that waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebalance {
    Assign(Vec<Place>),
    Revoke(Vec<Place>),
}

/// What the consumer's callbacks leave behind.
#[derive(Debug, Default)]
pub struct Events {
    waiting: Mutex<VecDeque<Rebalance>>,
    /// From here on rebalances are answered in the callback: nobody polls any
    /// more, and closing waits for the answer.
    closing: AtomicBool,
}

impl Events {
    /// The next rebalance that waits.
    pub fn next(&self) -> Option<Rebalance> {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    /// Lets closing go through.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }
}

impl ClientContext for Events {}

impl ConsumerContext for Events {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        error: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let places = partitions
            .elements()
            .iter()
            .map(|element| (element.topic().to_owned(), element.partition()))
            .collect();
        let assigned = error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::SeqCst) {
            if !assigned && let Err(error) = release(consumer, partitions) {
                tracing::warn!(%error, "the assignment cannot be given back");
            }
            return;
        }
        let rebalance = if assigned {
            Rebalance::Assign(places)
        } else {
            Rebalance::Revoke(places)
        };
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(rebalance);
    }
}

/// A consumer of detection's topics.
///
/// # Errors
/// A property that librdkafka does not take.
pub fn consumer(kafka: &KafkaSettings, slot: &str) -> KafkaResult<BaseConsumer<Events>> {
    kafka
        .consumer_config(&kafka.group("detection"), slot)
        // Redis says where to go on; the committed offset follows by hand.
        .set("enable.auto.commit", "false")
        .create_with_context(Events::default())
}

fn list(places: &[(Place, Offset)]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for ((topic, partition), offset) in places {
        list.add_partition_offset(topic, *partition, *offset)?;
    }
    Ok(list)
}

/// A list of partitions with a plain offset.
///
/// # Errors
/// An offset that Kafka cannot hold.
pub fn offsets<'a>(
    places: impl IntoIterator<Item = (&'a Place, i64)>,
) -> KafkaResult<TopicPartitionList> {
    let places: Vec<(Place, Offset)> = places
        .into_iter()
        .map(|(place, offset)| (place.clone(), Offset::Offset(offset)))
        .collect();
    list(&places)
}

/// Takes partitions, each from its offset.
///
/// # Errors
/// The consumer is closing.
pub fn take(consumer: &BaseConsumer<Events>, places: &[(Place, Offset)]) -> KafkaResult<()> {
    let list = list(places)?;
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(&list),
        _ => consumer.assign(&list),
    }
}

/// Gives partitions back.
///
/// # Errors
/// The consumer is closing.
pub fn give_back(consumer: &BaseConsumer<Events>, places: &[Place]) -> KafkaResult<()> {
    let places: Vec<(Place, Offset)> = places
        .iter()
        .map(|place| (place.clone(), Offset::Invalid))
        .collect();
    release(consumer, &list(&places)?)
}

fn release(consumer: &BaseConsumer<Events>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        _ => consumer.unassign(),
    }
}
