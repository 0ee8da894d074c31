//! What each kind of anomaly does to a series.

use super::{Health, Room};
use crate::clock::DAY;
use crate::draw::Draw;
use crate::recipe::{Kind, Recipe};

/// A series in the making.
#[derive(Clone, Debug)]
pub(super) struct Work<'a> {
    pub(super) recipe: &'a Recipe,
    level: Vec<f64>,
    noise: Vec<f64>,
    /// Added to what is observed.
    extra: Vec<f64>,
    /// Observed instead of everything else.
    forced: Vec<Option<f64>>,
}

impl<'a> Work<'a> {
    pub(super) fn new(recipe: &'a Recipe, noise: Vec<f64>) -> Self {
        let count = recipe.clock.len();
        let (extra, forced) = (vec![0.0; count], vec![None; count]);
        Self {
            recipe,
            level: recipe.level.clone(),
            noise,
            extra,
            forced,
        }
    }

    pub(super) fn observed(&self, draw: &mut Draw) -> Vec<f64> {
        let emitted = self.recipe.emit(draw, &self.level, &self.noise);
        let added = emitted.iter().zip(&self.extra).zip(&self.forced);
        added
            .map(|((value, extra), forced)| forced.unwrap_or(value + extra))
            .collect()
    }

    fn count(&self) -> usize {
        self.level.len()
    }

    /// Applies one anomaly about a place. Returns the sample at which it becomes
    /// visible, or `None` where this kind means nothing here.
    pub(super) fn apply(
        &mut self,
        draw: &mut Draw,
        health: &Health,
        kind: Kind,
        place: usize,
        room: Room,
    ) -> Option<usize> {
        match kind {
            Kind::SpikeUp => self.spike(draw, health, place, 1.0),
            Kind::SpikeDown => self.spike(draw, health, place, -1.0),
            Kind::Beyond => self.beyond(draw, health, place),
            Kind::ShiftUp => self.shift(draw, health, place, room, 1.0),
            Kind::ShiftDown => self.shift(draw, health, place, room, -1.0),
            Kind::DriftUp => self.drift(draw, health, place, room, 1.0),
            Kind::DriftDown => self.drift(draw, health, place, room, -1.0),
            Kind::Zero => self.hold(draw, health, place, room, true),
            Kind::Flat => self.hold(draw, health, place, room, false),
            Kind::Wild => self.variance(draw, place, room, true),
            Kind::Calm => self.variance(draw, place, room, false),
            Kind::PeakMissing => self.peak(draw, health, place, false),
            Kind::PeakDoubled => self.peak(draw, health, place, true),
            Kind::PhaseShift => self.phase(draw, health, place),
            Kind::OtherDay => self.other_day(draw, health, place),
            Kind::Night => self.night(draw, health, place),
            Kind::EventsStop => {
                let quiet = self.recipe.quiet.clone()?;
                self.exchange(draw, health, place, room, &quiet)
            }
            Kind::Density => {
                let other = self.recipe.other.clone()?;
                self.exchange(draw, health, place, room, &other)
            }
            Kind::Failure => self.failure(draw, health, place, room),
            Kind::Tremor => self.tremor(draw, health, place),
        }
    }

    /// How long something lasts: minutes to most of the way to the next
    /// anomaly, or on and on.
    fn lasting(&self, draw: &mut Draw, place: usize, room: Room) -> usize {
        if draw.chance(0.4) {
            return self.count() - place;
        }
        let longest = (room.next.saturating_sub(place)).clamp(20, self.count() / 6) as f64;
        (draw.log_uniform(8.0, longest) as usize).min(self.count() - place)
    }

