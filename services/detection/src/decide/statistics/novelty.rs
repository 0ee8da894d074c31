//! Is this sample worth a look? A score for the news in it, and a decision.
//!
//! Several simple questions are asked of each sample, each with a memory of
//! its own of how large its answer usually gets ([`Peaks`]), so that no unit,
//! scale or distribution is assumed anywhere:
//!
//! | question | answer | finds |
//! |---|---|---|
//! | step | x − the sample before | spikes, jumps, drops to zero |
//! | deviation | x − a mean over some ten samples | spikes of noisy series, bursts |
//! | departure | x − a mean over some two hundred | level shifts |
//! | drift | a mean over a handful − the mean over two hundred | slow drifts |
//! | range | distance beyond everything seen | values never seen |
//! | activity | log of the recent over the usual mean step | unrest, calm |
//! | stillness | length of a run of one value | flat lines |
//! | hour | mean distance from what this hour is like | a changed daily rhythm |
//! | lull | time since the last of regular peaks | a beat that stops |
//!
//! Strength is an answer in units of its threshold. The questions are combined
//! by maximum: one clear answer is enough, and many faint ones are what noise
//! looks like. The score is s⁴ / (1 + s⁴) of the strength s, hence ½ at the
//! decision. A decision is made once an episode: after it the series rests for
//! a part of the history it has, and each decision of the recent past raises
//! the thresholds a little.
//!
//! The constants were chosen on generated series (`midwatch-series`), in the
//! middle of wide plateaus rather than at their best points. `midwatch-holdout`
//! has series that took no part in the choice; `make exam` scores both.

use super::maxima::{Pace, Peaks};
use super::season::Season;
use serde::{Deserialize, Serialize};

/// Samples before the first decision.
pub(super) const LEAST: u64 = 50;
/// Thresholds are higher by this many samples over those seen: records are
/// frequent while there are few.
const WARM_UP: f64 = 20.0;
/// Weights of the newest sample in the means.
const FAST: f64 = 0.12;
const BRIEF: f64 = 0.25;
const SLOW: f64 = 0.005;
/// Weights of the newest step in the recent and the usual mean step.
const UNREST: f64 = 0.08;
const UNREST_USUAL: f64 = 0.003;
/// Weight of the newest distance from what the hour is like.
const HOUR: f64 = 0.15;
/// Days of comparing with the hour before the answer counts: until then its
/// peaks are not known.
const HOUR_DAYS: f64 = 2.0;
/// How fast a lasting distance from the rhythm is taken as its level.
const HOUR_LEVEL: f64 = 0.002;
/// The part of its width that the range loses at each end with a sample: half
/// of the width is forgotten after 40 000 samples.
const RANGE_FADE: f64 = 8.664_3e-6;
/// A run of one value shorter than this is no flat line, whatever was before.
const STILL: f64 = 6.0;
/// A peak of this part of the largest departure belongs to the beat.
const BEAT_SIZE: f64 = 0.5;
/// Peaks closer than this many samples are one.
const BEAT_APART: f64 = 3.0;
/// Peaks that must have come, the samples between them at least, and the mean
/// deviation of their distance as a part of it at most: fewer, closer or less
/// regular ones are no beat.
const BEATS: f64 = 5.0;
const BEAT_LEAST: f64 = 5.0;
const BEAT_REGULAR: f64 = 0.25;
/// A decision is followed by rest for this part of the samples so far …
const REST: f64 = 0.055;
/// … within these bounds.
const REST_LEAST: f64 = 30.0;
const REST_MOST: f64 = 800.0;
/// How much a recent decision raises the thresholds, and what is left of that
/// after a sample: half after 600.
const FATIGUE: f64 = 0.02;
const FATIGUE_FADE: f64 = 0.998_845_4;
/// The most that a sample scores that belongs to what was decided: below ½.
const REPORTED: f64 = 0.49;

/// What a sample is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Step,
    Deviation,
    Departure,
    Drift,
    Hour,
    Activity,
    Range,
    Stillness,
    Lull,
}

