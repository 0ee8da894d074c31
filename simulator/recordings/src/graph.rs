//! Random call graphs: services, their operations, and who calls what.

use crate::draw::Draw;
use crate::words;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Requests from outside arrive here.
    Entry,
    /// Called by others, calls others or not.
    Service,
    /// A store; calls nobody.
    Database,
    /// A store in memory; calls nobody.
    Cache,
    /// A broker that takes messages; calls nobody.
    Queue,
}

impl Role {
    /// True for stores and brokers, which call nobody.
    #[must_use]
    pub fn is_store(self) -> bool {
        matches!(self, Role::Database | Role::Cache | Role::Queue)
    }
}

/// One place in an operation that calls another operation.
#[derive(Clone, Debug)]
pub struct Call {
    /// Index of the operation called, above the caller's own.
    pub to: usize,
    /// Calls per request; below one it is a probability.
    pub times: f64,
    /// The caller gives up after this.
    pub timeout_ms: f64,
    /// Further tries after a failed one.
    pub retries: u32,
    /// A failure is swallowed: the caller answers without it.
    pub fallback: bool,
}

/// One endpoint of a service.
#[derive(Clone, Debug)]
pub struct Operation {
    pub service: usize,
    pub name: String,
    /// Median time in the service itself when idle.
    pub self_ms: f64,
    /// Spread of the self time (lognormal).
    pub sigma: f64,
    /// Share of the self time that burns CPU.
    pub cpu_share: f64,
    /// Bytes to or from disk a request.
    pub disk_kb: f64,
    pub request_kb: f64,
    pub reply_kb: f64,
    /// Share of requests that fail here in normal times.
    pub own_error: f64,
    /// Share of requests that take this many times the self time, always.
    pub tail: (f64, f64),
    /// Names of the functions that the self time is spent in, in order.
    pub steps: Vec<String>,
    pub calls: Vec<Call>,
    /// Calls run side by side instead of one after another.
    pub parallel: bool,
}

/// How much of a node its operators measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metered {
    Full,
    /// Resources only, no requests.
    Resources,
    /// Nothing.
    Nothing,
}

/// One node.
#[derive(Clone, Debug)]
pub struct Service {
    /// Anonymous: `s01` and so on, in shuffled order.
    pub name: String,
    pub role: Role,
    pub replicas: usize,
    pub operations: Vec<usize>,
    /// Cores of all replicas together.
    pub cores: f64,
    /// Requests that all replicas together can hold at once.
    pub workers: f64,
    pub memory_mb: f64,
    pub memory_limit_mb: f64,
    pub metered: Metered,
    /// Writes spans of its own.
    pub traced: bool,
    /// Its clock runs this much ahead.
    pub clock_ms: f64,
    /// Which dialect its logs and stack traces are in.
    pub dialect: usize,
}

/// Requests from outside.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub operation: usize,
    /// Mean requests a second.
    pub rate: f64,
}

/// A whole system. Services and operations are in call order: calls only
/// lead to higher indices, so one pass in either direction visits all.
#[derive(Clone, Debug)]
pub struct System {
    pub services: Vec<Service>,
    pub operations: Vec<Operation>,
    pub arrivals: Vec<Arrival>,
    /// Median round trip between two services.
    pub round_trip_ms: f64,
}

/// What a graph should be like.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub services: usize,
    /// Requests a second from outside, all entries together.
    pub rate: f64,
    /// Share of stores whose spans and metrics are missing.
    pub dark: f64,
}

impl System {
    /// Grows a layered graph in which every node is reached from an entry.
    #[must_use]
    pub fn grow(draw: &mut Draw, size: Size) -> System {
        let mut system = System {
            services: Vec::new(),
            operations: Vec::new(),
            arrivals: Vec::new(),
            round_trip_ms: draw.log_uniform(0.3, 2.5),
        };
        let entries = draw.int(1, (size.services / 6).clamp(1, 3));
        let stores = ((size.services as f64) * draw.uniform(0.1, 0.4)) as usize;
        let layers = draw.int(2, 2 + (size.services / 6).clamp(1, 5));
        let inner = size.services - entries - stores;
        let mut depth: Vec<usize> = (0..inner).map(|_| draw.int(1, layers)).collect();
        depth.sort_unstable();
        let mut names: Vec<usize> = (1..=size.services).collect();
        draw.shuffle(&mut names);
        for (index, name) in names.iter().enumerate() {
            let role = if index < entries {
                Role::Entry
            } else if index < entries + inner {
                Role::Service
            } else {
                draw.pick(&[Role::Database, Role::Database, Role::Cache, Role::Queue])
            };
            let service = Service::bare(draw, format!("s{name:02}"), role, size.dark);
            system.services.push(service);
            if role == Role::Entry {
                system.open_entry(draw, index);
            } else {
                let layer = index
                    .checked_sub(entries)
                    .and_then(|at| depth.get(at).copied());
                let callers = system.callers_for(draw, index, entries, &depth, layer);
                system.attach(draw, index, &callers);
            }
        }
        system.spread_rates(draw, size.rate);
        system.tame(60.0);
        system.provision(draw);
        system
    }

