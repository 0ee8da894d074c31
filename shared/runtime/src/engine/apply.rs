//! One input: decide, write everything in one transaction, send.

use super::postmortem::postmortem;
use super::{EARLY_MOVE_TTL_MS, Engine, STALE_TRIES};
use crate::agent::{Agent, Input, Moment};
use crate::clock;
use crate::effect::{Effect, Projection};
use anyhow::Context as _;
use midwatch_clients::kafka::event_headers;
use midwatch_clients::postgres::audit::{self, AuditLine};
use midwatch_clients::postgres::incident::{self, Moved};
use midwatch_clients::postgres::parking::{self, Parking};
use midwatch_clients::postgres::{
    PostgresError, Tx, artifacts, delivery, jobs, llm, notifications, records,
};
use midwatch_events::decode::SCHEMA_VERSION;
use midwatch_events::{Coordinates, Envelope, Meta, ids};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

/// What is stored per scope: the agent's state and the latest event time.
#[derive(Serialize, Deserialize)]
struct Stored<S> {
    event_ms: i64,
    state: S,
}

/// What ends together with an input.
#[derive(Clone, Debug)]
pub(crate) enum Closing {
    /// An event from the broker; the bytes are kept in case it must be parked.
    Event {
        topic: String,
        payload: Vec<u8>,
        coordinates: Coordinates,
    },
    Job,
    Timer {
        name: String,
        due_ms: i64,
    },
    /// An event that was parked in this row.
    Unpark {
        row: i64,
    },
}

/// How an input ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Applied { subscribed: Vec<String> },
    AlreadyProcessed,
    Parked,
}

/// An input on its way.
pub(crate) struct Delivery {
    pub scope: String,
    /// What the processed mark names.
    pub input_id: Uuid,
    /// What emitted events name as their cause.
    pub cause_id: Uuid,
    /// Event time, where the input has one; a person's command has none.
    pub event_ms: Option<i64>,
    pub input: Input,
    pub closing: Closing,
}

/// Why a transaction was given up without an error.
enum GivenUp {
    Park { reason: String, ttl_ms: i64 },
}

impl<A: Agent> Engine<A> {
    /// Applies an input, again if another owner was quicker, and sends what
    /// it led to.
    pub(crate) async fn deliver(&self, delivery: &Delivery) -> anyhow::Result<Outcome> {
        let mut tries = 0;
        let outcome = loop {
            let turn = self.turn.lock().await;
            let result = self.apply(delivery).await;
            drop(turn);
            match result {
                Ok(outcome) => break outcome,
                Err(error) if is_stale(&error) && tries < STALE_TRIES => {
                    tries += 1;
                    metrics::counter!(self.metric("stale_owner_total")).increment(1);
                    tracing::warn!(scope = delivery.scope, tries, "{error:#}; reading again");
                    tokio::time::sleep(Duration::from_millis(20 << tries)).await;
                }
                Err(error) => return Err(error),
            }
        };
        self.flush_outbox().await?;
        Ok(outcome)
    }

    async fn apply(&self, delivery: &Delivery) -> anyhow::Result<Outcome> {
        let mut tx = self.postgres.begin().await?;
        if !delivery::mark_processed(&mut tx, self.name, delivery.input_id).await? {
            self.close(&mut tx, delivery).await?;
            tx.commit().await?;
            return Ok(Outcome::AlreadyProcessed);
        }
        let (version, stored) = delivery::load_state(&mut tx, self.name, &delivery.scope).await?;
        let mut stored: Stored<A::State> = match stored {
            None => Stored {
                event_ms: 0,
                state: A::State::default(),
            },
            Some(value) => serde_json::from_value(value).with_context(|| {
                format!(
                    "the state of {}/{} cannot be read by this build",
                    self.name, delivery.scope
                )
            })?,
        };
        stored.event_ms = stored.event_ms.max(delivery.event_ms.unwrap_or(0));
        let wall_ms = clock::now_ms();
        let moment = Moment {
            event_ms: delivery.event_ms.unwrap_or(match stored.event_ms {
                0 => wall_ms, // A scope that has heard of nothing yet.
                latest_ms => latest_ms,
            }),
            wall_ms,
        };
        let effects = self
            .agent
            .decide(&mut stored.state, moment, delivery.input.clone());
        let written = self.write(&mut tx, delivery, moment, effects).await?;
        let subscribed = match written {
            Ok(subscribed) => subscribed,
            Err(GivenUp::Park { reason, ttl_ms }) => {
                tx.rollback().await?;
                self.park(delivery, &reason, ttl_ms).await?;
                return Ok(Outcome::Parked);
            }
        };
        let state = serde_json::to_value(&stored).context("the agent's state is not JSON")?;
        delivery::save_state(&mut tx, self.name, &delivery.scope, version, &state).await?;
        self.close(&mut tx, delivery).await?;
        tx.commit().await?;
        metrics::counter!(self.metric("inputs_applied_total")).increment(1);
        Ok(Outcome::Applied { subscribed })
    }

