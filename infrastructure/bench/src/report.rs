//! The figures, for people and for programs.

use crate::bed::Bed;
use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// What a terminal shows without wrapping.
const WIDTH: usize = 80;

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Text(String),
    /// A number, and how many decimals people see of it.
    Number(f64, usize),
    /// What could not be measured.
    Missing,
}

impl Cell {
    fn shown(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Number(value, decimals) => grouped(*value, *decimals),
            Cell::Missing => "–".to_owned(),
        }
    }

    fn value(&self) -> Value {
        match self {
            Cell::Text(text) => json!(text),
            Cell::Number(value, _) => json!(value),
            Cell::Missing => Value::Null,
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

/// A number with a space between thousands.
fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut out = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(' ');
        }
        out.push(digit);
    }
    out + rest
}

/// One section of the table.
#[derive(Clone, Debug)]
pub struct Section {
    pub key: &'static str,
    pub title: String,
    /// The first names the rows; the others carry their unit.
    pub columns: Vec<&'static str>,
    pub rows: Vec<Vec<Cell>>,
    /// What to know when reading it.
    pub notes: Vec<String>,
    /// How long measuring took.
    pub seconds: f64,
}

impl Section {
    /// A section without rows.
    pub fn new(key: &'static str, title: impl Into<String>, columns: &[&'static str]) -> Section {
        Section {
            key,
            title: title.into(),
            columns: columns.to_vec(),
            rows: Vec::new(),
            notes: Vec::new(),
            seconds: 0.0,
        }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Adds a note.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn table(&self) -> String {
        let mut out = format!("{}\n", self.title);
        let shown: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(Cell::shown).collect())
            .collect();
        let mut widths: Vec<usize> = self
            .columns
            .iter()
            .map(|name| name.chars().count())
            .collect();
        for row in &shown {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let taken: usize = widths.iter().skip(1).map(|width| width + 2).sum();
        // The names give way where a row would not fit.
        widths[0] = widths[0].min(WIDTH.saturating_sub(taken + 2));
        let header: Vec<String> = self.columns.iter().map(|name| (*name).to_owned()).collect();
        line(&mut out, &header, &widths);
        for row in &shown {
            line(&mut out, row, &widths);
        }
        for note in &self.notes {
            wrap(&mut out, note);
        }
        out
    }

    fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let pairs = self.columns.iter().zip(row);
                Value::Object(
                    pairs
                        .map(|(name, cell)| ((*name).to_owned(), cell.value()))
                        .collect(),
                )
            })
            .collect();
        json!({"title": self.title, "rows": rows, "notes": self.notes, "seconds": self.seconds})
    }
}

fn line(out: &mut String, cells: &[String], widths: &[usize]) {
    let mut text = String::from("  ");
    for (index, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        if index == 0 {
            let cut: String = cell.chars().take(width).collect();
            text.push_str(&format!("{cut:<width$}"));
        } else {
            text.push_str(&format!("  {cell:>width$}"));
        }
    }
    out.push_str(text.trim_end());
    out.push('\n');
}

/// A paragraph, wrapped and indented.
fn wrap(out: &mut String, text: &str) {
    let mut column = 3;
    out.push_str("   ");
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 3 && column + 1 + length > WIDTH {
            out.push_str("\n   ");
            column = 3;
        }
        out.push(' ');
        out.push_str(word);
        column += 1 + length;
    }
    out.push('\n');
}

/// Everything that was measured.
#[derive(Debug)]
pub struct Report {
    machine: Map<String, Value>,
    pub sections: Vec<Section>,
    /// Sections that could not be measured, and why.
    pub failed: Vec<(&'static str, String)>,
}

impl Report {
    /// An empty report, with what the machine is like before.
    pub fn new(bed: &Bed) -> Report {
        let mut machine = Map::new();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        machine.insert("cores".to_owned(), json!(cores));
        machine.insert("broker".to_owned(), json!(bed.broker_name));
        machine.insert("seed".to_owned(), json!(bed.options.seed));
        let build = if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        };
        machine.insert("build".to_owned(), json!(build));
        machine.insert("load_before".to_owned(), json!(load_average()));
        Report {
            machine,
            sections: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Notes how long it all took.
    pub fn finish(&mut self, bed: &Bed) {
        let seconds = bed.begun.elapsed().as_secs_f64();
        self.machine.insert("seconds".to_owned(), json!(seconds));
    }

    /// The table, at most 80 columns wide.
    pub fn table(&self) -> String {
        let text = |name: &str| match &self.machine[name] {
            Value::String(text) => text.clone(),
            Value::Number(number) => grouped(number.as_f64().unwrap_or_default(), 0),
            other => other.to_string(),
        };
        let rule = "─".repeat(WIDTH);
        let mut out = format!("{rule}\n");
        wrap(
            &mut out,
            &format!(
                "Midwatch bench: {} build, {} cores, broker {}, seed {}, load {} before, {} s",
                text("build"),
                text("cores"),
                text("broker"),
                text("seed"),
                text("load_before"),
                text("seconds"),
            ),
        );
        for section in &self.sections {
            // Writing to a string cannot fail.
            write!(out, "{rule}\n{}", section.table()).expect("a string takes all text");
        }
        for (name, why) in &self.failed {
            out.push_str(&format!("{rule}\n{name}: not measured\n"));
            wrap(&mut out, why);
        }
        out.push_str(&rule);
        out.push('\n');
        out
    }

    /// Writes the figures as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let sections: Map<String, Value> = self
            .sections
            .iter()
            .map(|section| (section.key.to_owned(), section.json()))
            .collect();
        let failed: Map<String, Value> = self
            .failed
            .iter()
            .map(|(name, why)| ((*name).to_owned(), json!(why)))
            .collect();
        let whole = json!({"machine": self.machine, "sections": sections, "failed": failed});
        let text = serde_json::to_string_pretty(&whole)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Load of the last minute: other work takes from every figure.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

/// The value below which `share` (0..1) of the sorted `values` lie: the
/// nearest rank. `None` where there are none.
pub fn quantile(values: &mut [f64], share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied()
}

/// The same as a figure.
pub fn quantile_cell(values: &mut [f64], share: f64, decimals: usize) -> Cell {
    quantile(values, share).map_or(Cell::Missing, |value| Cell::Number(value, decimals))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(1_234_567.0, 0), "1 234 567");
        assert_eq!(grouped(-999.5, 1), "-999.5");
        assert_eq!(grouped(1_000.0, 2), "1 000.00");
    }

    /// Nearest rank of 1..=100: the median is the 50th value, p99 the 99th.
    #[test]
    fn quantiles_are_nearest_ranks() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.5), Some(50.0));
        assert_eq!(quantile(&mut values, 0.99), Some(99.0));
        assert_eq!(quantile(&mut [7.0], 0.99), Some(7.0));
        assert_eq!(quantile(&mut [], 0.5), None);
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let mut section = Section::new("x", "title", &["address", "p50 ms", "p99 ms"]);
        let numbers = [Cell::Number(1_234_567.8, 1), Cell::Missing];
        section.row([Cell::from("/a".repeat(90))].into_iter().chain(numbers));
        section.note("word ".repeat(60));
        for line in section.table().lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }
}
