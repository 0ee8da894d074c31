//! What can be measured of a service, and what four schools of monitoring call it.

use super::world::Kind;
use crate::dice::Dice;

/// A measured quantity. Base units: milliseconds, requests per second, shares from 0 to 1, kilobytes per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    Rate,
    Errors,
    ErrorShare,
    Availability,
    Mean,
    P50,
    P90,
    P95,
    P99,
    Cpu,
    Throttle,
    Memory,
    Gc,
    Threads,
    Queue,
    Pool,
    PoolWait,
    Sockets,
    Received,
    Sent,
    Retransmits,
    Rtt,
    DiskBusy,
    Written,
    Hits,
    Lag,
    Locks,
    Restarts,
}

pub const COUNT: usize = 28;

use Signal as S;

pub const ALL: [Signal; COUNT] = [
    S::Rate,
    S::Errors,
    S::ErrorShare,
    S::Availability,
    S::Mean,
    S::P50,
    S::P90,
    S::P95,
    S::P99,
    S::Cpu,
    S::Throttle,
    S::Memory,
    S::Gc,
    S::Threads,
    S::Queue,
    S::Pool,
    S::PoolWait,
    S::Sockets,
    S::Received,
    S::Sent,
    S::Retransmits,
    S::Rtt,
    S::DiskBusy,
    S::Written,
    S::Hits,
    S::Lag,
    S::Locks,
    S::Restarts,
];

/// Latencies and the quantile that each reports.
pub const LATENCIES: [(Signal, f64); 5] = [
    (S::Mean, 0.5),
    (S::P50, 0.5),
    (S::P90, 0.9),
    (S::P95, 0.95),
    (S::P99, 0.99),
];

/// What tells a user that something is wrong.
pub fn is_symptom(signal: Signal) -> bool {
    signal <= S::P99 || signal == S::Lag
}

/// A school of naming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Cloud,
    Scraped,
    Mesh,
    Agent,
}

impl Dialect {
    pub fn draw(dice: &mut Dice) -> Self {
        [Self::Cloud, Self::Scraped, Self::Mesh, Self::Agent][dice.index(4)]
    }

    /// Name and factor from the base unit; none where the school does not measure it.
    pub fn name(self, signal: Signal, kind: Kind) -> Option<(&'static str, f64)> {
        let store = kind.is_store();
        let names: [(&str, f64); 4] = match signal {
            S::Rate if store => [
                ("QueryCount", 60.0),
                ("db_operations_per_second", 1.0),
                ("mesh_tcp_requests_per_second", 1.0),
                ("db.query.rate", 1.0),
            ],
            S::Rate => [
                ("RequestCount", 60.0),
                ("http_requests_per_second", 1.0),
                ("mesh_requests_per_second", 1.0),
                ("trace.request.hits", 1.0),
            ],
            S::Errors => [
                ("HTTPCode_5XX_Count", 60.0),
                ("http_request_errors_per_second", 1.0),
                ("mesh_requests_5xx_per_second", 1.0),
                ("trace.request.errors", 1.0),
            ],
            S::ErrorShare => [
                ("", 0.0),
                ("http_error_ratio", 1.0),
                ("", 0.0),
                ("trace.request.error_pct", 100.0),
            ],
            S::Availability => [
                ("Availability", 100.0),
                ("service_availability_ratio", 1.0),
                ("mesh_success_rate", 1.0),
                ("service.availability_pct", 100.0),
            ],
            S::Mean | S::P50 | S::P90 | S::P95 | S::P99 => {
                return Some(self.latency(signal, store));
            }
            other => Self::process(other),
        };
        let (name, factor) = names[self as usize];
        let measured = match signal {
            S::Gc => kind.is_code(),
            S::Pool | S::PoolWait | S::Hits => matches!(kind, Kind::Logic | Kind::Worker),
            S::Lag => kind == Kind::Worker,
            S::Locks => kind == Kind::Sql,
            _ => true,
        };
        (!name.is_empty() && measured).then_some((name, factor))
    }

