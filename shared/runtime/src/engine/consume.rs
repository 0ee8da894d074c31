//! The consumer: from the broker to the agent.

use super::apply::{Closing, Delivery, Outcome};
use super::{CHANNEL_TTL_MS, Engine};
use crate::agent::{Agent, Input, Route};
use anyhow::Context as _;
use midwatch_clients::error::Gravity;
use midwatch_clients::kafka::is_passing;
use midwatch_clients::postgres::{PostgresError, delivery, parking};
use midwatch_events::{Coordinates, Envelope, Event, Topic, decode, ids};
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Message};
use std::sync::Arc;
use std::time::Duration;

/// The longest pause between tries of a message whose handling fails. Nothing
/// is skipped: a failure here is a store or the broker being away.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) async fn run<A: Agent>(engine: Arc<Engine<A>>) -> anyhow::Result<()> {
    let spec = engine.agent.spec();
    let group = engine.kafka.group(spec.name);
    let consumer: StreamConsumer = engine
        .kafka
        .consumer_config(&group, &engine.settings.slot)
        .create()
        .context("the consumer cannot be set up; check the KAFKA_PROPERTY_ variables")?;
    let names: Vec<String> = spec
        .topics
        .iter()
        .map(|topic| engine.kafka.topic(topic.name()))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    consumer
        .subscribe(&names)
        .context("the topics cannot be subscribed to")?;
    let consumer = Arc::new(consumer);
    let lag = tokio::spawn(report_lag(Arc::clone(&engine), Arc::clone(&consumer)));
    let result = consume(&engine, &consumer).await;
    lag.abort();
    // The last stored offsets, so that a clean stop repeats nothing.
    if let Err(error) = consumer.commit_consumer_state(CommitMode::Sync) {
        tracing::debug!(%error, "no offsets were left to commit");
    }
    result
}

async fn consume<A: Agent>(engine: &Engine<A>, consumer: &StreamConsumer) -> anyhow::Result<()> {
    loop {
        let message = tokio::select! {
            () = engine.shutdown.wait() => return Ok(()),
            message = consumer.recv() => message,
        };
        match message {
            Ok(message) => {
                engine.readiness.set("kafka", Ok(()));
                if !until_done(engine, &message).await {
                    return Ok(());
                }
                consumer
                    .store_offset_from_message(&message)
                    // The partition was taken away meanwhile: its new owner
                    // sees the message again and finds it processed.
                    .unwrap_or_else(|error| tracing::debug!(%error, "offset not stored"));
            }
            Err(error) if is_passing(&error) => {
                engine.readiness.set("kafka", Err(error.to_string()));
                tracing::warn!(%error, "the broker complains; going on");
                engine.shutdown.sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error).context("the consumer cannot go on"),
        }
    }
}

