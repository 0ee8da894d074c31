//! Prometheus over the processes of a stack: it scrapes every one that has
//! metrics and evaluates the rules in `infrastructure/prometheus/rules`.
//!
//! What it scrapes is a file in the run's folder, which it reads again whenever
//! it is replaced, so agents can come and go while it runs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::layout::{self, Layout};
use crate::probe::Probe;
use crate::process::Spec;
use crate::run_dir::{RunDir, write_json};
use crate::scale;
use crate::servers::Endpoint;

/// The wished port of its page.
pub const PORT: u16 = 9090;

/// Samples of one scrape at most. The largest process has some 300; one that
/// invents labels without end must not fill the memory of its watcher.
const SAMPLE_LIMIT: u32 = 20_000;

/// A process that is scraped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The label `service`: `detection`, `embedder`.
    pub service: String,
    /// The label `slot`: which of the service's processes it is, from 0.
    pub slot: u32,
    /// Host and port under which `/metrics` is read.
    pub address: String,
}

impl Target {
    /// The target that a process of this name and probe is. Every process of
    /// Midwatch answers `/readyz` and `/metrics` at one address, and nothing
    /// else answers `/readyz`: `None` for any other.
    #[must_use]
    pub fn of(name: &str, probe: &Probe) -> Option<Self> {
        let Probe::Http(url) = probe else {
            return None;
        };
        let address = url.strip_prefix("http://")?.strip_suffix("/readyz")?;
        let (service, slot) = scale::slot_of(name).unwrap_or((name, 0));
        Some(Self {
            service: service.to_owned(),
            slot,
            address: address.to_owned(),
        })
    }
}

fn folder(run_dir: &Path) -> PathBuf {
    run_dir.join("prometheus")
}

/// Prepares its folder and says how to start it and where it will serve.
/// `port` is taken as it is: choose it with [`crate::port::from`].
///
/// # Errors
/// When the program or the rules are missing or the folder cannot be made.
pub fn prepare(
    layout: &Layout,
    run: &RunDir,
    port: u16,
    targets: &[Target],
) -> Result<(Spec, Endpoint)> {
    let program = layout::program("prometheus")?;
    let rules = layout.root.join("infrastructure/prometheus/rules");
    anyhow::ensure!(rules.is_dir(), "{} is not there", rules.display());
    let folder = folder(run.path());
    fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    write_targets(run.path(), targets)?;
    // JSON is YAML, and quotes whatever a path may hold.
    let config = folder.join("prometheus.yml");
    write_json(&config, &configuration(&rules))?;

    let address = format!("127.0.0.1:{port}");
    let url = format!("http://{address}");
    let spec = Spec::new("prometheus", program, Probe::Http(format!("{url}/-/ready")))
        .args([
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            // The data end with the run; these bound a run of days.
            "--storage.tsdb.retention.time=12h".to_owned(),
            "--storage.tsdb.retention.size=256MB".to_owned(),
            format!("--web.listen-address={address}"),
            // Its default lets every web page that a browser shows read it.
            "--web.cors.origin=^$".to_owned(),
            // One query of a person must not cost more than the watching itself.
            "--query.max-concurrency=4".to_owned(),
            "--query.max-samples=2000000".to_owned(),
            "--query.timeout=20s".to_owned(),
            "--log.level=warn".to_owned(),
        ])
        // A soft bound for the collector of its garbage.
        .env("GOMEMLIMIT", "96MiB")
        .env("GOGC", "50");
    let web = Some(url.clone());
    Ok((spec, Endpoint { url, web, port }))
}

fn configuration(rules: &Path) -> serde_json::Value {
    json!({
        "global": {"scrape_interval": "5s", "scrape_timeout": "4s", "evaluation_interval": "5s"},
        "rule_files": [rules.join("*.yml")],
        "scrape_configs": [{
            "job_name": "midwatch",
            "sample_limit": SAMPLE_LIMIT,
            "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "10s"}],
        }],
    })
}

/// Says what is to be scraped from now on. A reader sees the old list or the
/// new one, never a part; Prometheus follows within seconds.
///
/// # Errors
/// When the file cannot be written.
pub fn write_targets(run_dir: &Path, targets: &[Target]) -> Result<()> {
    let groups: Vec<_> = targets
        .iter()
        .map(|target| {
            json!({
                "targets": [target.address],
                "labels": {"service": target.service, "slot": target.slot.to_string()},
            })
        })
        .collect();
    write_json(&targets_file(run_dir), &groups)
}

/// The file that [`write_targets`] writes, in the form of Prometheus' file
/// discovery.
#[must_use]
pub fn targets_file(run_dir: &Path) -> PathBuf {
    folder(run_dir).join("targets.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processes_with_metrics_are_targets_and_replicas_keep_their_slot() {
        let ready = |port: u16| Probe::Http(format!("http://127.0.0.1:{port}/readyz"));
        let target = |service: &str, slot, port: u16| {
            Some(Target {
                service: service.to_owned(),
                slot,
                address: format!("127.0.0.1:{port}"),
            })
        };
        assert_eq!(Target::of("api", &ready(1)), target("api", 0, 1));
        assert_eq!(
            Target::of("detection-2", &ready(2)),
            target("detection", 2, 2)
        );
        let own = Probe::Http("http://127.0.0.1:9090/-/ready".to_owned());
        for other in [own, Probe::Redis(3), Probe::Listener(4)] {
            assert_eq!(Target::of("other", &other), None);
        }
    }
}
