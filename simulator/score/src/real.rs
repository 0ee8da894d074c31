//! What real processes made of the faults: watches a running stack until its
//! simulated fleet is done, then collects ground truth and incidents.
//!
//! Reads only what anyone can read: the simulator's status, the API, and the
//! ground-truth topic (which no agent reads).

use crate::collected;
use crate::judge::{Fault, Incident, faults};
use anyhow::{Context as _, bail};
use midwatch_clients::kafka::{BrokerReader, KafkaSettings, Start};
use midwatch_simulator::trials::{self, SLOT_MS, Trial};
use midwatch_simulator::variation::Variation;
use serde::Deserialize;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Each answer may take this long.
const ANSWER: Duration = Duration::from_secs(10);
/// How often the stack is looked at.
const POLL: Duration = Duration::from_secs(1);
/// How often progress is told.
const TELL: Duration = Duration::from_secs(20);
/// After the last incident is over: its postmortem and mails are on their way,
/// and a late false incident would show.
const SETTLE: Duration = Duration::from_secs(8);
/// How long open incidents are waited for when the fleet is quiet again: half
/// an hour of simulated time, which is five times the longest recovery.
const PATIENCE_SIMULATED_S: u32 = 1_800;
/// Most ground-truth messages that are read: two for each fault.
const MOST_TRUTHS: usize = 500;

/// Where the running stack is.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub api: String,
    pub simulator: String,
    pub bootstrap: String,
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// The simulator's round is over.
    Round,
    /// So many simulated hours have passed.
    Quiet(f64),
    /// The simulator's trials are over.
    Trials,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Collected {
    pub seed: u64,
    pub faults: Vec<Fault>,
    pub incidents: Vec<Incident>,
    /// The stories that the fleet lived through.
    pub trials: Vec<Trial>,
    pub simulated_ms: i64,
}

#[derive(Deserialize)]
struct Status {
    seed: u64,
    varied: bool,
    trials: u16,
    live_ms: i64,
    environment: String,
    speed: u32,
    phase: String,
    simulated_ms: i64,
    over: bool,
    injections: u64,
}

/// Watches until the goal is reached and every incident is over, and collects.
///
/// # Errors
/// The stack does not answer, the simulator does not get there, or what it
/// says cannot be read.
pub async fn collect(addresses: &Addresses, goal: Goal) -> anyhow::Result<Collected> {
    let eye = Eye::new(addresses.clone())?;
    let first = eye.live().await?;
    let quiet_ms = match goal {
        Goal::Round => 0,
        Goal::Trials => first.check_trials()?,
        Goal::Quiet(hours) => (hours * 3_600_000.0) as i64,
    };
    let is_reached = |status: &Status| match goal {
        Goal::Round | Goal::Trials => status.over,
        Goal::Quiet(_) => status.simulated_ms - first.simulated_ms >= quiet_ms,
    };
    let begun = Instant::now();
    // A round takes about 70 simulated minutes; twice that is a stuck fleet.
    let limit_s = 2 * (8_400 + quiet_ms / 1_000) / i64::from(first.speed) + 60;
    let limit = Duration::from_secs(u64::try_from(limit_s).unwrap_or(60));
    let mut told = Instant::now();
    let last = loop {
        let status = eye.status().await?;
        if is_reached(&status) {
            break status;
        }
        if begun.elapsed() > limit {
            bail!("the simulated fleet is not done after {limit_s} s; see the simulator's log");
        }
        if told.elapsed() > TELL {
            told = Instant::now();
            let minutes = (status.simulated_ms - first.simulated_ms) / 60_000;
            println!("{minutes} simulated minutes, {} faults", status.injections);
        }
        tokio::time::sleep(POLL).await;
    };
    eye.wait_for_ends(&last).await?;
    tokio::time::sleep(SETTLE).await;
    Ok(Collected {
        seed: last.seed,
        trials: last.stories(),
        faults: eye.faults().await?,
        incidents: eye.incidents(&last).await?,
        simulated_ms: last.simulated_ms - first.simulated_ms,
    })
}

