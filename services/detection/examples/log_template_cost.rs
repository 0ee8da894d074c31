//! What a log line costs detection, in nanoseconds, by kind of line:
//! `cargo run --release -p midwatch-detection --example log_template_cost`.

use midwatch_detection::config::Tuning;
use midwatch_detection::decide::state::PartitionState;
use midwatch_detection::decide::{At, Detector, Input};
use midwatch_events::raw::{LogLevel, RawLog};
use std::time::Instant;
use uuid::Uuid;

const START_MS: i64 = 1_767_225_600_000;
const LINES: u64 = 100_000;

/// A word that is unlike the others and no id by its shape.
fn word(number: u64) -> String {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..7)
        .map(|place| char::from(b'g' + (mixed >> (8 * place + 8)) as u8 % 20))
        .collect()
}

fn line(kind: &str, number: u64) -> (LogLevel, String) {
    match kind {
        "INFO, not judged" => (
            LogLevel::Info,
            format!("GET /v1/stock 200 in 17 ms request_id=req-{number:08x}"),
        ),
        "ERROR, one template" => (
            LogLevel::Error,
            format!(
                "POST /v1/orders failed with 500: IllegalStateException: ledger entry {number} has no counter account (LedgerWriter.java:88) request_id=req-{number:08x}"
            ),
        ),
        "ERROR, eighty templates" => (
            LogLevel::Error,
            format!(
                "{} could not reach shard {number} of the index",
                word(number % 80)
            ),
        ),
        "ERROR, each unlike all others" => (
            LogLevel::Error,
            format!(
                "{} {} {} {} {}",
                word(5 * number),
                word(5 * number + 1),
                word(5 * number + 2),
                word(5 * number + 3),
                word(5 * number + 4)
            ),
        ),
        "ERROR, 60 kB of one token" => (LogLevel::Error, "x".repeat(60_000)),
        _ => (LogLevel::Error, "\"a@1.".repeat(12_000)),
    }
}

fn main() {
    println!("| line | bytes | ns a line | bytes of state |\n|---|---|---|---|");
    for kind in [
        "INFO, not judged",
        "ERROR, one template",
        "ERROR, eighty templates",
        "ERROR, each unlike all others",
        "ERROR, 60 kB of one token",
        "ERROR, 60 kB of quotes and signs",
    ] {
        let detector = Detector::new(Tuning::default(), "epoch-1");
        let mut state = PartitionState::default();
        let count = if kind.contains("kB") { 2_000 } else { LINES };
        let mut bytes = 0;
        let mut spent = std::time::Duration::ZERO;
        for number in 0..count {
            let (level, message) = line(kind, number);
            bytes += message.len() as u64;
            let at_ms = START_MS + i64::try_from(number).expect("a small count") * 40;
            let at = At {
                event_id: Uuid::from_u64_pair(1, number),
                wall_ms: at_ms,
            };
            let input = Input::Log(RawLog {
                timestamp_ms: at_ms,
                service: "order-service".to_owned(),
                environment: "example".to_owned(),
                level,
                message,
                trace_id: None,
                labels: Default::default(),
            });
            let begun = Instant::now();
            let effects = detector.decide(&mut state, at, input);
            spent += begun.elapsed();
            drop(effects);
        }
        let stored: usize = state.dump().iter().map(|(_, value)| value.len()).sum();
        println!(
            "| {kind} | {} | {} | {stored} |",
            bytes / count,
            spent.as_nanos() / u128::from(count)
        );
    }
}
