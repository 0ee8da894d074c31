//! From a family and a seed to a finished series.

use crate::Series;
use crate::dice::{Dice, mix};
use crate::families;
use crate::frame::{Event, Family, Frame};
use crate::plan;

/// Times an anomaly that cannot be seen is made stronger before the plan is given up.
const ROUNDS: usize = 6;
/// Plans tried before a series stays without anomalies.
const PLANS: u64 = 12;

/// Makes `per_family` series of every family. The order is shuffled by `seed`, so that the
/// position in the file says nothing about the family either.
pub fn generate(seed: u64, per_family: usize) -> Vec<Series> {
    let mut order: Vec<(u64, &Family)> = Vec::new();
    for (f, family) in families::all().enumerate() {
        for k in 0..per_family {
            order.push((mix(mix(seed, f as u64 + 1), k as u64), family));
        }
    }
    order.sort_by_key(|(own, _)| *own);
    order
        .into_iter()
        .map(|(own, family)| one(family, own))
        .collect()
}

/// One series of `family`.
pub fn one(family: &Family, seed: u64) -> Series {
    let mut dice = Dice::new(mix(seed, 1));
    let (low, high) = family.points;
    let points = dice.magnitude(low as f64, high as f64) as usize;
    let count = plan::draw_count(&mut dice);
    let decimals = family.decimals - i32::from(dice.chance(0.12));
    let (times, healthy) = run(family, seed, points, Vec::new());
    let healthy = rounded(&healthy, decimals);
    let (events, values) = (0..PLANS)
        .find_map(|attempt| planned(family, seed, attempt, &healthy, count, decimals))
        .unwrap_or((Vec::new(), healthy));
    let half = plan::half_window(points, events.len());
    let windows = events
        .iter()
        .map(|event| (times[event.moment - half], times[event.moment + half]))
        .collect();
    let kept = kept(&mut dice, points, &events);
    let points = times
        .iter()
        .zip(&values)
        .zip(kept)
        .filter(|(_, keep)| *keep)
        .map(|((at, value), _)| (*at, *value));
    Series {
        name: format!("{:016x}", mix(seed, 2)),
        family: family.name.to_owned(),
        interval_ms: i64::from(family.interval_s) * 1000,
        points: points.collect(),
        windows,
    }
}

/// Draws a plan and strengthens what cannot be seen; none if some of it stays invisible
/// (a burst on a saturated resource, a silence where nothing happens).
fn planned(
    family: &Family,
    seed: u64,
    attempt: u64,
    healthy: &[f64],
    count: usize,
    decimals: i32,
) -> Option<(Vec<Event>, Vec<f64>)> {
    let points = healthy.len();
    let half = plan::half_window(points, count);
    let cyclic = families::CYCLIC.contains(&family.name);
    let mut events = plan::draw(
        &mut Dice::new(mix(seed, 100 + attempt)),
        family,
        points,
        count,
    );
    for _ in 0..ROUNDS {
        let values = rounded(&run(family, seed, points, events.clone()).1, decimals);
        let mut seen = events.clone();
        let mut all = true;
        for (event, seen) in events.iter_mut().zip(&mut seen) {
            match plan::onset(event, &values, healthy, half, cyclic) {
                Some(moment) => seen.moment = moment,
                None => {
                    event.size *= 1.5;
                    all = false;
                }
            }
        }
        if all {
            return plan::fits(&seen, points, half).then_some((seen, values));
        }
    }
    None
}

/// Plays the family's physics through all points, then the sensor's own faults.
fn run(family: &Family, seed: u64, points: usize, events: Vec<Event>) -> (Vec<i64>, Vec<f64>) {
    let mut frame = Frame::new(family, mix(seed, 3), points, events);
    let mut step = (family.build)(&mut frame);
    let mut values: Vec<f64> = Vec::with_capacity(points);
    let (mut mean, mut spread, mut roughness, mut last) = (0.0, 0.0, 0.0, 0.0);
    let mut never_negative = true;
    for i in 0..points {
        frame.begin_step(mix(seed, 4), i);
        let clean = step(&mut frame, i);
        let weight = 1.0 / (i as f64 + 1.0).min(500.0);
        mean += weight * (clean - mean);
        spread += weight * ((clean - mean).abs() - spread);
        if i > 0 {
            roughness += weight * ((clean - last).abs() - roughness);
        }
        last = clean;
        let mut value = clean + 5.0 * spread * frame.force("glitch", i);
        let scatter = frame.force("noisier", i);
        if scatter > 0.0 {
            value += 3.0 * roughness * scatter * frame.dice.normal();
        }
        if frame.force("zero", i) > 0.0 {
            value = 0.0;
        }
        if frame.force("stuck", i) > 0.0 {
            value = values.last().copied().unwrap_or(value);
        }
        // A gauge that has never gone below zero cannot do so because of a fault.
        never_negative &= clean >= 0.0;
        values.push(if never_negative {
            value.max(0.0)
        } else {
            value
        });
    }
    (std::mem::take(&mut frame.times_ms), values)
}

fn rounded(values: &[f64], decimals: i32) -> Vec<f64> {
    let unit = 10f64.powi(decimals);
    // Adding zero turns −0 into 0, which would read oddly in a file.
    values
        .iter()
        .map(|value| (value * unit).round() / unit + 0.0)
        .collect()
}

/// Which points arrive: in every fourth series some stretches are missing, never where an
/// anomaly begins, because then nobody could be expected to see it.
fn kept(dice: &mut Dice, points: usize, events: &[Event]) -> Vec<bool> {
    let mut kept = vec![true; points];
    if !dice.chance(0.25) {
        return kept;
    }
    for _ in 0..1 + dice.index(3) {
        let length = dice.magnitude(1.0, 60.0) as usize;
        let start = 10 + dice.index(points - length - 20);
        let touches = |event: &Event| start <= event.moment + 15 && event.at <= start + length + 2;
        if !events.iter().any(touches) {
            kept[start..start + length].fill(false);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_without_events_is_the_series_its_events_were_added_to() {
        for family in families::all() {
            let seed = mix(7, 7);
            let points = family.points.0;
            let healthy = run(family, seed, points, Vec::new());
            let events = plan::draw(&mut Dice::new(5), family, points, 2);
            let faulty = run(family, seed, points, events.clone());
            assert_eq!(healthy.0, faulty.0, "{}", family.name);
            let first = events[0].at;
            assert_eq!(healthy.1[..first], faulty.1[..first], "{}", family.name);
        }
    }

    #[test]
    fn every_kind_of_every_family_can_be_labelled() {
        for family in families::all() {
            for kind in family.kinds.chunks(1) {
                let only = Family {
                    kinds: kind,
                    ..*family
                };
                let labelled = (0..12).any(|seed| !one(&only, seed).windows.is_empty());
                assert!(labelled, "{} {} cannot be seen", family.name, kind[0].name);
            }
        }
    }
}