/// Those that are measured against peaks, in the order of [`Novelty::peaks`],
/// with how many times the second largest recent peak is the threshold.
const MEASURED: [(Question, f64); 6] = [
    (Question::Step, 1.5),
    (Question::Deviation, 1.8),
    (Question::Departure, 1.55),
    (Question::Drift, 1.35),
    (Question::Hour, 1.4),
    (Question::Activity, 1.55),
];
/// Beyond the range by this part of its width.
const RANGE: f64 = 0.075;
/// This many times the longest run of one value.
const STILLNESS: f64 = 2.5;
/// This many times the usual distance of peaks with thrice its deviation.
const LULL: f64 = 1.5;
/// Logarithms of ratios of unrest that no young series is judged by.
const UNREST_PEAK: f64 = 0.3;
const UNREST_SAMPLES: u64 = 30;

/// What one sample says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct News {
    /// 0..1.
    pub score: f64,
    /// Worth a look: once an episode.
    pub decided: bool,
    /// Whether the sample belongs to an episode that was decided already.
    pub reported: bool,
    /// The question with the clearest answer, that answer, and what it was
    /// measured against.
    pub question: Question,
    pub answer: f64,
    pub usual: f64,
    pub beyond_range: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Beat {
    since: f64,
    peaks: f64,
    distance: f64,
    spread: f64,
    told: bool,
}

/// What is remembered of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Novelty {
    last: f64,
    fast: f64,
    brief: f64,
    slow: f64,
    hour: f64,
    hour_level: f64,
    /// Samples that were compared with what their hour is like.
    hour_samples: u32,
    unrest: f64,
    unrest_usual: f64,
    low: f64,
    high: f64,
    peaks: [Peaks; MEASURED.len()],
    run: f64,
    longest_run: f64,
    still_told: bool,
    beat: Beat,
    rest: f64,
    fatigue: f64,
}

/// The clearest answer so far.
#[derive(Clone, Copy)]
struct Clearest {
    strength: f64,
    question: Question,
    answer: f64,
    usual: f64,
}

impl Clearest {
    fn offer(&mut self, strength: f64, question: Question, answer: f64, usual: f64) {
        if strength > self.strength {
            *self = Clearest {
                strength,
                question,
                answer,
                usual,
            };
        }
    }
}

impl Novelty {
    /// The mean of some two hundred samples, and the band in which a sample is
    /// no news.
    pub fn expected(&self, usual: Option<f64>) -> (f64, f64, f64) {
        let center = usual.map_or(self.slow, |usual| usual + self.hour_level);
        let (below, above) = self.peaks[2].seconds();
        let threshold = MEASURED[2].1;
        (
            center,
            center - threshold * below,
            center + threshold * above,
        )
    }

    /// Begins with the first sample of a series.
    pub fn begin(&mut self, value: f64) {
        *self = Novelty {
            last: value,
            fast: value,
            brief: value,
            slow: value,
            low: value,
            high: value,
            ..Novelty::default()
        };
    }

    /// Takes in a further sample; `pace` counts it already.
    pub fn observe(
        &mut self,
        at_ms: i64,
        value: f64,
        pace: &Pace,
        season: Option<&Season>,
    ) -> News {
        let samples = pace.samples() as f64;
        let largest = self.high.abs().max(self.low.abs()).max(value.abs());
        // Differences below this are rounding.
        let least = 1e-9 * largest;
        let mut clearest = Clearest {
            strength: 0.0,
            question: Question::Step,
            answer: 0.0,
            usual: 0.0,
        };
        let answers = self.answers(at_ms, value, samples, least, season);
        let hour_samples = (HOUR_DAYS * pace.samples_a_day()) as u32;
        for ((peaks, (question, threshold)), answer) in
            self.peaks.iter_mut().zip(MEASURED).zip(answers)
        {
            let Some(answer) = answer else { continue };
            let least = match question {
                Question::Activity => 1e-9,
                // What the hours are like is kept in single precision.
                Question::Hour => 1e3 * least + 1e-37,
                _ => least,
            };
            let ratio = peaks.measure(answer, pace.samples(), pace.fade(), least);
            let usual = answer.abs() / ratio.max(1e-9);
            let learnt = self.hour_samples >= hour_samples;
            if question == Question::Hour && !learnt {
                continue;
            }
            clearest.offer(ratio / threshold, question, answer, usual);
        }
        if pace.samples() < UNREST_SAMPLES {
            self.peaks[5] = Peaks::of(UNREST_PEAK);
        }
        let beyond_range = self.range(value, least, &mut clearest);
        self.stillness(value, pace.fade(), &mut clearest);
        self.lull(answers[2].unwrap_or(0.0), &mut clearest);
        self.last = value;
        self.decide(clearest, pace.samples(), beyond_range)
    }

