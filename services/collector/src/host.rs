//! Readings of this machine, through sysinfo.

use anyhow::Context as _;
use midwatch_events::decode::SCHEMA_VERSION;
use midwatch_events::raw::Labels;
use midwatch_events::{Envelope, Event, Meta, RawMetric, ids};
use nix::sys::statvfs::statvfs;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use sysinfo::{
    CpuRefreshKind, DiskRefreshKind, Disks, MemoryRefreshKind, Networks, ProcessRefreshKind,
    ProcessesToUpdate, RefreshKind, System,
};

/// The producer's name in every event.
pub const PRODUCER: &str = "midwatch.collector";

/// One value, before it has a service and a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name, which ends with its unit.
    pub name: &'static str,
    pub value: f64,
    pub labels: Labels,
}

impl Sample {
    fn new(name: &'static str, value: f64) -> Sample {
        Sample {
            name,
            value,
            labels: Labels::new(),
        }
    }

    fn with(mut self, label: &str, value: &str) -> Sample {
        self.labels.insert(label.to_owned(), value.to_owned());
        self
    }
}

/// The machine, with the counters of the last reading.
pub struct Host {
    system: System,
    disks: Disks,
    networks: Networks,
    excluded: Vec<PathBuf>,
    read_at: Instant,
}

/// The name of this machine.
///
/// # Errors
/// The system does not tell it.
pub fn host_name() -> anyhow::Result<String> {
    System::host_name().context("this machine tells no name; set HOST_NAME")
}

fn processes() -> ProcessRefreshKind {
    ProcessRefreshKind::nothing().with_cpu().without_tasks()
}

fn disks() -> DiskRefreshKind {
    DiskRefreshKind::nothing().with_storage().with_io_usage()
}

impl Host {
    /// Takes a first look, from which the next reading counts. What is mounted
    /// at or below an `excluded` path is not read.
    ///
    /// # Errors
    /// This kind of system is not known to sysinfo.
    pub fn open(excluded: Vec<PathBuf>) -> anyhow::Result<Host> {
        let system = System::new_with_specifics(
            RefreshKind::nothing()
                .with_cpu(CpuRefreshKind::nothing().with_usage())
                .with_memory(MemoryRefreshKind::everything())
                .with_processes(processes()),
        )
        .context("this system's processes and memory cannot be read")?;
        Ok(Host {
            system,
            disks: Disks::new_with_refreshed_list_specifics(disks())
                .context("this system's disks cannot be read")?,
            networks: Networks::new_with_refreshed_list()
                .context("this system's network interfaces cannot be read")?,
            excluded,
            read_at: Instant::now(),
        })
    }

    /// Reads everything. Rates are means since the reading before.
    pub fn read(&mut self) -> Vec<Sample> {
        let since = self.read_at.elapsed();
        self.read_at = Instant::now();
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.system
            .refresh_processes_specifics(ProcessesToUpdate::All, true, processes());
        self.disks.refresh_specifics(true, disks());
        self.networks.refresh(true);
        let mut samples = self.compute();
        samples.extend(self.storage(since));
        samples.extend(self.traffic(since));
        samples.retain(|sample| sample.value.is_finite());
        samples
    }

    fn compute(&self) -> Vec<Sample> {
        let system = &self.system;
        let mut samples = vec![Sample::new(
            "host_cpu_percent",
            f64::from(system.global_cpu_usage()),
        )];
        if let Ok(load) = System::load_average() {
            samples.push(Sample::new("host_load1", load.one));
        }
        let used = system
            .total_memory()
            .saturating_sub(system.available_memory());
        samples.extend(percent("host_memory_percent", used, system.total_memory()));
        // A machine without swap has no such reading.
        samples.extend(percent(
            "host_swap_percent",
            system.used_swap(),
            system.total_swap(),
        ));
        let processes = || {
            system
                .processes()
                .values()
                .filter(|one| one.thread_kind().is_none())
        };
        samples.push(Sample::new(
            "host_process_count",
            processes().count() as f64,
        ));
        let top = processes().max_by(|one, other| one.cpu_usage().total_cmp(&other.cpu_usage()));
        if let Some(top) = top {
            // 100 is one core.
            let value = f64::from(top.cpu_usage());
            let name = top.name().to_string_lossy();
            samples.push(Sample::new("host_top_process_cpu_percent", value).with("process", &name));
        }
        samples
    }

