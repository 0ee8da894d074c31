//! `midwatch replay`: an incident once more, from the broker, beside what was
//! decided then.
//!
//! The anomalies, deployments, Kubernetes events, spans, log lines, readings
//! and operators' commands of its time go through the pure cores of
//! correlation and investigation as they are today, in the order and at the
//! times of their arrival. Nothing is written, and what is concluded is marked
//! as a replay's.

mod compare;
mod decided;
mod render;
mod window;

pub use compare::Difference;
pub use decided::{Cause, Decided, End, Member};
pub use render::render;

use crate::api::Api;
use crate::backtest::broker::{self, BrokerSource, Wanted};
use crate::backtest::candidate::{self, Candidate};
use crate::backtest::source::{Range, Source};
use crate::backtest::stamp::{ClockKind, Stamped, Stamper};
use crate::backtest::when::When;
use crate::configuration::Configuration;
use crate::failure::Failure;
use crate::incidents;
use crate::output;
use decided::Decisions;
use midwatch_clients::kafka::{BrokerReader, Logs};
use midwatch_events::artifact::Artifact;
use midwatch_events::{Event, Topic};
use midwatch_score::virtual_run::replay::Replay;
use serde::Serialize;
use std::collections::BTreeSet;
use uuid::Uuid;
use window::Past;

/// The exit code where nothing could be compared.
pub const COULD_NOT: u8 = 2;
/// What the cores read, detection's samples first, and what was said then.
const TOPICS: [Topic; 11] = [
    Topic::RawMetrics,
    Topic::RawLogs,
    Topic::RawSpans,
    Topic::RawKubernetes,
    Topic::RawDeployments,
    Topic::AnomaliesDetected,
    Topic::OperatorCommands,
    Topic::IncidentsOpened,
    Topic::IncidentsUpdated,
    Topic::RcaCompleted,
    Topic::IncidentsResolved,
];

/// What `--help` says below the flags.
pub const AFTER_HELP: &str = "\
Exit codes: 0 decided as then, 1 decided otherwise, 2 could not be compared,
for instance because the broker no longer holds what it was decided on.
The incident's time is taken from the API, everything else from the broker.
Then and now are the same where the same incidents have the same anomalies,
onset (within 10 s), severity and verdict, the same cause comes first, the
first three come in the same order, and no confidence moved by a tenth.
What differs from the live run: no model is asked, of the knowledge store only
the past incidents count that were cited then, every message takes 50 ms and
every job 200 ms. Nothing is written.
With --json: {\"incident\", \"replay\": true, \"same\", \"differences\": [{\"incident\",
\"what\", \"then\", \"now\"}], \"then\": […], \"now\": […], \"artifacts\", \"notes\"}.";

/// Which incident, and with how much before it.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Its short id (INC-A1B2C3D4) or UUID
    pub id: String,
    /// Minutes before it that are read, too
    #[arg(long, value_name = "M", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    pub warmup_minutes: u32,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Read {
    /// The epoch of the broker's data.
    pub epoch: String,
    /// Times of arrival, epoch milliseconds.
    pub from_ms: i64,
    pub to_ms: i64,
    pub records: u64,
    pub malformed: u64,
}

/// An incident then and now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// Its short id.
    pub incident: String,
    /// Always: what stands under `now` was decided by a replay.
    pub replay: bool,
    pub same: bool,
    pub differences: Vec<Difference>,
    /// The incident, and those that share anomalies with it.
    pub then: Vec<Decided>,
    pub now: Vec<Decided>,
    /// What today's code concludes about those of `now`.
    pub artifacts: Vec<Artifact>,
    pub read: Read,
    /// What a reader should know about the comparison.
    pub notes: Vec<String>,
}

/// Replays, and compares.
///
/// # Errors
/// There is no such incident, settings that the services would refuse, a
/// broker that is away, or one that does not hold what is needed.
pub async fn run(
    configuration: &Configuration,
    api: &Api,
    flags: &Flags,
) -> Result<Found, Failure> {
    let mut past = Past::read(&incidents::get(api, &flags.id).await?)?;
    past.recall(&incidents::artifacts(api, &flags.id).await?);
    let (catalogue, _) = candidate::catalogue(configuration)?;
    let current = Candidate::current(configuration, &catalogue)?;
    let reader = BrokerReader::new(configuration.kafka());
    let logs = broker::logs(&reader).await?;
    let began_ms = window::same_epoch(&reader, &past).await?;
    let warmup_ms = i64::from(flags.warmup_minutes) * 60_000;
    let replayed = tokio::task::spawn_blocking(move || {
        let source = open(&reader, &logs, &past, warmup_ms)?;
        replay(&current, source, &past, (began_ms, warmup_ms))
    });
    replayed.await.map_err(|error| {
        let what = format!("the replay broke off: {error}");
        Failure::new(what, "try again, or with a smaller --warmup-minutes")
    })?
}

fn open(
    reader: &BrokerReader,
    logs: &Logs,
    past: &Past,
    warmup_ms: i64,
) -> Result<BrokerSource, Failure> {
    let wanted = Wanted {
        topics: TOPICS.to_vec(),
        partition: None,
        from: Some(When::Time(past.from_ms)),
        to: Some(When::Time(past.to_ms)),
        range: Range {
            from_ms: past.from_ms,
            warmup_ms,
            to_ms: past.to_ms,
        },
    };
    BrokerSource::open(reader.settings(), logs, &wanted)
}

/// What came by while it was replayed.
#[derive(Default)]
struct Heard {
    anomalies: BTreeSet<Uuid>,
    /// When the first sample arrived.
    first_sample_ms: Option<i64>,
    commands: usize,
}