    /// Ends what the input came from.
    async fn close(&self, tx: &mut Tx, delivery: &Delivery) -> anyhow::Result<()> {
        match &delivery.closing {
            Closing::Event { .. } => {}
            Closing::Job => jobs::mark_applied(tx, delivery.input_id).await?,
            Closing::Timer { name, due_ms } => {
                jobs::clear_timer(tx, self.name, &delivery.scope, name, Some(*due_ms)).await?;
            }
            Closing::Unpark { row } => parking::unpark(tx, *row).await?,
        }
        Ok(())
    }

    /// Keeps an early event. One that is parked already stays where it is.
    async fn park(&self, delivery: &Delivery, reason: &str, ttl_ms: i64) -> anyhow::Result<()> {
        let Closing::Event {
            topic,
            payload,
            coordinates,
        } = &delivery.closing
        else {
            anyhow::ensure!(
                matches!(delivery.closing, Closing::Unpark { .. }),
                "only events can be parked, but {} asked to park a job or timer: {reason}",
                self.name
            );
            return Ok(());
        };
        self.park_event(
            &format!("scope:{}", delivery.scope),
            delivery.cause_id,
            (topic, payload, coordinates),
            reason,
            ttl_ms,
        )
        .await
    }

    /// Writes a parked event.
    pub(crate) async fn park_event(
        &self,
        waiting_for: &str,
        event_id: Uuid,
        (topic, payload, coordinates): (&str, &[u8], &Coordinates),
        reason: &str,
        ttl_ms: i64,
    ) -> anyhow::Result<()> {
        let coordinates = serde_json::to_value(coordinates).context("coordinates are JSON")?;
        let parking = Parking {
            waiting_for,
            event_id,
            topic,
            payload,
            coordinates: &coordinates,
            reason,
            expires_ms: clock::now_ms() + ttl_ms,
        };
        let mut tx = self.postgres.begin().await?;
        let fresh = parking::park(&mut tx, self.name, parking).await?;
        tx.commit().await?;
        if fresh {
            metrics::counter!(self.metric("parked_total")).increment(1);
            tracing::debug!(waiting_for, reason, "parked an early event");
        }
        Ok(())
    }

    async fn write(
        &self,
        tx: &mut Tx,
        delivery: &Delivery,
        moment: Moment,
        effects: Vec<Effect>,
    ) -> anyhow::Result<Result<Vec<String>, GivenUp>> {
        let mut subscribed = Vec::new();
        for (index, effect) in effects.into_iter().enumerate() {
            match effect {
                Effect::Park { reason, ttl_ms } => {
                    return Ok(Err(GivenUp::Park { reason, ttl_ms }));
                }
                Effect::Project(projection) => {
                    if let Some(given_up) = self
                        .project(tx, delivery, moment, index, projection)
                        .await?
                    {
                        return Ok(Err(given_up));
                    }
                }
                Effect::Subscribe { channel } => {
                    parking::subscribe(tx, self.name, &channel, &delivery.scope).await?;
                    subscribed.push(channel);
                }
                other => self.write_one(tx, delivery, index, other).await?,
            }
        }
        Ok(Ok(subscribed))
    }

