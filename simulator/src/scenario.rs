//! The seven faults: where they strike, how they grow and what they strain.

use crate::fleet::{MAX_CONNECTIONS, NORMAL_ERROR_PERCENT, Service, Strain};

/// How long a fault that peaks at its end takes to fade, as after a restart.
pub const RECOVERY_MS: i64 = 30_000;
/// From the end of a fault until the whole fleet is normal again: recovery,
/// and the delays along the longest path of the call graph.
pub const AFTERMATH_MS: i64 = 60_000;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    LatencySpike,
    ErrorRateSpike,
    CpuSaturation,
    MemoryLeak,
    DbConnectionExhaustion,
    KafkaConsumerLag,
    DeploymentFailure,
}

impl Scenario {
    pub const ALL: [Scenario; 7] = [
        Scenario::LatencySpike,
        Scenario::ErrorRateSpike,
        Scenario::CpuSaturation,
        Scenario::MemoryLeak,
        Scenario::DbConnectionExhaustion,
        Scenario::KafkaConsumerLag,
        Scenario::DeploymentFailure,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scenario::LatencySpike => "LATENCY_SPIKE",
            Scenario::ErrorRateSpike => "ERROR_RATE_SPIKE",
            Scenario::CpuSaturation => "CPU_SATURATION",
            Scenario::MemoryLeak => "MEMORY_LEAK",
            Scenario::DbConnectionExhaustion => "DB_CONNECTION_EXHAUSTION",
            Scenario::KafkaConsumerLag => "KAFKA_CONSUMER_LAG",
            Scenario::DeploymentFailure => "DEPLOYMENT_FAILURE",
        }
    }

    /// The scenario of this name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Scenario> {
        Scenario::ALL
            .into_iter()
            .find(|one| one.name().eq_ignore_ascii_case(name))
    }

    /// All names, for messages.
    #[must_use]
    pub fn names() -> String {
        Scenario::ALL.map(Scenario::name).join(", ")
    }

    /// The service that the fault strikes unless told otherwise.
    #[must_use]
    pub fn home(self) -> Service {
        match self {
            Scenario::LatencySpike | Scenario::DbConnectionExhaustion => Service::Payment,
            Scenario::ErrorRateSpike | Scenario::KafkaConsumerLag => Service::Order,
            Scenario::CpuSaturation => Service::ApiGateway,
            Scenario::MemoryLeak => Service::Notification,
            Scenario::DeploymentFailure => Service::User,
        }
    }

    /// From the start to the end, simulated milliseconds.
    #[must_use]
    pub fn duration_ms(self) -> i64 {
        match self {
            Scenario::LatencySpike | Scenario::DeploymentFailure => 240_000,
            Scenario::ErrorRateSpike => 180_000,
            Scenario::CpuSaturation | Scenario::KafkaConsumerLag => 300_000,
            Scenario::MemoryLeak => 360_000,
            Scenario::DbConnectionExhaustion => 200_000,
        }
    }

    /// When the fault is at its worst, as a part of its duration.
    #[must_use]
    pub fn peak(self) -> f64 {
        match self {
            Scenario::LatencySpike | Scenario::DbConnectionExhaustion => 0.5,
            Scenario::ErrorRateSpike => 1.0 / 3.0,
            Scenario::DeploymentFailure => 0.25,
            Scenario::CpuSaturation | Scenario::MemoryLeak | Scenario::KafkaConsumerLag => 1.0,
        }
    }

    /// When the fault begins to fade, as a part of its duration.
    fn fades_from(self) -> f64 {
        match self {
            Scenario::DbConnectionExhaustion => 0.85,
            _ => 0.75,
        }
    }

    /// Whether the callers of the struck service feel it. A growing backlog
    /// harms nobody who waits for an answer.
    #[must_use]
    pub fn reaches_callers(self) -> bool {
        self != Scenario::KafkaConsumerLag
    }

    /// How strong the fault is `elapsed_ms` after its start: 0 none, 1 peak.
    #[must_use]
    pub fn intensity(self, elapsed_ms: i64) -> f64 {
        if elapsed_ms <= 0 {
            return 0.0;
        }
        let part = millis(elapsed_ms) / millis(self.duration_ms());
        let peak = self.peak();
        if part <= peak {
            part / peak
        } else if peak < 1.0 {
            ((1.0 - part) / (1.0 - self.fades_from())).clamp(0.0, 1.0)
        } else {
            let over_ms = elapsed_ms - self.duration_ms();
            (1.0 - millis(over_ms) / millis(RECOVERY_MS)).clamp(0.0, 1.0)
        }
    }

    /// What the fault adds to the metrics of `service`, which it struck
    /// `elapsed_ms` ago.
    #[must_use]
    pub fn strain(self, service: Service, elapsed_ms: i64) -> Strain {
        let profile = service.profile();
        let intensity = self.intensity(elapsed_ms);
        let mut strain = Strain::default();
        match self {
            Scenario::LatencySpike => strain.latency_ms = 7_000.0 * intensity,
            Scenario::ErrorRateSpike => {
                strain.error_percent = (45.0 - NORMAL_ERROR_PERCENT) * intensity;
            }
            Scenario::CpuSaturation => {
                strain.cpu_percent = (97.0 - profile.cpu_percent) * intensity;
                let queueing = beyond(profile.cpu_percent + strain.cpu_percent, 75.0, 97.0);
                strain.latency_ms = 2.5 * profile.p99_ms * queueing;
                strain.error_percent = 1.5 * queueing;
            }
            Scenario::MemoryLeak => {
                strain.memory_percent = (98.0 - profile.memory_percent) * intensity;
                let collecting = beyond(profile.memory_percent + strain.memory_percent, 85.0, 98.0);
                strain.latency_ms = 2.0 * profile.p99_ms * collecting;
                strain.error_percent = 5.0 * collecting;
            }
            Scenario::DbConnectionExhaustion => {
                strain.connections = (MAX_CONNECTIONS - profile.connections) * intensity;
                let open = profile.connections + strain.connections;
                strain.latency_ms = 1_500.0 * beyond(open, 80.0, MAX_CONNECTIONS);
                let part = millis(elapsed_ms) / millis(self.duration_ms());
                let refused = ((part - 0.5) / 0.25).clamp(0.0, 1.0).min(intensity);
                strain.error_percent = (30.0 - NORMAL_ERROR_PERCENT) * refused;
            }
            Scenario::KafkaConsumerLag => {
                strain.consumer_lag = (50_000.0 - profile.consumer_lag) * intensity;
            }
            Scenario::DeploymentFailure => {
                strain.error_percent = (40.0 - NORMAL_ERROR_PERCENT) * intensity;
                strain.latency_ms = 2_000.0 * intensity;
            }
        }
        strain
    }
}

