//! A made-up system of services: who calls whom, with which work, limits and patience.

use super::words;
use crate::dice::Dice;

/// What a service is; stores and brokers call nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Serves users.
    Entry,
    Logic,
    /// Driven by a queue instead of by callers.
    Worker,
    Broker,
    Sql,
    Document,
    Cache,
}

impl Kind {
    /// Keeps data for others.
    pub fn is_store(self) -> bool {
        matches!(self, Self::Sql | Self::Document | Self::Cache)
    }

    /// Runs code of the house rather than a bought product.
    pub fn is_code(self) -> bool {
        matches!(self, Self::Entry | Self::Logic | Self::Worker)
    }
}

/// What a service is written in; decides how its errors read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Java,
    Go,
    Python,
    Node,
    Dotnet,
    Rust,
}

/// One call that an operation makes.
#[derive(Clone, Debug)]
pub struct Call {
    pub to: usize,
    pub op: usize,
    /// Mean calls per request.
    pub times: f64,
    /// Calls of one group run side by side, groups one after the other.
    pub group: usize,
    pub timeout_ms: f64,
    pub retries: i32,
    /// A failure is answered from a default.
    pub fallback: bool,
    pub breaker: bool,
    /// Only what the cache (position of its call in this operation, share of hits) lacks comes here.
    pub behind_cache: Option<(usize, f64)>,
    /// The message published by this call is work for this worker.
    pub feeds: Option<usize>,
}

/// One operation of a service. Work is milliseconds per request.
#[derive(Clone, Debug)]
pub struct Op {
    pub name: String,
    pub cpu_ms: f64,
    pub io_ms: f64,
    /// Spread of the logarithm of the latency.
    pub sigma: f64,
    /// Size of a reply.
    pub kilobytes: f64,
    pub calls: Vec<Call>,
    /// Share of requests that fail on a good day.
    pub base_error: f64,
    /// Requests from users per second.
    pub users_rps: f64,
}

#[derive(Clone, Debug)]
pub struct Service {
    /// Anonymous.
    pub name: String,
    pub kind: Kind,
    pub language: Language,
    pub depth: usize,
    pub replicas: f64,
    /// Per replica.
    pub cores: f64,
    /// Requests at the same time, per replica.
    pub workers: f64,
    /// Connections to stores, all replicas.
    pub pool: f64,
    /// Share of the memory limit in use on a good day.
    pub memory: f64,
    pub memory_mb: f64,
    pub ops: Vec<Op>,
}

pub struct World {
    /// Callees come after their callers.
    pub services: Vec<Service>,
    /// Share of the interval that requests take across the network, ms.
    pub rtt_ms: f64,
}

impl World {
    /// Draws a system of `size` services with sensible limits.
    pub fn draw(dice: &mut Dice, size: usize) -> Self {
        let entries = 1 + usize::from(size > 10 && dice.chance(0.5)) + usize::from(size > 25);
        let stores = (size / 4).max(2);
        let workers = if size >= 9 && dice.chance(0.6) {
            1 + dice.index(2)
        } else {
            0
        };
        let logic = size - entries - stores - workers - usize::from(workers > 0);
        let mut names: Vec<usize> = (1..=size).collect();
        for i in (1..size).rev() {
            names.swap(i, dice.index(i + 1));
        }
        let mut world = Self {
            services: Vec::new(),
            rtt_ms: dice.magnitude(0.2, 2.0),
        };
        let house = dice.chance(0.3).then(|| language(dice));
        let kinds = std::iter::repeat_n(Kind::Entry, entries)
            .chain(std::iter::repeat_n(Kind::Logic, logic))
            .chain(std::iter::repeat_n(Kind::Worker, workers))
            .chain(std::iter::repeat_n(Kind::Broker, usize::from(workers > 0)))
            .chain((0..stores).map(|i| [Kind::Sql, Kind::Cache, Kind::Document][i % 3]));
        for (kind, number) in kinds.zip(names) {
            let language = house.unwrap_or_else(|| language(dice));
            world
                .services
                .push(service(dice, kind, language, format!("s{number:02}")));
        }
        world.connect(dice, entries, logic);
        world.store_calls(dice);
        world.publish(dice);
        world.spread_users(dice);
        world.calibrate(dice);
        world
    }

