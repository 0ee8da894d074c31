//! One run of the storm: topics, a database and two agents of its own.

use crate::agents::{Agents, Process};
use crate::kills::Kill;
use crate::story::{Act, Story};
use fred::clients::Client;
use fred::interfaces::{SetsInterface, SortedSetsInterface};
use midwatch_clients::kafka::{self, KafkaSettings, Producer};
use midwatch_clients::postgres::Postgres;
use midwatch_events::decode::SCHEMA_VERSION;
use midwatch_events::{Envelope, Event, Meta, OperatorCommand, ids};
use sqlx::{AssertSqlSafe, PgPool};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use uuid::Uuid;

pub const AGENTS: [&str; 2] = ["correlation", "investigation"];
/// Between two acts, and until a moment comes, at most.
const LIMIT: Duration = Duration::from_secs(180);
const MOMENT_LIMIT: Duration = Duration::from_secs(40);
/// Between the starts of two stories, of which so many begin whatever is killed.
const PACE: Duration = Duration::from_secs(10);
const AHEAD: usize = 3;
/// Environment variables of correlation, ms: a restart and a backlog fit into
/// these waits, so what is announced together is the same whoever is killed
/// meanwhile.
pub const SETTLE: (&str, u64) = ("CORRELATION_SETTLE_MS", 15_000);
pub const GROW: (&str, u64) = ("CORRELATION_GROW_MS", 12_000);

/// What all runs share.
pub struct Servers {
    pub broker: String,
    pub database: String,
    pub redis: Client,
    pub variables: BTreeMap<&'static str, String>,
    pub programs: PathBuf,
}

/// One run.
pub struct World {
    pub name: String,
    pub kafka: KafkaSettings,
    pub pool: PgPool,
    producer: Producer,
    pub agents: Agents,
    /// Seconds from the first to the last word of an act that correlation
    /// decided on, the longest per environment.
    pub spans: Mutex<BTreeMap<String, f64>>,
}

/// What was killed, and what was waited for in vain.
#[derive(Debug, Default)]
pub struct Killed {
    pub moments: BTreeMap<crate::kills::Moment, u32>,
    pub missed: u32,
    /// When, in seconds since the agents were ready.
    pub seconds: Vec<u64>,
}

impl World {
    /// Makes topics and a database.
    pub async fn new(name: &str, servers: &Servers, logs: &Path) -> World {
        let unique = format!("storm{}-{name}", std::process::id());
        let mut kafka = KafkaSettings::at(&servers.broker);
        kafka.topic_prefix = format!("{unique}.");
        kafka::create_topics(&kafka).await.expect("topics");
        let epoch = ids::derive(&["epoch", &unique]).to_string();
        kafka::ensure_epoch(&kafka, &epoch).await.expect("an epoch");
        let admin = Postgres::connect(&servers.database, 1)
            .await
            .expect("PostgreSQL");
        let database = unique.replace('-', "_");
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {database}")))
            .execute(&admin.pool)
            .await
            .expect("a database of our own");
        let (server, _) = servers
            .database
            .rsplit_once('/')
            .expect("a URL with a database");
        let url = format!("{server}/{database}");
        let postgres = Postgres::connect(&url, 12).await.expect("PostgreSQL");
        postgres.migrate().await.expect("the schema");
        let logs = logs.join(name);
        std::fs::create_dir_all(&logs).expect("a folder of our own");
        let mut environment = servers.variables.clone();
        environment.insert("KAFKA_TOPIC_PREFIX", kafka.topic_prefix.clone());
        environment.insert("DATABASE_URL", url);
        World {
            name: name.to_owned(),
            producer: Producer::new(&kafka).expect("a producer"),
            kafka,
            pool: postgres.pool,
            agents: Agents {
                programs: servers.programs.clone(),
                logs,
                environment,
            },
            spans: Mutex::default(),
        }
    }

