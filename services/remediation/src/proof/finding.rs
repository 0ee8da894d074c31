//! From two spans of readings to a verdict and a sentence.

use super::statistics::{Method, falling, median, rank_sum};
use super::{
    BEGUN, EARLY_GONE, EARLY_LEVEL, EXCITED, LEAST_EXCESS, LEAST_GONE, LEAST_WORSE, LEVEL,
    MIN_AFTER, MIN_BEFORE, MIN_TREND, Reading, SETTLED, TREND_READINGS, Untouched, first_ms,
};
use crate::execution::Check;
use midwatch_events::action::{Control, Span, Verification, VerificationVerdict};
use midwatch_events::anomaly::Direction;

/// Readings before and after an action.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans {
    pub before: Vec<Reading>,
    pub after: Vec<Reading>,
    /// 1 where a high value is bad, −1 where a low one is.
    sign: f64,
    baseline: f64,
}

impl Spans {
    /// The excited readings up to the action, and those from the second
    /// reading after it up to `until_ms`.
    pub fn cut(check: &Check, readings: &[Reading], until_ms: i64) -> Spans {
        let acted_ms = check.acted_at_ms;
        let from_ms = first_ms(check);
        let mut before = within(readings, from_ms, acted_ms);
        let after = within(readings, acted_ms + 1, until_ms);
        let baseline = check.effect.baseline_value;
        let sign = match check.effect.direction {
            Direction::Below => 1.0,
            Direction::Above => -1.0,
            // Back to the baseline, from whichever side.
            Direction::None if median(&values(&before)) < baseline => -1.0,
            Direction::None => 1.0,
        };
        let excess = |reading: &Reading| sign * (reading.value - baseline);
        let peak = before.iter().map(excess).fold(0.0, f64::max);
        let calm = before
            .iter()
            .take_while(|one| excess(one) < EXCITED * peak)
            .count();
        before.drain(..calm.min(before.len().saturating_sub(MIN_TREND)));
        Spans {
            before,
            after: after.into_iter().skip(1).collect(),
            sign,
            baseline,
        }
    }

    fn excess(&self, value: f64) -> f64 {
        self.sign * (value - self.baseline)
    }

    /// Why there is nothing that an action could have changed, if so.
    pub fn nothing_to_compare(&self, check: &Check) -> Option<String> {
        if self.before.is_empty() {
            return Some("there is no reading from the onset to the action".to_owned());
        }
        let level = median(&values(&self.before));
        let excess = self.excess(level);
        (excess <= LEAST_EXCESS * self.baseline.abs()).then(|| {
            format!(
                "{} read {} before the action, where {} is normal: there was nothing to improve",
                check.effect.metric,
                figure(level),
                figure(self.baseline)
            )
        })
    }

    /// Whether there are too few readings before the action to tell a change.
    fn is_short(&self) -> bool {
        self.before.len() < MIN_BEFORE
    }

    /// The part of the excess that went away; negative where it grew.
    fn gone(&self) -> f64 {
        let before = self.excess(median(&values(&self.before)));
        1.0 - self.excess(median(&values(&self.after))) / before
    }

    /// The same, less what the untouched series did in the meantime: the
    /// difference of the differences, in parts of each series' own level.
    fn gone_beyond(&self, beside: &Beside) -> f64 {
        if !beside.has_moved {
            return self.gone();
        }
        let (before, after) = (median(&values(&self.before)), median(&values(&self.after)));
        let control = &beside.control;
        let alike = before * control.after.median / control.before.median;
        self.sign * (alike - after) / self.excess(before)
    }

    /// Whether the metric had begun to return before the action.
    fn was_returning(&self) -> bool {
        let excess: Vec<f64> = self
            .before
            .iter()
            .map(|one| self.excess(one.value))
            .collect();
        let last = &excess[excess.len().saturating_sub(TREND_READINGS)..];
        let peak = excess.iter().copied().fold(0.0, f64::max);
        let now = last.last().copied().unwrap_or_default();
        last.len() >= MIN_TREND && falling(last) < LEVEL && peak - now >= BEGUN * peak
    }

    /// Whether it was still getting worse when the action came.
    fn was_rising(&self) -> bool {
        let mirrored: Vec<f64> = self
            .before
            .iter()
            .map(|one| -self.excess(one.value))
            .collect();
        let last = &mirrored[mirrored.len().saturating_sub(TREND_READINGS)..];
        last.len() >= MIN_TREND && falling(last) < LEVEL
    }

