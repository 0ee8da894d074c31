//! Scores verdicts against windows.
//!
//! Every anomaly has a window around its moment. Of the flagged samples inside
//! a window only the earliest counts and earns `sigma(y)` with
//!
//! ```text
//! sigma(y) = 2 / (1 + exp(5 y)) − 1
//! ```
//!
//! where `y` runs from −1 at the window's left edge (earning 0.987) to 0 at its
//! right edge (earning nothing). A window without a flagged sample costs 1.
//! A flagged sample outside all windows is a false alarm and costs
//! `0.11 · |sigma(y)|`, where `y` is its distance behind the right edge of the
//! window before it in units of the window's length (its samples less one): just
//! behind a window it costs almost nothing, further away, or before the first
//! window, 0.11, a ninth of a missed window. The first 15 % of a series, at most
//! 750 samples, are a trial period and do not count. The sum over all series is
//! put on a scale where 0 is what flagging nothing gets and 100 is every window
//! flagged at its left edge without a false alarm; below 0 is possible.

use crate::LabelledSeries;
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::HashMap;

const FALSE_ALARM: f64 = 0.11;
const MISS: f64 = 1.0;

/// What a detector said about one series: time in milliseconds, anomaly score
/// and whether it flagged the sample. In any order.
pub type SeriesVerdicts = Vec<(i64, f64, bool)>;

/// The scores of a set of series.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Series scored.
    pub series: usize,
    /// Samples of these series without a verdict; they count as not flagged.
    pub without_verdict: usize,
    /// Verdicts about series or samples that are not in the set.
    pub unknown_verdicts: usize,
    /// By the detector's own `is_anomaly`.
    pub own: Tally,
    /// By the single threshold over `anomaly_score` that is best for the whole set.
    pub best: Tally,
    /// That threshold: samples that score so much or more are flagged. Infinite
    /// (`null` in JSON) where flagging nothing is best.
    pub threshold: f64,
    /// The same per family, by name.
    pub families: Vec<FamilyScore>,
}

/// The same two scores for one family; the threshold is the whole set's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FamilyScore {
    pub family: String,
    pub series: usize,
    pub own: Tally,
    pub best: Tally,
}

/// One way of flagging, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Tally {
    /// 0 = flagging nothing, 100 = perfect. Without any window in the set, 100
    /// less 11 for each whole false alarm, so that calm is still visible.
    pub score: f64,
    pub windows: usize,
    pub found: usize,
    pub false_alarms: usize,
    pub false_alarms_per_series: f64,
    /// Mean of what the found windows earned, 0..0.987; 0 without any.
    pub earliness: f64,
    #[serde(skip)]
    raw: f64,
    #[serde(skip)]
    earned: f64,
    #[serde(skip)]
    series: usize,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.windows += other.windows;
        self.found += other.found;
        self.false_alarms += other.false_alarms;
        self.raw += other.raw;
        self.earned += other.earned;
        self.series += other.series;
    }

    fn finished(mut self) -> Self {
        let windows = self.windows as f64;
        self.score = if self.windows == 0 {
            100.0 * (1.0 + self.raw)
        } else {
            normalised(self.raw, windows)
        };
        self.false_alarms_per_series = self.false_alarms as f64 / self.series.max(1) as f64;
        self.earliness = self.earned / self.found.max(1) as f64;
        self
    }
}

fn normalised(raw: f64, windows: f64) -> f64 {
    let nothing = -MISS * windows;
    100.0 * (raw - nothing) / (windows * sigma(-1.0) - nothing)
}

fn sigma(y: f64) -> f64 {
    2.0 / (1.0 + (5.0 * y).exp()) - 1.0
}

/// How many samples at the start of a series do not count.
#[must_use]
pub fn trial_points(points: usize) -> usize {
    (points * 15 / 100).min(750)
}

/// What flagging one sample means.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Worth {
    /// In the trial period.
    Nothing,
    /// In this window; it earns so much if it is the earliest there.
    Window(usize, f64),
    /// Outside: it costs so much.
    Outside(f64),
}

/// The worth of every sample of a series, in order.
fn worths(series: &LabelledSeries) -> Vec<Worth> {
    let points = &series.points;
    let first_after = |time: i64| points.partition_point(|(at, _)| *at <= time);
    let edges: Vec<(usize, usize)> = series
        .windows
        .iter()
        .map(|(start, end)| {
            (
                points.partition_point(|(at, _)| at < start),
                first_after(*end),
            )
        })
        .collect();
    let mut worths: Vec<Worth> = Vec::with_capacity(points.len());
    // The window that is running or lies behind.
    let mut last: Option<usize> = None;
    for index in 0..points.len() {
        let next = last.map_or(0, |window| window + 1);
        if edges.get(next).is_some_and(|(left, _)| *left <= index) {
            last = Some(next);
        }
        let worth = match last.map(|window| (window, edges[window])) {
            _ if index < trial_points(points.len()) => Worth::Nothing,
            None => Worth::Outside(FALSE_ALARM),
            Some((window, (left, behind))) => {
                let right = behind - 1;
                let unit = right.saturating_sub(left).max(1) as f64;
                let y = (index as f64 - right as f64) / unit;
                if index <= right {
                    Worth::Window(window, sigma(y))
                } else {
                    Worth::Outside(FALSE_ALARM * sigma(y).abs())
                }
            }
        };
        worths.push(worth);
    }
    worths
}