    /// Plays all stories, while `victim` is killed by `kills`, where there is
    /// one; both agents are stopped in peace at the end.
    pub async fn play(
        self: &Arc<World>,
        stories: &[Arc<Story>],
        victim: Option<(&'static str, Vec<Kill>)>,
    ) -> Killed {
        // What lies around the first story is there before anybody looks.
        self.tell(&stories[0].context).await;
        let mut running: BTreeMap<&str, Process> = BTreeMap::new();
        for agent in AGENTS {
            running.insert(agent, self.agents.start(agent));
        }
        for process in running.values_mut() {
            process.ready().await;
        }
        let (counter, count) = watch::channel(0);
        let total = victim.as_ref().map_or(0, |(_, kills)| kills.len());
        let told = self.tell_all(stories, total, count);
        let killed = async {
            let Some((agent, kills)) = victim else {
                return Killed::default();
            };
            let mut process = running.remove(agent).expect("it runs");
            let mut killed = Killed::default();
            let begun = Instant::now();
            for (number, kill) in kills.iter().enumerate() {
                process = self.kill(agent, process, *kill, &mut killed).await;
                killed.seconds.push(begun.elapsed().as_secs());
                // What comes next may hit it while it starts.
                let next = kills.get(number + 1).map(|next| next.moment);
                if next != Some(crate::kills::Moment::Starting) {
                    process.ready().await;
                    tokio::time::sleep(kill.rest).await;
                }
                counter.send_replace(number + 1);
            }
            running.insert(agent, process);
            killed
        };
        let ((), killed) = tokio::join!(told, killed);
        for (_, process) in running {
            process.stop().await;
        }
        killed
    }

    /// Starts the stories one after the other: in step with the kills, so that
    /// the storm lasts as long as those, and never fewer than [`AHEAD`] at a
    /// time, so that the moment for a kill comes.
    async fn tell_all(
        self: &Arc<World>,
        stories: &[Arc<Story>],
        kills: usize,
        mut count: watch::Receiver<usize>,
    ) {
        let mut telling = tokio::task::JoinSet::new();
        for (index, story) in stories.iter().enumerate() {
            let in_step = kills > 0 && index >= AHEAD;
            if index > 0 && !in_step {
                tokio::time::sleep(PACE).await;
            }
            let due = index * kills / stories.len();
            while in_step && telling.len() >= AHEAD && *count.borrow() < due {
                tokio::select! {
                    told = telling.join_next() => {
                        told.expect("three are told").expect("the story was told");
                    }
                    more = count.changed() => more.expect("the kills go on"),
                }
            }
            if let Some(next) = stories.get(index + 1) {
                self.tell(&next.context).await;
            }
            let (world, story) = (Arc::clone(self), Arc::clone(story));
            telling.spawn(async move { world.tell_story(&story).await });
        }
        while let Some(told) = telling.join_next().await {
            told.expect("the story was told");
        }
    }

    async fn tell(&self, words: &[Envelope]) {
        for word in words {
            self.producer
                .publish(word)
                .await
                .expect("the broker takes it");
        }
    }

    /// One act after the other, each when the one before is over: what is told
    /// when is decided by the wall clock, so both runs must hear an act whole.
    async fn tell_story(&self, story: &Story) {
        let mut words: BTreeSet<Uuid> = BTreeSet::new();
        let mut commands: Vec<Uuid> = Vec::new();
        for (number, act) in story.acts.iter().enumerate() {
            let mut new = Vec::new();
            match act {
                Act::Words(told) => {
                    self.tell(told).await;
                    let ids = told.iter().map(|word| word.meta.event_id);
                    new.extend(ids.filter(|id| words.insert(*id)));
                }
                Act::Acknowledge => {
                    let command = self.acknowledge(&story.environment).await;
                    commands.push(command.meta.event_id);
                    self.tell(&[command]).await;
                }
            }
            let what = format!("act {number} of {}", story.environment);
            self.rest(&what, &story.environment, &words, &commands)
                .await;
            self.note_span(&story.environment, new).await;
        }
    }

    /// How long correlation took over an act's words. Longer than it waits
    /// before it speaks, and what is announced together depends on the kills.
    async fn note_span(&self, environment: &str, words: Vec<Uuid>) {
        let (seconds,): (f64,) = sqlx::query_as(
            "SELECT COALESCE(extract(epoch FROM max(processed_at) - min(processed_at)), 0)::float8
             FROM processed WHERE agent = 'correlation' AND input_id = ANY($1)",
        )
        .bind(words)
        .fetch_one(&self.pool)
        .await
        .expect("PostgreSQL");
        let mut spans = self.spans.lock().expect("nobody panics here");
        let longest = spans.entry(environment.to_owned()).or_default();
        *longest = longest.max(seconds);
    }

    /// The environments in which an act took longer than correlation waits.
    pub fn stretched(&self) -> BTreeSet<String> {
        #[expect(clippy::cast_precision_loss, reason = "some thousand ms")]
        let limit = GROW.1.min(SETTLE.1) as f64 / 1_000.0 - 1.0;
        let spans = self.spans.lock().expect("nobody panics here");
        let long = spans.iter().filter(|(_, seconds)| **seconds > limit);
        long.map(|(name, _)| name.clone()).collect()
    }

    async fn acknowledge(&self, environment: &str) -> Envelope {
        let (id,): (Uuid,) = sqlx::query_as(
            "SELECT id FROM incidents WHERE environment = $1 ORDER BY detection_time, id LIMIT 1",
        )
        .bind(environment)
        .fetch_one(&self.pool)
        .await
        .expect("the first act opened an incident");
        let command = OperatorCommand {
            incident_id: id,
            command: "acknowledge".to_owned(),
            target: String::new(),
            by: "somebody".to_owned(),
            credential_id: "storm".to_owned(),
            reason: String::new(),
            issued_at_ms: 1_760_000_060_000,
            expires_at_ms: 4_000_000_000_000,
            environment: Some(environment.to_owned()),
            until_ms: None,
            details: midwatch_events::response::CommandDetails::default(),
        };
        let meta = Meta {
            event_id: ids::derive(&["storm", "acknowledge", environment]),
            cause_id: None,
            schema_version: SCHEMA_VERSION,
            event_time_ms: command.issued_at_ms,
            producer: "storm".to_owned(),
        };
        Envelope {
            meta,
            event: Event::Command(command),
        }
    }

    /// Waits until both agents have heard everything and nothing is left to do
    /// but to watch.
    async fn rest(&self, what: &str, environment: &str, words: &BTreeSet<Uuid>, commands: &[Uuid]) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut why = self.open_end(environment, words, commands).await;
            if why.is_empty() {
                why = self.unheard(environment, words).await;
            }
            // Both looks must hold at once.
            if why.is_empty() {
                why = self.open_end(environment, words, commands).await;
            }
            if why.is_empty() {
                return;
            }
            if Instant::now() > deadline {
                let logs = AGENTS.map(|agent| self.words_of(agent)).join("\n");
                panic!(
                    "{} run: {what} does not come to rest: {why}\n{logs}",
                    self.name
                );
            }
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    }