    fn storage(&self, since: Duration) -> Vec<Sample> {
        let kept = self.disks.iter().filter(|disk| {
            let point = disk.mount_point().to_string_lossy();
            !is_excluded(&point, &self.excluded)
        });
        let mounts = real_mounts(kept.map(|disk| {
            let usage = disk.usage();
            Mount {
                device: disk.name().to_string_lossy().into_owned(),
                point: disk.mount_point().to_string_lossy().into_owned(),
                file_system: disk.file_system().to_string_lossy().into_owned(),
                total: disk.total_space(),
                read: usage.read_bytes,
                written: usage.written_bytes,
            }
        }));
        // The mount is part of the series' name downstream: each disk alarms
        // and clears by its own readings.
        let mut samples: Vec<Sample> = mounts
            .iter()
            .filter_map(|mount| Some(filled(&mount.point)?.with("mount", &mount.point)))
            .collect();
        if !mounts.is_empty() {
            let read = mounts.iter().map(|mount| mount.read).sum();
            let written = mounts.iter().map(|mount| mount.written).sum();
            samples.push(rate("host_disk_read_bytes_per_second", read, since));
            samples.push(rate("host_disk_write_bytes_per_second", written, since));
        }
        samples
    }

    fn traffic(&self, since: Duration) -> Vec<Sample> {
        let (mut received, mut transmitted) = (0, 0);
        for (name, data) in &self.networks {
            if is_outward(&name.to_string_lossy()) {
                received += data.received();
                transmitted += data.transmitted();
            }
        }
        vec![
            rate("host_network_receive_bytes_per_second", received, since),
            rate("host_network_transmit_bytes_per_second", transmitted, since),
        ]
    }
}

/// How full a file system is for who may not touch its reserve, as `df` tells
/// it: used / (used + available). A share of the whole would call a file system
/// with a large reserve full from the first day. One that was unmounted since
/// it was listed has no reading.
fn filled(point: &str) -> Option<Sample> {
    let told = statvfs(point).ok()?;
    let used = told.blocks().saturating_sub(told.blocks_free());
    percent("host_disk_percent", used, used + told.blocks_available())
}

fn is_excluded(point: &str, excluded: &[PathBuf]) -> bool {
    let mut paths = excluded.iter();
    paths.any(|path| Path::new(point).starts_with(path))
}

/// A part as a percentage, where there is a whole.
fn percent(name: &'static str, part: u64, whole: u64) -> Option<Sample> {
    (whole > 0).then(|| Sample::new(name, 100.0 * part as f64 / whole as f64))
}

fn rate(name: &'static str, bytes: u64, since: Duration) -> Sample {
    // Two readings are never closer than the configured second; the floor
    // only keeps a first, immediate one from dividing by nothing.
    Sample::new(name, bytes as f64 / since.as_secs_f64().max(0.001))
}

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    device: String,
    point: String,
    file_system: String,
    total: u64,
    read: u64,
    written: u64,
}

/// One mount for each device that can fill up: the one with the shortest path
/// where a device is mounted more than once. Images and loops are always full
/// and say nothing.
fn real_mounts(mounts: impl Iterator<Item = Mount>) -> Vec<Mount> {
    let mut by_device = BTreeMap::<String, Mount>::new();
    for mount in mounts {
        let image =
            ["squashfs", "iso9660", "overlay", "erofs"].contains(&mount.file_system.as_str());
        let real = mount.device.starts_with("/dev/") && !mount.device.starts_with("/dev/loop");
        if image || !real || mount.total == 0 {
            continue;
        }
        let shorter = by_device
            .get(&mount.device)
            .is_none_or(|known| mount.point.len() < known.point.len());
        if shorter {
            by_device.insert(mount.device.clone(), mount);
        }
    }
    let mut mounts: Vec<Mount> = by_device.into_values().collect();
    mounts.sort_by(|one, other| one.point.cmp(&other.point));
    mounts
}

/// Whether an interface leads out of the machine. What goes between containers
/// passes a bridge and two virtual ends and would be counted three times.
fn is_outward(interface: &str) -> bool {
    let inward = [
        "lo", "veth", "docker", "br-", "virbr", "cni", "flannel", "cali", "dummy", "ifb",
    ];
    !inward.iter().any(|prefix| {
        interface.strip_prefix(prefix).is_some_and(|rest| {
            *prefix != "lo" || rest.is_empty() || rest.starts_with(|one: char| one.is_ascii_digit())
        })
    })
}

