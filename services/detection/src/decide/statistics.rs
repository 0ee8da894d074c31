//! What is usual for one series, and how far a sample lies from it.
//!
//! Two questions, two answers. *Is it worth a look?* A score for the news in
//! each sample and a decision once an episode ([`novelty`]): it adapts to
//! everything, so that what goes on is no news any more. *Is it out of its
//! range?* A distance from what is usual ([`baseline`]), which learns nothing
//! while something is wrong; the life of an anomaly ([`super::series`]) goes by
//! this one. Both know the rhythm of days ([`season`]) and count in the largest
//! errors of the recent past ([`maxima`]). One sample costs constant time
//! and a series constant memory: `make bench` prints both.

mod baseline;
mod maxima;
mod novelty;
mod season;

pub use baseline::{REFERENCE_SIGMA, SIGMA_CAP};
pub(super) use maxima::DAY_MS;
pub use novelty::Question;

use crate::config::Tuning;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use baseline::{Baseline, Distance};
use maxima::Pace;
use novelty::{News, Novelty};
use season::Season;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

/// Samples after which the rhythm of days is recorded; a series that reports
/// more rarely than hourly has none.
const RHYTHM_SAMPLES: u64 = 16;
const RHYTHM_MS: f64 = 3_600_000.0;

/// A reading against what is usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Whether enough samples are known to judge by.
    pub ready: bool,
    /// Signed distance from what is usual in σ, within ±[`SIGMA_CAP`]; 0 until
    /// ready. [`REFERENCE_SIGMA`] σ are the largest error of the past day.
    pub z: f64,
    /// What was expected; the reading itself where nothing is known yet.
    pub expected: f64,
    /// The band of what is usual.
    pub low: f64,
    pub high: f64,
    /// 1 − exp(−|z| / 4), within 0..1: 0.46 at 2.5 σ, 0.92 at 10 σ.
    pub score: f64,
}

/// The news in a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Notice {
    /// 0..1; ½ or more is worth a look.
    pub score: f64,
    /// Once an episode.
    pub is_anomaly: bool,
    pub ready: bool,
    pub expected: f64,
    pub low: f64,
    pub high: f64,
    news: News,
}

/// What is known of one series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    inner: Inner,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Inner {
    pace: Pace,
    last_ms: i64,
    novelty: Novelty,
    baseline: Baseline,
    season: Option<Box<Season>>,
}

/// The score of a distance in σ.
#[must_use]
pub fn score(z: f64) -> f64 {
    1.0 - (-z.abs() / 4.0).exp()
}

impl Profile {
    /// Takes in the next sample for the news in it. What is usual is not
    /// touched: that is [`Profile::learn`]'s.
    pub fn notice(&mut self, at_ms: i64, value: f64) -> Notice {
        let inner = &mut self.inner;
        let value = value.clamp(-baseline::HUGE, baseline::HUGE);
        let first = inner.pace.samples() == 0;
        inner
            .pace
            .tick((!first).then(|| at_ms.saturating_sub(inner.last_ms)));
        inner.last_ms = at_ms;
        let season = inner.season.as_deref();
        let usual = season.and_then(|season| season.usual(at_ms));
        let (expected, low, high) = if first {
            (value, value, value)
        } else {
            inner.novelty.expected(usual.map(|usual| usual.value))
        };
        let news = if first {
            inner.novelty.begin(value);
            News::none()
        } else {
            inner.novelty.observe(at_ms, value, &inner.pace, season)
        };
        Notice {
            score: news.score,
            is_anomaly: news.decided,
            ready: inner.pace.samples() > novelty::LEAST,
            expected,
            low,
            high,
            news,
        }
    }

    /// Compares `value` with what is usual. Finite for every finite `value`.
    #[must_use]
    pub fn judge(&self, at_ms: i64, value: f64, tuning: &Tuning) -> Judgement {
        let inner = &self.inner;
        let Distance {
            z,
            expected,
            below,
            above,
        } = inner.baseline.judge(at_ms, value, inner.season.as_deref());
        let ready = inner.baseline.samples() >= tuning.min_samples as u64;
        let z = if ready { z } else { 0.0 };
        let band = tuning.sigma_threshold / REFERENCE_SIGMA;
        Judgement {
            ready,
            z,
            expected,
            low: expected - band * below,
            high: expected + band * above,
            score: score(z),
        }
    }

    /// Takes in a reading that counts as usual. One outside the band is taken
    /// in at the band's edge, so that a single outlier cannot move it far
    /// while a lasting change of spread still widens it.
    pub fn learn(&mut self, at_ms: i64, value: f64) {
        let inner = &mut self.inner;
        let season = inner.season.as_deref();
        let held = inner.baseline.learn(at_ms, value, &inner.pace, season);
        self.learn_rhythm(at_ms, held);
    }

    fn learn_rhythm(&mut self, at_ms: i64, value: f64) {
        let inner = &mut self.inner;
        let rhythmic =
            inner.pace.samples() >= RHYTHM_SAMPLES && inner.pace.interval_ms() <= RHYTHM_MS;
        if rhythmic || inner.season.is_some() {
            inner.season.get_or_insert_default().learn(at_ms, value);
        }
    }

