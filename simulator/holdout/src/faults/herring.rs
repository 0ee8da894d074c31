//! What is loud and harmless: batch jobs, new versions without effect, noisy lines, blips.

use super::meter::Row;
use super::signals::{LATENCIES, Signal};
use crate::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// Cores and disk of a neighbour are busy with work that nobody waits for.
    Batch,
    /// A process begins anew under another version and serves as before.
    Deployment,
    /// Many lines about nothing.
    Lines,
}

/// A harmless thing that happens at one service. Times are seconds since the recording began.
#[derive(Clone, Copy, Debug)]
pub struct Herring {
    pub noise: Noise,
    pub service: usize,
    pub from_s: f64,
    pub until_s: f64,
    pub pick: f64,
}

impl Herring {
    /// Draws one at `service` around the moment `onset_s`.
    pub fn draw(dice: &mut Dice, service: usize, window_s: (f64, f64), logs: bool) -> Self {
        let span = window_s.1 - window_s.0;
        let from_s = window_s.0 + span * dice.between(-0.3, 0.2);
        let noise = match dice.index(if logs { 3 } else { 1 }) {
            0 => Noise::Batch,
            1 => Noise::Deployment,
            _ => Noise::Lines,
        };
        Self {
            noise,
            service,
            from_s,
            until_s: from_s + span * dice.between(0.5, 1.2),
            pick: dice.unit(),
        }
    }

    pub fn is_on(&self, t_s: f64) -> bool {
        (self.from_s..self.until_s).contains(&t_s)
    }

    /// The step in which the new version starts.
    pub fn restarts(&self, t_s: f64, step_s: f64) -> bool {
        self.noise == Noise::Deployment && (t_s..t_s + step_s).contains(&self.from_s)
    }

    /// What the readings of the service show of it. `few` where only requests are measured.
    pub fn colour(&self, dice: &mut Dice, row: &mut Row, few: bool) {
        match self.noise {
            Noise::Batch if few => {
                // Reports that somebody pulls: more requests, served as ever.
                let more = 1.3 + 0.8 * self.pick;
                row[Signal::Rate as usize] *= more;
                row[Signal::Errors as usize] *= more;
            }
            Noise::Batch => {
                let busy = (0.25 + 0.3 * self.pick) * (1.0 + 0.1 * dice.normal());
                let add = |row: &mut Row, signal: Signal, by: f64| {
                    row[signal as usize] = (row[signal as usize] + by).clamp(0.0, 0.93);
                };
                add(row, Signal::Cpu, busy);
                add(row, Signal::DiskBusy, busy * 0.8);
                add(row, Signal::Memory, 0.05);
                row[Signal::Written as usize] += 9000.0 * busy;
            }
            Noise::Deployment | Noise::Lines => {}
        }
    }
}

/// A few slow requests without a cause.
pub fn blip(row: &mut Row, factor: f64) {
    for (signal, _) in LATENCIES {
        row[signal as usize] *= factor;
    }
}