    /// Whether the last readings are back near the baseline.
    fn is_settled(&self) -> bool {
        let most = (1.0 - EARLY_GONE) * self.excess(median(&values(&self.before)));
        let last = &self.after[self.after.len().saturating_sub(SETTLED)..];
        last.iter().all(|one| self.excess(one.value) <= most)
    }
}

/// The untouched series next to the one that is judged.
#[derive(Clone, Debug)]
pub(super) struct Beside {
    pub control: Control,
    /// Whether it moved by more than chance would have it.
    has_moved: bool,
}

fn within(readings: &[Reading], from_ms: i64, to_ms: i64) -> Vec<Reading> {
    let inside = |one: &&Reading| (from_ms..=to_ms).contains(&one.at_ms) && one.value.is_finite();
    readings.iter().filter(inside).copied().collect()
}

fn values(readings: &[Reading]) -> Vec<f64> {
    readings.iter().map(|one| one.value).collect()
}

/// The untouched series with the most readings over the same spans, among
/// those that move at all and do not stand at zero: a series that never moves
/// says nothing about the fleet.
pub(super) fn beside(check: &Check, controls: &[Untouched], spans: &Spans) -> Option<Beside> {
    let (first, last) = (spans.before.first()?, spans.after.last()?);
    let after_ms = spans.after.first()?.at_ms;
    let usable = controls.iter().filter_map(|one| {
        let before = within(&one.readings, first.at_ms, check.acted_at_ms);
        let after = within(&one.readings, after_ms, last.at_ms);
        let count = before.len() + after.len();
        let level = median(&values(&before));
        let moves = before
            .iter()
            .chain(&after)
            .any(|reading| (reading.value - level).abs() > f64::EPSILON);
        let enough = before.len() >= MIN_BEFORE && after.len() >= MIN_AFTER;
        let stands = level.abs() <= f64::EPSILON;
        let beside = Beside {
            has_moved: rank_sum(&values(&before), &values(&after)).0 < LEVEL,
            control: Control {
                service: one.service.clone(),
                metric: check.effect.metric.clone(),
                before: span(&before),
                after: span(&after),
            },
        };
        (enough && moves && !stands && !check.affected_services.contains(&one.service))
            .then_some((count, beside))
    });
    // The first of the longest, so that the answer does not depend on luck.
    let longest = usable.fold(None, |best: Option<(usize, Beside)>, next| match best {
        Some(best) if best.0 >= next.0 => Some(best),
        _ => Some(next),
    });
    longest.map(|(_, beside)| beside)
}

/// A verdict before the time is over, where the readings leave no doubt.
pub(super) fn early(
    check: &Check,
    spans: &Spans,
    beside: Option<&Beside>,
    is_late: bool,
) -> Option<Verification> {
    let (verdict, _) = verdict(spans, beside, EARLY_LEVEL);
    let is_clear = match verdict {
        VerificationVerdict::Improved | VerificationVerdict::RecoveredByItself => {
            spans.is_settled()
        }
        // A restart costs requests for a moment, a good one as well.
        VerificationVerdict::Worse => is_late,
        VerificationVerdict::NotImproved | VerificationVerdict::NotProvable => false,
    };
    is_clear.then(|| report(check, spans, beside, EARLY_LEVEL))
}

/// The verdict when the time is over.
pub(super) fn at_last(check: &Check, spans: &Spans, beside: Option<&Beside>) -> Verification {
    report(check, spans, beside, LEVEL)
}

/// The verdict, and why in half a sentence.
fn verdict(spans: &Spans, beside: Option<&Beside>, level: f64) -> (VerificationVerdict, String) {
    let (p_value, _) = rank_sum(&values(&spans.before), &values(&spans.after));
    let is_sure = p_value < level;
    let gone = spans.gone();
    let beyond = beside.map(|beside| spans.gone_beyond(beside));
    if gone >= LEAST_GONE {
        if spans.is_short() {
            let count = spans.before.len();
            let why = format!(
                "there are only {count} readings from the onset to the action, and it takes \
                 {MIN_BEFORE} to tell a change"
            );
            return (VerificationVerdict::NotProvable, why);
        }
        if !is_sure {
            let why = "the readings are too few or too scattered to rule out chance";
            return (VerificationVerdict::NotProvable, why.to_owned());
        }
        if spans.was_returning() {
            let why = "it had begun to return before the action";
            return (VerificationVerdict::RecoveredByItself, why.to_owned());
        }
        if beyond.is_some_and(|beyond| beyond < LEAST_GONE) {
            let why = "the untouched series moved alike";
            return (VerificationVerdict::NotProvable, why.to_owned());
        }
        return (VerificationVerdict::Improved, String::new());
    }
    if gone <= -LEAST_WORSE && is_sure && !spans.is_short() {
        if beyond.is_some_and(|beyond| beyond > -LEAST_WORSE) {
            let why = "the untouched series moved alike";
            return (VerificationVerdict::NotProvable, why.to_owned());
        }
        let why = if spans.was_rising() {
            "it was getting worse before the action, too, so that the action need not be why"
        } else {
            ""
        };
        return (VerificationVerdict::Worse, why.to_owned());
    }
    // That the excess is still there takes no test and no third reading.
    let why = if gone <= -LEAST_WORSE && spans.is_short() {
        format!("it takes {MIN_BEFORE} readings before the action to call it worse")
    } else {
        String::new()
    };
    (VerificationVerdict::NotImproved, why)
}

