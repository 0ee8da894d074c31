//! What a metric's name gives away: its class and its unit.
//!
//! Names that the collectors and the simulator use are known ([`known`]).
//! Others are taken apart into words (`heapUsedPercent` is heap, used,
//! percent), which tell what is counted, which side of it is counted, and in
//! which unit. Words may mislead, so what is known by them alone is believed
//! later and never CRITICAL (see [`super::Meaning`]).

use super::Class;

/// The unit that a name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Percent,
    /// 0..1.
    Ratio,
    Seconds,
    Millis,
    Bytes,
    Celsius,
    Nothing,
}

/// How a metric's unit relates to that of its class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// The class's own.
    #[default]
    Own,
    /// 0..1 where the class counts in percent.
    Ratio,
    /// Milliseconds where the class counts in seconds.
    Millis,
    /// Another, or none is told: absolute numbers of the class mean nothing.
    Foreign,
}

impl Unit {
    /// A number of the class in the metric's unit, where that is known.
    #[must_use]
    pub fn convert(self, number: f64) -> Option<f64> {
        match self {
            Unit::Own => Some(number),
            Unit::Ratio => Some(number / 100.0),
            Unit::Millis => Some(number * 1_000.0),
            Unit::Foreign => None,
        }
    }

    /// The unit of a metric of this class whose name tells `written`.
    #[must_use]
    pub fn of(class: Class, written: Written) -> Unit {
        use Class as C;
        match class {
            C::ErrorRate
            | C::Cpu
            | C::Memory
            | C::HostCpu
            | C::HostMemory
            | C::HostSwap
            | C::HostDisk
            | C::SuccessRate
            | C::HitRatio
            | C::Free
            | C::DiskFree => match written {
                Written::Percent => Unit::Own,
                Written::Ratio => Unit::Ratio,
                _ => Unit::Foreign,
            },
            C::Connections if written == Written::Ratio => Unit::Ratio,
            C::LagAge | C::Delay => match written {
                Written::Seconds => Unit::Own,
                Written::Millis => Unit::Millis,
                _ => Unit::Foreign,
            },
            C::Temperature if written != Written::Celsius => Unit::Foreign,
            C::Queue => match written {
                Written::Percent | Written::Ratio | Written::Bytes => Unit::Foreign,
                _ => Unit::Own,
            },
            _ => Unit::Own,
        }
    }
}

/// The class of a series whose name is part of the interface.
#[must_use]
pub fn known(series: &str) -> Option<Class> {
    let name = metric(series);
    match name {
        "host_cpu_percent" => return Some(Class::HostCpu),
        "host_memory_percent" => return Some(Class::HostMemory),
        "host_swap_percent" => return Some(Class::HostSwap),
        "host_disk_percent" => return Some(Class::HostDisk),
        _ => {}
    }
    let counter = ["_total", "_count", "_sum", "_bucket"]
        .iter()
        .any(|suffix| name.ends_with(suffix));
    let class = if name.starts_with("host_") || counter {
        Class::Context
    } else if name.contains("error_rate") && name.ends_with("percent") {
        Class::ErrorRate
    } else if name.contains("latency") || name.ends_with("duration_ms") {
        Class::Latency
    } else if name.ends_with("cpu_percent") {
        Class::Cpu
    } else if name.ends_with("memory_percent") {
        Class::Memory
    } else if name.ends_with("db_connections") {
        Class::Connections
    } else if name.ends_with("consumer_lag_seconds") {
        Class::LagAge
    } else if name.ends_with("consumer_lag") && series.contains("midwatch.") {
        // Of our own groups the age of what waits is known, which says more:
        // five messages behind may be an hour or a millisecond.
        Class::Context
    } else if name.ends_with("consumer_lag") {
        Class::Lag
    } else if name.ends_with("request_rate") {
        Class::RequestRate
    } else {
        return None;
    };
    Some(class)
}

