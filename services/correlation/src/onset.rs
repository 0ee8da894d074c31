//! When a series really began to change, not when it crossed a threshold.
//!
//! Two shapes of a change are fitted by least squares at every place where it
//! may have begun, and the better one is taken: a **step** (one level before,
//! another from the place on) and a **ramp** (a level before, a straight line
//! from the place on). Both have three parameters, so that their residuals can
//! be compared as they are. With normal noise, `n · ln(residual / least
//! residual)` is twice the loss of log-likelihood; the places that lose less
//! than 3.84 (95 % of chi-square with one degree of freedom) are the interval.
//! Where the noise wanders, so that each reading resembles the one before, n is
//! reduced to the number of independent readings, n · (1 − ρ) / (1 + ρ) with
//! the autocorrelation ρ of what the best fit leaves.

/// Readings before the crossing that are looked at: twenty minutes at one in
/// ten seconds. Further back a fleet's day shows, which is not the change.
const BEFORE: usize = 120;
/// Readings after the crossing that are looked at: they tell a step from a
/// ramp; later ones may belong to the recovery.
const AFTER: usize = 3;
/// Readings that a level needs to be one.
const LEVEL: usize = 3;
/// Loss of twice the log-likelihood inside the interval.
const INTERVAL: f64 = 3.84;
/// How much better, in twice the log-likelihood per logarithm of the number of
/// readings, a change must fit than none: two parameters by Schwarz's
/// criterion, and one for having searched for the place.
const GAIN: f64 = 3.0;

/// When a series began to change. Event times, epoch milliseconds;
/// `earliest_ms ≤ at_ms ≤ latest_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Onset {
    /// The first reading that shows the change, or for a ramp the reading from
    /// which it rises. A change that is older than the readings has the time of
    /// the first of them.
    pub at_ms: i64,
    /// The change did not begin before this, to about 95 %.
    pub earliest_ms: i64,
    /// Nor after this.
    pub latest_ms: i64,
}

/// Estimates the onset of the change that crossed a threshold at `crossed_ms`.
///
/// `points` are (event time in ms, value) in any order; those long before the
/// crossing and those after its next three readings are not looked at. `None`
/// where there are fewer than five readings up to the crossing, or where no
/// change stands out from the noise.
#[must_use]
pub fn estimate(points: &[(i64, f64)], crossed_ms: i64) -> Option<Onset> {
    let points = without_spikes(around(points, crossed_ms)?);
    let points = after_last_episode(&points);
    let fits = Fits::of(points);
    #[expect(clippy::cast_precision_loss, reason = "at most 124 readings")]
    let count = points.len() as f64;
    let count = count * fits.independent;
    let loss = |residual: f64| count * (residual / fits.least).ln();
    if loss(fits.flat) < GAIN * count.ln() {
        return None;
    }
    let first = points.first()?.0;
    let inside = || {
        fits.places
            .iter()
            .filter(|fit| loss(fit.residual) <= INTERVAL)
    };
    let latest_ms = inside().map(|fit| points[fit.place].0).max()?;
    // One straight line over everything: it rose before the first reading.
    if loss(fits.line) < count.ln() {
        return Some(Onset {
            at_ms: first,
            earliest_ms: first,
            latest_ms: latest_ms.min(crossed_ms).max(first),
        });
    }
    let best = fits.places.iter().find(|fit| fit.residual <= fits.least)?;
    let at_ms = points[best.place].0.min(crossed_ms);
    // A step lies between the reading before it and the first that shows it.
    let begin = |fit: &Fit| {
        if fit.is_step {
            fit.place.saturating_sub(1)
        } else {
            fit.place
        }
    };
    let earliest_ms = inside().map(|fit| points[begin(fit)].0).min()?;
    Some(Onset {
        at_ms,
        earliest_ms: earliest_ms.min(at_ms),
        latest_ms: latest_ms.min(crossed_ms).max(at_ms),
    })
}

/// The readings around the crossing, by time, each time once.
fn around(points: &[(i64, f64)], crossed_ms: i64) -> Option<Vec<(i64, f64)>> {
    let finite = points
        .iter()
        .copied()
        .filter(|(_, value)| value.is_finite());
    let mut points: Vec<(i64, f64)> = finite.collect();
    points.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
    points.dedup_by_key(|point| point.0);
    let crossed = points.partition_point(|point| point.0 <= crossed_ms);
    if crossed < LEVEL + 2 {
        return None;
    }
    points.truncate(crossed + AFTER);
    points.drain(..crossed.saturating_sub(BEFORE));
    Some(points)
}

