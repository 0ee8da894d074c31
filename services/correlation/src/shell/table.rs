//! Filling the context table: every replica reads the context topics for
//! itself, outside the group.

use crate::table::ContextTable;
use anyhow::Context as _;
use midwatch_events::{Coordinates, Topic, decode};
use midwatch_runtime::{ServiceContext, clock};
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How far back spans are read at a start, wall clock: all that may have come
/// since calls were last kept ([`super::calls`]), and the traces that are being
/// told. They are too many to be read for as long as a call counts.
pub const SPANS_MS: i64 = 2 * 3_600_000;
/// An incident that a start falls into the middle of may have begun so long ago,
/// wall clock; the deployment window lies before that.
const INCIDENT_MS: i64 = 2 * 3_600_000;
const TOPICS: [Topic; 3] = [Topic::RawDeployments, Topic::RawKubernetes, Topic::RawSpans];

/// How far back a topic is read at a start, wall clock. Its retention of seven
/// days is more than the longest window of a day and what comes on top.
fn back_ms(topic: Topic, deployment_window_ms: i64) -> i64 {
    match topic {
        Topic::RawSpans => SPANS_MS,
        _ => deployment_window_ms + INCIDENT_MS,
    }
}

/// Rebuilds the table and keeps following the topics in the background.
///
/// # Errors
/// The broker is away.
pub async fn follow(
    context: &ServiceContext,
    table: Arc<ContextTable>,
    deployment_window_ms: i64,
) -> anyhow::Result<()> {
    let config = context
        .kafka
        .consumer_config("unused", "unused")
        .set(
            "group.id",
            format!("{}-context", context.kafka.group("correlation")),
        )
        .set("group.instance.id", "")
        .set("enable.auto.commit", "false")
        .to_owned();
    let consumer: StreamConsumer = without_membership(config)
        .create()
        .context("the context reader cannot be set up")?;
    let kafka = context.kafka.clone();
    let consumer = Arc::new(consumer);
    let assigned = Arc::clone(&consumer);
    let ends = tokio::task::spawn_blocking(move || assign(&assigned, &kafka, deployment_window_ms))
        .await??;
    let reader = Reader {
        context: context.clone(),
        consumer,
        table,
    };
    reader.catch_up(ends).await;
    tokio::spawn(reader.run());
    Ok(())
}

/// The reader is assigned its partitions by hand: it is in no group.
fn without_membership(mut config: rdkafka::ClientConfig) -> rdkafka::ClientConfig {
    config.remove("group.instance.id");
    config
}

/// Assigns every partition from [`back_ms`] ago and answers with where each
/// ended at that moment.
fn assign(
    consumer: &StreamConsumer,
    kafka: &midwatch_clients::kafka::KafkaSettings,
    deployment_window_ms: i64,
) -> anyhow::Result<HashMap<(String, i32), i64>> {
    let limit = Duration::from_secs(10);
    let now_ms = clock::now_ms();
    let prober: BaseConsumer = kafka.client_config().create()?;
    let mut wanted = TopicPartitionList::new();
    let mut ends = HashMap::new();
    for topic in TOPICS {
        let since = now_ms - back_ms(topic, deployment_window_ms);
        let name = kafka.topic(topic.name());
        let metadata = prober
            .fetch_metadata(Some(&name), limit)
            .with_context(|| format!("the partitions of {name} cannot be read"))?;
        for partition in metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
        {
            let id = partition.id();
            let (low, high) = prober.fetch_watermarks(&name, id, limit)?;
            wanted.add_partition_offset(&name, id, Offset::Offset(since))?;
            if high > low {
                ends.insert((name.clone(), id), high);
            }
        }
    }
    // A broker that cannot look up by time gives the whole log instead.
    let found = prober.offsets_for_times(wanted.clone(), limit);
    let mut start = TopicPartitionList::new();
    for element in wanted.elements() {
        let (topic, partition) = (element.topic(), element.partition());
        let offset = found
            .as_ref()
            .ok()
            .and_then(|found| found.find_partition(topic, partition))
            .map_or(Offset::Beginning, |found| found.offset());
        let offset = match offset {
            Offset::Offset(at) if at >= 0 => {
                ends.entry((topic.to_owned(), partition))
                    .and_modify(|end| *end = (*end).max(at));
                Offset::Offset(at)
            }
            Offset::End => {
                ends.remove(&(topic.to_owned(), partition));
                Offset::End
            }
            _ => Offset::Beginning,
        };
        start.add_partition_offset(topic, partition, offset)?;
    }
    consumer
        .assign(&start)
        .context("the context topics cannot be assigned")?;
    Ok(ends)
}

struct Reader {
    context: ServiceContext,
    consumer: Arc<StreamConsumer>,
    table: Arc<ContextTable>,
}

impl Reader {
    /// Reads up to where the topics ended at start, for at most 20 s: an
    /// incident should not wait longer for its context than that.
    async fn catch_up(&self, mut ends: HashMap<(String, i32), i64>) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while !ends.is_empty() && !self.context.shutdown.is_set() {
            let Ok(next) = tokio::time::timeout_at(deadline, self.next()).await else {
                tracing::warn!(
                    "the context is not complete after 20 s; going on with what is there"
                );
                return;
            };
            let Some((topic, partition, offset)) = next else {
                continue;
            };
            let key = (topic, partition);
            if ends.get(&key).is_some_and(|end| offset + 1 >= *end) {
                ends.remove(&key);
            }
        }
    }

    async fn run(self) {
        loop {
            tokio::select! {
                () = self.context.shutdown.wait() => return,
                _ = self.next() => {}
            }
        }
    }

    /// Takes one message in; answers with where it lay.
    async fn next(&self) -> Option<(String, i32, i64)> {
        let message = match self.consumer.recv().await {
            Ok(message) => message,
            Err(error) => {
                tracing::debug!(%error, "the context reader is held up");
                tokio::time::sleep(Duration::from_millis(200)).await;
                return None;
            }
        };
        let name = self.context.kafka.bare(message.topic()).to_owned();
        let coordinates = Coordinates {
            epoch: String::new(),
            topic: name.clone(),
            partition: message.partition(),
            offset: message.offset(),
            record_ms: message.timestamp().to_millis().unwrap_or(0),
        };
        // Detection reads these topics in its group and dead-letters what is
        // unreadable; here it is only left out, and counted.
        match Topic::from_name(&name)
            .map(|topic| decode(topic, message.payload().unwrap_or_default(), &coordinates))
        {
            Some(Ok(envelope)) => self.table.take(envelope.event),
            _ => metrics::counter!("midwatch_correlation_context_unreadable_total").increment(1),
        }
        Some((
            message.topic().to_owned(),
            message.partition(),
            message.offset(),
        ))
    }
}
