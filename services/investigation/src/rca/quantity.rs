//! What a metric measures, told from its name.
//!
//! Names differ between agents, meshes and clouds; the words in them hardly
//! do. A name that says nothing is [`Quantity::Other`]: its series still speak
//! when they change, only not in physical units.

/// What a series counts or measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantity {
    /// How long requests take.
    Latency,
    /// Requests per interval or per second.
    Requests,
    /// Failed requests per interval or per second.
    Errors,
    /// Failed requests as a share, percent or fraction.
    ErrorRate,
    /// Requests that succeeded as a share, percent or fraction.
    Availability,
    Cpu,
    Memory,
    Disk,
    Network,
    /// Sockets, connections, descriptors, threads: what a pool holds.
    Pool,
    /// What waits: queues, lag, backlog.
    Backlog,
    Restarts,
    Other,
}

impl Quantity {
    /// The words of a sentence: `CPU`, `latency`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Quantity::Latency => "latency",
            Quantity::Requests => "request rate",
            Quantity::Errors | Quantity::ErrorRate => "errors",
            Quantity::Availability => "availability",
            Quantity::Cpu => "CPU",
            Quantity::Memory => "memory",
            Quantity::Disk => "disk I/O",
            Quantity::Network => "network",
            Quantity::Pool => "connections",
            Quantity::Backlog => "backlog",
            Quantity::Restarts => "restarts",
            Quantity::Other => "metric",
        }
    }

    /// Whether it counts requests that fail, or those that do not.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(
            self,
            Quantity::Errors | Quantity::ErrorRate | Quantity::Availability
        )
    }

    /// Whether it measures something that a process uses up, rather than what
    /// its callers see.
    #[must_use]
    pub fn is_resource(self) -> bool {
        matches!(
            self,
            Quantity::Cpu
                | Quantity::Memory
                | Quantity::Disk
                | Quantity::Network
                | Quantity::Pool
                | Quantity::Backlog
                | Quantity::Restarts
        )
    }

    /// The quantity that a series' name tells: the first of [`WORDS`] of which
    /// one is in the metric's name. Its labels name instances and operations,
    /// which are called anything; they are asked where the name says nothing,
    /// and which requests failed.
    #[must_use]
    pub fn of(name: &str) -> Quantity {
        let (bare, labels) = name.split_once('{').unwrap_or((name, ""));
        match Quantity::told(&words(bare)) {
            Some(Quantity::Requests) if tells_failures(labels) => Quantity::Errors,
            Some(quantity) => quantity,
            None => Quantity::told(&words(labels)).unwrap_or(Quantity::Other),
        }
    }

    fn told(words: &[String]) -> Option<Quantity> {
        let has = |any: &[&str]| words.iter().any(|word| any.contains(&word.as_str()));
        let (quantity, _) = WORDS.iter().find(|(quantity, any)| {
            let is_percentile =
                *quantity == Quantity::Latency && words.iter().any(|word| is_percentile(word));
            is_percentile || has(any)
        })?;
        Some(match quantity {
            Quantity::Errors if has(SHARE) && !has(&["per", "second", "sec"]) => {
                Quantity::ErrorRate
            }
            // A histogram's `_count` counts requests; what they took together,
            // and how many were below a bound, are no latencies.
            Quantity::Latency => match words.last().map(String::as_str) {
                Some("count" | "total") => Quantity::Requests,
                Some("sum" | "bucket") => Quantity::Other,
                _ => Quantity::Latency,
            },
            quantity => *quantity,
        })
    }

    /// What a share is a share of, 100 or 1, where the name says that it is
    /// one.
    #[must_use]
    pub fn whole(name: &str) -> Option<f64> {
        let words = words(name);
        let has = |any: &[&str]| words.iter().any(|word| any.contains(&word.as_str()));
        if has(&["percent", "pct", "percentage"]) {
            Some(100.0)
        } else if has(&["ratio", "fraction", "utilization", "utilisation"]) {
            Some(1.0)
        } else {
            None
        }
    }
}

/// Words of a share.
const SHARE: &[&str] = &["percent", "pct", "ratio", "fraction", "rate", "percentage"];