    fn of(&self, wanted: impl Fn(Kind) -> bool) -> Vec<usize> {
        (0..self.services.len())
            .filter(|&s| wanted(self.services[s].kind))
            .collect()
    }

    fn connect(&mut self, dice: &mut Dice, entries: usize, logic: usize) {
        for child in entries..entries + logic {
            let near = if dice.chance(0.55) {
                child.min(4)
            } else {
                child
            };
            let mut parent = child - 1 - dice.index(near);
            if self.services[parent].depth >= 4 {
                parent = dice.index(entries);
            }
            self.services[child].depth = self.services[parent].depth + 1;
            for op in 0..self.services[child].ops.len() {
                self.attach(dice, parent, child, op);
            }
        }
        for entry in 0..entries {
            // An entry that nobody drew as a parent would be an island.
            if self.services[entry]
                .ops
                .iter()
                .all(|op| op.calls.is_empty())
            {
                self.attach(dice, entry, entries + entry % logic.max(1), 0);
            }
        }
        for _ in 0..logic / 2 {
            let child = entries + dice.index(logic);
            let parent = dice.index(child);
            let op = dice.index(self.services[child].ops.len());
            self.attach(dice, parent, child, op);
        }
    }

    fn store_calls(&mut self, dice: &mut Dice) {
        let callers = self.of(|kind| matches!(kind, Kind::Logic | Kind::Worker));
        let lasting = self.of(|kind| matches!(kind, Kind::Sql | Kind::Document));
        let caches = self.of(|kind| kind == Kind::Cache);
        for store in lasting.iter().chain(&caches) {
            for _ in 0..1 + dice.index(2) {
                let parent = callers[dice.index(callers.len())];
                let op = dice.index(self.services[*store].ops.len());
                self.attach(dice, parent, *store, op);
            }
        }
        for caller in callers {
            let bare = self.services[caller]
                .ops
                .iter()
                .all(|op| op.calls.is_empty());
            if bare && dice.chance(0.75) {
                let store = lasting[dice.index(lasting.len())];
                self.attach(dice, caller, store, 0);
            }
        }
        // A store behind a cache is asked only for what the cache lacks.
        for s in 0..self.services.len() {
            let kinds: Vec<Kind> = self.services.iter().map(|service| service.kind).collect();
            for op in &mut self.services[s].ops {
                let cache = op
                    .calls
                    .iter()
                    .position(|call| kinds[call.to] == Kind::Cache);
                let Some(mut cache) = cache else { continue };
                let lasting = |call: &Call| matches!(kinds[call.to], Kind::Sql | Kind::Document);
                if let Some(first) = op.calls[..cache].iter().position(lasting) {
                    let (early, late) = (op.calls[first].group, op.calls[cache].group);
                    op.calls.swap(first, cache);
                    (op.calls[first].group, op.calls[cache].group) = (early, late);
                    cache = first;
                }
                op.calls[cache].fallback = true;
                let hit = dice.between(0.6, 0.95);
                for call in &mut op.calls {
                    if matches!(kinds[call.to], Kind::Sql | Kind::Document) {
                        call.behind_cache = Some((cache, hit));
                    }
                }
            }
        }
    }

    fn publish(&mut self, dice: &mut Dice) {
        let Some(&broker) = self.of(|kind| kind == Kind::Broker).first() else {
            return;
        };
        let logic = self.of(|kind| kind == Kind::Logic);
        for worker in self.of(|kind| kind == Kind::Worker) {
            let producer = logic[dice.index(logic.len())];
            self.services[worker].depth = self.services[producer].depth + 1;
            let op = dice.index(self.services[producer].ops.len());
            let group = self.services[producer].ops[op].calls.len();
            let mut call = call(dice, broker, 0, group);
            (call.times, call.feeds) = (1.0, Some(worker));
            self.services[producer].ops[op].calls.push(call);
        }
    }

