//! A small fleet: `a` calls `b` and `b` calls `c`, and `c` breaks at the 80th of
//! 120 moments.

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

pub const FIRST_MS: i64 = 1_700_000_000_000;
pub const STEP_MS: i64 = 10_000;
pub const START_MS: i64 = FIRST_MS + 80 * STEP_MS;
pub const AT_MS: i64 = START_MS + 60_000;
/// Each service with its latency in normal times.
pub const FLEET: [(&str, f64); 3] = [("a", 100.0), ("b", 50.0), ("c", 30.0)];

/// A number below one that depends on its arguments alone.
pub fn chance(kind: i64, index: i64) -> f64 {
    let mixed = (kind * 1_000_003 + index + 1).wrapping_mul(0x5851_f42d_4c95_7f2d);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x2545_f491_4f6c_dd1d);
    f64::from(u16::try_from((mixed >> 40) & 0xffff).expect("16 bits")) / 65_536.0
}

pub fn metric(service: &str, name: &str, at_ms: i64, value: f64) -> Value {
    json!({"service": service, "metric_name": name, "metric_value": value, "timestamp_ms": at_ms})
}

/// Latencies that rise along the calls, and a CPU that is full in `c`.
pub fn metrics() -> Vec<Value> {
    let mut rows = Vec::new();
    for index in 0..120 {
        let at = FIRST_MS + index * STEP_MS;
        let is_broken = index >= 80;
        for (kind, (service, usual)) in (0..).zip(FLEET) {
            let slow = if is_broken { 200.0 } else { 0.0 };
            let full = if is_broken && service == "c" {
                60.0
            } else {
                0.0
            };
            let latency = usual + 5.0 * chance(kind, index) + slow;
            let cpu = 20.0 + 3.0 * chance(kind + 10, index) + full;
            rows.push(metric(service, "latency_ms", at, latency));
            rows.push(metric(service, "cpu", at, cpu));
        }
    }
    rows
}

pub fn logs() -> Vec<Value> {
    let mut rows = Vec::new();
    for index in 0..120 {
        for (service, _) in FLEET {
            let (level, message) = if index >= 80 && service == "c" {
                (
                    "ERROR",
                    "NullPointerException in the price table".to_owned(),
                )
            } else {
                ("INFO", format!("request {index} answered"))
            };
            let at = FIRST_MS + index * STEP_MS;
            rows.push(
                json!({"service": service, "timestamp_ms": at, "level": level, "message": message}),
            );
        }
    }
    rows
}

pub fn spans() -> Vec<Value> {
    let mut rows = Vec::new();
    for index in 0..360 {
        let at = FIRST_MS + index * STEP_MS / 3;
        for (depth, (service, usual)) in (0..).zip(FLEET) {
            let slow = if index >= 240 { 200.0 } else { 0.0 };
            let parent = if depth == 0 {
                Value::Null
            } else {
                json!(format!("s{}", depth - 1))
            };
            let status = if index >= 240 && index % 3 == 0 {
                "ERROR"
            } else {
                "OK"
            };
            rows.push(json!({
                "trace_id": format!("t{index}"), "span_id": format!("s{depth}"),
                "parent_span_id": parent, "service": service, "operation": "get",
                "start_ms": at + depth, "duration_ms": usual + 5.0 * chance(depth + 20, index) + slow,
                "status": status, "labels": {},
            }));
        }
    }
    rows
}

/// A folder with a recording.
pub struct Case {
    folder: TempDir,
}

impl Case {
    pub fn new(metrics: &[Value]) -> Case {
        let case = Case {
            folder: tempfile::tempdir().expect("a folder"),
        };
        let services = json!({"services": [
            {"name": "a", "depends_on": ["b"]}, {"name": "b", "depends_on": ["c"]}, {"name": "c"},
        ]});
        case.write("topology.json", &services.to_string());
        case.lines("metrics", metrics)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    pub fn lines(self, name: &str, rows: &[Value]) -> Case {
        let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
        self.text(name, &lines.join("\n"))
    }

    pub fn text(self, name: &str, text: &str) -> Case {
        self.write(&format!("{name}.jsonl"), text);
        self
    }

    /// The command on whatever was written. An option in `more` counts rather
    /// than the usual one.
    pub fn command(&self, more: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_midwatch"));
        command
            .arg("investigate")
            .env_clear()
            .current_dir(self.folder.path());
        let mut options = vec![
            ("--topology", "topology.json".to_owned()),
            ("--metrics", "metrics.jsonl".to_owned()),
            ("--target", "a".to_owned()),
            ("--target-metric", "latency_ms".to_owned()),
            ("--start", START_MS.to_string()),
            ("--at", AT_MS.to_string()),
        ];
        for name in ["logs", "spans"] {
            let file = format!("{name}.jsonl");
            if self.path(&file).exists() {
                options.push((if name == "logs" { "--logs" } else { "--spans" }, file));
            }
        }
        for (name, usual) in options {
            let other = more.iter().find(|(option, _)| *option == name);
            command
                .arg(name)
                .arg(other.map_or(usual.as_str(), |(_, value)| value));
        }
        command
    }

    pub fn run(&self, more: &[(&str, &str)]) -> Output {
        self.command(more).output().expect("midwatch starts")
    }

    /// Standard output of a command that succeeds.
    pub fn answered(&self) -> String {
        let output = self.run(&[]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        String::from_utf8(output.stdout).expect("JSON is text")
    }

    pub fn answer(&self) -> Value {
        serde_json::from_str(&self.answered()).expect("one JSON object")
    }

    /// What a command says that fails.
    pub fn refused(&self, more: &[(&str, &str)]) -> String {
        let output = self.run(more);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).expect("text")
    }
}

/// The rows in an order of chance.
pub fn shuffled(mut rows: Vec<Value>) -> Vec<Value> {
    for index in (1..rows.len()).rev() {
        let order = i64::try_from(index).expect("small");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let other = (chance(99, order) * (index + 1) as f64) as usize;
        rows.swap(index, other);
    }
    rows
}

/// The answer without what it says of the files.
pub fn without_gaps(mut answer: Value) -> Value {
    answer["gaps"].take();
    answer
}

pub fn gaps(answer: &Value) -> Vec<&str> {
    let gaps = answer["gaps"].as_array().expect("a list");
    gaps.iter().filter_map(Value::as_str).collect()
}

pub fn changed(rows: Vec<Value>, change: impl Fn(&mut Value)) -> Vec<Value> {
    let change = |mut row| {
        change(&mut row);
        row
    };
    rows.into_iter().map(change).collect()
}
