//! Small stories for judging correlation and investigation: a fault or two,
//! something beside it that misleads, readings that are missing, or no fault at
//! all.
//!
//! A trial is a pure function of its seed, its fleet and its first moment. It
//! says which faults the world is to start and what it makes of the readings
//! of everybody; [`Trial::decoy`] and [`Trial::gap`] say what is to be known
//! about it. Agents see readings, lines, spans, releases and events, as always.
//!
//! | trial | story | what happens |
//! |---|---|---|
//! | `PLAIN` | plain | one fault where the fleet draws it |
//! | `RELATED` | compound | two faults at once, one service calls the other, directly or not |
//! | `SIBLINGS` | compound | two at once, neither calls the other; a caller may feel both |
//! | `APART` | compound | two at once, one service neither calls nor is called |
//! | `BURST` | herring | requests to a healthy neighbour rise to 1.6–2.5 times the usual |
//! | `CRON` | herring | a job takes a healthy neighbour's CPU to 65–80 % and hurts nobody |
//! | `RELEASE_ELSEWHERE` | herring | another service gets a harmless release, 10 min before to 20 s after the onset |
//! | `RELEASE_SAME` | herring | the struck service gets a harmless release 5–12 min before or 10–40 s after the onset |
//! | `NEVER_REPORTED` | missing | all or the telling metric of the struck service were never reported |
//! | `FALLS_SILENT` | missing | the same, from the onset until a minute after the fault |
//! | `GROWTH` | control | load grows everywhere to 1.3–1.8 times, within 10–20 min, and stays |
//! | `RELEASE_ALONE` | control | a harmless release |
//! | `NOISY` | control | one metric is heavy-tailed noise, as it has always been |
//! | `HARMLESS_ERRORS` | control | 60–150 ERROR lines within 2–5 min about what fails nobody |

mod draw;

use crate::fleet::{Call, Metric, NORMAL_ERROR_PERCENT, Service, Strain};
use crate::noise::{heavy_tailed, stream};
use crate::rhythm::real;
use crate::scenario::Scenario;
use crate::stories::story;
use rand::RngExt;
use std::ops::Range;

const MINUTE_MS: i64 = 60_000;
/// From a trial's first moment to its onset at least: room for a release that
/// came before.
pub const LEAD_MS: i64 = 13 * MINUTE_MS;
/// From the first moment of a trial to that of the next one: lead, the longest
/// fault, and a quarter of an hour for it to be settled.
pub const SLOT_MS: i64 = 40 * MINUTE_MS;
/// Loads and jobs reach their height within this time, and leave it.
const RAMP_MS: i64 = 20_000;

/// A kind of trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Plain,
    Related,
    Siblings,
    Apart,
    Burst,
    Cron,
    ReleaseElsewhere,
    ReleaseSame,
    NeverReported,
    FallsSilent,
    Growth,
    ReleaseAlone,
    Noisy,
    HarmlessErrors,
}

