//! Cases beyond the seven scenarios, for judging detection in virtual time:
//! what grows for hours, vanishes, or merely looks wrong.
//!
//! A case is a pure function of its seed and the time: it says what it makes
//! of the readings of one service, and [`Case::truth`] says what is to be
//! found. It needs a world of its own, whose first moment it is given.
//!
//! | case | what happens | lasts | to be found |
//! |---|---|---|---|
//! | `SLOW_LEAK` | memory climbs evenly to 93–98 %, hurts from 85 %, killed at the end | 6 h | incident |
//! | `DROP_TO_ZERO` | no request arrives any more, and what comes with requests stops | 1 h | incident |
//! | `FLAT_THEN_JUMP` | a pool that always held the same connections holds 60–85 of 100 | 1 h | incident |
//! | `VANISHED_SERIES` | one metric is not reported any more, the others are | 1 h | a finding |
//! | `PEAK_MISSING` | after three days with a rhythm, a day without its peak | ≤ 1 d | incident |
//! | `PEAK_AT_NIGHT` | after three days with a rhythm, a day that is turned by 12 h | ≤ 1 d | a finding |
//! | `DEPLOY_SHIFT` | after a release latency, CPU and memory stay a little higher | 6 h | nothing |
//! | `NOISY_HEALTHY` | heavy-tailed noise, as it has always been | 18 h | nothing |
//! | `NIGHTLY_BATCH` | CPU and lag are up at 02:00 for 40 minutes, as every night | 1 d | nothing |
//!
//! "Incident" is what people must be woken for; "a finding" is an anomaly at
//! least, whether anyone is woken or not; "nothing" means that nobody may be
//! woken.

use crate::fleet::{Metric, Service, Strain};
use crate::noise::{heavy_tailed, stream};
use crate::rhythm::{DAY_MS, HOUR_MS, Rhythm, real};
use crate::scenario::{RECOVERY_MS, Scenario};
use crate::world::TICK_MS;
use midwatch_events::{AnomalyType, Direction};
use rand::RngExt;
use std::ops::Range;

const MINUTE_MS: i64 = 60_000;
/// Load counts as another than usual from this part of the usual on: about
/// twice the documented jitter of a request rate.
const OTHER_LOAD: f64 = 0.15;
/// Days with the usual rhythm, or nights with the batch, before the judged one.
const USUAL_DAYS: i64 = 3;
/// From the announcement of the harmless release until it runs everywhere.
const ROLLOUT_MS: i64 = 30_000;
/// A leak hurts from this much memory on, percent; the scenario's own figure.
const HURTS_FROM: f64 = 85.0;

/// A kind of case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    SlowLeak,
    DropToZero,
    FlatThenJump,
    VanishedSeries,
    PeakMissing,
    PeakAtNight,
    DeployShift,
    NoisyHealthy,
    NightlyBatch,
}

impl Kind {
    pub const ALL: [Kind; 9] = [
        Kind::SlowLeak,
        Kind::DropToZero,
        Kind::FlatThenJump,
        Kind::VanishedSeries,
        Kind::PeakMissing,
        Kind::PeakAtNight,
        Kind::DeployShift,
        Kind::NoisyHealthy,
        Kind::NightlyBatch,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::SlowLeak => "SLOW_LEAK",
            Kind::DropToZero => "DROP_TO_ZERO",
            Kind::FlatThenJump => "FLAT_THEN_JUMP",
            Kind::VanishedSeries => "VANISHED_SERIES",
            Kind::PeakMissing => "PEAK_MISSING",
            Kind::PeakAtNight => "PEAK_AT_NIGHT",
            Kind::DeployShift => "DEPLOY_SHIFT",
            Kind::NoisyHealthy => "NOISY_HEALTHY",
            Kind::NightlyBatch => "NIGHTLY_BATCH",
        }
    }

    /// The kind of this name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL
            .into_iter()
            .find(|one| one.name().eq_ignore_ascii_case(name))
    }

    #[must_use]
    pub fn expected(self) -> Expected {
        match self {
            Kind::SlowLeak | Kind::DropToZero | Kind::FlatThenJump | Kind::PeakMissing => {
                Expected::Incident
            }
            Kind::VanishedSeries | Kind::PeakAtNight => Expected::Finding,
            Kind::DeployShift | Kind::NoisyHealthy | Kind::NightlyBatch => Expected::Nothing,
        }
    }
}