    fn words_of(&self, agent: &str) -> String {
        crate::agents::last_words(&self.agents.logs.join(format!("{agent}.log")))
    }

    /// What keeps an environment from rest, of all that is due; empty if
    /// nothing does. One statement, so one moment.
    async fn open_end(
        &self,
        environment: &str,
        words: &BTreeSet<Uuid>,
        commands: &[Uuid],
    ) -> String {
        let heard: Vec<Uuid> = words.iter().chain(commands).copied().collect();
        let (why,): (String,) = sqlx::query_as(REST)
            .bind(environment)
            .bind(heard)
            .bind(commands)
            .fetch_one(&self.pool)
            .await
            .expect("PostgreSQL");
        why
    }

    /// Words that the investigation has neither decided on nor parked.
    async fn unheard(&self, environment: &str, words: &BTreeSet<Uuid>) -> String {
        let scopes: Vec<(String,)> =
            sqlx::query_as("SELECT id::text FROM incidents WHERE environment = $1")
                .bind(environment)
                .fetch_all(&self.pool)
                .await
                .expect("PostgreSQL");
        let (mut events, mut inputs) = (Vec::new(), Vec::new());
        for word in words {
            for (scope,) in &scopes {
                events.push(*word);
                inputs.push(ids::derive(&["subscriber", &word.to_string(), scope]));
            }
        }
        let heard: Vec<(Uuid,)> = sqlx::query_as(
            "SELECT word.event FROM unnest($1::uuid[], $2::uuid[]) AS word(event, input)
             JOIN processed ON agent = 'investigation' AND input_id = word.input
             UNION SELECT event_id FROM parked WHERE agent = 'investigation'",
        )
        .bind(events)
        .bind(inputs)
        .fetch_all(&self.pool)
        .await
        .expect("PostgreSQL");
        let heard: BTreeSet<Uuid> = heard.into_iter().map(|(id,)| id).collect();
        match words.difference(&heard).count() {
            0 => String::new(),
            count => format!("the investigation has not heard {count} words"),
        }
    }

    /// Kills at the moment, and starts again.
    async fn kill(
        &self,
        agent: &str,
        process: Process,
        kill: Kill,
        killed: &mut Killed,
    ) -> Process {
        let found = self.kill_in(agent, process, kill).await;
        *killed.moments.entry(kill.moment).or_default() += 1;
        killed.missed += u32::from(!found);
        tokio::time::sleep(kill.down).await;
        self.agents.start(agent)
    }

