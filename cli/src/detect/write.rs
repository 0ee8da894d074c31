//! One line for one sample, in one buffer that is used again and again.

use super::{Format, Sample};
use midwatch_detection::decide::watch::Verdict;
use std::io::Write;

/// The columns of CSV.
const HEADER: &str = "environment,service,metric_name,timestamp_ms,metric_value,anomaly_score,is_anomaly,expected,low,high,reason,labels\n";
/// What is said while too little is known and nothing else is to be said.
const WARMING_UP: &str = "warming up";

/// Collects lines until they are flushed.
pub struct Writer {
    format: Format,
    buffer: Vec<u8>,
}

/// What goes out next to the sample itself.
struct Answer<'a> {
    score: f64,
    is_anomaly: bool,
    /// Expected, low and high; what is not finite is unknown.
    band: [f64; 3],
    reason: &'a str,
}

impl Writer {
    pub fn new(format: Format) -> Writer {
        let mut buffer = Vec::with_capacity(64 * 1024);
        if format == Format::Csv {
            buffer.extend_from_slice(HEADER.as_bytes());
        }
        Writer { format, buffer }
    }

    pub fn verdict(&mut self, sample: &Sample<'_>, verdict: &Verdict) {
        let (band, otherwise) = if verdict.ready {
            ([verdict.expected, verdict.low, verdict.high], "")
        } else {
            ([f64::NAN; 3], WARMING_UP)
        };
        let reason = if verdict.reason.is_empty() {
            otherwise
        } else {
            &verdict.reason
        };
        self.line(
            sample,
            &Answer {
                score: super::score(verdict),
                is_anomaly: verdict.is_anomaly,
                band,
                reason,
            },
        );
    }

    /// The line of a sample that was not judged, with the rule that says so.
    pub fn refusal(&mut self, sample: &Sample<'_>, rule: &str) {
        self.line(
            sample,
            &Answer {
                score: 0.0,
                is_anomaly: false,
                band: [f64::NAN; 3],
                reason: rule,
            },
        );
    }

    fn line(&mut self, sample: &Sample<'_>, answer: &Answer<'_>) {
        match self.format {
            Format::Json => self.json(sample, answer),
            Format::Csv => self.csv(sample, answer),
        }
        self.buffer.push(b'\n');
    }

    fn json(&mut self, sample: &Sample<'_>, answer: &Answer<'_>) {
        self.put("{\"service\":");
        self.text(&sample.service);
        self.put(",\"metric_name\":");
        self.text(&sample.metric_name);
        if let Some(environment) = &sample.environment {
            self.put(",\"environment\":");
            self.text(environment);
        }
        self.put(",\"timestamp_ms\":");
        self.whole(sample.at_ms);
        self.put(",\"metric_value\":");
        self.value(sample, "null");
        self.put(",\"anomaly_score\":");
        self.number(answer.score, "null");
        self.put(if answer.is_anomaly {
            ",\"is_anomaly\":true"
        } else {
            ",\"is_anomaly\":false"
        });
        for (name, number) in [",\"expected\":", ",\"low\":", ",\"high\":"]
            .iter()
            .zip(answer.band)
        {
            self.put(name);
            self.number(number, "null");
        }
        self.put(",\"reason\":");
        self.text(answer.reason);
        if let Some(labels) = sample.labels_text {
            self.put(",\"labels\":");
            self.put(labels);
        }
        self.put("}");
    }

    fn csv(&mut self, sample: &Sample<'_>, answer: &Answer<'_>) {
        for text in [
            sample.environment.as_deref().unwrap_or(""),
            &sample.service,
            &sample.metric_name,
        ] {
            self.field(text);
            self.put(",");
        }
        self.whole(sample.at_ms);
        self.put(",");
        self.value(sample, "");
        self.put(",");
        self.number(answer.score, "");
        self.put(if answer.is_anomaly {
            ",true,"
        } else {
            ",false,"
        });
        for number in answer.band {
            self.number(number, "");
            self.put(",");
        }
        self.field(answer.reason);
        self.put(",");
        self.field(sample.labels_text.unwrap_or(""));
    }

    fn put(&mut self, text: &str) {
        self.buffer.extend_from_slice(text.as_bytes());
    }

    fn value(&mut self, sample: &Sample<'_>, unknown: &str) {
        match sample.value_text {
            Some(text) => self.put(text),
            None => self.number(sample.value, unknown),
        }
    }

    fn whole(&mut self, number: i64) {
        serde_json::to_writer(&mut self.buffer, &number).expect("a buffer in memory takes it");
    }

    fn number(&mut self, number: f64, unknown: &str) {
        if number.is_finite() {
            serde_json::to_writer(&mut self.buffer, &number).expect("a buffer in memory takes it");
        } else {
            self.put(unknown);
        }
    }

    fn text(&mut self, text: &str) {
        serde_json::to_writer(&mut self.buffer, text).expect("a buffer in memory takes it");
    }

    /// A field of CSV, quoted where it must be.
    fn field(&mut self, text: &str) {
        if text.contains(['"', ',', '\n', '\r']) {
            self.put("\"");
            self.put(&text.replace('"', "\"\""));
            self.put("\"");
        } else {
            self.put(text);
        }
    }

    /// Writes what has gathered.
    ///
    /// # Errors
    /// The reader is gone, or the disk is full.
    pub fn flush(&mut self, out: &mut impl Write) -> std::io::Result<()> {
        if !self.buffer.is_empty() {
            out.write_all(&self.buffer)?;
            out.flush()?;
            self.buffer.clear();
        }
        Ok(())
    }
}