    fn open_entry(&mut self, draw: &mut Draw, service: usize) {
        for _ in 0..draw.int(1, 4) {
            let operation = self.add_operation(draw, service);
            self.arrivals.push(Arrival {
                operation,
                rate: draw.log_uniform(0.3, 3.0),
            });
        }
    }

    /// Callers of an inner node come from layers above, mostly the one just
    /// above; those of a store from any node that is not a store.
    fn callers_for(
        &self,
        draw: &mut Draw,
        index: usize,
        entries: usize,
        depth: &[usize],
        layer: Option<usize>,
    ) -> Vec<usize> {
        let layer_of = |node: usize| node.checked_sub(entries).map_or(0, |at| depth[at]);
        let able: Vec<usize> = (0..index)
            .filter(|node| !self.services[*node].role.is_store())
            .filter(|node| layer.is_none_or(|layer| layer_of(*node) < layer))
            .collect();
        let near: Vec<usize> = able
            .iter()
            .copied()
            .filter(|node| layer.is_none_or(|layer| layer_of(*node) + 1 >= layer))
            .collect();
        let mut callers = vec![if near.is_empty() {
            draw.pick(&able)
        } else {
            draw.pick(&near)
        }];
        let mut more = if layer.is_none() { 0.55 } else { 0.35 };
        while callers.len() < 6 && draw.chance(more) {
            callers.push(draw.pick(&able));
            more *= 0.8;
        }
        callers.sort_unstable();
        callers.dedup();
        callers
    }

    fn attach(&mut self, draw: &mut Draw, service: usize, callers: &[usize]) {
        let role = self.services[service].role;
        let mut sites = Vec::new();
        for caller in callers {
            let able = self.services[*caller].operations.clone();
            for _ in 0..draw.int(1, 2.min(able.len())) {
                sites.push(draw.pick(&able));
            }
        }
        let wanted = draw.int(1, if role.is_store() { 2 } else { 4 });
        let operations: Vec<usize> = (0..wanted.min(sites.len()))
            .map(|_| self.add_operation(draw, service))
            .collect();
        for (turn, site) in sites.into_iter().enumerate() {
            let call = Call {
                to: operations[turn % operations.len()],
                times: times(draw, role),
                timeout_ms: draw.pick(&[500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 30_000.0]),
                retries: draw.pick(&[0, 0, 0, 1, 1, 2, 3]),
                fallback: draw.chance(if role == Role::Cache { 0.5 } else { 0.15 }),
            };
            self.operations[site].calls.push(call);
        }
    }

    fn add_operation(&mut self, draw: &mut Draw, service: usize) -> usize {
        let role = self.services[service].role;
        let (low, high) = match role {
            Role::Cache => (0.2, 1.5),
            Role::Database => (1.0, 20.0),
            Role::Queue => (0.5, 4.0),
            Role::Entry | Role::Service => (1.0, 30.0),
        };
        let disk_kb = match role {
            Role::Database | Role::Queue => draw.log_uniform(4.0, 60.0),
            _ => draw.log_uniform(0.05, 2.0),
        };
        let index = self.operations.len();
        self.operations.push(Operation {
            service,
            name: words::operation(draw, role, index),
            self_ms: draw.log_uniform(low, high),
            sigma: draw.uniform(0.25, 0.8),
            cpu_share: draw.uniform(0.2, 0.9),
            disk_kb,
            request_kb: draw.log_uniform(0.3, 4.0),
            reply_kb: draw.log_uniform(0.5, 30.0),
            own_error: own_error(draw, role),
            tail: if draw.chance(0.35) {
                (draw.log_uniform(0.002, 0.04), draw.log_uniform(4.0, 25.0))
            } else {
                (0.0, 1.0)
            },
            steps: Vec::new(),
            calls: Vec::new(),
            parallel: draw.chance(0.25),
        });
        if !role.is_store() {
            self.operations[index].steps = (0..draw.int(0, 3))
                .map(|step| words::step(draw, index, step))
                .collect();
        }
        self.services[service].operations.push(index);
        index
    }

    fn spread_rates(&mut self, draw: &mut Draw, rate: f64) {
        let total: f64 = self.arrivals.iter().map(|arrival| arrival.rate).sum();
        for arrival in &mut self.arrivals {
            arrival.rate *= rate / total * draw.uniform(0.9, 1.1);
        }
    }

    /// Keeps one request from fanning out beyond `limit` calls on average.
    fn tame(&mut self, limit: f64) {
        for _ in 0..12 {
            let arriving: f64 = self.arrivals.iter().map(|arrival| arrival.rate).sum();
            let total: f64 = self.normal_rates().iter().sum();
            if total <= limit * arriving {
                return;
            }
            for call in self
                .operations
                .iter_mut()
                .flat_map(|operation| &mut operation.calls)
            {
                call.times = (call.times * 0.8).max(0.15);
            }
        }
    }