/// How far `value` has gone from `from` to `to`, squared: 0..1. Queueing and
/// collecting hurt little at first and then quickly.
fn beyond(value: f64, from: f64, to: f64) -> f64 {
    ((value - from) / (to - from)).clamp(0.0, 1.0).powi(2)
}

/// Milliseconds of a fault as a real number.
pub(crate) fn millis(ms: i64) -> f64 {
    f64::from(i32::try_from(ms).unwrap_or(i32::MAX))
}

/// What somebody rolled out just before a failing deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    pub version: String,
    pub previous: String,
    pub git_sha: String,
    pub author: &'static str,
}

/// Something that happens once in the life of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    Deployed,
    RolloutBegan,
    RolloutEnded,
    Started,
    ProbeFailed,
    /// The kernel killed the container of this replica.
    OomKilled(usize),
    Ended,
    /// Somebody ended it before its time.
    EndedByAction,
}

/// What an action does against a fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Relief {
    /// The action's key.
    pub key: String,
    /// When it was carried out, epoch milliseconds.
    pub at_ms: i64,
    /// How long it takes to have its effect.
    pub fade_ms: i64,
    /// The part of the strain that stays; 0 ends the fault.
    pub left: f64,
}

impl Relief {
    /// The part of the strain that is left at this moment.
    fn left_at(&self, at_ms: i64) -> f64 {
        let part = (millis(at_ms - self.at_ms) / millis(self.fade_ms)).clamp(0.0, 1.0);
        1.0 - (1.0 - self.left) * part
    }
}

