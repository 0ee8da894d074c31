//! Turns a recipe into a labelled series: chooses moments, injects anomalies,
//! and puts a window around the moment at which each becomes visible.

mod effects;

use crate::LabelledSeries;
use crate::draw::Draw;
use crate::recipe::{Kind, Recipe};
use crate::trial_points;
use effects::Work;

/// The windows of a series together cover this share of its samples.
const WINDOW_SHARE: f64 = 0.10;
/// No anomaly in this share of the samples at the start.
const CALM_SHARE: f64 = 0.15;
/// How often another kind or place is tried before a plain spike is taken.
const TRIES: usize = 40;

/// What is healthy at a place: how the values vary there.
#[derive(Clone, Debug)]
pub(super) struct Health {
    /// Observed, before limits and rounding.
    pub(super) observed: Vec<f64>,
    /// What an onlooker who knows the rhythm would expect.
    pub(super) expected: Vec<f64>,
    /// What rounding hides: a smaller change cannot be seen.
    hidden: f64,
}

impl Health {
    fn of(recipe: &Recipe, observed: Vec<f64>) -> Self {
        let expected = if recipe.follows_clock {
            recipe.level.clone()
        } else {
            smoothed(&observed, (recipe.clock.per_day() / 4).clamp(20, 150))
        };
        let hidden = 0.6 * recipe.step;
        Self {
            observed,
            expected,
            hidden,
        }
    }

    fn residuals(&self, index: usize, reach: usize) -> Vec<f64> {
        let range = index.saturating_sub(reach)..(index + reach).min(self.observed.len());
        let mut all: Vec<f64> = range
            .map(|at| (self.observed[at] - self.expected[at]).abs())
            .collect();
        all.sort_by(f64::total_cmp);
        all
    }

    /// The usual distance from the expected value near a sample, never zero.
    pub(super) fn spread(&self, index: usize) -> f64 {
        let near = self.residuals(index, 150);
        let trimmed = &near[..near.len() * 97 / 100];
        let square = trimmed.iter().map(|r| r * r).sum::<f64>() / trimmed.len().max(1) as f64;
        let (low, high) = self.range(index);
        let tiny = self.hidden.max(1e-6 + 0.002 * low.abs().max(high.abs()));
        (1.48 * near[near.len() / 2])
            .max(0.5 * square.sqrt())
            .max(tiny)
    }

    /// The largest ordinary distance near a sample.
    pub(super) fn tail(&self, index: usize) -> f64 {
        let near = self.residuals(index, 400);
        near[near.len() * 995 / 1000].max(2.0 * self.spread(index))
    }

    /// Lowest and highest value seen before a sample.
    pub(super) fn range(&self, index: usize) -> (f64, f64) {
        let seen = &self.observed[..=index];
        let low = seen.iter().copied().fold(f64::INFINITY, f64::min);
        let high = seen.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    }
}

fn smoothed(values: &[f64], reach: usize) -> Vec<f64> {
    let mut sums = vec![0.0];
    for value in values {
        sums.push(sums[sums.len() - 1] + value);
    }
    (0..values.len())
        .map(|at| {
            let (from, to) = (at.saturating_sub(reach), (at + reach + 1).min(values.len()));
            (sums[to] - sums[from]) / (to - from) as f64
        })
        .collect()
}

/// Makes the series of a recipe with 0 to 5 anomalies.
pub(crate) fn finish(
    draw: &mut Draw,
    recipe: &Recipe,
    name: String,
    family: String,
) -> LabelledSeries {
    let noise = recipe.noise(draw);
    // Emitted twice, without and with anomalies, from the same numbers.
    let emission = draw.bits();
    let observed = recipe.emit(&mut Draw::at(&[emission]), &recipe.level, &noise);
    let health = Health::of(recipe, observed);
    let count = number_of_anomalies(draw, recipe);
    let points = recipe.clock.len();
    let length = (points as f64 * WINDOW_SHARE / count.max(1) as f64) as usize;
    let mut work = Work::new(recipe, noise);
    let mut moments: Vec<usize> = Vec::new();
    let places = places(draw, points, count, length);
    for (at, place) in places.iter().enumerate() {
        let low = moments
            .last()
            .map_or(first_moment(points, length), |last| last + length + 2);
        let high = places
            .get(at + 1)
            .map_or(points - 2, |next| next - length - 2);
        let room = Room {
            low,
            high,
            next: high + length / 2,
        };
        moments.push(inject(draw, &health, &mut work, *place, room));
    }
    let values = work.observed(&mut Draw::at(&[emission]));
    let times = &recipe.clock.times;
    let windows = moments.iter().map(|moment| {
        let left = moment - length / 2;
        let right = (left + length - 1).min(points - 1);
        (times[left], times[right])
    });
    let windows: Vec<(i64, i64)> = windows.collect();
    let points = times
        .iter()
        .zip(values)
        .map(|(time, value)| (*time, recipe.dress(value)));
    LabelledSeries {
        name,
        family,
        interval_ms: recipe.clock.interval_ms,
        points: points.collect(),
        windows,
    }
}

fn number_of_anomalies(draw: &mut Draw, recipe: &Recipe) -> usize {
    if recipe.kinds.is_empty() || draw.chance(1.0 / 9.0) {
        return 0;
    }
    draw.pick(&[1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5])
}

/// The first sample on which a window may be centred.
fn first_moment(points: usize, length: usize) -> usize {
    trial_points(points).max((points as f64 * CALM_SHARE) as usize) + length / 2 + 1
}

/// Evenly drawn places for windows that do not touch.
fn places(draw: &mut Draw, points: usize, count: usize, length: usize) -> Vec<usize> {
    let first = first_moment(points, length);
    // A window may reach a little over the end, as where an export stops
    // soon after an incident.
    let last = points - 2 - length / 4;
    let free = (last - first - count.saturating_sub(1) * (length + 4)) as f64;
    let mut spots: Vec<f64> = (0..count).map(|_| draw.uniform(0.0, free)).collect();
    spots.sort_by(f64::total_cmp);
    let placed = spots.iter().enumerate();
    placed
        .map(|(at, spot)| first + *spot as usize + at * (length + 4))
        .collect()
}

/// Where a moment may lie, and where the next anomaly's window may begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    low: usize,
    high: usize,
    pub(super) next: usize,
}

/// Applies one anomaly about `place` and returns its visible moment.
fn inject(
    draw: &mut Draw,
    health: &Health,
    work: &mut Work<'_>,
    place: usize,
    room: Room,
) -> usize {
    let place = place.clamp(room.low, room.high.max(room.low));
    for _ in 0..TRIES {
        let kind = draw.pick(&work.recipe.kinds);
        let mut tried = work.clone();
        let Some(moment) = tried.apply(draw, health, kind, place, room) else {
            continue;
        };
        if (room.low..=room.high).contains(&moment) {
            *work = tried;
            return moment;
        }
    }
    let up = work.recipe.kinds.contains(&Kind::SpikeUp) || work.recipe.floor == 0.0;
    let kind = if up { Kind::SpikeUp } else { Kind::SpikeDown };
    work.apply(draw, health, kind, place, room).unwrap_or(place)
}