impl Status {
    /// How long the fleet's stories take, simulated milliseconds.
    fn check_trials(&self) -> anyhow::Result<i64> {
        anyhow::ensure!(
            self.trials > 0,
            "the simulator lives through no trials; start the stack with SIM_TRIALS=12"
        );
        Ok(i64::from(self.trials) * SLOT_MS)
    }

    /// The fleet's stories: a function of its seed and first moment, which
    /// nobody but the simulator and this judge computes.
    fn stories(&self) -> Vec<Trial> {
        if self.trials == 0 {
            return Vec::new();
        }
        let base = if self.varied {
            Variation::drawn(self.seed)
        } else {
            Variation::standard()
        };
        trials::sequence(self.seed, self.live_ms, self.trials, base).trials
    }
}

struct Eye {
    addresses: Addresses,
    http: reqwest::Client,
    broker: BrokerReader,
}

impl Eye {
    fn new(addresses: Addresses) -> anyhow::Result<Eye> {
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER);
        Ok(Eye {
            http: http.build().context("an HTTP client")?,
            broker: BrokerReader::new(KafkaSettings::at(&addresses.bootstrap)),
            addresses,
        })
    }

    async fn get(&self, address: &str) -> anyhow::Result<Value> {
        let answer = self.http.get(address).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        let answer = answer.with_context(|| format!("{address} does not answer"))?;
        let value = answer.json().await;
        value.with_context(|| format!("{address} does not answer JSON"))
    }

    async fn status(&self) -> anyhow::Result<Status> {
        let address = format!("{}/status", self.addresses.simulator);
        let value = self.get(&address).await?;
        Status::deserialize(value).context("the simulator's status is not readable")
    }

    /// The first status of live time: history is out.
    async fn live(&self) -> anyhow::Result<Status> {
        for _ in 0..120 {
            let status = self.status().await?;
            if status.phase == "live" {
                return Ok(status);
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("the simulator still publishes its history after two minutes")
    }

    /// Waits until no incident of the fleet is open, within patience. One that
    /// stays open is an answer, which the judgement tells.
    async fn wait_for_ends(&self, status: &Status) -> anyhow::Result<()> {
        let patience = Duration::from_secs(u64::from(PATIENCE_SIMULATED_S / status.speed) + 30);
        let begun = Instant::now();
        while begun.elapsed() < patience {
            let listed = self.list(&status.environment).await?;
            if listed.iter().all(|item| item["status"] == "RESOLVED") {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// All incidents of an environment, as the list tells them.
    async fn list(&self, environment: &str) -> anyhow::Result<Vec<Value>> {
        let base = format!(
            "{}/api/incidents?environment={environment}&limit=100",
            self.addresses.api
        );
        let mut address = base.clone();
        let mut found = Vec::new();
        loop {
            let mut page = self.get(&address).await?;
            let items = page["items"].take();
            found.extend(items.as_array().cloned().unwrap_or_default());
            match page["next"].as_str() {
                Some(next) => address = format!("{base}&before={next}"),
                None => return Ok(found),
            }
        }
    }

    async fn incidents(&self, status: &Status) -> anyhow::Result<Vec<Incident>> {
        let environment = status.environment.as_str();
        let mut answers = Vec::new();
        for item in self.list(environment).await? {
            let id = item["id"].as_str().context("an incident without id")?;
            let address = format!("{}/api/incidents/{id}", self.addresses.api);
            answers.push(self.get(&address).await?);
        }
        Ok(collected::incidents(
            &answers,
            environment,
            i64::from(status.speed),
        )?)
    }

    async fn faults(&self) -> anyhow::Result<Vec<Fault>> {
        let topic = self.broker.settings().topic("simulator.ground-truth");
        let page = self
            .broker
            .browse(&topic, None, Start::Newest, MOST_TRUTHS)
            .await?
            .with_context(|| format!("the broker has no topic {topic}"))?;
        let payloads = page
            .records
            .iter()
            .map(|record| serde_json::from_str(&record.payload))
            .collect::<Result<Vec<Value>, _>>()
            .context("a message of the ground truth is no JSON")?;
        Ok(faults(&collected::truths(&payloads)?))
    }
}
