//! From what happened to what the operators' instruments say.

use crate::draw::Draw;
use crate::engine::Reading;
use crate::graph::{Metered, Role, Service};

/// What a series measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Requests a second.
    Rate,
    /// Requests an interval.
    Count,
    /// Failed requests an interval, a second, in percent, as a ratio.
    ErrorCount,
    ErrorRate,
    ErrorPercent,
    ErrorRatio,
    /// Share, or percent, of requests that went well.
    Availability,
    AvailabilityPercent,
    Mean,
    Quantile(f64),
    Cpu,
    CpuCores,
    Memory,
    MemoryPercent,
    Disk,
    DiskWrite,
    Received,
    Sent,
    Sockets,
    Threads,
    Pool,
    Restarts,
}

impl Kind {
    fn about_requests(self) -> bool {
        matches!(
            self,
            Kind::Rate | Kind::Count | Kind::Mean | Kind::Quantile(_)
        ) || self.about_errors()
    }

    /// Errors or availability.
    #[must_use]
    pub fn about_errors(self) -> bool {
        matches!(
            self,
            Kind::ErrorCount
                | Kind::ErrorRate
                | Kind::ErrorPercent
                | Kind::ErrorRatio
                | Kind::Availability
                | Kind::AvailabilityPercent
        )
    }

    /// Latency of some sort.
    #[must_use]
    pub fn about_time(self) -> bool {
        matches!(self, Kind::Mean | Kind::Quantile(_))
    }
}

/// A named series kind: `value × factor` in the unit of the name.
#[derive(Clone, Copy, Debug)]
pub struct Gauge {
    pub name: &'static str,
    pub kind: Kind,
    pub factor: f64,
}

const fn gauge(name: &'static str, kind: Kind, factor: f64) -> Gauge {
    Gauge { name, kind, factor }
}

const COARSE: [&[Gauge]; 5] = [
    &[
        gauge("latency_avg", Kind::Mean, 1.0),
        gauge("latency_p50", Kind::Quantile(0.5), 1.0),
        gauge("latency_p90", Kind::Quantile(0.9), 1.0),
        gauge("latency_p99", Kind::Quantile(0.99), 1.0),
        gauge("requests", Kind::Count, 1.0),
        gauge("availability", Kind::Availability, 1.0),
    ],
    &[
        gauge("duration_ms_mean", Kind::Mean, 1.0),
        gauge("duration_ms_p90", Kind::Quantile(0.9), 1.0),
        gauge("request_count", Kind::Count, 1.0),
        gauge("error_count", Kind::ErrorCount, 1.0),
    ],
    &[
        gauge("response_time_seconds_avg", Kind::Mean, 0.001),
        gauge("response_time_seconds_p95", Kind::Quantile(0.95), 0.001),
        gauge("requests_per_second", Kind::Rate, 1.0),
        gauge("error_rate_percent", Kind::ErrorPercent, 1.0),
    ],
    &[
        gauge("latency_average", Kind::Mean, 1.0),
        gauge("latency_p50", Kind::Quantile(0.5), 1.0),
        gauge("latency_p95", Kind::Quantile(0.95), 1.0),
        gauge("latency_p99", Kind::Quantile(0.99), 1.0),
        gauge("request_count", Kind::Count, 1.0),
        gauge("success_rate", Kind::AvailabilityPercent, 1.0),
    ],
    &[
        gauge("latency", Kind::Mean, 0.001),
        gauge("requests", Kind::Count, 1.0),
        gauge("availability", Kind::AvailabilityPercent, 1.0),
    ],
];

