//! Carries actions out, each exactly once.
//!
//! An execution goes through three writes: the intent, behind the limits that
//! span incidents; the mark that the world may be touched from now on; the
//! outcome. Whoever finds an intent without outcome after a crash knows by the
//! mark whether anything can have happened at all, and if so looks at the
//! world. What was done ends as done, what was not done is done now, and what
//! nobody can tell ends as unknown. Nothing is repeated on a guess.

mod connect;
pub mod hand;
pub mod kubernetes;
pub mod local;
mod outcomes;
pub mod silence;
pub mod simulated;
pub mod simulator;
pub mod webhook;
mod withdraw;

pub(crate) use connect::allowed;

use crate::catalogue::Refusal;
use crate::execution::{Execution, IN_PART, NOT_OURS, Outcome, OutcomeStatus, REJECTED};
use crate::policy::{Policy, Source};
use hand::{Acted, Hand, Prepared, Seen, Stop};
use midwatch_clients::postgres::executions::{self, Acting, Begun, Intent, Owner};
use midwatch_clients::postgres::{Postgres, PostgresError};
use midwatch_events::action::{ActionKind, Executor};
use midwatch_runtime::JobError;
use midwatch_runtime::clock;
use outcomes::{done, ended, failed, intent, outcome, refused, said, unknown, word};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// How long an action belongs to a process that does not renew it.
const LEASE: Duration = Duration::from_secs(30);
/// How often another process's hold is looked at, and for how long.
const HELD_PAUSE: Duration = Duration::from_millis(300);
const HELD_LIMIT: Duration = Duration::from_secs(35);
/// Limits of the steps; together with the wait above they stay below
/// JOB_TIMEOUT_MS (180 s), after which a job begins anew.
const CHECK_LIMIT: Duration = Duration::from_secs(20);
const LOOK_LIMIT: Duration = Duration::from_secs(20);
const ACT_LIMIT: Duration = Duration::from_secs(95);
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Keys go into headers and annotations.
const KEY_BYTES: usize = 200;

/// Everything that can act, and the record of what it did.
pub struct Executors {
    hands: BTreeMap<Executor, Arc<dyn Hand>>,
    postgres: Postgres,
    owner: Owner,
    /// The name of this machine.
    machine: String,
    /// While this file is there, nothing is begun.
    stop_file: Option<PathBuf>,
    /// What is asked again right before an action begins.
    policy: Option<Source>,
}

/// What a finished try comes to.
enum End {
    Outcome(Outcome),
    /// Somebody else has the action by now.
    Lost,
}

impl Executors {
    /// Puts executors together. `slot` is the process slot: a process that
    /// starts in it again takes up what its predecessor left.
    #[must_use]
    pub fn new(
        hands: BTreeMap<Executor, Arc<dyn Hand>>,
        postgres: Postgres,
        slot: &str,
        machine: &str,
    ) -> Executors {
        Executors {
            hands,
            postgres,
            owner: Owner {
                slot: slot.to_owned(),
                start: clock::random_id(),
                lease_s: LEASE.as_secs_f64(),
            },
            machine: machine.to_owned(),
            stop_file: None,
            policy: None,
        }
    }

    /// The same, stopped while the file is there: what has not begun is refused
    /// by the rule `global_stop` right before it would. What may have been done
    /// before is still looked at, so that its outcome is the true one.
    #[must_use]
    pub fn with_stop_file(mut self, file: Option<PathBuf>) -> Executors {
        self.stop_file = file;
        self
    }

    /// The same, asking the policy as it is written then right before an action
    /// begins. What it does not allow any more is refused by its rule; where it
    /// cannot be read, by the rule `policy_file`.
    #[must_use]
    pub fn with_policy(mut self, source: Source) -> Executors {
        self.policy = Some(source);
        self
    }

    /// Whether the stop file is there. One that cannot be looked at counts as
    /// there: whoever asks for a stop must not depend on permissions.
    pub async fn is_stopped(&self) -> bool {
        match &self.stop_file {
            Some(file) => tokio::fs::try_exists(file).await.unwrap_or(true),
            None => false,
        }
    }

