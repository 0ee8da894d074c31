//! A small chart for a piece of evidence: a series, how often a line was
//! written, how long or how badly a call went, when something was changed. One
//! line each, with `|` where the fault begins.

use crate::output::fit;
use midwatch_events::incident::EvidenceKind;
use midwatch_investigation::rca::clues::{Clue, number};
use midwatch_investigation::rca::lines::template;
use midwatch_investigation::rca::{Question, Recording, readings};

/// Columns of a chart, without the mark of the start.
const COLUMNS: usize = 52;
/// Columns of what stands beside it: with six of indentation, the mark and a
/// blank 80 in all.
const BESIDE: usize = 20;
/// A normal period that is drawn shows so many readings where there are as many: one bar alone
/// says nothing of what is usual.
const USUAL: usize = 12;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The chart of a piece of evidence; none where its record is not at hand.
#[must_use]
pub fn of(recording: &Recording, question: &Question, clue: &Clue) -> Option<String> {
    let (line, beside) = match clue.kind {
        EvidenceKind::Log => lines(recording, question, clue),
        EvidenceKind::Span => spans(recording, question, clue),
        EvidenceKind::Deployment | EvidenceKind::Kubernetes => {
            change(recording, question, clue.at_ms)
        }
        _ => series(recording, question, clue),
    }?;
    Some(format!("{line} {}", fit(&beside, BESIDE)))
}

/// From a moment to a column.
struct Axis {
    from_ms: i64,
    until_ms: i64,
    start_ms: i64,
}

impl Axis {
    /// The normal period gets half of the columns, however long it was; more where readings are
    /// rare ([`USUAL`]).
    fn of(question: &Question, first_ms: i64, last_ms: i64) -> Axis {
        let fault_ms = (question.end_ms - question.start_ms).max(1);
        Axis {
            from_ms: first_ms.max(question.start_ms - fault_ms),
            until_ms: last_ms,
            start_ms: question.start_ms,
        }
    }

    fn length_ms(&self) -> i64 {
        (self.until_ms - self.from_ms).max(1)
    }

    /// The column of a moment; `None` for one outside.
    fn column(&self, at_ms: i64) -> Option<usize> {
        if at_ms < self.from_ms || at_ms > self.until_ms {
            return None;
        }
        let columns = i64::try_from(COLUMNS).ok()?;
        let place = (at_ms - self.from_ms).checked_mul(columns)? / self.length_ms();
        Some(usize::try_from(place).ok()?.min(COLUMNS - 1))
    }

    /// The cells with the mark before the one of the start.
    fn drawn(&self, cells: impl IntoIterator<Item = char>) -> String {
        let start = self.column(self.start_ms.max(self.from_ms));
        let mut drawn = String::new();
        for (index, cell) in cells.into_iter().enumerate() {
            if Some(index) == start {
                drawn.push('|');
            }
            drawn.push(cell);
        }
        drawn
    }

    /// The time of one column: `in 12 s`.
    fn interval(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "days in milliseconds")]
        let seconds = self.length_ms() as f64 / 1_000.0 / COLUMNS as f64;
        if seconds < 120.0 {
            format!("in {} s", number(seconds.max(0.001)))
        } else {
            format!("in {:.0} min", seconds / 60.0)
        }
    }
}

/// A series, one bar for the mean of each stretch of time; a counter as what it
/// grew by each second, as it is quoted.
fn series(recording: &Recording, question: &Question, clue: &Clue) -> Option<(String, String)> {
    let series = recording
        .series
        .iter()
        .find(|one| one.service == clue.service && one.metric == clue.metric)?;
    let points = readings(series);
    let (first, last) = (points.first()?.0, points.last()?.0);
    let mut axis = Axis::of(question, first, last);
    let before = points.iter().rev().filter(|(at, _)| *at < axis.start_ms);
    if let Some((at_ms, _)) = before.take(USUAL).last() {
        axis.from_ms = axis.from_ms.min(*at_ms);
    }
    let means = means(&axis, points.iter().copied());
    let (low, high) = reach(&means)?;
    let beside = format!("{}–{}", short(low), short(high));
    Some((bars(&axis, &means, low, high), beside))
}

