//! What many series cost detection: bytes, a restart, and how long Redis is
//! held up by their state.

use crate::bed::{Agent, Bed};
use crate::load;
use crate::report::{Cell, Section};
use crate::throughput;
use anyhow::{Context as _, Result, ensure};
use midwatch_clients::kafka::KafkaSettings;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// Past the warm-up of every baseline.
const ROUNDS: u64 = 12;
/// So long after the last sample the last checkpoint is written and the
/// buffers have been given back.
const SETTLE: Duration = Duration::from_secs(3);
/// The longest restart that is waited for.
const LIMIT: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// Measures each number of series.
///
/// # Errors
/// A server is missing, or detection does not come to the end.
pub async fn measure(bed: &mut Bed) -> Result<Section> {
    let columns = [
        "series",
        "MB",
        "MB peak",
        "bytes/series",
        "samples /s",
        "restart s",
        "Redis ms",
    ];
    let title = "many series in one partition: memory, restart, and Redis held up";
    let mut section = Section::new("memory", title, &columns);
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut longest = Vec::new();
    for series in bed.options.memory_series.clone() {
        let row = of(bed, series).await?;
        longest.push(row.held_up_by);
        points.push((series as f64, row.after));
        section.row([
            Cell::Number(series as f64, 0),
            Cell::Number(row.after / 1e6, 1),
            Cell::Number(row.peak / 1e6, 1),
            Cell::Number((row.after - row.before) / series as f64, 0),
            // A few may be through before anybody looks.
            match row.per_second {
                0.0 => Cell::Missing,
                pace => Cell::Number(pace, 0),
            },
            Cell::Number(row.restart_s, 1),
            Cell::Number(row.held_up_ms, 0),
        ]);
    }
    section.note(format!(
        "{ROUNDS} readings a series. Restart: from the start of the process, ended in good order \
         before, until it has handled another sample. Redis: the longest that one command held it \
         up meanwhile (its slow log: {}). Targets: 1 500 MB and 50 ms.",
        longest.join(", ")
    ));
    if let (Some(first), Some(last)) = (points.first(), points.last())
        && last.0 > first.0
    {
        let slope = (last.1 - first.1) / (last.0 - first.0);
        section.note(format!(
            "Between the first and the last row each further series costs {slope:.0} bytes. What \
             librdkafka has fetched ahead (up to 32 MB) and what waits for Redis count in every row."
        ));
    }
    Ok(section)
}

struct Row {
    before: f64,
    after: f64,
    peak: f64,
    per_second: f64,
    restart_s: f64,
    held_up_ms: f64,
    held_up_by: String,
}

async fn of(bed: &mut Bed, series: u64) -> Result<Row> {
    let samples = series * ROUNDS;
    let kafka = bed.broker(&format!("memory-{series}"), 1).await?;
    let mut variables = bed.variables(&kafka);
    variables.insert("REDIS_URL".to_owned(), bed.roomy_redis().await?);
    variables.insert("DETECTION_MAX_SERIES".to_owned(), (2 * series).to_string());
    bed.watch_redis().await?;
    // First none, to see what detection costs by itself.
    let mut agent = bed.start("detection", &variables)?;
    agent.ready().await?;
    tokio::time::sleep(SETTLE).await;
    let before = agent.resident_bytes()?;
    bed.say(
        "memory",
        &format!("{series} series: sending {samples} samples"),
    );
    load::preload(&kafka, bed.options.seed, samples, series)?;
    bed.say("memory", &format!("{series} series: detection"));
    let client = reqwest::Client::builder().no_proxy().build()?;
    let pace = throughput::follow(&agent, &client, samples).await;
    let pace = pace.with_context(|| agent.process.last_words())?;
    tokio::time::sleep(SETTLE).await;
    let after = agent.resident_bytes()?;
    let peak = agent.peak_bytes()?;
    bed.say("memory", &format!("{series} series: restart"));
    let restart_s = restart(bed, &mut agent, &kafka, &client).await?;
    agent.end(Signal::SIGTERM).await?;
    let (held_up_ms, held_up_by) = bed.held_up().await?;
    Ok(Row {
        before,
        after,
        peak,
        per_second: pace.per_second,
        restart_s,
        held_up_ms,
        held_up_by,
    })
}

/// Ends and starts the agent; seconds from its start to its next sample.
async fn restart(
    bed: &mut Bed,
    agent: &mut Agent,
    kafka: &KafkaSettings,
    client: &reqwest::Client,
) -> Result<f64> {
    agent.end(Signal::SIGTERM).await?;
    load::preload(kafka, bed.options.seed, 1, 1)?;
    let begun = Instant::now();
    agent.start_again(bed)?;
    loop {
        // Nobody answers until it listens.
        let handled = agent.metric(client, "midwatch_detection_samples_total");
        if handled.await.is_ok_and(|count| count > 0.0) {
            return Ok(begun.elapsed().as_secs_f64());
        }
        ensure!(
            begun.elapsed() < LIMIT && agent.process.ended()?.is_none(),
            "detection is not back after {} s; {}",
            LIMIT.as_secs(),
            agent.process.last_words()
        );
        tokio::time::sleep(LOOK).await;
    }
}
