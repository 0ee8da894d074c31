//! Debian's Prometheus over real processes of Midwatch: it finds them, follows
//! when they come and go, and takes all rules.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use midwatch_local::layout::Layout;
use midwatch_local::port;
use midwatch_local::proc;
use midwatch_local::process::{Process, Spec};
use midwatch_local::prometheus::{self, Target};
use midwatch_local::run_dir::RunDir;
use midwatch_local::servers::{self, HEALTHY_LIMIT, Server};
use serde_json::Value;

/// Each step may take this long on a machine under a build.
const LIMIT: Duration = Duration::from_secs(60);

/// What the stack's documents promise for its memory.
const MEMORY_LIMIT: u64 = 160 * 1024 * 1024;

/// A folder with what runs in it; it goes after its processes.
struct Home {
    running: Vec<Process>,
    run: RunDir,
}

impl Home {
    fn new() -> Self {
        Self {
            running: Vec::new(),
            run: RunDir::create().unwrap(),
        }
    }

    async fn start(&mut self, spec: &Spec) {
        let log = self.run.path().join(format!("{}.log", spec.name));
        let mut process = spec.start(&log, &mut self.run).unwrap();
        process
            .wait_healthy(&spec.probe, HEALTHY_LIMIT)
            .await
            .unwrap();
        self.running.push(process);
    }

    async fn stop(mut self) {
        while let Some(process) = self.running.pop() {
            process.stop(Duration::from_secs(5)).await.unwrap();
        }
    }
}

/// One process of Midwatch that has metrics.
async fn vectors(layout: &Layout) -> (Home, Target) {
    let mut home = Home::new();
    let (spec, _) = servers::prepare(Server::Vectors, layout, &home.run, None)
        .await
        .unwrap();
    home.start(&spec).await;
    let target = Target::of("vectors", &spec.probe).unwrap();
    (home, target)
}

/// A successful answer, whatever proxy the environment names.
async fn get(address: &str) -> reqwest::Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(address).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    answer
}

/// An answer of Prometheus's API.
async fn ask(url: &str, what: &str) -> Value {
    let answer = get(&format!("{url}/api/v1/{what}")).await;
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["status"], "success", "{answer}");
    answer["data"].clone()
}

/// Asks until the answer is as wished for.
async fn until(url: &str, what: &str, fact: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let answer = ask(url, what).await;
        if fact(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < LIMIT, "{what} stays {answer:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Job, service, slot and health of the active targets.
fn targets(answer: &Value) -> BTreeSet<[String; 4]> {
    let active = answer["activeTargets"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    active
        .iter()
        .map(|target| {
            let labels = &target["labels"];
            [
                &labels["job"],
                &labels["service"],
                &labels["slot"],
                &target["health"],
            ]
            .map(text)
        })
        .collect()
}

fn only(slot: &str, health: &str) -> BTreeSet<[String; 4]> {
    [["midwatch", "vectors", slot, health].map(str::to_owned)].into()
}

fn rules(answer: &Value) -> Vec<&Value> {
    let groups = answer["groups"].as_array().unwrap();
    groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect()
}

#[tokio::test]
async fn it_scrapes_what_runs_follows_changes_and_evaluates_every_rule() {
    let layout = Layout::find().unwrap();
    let (first, target) = vectors(&layout).await;
    let mut home = Home::new();
    let port = port::any().unwrap();
    let (spec, endpoint) = prometheus::prepare(&layout, &home.run, port, &[target]).unwrap();
    home.start(&spec).await;
    let url = endpoint.url;
    until(&url, "targets", |answer| targets(answer) == only("0", "up")).await;

    // All rules of both files are there and none fails.
    let evaluated = |answer: &Value| {
        let all = rules(answer);
        !all.is_empty() && all.iter().all(|rule| rule["health"] != "unknown")
    };
    let answer = until(&url, "rules", evaluated).await;
    let loaded = rules(&answer);
    for rule in &loaded {
        assert_eq!(
            (&rule["health"], &rule["lastError"]),
            (&"ok".into(), &Value::Null),
            "{rule:#}"
        );
    }
    let folder = layout.root.join("infrastructure/prometheus/rules");
    let written: usize = ["midwatch-recording.yml", "midwatch-alerting.yml"]
        .map(|name| std::fs::read_to_string(folder.join(name)).unwrap())
        .iter()
        .map(|text| text.matches("- record: ").count() + text.matches("- alert: ").count())
        .sum();
    assert_eq!(loaded.len(), written);

    // Another process takes the place of the first, without a restart.
    let (second, target) = vectors(&layout).await;
    let target = Target { slot: 1, ..target };
    prometheus::write_targets(home.run.path(), &[target]).unwrap();
    until(&url, "targets", |answer| targets(answer) == only("1", "up")).await;
    first.stop().await;

    // One that ends is noticed, and the alert for it begins.
    second.stop().await;
    until(&url, "targets", |answer| {
        targets(answer) == only("1", "down")
    })
    .await;
    until(&url, "alerts", |answer| {
        let alerts = answer["alerts"].as_array().unwrap();
        alerts.iter().any(|alert| {
            let labels = &alert["labels"];
            labels["alertname"] == "MidwatchTargetDown" && labels["slot"] == "1"
        })
    })
    .await;

    let memory = proc::memory_of_trees(&[home.running[0].pid()])[0];
    println!("Prometheus takes {} MiB (PSS)", memory / 1024 / 1024);
    assert!(memory > 0 && memory < MEMORY_LIMIT, "{memory} bytes");
    home.stop().await;
}

#[tokio::test]
async fn its_pages_are_served_on_the_loopback_interface_alone() {
    let layout = Layout::find().unwrap();
    let mut home = Home::new();
    let port = port::any().unwrap();
    let (spec, endpoint) = prometheus::prepare(&layout, &home.run, port, &[]).unwrap();
    home.start(&spec).await;
    let page = get(&format!("{}/classic/alerts", endpoint.url)).await;
    assert!(page.text().await.unwrap().contains("MidwatchTargetDown"));
    // In hexadecimal, low byte first: 127.0.0.1, and any address.
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    assert!(
        table.contains(&format!("0100007F:{port:04X} 00000000:0000 0A")),
        "{table}"
    );
    assert!(!table.contains(&format!("00000000:{port:04X} ")), "{table}");
    let table = std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    assert!(!table.contains(&format!(":{port:04X} 0000")), "{table}");
    home.stop().await;
}