/// How often lines like this one were written.
fn lines(recording: &Recording, question: &Question, clue: &Clue) -> Option<(String, String)> {
    let quoted = recording.lines.iter().find(|line| line.id == clue.id)?;
    let wanted = template(&quoted.message);
    let alike = recording
        .lines
        .iter()
        .filter(|line| line.service == quoted.service && template(&line.message) == wanted);
    let axis = whole(recording, question)?;
    counted(&axis, alike.map(|line| line.at_ms))
}

/// How long calls like this one took, or how many of them failed if it did.
fn spans(recording: &Recording, question: &Question, clue: &Clue) -> Option<(String, String)> {
    let quoted = recording.spans.iter().find(|span| span.id == clue.id)?;
    let axis = whole(recording, question)?;
    let alike = recording
        .spans
        .iter()
        .filter(|span| span.service == quoted.service && span.operation == quoted.operation);
    if quoted.failed {
        let failed = alike.filter(|span| span.failed);
        return counted(&axis, failed.map(|span| span.start_ms));
    }
    let means = means(&axis, alike.map(|span| (span.start_ms, span.duration_ms)));
    let (low, high) = reach(&means)?;
    let beside = format!("{}–{} ms", short(low), short(high));
    Some((bars(&axis, &means, low, high), beside))
}

/// A time line with the change on it.
fn change(recording: &Recording, question: &Question, at_ms: i64) -> Option<(String, String)> {
    let mut axis = whole(recording, question)?;
    axis.from_ms = axis.from_ms.min(at_ms);
    axis.until_ms = axis.until_ms.max(at_ms);
    let place = axis.column(at_ms)?;
    let cells = (0..COLUMNS).map(|index| if index == place { '▲' } else { '·' });
    let apart_ms = question.start_ms - at_ms;
    let side = if apart_ms >= 0 { "before" } else { "after" };
    #[expect(clippy::cast_precision_loss, reason = "days in milliseconds")]
    let seconds = apart_ms.abs() as f64 / 1_000.0;
    let beside = if seconds < 120.0 {
        format!("{seconds:.0} s {side} start")
    } else {
        format!("{:.0} min {side} start", seconds / 60.0)
    };
    Some((axis.drawn(cells), beside))
}

/// The axis of everything that was recorded.
fn whole(recording: &Recording, question: &Question) -> Option<Axis> {
    let points = recording.series.iter().filter_map(|one| one.points.first());
    let first = points
        .map(|(at, _)| *at)
        .chain(recording.lines.iter().map(|line| line.at_ms))
        .chain(recording.spans.iter().map(|span| span.start_ms))
        .min();
    let last = recording.last_ms().unwrap_or(question.end_ms);
    let last = last.min(question.end_ms).max(question.start_ms);
    Some(Axis::of(question, first.unwrap_or(question.start_ms), last))
}

/// A bar for the number of moments in each stretch of time.
fn counted(axis: &Axis, moments: impl Iterator<Item = i64>) -> Option<(String, String)> {
    let mut counts = [0_u32; COLUMNS];
    for at_ms in moments {
        if let Some(column) = axis.column(at_ms) {
            counts[column] += 1;
        }
    }
    let most = counts.iter().copied().max().filter(|most| *most > 0)?;
    let values: Vec<Option<f64>> = counts.iter().map(|count| Some(f64::from(*count))).collect();
    let line = bars(axis, &values, 0.0, f64::from(most));
    Some((line, format!("up to {most} {}", axis.interval())))
}

fn means(axis: &Axis, points: impl Iterator<Item = (i64, f64)>) -> Vec<Option<f64>> {
    let mut sums = [(0.0_f64, 0_u32); COLUMNS];
    for (at_ms, value) in points {
        if let Some(column) = axis.column(at_ms) {
            let cell = &mut sums[column];
            cell.0 += value;
            cell.1 += 1;
        }
    }
    sums.iter()
        .map(|(sum, count)| (*count > 0).then(|| sum / f64::from(*count)))
        .collect()
}

