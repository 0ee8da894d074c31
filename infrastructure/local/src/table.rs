//! The status table, in plain text of at most 80 columns.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stdout};

/// What people see of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its id while it runs.
    pub pid: Option<i32>,
    /// running, starting, restarting, …
    pub state: String,
    /// What is wrong, in words; `None` when it serves.
    pub complaint: Option<String>,
    /// Messages still to read.
    pub lag: Option<u64>,
    /// Proportional set size in bytes.
    pub memory: u64,
    /// How often it was started again.
    pub restarts: u32,
}

const WIDTH: usize = 79;

/// The lines of the table, the sum last.
#[must_use]
pub fn render(rows: &[Row]) -> Vec<String> {
    let mut lines = vec![format!(
        "{:<15} {:>7}  {:<10} {:>7} {:>7} {:>3}  {}",
        "process", "pid", "state", "lag", "memory", "re", "health"
    )];
    lines.extend(rows.iter().map(row_line));
    lines.push(summary(rows));
    lines
}

fn row_line(row: &Row) -> String {
    let pid = row
        .pid
        .map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    let lag = row
        .lag
        .map_or_else(|| "-".to_owned(), |lag| lag.to_string());
    let health = row.complaint.as_deref().unwrap_or("ok");
    let line = format!(
        "{:<15} {pid:>7}  {:<10} {lag:>7} {:>4} MB {:>3}  {health}",
        row.name,
        row.state,
        megabytes(row.memory),
        row.restarts
    );
    clip(&line)
}

/// One line for the whole stack.
#[must_use]
pub fn summary(rows: &[Row]) -> String {
    let healthy = rows.iter().filter(|row| row.complaint.is_none()).count();
    let memory: u64 = rows.iter().map(|row| row.memory).sum();
    let restarts: u32 = rows.iter().map(|row| row.restarts).sum();
    let mut text = format!(
        "{healthy} of {} healthy, {} MB in all, {restarts} restarts",
        rows.len(),
        megabytes(memory)
    );
    let lag: u64 = rows.iter().filter_map(|row| row.lag).sum();
    if rows.iter().any(|row| row.lag.is_some()) {
        write!(text, ", lag {lag}").expect("writing to a string cannot fail");
    }
    clip(&text)
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1024 * 1024)
}

fn clip(line: &str) -> String {
    let one_line: String = line
        .chars()
        .map(|sign| if sign.is_control() { ' ' } else { sign })
        .take(WIDTH)
        .collect();
    one_line.trim_end().to_owned()
}

/// The terminal: a table that is redrawn in place with messages above it. On
/// anything else than a terminal only the messages.
#[derive(Debug)]
pub struct Screen {
    is_live: bool,
    drawn: Vec<String>,
}

impl Screen {
    /// A screen on standard output. `wants_table` is false where the messages
    /// alone tell the story.
    #[must_use]
    pub fn new(wants_table: bool) -> Self {
        Self {
            is_live: wants_table && stdout().is_terminal(),
            drawn: Vec::new(),
        }
    }

    /// Whether the table is shown.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.is_live
    }

    /// Prints a message above the table.
    pub fn say(&mut self, text: &str) {
        let table = std::mem::take(&mut self.drawn);
        let mut out = erase(table.len());
        out.push_str(text);
        out.push('\n');
        self.put(out, table);
    }

    /// Draws the table anew; nothing where it is not shown.
    pub fn draw(&mut self, rows: &[Row]) {
        if self.is_live {
            let out = erase(self.drawn.len());
            self.put(out, render(rows));
        }
    }

    /// Takes the table away for good; messages still appear.
    pub fn close(&mut self) {
        let out = erase(self.drawn.len());
        self.is_live = false;
        self.put(out, Vec::new());
    }

    fn put(&mut self, mut out: String, table: Vec<String>) {
        for line in &table {
            out.push_str(line);
            out.push('\n');
        }
        self.drawn = table;
        let mut sink = stdout().lock();
        // A closed terminal must not end the supervisor: SIGHUP does that, in
        // order.
        sink.write_all(out.as_bytes())
            .and_then(|()| sink.flush())
            .ok();
    }
}

/// Moves up over the last `lines` lines and clears from there.
fn erase(lines: usize) -> String {
    if lines == 0 {
        return String::new();
    }
    format!("\x1b[{lines}A\r\x1b[J")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, complaint: Option<&str>) -> Row {
        Row {
            name: name.to_owned(),
            pid: Some(4_194_304),
            state: "restarting".to_owned(),
            complaint: complaint.map(str::to_owned),
            lag: Some(1_234_567),
            memory: 345 * 1024 * 1024,
            restarts: 7,
        }
    }

    #[test]
    fn the_widest_row_fits_eighty_columns_and_one_line() {
        let complaint = "http://127.0.0.1:29101/readyz answers\n503 Service Unavailable, again";
        let lines = render(&[row("communication", Some(complaint)), row("api", None)]);
        assert!(
            lines.iter().all(|line| line.chars().count() < 80),
            "{lines:?}"
        );
        assert!(lines.iter().all(|line| !line.contains('\n')));
        assert_eq!(
            lines[3],
            "1 of 2 healthy, 690 MB in all, 14 restarts, lag 2469134"
        );
    }
}