/// What is to be made of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Somebody must be told.
    Incident,
    /// An anomaly at least; an incident is as good.
    Finding,
    /// No incident.
    Nothing,
}

/// What a case really is.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    pub kind: Kind,
    pub service: Service,
    /// The metrics that show it.
    pub metrics: Vec<Metric>,
    /// From when the log lines of the service show it, too, where they do.
    pub told_ms: Option<i64>,
    /// To which side their readings go; none where both are part of it.
    pub direction: Option<Direction>,
    /// What it should be called, where one name is right.
    pub anomaly_type: Option<AnomalyType>,
    pub expected: Expected,
    /// From when it shows, or may look wrong, epoch milliseconds.
    pub from_ms: i64,
    /// Its last moment; what is found later has nothing to do with it.
    pub until_ms: i64,
    /// When it begins to hurt others, where that is later than its beginning.
    pub hurts_ms: Option<i64>,
}

/// What a case makes of one reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Touch {
    /// The normal value is multiplied by this.
    pub factor: f64,
    /// The width of the jitter is multiplied by this.
    pub jitter: f64,
}

const UNTOUCHED: Touch = Touch {
    factor: 1.0,
    jitter: 1.0,
};

/// One case on one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub kind: Kind,
    pub service: Service,
    seed: u64,
    /// From when readings differ from those of a fleet without the case.
    changes: Range<i64>,
    /// From when to when it is judged.
    judged: Range<i64>,
    /// How large it is, within the range that the table names: 0..1.
    size: f64,
    /// The metric that vanishes.
    metric: Metric,
}

/// Something that a case lets happen once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Deployed,
    RolloutBegan,
    RolloutEnded,
    OomKilled,
}

impl Case {
    /// The case of this kind that belongs to the seed, in a world that begins
    /// at `start_ms`, a midnight before at least [`USUAL_DAYS`] + 1 weekdays,
    /// and follows `rhythm`. It is over [`Case::end_ms`].
    #[must_use]
    pub fn drawn(kind: Kind, seed: u64, start_ms: i64, rhythm: &Rhythm) -> Case {
        let mut rng = stream(seed, &["case", kind.name()]);
        let able: Vec<Service> = Service::ALL
            .into_iter()
            .filter(|one| kind != Kind::NightlyBatch || one.profile().consumes.is_some())
            .collect();
        let service = able[rng.random_range(0..able.len())];
        // Short cases come at any hour of the second day.
        let late_ms = DAY_MS + rng.random_range(0..24 * 360) * TICK_MS;
        let day = start_ms + USUAL_DAYS * DAY_MS;
        let changes = match kind {
            Kind::SlowLeak | Kind::DeployShift => late_ms..late_ms + 6 * HOUR_MS,
            Kind::DropToZero | Kind::FlatThenJump | Kind::VanishedSeries => {
                late_ms..late_ms + HOUR_MS
            }
            Kind::NoisyHealthy => 0..DAY_MS,
            Kind::NightlyBatch => 0..(USUAL_DAYS + 1) * DAY_MS,
            Kind::PeakMissing => around(day - start_ms, rhythm.peak_hour, -12.0),
            // At this distance from the peak the usual curve and the turned
            // one meet, so that the change begins without a step.
            Kind::PeakAtNight => around(day - start_ms, rhythm.peak_hour, -18.0),
        };
        let vanishing = [
            Metric::RequestRate,
            Metric::ErrorRate,
            Metric::Latency,
            Metric::Cpu,
            Metric::Memory,
        ];
        let changes = start_ms + changes.start..start_ms + changes.end;
        let mut case = Case {
            kind,
            service,
            seed,
            judged: changes.clone(),
            changes,
            size: rng.random_range(0.0..1.0),
            metric: vanishing[rng.random_range(0..vanishing.len())],
        };
        case.judged = case.judged_from(day, rhythm);
        case
    }

    /// The part of the changes that is judged.
    fn judged_from(&self, day: i64, rhythm: &Rhythm) -> Range<i64> {
        let Range { start, end } = self.changes;
        match self.kind {
            // Whoever learns of it from the kill has not found it.
            Kind::SlowLeak => start..end - MINUTE_MS,
            // What is noisy from the first reading may be learnt for six hours.
            Kind::NoisyHealthy => start + 6 * HOUR_MS..end,
            Kind::NightlyBatch => day..end,
            Kind::PeakMissing | Kind::PeakAtNight => {
                let other = |at_ms: &i64| {
                    let usual = rhythm.load(*at_ms);
                    (self.load(rhythm, *at_ms) / usual - 1.0).abs() >= OTHER_LOAD
                };
                let ticks = || (0..(end - start) / TICK_MS).map(|tick| start + tick * TICK_MS);
                let first = ticks().find(other).unwrap_or(start);
                first..ticks().rfind(other).unwrap_or(end)
            }
            _ => start..end,
        }
    }