    fn latency(self, signal: Signal, store: bool) -> (&'static str, f64) {
        let at = |names: [&'static str; 5]| names[signal as usize - S::Mean as usize];
        match (self, store) {
            (Self::Cloud, _) => (
                at([
                    "TargetResponseTime",
                    "TargetResponseTime_p50",
                    "TargetResponseTime_p90",
                    "TargetResponseTime_p95",
                    "TargetResponseTime_p99",
                ]),
                1e-3,
            ),
            (Self::Scraped, true) => (
                at([
                    "db_operation_duration_seconds_mean",
                    "db_operation_duration_seconds_p50",
                    "db_operation_duration_seconds_p90",
                    "db_operation_duration_seconds_p95",
                    "db_operation_duration_seconds_p99",
                ]),
                1e-3,
            ),
            (Self::Scraped, false) => (
                at([
                    "http_request_duration_seconds_mean",
                    "http_request_duration_seconds_p50",
                    "http_request_duration_seconds_p90",
                    "http_request_duration_seconds_p95",
                    "http_request_duration_seconds_p99",
                ]),
                1e-3,
            ),
            (Self::Mesh, _) => (
                at([
                    "mesh_request_duration_milliseconds_avg",
                    "mesh_request_duration_milliseconds_p50",
                    "mesh_request_duration_milliseconds_p90",
                    "mesh_request_duration_milliseconds_p95",
                    "mesh_request_duration_milliseconds_p99",
                ]),
                1.0,
            ),
            (Self::Agent, _) => (
                at([
                    "trace.request.duration_us.avg",
                    "trace.request.duration_us.p50",
                    "trace.request.duration_us.p90",
                    "trace.request.duration_us.p95",
                    "trace.request.duration_us.p99",
                ]),
                1000.0,
            ),
        }
    }

    /// Cores, memory and places of a process; the rest elsewhere.
    fn process(signal: Signal) -> [(&'static str, f64); 4] {
        let none = ("", 0.0);
        let row = |cloud, scraped, mesh, agent| [cloud, scraped, mesh, agent];
        match signal {
            S::Cpu => row(
                ("CPUUtilization", 100.0),
                ("process_cpu_usage_ratio", 1.0),
                ("container_cpu_usage_ratio", 1.0),
                ("system.cpu.usage_pct", 100.0),
            ),
            S::Throttle => row(
                none,
                ("container_cpu_throttled_ratio", 1.0),
                ("container_cpu_throttled_ratio", 1.0),
                ("container.cpu.throttled_pct", 100.0),
            ),
            // Bytes: the factor is completed with the service's limit in megabytes.
            S::Memory => row(
                ("MemoryUtilization", 100.0),
                ("process_resident_memory_bytes", 0.0),
                ("container_memory_working_set_bytes", 0.0),
                ("system.mem.pct_used", 100.0),
            ),
            S::Gc => row(
                ("GCTimePercent", 100.0),
                ("runtime_gc_pause_seconds_per_second", 1.0),
                none,
                ("runtime.gc.pause_ms_per_s", 1000.0),
            ),
            S::Threads => row(
                ("BusyThreads", 1.0),
                ("http_server_busy_workers", 1.0),
                ("mesh_requests_in_flight", 1.0),
                ("runtime.threads.active", 1.0),
            ),
            S::Queue => row(
                ("PendingRequests", 1.0),
                ("http_server_queue_length", 1.0),
                none,
                ("server.queue.size", 1.0),
            ),
            S::Restarts => row(
                ("ContainerRestarts", 1.0),
                ("container_restarts", 1.0),
                ("container_restarts", 1.0),
                ("container.restarts", 1.0),
            ),
            _ => Self::connections(signal),
        }
    }

    /// What goes over wires.
    fn connections(signal: Signal) -> [(&'static str, f64); 4] {
        let none = ("", 0.0);
        let row = |cloud, scraped, mesh, agent| [cloud, scraped, mesh, agent];
        match signal {
            S::Pool => row(
                ("DatabaseConnectionsPercent", 100.0),
                ("db_pool_in_use_ratio", 1.0),
                none,
                ("db.pool.used_pct", 100.0),
            ),
            S::PoolWait => row(
                none,
                ("db_pool_acquire_seconds", 1e-3),
                none,
                ("db.pool.wait_us", 1000.0),
            ),
            S::Sockets => row(
                ("OpenFileDescriptors", 8192.0),
                ("process_open_fds", 4096.0),
                ("container_sockets", 8192.0),
                ("system.fd.used_pct", 100.0),
            ),
            S::Received => row(
                ("NetworkIn", 1000.0),
                ("network_receive_bytes_per_second", 1000.0),
                ("container_network_receive_bytes_per_second", 1000.0),
                ("system.net.rcvd_kb", 1.0),
            ),
            S::Sent => row(
                ("NetworkOut", 1000.0),
                ("network_transmit_bytes_per_second", 1000.0),
                ("container_network_transmit_bytes_per_second", 1000.0),
                ("system.net.sent_kb", 1.0),
            ),
            S::Retransmits => row(
                ("TCPRetransmits", 60.0),
                ("tcp_retransmits_per_second", 1.0),
                ("container_network_tcp_retransmits", 1.0),
                ("system.net.tcp.retrans_segs", 1.0),
            ),
            S::Rtt => row(
                ("TCPRoundTripTime", 1e-3),
                ("tcp_rtt_seconds", 1e-3),
                ("mesh_tcp_rtt_milliseconds", 1.0),
                ("system.net.tcp.rtt_us", 1000.0),
            ),
            _ => Self::storage(signal),
        }
    }

    /// Disks, caches, queues and locks.
    fn storage(signal: Signal) -> [(&'static str, f64); 4] {
        let none = ("", 0.0);
        let row = |cloud, scraped, mesh, agent| [cloud, scraped, mesh, agent];
        match signal {
            S::DiskBusy => row(
                ("DiskBusyPercent", 100.0),
                ("node_disk_io_time_ratio", 1.0),
                ("container_fs_io_time_ratio", 1.0),
                ("system.io.util_pct", 100.0),
            ),
            S::Written => row(
                ("DiskWriteBytes", 1000.0),
                ("disk_written_bytes_per_second", 1000.0),
                ("container_fs_writes_bytes_per_second", 1000.0),
                ("system.disk.write_kb", 1.0),
            ),
            S::Hits => row(
                ("CacheHitRate", 100.0),
                ("cache_hit_ratio", 1.0),
                none,
                ("cache.hit_pct", 100.0),
            ),
            S::Lag => row(
                ("MessagesBehind", 1.0),
                ("consumer_lag_messages", 1.0),
                ("consumer_lag", 1.0),
                ("queue.consumer.lag", 1.0),
            ),
            S::Locks => row(
                ("LockWaitTime", 1e-3),
                ("db_lock_wait_seconds", 1e-3),
                none,
                ("db.lock.wait_us", 1000.0),
            ),
            _ => [none; 4],
        }
    }
}

/// Which signals a recording has, drawn once for the whole house.
pub fn chosen(dice: &mut Dice, few: bool) -> Vec<Signal> {
    let latency = |dice: &mut Dice| LATENCIES[dice.index(5)].0;
    let mut chosen = vec![S::Rate, latency(dice)];
    if few {
        chosen.push(S::Availability);
        return chosen;
    }
    for _ in 0..dice.index(3) {
        chosen.push(latency(dice));
    }
    let errors = [S::Errors, S::Availability, S::ErrorShare];
    chosen.extend([errors[dice.index(2)], errors[dice.index(3)]]);
    chosen.extend([S::Cpu, S::Memory, S::Lag, S::Locks, S::Pool]);
    let resources = ALL.into_iter().filter(|signal| *signal > S::P99);
    chosen.extend(resources.filter(|_| dice.chance(0.8)));
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}
