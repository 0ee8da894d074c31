//! Quiet samples, many of them, put onto raw.metrics.

use anyhow::{Context as _, Result, bail};
use midwatch_clients::kafka::KafkaSettings;
use midwatch_events::decode::SCHEMA_VERSION;
use midwatch_events::raw::Labels;
use midwatch_events::{Envelope, Event, Meta, RawMetric, Topic};
use midwatch_runtime::clock;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;
use std::time::Duration;
use uuid::Uuid;

/// What a service reports: name, usual value, noise as a share of it.
const METRICS: [(&str, f64, f64); 7] = [
    ("service_request_rate", 150.0, 0.08),
    ("service_error_rate_percent", 0.5, 0.3),
    ("service_latency_p99_ms", 380.0, 0.08),
    ("service_cpu_percent", 30.0, 0.08),
    ("service_memory_percent", 45.0, 0.05),
    ("service_db_connections", 30.0, 0.08),
    ("kafka_consumer_lag", 100.0, 0.5),
];

/// Event time between two readings of a series.
const EVERY_MS: i64 = 10_000;

/// A sample as a collector sends it.
pub fn sample(
    id: Uuid,
    at_ms: i64,
    environment: &str,
    service: &str,
    metric: &str,
    value: f64,
) -> Envelope {
    Envelope {
        meta: Meta {
            event_id: id,
            cause_id: None,
            schema_version: SCHEMA_VERSION,
            event_time_ms: at_ms,
            producer: "midwatch.bench".to_owned(),
        },
        event: Event::Metric(RawMetric {
            timestamp_ms: at_ms,
            service: service.to_owned(),
            environment: environment.to_owned(),
            metric_name: metric.to_owned(),
            metric_value: value,
            labels: Labels::from([("service".to_owned(), service.to_owned())]),
        }),
    }
}

/// Service, metric, usual value and noise of the series of this number.
pub fn name(index: u64) -> (String, &'static str, f64, f64) {
    let service = format!("bench-service-{:05}", index / METRICS.len() as u64);
    let (metric, usual, share) = METRICS[(index % METRICS.len() as u64) as usize];
    (service, metric, usual, share)
}

/// Puts `samples` readings of `series` series onto raw.metrics, one round of
/// all series after the other, ten seconds of event time apart and ending now.
/// Returns the bytes of all payloads.
///
/// # Errors
/// The broker does not take them.
pub fn preload(kafka: &KafkaSettings, seed: u64, samples: u64, series: u64) -> Result<u64> {
    let producer: BaseProducer = kafka
        .producer_config()
        .set("queue.buffering.max.messages", "200000")
        .set("linger.ms", "50")
        .create()
        .context("a producer")?;
    let topic = kafka.topic(Topic::RawMetrics.name());
    let mut noise = StdRng::seed_from_u64(seed);
    let rounds = samples.div_ceil(series);
    let begin_ms = clock::now_ms() - EVERY_MS * i64::try_from(rounds)?;
    let mut bytes = 0;
    for number in 0..samples {
        let (round, index) = (number / series, number % series);
        let (service, metric, usual, share) = name(index);
        let value = usual * (1.0 + share * noise.random_range(-1.0..1.0));
        let within_ms = EVERY_MS * i64::try_from(index)? / i64::try_from(series)?;
        let at_ms = begin_ms + EVERY_MS * i64::try_from(round)? + within_ms;
        let id = Uuid::from_u128(noise.random());
        let payload = sample(id, at_ms, "bench", &service, metric, value).encode();
        bytes += payload.len() as u64;
        let mut record = BaseRecord::to(&topic).key(&service).payload(&payload);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    producer.poll(Duration::from_millis(20));
                }
                Err((error, _)) => bail!("the broker does not take samples: {error}"),
            }
        }
        if number % 1_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer
        .flush(Duration::from_secs(120))
        .context("the broker did not acknowledge all samples")?;
    Ok(bytes)
}