    fn spike(&mut self, draw: &mut Draw, health: &Health, at: usize, sign: f64) -> Option<usize> {
        let size = sign * health.tail(at) * draw.log_uniform(1.3, 7.0);
        let value = health.observed[at] + size;
        let seen = health.range(at);
        if value < self.recipe.floor && seen.0 < self.recipe.floor + 0.3 * size.abs() {
            return None;
        }
        if value > self.recipe.ceiling && seen.1 > self.recipe.ceiling - 0.3 * size.abs() {
            return None;
        }
        let longest = if draw.chance(0.5) { 3 } else { 20 };
        let width = draw.int(1, longest);
        let fading = draw.chance(0.4);
        for step in 0..(width * if fading { 3 } else { 1 }) {
            if let Some(extra) = self.extra.get_mut(at + step) {
                let left = if fading {
                    (-(step as f64) / width as f64).exp()
                } else {
                    1.0
                };
                *extra += size * left * draw.uniform(0.75, 1.1);
            }
        }
        Some(at)
    }

    fn beyond(&mut self, draw: &mut Draw, health: &Health, at: usize) -> Option<usize> {
        let (low, high) = health.range(at);
        let width = (high - low).max(health.spread(at));
        let above = draw.chance(0.7);
        let past = width * draw.log_uniform(0.05, 1.5);
        let value = if above { high + past } else { low - past };
        if value > self.recipe.ceiling || value < self.recipe.floor {
            return None;
        }
        for step in 0..draw.int(1, 8) {
            if let Some(forced) = self.forced.get_mut(at + step) {
                *forced = Some(value + 0.1 * past * draw.normal());
            }
        }
        Some(at)
    }

    /// Keeps a new level where it is visible and says from when on.
    fn relevel(&mut self, health: &Health, place: usize, new: Vec<f64>) -> Option<usize> {
        let (floor, ceiling) = (self.recipe.floor, self.recipe.ceiling);
        let apart = |at: usize| {
            (new[at].clamp(floor, ceiling) - self.level[at].clamp(floor, ceiling)).abs()
        };
        let most = (0..new.len()).map(apart).fold(0.0, f64::max);
        let spread = health.spread(place);
        if most < 1.5 * spread {
            return None;
        }
        let visible = (0.5 * most).min((3.0 * spread).max(0.1 * most));
        let moment = (0..new.len()).find(|at| apart(*at) >= visible)?;
        self.level = new;
        Some(moment)
    }

    fn shift(
        &mut self,
        draw: &mut Draw,
        health: &Health,
        place: usize,
        room: Room,
        sign: f64,
    ) -> Option<usize> {
        let (least, most) = if self.recipe.follows_clock {
            (2.2, 14.0)
        } else {
            (1.8, 5.0)
        };
        let size = sign * health.spread(place) * draw.log_uniform(least, most);
        let lasting = self.lasting(draw, place, room).max(12);
        let mut new = self.level.clone();
        let ramp = draw.pick(&[1.0, 1.0, 1.0, 4.0, 12.0]);
        // A load that is lower is lower by a part of itself.
        let share = self.recipe.floor == 0.0 && sign < 0.0;
        let factor = draw.uniform(0.1, 0.75);
        for (step, level) in new[place..].iter_mut().take(lasting).enumerate() {
            let there = ((step + 1) as f64 / ramp).min(1.0);
            *level += if share {
                -*level * (1.0 - factor) * there
            } else {
                size * there
            };
        }
        self.relevel(health, place, new)
    }

    fn drift(
        &mut self,
        draw: &mut Draw,
        health: &Health,
        place: usize,
        room: Room,
        sign: f64,
    ) -> Option<usize> {
        let (least, most) = if self.recipe.follows_clock {
            (4.0, 25.0)
        } else {
            (2.5, 8.0)
        };
        let size = health.spread(place) * draw.log_uniform(least, most);
        if sign < 0.0 && self.level[place] - size < self.recipe.floor {
            return None;
        }
        let longest = (room.next.saturating_sub(place)).clamp(40, self.count() / 8);
        let rise = draw.uniform(30.0, longest as f64) as usize;
        let bend = draw.pick(&[0.7, 1.0, 1.0, 2.0]);
        // Then it stays, or somebody restarts the process.
        let stays = if draw.chance(0.4) {
            self.count()
        } else {
            rise + draw.int(0, rise)
        };
        let mut new = self.level.clone();
        for (step, level) in new[place..].iter_mut().take(stays).enumerate() {
            *level += sign * size * ((step as f64 / rise as f64).min(1.0)).powf(bend);
        }
        self.relevel(health, place, new)
    }

