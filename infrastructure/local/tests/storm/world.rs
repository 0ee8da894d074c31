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
/// Until a moment comes, at most.
const MOMENT_LIMIT: Duration = Duration::from_secs(40);
/// Between the starts of two stories, of which so many begin whatever is killed.
const PACE: Duration = Duration::from_secs(10);
const AHEAD: usize = 3;
/// Environment variables of correlation, ms: the longest waits that it takes. The
/// storm holds them while an act is not heard whole and ends them after that
/// ([`crate::rest`]): what is announced together is the same whoever is killed.
pub const SETTLE: (&str, u64) = ("CORRELATION_SETTLE_MS", 60_000);
pub const GROW: (&str, u64) = ("CORRELATION_GROW_MS", 60_000);

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
    /// Seconds that correlation took from the first to the last word of an act,
    /// the longest per environment.
    pub spans: Mutex<BTreeMap<String, f64>>,
}

/// What was killed, and what was waited for in vain.
#[derive(Debug, Default)]
pub struct Killed {
    pub moments: BTreeMap<crate::kills::Moment, u32>,
    pub missed: u32,
    /// How often the other agent was killed, too.
    pub both: u32,
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
            let mut killed = Killed::default();
            let begun = Instant::now();
            for (number, kill) in kills.iter().enumerate() {
                self.kill(agent, &mut running, *kill, &mut killed).await;
                killed.seconds.push(begun.elapsed().as_secs());
                // What comes next may hit it while it starts.
                let next = kills.get(number + 1).map(|next| next.moment);
                if next != Some(crate::kills::Moment::Starting) {
                    for process in running.values_mut() {
                        process.ready().await;
                    }
                    tokio::time::sleep(kill.rest).await;
                }
                counter.send_replace(number + 1);
            }
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

    /// One act after the other, each when the one before is over.
    async fn tell_story(&self, story: &Story) {
        let mut words: BTreeSet<Uuid> = BTreeSet::new();
        let mut commands: Vec<Uuid> = Vec::new();
        for (number, act) in story.acts.iter().enumerate() {
            let mut new = Vec::new();
            match act {
                Act::Words(told) | Act::Ending(told) => {
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
            let ends = matches!(act, Act::Ending(_));
            self.rest((&what, ends), &story.environment, &words, &commands)
                .await;
            self.note_span(&story.environment, new).await;
        }
    }

    /// How long correlation took over an act's words.
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

    /// Kills at the agent's moment, the other with it where `kill` says so, and
    /// starts again.
    async fn kill(
        &self,
        agent: &'static str,
        running: &mut BTreeMap<&'static str, Process>,
        kill: Kill,
        killed: &mut Killed,
    ) {
        let is_struck = |name: &&'static str| *name == agent || kill.both;
        let struck: Vec<&'static str> = AGENTS.into_iter().filter(is_struck).collect();
        let processes = struck.iter().map(|name| running.remove(name));
        let processes: Vec<Process> = processes.map(|one| one.expect("it runs")).collect();
        let found = self.kill_in(agent, processes, kill).await;
        *killed.moments.entry(kill.moment).or_default() += 1;
        killed.missed += u32::from(!found);
        killed.both += u32::from(kill.both);
        tokio::time::sleep(kill.down).await;
        for name in struck {
            running.insert(name, self.agents.start(name));
        }
    }

    async fn kill_in(&self, agent: &str, processes: Vec<Process>, kill: Kill) -> bool {
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
                Process::kill_all(processes);
            } else {
                tokio::time::sleep(kill.delay).await;
                Process::kill_all(processes);
                held.rollback().await.expect("PostgreSQL");
            }
            return true;
        }
        Process::kill_all(processes);
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