    /// The answers in the order of [`MEASURED`].
    fn answers(
        &mut self,
        at_ms: i64,
        value: f64,
        samples: f64,
        least: f64,
        season: Option<&Season>,
    ) -> [Option<f64>; MEASURED.len()] {
        let blend = |mean: &mut f64, weight: f64, value: f64| {
            *mean += weight.max(1.0 / samples) * (value - *mean);
        };
        let step = value - self.last;
        let deviation = value - self.fast;
        let departure = value - self.slow;
        blend(&mut self.fast, FAST, value);
        blend(&mut self.brief, BRIEF, value);
        let drift = self.brief - self.slow;
        blend(&mut self.slow, SLOW, value);
        blend(&mut self.unrest, UNREST, step.abs());
        blend(&mut self.unrest_usual, UNREST_USUAL, step.abs());
        let width = (self.high - self.low).max(least);
        let floor = 0.02 * self.unrest_usual + 1e-6 * width + f64::MIN_POSITIVE;
        let activity = ((self.unrest + floor) / (self.unrest_usual + floor)).ln();
        let usual = season.and_then(|season| season.usual(at_ms).or(season.otherwise(at_ms)));
        let hour = usual.map(|usual| {
            let distance = value - usual.value - self.hour_level;
            self.hour_level += HOUR_LEVEL * distance;
            self.hour += HOUR * (distance - self.hour);
            self.hour_samples = self.hour_samples.saturating_add(1);
            self.hour
        });
        [
            Some(step),
            Some(deviation),
            Some(departure),
            Some(drift),
            hour,
            Some(activity),
        ]
    }

    /// Whether the value lies beyond everything seen; the range takes it in.
    fn range(&mut self, value: f64, least: f64, clearest: &mut Clearest) -> bool {
        let width = (self.high - self.low).max(least);
        let beyond = if value > self.high {
            value - self.high
        } else {
            (value - self.low).min(0.0)
        };
        if width > 0.0 {
            let part = (beyond.abs() / width).min(1e6);
            clearest.offer(part / RANGE, Question::Range, beyond, width);
        }
        self.high = (self.high - RANGE_FADE * width).max(value);
        self.low = (self.low + RANGE_FADE * width).min(value);
        beyond != 0.0
    }

    fn stillness(&mut self, value: f64, fade: f64, clearest: &mut Clearest) {
        #[expect(clippy::float_cmp, reason = "a flat line repeats the same number")]
        if value == self.last {
            self.run += 1.0;
        } else {
            self.longest_run = self.longest_run.max(self.run);
            self.run = 0.0;
            self.still_told = false;
        }
        self.longest_run *= fade;
        if self.run >= STILL && !self.still_told {
            let usual = self.longest_run.max(3.0);
            let strength = self.run / usual / STILLNESS;
            clearest.offer(strength, Question::Stillness, self.run, usual);
        }
    }