    fn hold(
        &mut self,
        draw: &mut Draw,
        health: &Health,
        place: usize,
        room: Room,
        zero: bool,
    ) -> Option<usize> {
        let low = if self.recipe.floor.is_finite() {
            self.recipe.floor
        } else {
            0.0
        };
        let value = if zero { low } else { health.observed[place] };
        if zero && (self.level[place] - low).abs() < 2.0 * health.spread(place) {
            return None;
        }
        let shortest = if zero { 3 } else { 30 };
        let longest = (room.next - place.min(room.next)).clamp(60, self.count() / 10);
        let lasting = draw.log_uniform(f64::from(shortest), longest as f64) as usize;
        for forced in self.forced[place..].iter_mut().take(lasting) {
            *forced = Some(value);
        }
        Some(place)
    }

    fn variance(&mut self, draw: &mut Draw, place: usize, room: Room, wild: bool) -> Option<usize> {
        let factor = if wild {
            draw.uniform(2.2, 6.0)
        } else {
            draw.uniform(0.02, 0.2)
        };
        let lasting = self.lasting(draw, place, room).max(40);
        for z in self.noise[place..].iter_mut().take(lasting) {
            *z *= factor;
        }
        Some(place)
    }

    /// The lowest and highest tenth of the level in the day about a place.
    fn day_range(&self, place: usize) -> (f64, f64) {
        let half = self.recipe.clock.per_day() / 2;
        let range = place.saturating_sub(half)..(place + half + 1).min(self.count());
        let mut day = self.recipe.level[range].to_vec();
        day.sort_by(f64::total_cmp);
        (day[day.len() / 10], day[day.len() * 9 / 10])
    }

    /// One daily top that does not come, or comes stronger.
    fn peak(
        &mut self,
        draw: &mut Draw,
        health: &Health,
        place: usize,
        stronger: bool,
    ) -> Option<usize> {
        let (low, high) = self.day_range(place);
        let middle = low + 0.4 * (high - low);
        let base = &self.recipe.level;
        let rises = |at: &usize| base[*at] >= middle && base[at - 1] < middle;
        let from = (place.max(1)..self.count()).find(rises)?;
        let falls = (from..self.count())
            .find(|at| base[*at] < middle)
            .unwrap_or(self.count());
        let lasting = (falls - from).min(self.recipe.clock.per_day() * 2 / 3);
        let factor = if stronger {
            draw.uniform(1.3, 2.3)
        } else {
            draw.uniform(-0.1, 0.45)
        };
        let mut new = self.level.clone();
        for level in &mut new[from..from + lasting] {
            *level = low + (*level - low) * factor;
        }
        self.relevel(health, from, new)
    }

    /// The level at other times: the sample at or next after each.
    fn borrowed(&self, from: usize, to: usize, shift_ms: i64) -> Vec<f64> {
        let clock = &self.recipe.clock;
        let mut new = self.level.clone();
        for (level, time) in new[from..to].iter_mut().zip(&clock.times[from..to]) {
            let index = clock.index_at(*time);
            let there = clock.index_at(time + shift_ms);
            // Added, so that what an earlier anomaly did remains.
            *level += self.recipe.level[there] - self.recipe.level[index];
        }
        new
    }

    fn phase(&mut self, draw: &mut Draw, health: &Health, place: usize) -> Option<usize> {
        let shift = draw.uniform(0.08, 0.25) * DAY as f64 * draw.pick(&[-1.0, 1.0]);
        let days = draw.uniform(0.8, 3.0);
        let to = (place + (days * self.recipe.clock.per_day() as f64) as usize).min(self.count());
        let new = self.borrowed(place, to, shift as i64);
        self.relevel(health, place, new)
    }