/// A series as it is flagged bit by bit: in any order, for a window keeps the earliest.
struct Flagged<'a> {
    worths: &'a [Worth],
    /// What each window earns so far.
    windows: Vec<Option<f64>>,
    tally: Tally,
}

impl<'a> Flagged<'a> {
    fn new(worths: &'a [Worth], windows: usize) -> Self {
        let tally = Tally {
            windows,
            series: 1,
            raw: -MISS * windows as f64,
            ..Tally::default()
        };
        Self {
            worths,
            windows: vec![None; windows],
            tally,
        }
    }

    /// Flags one sample and returns by how much that changes the sum.
    fn flag(&mut self, index: usize) -> f64 {
        let change = match self.worths[index] {
            Worth::Nothing => 0.0,
            Worth::Outside(cost) => {
                self.tally.false_alarms += 1;
                -cost
            }
            // Within a window the earlier sample is worth more.
            Worth::Window(window, earns) => match self.windows[window] {
                None => {
                    self.windows[window] = Some(earns);
                    self.tally.found += 1;
                    self.tally.earned += earns;
                    earns + MISS
                }
                Some(before) => {
                    let more = (earns - before).max(0.0);
                    self.windows[window] = Some(before + more);
                    self.tally.earned += more;
                    more
                }
            },
        };
        self.tally.raw += change;
        change
    }
}

/// Scores the verdicts, by series name, of a detector on a set of series.
#[must_use]
pub fn score(series: &[LabelledSeries], verdicts: &HashMap<String, SeriesVerdicts>) -> Report {
    let worths: Vec<Vec<Worth>> = series.iter().map(worths).collect();
    let (marks, without_verdict, unknown_verdicts) = placed(series, verdicts);
    let fresh = || -> Vec<Flagged<'_>> {
        let each = worths.iter().zip(series);
        each.map(|(worths, one)| Flagged::new(worths, one.windows.len()))
            .collect()
    };
    let (mut own, mut best) = (fresh(), fresh());
    for (at, index, _, flagged) in &marks {
        if *flagged {
            own[*at].flag(*index);
        }
    }
    let threshold = best_threshold(&mut fresh(), &marks);
    for (at, index, score, _) in &marks {
        if *score >= threshold {
            best[*at].flag(*index);
        }
    }
    let mut families: BTreeMap<&str, FamilyScore> = BTreeMap::new();
    let (mut own_sum, mut best_sum) = (Tally::default(), Tally::default());
    for (at, one) in series.iter().enumerate() {
        own_sum.add(&own[at].tally);
        best_sum.add(&best[at].tally);
        let family = families.entry(&one.family).or_insert_with(|| FamilyScore {
            family: one.family.clone(),
            series: 0,
            own: Tally::default(),
            best: Tally::default(),
        });
        family.series += 1;
        family.own.add(&own[at].tally);
        family.best.add(&best[at].tally);
    }
    let families = families.into_values().map(|mut family| {
        family.own = family.own.finished();
        family.best = family.best.finished();
        family
    });
    Report {
        series: series.len(),
        without_verdict,
        unknown_verdicts,
        own: own_sum.finished(),
        best: best_sum.finished(),
        threshold,
        families: families.collect(),
    }
}

/// A verdict with its place: series, sample, score, flagged.
type Mark = (usize, usize, f64, bool);

/// Finds the sample that each verdict is about. Of several verdicts about one
/// sample the highest score counts, and one flag is enough. Also returned: the
/// number of samples without a verdict and of verdicts without a sample.
fn placed(
    series: &[LabelledSeries],
    verdicts: &HashMap<String, SeriesVerdicts>,
) -> (Vec<Mark>, usize, usize) {
    let mut marks = Vec::new();
    let (mut without, mut used, mut unknown) = (0, 0, 0);
    for (at, one) in series.iter().enumerate() {
        let mut said: Vec<Option<(f64, bool)>> = vec![None; one.points.len()];
        for (time, score, flagged) in verdicts.get(&one.name).into_iter().flatten() {
            used += 1;
            match one.points.binary_search_by_key(time, |(at, _)| *at) {
                Ok(index) => {
                    let (before, was) = said[index].unwrap_or((f64::NEG_INFINITY, false));
                    said[index] = Some((before.max(*score), was || *flagged));
                }
                Err(_) => unknown += 1,
            }
        }
        without += said.iter().filter(|said| said.is_none()).count();
        let known = said.into_iter().enumerate();
        marks.extend(known.filter_map(|(index, said)| said.map(|(s, f)| (at, index, s, f))));
    }
    unknown += verdicts.values().map(Vec::len).sum::<usize>() - used;
    (marks, without, unknown)
}

/// The threshold with the highest sum, by lowering it past every score once.
/// Of equally good ones the highest.
fn best_threshold(flagged: &mut [Flagged<'_>], marks: &[Mark]) -> f64 {
    let mut order: Vec<&Mark> = marks.iter().collect();
    order.sort_by(|one, other| other.2.total_cmp(&one.2));
    let (mut sum, mut best_sum, mut best) = (0.0, 0.0, f64::INFINITY);
    for (position, (at, index, score, _)) in order.iter().enumerate() {
        sum += flagged[*at].flag(*index);
        // Equal scores are flagged together or not at all.
        let last = order.get(position + 1).is_none_or(|next| next.2 < *score);
        if last && sum > best_sum + 1e-9 {
            (best_sum, best) = (sum, *score);
        }
    }
    best
}

#[cfg(test)]
mod tests;