    /// When nothing of it is left to be seen, epoch milliseconds.
    #[must_use]
    pub fn end_ms(&self) -> i64 {
        self.judged.end + 30 * MINUTE_MS
    }

    fn is_on(&self, at_ms: i64) -> bool {
        // The release stays; everything else passes.
        at_ms >= self.changes.start && (at_ms < self.changes.end || self.kind == Kind::DeployShift)
    }

    /// Whether no request reaches the service at this moment.
    #[must_use]
    pub fn is_cut_off(&self, at_ms: i64) -> bool {
        self.kind == Kind::DropToZero && self.is_on(at_ms)
    }

    /// The load of its service at a moment.
    #[must_use]
    pub fn load(&self, rhythm: &Rhythm, at_ms: i64) -> f64 {
        let usual = rhythm.load(at_ms);
        match self.kind {
            // Never much above the trough, which lies at 1 − 0.6 × swing.
            Kind::PeakMissing if self.is_on(at_ms) => usual.min(1.0 - 0.5 * rhythm.swing),
            Kind::PeakAtNight if self.is_on(at_ms) => rhythm.weekday_load(at_ms + DAY_MS / 2),
            // A pool of a fixed size holds its connections day and night.
            _ => usual,
        }
    }

    /// What becomes of a reading of its service; none where it is not reported.
    #[must_use]
    pub fn touch(&self, metric: Metric, at_ms: i64) -> Option<Touch> {
        let factor = |factor| Touch {
            factor,
            ..UNTOUCHED
        };
        let touch = match (self.kind, metric) {
            (Kind::FlatThenJump, Metric::Connections) => Touch {
                factor: 1.0,
                jitter: 0.0,
            },
            (Kind::NoisyHealthy, _) => {
                factor(heavy_tailed(self.seed, "noisy", metric, self.size, at_ms))
            }
            _ if !self.is_on(at_ms) => UNTOUCHED,
            (Kind::VanishedSeries, metric) if metric == self.metric => return None,
            (Kind::DropToZero, Metric::RequestRate | Metric::ErrorRate | Metric::Latency) => {
                factor(0.0)
            }
            (Kind::DropToZero, Metric::Cpu) => factor(0.15),
            (Kind::DropToZero, Metric::Connections) => factor(0.3),
            (Kind::DeployShift, Metric::Latency) => factor(1.12 + 0.1 * self.size),
            (Kind::DeployShift, Metric::Cpu) => factor(1.15 + 0.1 * self.size),
            (Kind::DeployShift, Metric::Memory) => factor(1.07 + 0.04 * self.size),
            _ => UNTOUCHED,
        };
        Some(touch)
    }

    /// Whether load changes a metric of its service: a pool of a fixed size
    /// holds its connections day and night.
    #[must_use]
    pub fn follows_load(&self, metric: Metric) -> bool {
        !(self.kind == Kind::FlatThenJump && metric == Metric::Connections)
    }

    /// What it adds to the metrics of its service.
    #[must_use]
    pub fn strain_at(&self, at_ms: i64) -> Strain {
        match self.kind {
            Kind::SlowLeak => {
                let length_ms = self.changes.end - self.changes.start;
                let elapsed_ms = at_ms - self.changes.start;
                let documented_ms = Scenario::MemoryLeak.duration_ms();
                // Stretched while it grows, not while it fades.
                let elapsed_ms = if elapsed_ms <= length_ms {
                    elapsed_ms * documented_ms / length_ms
                } else {
                    documented_ms + (elapsed_ms - length_ms).min(RECOVERY_MS)
                };
                let leak = Scenario::MemoryLeak.strain(self.service, elapsed_ms);
                leak.times(0.9 + 0.1 * self.size)
            }
            Kind::FlatThenJump if self.is_on(at_ms) => Strain {
                connections: 60.0 + (25.0 * self.size).round() - self.service.profile().connections,
                ..Strain::default()
            },
            Kind::NightlyBatch => self.batch(at_ms),
            _ => Strain::default(),
        }
    }

