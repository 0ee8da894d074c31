//! Bytes that one series costs detection.

use crate::bed::Bed;
use crate::load;
use crate::report::{Cell, Section};
use crate::throughput;
use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use std::time::Duration;

/// A window of 50 values grows by doubling, so its room is full from the 33rd
/// on; one more for good measure.
const ROUNDS: u64 = 34;
/// So long after the last sample the last checkpoint is written and the
/// buffers have been given back.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures the resident memory for each number of series.
///
/// # Errors
/// A server is missing, or detection does not come to the end.
pub async fn measure(bed: &mut Bed) -> Result<Section> {
    let columns = [
        "series",
        "MB before",
        "MB after",
        "bytes/series",
        "samples /s",
    ];
    let title = "memory of detection, one partition, baselines full";
    let mut section = Section::new("memory", title, &columns);
    let mut points: Vec<(f64, f64)> = Vec::new();
    for series in bed.options.memory_series.clone() {
        let samples = series * ROUNDS;
        let kafka = bed.broker(&format!("memory-{series}"), 1).await?;
        bed.say(
            "memory",
            &format!("{series} series: sending {samples} samples"),
        );
        // First none, to see what detection costs by itself.
        let mut variables = bed.variables(&kafka);
        variables.insert("REDIS_URL".to_owned(), bed.roomy_redis().await?);
        variables.insert("DETECTION_MAX_SERIES".to_owned(), (2 * series).to_string());
        let mut agent = bed.start("detection", &variables)?;
        agent.ready().await?;
        tokio::time::sleep(SETTLE).await;
        let before = agent.resident_bytes()?;
        load::preload(&kafka, bed.options.seed, samples, series)?;
        bed.say("memory", &format!("{series} series: detection"));
        let client = reqwest::Client::builder().no_proxy().build()?;
        let pace = throughput::follow(&agent, &client, samples).await;
        let pace = pace.with_context(|| agent.process.last_words())?;
        tokio::time::sleep(SETTLE).await;
        let after = agent.resident_bytes()?;
        agent.end(Signal::SIGTERM).await?;
        points.push((series as f64, after));
        section.row([
            Cell::Number(series as f64, 0),
            Cell::Number(before / 1e6, 1),
            Cell::Number(after / 1e6, 1),
            Cell::Number((after - before) / series as f64, 0),
            Cell::Number(pace.per_second, 0),
        ]);
    }
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