impl Kind {
    pub const ALL: [Kind; 14] = [
        Kind::Plain,
        Kind::Related,
        Kind::Siblings,
        Kind::Apart,
        Kind::Burst,
        Kind::Cron,
        Kind::ReleaseElsewhere,
        Kind::ReleaseSame,
        Kind::NeverReported,
        Kind::FallsSilent,
        Kind::Growth,
        Kind::ReleaseAlone,
        Kind::Noisy,
        Kind::HarmlessErrors,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Plain => "PLAIN",
            Kind::Related => "RELATED",
            Kind::Siblings => "SIBLINGS",
            Kind::Apart => "APART",
            Kind::Burst => "BURST",
            Kind::Cron => "CRON",
            Kind::ReleaseElsewhere => "RELEASE_ELSEWHERE",
            Kind::ReleaseSame => "RELEASE_SAME",
            Kind::NeverReported => "NEVER_REPORTED",
            Kind::FallsSilent => "FALLS_SILENT",
            Kind::Growth => "GROWTH",
            Kind::ReleaseAlone => "RELEASE_ALONE",
            Kind::Noisy => "NOISY",
            Kind::HarmlessErrors => "HARMLESS_ERRORS",
        }
    }

    /// The kind of this name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL
            .into_iter()
            .find(|one| one.name().eq_ignore_ascii_case(name))
    }

    /// `plain`, `compound`, `herring`, `missing` or `control`.
    #[must_use]
    pub fn story(self) -> &'static str {
        match self {
            Kind::Plain => "plain",
            Kind::Related | Kind::Siblings | Kind::Apart => "compound",
            Kind::Burst | Kind::Cron | Kind::ReleaseElsewhere | Kind::ReleaseSame => "herring",
            Kind::NeverReported | Kind::FallsSilent => "missing",
            Kind::Growth | Kind::ReleaseAlone | Kind::Noisy | Kind::HarmlessErrors => "control",
        }
    }

    /// How often it is drawn, in parts of the sum of all.
    fn weight(self) -> usize {
        match self {
            Kind::Plain => 7,
            Kind::Growth | Kind::ReleaseAlone | Kind::Noisy | Kind::HarmlessErrors => 1,
            _ => 2,
        }
    }

    /// Whether it fits among others on one fleet: what was always so, or stays,
    /// would touch the others, too.
    #[must_use]
    pub fn passes(self) -> bool {
        !matches!(self, Kind::NeverReported | Kind::Growth | Kind::Noisy)
    }

    /// The kind that belongs to this seed, of those that are `wanted`, or of
    /// all where none is.
    #[must_use]
    pub fn drawn_of(seed: u64, wanted: &[Kind]) -> Kind {
        let fits = |kind| wanted.is_empty() || wanted.contains(&kind);
        draw::kind(&mut stream(seed, &["trial-kind"]), fits)
    }
}

/// A fault that a trial lets the world start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strike {
    pub scenario: Scenario,
    pub service: Service,
    /// When its ramp begins, epoch milliseconds; a failing release is announced
    /// before that.
    pub start_ms: i64,
}

/// What a decoy is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lure {
    /// Requests, at a multiple of the usual.
    Load(f64),
    /// CPU up to this many percent.
    Job(f64),
    /// A harmless release.
    Release,
    /// One metric is noisy; how much, 0..1.
    Noise(Metric, f64),
    /// So many lines.
    Errors(u16),
}

/// Something that looks like a cause or a fault and is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoy {
    pub lure: Lure,
    /// None where it touches everybody.
    pub service: Option<Service>,
    pub during: Range<i64>,
    /// How long it takes to reach its height.
    ramp_ms: i64,
}

/// Readings that are not reported.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    pub service: Service,
    pub metrics: Vec<Metric>,
    pub during: Range<i64>,
}

/// One trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    pub kind: Kind,
    /// One fault, two at once, or none.
    pub strikes: Vec<Strike>,
    pub decoy: Option<Decoy>,
    pub gap: Option<Gap>,
    /// What is judged, epoch milliseconds.
    pub slot: Range<i64>,
    seed: u64,
}

pub use draw::{sequence, single};

impl Trial {
    /// By what the load of a service is multiplied at a moment.
    #[must_use]
    pub fn load(&self, service: Service, at_ms: i64) -> f64 {
        match self.decoy_of(service) {
            Some(
                decoy @ Decoy {
                    lure: Lure::Load(factor),
                    ..
                },
            ) => 1.0 + (factor - 1.0) * decoy.height(at_ms),
            _ => 1.0,
        }
    }

    /// By what a reading is multiplied beside that.
    #[must_use]
    pub fn noise(&self, service: Service, metric: Metric, at_ms: i64) -> f64 {
        match self.decoy_of(service) {
            Some(Decoy {
                lure: Lure::Noise(noisy, size),
                during,
                ..
            }) if *noisy == metric && during.contains(&at_ms) => {
                heavy_tailed(self.seed, "noisy-trial", metric, *size, at_ms)
            }
            _ => 1.0,
        }
    }

    /// What a job of the trial takes of a service.
    #[must_use]
    pub fn strain(&self, service: Service, at_ms: i64) -> Strain {
        match self.decoy_of(service) {
            Some(
                decoy @ Decoy {
                    lure: Lure::Job(percent),
                    ..
                },
            ) => Strain {
                cpu_percent: (percent - service.profile().cpu_percent) * decoy.height(at_ms),
                ..Strain::default()
            },
            _ => Strain::default(),
        }
    }