fn report(check: &Check, spans: &Spans, beside: Option<&Beside>, level: f64) -> Verification {
    let (verdict, why) = verdict(spans, beside, level);
    let (before, after) = (values(&spans.before), values(&spans.after));
    let (p_value, method) = rank_sum(&before, &after);
    let gone = spans.gone();
    let of_excess = if gone >= 0.0 {
        format!("{:.0} % of the excess went away", gone * 100.0)
    } else {
        format!("the excess grew by {:.0} %", -gone * 100.0)
    };
    let mut summary = format!(
        "{}: {} of {} had a median of {} before the action ({} readings) and of {} after it ({}), \
         where {} is normal; {of_excess}, p = {}",
        words(verdict),
        check.effect.metric,
        check.effect.service,
        figure(median(&before)),
        before.len(),
        figure(median(&after)),
        after.len(),
        figure(spans.baseline),
        figure(p_value),
    );
    let control = beside.map(|beside| beside.control.clone());
    if let Some(control) = &control {
        summary.push_str(&format!(
            "; the same metric of {}, which the action did not touch, went from {} to {}",
            control.service,
            figure(control.before.median),
            figure(control.after.median)
        ));
    }
    if !why.is_empty() {
        summary.push_str("; ");
        summary.push_str(&why);
    }
    summary.push('.');
    Verification {
        service: check.effect.service.clone(),
        metric: check.effect.metric.clone(),
        verdict,
        before: span(&spans.before),
        after: span(&spans.after),
        control,
        test: test(method, level),
        p_value: Some(rounded(p_value)),
        summary,
    }
}

/// Why nothing can be said.
pub(super) fn not_provable(check: &Check, spans: &Spans, why: String) -> Verification {
    let (before, after) = (values(&spans.before), values(&spans.after));
    let compared = before.len() >= MIN_BEFORE && after.len() >= MIN_AFTER;
    let (p_value, method) = rank_sum(&before, &after);
    Verification {
        service: check.effect.service.clone(),
        metric: check.effect.metric.clone(),
        verdict: VerificationVerdict::NotProvable,
        before: span(&spans.before),
        after: span(&spans.after),
        control: None,
        test: test(method, LEVEL),
        p_value: compared.then(|| rounded(p_value)),
        summary: format!(
            "{}: {why}, on {} of {}.",
            words(VerificationVerdict::NotProvable),
            check.effect.metric,
            check.effect.service
        ),
    }
}

fn words(verdict: VerificationVerdict) -> &'static str {
    match verdict {
        VerificationVerdict::Improved => "Improved",
        VerificationVerdict::NotImproved => "Not improved",
        VerificationVerdict::Worse => "Worse",
        VerificationVerdict::NotProvable => "Not provable",
        VerificationVerdict::RecoveredByItself => "Recovered by itself",
    }
}

fn test(method: Method, level: f64) -> String {
    let method = match method {
        Method::Exact => "exact",
        Method::Normal => "normal approximation with ties",
    };
    format!(
        "Mann–Whitney U, two-sided, {method}, p < {level}, and at least {:.0} % of the excess gone",
        LEAST_GONE * 100.0
    )
}

fn span(readings: &[Reading]) -> Span {
    Span {
        from_ms: readings.first().map_or(0, |one| one.at_ms),
        to_ms: readings.last().map_or(0, |one| one.at_ms),
        count: readings.len(),
        median: rounded(median(&values(readings))),
    }
}

/// To six significant digits: what is written and read back is the same.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// A value for people: three significant digits, without an exponent where
/// that reads well.
fn figure(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.01 || size == 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1e}")
    }
}