/// The words of each quantity; the first that fits holds, so that what waits
/// in a queue is no request, and what a disk takes no latency.
#[rustfmt::skip]
const WORDS: &[(Quantity, &[&str])] = &[
    (Quantity::Backlog, &["lag", "queue", "queued", "backlog", "pending", "inflight", "depth", "waiting"]),
    (Quantity::Restarts, &["restarts", "restart", "oom", "oomkilled"]),
    (Quantity::Availability, &[
        "availability", "success", "succeeded", "available", "sla", "uptime",
    ]),
    (Quantity::Errors, &[
        "error", "errors", "err", "errs", "fail", "fails", "failed", "failure", "failures", "5xx",
        "4xx", "exception", "exceptions", "fault", "faults", "rejected", "rejections", "timeouts",
        "throttle", "throttles", "dropped", "drops",
    ]),
    (Quantity::Disk, &[
        "disk", "diskio", "io", "iops", "fs", "filesystem", "blkio", "storage", "volume", "iowait",
    ]),
    (Quantity::Cpu, &["cpu", "core", "cores", "processor", "throttled", "throttling"]),
    (Quantity::Memory, &["mem", "memory", "heap", "rss", "ram", "swap", "workingset", "gc"]),
    (Quantity::Pool, &[
        "socket", "sockets", "connection", "connections", "conn", "conns", "pool", "fd", "fds",
        "descriptors", "thread", "threads", "goroutines", "handles", "concurrency", "concurrent",
    ]),
    (Quantity::Network, &[
        "network", "net", "rx", "tx", "receive", "received", "transmit", "transmitted", "packets",
        "retrans", "retransmits", "retransmissions", "bandwidth", "egress", "ingress", "rtt",
    ]),
    (Quantity::Latency, &[
        "latency", "latencies", "duration", "response", "elapsed", "took", "rt", "delay",
        "responsetime", "roundtrip", "time",
    ]),
    (Quantity::Requests, &[
        "request", "requests", "req", "reqs", "rps", "qps", "tps", "load", "workload",
        "throughput", "calls", "invocations", "hits", "traffic", "transactions", "count", "ops",
        "messages", "rpm", "rpc", "query", "queries", "executions",
    ]),
];

/// Whether a label says that the requests it counts failed: `{code=5xx}`.
fn tells_failures(labels: &str) -> bool {
    let mut pairs = labels.trim_end_matches('}').split(',');
    pairs.any(|pair| {
        let value = pair.split_once('=').map_or(pair, |(_, value)| value);
        matches!(value, "4xx" | "5xx" | "error")
    })
}

/// `p50`, `p99`, `p999`, `90th`: a percentile of something, and of what nobody
/// says when it is a latency.
fn is_percentile(word: &str) -> bool {
    let digits = word
        .strip_prefix('p')
        .or_else(|| word.strip_suffix("th"))
        .unwrap_or_default();
    (1..=4).contains(&digits.len()) && digits.chars().all(|letter| letter.is_ascii_digit())
}

/// The words of a name: split at what is no letter or digit, and where a
/// capital follows a small letter.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut last_small = false;
    for letter in name.chars() {
        let starts = letter.is_uppercase() && last_small;
        if starts || !letter.is_alphanumeric() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            last_small = false;
        }
        if letter.is_alphanumeric() {
            word.extend(letter.to_lowercase());
            last_small = letter.is_lowercase();
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_many_dialects_tell_their_quantity() {
        for (name, expected) in [
            ("service_latency_p99_ms", Quantity::Latency),
            ("latency-90", Quantity::Latency),
            ("http_server_duration_seconds_avg", Quantity::Latency),
            ("p95", Quantity::Latency),
            ("ResponseTime", Quantity::Latency),
            ("service_request_rate", Quantity::Requests),
            ("RequestCount", Quantity::Requests),
            ("workload", Quantity::Requests),
            ("service_error_rate_percent", Quantity::ErrorRate),
            ("error", Quantity::Errors),
            ("HTTPCode_Target_5XX_Count", Quantity::Errors),
            ("errors_per_second", Quantity::Errors),
            ("availability_Average", Quantity::Availability),
            ("service_cpu_percent", Quantity::Cpu),
            ("container_memory_working_set_bytes", Quantity::Memory),
            ("diskio", Quantity::Disk),
            ("container_network_receive_bytes_total", Quantity::Network),
            ("service_db_connections", Quantity::Pool),
            ("socket", Quantity::Pool),
            ("kafka_consumer_lag", Quantity::Backlog),
            (
                "kube_pod_container_status_restarts_total",
                Quantity::Restarts,
            ),
            ("http_request_duration_seconds_count", Quantity::Requests),
            ("http_request_duration_seconds_sum", Quantity::Other),
            ("latency_p95_ms", Quantity::Latency),
            ("duration", Quantity::Latency),
            ("rps", Quantity::Requests),
            ("db.query.rate", Quantity::Requests),
            ("query_duration_ms", Quantity::Latency),
            ("http_5xx", Quantity::Errors),
            ("faults", Quantity::Errors),
            ("http_requests_total{code=5xx}", Quantity::Errors),
            ("http_requests_total{error=false}", Quantity::Requests),
            ("requests_total{error=none,uri=cart}", Quantity::Requests),
            ("throttles", Quantity::Errors),
            ("container_cpu_usage_seconds_total", Quantity::Cpu),
            ("container_cpu_cfs_throttled_periods_total", Quantity::Cpu),
            ("queue_length", Quantity::Backlog),
            ("concurrency", Quantity::Pool),
            ("temperature", Quantity::Other),
            // What an instance or an operation is called is not what is measured.
            ("latency_ms{pod=queue-7f}", Quantity::Latency),
            ("cpu{mode=iowait}", Quantity::Cpu),
            (
                "http_request_duration_seconds_count{pod=a-0}",
                Quantity::Requests,
            ),
            (
                "http_request_duration_seconds_bucket{le=0.5}",
                Quantity::Other,
            ),
            ("http_requests_total{code=200}", Quantity::Requests),
            ("http_requests_total{code=5xx}", Quantity::Errors),
            ("value{kind=latency}", Quantity::Latency),
        ] {
            assert_eq!(Quantity::of(name), expected, "{name}");
        }
    }
}