/// A scale of the noise: the median step from one reading to the next, as the
/// standard deviation of normal noise (0.6745 · √2), and never nothing.
fn noise(points: &[(i64, f64)]) -> f64 {
    let steps = points.windows(2).map(|pair| (pair[1].1 - pair[0].1).abs());
    let values = points.iter().map(|point| point.1);
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    (median(steps.collect()) / 0.954).max((high - low) / 100.0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Replaces single readings that stick out from both neighbours: one slow
/// garbage collection is no change, and least squares would follow it.
fn without_spikes(mut points: Vec<(i64, f64)>) -> Vec<(i64, f64)> {
    let limit = 5.0 * noise(&points);
    let spikes: Vec<usize> = (1..points.len().saturating_sub(1))
        .filter(|&place| {
            let (before, here, after) = (points[place - 1].1, points[place].1, points[place + 1].1);
            (here - before.max(after)).max(before.min(after) - here) > limit
        })
        .collect();
    for place in spikes {
        points[place].1 = f64::midpoint(points[place - 1].1, points[place + 1].1);
    }
    points
}

/// The readings since an earlier episode ended: one that left the level and
/// came back to it is another story than the one that crossed now.
fn after_last_episode(points: &[(i64, f64)]) -> &[(i64, f64)] {
    let level = median(points.iter().map(|point| point.1).collect());
    let noise = noise(points);
    let off = |point: &(i64, f64)| point.1 - level;
    let last = median(points.iter().rev().take(LEVEL).map(off).collect());
    let (mut outside, mut inside, mut begin) = (0, 0, 0);
    // A ramp passes the level once; an episode begins and ends there. One that
    // began before these readings lies on the side where they end, too, and
    // there no ramp begins.
    let (mut was_in, mut was_out) = (false, false);
    for (index, point) in points.iter().enumerate() {
        let (size, is_alike) = (off(point).abs(), off(point) * last > 0.0);
        outside = if size > 6.0 * noise { outside + 1 } else { 0 };
        inside = if size < 3.0 * noise { inside + 1 } else { 0 };
        was_in |= inside >= LEVEL;
        was_out |= (was_in || is_alike) && outside >= LEVEL;
        if was_out && inside >= LEVEL {
            was_out = false;
            begin = index + 1 - LEVEL;
        }
    }
    if points.len() - begin >= 2 * LEVEL + 2 {
        &points[begin..]
    } else {
        points
    }
}

/// One shape of a change at one place.
#[derive(Clone, Copy, Debug)]
struct Fit {
    place: usize,
    is_step: bool,
    residual: f64,
}

struct Fits {
    /// Steps before ramps: where both fit alike, the step says more.
    places: Vec<Fit>,
    least: f64,
    /// Residual of no change at all, and of one straight line.
    flat: f64,
    line: f64,
    /// The part of the readings that are independent of each other.
    independent: f64,
}

impl Fits {
    fn of(points: &[(i64, f64)]) -> Fits {
        let start = points.first().map_or(0, |point| point.0);
        #[expect(clippy::cast_precision_loss, reason = "spans are far below 2^53 ms")]
        let times: Vec<f64> = points
            .iter()
            .map(|point| (point.0 - start) as f64)
            .collect();
        let values: Vec<f64> = points.iter().map(|point| point.1).collect();
        // Rounding makes residuals below this meaningless.
        let scale = values
            .iter()
            .fold(0.0_f64, |most, value| most.max(value.abs()));
        let spread = noise(points);
        let floor = (1e-12 * scale * scale)
            .max(0.01 * spread * spread)
            .max(f64::MIN_POSITIVE);
        let residual = |shape: &dyn Fn(usize) -> f64| regression(&values, shape) + floor;
        let mut places = Vec::new();
        for place in LEVEL..values.len() {
            let shape = move |index: usize| if index < place { 0.0 } else { 1.0 };
            places.push(Fit {
                place,
                is_step: true,
                residual: residual(&shape),
            });
        }
        for place in LEVEL - 1..values.len() - 1 {
            let shape = |index: usize| (times[index] - times[place]).max(0.0);
            places.push(Fit {
                place,
                is_step: false,
                residual: residual(&shape),
            });
        }
        let least = places
            .iter()
            .map(|fit| fit.residual)
            .fold(f64::MAX, f64::min);
        let best = places.iter().find(|fit| fit.residual <= least);
        let rho = best.map_or(0.0, |best| {
            let shape = |index: usize| match best.is_step {
                true => f64::from(index >= best.place),
                false => (times[index] - times[best.place]).max(0.0),
            };
            autocorrelation(&left_over(&values, &shape))
        });
        Fits {
            independent: (1.0 - rho) / (1.0 + rho),
            flat: residual(&|_| 0.0),
            line: residual(&|index| times[index]),
            places,
            least,
        }
    }
}

/// Sum of squares that `level + slope · shape` leaves of `values`.
fn regression(values: &[f64], shape: &dyn Fn(usize) -> f64) -> f64 {
    left_over(values, shape)
        .iter()
        .map(|left| left * left)
        .sum()
}

/// What `level + slope · shape` leaves of `values`.
fn left_over(values: &[f64], shape: &dyn Fn(usize) -> f64) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "at most 124 readings")]
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let centre = (0..values.len()).map(shape).sum::<f64>() / count;
    let (mut own, mut cross) = (0.0, 0.0);
    for (index, value) in values.iter().enumerate() {
        let rise = shape(index) - centre;
        own += rise * rise;
        cross += rise * (value - mean);
    }
    let slope = if own > 0.0 { cross / own } else { 0.0 };
    let left = values.iter().enumerate();
    left.map(|(index, value)| value - mean - slope * (shape(index) - centre))
        .collect()
}

/// How much each value resembles the one before, 0 to 0.9.
fn autocorrelation(left: &[f64]) -> f64 {
    let total: f64 = left.iter().map(|one| one * one).sum();
    let next: f64 = left.windows(2).map(|pair| pair[0] * pair[1]).sum();
    if total > 0.0 {
        (next / total).clamp(0.0, 0.9)
    } else {
        0.0
    }
}
