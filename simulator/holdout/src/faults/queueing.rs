//! Waiting, losing, failing and lasting: the formulas of one queue, one wire and one call.

use super::engine::{OpNow, Reason};

/// What can happen to one attempt of a call; probabilities, and milliseconds of an answer.
pub struct Odds {
    pub refused: f64,
    pub cut: f64,
    pub denied: f64,
    pub dry: f64,
    pub late: f64,
    pub garbage: f64,
    pub below: f64,
    pub answer_ms: f64,
    pub refused_why: Reason,
    pub denied_why: Reason,
    pub below_why: Reason,
}

impl Odds {
    pub fn lost(&self) -> f64 {
        1.0 - (1.0 - self.refused) * (1.0 - self.cut) * (1.0 - self.dry)
    }

    pub fn attempt(&self) -> f64 {
        let answered =
            (1.0 - self.below) * (1.0 - self.denied) * (1.0 - self.late) * (1.0 - self.garbage);
        1.0 - (1.0 - self.lost()) * answered
    }

    /// The likeliest reason of a failure.
    pub fn reason(&self) -> Reason {
        let reasons = [
            (self.refused, self.refused_why),
            (self.denied, self.denied_why),
            (self.cut.max(self.late), Reason::Timeout),
            (self.garbage, Reason::Garbage),
            (self.dry, Reason::PoolEmpty),
            (self.below, self.below_why),
        ];
        reasons
            .into_iter()
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map_or(Reason::Status, |best| best.1)
    }
}

/// How much longer work takes on cores busy to a share of `u` (Sakasegawa's approximation of a queue with `k` servers).
pub fn slowness(u: f64, k: f64) -> f64 {
    let (u, k) = (u.clamp(0.0, 0.98), k.max(1.0));
    1.0 + u.powf((2.0 * (k + 1.0)).sqrt()) / (k * (1.0 - u))
}

/// Share of replies that wait for a retransmission, and how long.
pub fn loss_tail(loss: f64, kilobytes: f64) -> (f64, f64) {
    (
        1.0 - (1.0 - loss).powf(2.0 + kilobytes / 1.4),
        if loss > 0.0 {
            250.0 + 1500.0 * loss
        } else {
            0.0
        },
    )
}

/// Share of log-normal latencies of mean `mean` that exceed `limit`.
pub fn beyond(mean: f64, sigma: f64, tail: (f64, f64), limit: f64) -> f64 {
    let survive = |limit: f64| {
        if limit <= 0.0 {
            return 1.0;
        }
        let z = (limit.ln() - mean.max(1e-6).ln() + 0.5 * sigma * sigma) / sigma;
        // This curve follows the normal one to within 0.0002.
        1.0 / (1.0 + (1.5976 * z + 0.07056 * z.powi(3)).min(700.0).exp())
    };
    let main = survive(limit);
    let value = (1.0 - tail.0) * main + tail.0 * survive(limit - tail.1);
    if value < 1e-4 { 0.0 } else { value }
}

/// The `q` quantile of an operation's latency; nobody waits longer than a minute.
pub fn quantile(op: &OpNow, sigma: f64, q: f64) -> f64 {
    // The logistic curve's inverse: tails a little fatter than the normal one's, as latencies have them.
    let z = |q: f64| (q / (1.0 - q)).ln() / 1.702;
    let median = op.mean_ms.max(1e-3) / (0.5 * sigma * sigma).exp();
    let mut value = median * (sigma * z(q)).exp();
    if op.tail.0 > 1.0 - q {
        let inside = (1.0 - (1.0 - q) / op.tail.0).clamp(0.02, 0.98);
        value = value.max(median * (sigma * z(inside)).exp() + op.tail.1);
    }
    value.min(60_000.0)
}