    fn attach(&mut self, dice: &mut Dice, parent: usize, child: usize, child_op: usize) {
        let depth = self.services[parent].depth + 1;
        if self.services[child].kind.is_store() {
            self.services[child].depth = self.services[child].depth.max(depth);
        }
        let own = dice.index(self.services[parent].ops.len());
        let op = &mut self.services[parent].ops[own];
        if op
            .calls
            .iter()
            .any(|call| call.to == child && call.op == child_op)
        {
            return;
        }
        let group = match op.calls.last() {
            Some(last) if dice.chance(0.3) => last.group,
            Some(last) => last.group + 1,
            None => 0,
        };
        let call = call(dice, child, child_op, group);
        op.calls.push(call);
    }

    fn spread_users(&mut self, dice: &mut Dice) {
        let total = dice.magnitude(6.0, 120.0);
        let entries = self.of(|kind| kind == Kind::Entry);
        for entry in &entries {
            for op in &mut self.services[*entry].ops {
                op.users_rps = total * dice.magnitude(0.1, 0.6) / entries.len() as f64;
            }
        }
    }

    /// Requests per second of every operation on a good day.
    pub fn rates(&self) -> Vec<Vec<f64>> {
        let mut rates: Vec<Vec<f64>> = self
            .services
            .iter()
            .map(|service| service.ops.iter().map(|op| op.users_rps).collect())
            .collect();
        for s in 0..self.services.len() {
            for (o, op) in self.services[s].ops.iter().enumerate() {
                for call in &op.calls {
                    let missed = call.behind_cache.map_or(1.0, |(_, hit)| 1.0 - hit);
                    let rate = rates[s][o] * call.times * missed;
                    rates[call.to][call.op] += rate;
                    if let Some(worker) = call.feeds {
                        rates[worker][0] += rate;
                    }
                }
            }
        }
        rates
    }

    /// Sizes cores, workers, pools and time limits for the load of a good day.
    fn calibrate(&mut self, dice: &mut Dice) {
        let rates = self.rates();
        let mut latency: Vec<Vec<f64>> = self
            .services
            .iter()
            .map(|s| vec![0.0; s.ops.len()])
            .collect();
        for s in (0..self.services.len()).rev() {
            let (mut cpu, mut busy, mut held) = (0.0, 0.0, 0.0);
            let stores: Vec<bool> = self.services.iter().map(|s| s.kind.is_store()).collect();
            for (o, op) in self.services[s].ops.iter_mut().enumerate() {
                let mut total = 1.2 * op.cpu_ms + op.io_ms;
                for call in &mut op.calls {
                    let child = latency[call.to][call.op] + 2.0 * self.rtt_ms;
                    let wanted = (child * dice.between(8.0, 40.0)).clamp(150.0, 30_000.0);
                    call.timeout_ms = nice(wanted);
                    total += call.times * child;
                    if stores[call.to] {
                        held += rates[s][o] * call.times * child / 1000.0;
                    }
                }
                latency[s][o] = total;
                cpu += rates[s][o] * op.cpu_ms / 1000.0;
                busy += rates[s][o] * total / 1000.0;
            }
            let service = &mut self.services[s];
            service.cores = (cpu / dice.between(0.12, 0.42) / service.replicas).max(0.05);
            service.workers = (busy / dice.magnitude(0.01, 0.12) / service.replicas)
                .ceil()
                .max(16.0);
            service.pool = (held / dice.between(0.1, 0.4)).ceil().max(5.0);
        }
    }

