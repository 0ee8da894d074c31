//! How long an agent is away: a restart in good order, and after `kill -9`.

use crate::bed::{Agent, Bed};
use crate::inbox::Inbox;
use crate::latency::{end_all, start_all};
use crate::report::{Cell, Section, quantile_cell};
use crate::watch::Watch;
use anyhow::{Context as _, Result, ensure};
use midwatch_clients::kafka::Producer;
use midwatch_events::Topic;
use midwatch_local::demo::AGENTS;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// A group that lost a member without a word notices within its session
/// timeout of 6 s; ten times that is a machine under a build.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

/// A topic that each agent reads, in the order of [`AGENTS`].
const READS: [Topic; 6] = [
    Topic::RawMetrics,
    Topic::AnomaliesDetected,
    Topic::IncidentsOpened,
    Topic::RcaCompleted,
    Topic::RemediationPlans,
    Topic::RemediationActions,
];

/// Restarts each agent both ways.
///
/// # Errors
/// A server is missing, or an agent does not come back.
pub async fn measure(bed: &mut Bed) -> Result<Section> {
    tokio::task::LocalSet::new().run_until(run(bed)).await
}

async fn run(bed: &mut Bed) -> Result<Section> {
    let inbox = Inbox::open().await?;
    let kafka = bed.broker("restart", 3).await?;
    let (_database, url) = bed.database("restart").await?;
    let variables = bed.all_variables(&kafka, &url, &inbox.url)?;
    bed.say("restart", "starting six agents");
    let mut agents = start_all(bed, &variables).await?;
    let dead: Vec<String> = READS.into_iter().map(Topic::dlq_name).collect();
    let watch = Watch::begin(&kafka, &dead)?;
    let producer = Producer::new(&kafka)?;
    let columns = [
        "agent",
        "ended s",
        "ready s",
        "consuming s",
        "-9: ready s",
        "-9: consuming s",
    ];
    let title = "restarts: seconds from SIGTERM, and from kill -9";
    let mut section = Section::new("restart", title, &columns);
    let mut result = Ok(());
    for (index, topic) in READS.into_iter().enumerate() {
        let place = Place {
            producer: &producer,
            watch: &watch,
            topic,
            name: AGENTS[index],
        };
        // It must have joined once before it can be missed.
        result = place
            .works(Instant::now(), &mut agents[index])
            .await
            .map(drop);
        if result.is_ok() {
            result = restart(bed, &place, &mut agents[index], &mut section).await;
        }
        if result.is_err() {
            break;
        }
    }
    end_all(&mut agents).await?;
    result?;
    section.note(format!(
        "Medians of {}. The process is started again as soon as it ended. Consuming: an unreadable \
         message sent right after the start to a topic of {} partitions is on its dead-letter \
         topic, named by that agent.",
        bed.options.rounds, kafka.partitions
    ));
    Ok(section)
}

/// An agent's topic, and where its dead letters are seen.
struct Place<'a> {
    producer: &'a Producer,
    watch: &'a Watch,
    topic: Topic,
    name: &'static str,
}

impl Place<'_> {
    /// Sends what nobody can read and waits until this agent has put it
    /// aside; the time from `since` until then.
    async fn works(&self, since: Instant, agent: &mut Agent) -> Result<Duration> {
        self.send().await?;
        self.put_aside(since, agent).await
    }

    async fn send(&self) -> Result<()> {
        self.watch.take().for_each(drop);
        self.producer
            .publish_bytes(self.topic.name(), b"bench", b"{no event", &[])
            .await
            .context("sending an unreadable message")?;
        Ok(())
    }

    async fn put_aside(&self, since: Instant, agent: &mut Agent) -> Result<Duration> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mine = self
                .watch
                .take()
                .find(|seen| seen.agent.as_deref() == Some(self.name));
            if let Some(seen) = mine {
                return Ok(seen.at.saturating_duration_since(since));
            }
            ensure!(
                Instant::now() < deadline && agent.process.ended()?.is_none(),
                "{} does not consume within {} s; {}",
                self.name,
                LIMIT.as_secs(),
                agent.process.last_words()
            );
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn restart(
    bed: &mut Bed,
    place: &Place<'_>,
    agent: &mut Agent,
    section: &mut Section,
) -> Result<()> {
    let [mut ended, mut ready, mut consuming, mut back, mut killed] = [const { Vec::new() }; 5];
    for _ in 0..bed.options.rounds {
        bed.say("restart", &format!("{}: SIGTERM", place.name));
        let begun = Instant::now();
        agent.end(Signal::SIGTERM).await?;
        ended.push(begun.elapsed().as_secs_f64());
        agent.start_again(bed)?;
        place.send().await?;
        agent.ready().await?;
        ready.push(begun.elapsed().as_secs_f64());
        consuming.push(place.put_aside(begun, agent).await?.as_secs_f64());

        bed.say("restart", &format!("{}: kill -9", place.name));
        let begun = Instant::now();
        agent.end(Signal::SIGKILL).await?;
        agent.start_again(bed)?;
        place.send().await?;
        agent.ready().await?;
        back.push(begun.elapsed().as_secs_f64());
        killed.push(place.put_aside(begun, agent).await?.as_secs_f64());
    }
    section.row([
        Cell::from(place.name),
        quantile_cell(&mut ended, 0.5, 1),
        quantile_cell(&mut ready, 0.5, 1),
        quantile_cell(&mut consuming, 0.5, 1),
        quantile_cell(&mut back, 0.5, 1),
        quantile_cell(&mut killed, 0.5, 1),
    ]);
    Ok(())
}