    /// Up for 40 minutes from about 02:00, within two minutes: no two nights
    /// are quite alike.
    fn batch(&self, at_ms: i64) -> Strain {
        let midnight_ms = at_ms - at_ms.rem_euclid(DAY_MS);
        let mut rng = stream(self.seed, &["batch", &midnight_ms.to_string()]);
        let begin_ms = midnight_ms + 2 * HOUR_MS + rng.random_range(-2..=2) * MINUTE_MS;
        let end_ms = begin_ms + (40 + rng.random_range(-3..=3)) * MINUTE_MS;
        let ramp = |ms: i64| (real(ms) / real(2 * MINUTE_MS)).clamp(0.0, 1.0);
        let part = ramp(at_ms - begin_ms).min(ramp(end_ms - at_ms));
        let size = part * (0.8 + 0.4 * self.size) * rng.random_range(0.9..1.1);
        Strain {
            cpu_percent: 45.0 * size,
            consumer_lag: 6_000.0 * size,
            ..Strain::default()
        }
    }

    /// Everything that happens once, in order, with its time.
    #[must_use]
    pub fn happenings(&self) -> Vec<(i64, Event)> {
        let Range { start, end } = self.changes;
        match self.kind {
            Kind::DeployShift => vec![
                (start - ROLLOUT_MS, Event::Deployed),
                (start - ROLLOUT_MS + 2_000, Event::RolloutBegan),
                (start - 5_000, Event::RolloutEnded),
            ],
            Kind::SlowLeak => vec![(end - 2_000, Event::OomKilled)],
            _ => Vec::new(),
        }
    }

    /// What is to be found.
    #[must_use]
    pub fn truth(&self) -> Truth {
        use Metric::{Connections, ConsumerLag, Cpu, ErrorRate, Latency, Memory, RequestRate};
        let (metrics, anomaly_type) = match self.kind {
            Kind::SlowLeak => (vec![Memory, Latency, ErrorRate], AnomalyType::MemoryLeak),
            Kind::DropToZero => (
                vec![RequestRate, ErrorRate, Latency, Cpu, Connections],
                AnomalyType::TrafficDrop,
            ),
            Kind::FlatThenJump => (vec![Connections], AnomalyType::DbConnectionExhaustion),
            Kind::VanishedSeries => (vec![self.metric], AnomalyType::MissingData),
            Kind::PeakMissing => (
                vec![RequestRate, Latency, Cpu, Connections, ConsumerLag],
                AnomalyType::TrafficDrop,
            ),
            Kind::PeakAtNight => (
                vec![RequestRate, Latency, Cpu, Connections, ConsumerLag],
                AnomalyType::Unknown,
            ),
            Kind::DeployShift => (vec![Latency, Cpu, Memory], AnomalyType::Unknown),
            Kind::NoisyHealthy => (Metric::ALL.to_vec(), AnomalyType::Unknown),
            Kind::NightlyBatch => (vec![Cpu, ConsumerLag], AnomalyType::Unknown),
        };
        Truth {
            kind: self.kind,
            service: self.service,
            metrics,
            told_ms: self.hurts_ms(),
            direction: match self.kind {
                Kind::SlowLeak | Kind::FlatThenJump => Some(Direction::Above),
                Kind::DropToZero | Kind::PeakMissing => Some(Direction::Below),
                _ => None,
            },
            anomaly_type: Some(anomaly_type).filter(|kind| *kind != AnomalyType::Unknown),
            expected: self.kind.expected(),
            from_ms: self.judged.start,
            until_ms: self.judged.end,
            hurts_ms: self.hurts_ms(),
        }
    }

    fn hurts_ms(&self) -> Option<i64> {
        let normal = Metric::Memory.normal(self.service);
        let ticks = (self.changes.end - self.changes.start) / TICK_MS;
        let mut times = (0..ticks).map(|tick| self.changes.start + tick * TICK_MS);
        (self.kind == Kind::SlowLeak)
            .then(|| {
                times.find(|at_ms| normal + self.strain_at(*at_ms).memory_percent > HURTS_FROM)
            })
            .flatten()
    }
}

/// The 24 hours that begin `before` hours from the peak of the day that begins
/// `day_ms` after the start; whole ticks.
fn around(day_ms: i64, peak_hour: f64, before: f64) -> Range<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "hours of a day are few ticks"
    )]
    let ticks = ((peak_hour + before) * 360.0).round() as i64;
    let start = day_ms + ticks * TICK_MS;
    start..start + DAY_MS
}