    /// Who depends on whom, as an observer with all data would draw it; `(from, to)`, sorted.
    pub fn edges(&self) -> Vec<(usize, usize)> {
        let mut edges = Vec::new();
        for (s, service) in self.services.iter().enumerate() {
            for call in service.ops.iter().flat_map(|op| &op.calls) {
                edges.push((s, call.to));
                // A worker polls the broker.
                edges.extend(call.feeds.map(|worker| (worker, call.to)));
            }
        }
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    /// Services that call `callee`.
    pub fn callers(&self, callee: usize) -> Vec<usize> {
        self.edges()
            .iter()
            .filter(|(_, to)| *to == callee)
            .map(|(from, _)| *from)
            .collect()
    }

    /// Hops between two services along edges in either direction; `usize::MAX` where there is no way.
    pub fn hops(&self, from: usize, to: usize) -> usize {
        let edges = self.edges();
        let mut distance = vec![usize::MAX; self.services.len()];
        distance[from] = 0;
        for round in 0..self.services.len() {
            for &(a, b) in &edges {
                for (x, y) in [(a, b), (b, a)] {
                    if distance[x] == round && distance[y] == usize::MAX {
                        distance[y] = round + 1;
                    }
                }
            }
        }
        distance[to]
    }
}

fn nice(ms: f64) -> f64 {
    [
        200.0, 300.0, 500.0, 1000.0, 1500.0, 2000.0, 3000.0, 5000.0, 10_000.0, 15_000.0,
    ]
    .into_iter()
    .find(|limit| *limit >= ms)
    .unwrap_or(30_000.0)
}

fn language(dice: &mut Dice) -> Language {
    use Language::{Dotnet, Go, Java, Node, Python, Rust};
    [Java, Go, Python, Node, Dotnet, Rust][dice.index(6)]
}

fn call(dice: &mut Dice, to: usize, op: usize, group: usize) -> Call {
    let times = match dice.unit() {
        u if u < 0.7 => 1.0,
        u if u < 0.9 => dice.between(0.3, 0.9),
        _ => 2.0,
    };
    Call {
        to,
        op,
        times,
        group,
        timeout_ms: 1000.0,
        retries: [0, 0, 0, 0, 0, 0, 1, 1, 1, 2][dice.index(10)],
        fallback: dice.chance(0.08),
        breaker: dice.chance(0.2),
        behind_cache: None,
        feeds: None,
    }
}

fn service(dice: &mut Dice, kind: Kind, language: Language, name: String) -> Service {
    let count = match kind {
        Kind::Entry => 2 + dice.index(4),
        Kind::Logic => 1 + dice.index(3),
        Kind::Sql | Kind::Document => 1 + dice.index(2),
        Kind::Worker | Kind::Broker | Kind::Cache => 1,
    };
    let mut ops: Vec<Op> = Vec::new();
    while ops.len() < count {
        let name = words::operation(dice, kind);
        if ops.iter().all(|op| op.name != name) {
            ops.push(operation(dice, kind, name));
        }
    }
    Service {
        name,
        kind,
        language,
        depth: 0,
        replicas: if kind.is_code() {
            1.0 + dice.index(4) as f64
        } else {
            1.0
        },
        cores: 1.0,
        workers: 8.0,
        pool: 10.0,
        memory: dice.between(0.3, 0.65),
        memory_mb: [256.0, 512.0, 1024.0, 2048.0, 4096.0][dice.index(5)],
        ops,
    }
}

fn operation(dice: &mut Dice, kind: Kind, name: String) -> Op {
    let (cpu, io) = match kind {
        Kind::Entry => ((0.5, 5.0), (0.2, 1.0)),
        Kind::Logic | Kind::Worker => ((1.0, 15.0), (0.2, 4.0)),
        Kind::Sql | Kind::Document => ((0.3, 3.0), (0.5, 8.0)),
        Kind::Cache => ((0.05, 0.2), (0.02, 0.1)),
        Kind::Broker => ((0.2, 1.0), (0.5, 3.0)),
    };
    Op {
        name,
        cpu_ms: dice.magnitude(cpu.0, cpu.1),
        io_ms: dice.magnitude(io.0, io.1),
        sigma: dice.between(0.25, 0.6),
        kilobytes: dice.magnitude(0.5, 60.0),
        calls: Vec::new(),
        base_error: if dice.chance(0.4) {
            dice.magnitude(1e-4, 6e-3)
        } else {
            0.0
        },
        users_rps: 0.0,
    }
}