    /// Whether a metric of a service is reported.
    #[must_use]
    pub fn reports(&self, service: Service, metric: Metric, at_ms: i64) -> bool {
        self.gap.as_ref().is_none_or(|gap| {
            gap.service != service || !gap.metrics.contains(&metric) || !gap.during.contains(&at_ms)
        })
    }

    /// The service of a harmless release and when it is announced.
    #[must_use]
    pub fn release(&self) -> Option<(Service, i64)> {
        let decoy = self.decoy.as_ref()?;
        (decoy.lure == Lure::Release).then_some((decoy.service?, decoy.during.start))
    }

    /// The harmless errors that are due after `from_ms`, until `until_ms`, with
    /// the service that writes them.
    #[must_use]
    pub fn errors(&self, from_ms: i64, until_ms: i64) -> Vec<(Service, i64, String)> {
        let Some(Decoy {
            lure: Lure::Errors(count),
            service: Some(service),
            during,
            ..
        }) = &self.decoy
        else {
            return Vec::new();
        };
        let length_ms = during.end - during.start;
        let at = |number: u16| during.start + length_ms * i64::from(number) / i64::from(*count);
        (0..*count)
            .map(|number| (number, at(number)))
            .filter(|(_, at_ms)| (from_ms + 1..=until_ms).contains(at_ms))
            .map(|(number, at_ms)| (*service, at_ms, self.harmless(*service, number)))
            .collect()
    }

    /// What fails nobody: the other side left, and the next try is on its way.
    fn harmless(&self, service: Service, number: u16) -> String {
        let mut rng = stream(self.seed, &["harmless", &number.to_string()]);
        let routes = story(service).routes;
        format!(
            "client closed the connection during {} after {} ms, its retry is answered: broken pipe peer=10.{}.{}.{}",
            routes[rng.random_range(0..routes.len())],
            rng.random_range(2..40_u8),
            rng.random_range(0..4_u8),
            rng.random_range(0..255_u8),
            rng.random_range(1..255_u8)
        )
    }

    fn decoy_of(&self, service: Service) -> Option<&Decoy> {
        let decoy = self.decoy.as_ref()?;
        decoy
            .service
            .is_none_or(|one| one == service)
            .then_some(decoy)
    }
}

impl Decoy {
    /// How much of its height it has, 0..1.
    fn height(&self, at_ms: i64) -> f64 {
        let ramp = |ms: i64| (real(ms) / real(self.ramp_ms)).clamp(0.0, 1.0);
        // What ends with the trial is not seen to end.
        ramp(at_ms - self.during.start).min(ramp(self.during.end - at_ms))
    }
}

/// The metric that tells what a scenario is.
#[must_use]
pub fn telling(scenario: Scenario) -> Metric {
    match scenario {
        Scenario::LatencySpike => Metric::Latency,
        Scenario::ErrorRateSpike | Scenario::DeploymentFailure => Metric::ErrorRate,
        Scenario::CpuSaturation => Metric::Cpu,
        Scenario::MemoryLeak => Metric::Memory,
        Scenario::DbConnectionExhaustion => Metric::Connections,
        Scenario::KafkaConsumerLag => Metric::ConsumerLag,
    }
}

/// Whether a fault of this size shows in a reported metric, of the struck
/// service or of a caller: by 40 % of the usual response time, by 2 % of
/// requests, or by its own resource.
#[must_use]
pub fn shows(
    (scenario, service, size): (Scenario, Service, f64),
    hidden: &[Metric],
    calls: &[Call],
) -> bool {
    let peak = (0..=100)
        .map(|part| scenario.strain(service, scenario.duration_ms() * part / 100))
        .fold(Strain::default(), Strain::larger)
        .times(size);
    let seen = |strain: &Strain, of: Service, hidden: &[Metric]| {
        let usual = of.profile().p99_ms;
        let late = strain.latency_ms > 0.4 * usual && !hidden.contains(&Metric::Latency);
        let failed = strain.error_percent > 4.0 * NORMAL_ERROR_PERCENT
            && !hidden.contains(&Metric::ErrorRate);
        late || failed
    };
    let resource = telling(scenario);
    let own = !hidden.contains(&resource) || seen(&peak, service, hidden);
    let felt = |call: &Call| seen(&call.felt(&peak), call.caller, &[]);
    own || (scenario.reaches_callers()
        && calls
            .iter()
            .any(|call| call.callee == service && felt(call)))
}