    async fn write_one(
        &self,
        tx: &mut Tx,
        delivery: &Delivery,
        index: usize,
        effect: Effect,
    ) -> anyhow::Result<()> {
        let scope = &delivery.scope;
        match effect {
            Effect::Publish(event) => self.enqueue(tx, delivery, index, event).await?,
            Effect::Audit(line) => {
                let line = AuditLine {
                    event_id: ids::effect(delivery.input_id, self.name, index),
                    incident_id: line.incident_id,
                    agent: self.name,
                    event_type: &line.event_type,
                    event_time_ms: line.at_ms,
                    summary: &line.summary,
                    payload: &line.payload,
                };
                audit::insert(tx, line).await?;
            }
            Effect::Keep {
                incident_id,
                records: kept,
            } => records::keep(tx, incident_id, &kept).await?,
            Effect::StartJob(job) => {
                let id = ids::derive(&["job", self.name, scope, &job.name]);
                let lane = job.lane.as_deref().unwrap_or(scope);
                let (tries, delay) = (job.max_attempts, job.delay_ms);
                let (kind, payload) = (&job.kind, &job.payload);
                jobs::insert(tx, self.name, scope, lane, id, kind, payload, tries, delay).await?;
                self.job_waiting.notify_one();
            }
            Effect::SetTimer {
                name,
                due_ms,
                payload,
            } => jobs::set_timer(tx, self.name, scope, &name, due_ms, &payload).await?,
            Effect::Call(call) => {
                let (name, due_ms) = (&call.name, call.due_ms);
                jobs::set_timer(tx, self.name, &call.scope, name, due_ms, &call.payload).await?;
            }
            Effect::CancelTimer { name } => {
                jobs::clear_timer(tx, self.name, scope, &name, None).await?;
            }
            Effect::Unsubscribe { channel } => {
                parking::unsubscribe(tx, self.name, &channel, scope).await?;
            }
            Effect::Notify(note) => {
                notifications::insert(tx, &note).await?;
            }
            Effect::NotificationDone(end) => notifications::done(tx, &end).await?,
            Effect::RecordModelCall { incident_id, call } => {
                llm::insert(tx, incident_id, &call).await?;
                count_model_call(self.name, &call);
            }
            Effect::Park { .. } | Effect::Project(_) | Effect::Subscribe { .. } => {
                unreachable!("handled by the caller, which must act on them")
            }
        }
        Ok(())
    }

    async fn enqueue(
        &self,
        tx: &mut Tx,
        delivery: &Delivery,
        index: usize,
        event: midwatch_events::Event,
    ) -> anyhow::Result<()> {
        let mut envelope = Envelope {
            meta: Meta {
                event_id: ids::effect(delivery.input_id, self.name, index),
                cause_id: Some(delivery.cause_id),
                schema_version: SCHEMA_VERSION,
                event_time_ms: 0,
                producer: format!("midwatch.{}", self.name),
            },
            event,
        };
        envelope.meta.event_time_ms = envelope.event.time_ms();
        let topic = envelope.event.topic();
        let payload = envelope.encode();
        let headers = json!(event_headers(&envelope));
        let key = envelope.event.key();
        let id = envelope.meta.event_id;
        delivery::enqueue(tx, self.name, id, topic.name(), &key, &payload, &headers).await?;
        Ok(())
    }

    /// Changes the incident's row; answers with why the input must wait, where
    /// it must.
    async fn project(
        &self,
        tx: &mut Tx,
        delivery: &Delivery,
        moment: Moment,
        index: usize,
        projection: Projection,
    ) -> anyhow::Result<Option<GivenUp>> {
        match projection {
            Projection::Open {
                header,
                blast_radius,
                correlation_context,
            } => incident::open(tx, &header, &blast_radius, &correlation_context).await?,
            Projection::Correlate {
                header,
                blast_radius,
                correlation_context,
            } => incident::correlate(tx, &header, &blast_radius, &correlation_context).await?,
            Projection::Cause {
                incident_id,
                candidates,
                top_root_cause,
                confidence,
            } => incident::cause(tx, incident_id, &candidates, &top_root_cause, confidence).await?,
            Projection::Plan { incident_id, plan } => {
                incident::plan(tx, incident_id, &plan).await?;
            }
            Projection::Resolve {
                incident_id,
                resolved_at_ms,
                resolution,
            } => incident::resolve(tx, incident_id, resolved_at_ms, &resolution).await?,
            Projection::Reopen { incident_id } => incident::reopen(tx, incident_id).await?,
            Projection::Artifacts {
                incident_id,
                artifacts: links,
                supersedes,
            } => artifacts::write(tx, incident_id, &links, &supersedes).await?,
            Projection::Postmortem { .. } | Projection::Review { .. } => {
                postmortem(tx, projection).await?;
            }
            Projection::Move { incident_id, to } => {
                let moved = incident::move_to(tx, incident_id, to).await?;
                return self
                    .moved(tx, (delivery, moment, index), incident_id, to, moved)
                    .await;
            }
        }
        Ok(None)
    }

