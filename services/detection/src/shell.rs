//! The shell: Kafka in, decisions, Kafka and Redis out.

mod assignment;
mod checkpoint;
pub mod classify;
pub mod group;
mod intake;
pub mod lag;
mod publish;
pub mod recent;
pub mod store;
mod worker;
mod writer;

use crate::config::DetectionConfig;
use crate::decide::Detector;
use anyhow::Context as _;
use classify::Classifier;
use midwatch_events::Topic;
use midwatch_events::knowledge::Catalogue;
use midwatch_runtime::ServiceContext;
use rdkafka::consumer::Consumer;
use std::sync::Arc;
use store::Store;
use worker::Worker;

/// The topics of the consumer group.
pub const TOPICS: [Topic; 4] = [
    Topic::RawMetrics,
    Topic::RawLogs,
    Topic::RawSpans,
    Topic::RawKubernetes,
];

/// Runs detection until it is asked to stop.
///
/// # Errors
/// The configuration is unusable; a dependency is not there at start, or
/// partitions were lost to somebody else and the group does not say so.
pub async fn run(mut context: ServiceContext) -> anyhow::Result<()> {
    let config = DetectionConfig::from_settings(&mut context.settings);
    let slot = context.settings.slot();
    let llm = context.llm()?;
    let catalogue = catalogue(&context.settings.text("KNOWLEDGE_DIR", "knowledge"))?;
    context.settings.clone().finish()?;
    let epoch = context.epoch().await?;
    let redis = context.redis().await?;
    let producer = context.producer()?;
    let classifier = match llm {
        Some(llm) => Some(Classifier::start(
            llm,
            context.postgres().await?,
            Arc::clone(&config.tuning.semantics),
        )),
        None => None,
    };
    let store = Store::new(redis.clone(), &epoch);
    if let Some(before) = store.note_epoch(&context.kafka.topic_prefix).await? {
        metrics::counter!("midwatch_detection_epochs_set_aside_total").increment(1);
        tracing::warn!(
            before,
            now = epoch,
            "the broker's data is new: detector state of the epoch before is set aside and left to expire"
        );
    }
    let consumer = group::consumer(&context.kafka, &slot).context("the consumer")?;
    let names: Vec<String> = TOPICS
        .iter()
        .map(|topic| context.kafka.topic(topic.name()))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    consumer.subscribe(&names).context("subscribing")?;
    let worker = Worker::new(worker::Parts {
        detector: Detector::new(config.tuning.clone(), &epoch).with_catalogue(&catalogue),
        config,
        epoch,
        context,
        consumer: Arc::new(consumer),
        store,
        redis,
        producer,
        classifier,
    });
    tokio::task::spawn_blocking(move || worker.run())
        .await
        .context("the worker panicked")?
}

/// The service catalogue, for the objectives in it. Everything else works
/// without one; one that cannot be understood is a mistake to be told at once.
fn catalogue(folder: &str) -> anyhow::Result<Catalogue> {
    let path = format!("{folder}/services.json");
    match std::fs::read_to_string(&path) {
        Ok(text) => Catalogue::parse(&text)
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("{path} is not usable; mend it, or set KNOWLEDGE_DIR")),
        Err(error) => {
            tracing::warn!(
                "no error budgets are watched: {path} cannot be read ({error}); set KNOWLEDGE_DIR to the folder of services.json"
            );
            Ok(Catalogue::default())
        }
    }
}
