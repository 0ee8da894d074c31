//! Records to replay, from a file or from the broker, one at a time.

use super::broker::BrokerSource;
use crate::failure::Failure;
use midwatch_events::decode::decode;
use midwatch_events::topics::RAW_MAX_BYTES;
use midwatch_events::{Coordinates, Envelope, Topic};
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

/// The epoch of what lies in no broker.
pub const FILE_EPOCH: &str = "backtest";
/// Bytes of a line at most: the largest message on a raw topic.
const LINE: u64 = RAW_MAX_BYTES as u64;

/// What lay at one place.
#[derive(Debug)]
pub enum Found {
    Event {
        envelope: Box<Envelope>,
        partition: i32,
        /// When it reached the broker, epoch milliseconds.
        record_ms: Option<i64>,
        /// It only warms detection up, and is not reported on.
        warmup: bool,
    },
    /// No event, and why.
    Malformed { at: String, reason: String },
    /// Before or after the time that was asked for.
    Outside,
}

/// Records in the order of their arrival.
pub enum Source {
    File(FileSource),
    Broker(Box<BrokerSource>),
}

impl Source {
    /// The next record; none at the end.
    ///
    /// # Errors
    /// It cannot be read any further.
    pub fn next(&mut self) -> Result<Option<Found>, Failure> {
        match self {
            Source::File(file) => file.next(),
            Source::Broker(broker) => broker.next(),
        }
    }

    /// How much has been read, and of how much where that is known.
    #[must_use]
    pub fn progress(&self) -> (u64, Option<u64>) {
        match self {
            Source::File(file) => (file.bytes, file.size),
            Source::Broker(broker) => broker.progress(),
        }
    }
}

/// A time range of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// From then on what happens is reported.
    pub from_ms: i64,
    /// So much before that is read, too.
    pub warmup_ms: i64,
    /// The first moment that is left out.
    pub to_ms: i64,
}

impl Range {
    /// Everything.
    pub const ALL: Range = Range {
        from_ms: i64::MIN,
        warmup_ms: 0,
        to_ms: i64::MAX,
    };

    /// The first moment that is read.
    #[must_use]
    pub fn first_ms(&self) -> i64 {
        self.from_ms.saturating_sub(self.warmup_ms)
    }

    /// Whether a moment is read.
    #[must_use]
    pub fn holds(&self, at_ms: i64) -> bool {
        (self.first_ms()..self.to_ms).contains(&at_ms)
    }
}

/// Payloads of raw.metrics, one a line.
pub struct FileSource {
    name: String,
    reader: Box<dyn BufRead + Send>,
    range: Range,
    line: i64,
    bytes: u64,
    size: Option<u64>,
    buffer: Vec<u8>,
}

impl FileSource {
    /// Opens a file; `-` is standard input. `range` is in event time.
    ///
    /// # Errors
    /// There is no such file, or it is not for this user.
    pub fn open(path: &Path, range: Range) -> Result<FileSource, Failure> {
        let (name, reader, size): (String, Box<dyn BufRead + Send>, Option<u64>) =
            if path == Path::new("-") {
                let input = BufReader::new(std::io::stdin());
                ("standard input".to_owned(), Box::new(input), None)
            } else {
                let name = path.display().to_string();
                let opened = File::open(path).and_then(|file| {
                    let about = file.metadata()?;
                    Ok((file, about.is_file().then_some(about.len())))
                });
                let (file, size) = opened.map_err(|error| {
                    Failure::new(
                        format!("{name} cannot be read: {error}"),
                        "name an existing file after --file, or - for standard input",
                    )
                })?;
                (name, Box::new(BufReader::new(file)), size)
            };
        Ok(FileSource {
            name,
            reader,
            range,
            line: 0,
            bytes: 0,
            size,
            buffer: Vec::new(),
        })
    }