fn replay(
    current: &Candidate,
    source: BrokerSource,
    past: &Past,
    (began_ms, warmup_ms): (Option<i64>, i64),
) -> Result<Found, Failure> {
    let epoch = source.epoch.clone();
    let known = past.known.clone();
    let mut replay = Replay::of_anomalies(&current.setup, &epoch, current.idle_after_ms, known);
    let mut stamper = Stamper::new(Source::Broker(Box::new(source)), ClockKind::Record);
    let mut then = Decisions::default();
    let mut now = Decisions::default();
    let mut heard = Heard::default();
    let mut artifacts = Vec::new();
    while let Some(one) = stamper.next()? {
        take(&mut replay, &mut then, &mut heard, one);
        now.take_all(replay.take_published());
        artifacts.extend(replay.take_artifacts());
    }
    replay.pass_until(past.to_ms);
    replay.finish();
    now.take_all(replay.take_published());
    artifacts.extend(replay.take_artifacts());
    heard.check(past, began_ms)?;
    let then = then.concerning(past.id, &past.members);
    let now = now.concerning(past.id, &past.members);
    if !then.iter().any(|one| one.incident_id == past.id) {
        let what = format!(
            "the broker no longer holds what was said about {} (incidents.opened)",
            past.short_id
        );
        return Err(Failure::new(what, "there is nothing to compare with"));
    }
    let ids: BTreeSet<Uuid> = now.iter().map(|one| one.incident_id).collect();
    artifacts.retain(|one| ids.contains(&one.incident_id));
    let differences = compare::compare(&then, &now);
    let counts = &stamper.counts;
    Ok(Found {
        incident: past.short_id.clone(),
        replay: true,
        same: differences.is_empty(),
        differences,
        notes: notes(past, &then, &heard, counts.malformed),
        artifacts: latest(artifacts),
        read: Read {
            epoch,
            from_ms: past.from_ms - warmup_ms,
            to_ms: past.to_ms,
            records: counts.records + counts.warmup,
            malformed: counts.malformed,
        },
        then,
        now,
    })
}

/// Hands a record to those whom it concerns: what agents said then is only
/// noted, everything else is decided on again.
fn take(replay: &mut Replay, then: &mut Decisions, heard: &mut Heard, one: Stamped) {
    match &one.envelope.event {
        Event::Opened(_) | Event::Updated(_) | Event::Rca(_) | Event::Resolved(_) => {
            then.take(&one.envelope.event);
            return;
        }
        Event::Metric(_) => {
            heard.first_sample_ms.get_or_insert(one.clock_ms);
        }
        Event::Anomaly(anomaly) => {
            heard.anomalies.insert(anomaly.anomaly_id);
        }
        Event::Command(_) => heard.commands += 1,
        _ => {}
    }
    replay.take(one.clock_ms, one.partition, *one.envelope);
}

impl Heard {
    /// Whether all is there that the incident was decided on.
    fn check(&self, past: &Past, began_ms: Option<i64>) -> Result<(), Failure> {
        let gone = past.members.difference(&self.anomalies).count();
        if gone > 0 {
            let what = format!(
                "{gone} of the {} anomalies of {} are not on anomalies.detected between {} and \
                 {}: they have expired, or the broker is another one",
                past.members.len(),
                past.short_id,
                output::time(past.from_ms),
                output::time(past.to_ms)
            );
            let mend = "topics keep seven days; replay an incident soon, or raise --warmup-minutes \
                        where its first anomaly is older than it";
            return Err(Failure::new(what, mend));
        }
        match self.first_sample_ms {
            Some(first_ms) if first_ms <= past.from_ms => Ok(()),
            // There was nothing earlier then either: the broker was new.
            Some(_) if began_ms.is_some_and(|began_ms| began_ms > past.from_ms) => Ok(()),
            first_ms => {
                let begins = first_ms.map_or_else(
                    || "holds nothing of that time".to_owned(),
                    |first_ms| format!("begins at {}", output::time(first_ms)),
                );
                let what = format!(
                    "raw.metrics {begins}, the time before {} at {}: what was normal is not known \
                     any more",
                    past.short_id,
                    output::time(past.from_ms)
                );
                Err(Failure::new(
                    what,
                    "replay an incident before its readings expire",
                ))
            }
        }
    }
}

/// The newest word of each artifact.
fn latest(artifacts: Vec<Artifact>) -> Vec<Artifact> {
    let mut kept: Vec<Artifact> = Vec::new();
    for artifact in artifacts {
        match kept
            .iter_mut()
            .find(|one| one.artifact_id == artifact.artifact_id)
        {
            Some(known) => *known = artifact,
            None => kept.push(artifact),
        }
    }
    kept
}

fn notes(past: &Past, then: &[Decided], heard: &Heard, malformed: u64) -> Vec<String> {
    let mut notes = Vec::new();
    let models: BTreeSet<&str> = then
        .iter()
        .filter(|one| !one.method.is_empty() && one.method != "deterministic")
        .map(|one| one.method.as_str())
        .collect();
    for model in models {
        notes.push(format!(
            "Then {model} ordered the candidates; the replay asks no model."
        ));
    }
    if !past.resolved {
        notes.push("It is still open: the replay ends with what the broker holds now.".to_owned());
    }
    if heard.commands > 0 {
        let commands = heard.commands;
        notes.push(format!(
            "{commands} of the operators' commands of that time are replayed as well."
        ));
    }
    if malformed > 0 {
        notes.push(format!(
            "{malformed} records cannot be read and are passed over."
        ));
    }
    notes
}