    /// [`Profile::notice`] of a series that nobody watches over: everything is
    /// taken as usual.
    pub fn notice_and_learn(&mut self, at_ms: i64, value: f64) -> Notice {
        let notice = self.notice(at_ms, value);
        self.learn_rhythm(at_ms, value.clamp(-baseline::HUGE, baseline::HUGE));
        notice
    }

    /// Forgets what was usual in favour of `values`.
    pub fn relearn(&mut self, at_ms: i64, values: &[f64]) {
        let by = self.inner.baseline.relearn(at_ms, values);
        if let Some(season) = &mut self.inner.season {
            season.shift(by);
        }
    }

    /// How many usual samples are behind a judgement.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.inner.baseline.samples()
    }
}

/// Stored as one text: the numbers bit for bit, packed, in Base64. The layout
/// is this build's; stored states carry a number for it.
impl Serialize for Profile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = postcard::to_stdvec(&self.inner).map_err(ser::Error::custom)?;
        serializer.serialize_str(&BASE64.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Profile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let bytes = BASE64.decode(text.as_bytes()).map_err(de::Error::custom)?;
        let inner = postcard::from_bytes(&bytes).map_err(de::Error::custom)?;
        Ok(Profile { inner })
    }
}

impl Notice {
    /// In words, what was unusual; empty where nothing was.
    #[must_use]
    pub fn reason(&self) -> String {
        self.news.words()
    }
}

/// Whether `values` stay on one level: the means of both halves differ by no
/// more than one standard deviation or 5 % of the level. A ramp of ten or
/// more points fails: its halves differ by √3 standard deviations.
#[must_use]
pub fn is_stable(values: &[f64]) -> bool {
    if values.len() < 10 {
        return false;
    }
    let held: Vec<f64> = values
        .iter()
        .map(|value| value.clamp(-baseline::HUGE, baseline::HUGE))
        .collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let level = mean(&held);
    let squares: f64 = held.iter().map(|v| (v - level) * (v - level)).sum();
    let deviation = (squares / (held.len() - 1) as f64).sqrt();
    let (first, second) = held.split_at(held.len() / 2);
    (mean(first) - mean(second)).abs() <= deviation.max(0.05 * level.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23T00:00:00Z, a Monday.
    const START_MS: i64 = 1_795_392_000_000;

    fn taught(values: &[f64]) -> Profile {
        let mut profile = Profile::default();
        for (number, value) in values.iter().enumerate() {
            let at_ms = START_MS + 10_000 * number as i64;
            profile.notice(at_ms, *value);
            profile.learn(at_ms, *value);
        }
        profile
    }

    fn z(profile: &Profile, value: f64) -> f64 {
        profile
            .judge(START_MS + 3_600_000, value, &Tuning::default())
            .z
    }

    #[test]
    fn nine_samples_are_not_judged_by() {
        let judgement = taught(&[1.0; 9]).judge(START_MS, 1e9, &Tuning::default());
        assert!(!judgement.ready);
        assert_eq!((judgement.z, judgement.score), (0.0, 0.0));
    }

    #[test]
    fn a_constant_series_ignores_rounding_and_notices_a_step() {
        let constant = taught(&[40.0; 50]);
        assert!(z(&constant, 40.9) < 2.5);
        assert!(z(&constant, 42.0) > 2.5);
        let zeros = taught(&[0.0; 50]);
        assert_eq!(z(&zeros, 0.0), 0.0);
        assert_eq!(z(&zeros, 1.0), SIGMA_CAP);
    }

    #[test]
    fn an_outlier_widens_the_band_by_a_factor_only() {
        let values: Vec<f64> = (0..50).map(|i| 100.0 + f64::from(i % 5)).collect();
        let mut profile = taught(&values);
        let before = profile.judge(START_MS, 100.0, &Tuning::default());
        profile.learn(START_MS + 500_000, 1e12);
        let after = profile.judge(START_MS, 100.0, &Tuning::default());
        assert!(after.high - after.expected < 1.6 * (before.high - before.expected));
        assert!(after.expected - before.expected < 1.0);
    }

    #[test]
    fn a_profile_comes_back_bit_for_bit() {
        let values: Vec<f64> = (0..500)
            .map(|i| (f64::from(i) * 0.37).sin() / 3.0)
            .collect();
        let profile = taught(&values);
        let text = serde_json::to_string(&profile).expect("it encodes");
        assert!(text.len() < 1_400, "{}", text.len());
        let again: Profile = serde_json::from_str(&text).expect("it decodes");
        assert_eq!(again, profile);
    }

    #[test]
    fn a_level_is_stable_and_a_ramp_is_not() {
        let level: Vec<f64> = (0..50).map(|i| 90.0 + f64::from(i % 7)).collect();
        let ramp: Vec<f64> = (0..50).map(|i| 50.0 + f64::from(i)).collect();
        assert!(is_stable(&level));
        assert!(!is_stable(&ramp));
        assert!(!is_stable(&level[..9]));
    }
}
