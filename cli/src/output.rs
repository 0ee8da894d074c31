//! Text for people: 80 columns, colours only where they are wanted, and
//! nothing in it that a terminal would obey.

use midwatch_runtime::{Settings, clock};
use std::io::{IsTerminal, Write};

/// Columns of a line.
pub const WIDTH: usize = 80;

/// A colour, or another way to stand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Good,
    Doubtful,
    Bad,
    Strong,
    Faint,
}

/// Colours text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub struct Paint(bool);

impl Paint {
    /// Never colours.
    pub const PLAIN: Paint = Paint(false);

    /// Colours on a terminal, unless NO_COLOR is set or the terminal is dumb.
    #[must_use]
    pub fn choose(settings: &Settings) -> Paint {
        let wanted =
            settings.get("NO_COLOR").is_none() && settings.get("TERM").as_deref() != Some("dumb");
        Paint(wanted && std::io::stdout().is_terminal())
    }

    /// The text in that style.
    #[must_use]
    pub fn text(self, style: Style, text: &str) -> String {
        if !self.0 {
            return text.to_owned();
        }
        let code = match style {
            Style::Good => "32",
            Style::Doubtful => "33",
            Style::Bad => "1;31",
            Style::Strong => "1",
            Style::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A severity in its colour, padded to `width`.
    #[must_use]
    pub fn severity(self, severity: &str, width: usize) -> String {
        let padded = format!("{severity:width$}");
        match severity {
            "CRITICAL" => self.text(Style::Bad, &padded),
            "HIGH" => self.text(Style::Doubtful, &padded),
            _ => padded,
        }
    }
}

/// One line of text without anything that a terminal obeys or that turns the
/// direction of writing: what came from telemetry may hold both.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '\n' | '\r' | '\t' => ' ',
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '·',
            letter if letter.is_control() => '·',
            letter => letter,
        })
        .collect()
}

/// Columns that a terminal gives a letter: two for pictures and the wide
/// scripts, none for what is put on the letter before.
fn columns_of(letter: char) -> usize {
    match u32::from(letter) {
        0x300..=0x36f | 0x200b..=0x200d | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0x1_f300..=0x1_faff
        | 0x2_0000..=0x3_fffd => 2,
        _ => 1,
    }
}

/// Columns that a terminal gives the text.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// The longest beginning within `width` columns, in bytes.
fn room(text: &str, width: usize) -> usize {
    let mut used = 0;
    text.char_indices()
        .find(|(_, letter)| {
            used += columns_of(*letter);
            used > width
        })
        .map_or(text.len(), |(index, _)| index)
}

/// At most `width` columns of a line, with `…` where more was cut off.
#[must_use]
pub fn fit(text: &str, width: usize) -> String {
    let text = plain(text);
    if columns(&text) <= width {
        return text;
    }
    let end = room(&text, width.saturating_sub(1));
    format!("{}…", &text[..end])
}

/// The text in lines of at most `width` columns, broken between words where
/// that is possible. Paragraphs stay apart.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in plain(paragraph).split_whitespace() {
            let mut rest = word;
            while !rest.is_empty() {
                let used = columns(&line);
                let gap = usize::from(used > 0);
                if used + gap + columns(rest) <= width {
                    if gap == 1 {
                        line.push(' ');
                    }
                    line.push_str(rest);
                    rest = "";
                } else if used > 0 {
                    lines.push(std::mem::take(&mut line));
                } else {
                    // A letter wider than the line still has to go somewhere.
                    let first = rest.chars().next().map_or(0, char::len_utf8);
                    let end = room(rest, width).max(first);
                    lines.push(rest[..end].to_owned());
                    rest = &rest[end..];
                }
            }
        }
        lines.push(line);
    }
    lines
}

/// Adds the text, wrapped, behind `label`, with later lines indented to it.
pub fn hang(out: &mut String, label: &str, indent: usize, text: &str) {
    for (index, line) in wrap(text, WIDTH - indent).into_iter().enumerate() {
        let head = if index == 0 { label } else { "" };
        let width = columns(head);
        out.push_str(head);
        out.push_str(&" ".repeat(indent.saturating_sub(width)));
        out.push_str(&line);
        // No blanks at the end, also of an empty line.
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
}

/// `2026-11-22 03:04:05Z`.
#[must_use]
pub fn time(epoch_ms: i64) -> String {
    clock::rfc3339(epoch_ms).replace('T', " ")
}

/// `45 s`, `3.3 min`, `2.5 h`, `3 d`.
#[must_use]
pub fn duration(ms: i64) -> String {
    let seconds = ms.max(0) as f64 / 1000.0;
    if seconds < 60.0 {
        format!("{seconds:.0} s")
    } else if seconds < 5_400.0 {
        format!("{:.1} min", seconds / 60.0)
    } else if seconds < 172_800.0 {
        format!("{:.1} h", seconds / 3_600.0)
    } else {
        format!("{:.0} d", seconds / 86_400.0)
    }
}

/// `1 234 567`.
#[must_use]
pub fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// A count, or `unknown`.
#[must_use]
pub fn known(number: Option<i64>) -> String {
    number.map_or_else(|| "unknown".to_owned(), count)
}

/// Writes the text.
///
/// # Errors
/// The reader is gone, or the disk is full.
pub fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a value as JSON, for programs.
///
/// # Errors
/// As [`print`].
pub fn print_json<T: serde::Serialize>(value: &T) -> std::io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_taken_out() {
        let text = plain("a\u{1b}[31mred\u{7}\u{9b}\u{202e}gnp\r\nb\tc");
        assert_eq!(text, "a·[31mred···gnp  b c");
        assert_eq!(fit("žluťoučký", 5), "žluť…");
        // A picture takes two columns, an accent on its own none.
        assert_eq!(fit("🚨🚨🚨", 5), "🚨🚨…");
        assert_eq!((columns("🚨 a"), columns("e\u{301}")), (4, 1));
    }

    #[test]
    fn lines_break_between_words_and_long_words_are_cut() {
        assert_eq!(
            wrap("one two three\nabcdefghijkl xy", 7),
            ["one two", "three", "abcdefg", "hijkl", "xy"]
        );
        let mut out = String::new();
        hang(&mut out, "found", 70, "alpha beta gamma");
        let lines: Vec<&str> = out.lines().map(str::trim).collect();
        assert_eq!(lines[1..], ["gamma"]);
        assert!(lines[0].starts_with("found") && lines[0].ends_with("alpha beta"));
        assert!(out.lines().all(|line| columns(line) <= WIDTH));
    }

    #[test]
    fn figures_for_people() {
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(count(-12), "-12");
        assert_eq!(known(None), "unknown");
        for (ms, text) in [
            (45_400, "45 s"),
            (198_000, "3.3 min"),
            (9_000_000, "2.5 h"),
            (259_200_000, "3 d"),
        ] {
            assert_eq!(duration(ms), text);
        }
        assert_eq!(time(1_795_316_645_000), "2026-11-22 03:04:05Z");
    }

    #[test]
    fn colours_are_for_those_who_want_them() {
        assert_eq!(Paint::PLAIN.text(Style::Bad, "x"), "x");
        assert_eq!(Paint(true).text(Style::Bad, "x"), "\u{1b}[1;31mx\u{1b}[0m");
    }
}
