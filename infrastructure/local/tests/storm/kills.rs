//! When an agent is killed: moments that a seed deals out.

use crate::dice::Dice;
use std::time::Duration;

/// A moment. The held ones take a lock in the database that the agent needs
/// next, wait until it stands there, and kill it: so what lasts a millisecond
/// can be hit surely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Whatever it is doing.
    Any,
    /// So soon after its start that it may not have begun.
    Starting,
    /// While a new incident waits for company, before its opening.
    Settling,
    /// In the middle of the transaction that a decision is written in.
    Deciding,
    /// While a job runs: the copying of records, the gathering of facts.
    Working,
    /// After the transaction, before anything is published.
    Unsent,
    /// While it publishes, before or after the broker has it.
    Sending,
    /// After the transaction that resolves an incident (investigation).
    Resolving,
}

/// One kill.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    pub moment: Moment,
    /// From the moment to the kill.
    pub delay: Duration,
    /// From the kill to the next start.
    pub down: Duration,
    /// From readiness after that to the aim at the next moment.
    pub rest: Duration,
    /// Whether the other agent is killed at the same time.
    pub both: bool,
}

/// One kill in so many is of both agents.
const BOTH: usize = 4;

/// The kills of an agent: each moment as often as the others.
pub fn plan(agent: &str, seed: u64, count: usize) -> Vec<Kill> {
    use Moment::{Any, Deciding, Resolving, Sending, Settling, Starting, Unsent, Working};
    let is_correlation = agent == "correlation";
    let mut dice = Dice::new(seed, if is_correlation { 1_001 } else { 1_002 });
    let mut moments = Vec::new();
    while moments.len() < count {
        let mut aimed = vec![Unsent, Working, Deciding, Sending];
        dice.shuffle(&mut aimed);
        // New incidents are there from the beginning, ends only later.
        if is_correlation {
            aimed.insert(0, Settling);
        } else {
            aimed.push(Resolving);
        }
        // What needs no aim comes after what does, so that a small sample
        // holds every moment that does.
        let mut rest = vec![Any, Starting];
        dice.shuffle(&mut rest);
        moments.extend(aimed.into_iter().chain(rest));
    }
    moments.truncate(count);
    let first_both = dice.below(BOTH);
    moments
        .into_iter()
        .enumerate()
        .map(|(number, moment)| {
            let most_ms = match moment {
                Any => 4_000,
                Settling => 3_000,
                Starting => 1_200,
                Sending => 25,
                Working => 20,
                Deciding | Unsent | Resolving => 5,
            };
            let down_ms = [0, 0, 0, 500, 1_500][dice.below(5)];
            Kill {
                moment,
                delay: millis(dice.between(0, most_ms)),
                down: millis(down_ms),
                rest: millis(dice.between(3_000, 8_000)),
                both: number % BOTH == first_both,
            }
        })
        .collect()
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).expect("not negative"))
}

impl Moment {
    /// What must be held for it, in SQL, with the agent's name in place of $1.
    pub fn lock(self) -> Option<&'static str> {
        match self {
            Moment::Any | Moment::Starting | Moment::Settling => None,
            Moment::Deciding => Some(
                "SELECT 1 FROM (SELECT scope FROM agent_state WHERE agent = $1 FOR UPDATE) AS held",
            ),
            // The gathering reads what the copying writes.
            Moment::Working => Some("LOCK TABLE incident_records IN ACCESS EXCLUSIVE MODE"),
            Moment::Unsent | Moment::Sending | Moment::Resolving => Some(
                "SELECT 1 FROM (SELECT pg_advisory_xact_lock(hashtextextended(
                     'midwatch.outbox.' || $1, 0))) AS held",
            ),
        }
    }

    /// How to see that it is there: a count above 0.
    pub fn sign(self) -> Option<&'static str> {
        match self {
            Moment::Any | Moment::Starting => None,
            Moment::Settling => {
                Some("SELECT count(*) FROM timers WHERE agent = $1 AND name LIKE 'open:%'")
            }
            Moment::Deciding => Some(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                     AND wait_event_type = 'Lock' AND query LIKE 'UPDATE agent_state%'
                     AND $1 <> ''",
            ),
            Moment::Working => {
                Some("SELECT count(*) FROM jobs WHERE agent = $1 AND status = 'running'")
            }
            Moment::Unsent | Moment::Sending => {
                Some("SELECT count(*) FROM outbox WHERE agent = $1 AND sent_at IS NULL")
            }
            Moment::Resolving => Some(
                "SELECT count(*) FROM outbox WHERE agent = $1 AND sent_at IS NULL
                     AND topic = 'incidents.resolved'",
            ),
        }
    }

    /// What comes shortly before it, to be awaited without a lock: while the
    /// way to the broker is shut, an agent takes in one word and no more.
    pub fn omen(self) -> Option<&'static str> {
        matches!(self, Moment::Unsent | Moment::Sending)
            .then_some("SELECT count(*) FROM jobs WHERE agent = $1 AND status <> 'applied'")
    }

    /// How long the lock is held at a time; the agents' own patience is 10 s.
    pub fn hold(self) -> Duration {
        match self {
            // Nothing says when an end is near.
            Moment::Resolving => Duration::from_millis(150),
            Moment::Unsent | Moment::Sending => Duration::from_secs(1),
            _ => Duration::from_secs(3),
        }
    }

    /// Whether the lock is given back before the kill.
    pub fn lets_go_first(self) -> bool {
        self == Moment::Sending
    }
}
