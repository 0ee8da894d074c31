//! From the reading that breaks out to the anomaly, the mail and the plan,
//! through all six agents at normal speed.

use crate::bed::{Agent, Bed};
use crate::inbox::Inbox;
use crate::load::sample;
use crate::report::{Cell, Section, quantile_cell};
use crate::watch::Watch;
use anyhow::{Context as _, Result, bail};
use midwatch_clients::kafka::{KafkaSettings, Producer};
use midwatch_events::{Envelope, Topic};
use midwatch_local::demo::AGENTS;
use midwatch_runtime::clock;
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use uuid::Uuid;

const METRIC: &str = "service_latency_p99_ms";
const USUAL: f64 = 380.0;
/// Far beyond twice the threshold: one reading suffices, as with a real crash.
const BROKEN: f64 = 7_380.0;
/// Readings before the breach, ten seconds apart: under the half hour that a
/// record may lie back, over the ten that a baseline needs.
const HISTORY: i64 = 60;
/// Between two faults: an incident's own work is over before the next.
const BETWEEN: Duration = Duration::from_millis(1_000);
/// After the last breach, everything must have come within this.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

/// One fault and what followed it.
#[derive(Clone, Debug)]
struct Fault {
    service: String,
    environment: String,
    breach: Option<Instant>,
    anomaly: Option<Instant>,
    opened: Option<Instant>,
    mail: Option<Instant>,
    plan: Option<Instant>,
}

/// Measures the ways of many faults.
///
/// # Errors
/// A server is missing or an agent does not start.
pub async fn measure(bed: &mut Bed) -> Result<Section> {
    tokio::task::LocalSet::new().run_until(run(bed)).await
}

async fn run(bed: &mut Bed) -> Result<Section> {
    let inbox = Inbox::open().await?;
    let kafka = bed.broker("latency", 3).await?;
    let (_database, url) = bed.database("latency").await?;
    let variables = bed.all_variables(&kafka, &url, &inbox.url)?;
    bed.say("latency", "seeding the knowledge and starting six agents");
    bed.seed(&variables).await?;
    let mut agents = start_all(bed, &variables).await?;
    let mut faults = faults(bed.options.faults);
    let result = inject(bed, &kafka, &inbox, &mut faults).await;
    let result = result.and_then(|()| judge(&faults));
    end_all(&mut agents).await?;
    result
}

/// Starts all six agents and waits until they are ready.
///
/// # Errors
/// One is not built or does not get ready.
pub async fn start_all(bed: &mut Bed, variables: &BTreeMap<String, String>) -> Result<Vec<Agent>> {
    let mut agents = Vec::new();
    for name in AGENTS {
        agents.push(bed.start(name, variables)?);
    }
    for agent in &mut agents {
        agent.ready().await?;
    }
    Ok(agents)
}

fn faults(count: u64) -> Vec<Fault> {
    (0..count)
        .map(|number| Fault {
            service: format!("bench-service-{number:03}x"),
            environment: format!("bench-{number:03}"),
            breach: None,
            anomaly: None,
            opened: None,
            mail: None,
            plan: None,
        })
        .collect()
}

