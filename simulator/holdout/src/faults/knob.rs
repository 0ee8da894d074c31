//! The physical quantities that a fault turns.

use super::engine::Reason;

/// What a fault does to one service at one moment. Shares run from 0 to 1.
#[derive(Clone, Debug)]
pub struct Knob {
    /// Cores taken by something else.
    pub stolen: f64,
    /// Processor work per request.
    pub cost: f64,
    pub io: f64,
    pub disk_hog: f64,
    /// Share of the memory limit that is lost per second.
    pub leak: f64,
    pub sockets: f64,
    /// Store connections that never come back.
    pub pool_taken: f64,
    pub net_ms: f64,
    pub loss: f64,
    pub mbps: f64,
    /// Connections that vanish without an answer.
    pub cut: f64,
    /// Connections that are refused at once.
    pub refuse: f64,
    /// Requests that fail in its own code.
    pub fail: f64,
    /// Replies that are well-formed and wrong.
    pub garbage: f64,
    pub lock_ms: f64,
    pub surge: f64,
    /// Requests per second and operation from somebody outside the call graph.
    pub intruders_rps: f64,
    pub cache_off: f64,
    /// The callee that the fault concerns.
    pub dep: Option<usize>,
    pub dep_times: f64,
    pub dep_skip: f64,
    pub dep_fail: f64,
    /// The callee sees the calls that fail.
    pub dep_reached: bool,
    /// Only this operation is concerned.
    pub op: Option<usize>,
    pub reason: Reason,
    /// The process begins anew in this step.
    pub restart: bool,
}

impl Default for Knob {
    fn default() -> Self {
        Self {
            stolen: 0.0,
            cost: 1.0,
            io: 1.0,
            disk_hog: 0.0,
            leak: 0.0,
            sockets: 0.0,
            pool_taken: 0.0,
            net_ms: 0.0,
            loss: 0.0,
            mbps: 1000.0,
            cut: 0.0,
            refuse: 0.0,
            fail: 0.0,
            garbage: 0.0,
            lock_ms: 0.0,
            surge: 1.0,
            intruders_rps: 0.0,
            cache_off: 0.0,
            dep: None,
            dep_times: 1.0,
            dep_skip: 0.0,
            dep_fail: 0.0,
            dep_reached: false,
            op: None,
            reason: Reason::Status,
            restart: false,
        }
    }
}

impl Knob {
    /// Whether operation `o` is concerned.
    pub fn fails_here(&self, o: usize) -> bool {
        self.op.is_none_or(|op| op == o)
    }
}