    async fn moved(
        &self,
        tx: &mut Tx,
        (delivery, moment, index): (&Delivery, Moment, usize),
        incident_id: Uuid,
        to: midwatch_events::IncidentState,
        moved: Moved,
    ) -> anyhow::Result<Option<GivenUp>> {
        match moved {
            Moved::Taken | Moved::AlreadyThere => Ok(None),
            // A job or timer cannot be parked; its move is dropped, and the
            // next event of the incident brings the status up to date.
            Moved::Early | Moved::NoIncident
                if matches!(
                    delivery.closing,
                    Closing::Event { .. } | Closing::Unpark { .. }
                ) && !matches!(delivery.input, Input::Expired { .. }) =>
            {
                Ok(Some(GivenUp::Park {
                    reason: format!("the incident cannot move to {to} yet"),
                    ttl_ms: EARLY_MOVE_TTL_MS,
                }))
            }
            Moved::Early | Moved::NoIncident | Moved::Refused(_) => {
                let from = match moved {
                    Moved::Refused(from) => from.as_str(),
                    _ => "a state before its predecessor",
                };
                tracing::warn!(%incident_id, from, %to, "refused a move of the status");
                let payload: Value = json!({"from": from, "to": to.as_str()});
                let summary = format!("A move from {from} to {to} is not legal and was refused.");
                let line = AuditLine {
                    event_id: ids::effect(delivery.input_id, self.name, index),
                    incident_id: Some(incident_id),
                    agent: self.name,
                    event_type: "STATUS_MOVE_REFUSED",
                    event_time_ms: moment.event_ms,
                    summary: &summary,
                    payload: &payload,
                };
                audit::insert(tx, line).await?;
                Ok(None)
            }
        }
    }
}

fn is_stale(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<PostgresError>() {
        Some(PostgresError::StaleOwner { .. }) => true,
        // Two transactions that wait for each other: one of them is ended by
        // the database, and simply tries again.
        Some(PostgresError::Sql(sqlx_error)) => sqlx_error
            .as_database_error()
            .and_then(|error| error.code())
            .is_some_and(|code| code == "40P01" || code == "40001"),
        _ => false,
    }
}

/// Counts a recorded model call; money in millionths, because counters are whole.
fn count_model_call(agent: &str, call: &llm::LlmCall) {
    let outcome = call.outcome.clone();
    metrics::counter!(format!("midwatch_{agent}_model_calls_total"), "outcome" => outcome)
        .increment(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cost is not negative, and a cast saturates"
    )]
    let microdollars = (call.cost_usd * 1e6).round() as u64;
    metrics::counter!(format!("midwatch_{agent}_model_cost_microdollars_total"))
        .increment(microdollars);
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn model_calls_count_by_outcome_and_money_adds_up() {
        let call = |outcome: &str, cost_usd: f64| -> llm::LlmCall {
            serde_json::from_value(json!({
                "call_id": Uuid::nil(), "agent": "investigation", "purpose": "advice",
                "tier": "reasoning", "model": "m", "prompt": "", "reply": null,
                "prompt_tokens": 1, "completion_tokens": 1, "cost_usd": cost_usd,
                "latency_ms": 1, "outcome": outcome, "error": null,
            }))
            .expect("the fields of a call")
        };
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            count_model_call("investigation", &call("ok", 0.0125));
            count_model_call("investigation", &call("ok", 0.000_001));
            count_model_call("investigation", &call("circuit_open", 0.0));
        });
        let text = recorder.handle().render();
        for line in [
            "midwatch_investigation_model_calls_total{outcome=\"ok\"} 2",
            "midwatch_investigation_model_calls_total{outcome=\"circuit_open\"} 1",
            "midwatch_investigation_model_cost_microdollars_total 12501",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