/// Sends each service's history and then its breach, and watches what comes.
async fn inject(
    bed: &Bed,
    kafka: &KafkaSettings,
    inbox: &Inbox,
    faults: &mut [Fault],
) -> Result<()> {
    let topics = [
        Topic::AnomaliesDetected,
        Topic::IncidentsOpened,
        Topic::RemediationPlans,
    ];
    let watch = Watch::begin(kafka, &topics.map(|topic| topic.name().to_owned()))?;
    let producer = Producer::new(kafka)?;
    let mut noise = StdRng::seed_from_u64(bed.options.seed);
    let now_ms = clock::now_ms();
    for fault in faults.iter() {
        let history: Vec<Envelope> = (1..=HISTORY)
            .rev()
            .map(|back| {
                let value = USUAL * (1.0 + 0.08 * noise.random_range(-1.0..1.0));
                let at_ms = now_ms - 10_000 * back;
                reading(&mut noise, fault, at_ms, value)
            })
            .collect();
        producer.publish_all(&history).await?;
    }
    // The agents take part in their groups by now, or the first faults would
    // measure the joining.
    wait_until_quiet(&watch).await;
    bed.say("latency", &format!("{} faults, one a second", faults.len()));
    for index in 0..faults.len() {
        let breach = reading(&mut noise, &faults[index], clock::now_ms(), BROKEN);
        faults[index].breach = Some(Instant::now());
        producer.publish(&breach).await?;
        let next = Instant::now() + BETWEEN;
        while Instant::now() < next {
            collect(&watch, inbox, faults)?;
            tokio::time::sleep(LOOK).await;
        }
    }
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline
        && faults
            .iter()
            .any(|fault| fault.plan.is_none() || fault.mail.is_none())
    {
        collect(&watch, inbox, faults)?;
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Waits until all groups are joined: ten seconds, several times what a first
/// join takes. What comes meanwhile is no fault of ours and is dropped.
async fn wait_until_quiet(watch: &Watch) {
    tokio::time::sleep(Duration::from_secs(10)).await;
    watch.take().for_each(drop);
}

fn reading(noise: &mut StdRng, fault: &Fault, at_ms: i64, value: f64) -> Envelope {
    let id = Uuid::from_u128(noise.random());
    sample(id, at_ms, &fault.environment, &fault.service, METRIC, value)
}

/// Takes in what was seen; the first of each kind counts.
fn collect(watch: &Watch, inbox: &Inbox, faults: &mut [Fault]) -> Result<()> {
    for seen in watch.take() {
        let event: Value = serde_json::from_slice(&seen.payload).context("an event of Midwatch")?;
        let environment = event["environment"].as_str().unwrap_or_default();
        let Some(fault) = faults
            .iter_mut()
            .find(|fault| fault.environment == environment)
        else {
            continue;
        };
        let topic = seen.topic.as_str();
        let place = if topic.ends_with(Topic::AnomaliesDetected.name()) {
            &mut fault.anomaly
        } else if topic.ends_with(Topic::IncidentsOpened.name()) {
            &mut fault.opened
        } else {
            &mut fault.plan
        };
        place.get_or_insert(seen.at);
    }
    for mail in inbox.take() {
        let opened = mail.stage() == Some("opened");
        let of = |fault: &&mut Fault| mail.text.contains(&fault.service);
        if opened && let Some(fault) = faults.iter_mut().find(of) {
            fault.mail.get_or_insert(mail.at);
        }
    }
    Ok(())
}

fn judge(faults: &[Fault]) -> Result<Section> {
    let title = format!("latency: {} faults, six agents, normal speed", faults.len());
    let columns = ["breach to", "arrived", "median ms", "p99 ms", "longest ms"];
    let mut section = Section::new("latency", title, &columns);
    type Step = fn(&Fault) -> Option<Instant>;
    let steps: [(&str, Step); 4] = [
        ("anomaly on anomalies.detected", |fault| fault.anomaly),
        ("incident on incidents.opened", |fault| fault.opened),
        ("alert mail taken by the inbox", |fault| fault.mail),
        ("plan on remediation.plans", |fault| fault.plan),
    ];
    for (name, step) in steps {
        let mut taken: Vec<f64> = faults
            .iter()
            .filter_map(|fault| Some((step(fault)? - fault.breach?).as_secs_f64() * 1e3))
            .collect();
        if taken.is_empty() {
            bail!("no fault led to this: {name}");
        }
        section.row([
            Cell::from(name),
            Cell::Number(taken.len() as f64, 0),
            quantile_cell(&mut taken, 0.5, 0),
            quantile_cell(&mut taken, 0.99, 0),
            quantile_cell(&mut taken, 1.0, 0),
        ]);
    }
    section.note(
        "Counted from just before the breaching sample is sent. An incident waits 3 s for company \
         before it is announced (CORRELATION_SETTLE_MS).",
    );
    Ok(section)
}

/// Ends all agents at once.
///
/// # Errors
/// One survives.
pub async fn end_all(agents: &mut [Agent]) -> Result<()> {
    for agent in agents.iter() {
        agent.process.signal(Signal::SIGTERM);
    }
    for agent in agents {
        agent.process.finish(Duration::from_secs(15)).await?;
    }
    Ok(())
}