const FINE: [&[Gauge]; 6] = [
    &[
        gauge("workload", Kind::Rate, 1.0),
        gauge("latency-50", Kind::Quantile(0.5), 0.001),
        gauge("latency-90", Kind::Quantile(0.9), 0.001),
        gauge("error", Kind::ErrorRate, 1.0),
        gauge("cpu", Kind::CpuCores, 1.0),
        gauge("mem", Kind::Memory, 1_048_576.0),
        gauge("diskio", Kind::Disk, 1024.0),
        gauge("socket", Kind::Sockets, 1.0),
    ],
    &[
        gauge("request_rate", Kind::Rate, 1.0),
        gauge("latency_p50_ms", Kind::Quantile(0.5), 1.0),
        gauge("latency_p90_ms", Kind::Quantile(0.9), 1.0),
        gauge("error_rate_percent", Kind::ErrorPercent, 1.0),
        gauge("cpu_usage_percent", Kind::Cpu, 100.0),
        gauge("memory_usage_mb", Kind::Memory, 1.0),
        gauge("network_receive_kbps", Kind::Received, 1.0),
        gauge("network_transmit_kbps", Kind::Sent, 1.0),
        gauge("disk_io_kbps", Kind::Disk, 1.0),
        gauge("sockets_open", Kind::Sockets, 1.0),
        gauge("threads", Kind::Threads, 1.0),
    ],
    &[
        gauge("http_requests_per_second", Kind::Rate, 1.0),
        gauge("http_latency_p95_seconds", Kind::Quantile(0.95), 0.001),
        gauge("http_errors_per_second", Kind::ErrorRate, 1.0),
        gauge("container_cpu_cores", Kind::CpuCores, 1.0),
        gauge(
            "container_memory_working_set_bytes",
            Kind::Memory,
            1_048_576.0,
        ),
        gauge("container_network_receive_bytes", Kind::Received, 1024.0),
        gauge("container_network_transmit_bytes", Kind::Sent, 1024.0),
        gauge("container_fs_writes_bytes", Kind::DiskWrite, 1024.0),
        gauge("open_connections", Kind::Sockets, 1.0),
        gauge("restarts", Kind::Restarts, 1.0),
    ],
    &[
        gauge("service_request_rate", Kind::Rate, 1.0),
        gauge("service_latency_p99_ms", Kind::Quantile(0.99), 1.0),
        gauge("service_latency_avg_ms", Kind::Mean, 1.0),
        gauge("service_error_ratio", Kind::ErrorRatio, 1.0),
        gauge("service_cpu_percent", Kind::Cpu, 100.0),
        gauge("service_memory_percent", Kind::MemoryPercent, 100.0),
        gauge("service_db_connections", Kind::Pool, 50.0),
        gauge("service_network_rx_kbps", Kind::Received, 1.0),
    ],
    &[
        gauge("load", Kind::Rate, 1.0),
        gauge("latency-50", Kind::Quantile(0.5), 1.0),
        gauge("latency-90", Kind::Quantile(0.9), 1.0),
        gauge("error", Kind::ErrorCount, 1.0),
        gauge("latency-99", Kind::Quantile(0.99), 1.0),
        gauge("cpu", Kind::Cpu, 100.0),
        gauge("memory", Kind::Memory, 1.0),
        gauge("network_rx", Kind::Received, 1024.0),
        gauge("network_tx", Kind::Sent, 1024.0),
        gauge("socket", Kind::Sockets, 1.0),
        gauge("diskio", Kind::Disk, 1024.0),
    ],
    &[
        gauge("rps", Kind::Rate, 1.0),
        gauge("avg_response_time_ms", Kind::Mean, 1.0),
        gauge("max_response_time_ms", Kind::Quantile(1.0), 1.0),
        gauge("success_rate_percent", Kind::AvailabilityPercent, 1.0),
        gauge("cpu_usage", Kind::CpuCores, 1000.0),
        gauge("memory_usage", Kind::Memory, 1_048_576.0),
        gauge("fs_io_bytes", Kind::Disk, 1024.0),
        gauge("net_in_bytes", Kind::Received, 1024.0),
        gauge("net_out_bytes", Kind::Sent, 1024.0),
        gauge("connections", Kind::Sockets, 1.0),
    ],
];

/// How a case is measured.
#[derive(Clone, Debug)]
pub struct Instruments {
    pub gauges: Vec<Gauge>,
    /// Requests are counted and timed by the callers' side.
    pub by_callers: bool,
    /// Without requests latency reads zero instead of nothing.
    pub idle_zero: bool,
    /// Scale of the measuring noise.
    pub noise: f64,
    pub interval_ms: f64,
}

impl Instruments {
    /// Instruments of requests only, for coarse recordings.
    #[must_use]
    pub fn coarse(draw: &mut Draw, interval_ms: f64) -> Instruments {
        let gauges = draw.pick(&COARSE).to_vec();
        Instruments::of(draw, gauges, interval_ms, 0.4)
    }

    /// Instruments of requests and resources, for fine recordings; with at
    /// most so many series a service.
    #[must_use]
    pub fn fine(draw: &mut Draw, interval_ms: f64, most: usize) -> Instruments {
        let mut gauges = draw.pick(&FINE).to_vec();
        while gauges.len() > most.max(5) {
            // The first four speak of requests and stay.
            let spare = draw.int(4, gauges.len() - 1);
            gauges.remove(spare);
        }
        Instruments::of(draw, gauges, interval_ms, 0.35)
    }

    fn of(draw: &mut Draw, gauges: Vec<Gauge>, interval_ms: f64, callers: f64) -> Instruments {
        Instruments {
            gauges,
            by_callers: draw.chance(callers),
            idle_zero: draw.chance(0.4),
            noise: draw.log_uniform(0.3, 2.0),
            interval_ms,
        }
    }

    /// Whether a service has a series of this kind at all.
    #[must_use]
    pub fn covers(&self, service: &Service, gauge: &Gauge) -> bool {
        match service.metered {
            Metered::Nothing => false,
            Metered::Resources => !gauge.kind.about_requests(),
            Metered::Full => service.role != Role::Entry || !matches!(gauge.kind, Kind::Pool),
        }
    }