/// The metric's name, without what tells instances apart.
#[must_use]
pub fn metric(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

/// The words of a name.
#[derive(Clone, Debug)]
pub struct Words(Vec<String>);

impl Words {
    #[must_use]
    pub fn of(series: &str) -> Words {
        let mut words: Vec<String> = vec![String::new()];
        let mut before = ' ';
        for letter in metric(series).chars() {
            let begins = letter.is_uppercase() && before.is_lowercase();
            if begins || !letter.is_alphanumeric() {
                words.push(String::new());
            }
            if letter.is_alphanumeric()
                && let Some(word) = words.last_mut()
            {
                word.extend(letter.to_lowercase());
            }
            before = letter;
        }
        words.retain(|word| !word.is_empty());
        Words(words)
    }

    /// Whether one of these, separated by spaces, is among the words.
    fn any(&self, words: &str) -> bool {
        let mut words = words.split(' ');
        words.any(|word| self.0.iter().any(|own| own == word))
    }

    /// The unit that they tell.
    #[must_use]
    pub fn written(&self) -> Written {
        if self.any("percent pct percentage") {
            Written::Percent
        } else if self.any("ratio fraction") {
            Written::Ratio
        } else if self.any("ms millis milliseconds msec") {
            Written::Millis
        } else if self.any("bytes kb mb gb kib mib gib") {
            Written::Bytes
        } else if self.any("celsius") || (self.any("gpu") && self.is_temperature()) {
            Written::Celsius
        } else if self.any("seconds secs sec s") && !self.any("per") {
            Written::Seconds
        } else {
            Written::Nothing
        }
    }

    /// What they stand for; the more specific first.
    #[must_use]
    pub fn class(&self) -> Class {
        let written = self.written();
        let share = matches!(written, Written::Percent | Written::Ratio);
        self.aside(share)
            .or_else(|| self.fleet())
            .or_else(|| self.outcome(share))
            .or_else(|| self.waiting(written))
            .or_else(|| self.resource(share))
            .or_else(|| self.flow(written))
            .unwrap_or(Class::Other)
    }

    fn is_temperature(&self) -> bool {
        self.any("temperature temp celsius fahrenheit kelvin")
    }

    fn is_disk(&self) -> bool {
        self.any("disk filesystem fs volume storage inode inodes mount")
    }

    pub(super) fn is_memory(&self) -> bool {
        self.any("memory mem heap rss ram swap")
    }

    pub(super) fn is_pool(&self) -> bool {
        let workers = self.any("thread threads worker workers buffer");
        self.any("connections connection conns sessions") || (self.any("pool") && !workers)
    }

    pub(super) fn is_processor(&self) -> bool {
        self.any("cpu processor")
    }

    /// Whether what waits is work for a consumer, and no request or thread.
    pub(super) fn is_backlog(&self) -> bool {
        self.any(
            "queue consumer consumers message messages event events topic partition broker kafka \
             job jobs task tasks backlog undelivered unacked unacknowledged",
        ) && !self.any("thread threads pool request requests http connection connections pod pods")
    }

    pub(super) fn is_replication(&self) -> bool {
        self.any("replication replica")
    }

    /// What is no sign of trouble, however it moves; and temperature.
    fn aside(&self, share: bool) -> Option<Class> {
        let resource = self.is_disk() || self.is_memory() || self.is_pool() || self.any("cpu");
        let bound = self.any("max maximum limit limits quota capacity total desired requested");
        if self.is_temperature() {
            Some(Class::Temperature)
        } else if self.any("timestamp uptime created build version info budget")
            || (resource && bound && !share && !self.any("used in active"))
        {
            Some(Class::Context)
        } else if self.any("gpu") && !self.any("errors error ecc xid") {
            // Full use is what an accelerator is for, and frameworks take all
            // of its memory when they start.
            Some(Class::Context)
        } else {
            None
        }
    }

    fn fleet(&self) -> Option<Class> {
        let members =
            self.any("replicas replica pods nodes brokers instances partitions members targets");
        let names = self.0.len();
        if members && self.any("desired spec expected") {
            Some(Class::Context)
        } else if members
            && self.any("unavailable unready unhealthy down offline missing under failed")
        {
            Some(Class::Unavailable)
        } else if members && self.any("ready available up online healthy alive sync") {
            Some(Class::Replicas)
        } else if self.any("restarts restart crashes") {
            Some(Class::Restarts)
        } else if (self.any("probe") && self.any("success"))
            || (names <= 2 && self.any("up healthy alive"))
        {
            Some(Class::Health)
        } else {
            None
        }
    }

    fn outcome(&self, share: bool) -> Option<Class> {
        let share = share || self.any("rate");
        if self.any("hit hits") && share {
            Some(Class::HitRatio)
        } else if self.any("success successful availability") && share {
            Some(Class::SuccessRate)
        } else if self.any(
            "error errors failure failures failed fail 5xx exception exceptions rejected \
             rejections dropped drops timeouts aborted panics",
        ) {
            Some(if share {
                Class::ErrorRate
            } else {
                Class::ErrorCount
            })
        } else {
            None
        }
    }

    fn waiting(&self, written: Written) -> Option<Class> {
        let timed = matches!(written, Written::Seconds | Written::Millis);
        let queued = self.any(
            "queue queued backlog pending waiting waiters inflight outstanding undelivered \
             unacked unacknowledged deferred",
        ) || (self.any("in") && self.any("flight"));
        let aged = self.any("age oldest") && (queued || self.any("message messages event events"));
        if self.any("lag") && !timed && !self.is_replication() {
            Some(if written == Written::Bytes {
                Class::Queue
            } else {
                Class::Lag
            })
        } else if self.any("lag delay staleness behind") || aged || (queued && timed) {
            Some(Class::Delay)
        } else if self.any("duration durations elapsed rtt ttfb")
            || (self.any("response request roundtrip query wait processing execution service")
                && (self.any("time") || timed))
            || (timed && self.any("p50 p75 p90 p95 p99 p999 quantile"))
        {
            Some(Class::Latency)
        } else {
            queued.then_some(Class::Queue)
        }
    }

    fn resource(&self, share: bool) -> Option<Class> {
        let left = self.any("free available avail remaining headroom");
        if self.is_disk() {
            if left {
                return Some(Class::DiskFree);
            }
            let busy = self.any("io iops read reads write writes written busy time");
            let used = share || self.any("used usage use utilization utilisation full");
            return if busy {
                Some(Class::Context)
            } else {
                used.then_some(Class::HostDisk)
            };
        }
        if self.is_memory() && !self.any("per rate") {
            // Linux keeps files in memory that nobody asks for: what is free
            // is next to nothing on a healthy host, what is available counts.
            return Some(match (left, self.any("free"), self.any("swap")) {
                (true, true, false) if !self.any("heap") => Class::Context,
                (true, ..) => Class::Free,
                (false, _, true) => Class::HostSwap,
                (false, _, false) => Class::Memory,
            });
        }
        if self.is_pool() && !self.is_rate() {
            return Some(if left {
                Class::Free
            } else if self.any("idle") {
                Class::Context
            } else {
                Class::Connections
            });
        }
        if self.is_processor() {
            return Some(match (self.any("idle"), self.any("seconds throttled")) {
                (_, true) => Class::Context,
                (true, false) => Class::Free,
                (false, false) => Class::Cpu,
            });
        }
        let counted = self.any("fds descriptors handles permits slots threads workers credits");
        (left && counted).then_some(Class::Free)
    }

    fn is_rate(&self) -> bool {
        self.any("rps qps tps rpm throughput")
            || (self.any("rate") || (self.any("per") && self.any("second sec s minute min hour")))
                && self.any(
                    "request requests query queries message messages event events transaction \
                     transactions record records call calls order orders job jobs task tasks \
                     operation operations ops connections connection login logins payment payments",
                )
    }

    fn flow(&self, written: Written) -> Option<Class> {
        let bytes = written == Written::Bytes || self.any("bits");
        let flows = self.any("per rate throughput bandwidth network net");
        if bytes && flows {
            Some(Class::Throughput)
        } else {
            self.is_rate().then_some(Class::RequestRate)
        }
    }
}
