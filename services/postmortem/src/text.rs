//! Numbers, times and foreign text as Markdown writes them.

use midwatch_events::AnomalyType;
use time::OffsetDateTime;
use time::macros::format_description;

/// Longest foreign text that is quoted, characters.
const QUOTE: usize = 240;

/// A number without needless decimals.
#[must_use]
pub fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A rate to speak of: whole from ten on, where decimals would only pretend to
/// be exact.
#[must_use]
pub fn about(value: f64) -> String {
    if value >= 10.0 {
        format!("{value:.0}")
    } else {
        number(value)
    }
}

/// `18 min`, `3.3 min`, `45 s`, `2 h 5 min` for milliseconds.
#[must_use]
pub fn duration(ms: i64) -> String {
    let seconds = (ms.max(0) + 500) / 1000;
    if seconds < 60 {
        return format!("{seconds} s");
    }
    if seconds < 600 {
        let tenths = (seconds + 3) / 6;
        return match (tenths / 10, tenths % 10) {
            (minutes, 0) => format!("{minutes} min"),
            (minutes, tenth) => format!("{minutes}.{tenth} min"),
        };
    }
    let minutes = (seconds + 30) / 60;
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// Whether event time and wall clock measured a span differently by more than
/// 5 %.
#[must_use]
pub fn clocks_differ(event_ms: i64, wall_ms: i64) -> bool {
    let difference = (event_ms - wall_ms).abs();
    difference > 1000 && difference * 20 > event_ms.max(wall_ms)
}

/// `22 Nov 2026, 14:03:20 UTC`.
#[must_use]
pub fn moment(epoch_ms: i64) -> String {
    let form = format_description!(
        "[day padding:none] [month repr:short] [year], [hour]:[minute]:[second] UTC"
    );
    at(epoch_ms).map_or_else(unknown, |at| at.format(form).unwrap_or_else(|_| unknown()))
}

/// `14:03:20`.
#[must_use]
pub fn time_of_day(epoch_ms: i64) -> String {
    let form = format_description!("[hour]:[minute]:[second]");
    at(epoch_ms).map_or_else(unknown, |at| at.format(form).unwrap_or_else(|_| unknown()))
}

/// `2026-11-29`, `days` after the moment.
#[must_use]
pub fn date_after(epoch_ms: i64, days: i64) -> String {
    let form = format_description!("[year]-[month]-[day]");
    at(epoch_ms.saturating_add(days.saturating_mul(86_400_000)))
        .map_or_else(unknown, |at| at.format(form).unwrap_or_else(|_| unknown()))
}

fn at(epoch_ms: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(epoch_ms) * 1_000_000).ok()
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// What two log lines of one kind share: every word with a digit in it (ids,
/// counts, times) becomes `#`.
#[must_use]
pub fn kind_of_line(text: &str) -> String {
    let mut kind = String::with_capacity(text.len());
    for word in text.split_inclusive(|character: char| !character.is_alphanumeric()) {
        if word.contains(|character: char| character.is_ascii_digit()) {
            kind.push('#');
        } else {
            kind.push_str(word);
        }
    }
    kind
}

/// Foreign text on one line, cut to a readable length.
#[must_use]
pub fn line(text: &str) -> String {
    let mut line = String::new();
    for (index, character) in text.trim().chars().enumerate() {
        if index == QUOTE {
            line.push('…');
            break;
        }
        let hidden = character.is_control()
            || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        line.push(if hidden { ' ' } else { character });
    }
    line
}

/// Foreign text so that Markdown shows it as it is: no emphasis, links, HTML,
/// table cells or headings begin in it.
#[must_use]
pub fn escape(text: &str) -> String {
    let characters: Vec<char> = line(text).chars().collect();
    let mut escaped = String::with_capacity(characters.len() + 8);
    for (index, &character) in characters.iter().enumerate() {
        let word = |index: Option<usize>| {
            index
                .and_then(|index| characters.get(index))
                .is_some_and(|neighbour| neighbour.is_alphanumeric())
        };
        // An underscore inside a word means nothing to CommonMark.
        let inside = character == '_' && word(index.checked_sub(1)) && word(Some(index + 1));
        if !inside && "\\`*_[]<>|~#&!".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// Foreign text of any length: only its words are cut.
#[must_use]
pub fn escape_long(text: &str) -> String {
    text.split_inclusive(' ')
        .map(|word| {
            let spaces = word.len() - word.trim_end_matches(' ').len();
            let bare = &word[..word.len() - spaces];
            format!("{}{}", escape(bare), " ".repeat(spaces))
        })
        .collect()
}

/// A kind of cause in words: the title of an anomaly type, or the wire name
/// with blanks.
#[must_use]
pub fn words_of_kind(cause: &str) -> String {
    AnomalyType::parse(cause).map_or_else(
        || line(&cause.replace('_', " ")),
        |kind| kind.title().to_owned(),
    )
}

/// Foreign text as a code span: names of metrics, log lines, commands.
#[must_use]
pub fn code(text: &str) -> String {
    // A bar would end a table cell even inside a code span.
    let plain = line(text).replace('`', "'").replace('|', "¦");
    if plain.is_empty() {
        return "(empty)".to_owned();
    }
    format!("`{plain}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_begins_no_markup() {
        assert_eq!(
            escape("a | <img src=x> [x](y) *b* `c` _d_ e_f #1\n# Heading"),
            "a \\| \\<img src=x\\> \\[x\\](y) \\*b\\* \\`c\\` \\_d\\_ e_f \\#1 \\# Heading"
        );
        assert_eq!(code("a `b` | c\nd"), "`a 'b' ¦ c d`");
    }

    #[test]
    fn a_rate_from_ten_on_is_whole() {
        assert_eq!(
            [349.52, 10.04, 9.5].map(about),
            ["350", "10", "9.5"].map(str::to_owned)
        );
    }

    #[test]
    fn times_and_spans_are_written_as_people_say_them() {
        // `date -u -d @1795356200` gives Sun Nov 22 14:03:20 UTC 2026.
        assert_eq!(moment(1_795_356_200_000), "22 Nov 2026, 14:03:20 UTC");
        assert_eq!(date_after(1_795_356_200_000, 14), "2026-12-06");
        for (ms, words) in [
            (45_400, "45 s"),
            (198_000, "3.3 min"),
            (360_000, "6 min"),
            (1_080_000, "18 min"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(duration(ms), words);
        }
    }
}