    /// One value, or nothing where there is nothing to measure. `parts` are
    /// the steps of the interval.
    #[must_use]
    pub fn value(
        &self,
        draw: &mut Draw,
        service: &Service,
        gauge: &Gauge,
        parts: &[&Reading],
    ) -> Option<f64> {
        let live: Vec<&Reading> = parts.iter().copied().filter(|part| !part.silent).collect();
        if live.is_empty() {
            return None;
        }
        let plain = if gauge.kind.about_requests() {
            self.requests(draw, gauge.kind, &live)?
        } else {
            resource(draw, service, gauge.kind, &live, self.noise)
        };
        Some(six_digits(plain * gauge.factor))
    }

    fn requests(&self, draw: &mut Draw, kind: Kind, parts: &[&Reading]) -> Option<f64> {
        let seconds = self.interval_ms / 1000.0;
        let count = parts.len() as f64;
        let (mut rate, mut failed) = (0.0, 0.0);
        for part in parts {
            let (all, share) = if self.by_callers && part.offered > 0.0 {
                (part.offered, part.offered_errors)
            } else {
                (part.rate, part.errors)
            };
            rate += all / count;
            failed += all * share / count;
        }
        let seen = draw.poisson(rate * seconds);
        let share = if rate > 0.0 { failed / rate } else { 0.0 };
        match kind {
            Kind::Rate => return Some(seen / seconds),
            Kind::Count => return Some(seen),
            Kind::ErrorCount => return Some(draw.binomial(seen, share)),
            Kind::ErrorRate => return Some(draw.binomial(seen, share) / seconds),
            _ => {}
        }
        if kind.about_errors() {
            if seen <= 0.0 {
                return None;
            }
            let bad = draw.binomial(seen, share) / seen;
            return Some(match kind {
                Kind::ErrorPercent => bad * 100.0,
                Kind::ErrorRatio => bad,
                Kind::Availability => 1.0 - bad,
                _ => 100.0 * (1.0 - bad),
            });
        }
        if seen <= 0.0 {
            return self.idle_zero.then_some(0.0);
        }
        let mut all: Vec<f32> = Vec::new();
        for part in parts {
            all.extend(if self.by_callers {
                &part.outer
            } else {
                &part.latencies
            });
        }
        if all.is_empty() {
            return self.idle_zero.then_some(0.0);
        }
        // A quiet service has few requests to take a quantile of.
        all.truncate((seen as usize).clamp(1, all.len()));
        let value = match kind {
            Kind::Quantile(share) => quantile(&mut all, share),
            _ => f64::from(all.iter().sum::<f32>()) / all.len() as f64,
        };
        Some(value * draw.lognormal(0.01 * self.noise))
    }
}

fn resource(draw: &mut Draw, service: &Service, kind: Kind, parts: &[&Reading], noise: f64) -> f64 {
    let mean = |of: fn(&Reading) -> f64| {
        parts.iter().map(|part| of(part)).sum::<f64>() / parts.len() as f64
    };
    let (value, spread) = match kind {
        Kind::Cpu => (mean(|part| part.cpu), 0.05),
        Kind::CpuCores => (mean(|part| part.cpu) * service.cores, 0.05),
        Kind::Memory => (mean(|part| part.memory_mb), 0.003),
        Kind::MemoryPercent => (mean(|part| part.memory_mb) / service.memory_limit_mb, 0.003),
        Kind::Disk => (mean(|part| part.disk_kbps), 0.15),
        Kind::DiskWrite => (mean(|part| part.disk_kbps) * 0.6, 0.2),
        Kind::Received => (mean(|part| part.received_kbps), 0.06),
        Kind::Sent => (mean(|part| part.sent_kbps), 0.06),
        Kind::Sockets => (mean(|part| part.sockets), 0.03),
        Kind::Threads => (mean(|part| part.threads), 0.03),
        Kind::Pool => (mean(|part| part.pool), 0.1),
        _ => (draw.poisson(mean(|part| part.restarts)), 0.0),
    };
    let mut noisy = value * draw.lognormal(spread * noise);
    if spread > 0.01 && draw.chance(0.004 * noise) {
        noisy *= draw.uniform(1.3, 2.5);
    }
    match kind {
        Kind::Cpu | Kind::MemoryPercent | Kind::Pool => noisy.min(1.0),
        Kind::CpuCores => noisy.min(service.cores),
        Kind::Sockets | Kind::Threads => noisy.round(),
        _ => noisy,
    }
}

fn quantile(values: &mut [f32], share: f64) -> f64 {
    values.sort_by(f32::total_cmp);
    let place = share * (values.len() - 1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(values.len() - 1);
    f64::from(values[below]) * (1.0 - part) + f64::from(values[above]) * part
}

/// Six significant digits are more than any instrument has.
fn six_digits(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10f64.powf(5.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}