    /// A day that follows the rhythm of another day of the week.
    fn other_day(&mut self, draw: &mut Draw, health: &Health, place: usize) -> Option<usize> {
        let per_day = self.recipe.clock.per_day();
        let times = &self.recipe.clock.times;
        let span = (times[self.count() - 1] - times[0]) / DAY;
        let days = draw.int(1, 4).min(usize::try_from(span).unwrap_or(0)) as i64;
        let to = (place + per_day).min(self.count());
        let back = place > per_day * days as usize;
        let new = self.borrowed(place, to, if back { -days * DAY } else { days * DAY });
        self.relevel(health, place, new)
    }

    /// A stretch of the night at the level of the day, or the reverse.
    fn night(&mut self, draw: &mut Draw, health: &Health, place: usize) -> Option<usize> {
        let (low, high) = self.day_range(place);
        let per_day = self.recipe.clock.per_day();
        let by_night = draw.chance(0.75);
        let base = &self.recipe.level;
        let fits = |at: &usize| {
            if by_night {
                base[*at] < low + 0.2 * (high - low)
            } else {
                base[*at] > high - 0.2 * (high - low)
            }
        };
        let from = (place..(place + per_day).min(self.count())).find(fits)?;
        let from = from + draw.int(0, per_day / 12);
        let lasting = draw.uniform(0.01, 0.10) * per_day as f64;
        let part = draw.uniform(0.6, 1.0);
        let target = if by_night {
            low + part * (high - low)
        } else {
            high - part * (high - low)
        };
        let mut new = self.level.clone();
        for level in new
            .get_mut(from..)?
            .iter_mut()
            .take((lasting as usize).max(2))
        {
            *level = target;
        }
        self.relevel(health, from, new)
    }

    /// From here on, or for a while, the level of another rhythm.
    fn exchange(
        &mut self,
        draw: &mut Draw,
        health: &Health,
        place: usize,
        room: Room,
        with: &[f64],
    ) -> Option<usize> {
        let lasting = self.lasting(draw, place, room);
        let lasting = lasting
            .max(self.recipe.clock.per_day() / 2)
            .min(self.count() - place);
        let mut new = self.level.clone();
        for at in place..place + lasting {
            new[at] += with[at] - self.recipe.level[at];
        }
        self.relevel(health, place, new)
    }

    fn failure(
        &mut self,
        draw: &mut Draw,
        health: &Health,
        place: usize,
        room: Room,
    ) -> Option<usize> {
        let build_up = draw.int(10, 150.min(place / 4).max(11));
        let spread = health.spread(place);
        let size = spread * draw.log_uniform(2.0, 10.0) * draw.pick(&[1.0, 1.0, -1.0]);
        for step in 0..build_up {
            let at = place - build_up + step;
            let there = (step as f64 / build_up as f64).powi(2);
            self.level[at] += size * there;
            self.noise[at] *= 1.0 + 1.5 * there;
        }
        let longest = (room.next - place.min(room.next)).clamp(30, self.count() / 12);
        let down = draw.log_uniform(10.0, longest as f64) as usize;
        let (low, high) = health.range(place);
        let bottom = low - draw.uniform(0.0, 0.8) * (high - low).max(4.0 * spread);
        // Cooling, emptying or queueing off takes its time.
        let inertia = draw.log_uniform(1.0, 20.0);
        let before = self.level[place - 1];
        for step in 0..(down + 3 * inertia as usize) {
            let Some(level) = self.level.get_mut(place + step) else {
                break;
            };
            let gone = 1.0 - (-((step + 1) as f64) / inertia).exp();
            let back = step.saturating_sub(down) as f64 / (3.0 * inertia);
            *level += (bottom - before) * gone * (1.0 - back.min(1.0));
        }
        Some(place)
    }

    fn tremor(&mut self, draw: &mut Draw, health: &Health, place: usize) -> Option<usize> {
        let size = health.tail(place) * draw.log_uniform(0.7, 2.2);
        for step in 0..draw.int(4, 30) {
            if let Some(extra) = self.extra.get_mut(place + step) {
                *extra += size * draw.uniform(-1.0, 1.0) * draw.pick(&[0.0, 1.0, 1.0]);
            }
        }
        Some(place)
    }
}
