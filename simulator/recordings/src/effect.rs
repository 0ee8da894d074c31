//! What a fault, or harmless noise, does to a service while it is active.

/// How an effect grows after its onset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Course {
    /// At full strength at once.
    Step,
    /// Straight up to full strength within so many milliseconds.
    Ramp(f64),
    /// On and off, with this period in milliseconds.
    Pulse(f64),
}

/// A trouble in the code of one operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bug {
    /// The operation throws, in this share of requests.
    Throws { operation: usize, share: f64 },
    /// The operation alone takes so much longer (median of a lognormal).
    Slow { operation: usize, extra_ms: f64 },
    /// One call goes to a host that does not answer.
    WrongHost { operation: usize, call: usize },
    /// One call is no longer made.
    Forgets { operation: usize, call: usize },
    /// One function of the operation is no longer run.
    Skips { operation: usize, step: usize },
    /// One call carries a parameter that the callee refuses.
    BadParameter {
        operation: usize,
        call: usize,
        share: f64,
    },
    /// The operation answers well-formed nonsense that its callers refuse.
    BadValue { operation: usize, share: f64 },
}

impl Bug {
    /// The operation in which the bug sits.
    #[must_use]
    pub fn operation(&self) -> usize {
        match *self {
            Bug::Throws { operation, .. }
            | Bug::Slow { operation, .. }
            | Bug::WrongHost { operation, .. }
            | Bug::Forgets { operation, .. }
            | Bug::Skips { operation, .. }
            | Bug::BadParameter { operation, .. }
            | Bug::BadValue { operation, .. } => operation,
        }
    }
}

/// Lines that a troubled service writes by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Mutter {
    /// Index into [`crate::words::MUTTERS`].
    pub words: usize,
    /// Lines a second at full strength.
    pub rate: f64,
}

/// Everything that can be wrong with a service at one moment. The default
/// is a healthy service.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// Self time is multiplied by this.
    pub slow: f64,
    /// Added to the self time (median of a lognormal), milliseconds.
    pub extra_ms: f64,
    /// Share of requests that stall, and for how long on average.
    pub stall: f64,
    pub stall_ms: f64,
    /// Share of requests that fail in the service itself.
    pub fail: f64,
    /// Share of connections refused before the service sees them.
    pub refuse: f64,
    /// Added to every exchange with the service, both ways.
    pub delay_ms: f64,
    pub jitter_ms: f64,
    /// Share of packets lost on the way from or to the service.
    pub loss: f64,
    /// Share of the service's cores that something else burns.
    pub hog: f64,
    /// Added memory, as a share of the limit.
    pub memory: f64,
    pub disk_kbps: f64,
    pub sockets: f64,
    pub threads: f64,
    pub network_kbps: f64,
    /// Traffic from outside is multiplied by this (entries only).
    pub surge: f64,
    /// Further requests a second that bypass the entries.
    pub own_load: f64,
    /// Retries beyond the normal ones in calls made by the service.
    pub retries: u32,
    /// Its metrics stop (above one half).
    pub silent: f64,
    /// Connections of its pool in use, as a share of the pool.
    pub pool: f64,
    /// Restarts a minute.
    pub restarts: f64,
}

impl Default for Effect {
    fn default() -> Self {
        Effect {
            slow: 1.0,
            extra_ms: 0.0,
            stall: 0.0,
            stall_ms: 0.0,
            fail: 0.0,
            refuse: 0.0,
            delay_ms: 0.0,
            jitter_ms: 0.0,
            loss: 0.0,
            hog: 0.0,
            memory: 0.0,
            disk_kbps: 0.0,
            sockets: 0.0,
            threads: 0.0,
            network_kbps: 0.0,
            surge: 1.0,
            own_load: 0.0,
            retries: 0,
            silent: 0.0,
            pool: 0.0,
            restarts: 0.0,
        }
    }
}

impl Effect {
    /// Adds `other` at a strength of 0..=1 of what it is at full.
    pub fn add(&mut self, other: &Effect, strength: f64) {
        self.slow *= 1.0 + (other.slow - 1.0) * strength;
        self.extra_ms += other.extra_ms * strength;
        self.stall = self.stall.max(other.stall * strength);
        self.stall_ms = self.stall_ms.max(other.stall_ms);
        self.fail = self.fail.max(other.fail * strength);
        self.refuse = self.refuse.max(other.refuse * strength);
        self.delay_ms += other.delay_ms * strength;
        self.jitter_ms += other.jitter_ms * strength;
        self.loss = self.loss.max(other.loss * strength);
        self.hog = (self.hog + other.hog * strength).min(0.97);
        self.memory += other.memory * strength;
        self.disk_kbps += other.disk_kbps * strength;
        self.sockets += other.sockets * strength;
        self.threads += other.threads * strength;
        self.network_kbps += other.network_kbps * strength;
        self.surge *= 1.0 + (other.surge - 1.0) * strength;
        self.own_load += other.own_load * strength;
        if strength > 0.3 {
            self.retries = self.retries.max(other.retries);
        }
        self.silent = self.silent.max(other.silent * strength);
        self.pool = self.pool.max(other.pool * strength);
        self.restarts += other.restarts * strength;
    }
}

/// One effect on one service over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Plant {
    /// Index of the service.
    pub service: usize,
    pub effect: Effect,
    pub bug: Option<Bug>,
    pub mutters: Vec<Mutter>,
    /// Share of the service's replicas that it touches.
    pub share: f64,
    pub from_ms: f64,
    pub until_ms: f64,
    pub course: Course,
}

impl Plant {
    /// A plant of this effect over the whole service, from `from_ms` on.
    #[must_use]
    pub fn new(service: usize, effect: Effect, from_ms: f64) -> Plant {
        Plant {
            service,
            effect,
            bug: None,
            mutters: Vec::new(),
            share: 1.0,
            from_ms,
            until_ms: f64::INFINITY,
            course: Course::Step,
        }
    }

    /// Strength at a moment, 0..=1.
    #[must_use]
    pub fn strength(&self, at_ms: f64) -> f64 {
        if at_ms < self.from_ms || at_ms >= self.until_ms {
            return 0.0;
        }
        let since = at_ms - self.from_ms;
        match self.course {
            Course::Step => 1.0,
            Course::Ramp(length) => (since / length).min(1.0),
            Course::Pulse(period) => {
                if (since / period).fract() < 0.6 {
                    1.0
                } else {
                    0.15
                }
            }
        }
    }
}