/// The samples of one reading as events of `host/<host>`.
#[must_use]
pub fn events(host: &str, environment: &str, at_ms: i64, samples: Vec<Sample>) -> Vec<Envelope> {
    let service = format!("host/{host}");
    let at = at_ms.to_string();
    samples
        .into_iter()
        .enumerate()
        .map(|(index, sample)| {
            let parts = [
                "collector",
                environment,
                &service,
                &at,
                sample.name,
                &index.to_string(),
            ];
            let event_id = ids::derive(&parts);
            Envelope {
                meta: Meta {
                    event_id,
                    cause_id: None,
                    schema_version: SCHEMA_VERSION,
                    event_time_ms: at_ms,
                    producer: PRODUCER.to_owned(),
                },
                event: Event::Metric(RawMetric {
                    timestamp_ms: at_ms,
                    service: service.clone(),
                    environment: environment.to_owned(),
                    metric_name: sample.name.to_owned(),
                    metric_value: sample.value,
                    labels: sample.labels,
                }),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(device: &str, point: &str, file_system: &str, total: u64) -> Mount {
        Mount {
            device: device.to_owned(),
            point: point.to_owned(),
            file_system: file_system.to_owned(),
            total,
            read: 0,
            written: 0,
        }
    }

    #[test]
    fn only_real_mounts_count_and_each_device_once() {
        let mounts = [
            mount("/dev/sda1", "/var/lib/docker", "ext4", 100),
            mount("/dev/sda1", "/", "ext4", 100),
            mount("/dev/loop3", "/snap/core", "squashfs", 10),
            mount("overlay", "/merged", "overlay", 100),
            mount("/dev/sr0", "/cdrom", "iso9660", 5),
            mount("/dev/sdb1", "/data", "xfs", 100),
            mount("/dev/sdc1", "/empty", "ext4", 0),
        ];
        let points: Vec<String> = real_mounts(mounts.into_iter())
            .into_iter()
            .map(|one| one.point)
            .collect();
        assert_eq!(points, ["/", "/data"]);
    }

    #[test]
    fn an_excluded_path_takes_along_what_is_mounted_below_it() {
        let excluded = [PathBuf::from("/data"), PathBuf::from("/mnt/old/")];
        for point in ["/data", "/data/inner", "/mnt/old"] {
            assert!(is_excluded(point, &excluded), "{point}");
        }
        for point in ["/", "/database", "/mnt"] {
            assert!(!is_excluded(point, &excluded), "{point}");
        }
        assert!(is_excluded("/srv", &[PathBuf::from("/")]));
    }

    #[test]
    fn a_disk_is_as_full_as_df_says() {
        let told = std::process::Command::new("df")
            .args(["--output=used,avail", "/"])
            .output()
            .expect("coreutils are there");
        let text = String::from_utf8_lossy(&told.stdout);
        let blocks: Vec<f64> = text
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let sample = filled("/").expect("the root can be asked");
        let share = 100.0 * blocks[0] / (blocks[0] + blocks[1]);
        assert!((sample.value - share).abs() < 1.0, "{sample:?} {share}");
        assert_eq!(filled("/nowhere/at/all"), None);
    }

    #[test]
    fn loops_and_bridges_do_not_lead_outward() {
        for inward in ["lo", "lo0", "veth12ab", "docker0", "br-77", "cni0"] {
            assert!(!is_outward(inward), "{inward}");
        }
        for outward in ["eth0", "enp3s0", "wlan0", "lowpan0", "bond0"] {
            assert!(is_outward(outward), "{outward}");
        }
    }

    #[test]
    fn this_machine_can_be_read() {
        let mut host = Host::open(Vec::new()).expect("the test's machine is readable");
        let samples = host.read();
        let value = |name: &str| {
            let found = samples.iter().find(|sample| sample.name == name);
            found
                .unwrap_or_else(|| panic!("{name} is missing in {samples:?}"))
                .value
        };
        for name in ["host_cpu_percent", "host_memory_percent"] {
            assert!(
                (0.0..=100.0).contains(&value(name)),
                "{name}: {}",
                value(name)
            );
        }
        assert!(value("host_memory_percent") > 0.0);
        assert!(value("host_process_count") >= 1.0);
        assert!(value("host_load1") >= 0.0);
        for sample in &samples {
            assert!(sample.value >= 0.0, "{sample:?}");
        }
    }

    #[test]
    fn a_reading_becomes_events_of_the_host_with_their_own_ids() {
        let samples = vec![
            Sample::new("host_disk_percent", 40.0).with("mount", "/"),
            Sample::new("host_disk_percent", 50.0).with("mount", "/data"),
        ];
        let events = events("watch-1", "local", 1_795_305_600_000, samples);
        assert_ne!(events[0].meta.event_id, events[1].meta.event_id);
        assert_eq!(events[1].event.key(), "host/watch-1");
        let Event::Metric(metric) = &events[1].event else {
            panic!("a reading is a metric");
        };
        assert_eq!(metric.labels["mount"], "/data");
        assert_eq!(
            (metric.environment.as_str(), metric.metric_value),
            ("local", 50.0)
        );
    }
}