    /// Watches for large departures that come at regular distances.
    fn lull(&mut self, departure: f64, clearest: &mut Clearest) {
        let largest = self.peaks[2].largest();
        let beat = &mut self.beat;
        beat.since += 1.0;
        if departure.abs() > BEAT_SIZE * largest {
            if beat.since > BEAT_APART {
                if beat.peaks >= 1.0 {
                    if beat.peaks < 2.0 {
                        beat.distance = beat.since;
                        beat.spread = beat.since;
                    }
                    let weight = 0.1_f64.max(1.0 / beat.peaks);
                    let off = (beat.since - beat.distance).abs();
                    beat.spread += weight * (off - beat.spread);
                    beat.distance += weight * (beat.since - beat.distance);
                }
                beat.peaks += 1.0;
                beat.told = false;
            }
            beat.since = 0.0;
        }
        let regular = beat.peaks > BEATS
            && beat.distance > BEAT_LEAST
            && beat.spread < BEAT_REGULAR * beat.distance;
        if regular && !beat.told {
            let patience = beat.distance + 3.0 * beat.spread;
            let strength = beat.since / patience / LULL;
            clearest.offer(strength, Question::Lull, beat.since, beat.distance);
        }
    }

    fn decide(&mut self, clearest: Clearest, samples: u64, beyond_range: bool) -> News {
        self.fatigue *= FATIGUE_FADE;
        let caution = (1.0 + WARM_UP / samples as f64) * (1.0 + FATIGUE * self.fatigue);
        let strength = clearest.strength / caution;
        if strength > 1.0 {
            // Runs and lulls only grow: one finding each.
            self.still_told |= clearest.question == Question::Stillness;
            self.beat.told |= clearest.question == Question::Lull;
        }
        let power = strength.powi(4);
        let mut score = if power.is_finite() {
            power / (1.0 + power)
        } else {
            1.0
        };
        let resting = self.rest > 0.0;
        let decided = !resting && score >= 0.5 && samples > LEAST;
        if resting {
            self.rest -= 1.0;
            score = score.min(REPORTED);
        } else if decided {
            self.fatigue += 1.0;
            self.rest = (REST * samples as f64).clamp(REST_LEAST, REST_MOST);
        } else if samples <= LEAST {
            score = score.min(REPORTED);
        }
        News {
            score,
            decided,
            reported: resting,
            question: clearest.question,
            answer: clearest.answer,
            usual: clearest.usual,
            beyond_range,
        }
    }
}

impl News {
    /// The first sample of a series.
    pub fn none() -> News {
        News {
            score: 0.0,
            decided: false,
            reported: false,
            question: Question::Step,
            answer: 0.0,
            usual: 0.0,
            beyond_range: false,
        }
    }

    /// In words, what was unusual; empty where nothing was.
    pub fn words(&self) -> String {
        if self.score < 0.25 {
            return String::new();
        }
        let times = self.answer.abs() / self.usual;
        let times = if times < 1_000.0 {
            format!("{times:.1} times")
        } else {
            "more than a thousand times".to_owned()
        };
        let side = if self.answer >= 0.0 { "above" } else { "below" };
        let way = if self.answer >= 0.0 { "up" } else { "down" };
        let recent = "the second largest of the recent past";
        let mut words = match self.question {
            Question::Step => format!("a jump {way}, {times} {recent}"),
            Question::Deviation => format!("{side} the last dozen samples, {times} {recent}"),
            Question::Departure => format!("{side} its recent level, {times} {recent}"),
            Question::Drift => format!("drifting {way} from its level, {times} {recent}"),
            Question::Hour => format!("{side} what is usual at this hour, {times} {recent}"),
            Question::Activity if self.answer >= 0.0 => {
                format!("much more restless than usual, {times} {recent}")
            }
            Question::Activity => format!("much calmer than usual, {times} {recent}"),
            Question::Range => format!(
                "{side} everything seen by {:.0} % of the range",
                (100.0 * self.answer.abs() / self.usual).min(1e6)
            ),
            Question::Stillness => format!(
                "the same value {:.0} times running; {:.0} was the longest before",
                self.answer + 1.0,
                self.usual + 1.0
            ),
            Question::Lull => format!(
                "no peak for {:.0} samples, though one came about every {:.0}",
                self.answer, self.usual
            ),
        };
        if self.beyond_range && self.question != Question::Range {
            words.push_str(", outside the range ever seen");
        }
        if self.reported {
            words.push_str(" (part of what was reported before)");
        }
        words
    }
}
