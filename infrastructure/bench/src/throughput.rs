//! Samples per second and CPU through the real detection process, next to the
//! bare loop: consume and parse, nothing else.

use crate::bed::{Bed, cpu_seconds};
use crate::load;
use crate::report::{Cell, Section};
use anyhow::{Context as _, Result, ensure};
use midwatch_clients::kafka::KafkaSettings;
use midwatch_events::{RawMetric, Topic};
use nix::sys::signal::Signal;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

/// The slowest run that is waited for: 2 000 samples a second.
const LEAST_PER_SECOND: f64 = 2_000.0;
const POLL: Duration = Duration::from_millis(50);

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub per_second: f64,
    pub cpu_seconds_per_million: f64,
}

/// Measures both for each number of partitions.
///
/// # Errors
/// A server is missing, or nothing is consumed.
pub async fn measure(bed: &mut Bed) -> Result<Section> {
    let (samples, series) = (bed.options.samples, bed.options.series);
    let title = format!("detection: {samples} samples of {series} series, from the broker");
    let columns = [
        "partitions",
        "detection /s",
        "bare /s",
        "ratio",
        "detection CPU s/M",
        "bare CPU s/M",
    ];
    let mut section = Section::new("detection", title, &columns);
    bed.roomy_redis().await?;
    let mut size = 0;
    let mut costs: Vec<f64> = Vec::new();
    for partitions in bed.options.partitions.clone() {
        let kafka = bed
            .broker(&format!("detection-{partitions}"), partitions)
            .await?;
        bed.say(
            "detection",
            &format!("{partitions} partitions: sending {samples} samples"),
        );
        size = load::preload(&kafka, bed.options.seed, samples, series)? / samples;
        bed.say(
            "detection",
            &format!("{partitions} partitions: the bare loop"),
        );
        let bare = bare(&kafka, samples)?;
        bed.say("detection", &format!("{partitions} partitions: detection"));
        let detection = detection(bed, &kafka, samples).await?;
        costs.push(detection.cpu_seconds_per_million);
        section.row([
            Cell::Number(f64::from(partitions), 0),
            Cell::Number(detection.per_second, 0),
            Cell::Number(bare.per_second, 0),
            Cell::Number(detection.per_second / bare.per_second, 2),
            Cell::Number(detection.cpu_seconds_per_million, 2),
            Cell::Number(bare.cpu_seconds_per_million, 2),
        ]);
    }
    section.note(format!(
        "Bare: one librdkafka consumer and serde_json into the same payload type, on the same \
         topic in the same run. {size} bytes a sample. Detection writes state and readings to \
         Redis on the same machine meanwhile; its CPU leaves out that of Redis and the broker. \
         Target: ratio 0.8 in every row."
    ));
    let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let most = costs.iter().copied().fold(0.0, f64::max);
    if costs.len() > 1 {
        section.note(format!(
            "Detection's CPU seconds per million samples differ by {:.0} % between these rows. \
             Target: 15 %.",
            100.0 * (most / least - 1.0)
        ));
    }
    Ok(section)
}

/// Consumes and parses everything on raw.metrics, on one thread.
fn bare(kafka: &KafkaSettings, samples: u64) -> Result<Pace> {
    let consumer: BaseConsumer = kafka
        .consumer_config(&kafka.group("bench-bare"), "0")
        .set("enable.auto.commit", "false")
        .create()
        .context("a consumer")?;
    let topic = kafka.topic(Topic::RawMetrics.name());
    let mut list = TopicPartitionList::new();
    for partition in 0..kafka.partitions {
        list.add_partition_offset(&topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let mut sum = 0.0;
    let mut count = 0;
    let mut begun: Option<(Instant, f64)> = None;
    let limit = limit(samples);
    let waiting = Instant::now();
    while count < samples {
        ensure!(
            waiting.elapsed() < limit,
            "the bare loop read {count} of {samples} samples in {} s",
            limit.as_secs()
        );
        let Some(message) = consumer.poll(POLL) else {
            continue;
        };
        let message = message.context("the bare loop")?;
        if begun.is_none() {
            begun = Some((Instant::now(), cpu_seconds("self")?));
        }
        let metric: RawMetric = serde_json::from_slice(message.payload().unwrap_or_default())
            .context("a sample that was just sent")?;
        sum += metric.metric_value;
        count += 1;
    }
    std::hint::black_box(sum);
    let (begun, cpu) = begun.context("samples were asked for")?;
    let cpu = cpu_seconds("self")? - cpu;
    Ok(pace(samples, begun.elapsed(), cpu))
}

/// Starts detection at the beginning of raw.metrics and follows it to the end.
///
/// # Errors
/// It does not start, or does not come to the end.
pub async fn detection(bed: &mut Bed, kafka: &KafkaSettings, samples: u64) -> Result<Pace> {
    let mut variables = bed.variables(kafka);
    variables.insert("REDIS_URL".to_owned(), bed.roomy_redis().await?);
    let mut agent = bed.start("detection", &variables)?;
    agent.ready().await?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let followed = follow(&agent, &client, samples).await;
    let followed = followed.with_context(|| agent.process.last_words());
    agent.end(Signal::SIGTERM).await?;
    followed
}

/// Follows the counter of samples from the first to the last.
///
/// # Errors
/// The last is not reached within the limit.
pub async fn follow(
    agent: &crate::bed::Agent,
    client: &reqwest::Client,
    samples: u64,
) -> Result<Pace> {
    let limit = limit(samples);
    let waiting = Instant::now();
    let mut first: Option<(Instant, f64, f64)> = None;
    loop {
        let count = agent
            .metric(client, "midwatch_detection_samples_total")
            .await?;
        let now = Instant::now();
        match first {
            None if count > 0.0 => first = Some((now, agent.cpu_seconds()?, count)),
            Some((begun, cpu, before)) if count >= samples as f64 => {
                let handled = (count - before) as u64;
                return Ok(pace(handled, now - begun, agent.cpu_seconds()? - cpu));
            }
            _ => {}
        }
        ensure!(
            waiting.elapsed() < limit,
            "detection handled {count} of {samples} samples in {} s",
            limit.as_secs()
        );
        tokio::time::sleep(POLL).await;
    }
}

fn limit(samples: u64) -> Duration {
    Duration::from_secs(60) + Duration::from_secs_f64(samples as f64 / LEAST_PER_SECOND)
}

fn pace(samples: u64, taken: Duration, cpu: f64) -> Pace {
    Pace {
        per_second: samples as f64 / taken.as_secs_f64(),
        cpu_seconds_per_million: cpu * 1e6 / samples as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_million_in_four_seconds_are_half_a_million_a_second() {
        let pace = pace(2_000_000, Duration::from_secs(4), 3.0);
        assert_eq!(pace.per_second, 500_000.0);
        assert_eq!(pace.cpu_seconds_per_million, 1.5);
    }
}
