//! Silence of a series: a state of its own, neither normal nor abnormal.

use super::{OpenAnomaly, Series};
use crate::decide::transition::{Origin, Sketch, words};
use midwatch_events::{AnomalyType, Direction, Severity, Transition};
use std::collections::VecDeque;

/// A mount or a pod that has been silent for so long is gone, and did not
/// merely stumble.
const GONE_MS: i64 = 30 * 60_000;

impl Series {
    /// Looks whether the series has fallen silent. `silence_ms` is the silence
    /// clock, `now_ms` the event time.
    pub fn check_silence(
        &mut self,
        origin: &Origin<'_>,
        silence_ms: i64,
        now_ms: i64,
    ) -> Option<Sketch> {
        let last = self.last.clone()?;
        self.look_up(origin);
        let silent_for_ms = silence_ms - self.heard_ms;
        let patience_ms = ((3.0 * self.interval_ms) as i64).max(origin.tuning.missing_ms);
        if self.silent
            || silent_for_ms < patience_ms
            || self.samples < origin.tuning.min_samples as u64
            || !self.meaning.is_missed(origin.name)
        {
            return None;
        }
        self.silent = true;
        self.run.clear();
        let onset_ms = last.at_ms;
        let repeat = self
            .closed
            .take()
            .filter(|closed| now_ms - closed.cleared_ms <= origin.tuning.dedup_ms);
        let severity = self.meaning.capped(Severity::High);
        let open = self.open.get_or_insert_with(|| {
            let anomaly_id = repeat.map_or_else(
                || origin.anomaly_id(&last.event_id, onset_ms, "missing"),
                |closed| closed.anomaly_id,
            );
            Box::new(OpenAnomaly {
                anomaly_id,
                kind: AnomalyType::MissingData,
                severity,
                direction: Direction::None,
                onset_ms,
                started_ms: now_ms,
                outbreak_ms: onset_ms,
                readings: 0,
                size: 0.0,
                normal: Vec::new(),
                recent: VecDeque::new(),
            })
        });
        open.normal.clear();
        let judgement = self.profile.judge(last.at_ms, last.value, origin.tuning);
        let description = words::missing(origin, silent_for_ms, self.interval_ms, last.value);
        let mut sketch = self.sketch(
            origin,
            Transition::Missing,
            &last,
            &judgement,
            description,
            vec![last.clone()],
        );
        sketch.kind = AnomalyType::MissingData;
        sketch.severity = sketch.severity.max(severity);
        sketch.direction = Direction::None;
        sketch.detected_ms = now_ms;
        sketch.deviation_sigma = 0.0;
        sketch.score = 1.0 - (-(silent_for_ms as f64) / patience_ms as f64).exp();
        Some(sketch)
    }

    /// Closes the open anomaly of a series that is not expected back.
    pub fn give_up(&mut self, origin: &Origin<'_>, silence_ms: i64, now_ms: i64) -> Option<Sketch> {
        self.open.as_ref()?;
        let last = self.last.clone()?;
        self.look_up(origin);
        let judgement = self.profile.judge(last.at_ms, last.value, origin.tuning);
        let description = words::gone(origin, self.silent_for_ms(silence_ms), last.value);
        let evidence = vec![last.clone()];
        let mut sketch = self.close(origin, &last, &judgement, description, evidence);
        sketch.detected_ms = now_ms;
        sketch.gone = true;
        Some(sketch)
    }

    /// Whether it is an instance that has been silent for so long that it is
    /// taken to have gone. Silence of others is an anomaly of its own.
    #[must_use]
    pub fn is_gone(&mut self, origin: &Origin<'_>, silence_ms: i64) -> bool {
        self.look_up(origin);
        let patience_ms = GONE_MS.max((3.0 * self.interval_ms) as i64);
        !self.meaning.is_missed(origin.name) && self.silent_for_ms(silence_ms) > patience_ms
    }

    /// How long it has been silent by the silence clock.
    #[must_use]
    pub fn silent_for_ms(&self, silence_ms: i64) -> i64 {
        silence_ms - self.heard_ms
    }
}