/// Handles a message, again and again until it worked; `false` when the
/// process was asked to stop first.
async fn until_done<A: Agent>(engine: &Engine<A>, message: &BorrowedMessage<'_>) -> bool {
    let mut pause = Duration::from_millis(50);
    loop {
        match handle(engine, message).await {
            Ok(()) => {
                engine.readiness.set("agent", Ok(()));
                return true;
            }
            Err(error) if is_permanent(&error) && pause >= LONGEST_PAUSE / 4 => {
                // The same words from the store again and again: nothing will
                // change, and others wait behind this message.
                match set_aside(engine, message, &error).await {
                    Ok(()) => return true,
                    Err(error) => tracing::warn!("{error:#}; trying again"),
                }
            }
            Err(error) => {
                metrics::counter!(engine.metric("input_failures_total")).increment(1);
                tracing::warn!(
                    topic = message.topic(),
                    partition = message.partition(),
                    offset = message.offset(),
                    "{error:#}; trying again"
                );
                engine.readiness.set("agent", Err(format!("{error:#}")));
            }
        }
        if !engine.shutdown.sleep(pause).await {
            return false;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether the store refuses what the message leads to, and always will.
fn is_permanent(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<PostgresError>()
        .is_some_and(|error| error.gravity() == Gravity::Permanent)
}

/// Dead-letters a message that can be read but not be written down.
async fn set_aside<A: Agent>(
    engine: &Engine<A>,
    message: &BorrowedMessage<'_>,
    error: &anyhow::Error,
) -> anyhow::Result<()> {
    let name = engine.kafka.bare(message.topic());
    let place = coordinates(engine, name, message);
    dead_letter(
        engine,
        message,
        &place,
        "refused_by_store",
        &format!("{error:#}"),
    )
    .await
}

/// Puts a message onto its dead-letter topic, with the reason, aloud.
async fn dead_letter<A: Agent>(
    engine: &Engine<A>,
    message: &BorrowedMessage<'_>,
    place: &Coordinates,
    kind: &'static str,
    reason: &str,
) -> anyhow::Result<()> {
    let topic = place.topic.as_str();
    let payload = message.payload().unwrap_or_default();
    engine
        .producer
        .dead_letter(
            topic,
            message.key(),
            payload,
            place,
            engine.name,
            kind,
            reason,
        )
        .await?;
    metrics::counter!(engine.metric("dead_letters_total"), "topic" => topic.to_owned(), "kind" => kind)
        .increment(1);
    let (partition, offset) = (place.partition, place.offset);
    tracing::warn!(
        topic,
        partition,
        offset,
        kind,
        reason,
        "dead-lettered a message"
    );
    Ok(())
}

fn coordinates<A: Agent>(
    engine: &Engine<A>,
    name: &str,
    message: &BorrowedMessage<'_>,
) -> Coordinates {
    Coordinates {
        epoch: engine.epoch.clone(),
        topic: name.to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        record_ms: message.timestamp().to_millis().unwrap_or(0),
    }
}

async fn handle<A: Agent>(engine: &Engine<A>, message: &BorrowedMessage<'_>) -> anyhow::Result<()> {
    let name = engine.kafka.bare(message.topic());
    let coordinates = coordinates(engine, name, message);
    let topic = Topic::from_name(name)
        .with_context(|| format!("subscribed to {name}, which is no topic of Midwatch"))?;
    let payload = message.payload().unwrap_or_default();
    match decode(topic, payload, &coordinates) {
        Ok(envelope) => engine.take(envelope, payload, &coordinates).await,
        Err(error) => {
            let reason = error.to_string();
            dead_letter(engine, message, &coordinates, error.kind(), &reason).await
        }
    }
}

impl<A: Agent> Engine<A> {
    /// Takes an event to the scopes that it concerns.
    pub(crate) async fn take(
        &self,
        envelope: Envelope,
        payload: &[u8],
        coordinates: &Coordinates,
    ) -> anyhow::Result<()> {
        let closing = Closing::Event {
            topic: coordinates.topic.clone(),
            payload: payload.to_vec(),
            coordinates: coordinates.clone(),
        };
        match self.agent.route(&envelope) {
            Route::Ignore => Ok(()),
            Route::Scope(scope) => {
                let id = envelope.meta.event_id;
                if delivery::is_processed(&self.postgres.pool, self.name, id).await? {
                    metrics::counter!(self.metric("duplicates_total")).increment(1);
                    return Ok(());
                }
                let delivery = self.delivery(envelope, scope, id, closing).await?;
                self.deliver_and_follow(&delivery).await
            }
            Route::Channel(channel) => {
                let pool = &self.postgres.pool;
                let scopes = parking::subscribers(pool, self.name, &channel).await?;
                if scopes.is_empty() {
                    return self
                        .park_event(
                            &format!("channel:{channel}"),
                            envelope.meta.event_id,
                            (&coordinates.topic, payload, coordinates),
                            "nobody has subscribed to the channel yet",
                            CHANNEL_TTL_MS,
                        )
                        .await;
                }
                for scope in scopes {
                    let id = channel_input(&envelope, &scope);
                    let delivery = self
                        .delivery(envelope.clone(), scope, id, closing.clone())
                        .await?;
                    self.deliver_and_follow(&delivery).await?;
                }
                Ok(())
            }
        }
    }

    /// Reads the context of an event and makes the delivery.
    pub(crate) async fn delivery(
        &self,
        envelope: Envelope,
        scope: String,
        input_id: uuid::Uuid,
        closing: Closing,
    ) -> anyhow::Result<Delivery> {
        let context = self
            .agent
            .context(&envelope)
            .await
            .context("reading what the decision needs")?;
        Ok(Delivery {
            scope,
            input_id,
            cause_id: envelope.meta.event_id,
            event_ms: event_ms(&envelope),
            input: Input::Event {
                envelope: Box::new(envelope),
                context,
            },
            closing,
        })
    }

    /// Delivers, and then whatever was waiting for that.
    pub(crate) async fn deliver_and_follow(&self, delivery: &Delivery) -> anyhow::Result<()> {
        let outcome = self.deliver(delivery).await?;
        if let Outcome::Applied { subscribed } = outcome {
            for channel in subscribed {
                self.offer_parked(&format!("channel:{channel}")).await?;
            }
            self.offer_parked(&format!("scope:{}", delivery.scope))
                .await?;
        }
        Ok(())
    }
}

/// The event time of an event. People give commands by the wall clock, which
/// in a simulation is another one: their commands have none.
pub(crate) fn event_ms(envelope: &Envelope) -> Option<i64> {
    match &envelope.event {
        Event::Command(_) => None,
        _ => Some(envelope.meta.event_time_ms),
    }
}

/// The input id of a channel's event for one of its subscribers.
pub(crate) fn channel_input(envelope: &Envelope, scope: &str) -> uuid::Uuid {
    ids::derive(&["subscriber", &envelope.meta.event_id.to_string(), scope])
}

/// Reports how far behind the group is, from the broker's own offsets.
async fn report_lag<A: Agent>(engine: Arc<Engine<A>>, consumer: Arc<StreamConsumer>) {
    while engine.shutdown.sleep(Duration::from_secs(3)).await {
        let consumer = Arc::clone(&consumer);
        let read = tokio::task::spawn_blocking(move || lags(&consumer)).await;
        match read {
            Ok(Ok(lags)) => {
                // The broker answers: whatever it complained of is over.
                engine.readiness.set("kafka", Ok(()));
                for (topic, partition, lag) in lags {
                    let topic = engine.kafka.bare(&topic).to_owned();
                    let partition = partition.to_string();
                    #[expect(clippy::cast_precision_loss, reason = "lag is far below 2^53")]
                    metrics::gauge!("midwatch_consumer_lag", "topic" => topic, "partition" => partition)
                        .set(lag as f64);
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "the lag cannot be read"),
            Err(error) => tracing::debug!(%error, "the lag reader failed"),
        }
    }
}

fn lags(consumer: &StreamConsumer) -> Result<Vec<(String, i32, i64)>, rdkafka::error::KafkaError> {
    let limit = Duration::from_secs(2);
    let committed = consumer.committed(limit)?;
    let mut lags = Vec::new();
    for element in committed.elements() {
        let (low, high) = consumer.fetch_watermarks(element.topic(), element.partition(), limit)?;
        let next = element
            .offset()
            .to_raw()
            .filter(|next| *next >= 0)
            .unwrap_or(low);
        lags.push((
            element.topic().to_owned(),
            element.partition(),
            (high - next).max(0),
        ));
    }
    Ok(lags)
}