    /// The same with another lease, for tests of what happens when one ends.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Executors {
        self.owner.lease_s = lease.as_secs_f64();
        self
    }

    /// Which executors are set up.
    #[must_use]
    pub fn configured(&self) -> Vec<Executor> {
        self.hands.keys().copied().collect()
    }

    /// Carries an action out, or says what became of it before. Asking again
    /// with the same key is safe at any time and from any process.
    ///
    /// # Errors
    /// PostgreSQL is away, or another process has the action in hand
    /// (transient); the key cannot be used or belongs to another action
    /// (permanent).
    pub async fn execute(&self, execution: &Execution) -> Result<Outcome, JobError> {
        let is_key = execution.key.bytes().all(|byte| byte.is_ascii_graphic());
        if execution.key.is_empty() || execution.key.len() > KEY_BYTES || !is_key {
            return Err(permanent(format!(
                "the key {:?} must be 1 to {KEY_BYTES} printable ASCII characters",
                execution.key
            )));
        }
        let outcome = if execution.dry_run {
            self.rehearse(execution).await?
        } else if execution.action.kind.only_looks() {
            self.observe(execution).await?
        } else {
            self.carry_out(execution).await?
        };
        let status = word(outcome.status);
        let executor = execution.action.executor.as_str();
        metrics::counter!("midwatch_remediation_executions_total", "executor" => executor,
            "status" => status.clone(), "dry_run" => execution.dry_run.to_string())
        .increment(1);
        tracing::info!(key = %execution.key, kind = execution.action.kind.as_str(), executor,
            status, dry_run = execution.dry_run, reconciled = outcome.reconciled, "an action ended");
        Ok(outcome)
    }

    /// Checks, and says what would be done.
    async fn rehearse(&self, execution: &Execution) -> Result<Outcome, JobError> {
        let outcome = match self.hand(execution) {
            Err(reason) => failed(reason),
            Ok(hand) => match check(hand, execution).await {
                Ok(prepared) => Outcome {
                    status: OutcomeStatus::Done,
                    ..said(&format!(
                        "dry run, nothing was done: {}",
                        prepared.description
                    ))
                },
                Err(Stop::Already(done)) => failed(format!("it was done before: {}", done.output)),
                Err(Stop::No(reason)) => failed(reason),
            },
        };
        let action = json!(execution.action);
        let intent = intent(execution, &action);
        let ended = ended(&outcome);
        let kept = executions::rehearsed(&self.postgres.pool, &intent, &self.owner, &ended)
            .await
            .map_err(database)?;
        Ok(if kept {
            outcome
        } else {
            refused(REJECTED, "it was rejected before its dry run ended")
        })
    }

    /// Looks, and says what was seen. Nothing changes, so that no limit counts
    /// it, and a crash in between is mended by looking again.
    async fn observe(&self, execution: &Execution) -> Result<Outcome, JobError> {
        let outcome = match self.hand(execution) {
            Err(reason) => failed(reason),
            Ok(hand) => match check(hand, execution).await {
                Err(Stop::Already(seen)) => done(seen, false, clock::now_ms()),
                Err(Stop::No(reason)) => failed(reason),
                Ok(prepared) => match self.is_allowed(execution).await {
                    Err(refusal) => refused(refusal.rule, &refusal.words),
                    Ok(()) => self.act(hand, execution, &prepared).await,
                },
            },
        };
        // A look that ended badly, or was ended at its limit, left nothing behind
        // that anybody would have to look at.
        let outcome = match outcome.status {
            OutcomeStatus::Unknown => Outcome {
                status: OutcomeStatus::Failed,
                rule: String::new(),
                ..outcome
            },
            _ => outcome,
        };
        let action = json!(execution.action);
        let (intent, ended) = (intent(execution, &action), ended(&outcome));
        let kept = executions::rehearsed(&self.postgres.pool, &intent, &self.owner, &ended).await;
        Ok(if kept.map_err(database)? {
            outcome
        } else {
            refused(REJECTED, "it was rejected before it ended")
        })
    }

    async fn carry_out(&self, execution: &Execution) -> Result<Outcome, JobError> {
        let left = match self.begin(execution).await? {
            Ok(left) => left,
            Err(outcome) => return Ok(outcome),
        };
        let ending = AtomicBool::new(false);
        let end = tokio::select! {
            end = self.work(execution, left, &ending) => end?,
            () = self.hold(&execution.key, &ending) => End::Lost,
        };
        match end {
            End::Outcome(outcome) => Ok(outcome),
            End::Lost => Err(JobError::Transient(anyhow::anyhow!(
                "another process has taken over the action {}",
                execution.key
            ))),
        }
    }

    /// Writes or takes up the intent: what an earlier process left of it, or
    /// the outcome where there is nothing more to do.
    async fn begin(
        &self,
        execution: &Execution,
    ) -> Result<Result<Option<Acting>, Outcome>, JobError> {
        let action = json!(execution.action);
        let intent = self.within_limits(intent(execution, &action)).await;
        let deadline = Instant::now() + HELD_LIMIT;
        loop {
            let begun = executions::begin(&self.postgres.pool, &intent, &self.owner).await;
            match begun.map_err(database)? {
                Begun::Fresh => return Ok(Ok(None)),
                Begun::Taken(acting) => return Ok(Ok(acting)),
                Begun::Ended(ended) => return Ok(Err(outcome(ended)?)),
                Begun::Refused { rule, reason } => {
                    return Ok(Err(refused(rule, &reason)));
                }
                Begun::OtherAction => {
                    let key = &execution.key;
                    return Err(permanent(format!(
                        "the key {key} belongs to another action"
                    )));
                }
                Begun::Held { owner } if Instant::now() >= deadline => {
                    return Err(JobError::Transient(anyhow::anyhow!(
                        "{owner} has the action {} in hand",
                        execution.key
                    )));
                }
                Begun::Held { .. } => tokio::time::sleep(HELD_PAUSE).await,
            }
        }
    }

    async fn work(
        &self,
        execution: &Execution,
        left: Option<Acting>,
        ending: &AtomicBool,
    ) -> Result<End, JobError> {
        let outcome = match self.hand(execution) {
            Ok(hand) => match self.settle(hand, execution, left).await? {
                Some(outcome) => outcome,
                None => return Ok(End::Lost),
            },
            Err(reason) if left.is_some() => unknown(&reason),
            Err(reason) => failed(reason),
        };
        ending.store(true, Ordering::SeqCst);
        let is_mine = executions::end(
            &self.postgres.pool,
            &execution.key,
            &self.owner,
            &ended(&outcome),
        )
        .await
        .map_err(database)?;
        Ok(if is_mine {
            End::Outcome(outcome)
        } else {
            End::Lost
        })
    }

    /// Looks where something may have been done, checks, and acts. Nothing
    /// where somebody else has the action by now.
    async fn settle(
        &self,
        hand: &dyn Hand,
        execution: &Execution,
        left: Option<Acting>,
    ) -> Result<Option<Outcome>, JobError> {
        if let Some(acting) = &left {
            match self.look(hand, execution, acting).await {
                Seen::Done(seen) => return Ok(Some(done(seen, true, acting.at_ms))),
                Seen::NotDone => {}
                Seen::Away(reason) | Seen::CannotTell(reason) => return Ok(Some(unknown(&reason))),
            }
        }
        // These go object by object, so "not done" may mean "not to its end".
        let may_be_half_done = left.is_some()
            && matches!(
                execution.action.kind,
                ActionKind::Drain | ActionKind::ClearDiskPath | ActionKind::DeletePod
            );
        let prepared = match check(hand, execution).await {
            Ok(prepared) => prepared,
            Err(Stop::Already(seen)) => {
                let at_ms = left.map_or_else(clock::now_ms, |acting| acting.at_ms);
                return Ok(Some(done(seen, true, at_ms)));
            }
            Err(Stop::No(reason)) if may_be_half_done => return Ok(Some(unknown(&reason))),
            Err(Stop::No(reason)) => return Ok(Some(failed(reason))),
        };
        if let Err(refusal) = self.is_allowed(execution).await {
            tracing::warn!(key = %execution.key, %refusal, "an approved action does not begin");
            return Ok(Some(if may_be_half_done {
                unknown(&format!("{refusal}; and an earlier try had begun"))
            } else {
                refused(refusal.rule, &refusal.words)
            }));
        }
        let marked = executions::mark_acting(
            &self.postgres.pool,
            &execution.key,
            &self.owner,
            &self.machine,
            &prepared.observed,
        );
        if !marked.await.map_err(database)? {
            return Ok(None);
        }
        let outcome = self.act(hand, execution, &prepared).await;
        Ok(Some(match outcome.status {
            OutcomeStatus::Failed if may_be_half_done => unknown(&outcome.output),
            _ => outcome,
        }))
    }

    /// The intent with the tighter of the limits at the approval and those of
    /// now. A policy that cannot be read stops the action later on, once it is
    /// known that no earlier try had begun.
    async fn within_limits<'a>(&self, intent: Intent<'a>) -> Intent<'a> {
        let now = match &self.policy {
            Some(source) if !intent.is_undo => source.now().await.ok(),
            _ => None,
        };
        let Some(policy) = now else { return intent };
        let cool_down_ms = policy.cool_down_for(intent.service);
        Intent {
            cool_down_ms: intent.cool_down_ms.max(cool_down_ms),
            hourly_limit: intent.hourly_limit.min(policy.hourly_limit),
            ..intent
        }
    }

    /// Asks the stop file and the policy as they are now.
    async fn is_allowed(&self, execution: &Execution) -> Result<(), Refusal> {
        let stopped = self.is_stopped().await;
        match &self.policy {
            Some(source) => source
                .now()
                .await?
                .lets_begin(execution, clock::now_ms(), stopped),
            None => Policy::default().is_not_stopped(stopped),
        }
    }

    async fn act(&self, hand: &dyn Hand, execution: &Execution, prepared: &Prepared) -> Outcome {
        let acted = tokio::time::timeout(ACT_LIMIT, hand.act(execution, prepared)).await;
        let now_ms = clock::now_ms();
        match acted {
            Ok(Acted::Done { done: seen, looked }) => done(seen, looked, now_ms),
            Ok(Acted::Refused(reason)) => failed(reason),
            Ok(Acted::NotOurs(reason)) => Outcome {
                rule: NOT_OURS.to_owned(),
                ..failed(reason)
            },
            Ok(Acted::InPart(reason)) => Outcome {
                status: OutcomeStatus::Unknown,
                rule: IN_PART.to_owned(),
                ..said(&reason)
            },
            Ok(Acted::Unclear(reason)) => unknown(&reason),
            Err(_) => {
                let seconds = ACT_LIMIT.as_secs();
                unknown(&format!("it was broken off after {seconds} s"))
            }
        }
    }

    async fn look(&self, hand: &dyn Hand, execution: &Execution, acting: &Acting) -> Seen {
        if hand.is_bound_to_its_machine() && acting.on != self.machine {
            return Seen::CannotTell(format!(
                "it was begun on {}, and this is {}",
                acting.on, self.machine
            ));
        }
        let deadline = Instant::now() + LOOK_LIMIT;
        loop {
            let seen = tokio::time::timeout_at(deadline, hand.look(execution, acting)).await;
            match seen {
                Ok(Seen::Away(_)) if Instant::now() + LOOK_PAUSE < deadline => {
                    tokio::time::sleep(LOOK_PAUSE).await;
                }
                Ok(seen) => return seen,
                Err(_) => return Seen::Away("nobody answered in time".to_owned()),
            }
        }
    }

    /// Renews the lease for as long as it is polled; returns when it is lost,
    /// or may be.
    async fn hold(&self, key: &str, ending: &AtomicBool) {
        let lease = Duration::from_secs_f64(self.owner.lease_s);
        let mut sure_until = Instant::now() + lease;
        loop {
            tokio::time::sleep(lease / 4).await;
            let asked = Instant::now();
            let renewed = executions::renew(&self.postgres.pool, key, &self.owner);
            match tokio::time::timeout_at(sure_until, renewed).await {
                Ok(Ok(true)) => sure_until = asked + lease,
                // The outcome that is being written ends the lease as well.
                Ok(Ok(false)) if ending.load(Ordering::SeqCst) => {}
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(key, %error, "the lease cannot be renewed"),
                Err(_) => {}
            }
            if Instant::now() >= sure_until {
                tracing::warn!(key, "the lease may have ended; the action is let go");
                return;
            }
        }
    }

    fn hand(&self, execution: &Execution) -> Result<&dyn Hand, String> {
        let executor = execution.action.executor;
        self.hands.get(&executor).map(AsRef::as_ref).ok_or_else(|| {
            let name = executor.as_str();
            format!(
                "the executor {name} is not set up: {}",
                connect::hint(executor)
            )
        })
    }
}

async fn check(hand: &dyn Hand, execution: &Execution) -> Result<Prepared, Stop> {
    let seconds = CHECK_LIMIT.as_secs();
    tokio::time::timeout(CHECK_LIMIT, hand.check(execution))
        .await
        .unwrap_or_else(|_| {
            Err(Stop::No(format!(
                "the checks did not end within {seconds} s"
            )))
        })
}

fn permanent(text: String) -> JobError {
    JobError::Permanent(anyhow::anyhow!(text))
}

fn database(error: PostgresError) -> JobError {
    JobError::Transient(error.into())
}