    async fn kill_in(&self, agent: &str, process: Process, kill: Kill) -> bool {
        let deadline = Instant::now() + MOMENT_LIMIT;
        let moment = kill.moment;
        while Instant::now() < deadline {
            self.seen(moment.omen(), agent, deadline - Instant::now())
                .await;
            let mut held = self.pool.begin().await.expect("PostgreSQL");
            if let Some(lock) = moment.lock() {
                let locked = if lock.contains("$1") {
                    sqlx::query(lock).bind(agent).fetch_all(&mut *held).await
                } else {
                    sqlx::query(lock).fetch_all(&mut *held).await
                };
                // The agents were quicker: once more.
                if locked.is_err() {
                    continue;
                }
            }
            if !self.seen(moment.sign(), agent, moment.hold()).await {
                held.rollback().await.expect("PostgreSQL");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            if moment.lets_go_first() {
                held.rollback().await.expect("PostgreSQL");
                tokio::time::sleep(kill.delay).await;
                process.kill();
            } else {
                tokio::time::sleep(kill.delay).await;
                process.kill();
                held.rollback().await.expect("PostgreSQL");
            }
            return true;
        }
        process.kill();
        false
    }

    /// Whether a count rises above 0 within the limit; at once where there is
    /// nothing to count.
    async fn seen(&self, sign: Option<&'static str>, agent: &str, limit: Duration) -> bool {
        let Some(sign) = sign else {
            return true;
        };
        let until = Instant::now() + limit;
        while Instant::now() < until {
            let (count,): (i64,) = sqlx::query_as(sign)
                .bind(agent)
                .fetch_one(&self.pool)
                .await
                .expect("PostgreSQL");
            if count > 0 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
        false
    }
}

/// $1 environment, $2 what must be processed by correlation, $3 what by the
/// investigation as well.
const REST: &str = "
WITH mine AS (SELECT id::text AS id FROM incidents WHERE environment = $1)
SELECT CASE
  WHEN (SELECT count(*) FROM processed WHERE agent = 'correlation' AND input_id = ANY($2))
       < cardinality($2) THEN 'correlation has not heard everything'
  WHEN (SELECT count(*) FROM processed WHERE agent = 'investigation' AND input_id = ANY($3))
       < cardinality($3) THEN 'the investigation has not heard a command'
  WHEN EXISTS (SELECT 1 FROM timers WHERE agent = 'correlation' AND scope = $1)
       THEN 'a timer of correlation'
  WHEN EXISTS (SELECT 1 FROM timers WHERE agent = 'investigation' AND name <> 'watch'
               AND scope IN (SELECT id FROM mine)) THEN 'a timer of the investigation'
  WHEN EXISTS (SELECT 1 FROM jobs WHERE status <> 'applied'
               AND (scope = $1 OR scope IN (SELECT id FROM mine))) THEN 'a job'
  WHEN EXISTS (SELECT 1 FROM outbox WHERE key IN (SELECT id FROM mine) AND (sent_at IS NULL
      OR (topic IN ('incidents.opened', 'incidents.updated') AND NOT EXISTS (
          SELECT 1 FROM processed WHERE agent = 'investigation' AND input_id = event_id))
      OR (topic = 'incidents.resolved' AND NOT EXISTS (
          SELECT 1 FROM processed WHERE agent = 'correlation' AND input_id = event_id))))
       THEN 'a message on its way'
  WHEN EXISTS (SELECT 1 FROM parked WHERE agent = 'investigation'
      AND (waiting_for IN (SELECT 'scope:' || id FROM mine) OR EXISTS (
          SELECT 1 FROM subscriptions WHERE subscriptions.agent = 'investigation'
          AND parked.waiting_for = 'channel:' || channel
          AND subscriptions.scope IN (SELECT id FROM mine))))
       THEN 'a parked event that somebody waits for'
  ELSE '' END";

/// Puts into Redis what detection keeps there.
pub async fn remember(redis: &Client, story: &Story) {
    for (key, members) in &story.recent {
        #[expect(clippy::cast_precision_loss, reason = "epoch ms are below 2^53")]
        let members: Vec<(f64, String)> = members
            .iter()
            .map(|(at, text)| (*at as f64, text.clone()))
            .collect();
        let _: i64 = redis
            .zadd(key, None, None, false, false, members)
            .await
            .expect("Redis");
    }
    let key = format!("midwatch:series:{}", story.environment);
    let _: i64 = redis.sadd(key, story.series.clone()).await.expect("Redis");
}