    /// Requests a second of each operation when nothing fails.
    #[must_use]
    pub fn normal_rates(&self) -> Vec<f64> {
        let mut rates = vec![0.0; self.operations.len()];
        for arrival in &self.arrivals {
            rates[arrival.operation] += arrival.rate;
        }
        for index in 0..rates.len() {
            for call in &self.operations[index].calls {
                rates[call.to] += rates[index] * call.times;
            }
        }
        rates
    }

    /// Median latency of each operation when idle.
    #[must_use]
    pub fn idle_latencies(&self) -> Vec<f64> {
        let mut latencies = vec![0.0; self.operations.len()];
        for index in (0..latencies.len()).rev() {
            let operation = &self.operations[index];
            let each = operation
                .calls
                .iter()
                .map(|call| call.times * (latencies[call.to] + self.round_trip_ms));
            let below: f64 = if operation.parallel {
                each.fold(0.0, f64::max)
            } else {
                each.sum()
            };
            latencies[index] = operation.self_ms + below;
        }
        latencies
    }

    /// Gives each service the cores, workers and patience that its normal
    /// traffic wants, with differing headroom.
    fn provision(&mut self, draw: &mut Draw) {
        let rates = self.normal_rates();
        let latencies = self.idle_latencies();
        for operation in 0..self.operations.len() {
            for call in 0..self.operations[operation].calls.len() {
                let call = &mut self.operations[operation].calls[call];
                call.timeout_ms = call.timeout_ms.max(latencies[call.to] * 8.0);
            }
        }
        for service in &mut self.services {
            let mut demand = 0.0;
            let mut held = 0.0;
            for index in &service.operations {
                let operation = &self.operations[*index];
                demand += rates[*index] * operation.self_ms * operation.cpu_share / 1000.0;
                held += rates[*index] * latencies[*index] / 1000.0;
            }
            service.cores = (demand / draw.uniform(0.12, 0.5)).max(0.05);
            service.workers = (held * draw.uniform(6.0, 30.0)).max(8.0);
        }
    }

    /// For each service, those that it calls directly.
    #[must_use]
    pub fn callees(&self) -> Vec<Vec<usize>> {
        let mut callees = vec![Vec::new(); self.services.len()];
        for operation in &self.operations {
            for call in &operation.calls {
                callees[operation.service].push(self.operations[call.to].service);
            }
        }
        for list in &mut callees {
            list.sort_unstable();
            list.dedup();
        }
        callees
    }

    /// The entries from which `service` is reached, itself included.
    #[must_use]
    pub fn entries_above(&self, service: usize) -> Vec<usize> {
        let callees = self.callees();
        let mut reaches = vec![false; self.services.len()];
        reaches[service] = true;
        for index in (0..service).rev() {
            reaches[index] = callees[index].iter().any(|callee| reaches[*callee]);
        }
        (0..self.services.len())
            .filter(|index| reaches[*index] && self.services[*index].role == Role::Entry)
            .collect()
    }
}

impl Service {
    fn bare(draw: &mut Draw, name: String, role: Role, dark: f64) -> Service {
        let memory_mb = draw.log_uniform(60.0, 1500.0);
        let metered = if role.is_store() && draw.chance(dark) {
            draw.pick(&[Metered::Nothing, Metered::Resources])
        } else if role == Role::Service && draw.chance(dark * 0.1) {
            Metered::Nothing
        } else {
            Metered::Full
        };
        Service {
            name,
            role,
            replicas: if role.is_store() {
                1
            } else {
                draw.pick(&[1, 1, 1, 2, 2, 3, 4])
            },
            operations: Vec::new(),
            cores: 1.0,
            workers: 8.0,
            memory_mb,
            memory_limit_mb: memory_mb * draw.uniform(1.5, 4.0),
            metered,
            traced: !(role.is_store() && draw.chance(dark.max(0.3))),
            clock_ms: if draw.chance(0.7) {
                draw.normal() * 3.0
            } else {
                draw.uniform(-400.0, 400.0)
            },
            dialect: draw.int(0, 2),
        }
    }
}

/// Most operations hardly ever fail; a few always do to some extent.
fn own_error(draw: &mut Draw, role: Role) -> f64 {
    match draw.int(0, 19) {
        0..10 => 0.0,
        19 if !role.is_store() => draw.log_uniform(0.005, 0.06),
        _ => draw.log_uniform(0.0001, 0.004),
    }
}

fn times(draw: &mut Draw, callee: Role) -> f64 {
    if callee.is_store() && draw.chance(0.25) {
        draw.int(2, 4) as f64
    } else if draw.chance(0.6) {
        1.0
    } else {
        draw.uniform(0.25, 0.95)
    }
}
