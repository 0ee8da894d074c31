//! What of a file could not be used, told once for each file and never kept
//! quiet.

use crate::failure::Failure;
use crate::output;
use std::collections::BTreeMap;
use std::path::Path;

/// Why a record is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No JSON, or without what a record needs.
    Unreadable,
    /// Its time is missing, zero or before 1970.
    NoTime,
    /// Its time is in another unit than that of the others.
    OtherUnit,
    /// Its value is missing or no finite number.
    NoReading,
    /// It lies more than a day away from the readings and the alert.
    FarOff,
}

impl Reason {
    fn words(self) -> &'static str {
        match self {
            Reason::Unreadable => "unreadable",
            Reason::NoTime => "without a time",
            Reason::OtherUnit => "with a time in another unit",
            Reason::NoReading => "without a finite value",
            Reason::FarOff => "more than a day away from the rest",
        }
    }
}

/// How many records were left out for one reason, and the first of them.
struct Skipped {
    count: u64,
    line: u64,
    detail: String,
}

/// The count of one file.
pub struct Tally {
    /// `metrics`, `logs`, …
    file: &'static str,
    read: u64,
    skipped: BTreeMap<Reason, Skipped>,
    notes: Vec<String>,
}

impl Tally {
    pub fn new(file: &'static str) -> Tally {
        Tally {
            file,
            read: 0,
            skipped: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// Another record, of any worth.
    pub fn count(&mut self) {
        self.read += 1;
    }

    /// How many records there were, of any worth.
    pub fn all(&self) -> u64 {
        self.read
    }

    /// A record that is left out. `detail` may be empty.
    pub fn skip(&mut self, reason: Reason, line: u64, detail: &str) {
        let known = self.skipped.entry(reason).or_insert_with(|| Skipped {
            count: 0,
            line,
            detail: detail.to_owned(),
        });
        known.count += 1;
        if line < known.line {
            known.line = line;
            detail.clone_into(&mut known.detail);
        }
    }

    /// Something that was done to the whole file.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Tells a person on standard error, and gives the words for the answer.
    ///
    /// # Errors
    /// No record could be read, though there are some.
    pub fn close(self, path: &Path, wanted: &str) -> Result<Vec<String>, Failure> {
        let skipped: u64 = self.skipped.values().map(|one| one.count).sum();
        let reasons: Vec<String> = self
            .skipped
            .iter()
            .map(|(reason, one)| {
                let colon = if one.detail.is_empty() { "" } else { ": " };
                let (words, count, line) = (reason.words(), one.count, one.line);
                format!("{count} {words} (first line {line}{colon}{})", one.detail)
            })
            .collect();
        let reasons = reasons.join(", ");
        let is_lost = |(reason, one): (&Reason, &Skipped)| {
            matches!(reason, Reason::Unreadable | Reason::NoTime) && one.count > 0
        };
        if self.read > 0 && skipped == self.read && self.skipped.iter().all(is_lost) {
            let what = format!("{} holds no readable line: {reasons}", path.display());
            return Err(Failure::new(what, format!("each line is {wanted}")));
        }
        let mut told = self.notes;
        if skipped > 0 {
            let all = self.read;
            told.insert(0, format!("{skipped} of {all} lines skipped: {reasons}"));
        }
        if self.read == 0 {
            told.insert(0, "the file is empty".to_owned());
        }
        if !told.is_empty() {
            let words = format!("{}: {}", path.display(), told.join("; "));
            eprintln!("midwatch: {}", output::plain(&words));
        }
        let file = self.file;
        Ok(told.iter().map(|one| format!("{file}: {one}")).collect())
    }
}