/// One fault, planned, running or fading.
#[derive(Clone, Debug)]
pub struct Fault {
    pub id: String,
    pub scenario: Scenario,
    pub service: Service,
    /// What it adds, as a part of the scenario's documented peak.
    pub size: f64,
    /// From the start to the end, milliseconds; whole ticks.
    pub duration_ms: i64,
    /// The callers that feel it, theirs, and so on, nearest first.
    pub reaches: Vec<Service>,
    /// When the ramp begins, epoch milliseconds; a multiple of a tick after
    /// the world's first moment, so that a sample meets the peak exactly.
    pub start_ms: i64,
    /// From the deployment to the start; 0 for the other scenarios.
    pub lead_ms: i64,
    pub release: Option<Release>,
    /// What actions do against it.
    pub reliefs: Vec<Relief>,
    /// How many of [`Fault::happenings`] have happened.
    pub(crate) happened: usize,
}

impl Fault {
    /// When the fault ends, epoch milliseconds. It may fade for
    /// [`RECOVERY_MS`] after that, unless an action ended it.
    #[must_use]
    pub fn end_ms(&self) -> i64 {
        let cures = self.reliefs.iter().filter(|relief| relief.left <= 0.0);
        let cured_ms = cures.map(|relief| relief.at_ms + relief.fade_ms).min();
        cured_ms.unwrap_or(i64::MAX).min(self.natural_end_ms())
    }

    /// When it would end if nobody did anything, epoch milliseconds.
    #[must_use]
    pub fn natural_end_ms(&self) -> i64 {
        self.start_ms + self.duration_ms
    }

    /// The part of the strain that actions leave at this moment.
    fn left_at(&self, at_ms: i64) -> f64 {
        self.reliefs
            .iter()
            .map(|relief| relief.left_at(at_ms))
            .product()
    }

    /// The moment `at_ms` as time since the start of a fault of the
    /// scenario's documented duration. Fading after the end is not stretched.
    fn elapsed_ms(&self, at_ms: i64) -> i64 {
        let elapsed_ms = at_ms - self.start_ms;
        let documented_ms = self.scenario.duration_ms();
        if elapsed_ms <= self.duration_ms {
            elapsed_ms * documented_ms / self.duration_ms
        } else {
            documented_ms + elapsed_ms - self.duration_ms
        }
    }

    /// When the first sign of it shows, epoch milliseconds.
    #[must_use]
    pub fn first_sign_ms(&self) -> i64 {
        self.start_ms - self.lead_ms
    }

    /// What the fault adds to its own service at this moment.
    #[must_use]
    pub fn strain_at(&self, at_ms: i64) -> Strain {
        self.scenario
            .strain(self.service, self.elapsed_ms(at_ms))
            .times(self.size * self.left_at(at_ms))
    }

    /// How strong the fault is at this moment, 0..1.
    #[must_use]
    pub fn intensity_at(&self, at_ms: i64) -> f64 {
        self.scenario.intensity(self.elapsed_ms(at_ms)) * self.left_at(at_ms)
    }

    /// Everything that happens once, in order, with its time.
    #[must_use]
    pub fn happenings(&self) -> Vec<(i64, Happening)> {
        let duration = self.duration_ms;
        let mut list = Vec::new();
        if self.scenario == Scenario::DeploymentFailure {
            list.push((-self.lead_ms, Happening::Deployed));
            list.push((2_000 - self.lead_ms, Happening::RolloutBegan));
            list.push((-5_000, Happening::RolloutEnded));
        }
        list.push((0, Happening::Started));
        match self.scenario {
            Scenario::CpuSaturation => {
                for part in [80, 90, 97] {
                    list.push((duration * part / 100, Happening::ProbeFailed));
                }
            }
            Scenario::MemoryLeak => {
                list.push((duration * 90 / 100, Happening::OomKilled(0)));
                list.push((duration - 2_000, Happening::OomKilled(1)));
            }
            _ => {}
        }
        let lasted = self.end_ms() - self.start_ms;
        if lasted < duration {
            // What has not happened by the time of the action never will.
            let cured = self.reliefs.iter().filter(|relief| relief.left <= 0.0);
            let acted = cured.map(|relief| relief.at_ms - self.start_ms).min();
            list.retain(|(offset, _)| Some(*offset) <= acted);
            list.push((lasted, Happening::EndedByAction));
        } else {
            list.push((duration, Happening::Ended));
        }
        list.into_iter()
            .map(|(offset, what)| (self.start_ms + offset, what))
            .collect()
    }
}