/// The least and the greatest of the values that there are.
fn reach(values: &[Option<f64>]) -> Option<(f64, f64)> {
    let mut known = values.iter().flatten().copied();
    let first = known.next()?;
    Some(known.fold((first, first), |(low, high), value| {
        (low.min(value), high.max(value))
    }))
}

fn bars(axis: &Axis, values: &[Option<f64>], low: f64, high: f64) -> String {
    axis.drawn(
        values
            .iter()
            .map(|value| value.map_or(' ', |value| bar(value, low, high))),
    )
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of seven, between 0 and 7"
)]
fn bar(value: f64, low: f64, high: f64) -> char {
    let share = if high > low {
        (value - low) / (high - low)
    } else {
        0.0
    };
    BARS[((share * 7.0).round() as usize).min(7)]
}

/// A number in few columns: bytes and counts with their thousands taken out.
fn short(value: f64) -> String {
    let size = value.abs();
    for (unit, sign) in [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")] {
        if size >= unit {
            let unit = if sign == "k" { 1e3 } else { unit };
            return format!("{}{sign}", number(value / unit));
        }
    }
    number(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use midwatch_events::raw::LogLevel;
    use midwatch_investigation::rca::{Line, Series, Span};

    const START_MS: i64 = 1_040_000;
    const END_MS: i64 = 2_080_000;

    fn question() -> Question {
        Question {
            target: "shop".to_owned(),
            target_metric: "errors".to_owned(),
            start_ms: START_MS,
            at_ms: START_MS,
            end_ms: END_MS,
        }
    }

    fn clue(kind: EvidenceKind, id: &str, at_ms: i64) -> Clue {
        Clue {
            id: id.to_owned(),
            kind,
            service: "shop".to_owned(),
            at_ms,
            summary: String::new(),
            metric: "heap_bytes".to_owned(),
            strength: 1.0,
        }
    }

    /// A reading, a line and two spans every ten seconds; since the start twice
    /// as many lines, longer calls and every second one failed.
    fn recording() -> Recording {
        let mut recording = Recording::default();
        let mut series = Series {
            service: "shop".to_owned(),
            metric: "heap_bytes".to_owned(),
            ..Series::default()
        };
        for index in 0..=208_i64 {
            let at_ms = index * 10_000;
            let is_fault = at_ms >= START_MS;
            series
                .points
                .push((at_ms, if is_fault { 4.5e11 } else { -1.2e9 }));
            for copy in 0..if is_fault { 2 } else { 1 } {
                recording.lines.push(Line {
                    id: format!("log:{index}:{copy}"),
                    service: "shop".to_owned(),
                    at_ms,
                    level: LogLevel::Error,
                    message: format!("order {index} was lost"),
                });
            }
            for failed in [false, true] {
                recording.spans.push(Span {
                    id: format!("span:{index}:{failed}"),
                    trace: index.to_string(),
                    own: index.to_string(),
                    parent: None,
                    service: "shop".to_owned(),
                    operation: if failed { "pay" } else { "list" }.to_owned(),
                    start_ms: at_ms,
                    duration_ms: if is_fault { 80.0 } else { 10.0 },
                    failed: failed && is_fault,
                });
            }
        }
        recording.series.push(series);
        recording
    }

    #[test]
    fn every_kind_of_evidence_has_its_chart_within_eighty_columns() {
        let (recording, question) = (recording(), question());
        let low = "▁".repeat(26);
        let high = "█".repeat(26);
        for (kind, id, at_ms, expected) in [
            (
                EvidenceKind::Metric,
                "",
                0,
                format!("{low}|{high} -1.2G–450G"),
            ),
            // 40 s a column; four readings and eight lines each, at the end nine
            // or ten.
            (
                EvidenceKind::Span,
                "span:150:false",
                0,
                format!("{low}|{high} 10–80 ms"),
            ),
        ] {
            let drawn = of(&recording, &question, &clue(kind, id, at_ms)).expect("it is recorded");
            assert_eq!(drawn, expected, "{kind:?}");
        }
        let drawn = |kind, id: &str, at_ms| {
            let drawn = of(&recording, &question, &clue(kind, id, at_ms)).expect("it is recorded");
            assert!(drawn.chars().count() + 6 <= 80, "{drawn}");
            drawn
        };
        let lines = drawn(EvidenceKind::Log, "log:150:0", 0);
        let (before, since) = lines.split_once('|').expect("the start is marked");
        assert!(before.chars().all(|cell| cell < '▆'), "{lines}");
        assert!(since.chars().take(26).all(|cell| cell >= '▆'), "{lines}");
        assert!(lines.ends_with("in 40 s"), "{lines}");
        let failed = drawn(EvidenceKind::Span, "span:150:true", 0);
        let (before, since) = failed.split_once('|').expect("the start is marked");
        assert_eq!(before, low, "none failed before");
        assert!(since.chars().take(26).all(|cell| cell >= '▅'), "{failed}");
    }

    #[test]
    fn a_counter_is_drawn_as_what_it_grows_by() {
        // Ten more with every reading of ten seconds, from the start on fifty.
        let mut series = Series {
            service: "shop".to_owned(),
            metric: "requests_total".to_owned(),
            ..Series::default()
        };
        let mut count = 0.0;
        for index in 0..=208_i64 {
            let at_ms = index * 10_000;
            count += if at_ms > START_MS { 50.0 } else { 10.0 };
            series.points.push((at_ms, count));
        }
        let mut recording = Recording::default();
        recording.series.push(series);
        let mut clue = clue(EvidenceKind::Metric, "", 0);
        clue.metric = "requests_total".to_owned();
        let drawn = of(&recording, &question(), &clue).expect("it is recorded");
        assert!(drawn.ends_with(" 1–5"), "{drawn}");
        let (before, since) = drawn.split_once('|').expect("the start is marked");
        // The first growth is that of the second reading.
        assert_eq!(before, "▁".repeat(25));
        assert!(
            since.ends_with(&format!("{} 1–5", "█".repeat(25))),
            "{drawn}"
        );
    }

    #[test]
    fn of_rare_readings_enough_are_drawn_to_show_what_is_usual() {
        let minute = 60_000;
        let mut question = question();
        (question.start_ms, question.end_ms) = (2_000 * minute, 2_010 * minute);
        let mut series = Series {
            service: "shop".to_owned(),
            metric: "heap_bytes".to_owned(),
            ..Series::default()
        };
        for index in 0..402_i64 {
            let value = if index >= 400 { 9.0 } else { 3.0 };
            series.points.push((index * 5 * minute, value));
        }
        let mut recording = Recording::default();
        recording.series.push(series);
        let drawn = of(&recording, &question, &clue(EvidenceKind::Metric, "", 0)).expect("drawn");
        let (before, since) = drawn.split_once('|').expect("the start is marked");
        let bars = |cells: &str, bar: char| cells.chars().filter(|cell| *cell == bar).count();
        assert_eq!((bars(before, '▁'), bars(since, '█')), (USUAL, 2), "{drawn}");
    }

    #[test]
    fn a_change_is_marked_on_a_time_line_with_the_start() {
        let (recording, question) = (recording(), question());
        for (at_ms, order, beside) in [
            (START_MS - 60_000, "▲|", "60 s before start"),
            (START_MS + 600_000, "|▲", "10 min after start"),
            // Long before what is drawn otherwise: the axis grows.
            (START_MS - 40 * 60_000, "▲|", "40 min before start"),
        ] {
            for kind in [EvidenceKind::Deployment, EvidenceKind::Kubernetes] {
                let drawn = of(&recording, &question, &clue(kind, "", at_ms)).expect("drawn");
                let marks: String = drawn.chars().filter(|cell| "▲|".contains(*cell)).collect();
                assert_eq!(marks, order, "{drawn}");
                assert!(drawn.ends_with(beside), "{drawn}");
                assert!(drawn.chars().count() + 6 <= 80, "{drawn}");
            }
        }
    }

    #[test]
    fn what_is_not_at_hand_has_no_chart() {
        let (recording, question) = (Recording::default(), question());
        for kind in [EvidenceKind::Metric, EvidenceKind::Log, EvidenceKind::Span] {
            assert_eq!(of(&recording, &question, &clue(kind, "x", START_MS)), None);
        }
    }
}