    /// How people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn next(&mut self) -> Result<Option<Found>, Failure> {
        loop {
            if !self.read_line()? {
                return Ok(None);
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(Some(self.found()));
            }
        }
    }

    /// Reads a line, of which only so much is kept as shows that it is too
    /// long; `false` at the end.
    fn read_line(&mut self) -> Result<bool, Failure> {
        let failed = |name: &str, error: &std::io::Error| {
            let what = format!("{name} cannot be read any further: {error}");
            Failure::new(what, "give a file of text, one JSON object a line")
        };
        self.buffer.clear();
        let mut part = (&mut self.reader).take(LINE + 1);
        let read = part.read_until(b'\n', &mut self.buffer);
        let mut read = read.map_err(|error| failed(&self.name, &error))?;
        self.bytes += read as u64;
        let was_read = read > 0;
        let mut rest = Vec::new();
        while read > 0 && self.buffer.last() != Some(&b'\n') && rest.last() != Some(&b'\n') {
            rest.clear();
            let mut part = (&mut self.reader).take(LINE);
            read = part
                .read_until(b'\n', &mut rest)
                .map_err(|error| failed(&self.name, &error))?;
            self.bytes += read as u64;
        }
        self.line += i64::from(was_read);
        Ok(was_read)
    }

    fn found(&self) -> Found {
        let coordinates = Coordinates {
            epoch: FILE_EPOCH.to_owned(),
            topic: Topic::RawMetrics.name().to_owned(),
            partition: 0,
            offset: self.line - 1,
            record_ms: 0,
        };
        match decode(Topic::RawMetrics, self.buffer.trim_ascii(), &coordinates) {
            Ok(envelope) => {
                let at_ms = envelope.event.time_ms();
                if !self.range.holds(at_ms) {
                    return Found::Outside;
                }
                Found::Event {
                    warmup: at_ms < self.range.from_ms,
                    envelope: Box::new(envelope),
                    partition: 0,
                    record_ms: None,
                }
            }
            Err(error) => Found::Malformed {
                at: format!("line {}", self.line),
                reason: error.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, range: Range) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.jsonl");
        std::fs::write(&path, text).expect("written");
        let mut file = FileSource::open(&path, range).expect("it opens");
        let mut found = Vec::new();
        while let Some(one) = file.next().expect("readable") {
            found.push(match one {
                Found::Event {
                    envelope, warmup, ..
                } => {
                    let at_ms = envelope.event.time_ms();
                    format!("{at_ms}{}", if warmup { " warm-up" } else { "" })
                }
                Found::Malformed { at, reason } => format!("{at}: {reason}"),
                Found::Outside => "outside".to_owned(),
            });
        }
        assert_eq!(file.bytes, text.len() as u64);
        assert_eq!(file.size, Some(text.len() as u64));
        found
    }

    fn line(at_ms: i64) -> String {
        format!(r#"{{"service":"a","metric_name":"m","metric_value":1,"timestamp_ms":{at_ms}}}"#)
    }

    #[test]
    fn lines_are_told_apart_and_bad_ones_named() {
        let start_ms = 1_795_316_645_000;
        let long = "x".repeat(2 * RAW_MAX_BYTES as usize + 10);
        let text = format!(
            "{}\n\nnot JSON\n{}\r\n{long}\n{{\"service\":\"a\"}}\n{}",
            line(start_ms),
            line(start_ms + 1),
            line(start_ms + 2)
        );
        let found = read(&text, Range::ALL);
        assert_eq!(found.len(), 6, "{found:?}");
        assert_eq!(found[0], start_ms.to_string());
        assert!(found[1].starts_with("line 3: the payload is not JSON"));
        assert_eq!(found[2], (start_ms + 1).to_string());
        assert!(found[3].starts_with("line 5: the payload has 6291457 bytes"));
        assert!(found[4].starts_with("line 6: ") && found[4].contains("metric_name"));
        assert_eq!(found[5], (start_ms + 2).to_string());
    }

    #[test]
    fn a_range_has_a_warm_up_before_it_and_ends_before_its_end() {
        let start_ms = 1_795_316_645_000;
        let text: String = (0..6)
            .map(|second| line(start_ms + second * 1_000) + "\n")
            .collect();
        let range = Range {
            from_ms: start_ms + 3_000,
            warmup_ms: 2_000,
            to_ms: start_ms + 5_000,
        };
        let at = |second: i64| (start_ms + second * 1_000).to_string();
        let wanted = [
            "outside".to_owned(),
            at(1) + " warm-up",
            at(2) + " warm-up",
            at(3),
            at(4),
            "outside".to_owned(),
        ];
        assert_eq!(read(&text, range), wanted);
    }
}
