//! When an act is over, and when a wait of correlation is.

use crate::world::{AGENTS, GROW, SETTLE, World};
use midwatch_events::ids;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Between two acts, at most.
const LIMIT: Duration = Duration::from_secs(180);
/// A wait lasts so long at least, ms: the investigation, if it lives, hears in
/// this time that all is normal again, and ends the incident.
const SHORTEST: i64 = 3_000;
/// What [`REST`] says while correlation has not heard an act.
const UNHEARD: &str = "correlation has not heard everything";
/// What it says where correlation waits and nothing else is due.
const WAITING: &str = "a timer of correlation";

impl World {
    /// Waits until both agents have heard everything and nothing is left to do
    /// but to watch, and ends correlation's waits on the way. Where incidents
    /// `ends`, its wait for further changes does not wait for the investigation,
    /// which may be down: an end may be heard before that or after it.
    pub async fn rest(
        &self,
        (what, ends): (&str, bool),
        environment: &str,
        words: &BTreeSet<Uuid>,
        commands: &[Uuid],
    ) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut why = self.open_end(environment, words, commands).await;
            if why.is_empty() || why == WAITING {
                let unheard = self.unheard(environment, words).await;
                // Both looks must hold at once.
                why = match unheard.is_empty() {
                    true => self.open_end(environment, words, commands).await,
                    false => unheard,
                };
            }
            if why.is_empty() {
                return;
            }
            if why == UNHEARD {
                self.hold(environment).await;
            } else if why == WAITING {
                self.hasten(environment, &["grow:%", "open:%"]).await;
            } else if ends && !why.starts_with("correlation") {
                self.hasten(environment, &["grow:%"]).await;
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

    /// Lets no wait of correlation end by itself.
    async fn hold(&self, environment: &str) {
        sqlx::query(HOLD)
            .bind(environment)
            .bind(longest())
            .execute(&self.pool)
            .await
            .expect("PostgreSQL");
    }

    /// Ends one wait of correlation, one after the other by name, so that the
    /// order is the same in every run; none while one is due.
    async fn hasten(&self, environment: &str, kinds: &[&str]) {
        sqlx::query(HASTEN)
            .bind(environment)
            .bind(kinds)
            .bind(longest() - SHORTEST)
            .execute(&self.pool)
            .await
            .expect("PostgreSQL");
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
}

/// How long correlation waits by itself, ms.
fn longest() -> i64 {
    i64::try_from(GROW.1.min(SETTLE.1)).expect("a minute")
}

/// $1 environment, $2 how long a wait that is half over or more lasts again.
/// What is about to end does, so that it does not end twice.
const HOLD: &str = "
WITH now AS (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms)
UPDATE timers SET due_ms = now.ms + $2 FROM now
WHERE agent = 'correlation' AND scope = $1 AND (name LIKE 'grow:%' OR name LIKE 'open:%')
  AND due_ms BETWEEN now.ms + 3000 AND now.ms + $2 / 2";

/// $1 environment, $2 patterns of timers' names, $3 ms that a wait may still
/// last to be ended.
const HASTEN: &str = "
WITH now AS (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS ms),
waits AS (SELECT name, due_ms FROM timers
          WHERE agent = 'correlation' AND scope = $1 AND name LIKE ANY($2))
UPDATE timers SET due_ms = now.ms FROM now
WHERE agent = 'correlation' AND scope = $1 AND name = (SELECT min(name) FROM waits)
  AND due_ms <= now.ms + $3
  AND NOT EXISTS (SELECT 1 FROM waits WHERE waits.due_ms <= now.ms)";

/// $1 environment, $2 what must be processed by correlation, $3 what by the
/// investigation as well. What correlation has to do is named first, and
/// [`WAITING`] last.
const REST: &str = "
WITH mine AS (SELECT id::text AS id FROM incidents WHERE environment = $1)
SELECT CASE
  WHEN (SELECT count(*) FROM processed WHERE agent = 'correlation' AND input_id = ANY($2))
       < cardinality($2) THEN 'correlation has not heard everything'
  WHEN EXISTS (SELECT 1 FROM jobs WHERE agent = 'correlation' AND status <> 'applied'
               AND scope = $1) THEN 'correlation has a job'
  WHEN EXISTS (SELECT 1 FROM outbox WHERE agent = 'correlation' AND sent_at IS NULL
               AND key IN (SELECT id FROM mine)) THEN 'correlation has something to send'
  WHEN (SELECT count(*) FROM processed WHERE agent = 'investigation' AND input_id = ANY($3))
       < cardinality($3) THEN 'the investigation has not heard a command'
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
  WHEN EXISTS (SELECT 1 FROM timers WHERE agent = 'correlation' AND scope = $1)
       THEN 'a timer of correlation'
  ELSE '' END";
