//! The acting part: reads the catalogue, delivers mails and messages.

use crate::again::{Asked, Found, RECALL, RESEND};
use crate::channels::breaker::TRIES;
use crate::channels::http::{Answered, AsksToWait, NotTaken};
use crate::channels::{Book, Breaker, Channels, GIVE_UP, POST, Post, Tried};
use crate::config::Config;
use crate::decide::{Core, DELIVER, State};
use crate::mail::{Mail, Receipt};
use crate::render::Templates;
use crate::smtp::Mailer;
use anyhow::Context as _;
use async_trait::async_trait;
use midwatch_clients::postgres::{Postgres, PostgresError, channels, jobs, notifications};
use midwatch_events::knowledge::Catalogue;
use midwatch_events::{Envelope, Event, Topic};
use midwatch_runtime::ServiceContext;
use midwatch_runtime::agent::{Agent, AgentSpec, Input, Job, JobError, Moment, Route};
use midwatch_runtime::effect::Effect;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// The communication agent.
#[derive(Debug)]
pub struct Communication {
    core: Core,
    mailer: Mailer,
    channels: Channels,
    breaker: Breaker,
    postgres: Postgres,
}

/// The agent's name, under which its jobs stand.
const NAME: &str = "communication";

const TOPICS: &[Topic] = &[
    Topic::IncidentsOpened,
    Topic::IncidentsUpdated,
    Topic::RcaCompleted,
    Topic::RemediationPlans,
    Topic::RemediationActions,
    Topic::IncidentsResolved,
    Topic::PostmortemsGenerated,
    Topic::OperatorCommands,
];

impl Communication {
    /// Sets the agent up from its settings.
    ///
    /// # Errors
    /// The mail server's settings or NOTIFY_FILE cannot be used, or the
    /// database is away. A missing catalogue is no error: mails then go to the
    /// general addresses and say so.
    pub async fn new(context: &mut ServiceContext) -> anyhow::Result<Communication> {
        let config = Config::read(&mut context.settings);
        // Complaints come out together; nothing below can hide them.
        context.settings.clone().finish()?;
        let book = match &config.notify_file {
            Some(path) => read_book(path)?,
            None => Book::default(),
        };
        let mailer = Mailer::new(
            &config.smtp_url,
            &config.addresses.from,
            config.smtp_ca_file.as_deref(),
        )?;
        let path = config.knowledge_dir.join("services.json");
        let (catalogue, notice) = match read_catalogue(&path) {
            Ok(catalogue) => (catalogue, None),
            Err(error) => {
                tracing::warn!(
                    "mails go to the general addresses only: {error:#}; set KNOWLEDGE_DIR to the folder of services.json"
                );
                metrics::counter!("midwatch_communication_degraded_total").increment(1);
                let notice = "Sent to the general addresses: the service catalogue could not be read, so the owning team is not known.";
                (Catalogue::default(), Some(notice.to_owned()))
            }
        };
        let postgres = context.postgres().await?;
        let channels = Channels::open(&book, postgres.pool.clone()).context("NOTIFY_FILE")?;
        Ok(Communication {
            channels,
            breaker: Breaker::default(),
            postgres,
            core: Core {
                addresses: config.addresses,
                dashboard_url: config.dashboard_url,
                catalogue,
                notice,
                templates: Templates::default(),
                book,
                digest_minutes: config.digest_minutes,
                link_key: config.link_key,
            },
            mailer,
        })
    }

    /// Delivers over one channel. While it is away, messages wait for it, and
    /// are shown as FAILED after three tries until it is back.
    async fn deliver(&self, job: &Job) -> Result<Value, JobError> {
        let read = |error: serde_json::Error| JobError::Permanent(error.into());
        if job.kind == DELIVER {
            let mail: Mail = serde_json::from_value(job.payload.clone()).map_err(read)?;
            let mail = self.core.signed(mail);
            let id = &mail.notification.message_id;
            let behind = self.behind(&mail).await?;
            if behind.len() == mail.addressed().len() {
                let nobody = Receipt {
                    behind,
                    ..Receipt::default()
                };
                return serde_json::to_value(nobody).map_err(read);
            }
            if let Some((wait, failures)) = self.breaker.closed_for("mail", Instant::now()) {
                return Err(self.away(id, wait, failures, closed("mail")).await);
            }
            let result = self.mailer.deliver(&mail, &behind).await;
            let went = |receipt: &Receipt| !receipt.reply.is_empty();
            let receipt = self.judge("mail", "mail", id, went, result).await?;
            return serde_json::to_value(receipt).map_err(read);
        }
        let post: Post = serde_json::from_value(job.payload.clone()).map_err(read)?;
        let post = self.core.signed_post(post);
        let note = &post.notification;
        let (channel, id) = (post.channel.as_str(), &note.message_id);
        if let Some((wait, failures)) = self.breaker.closed_for(channel, Instant::now()) {
            return Err(self.away(id, wait, failures, closed(channel)).await);
        }
        let kind = self
            .core
            .book
            .channel(channel)
            .map_or("gone", |one| one.kind.name());
        let pool = &self.postgres.pool;
        // Marked before the first word to the provider: whoever finds the mark
        // looks for what was posted under it.
        let mark = format!("try:{}", note.stage);
        let away = |error: PostgresError| JobError::Transient(error.into());
        let incident = note.incident_id;
        let tried = match channels::posted(pool, incident, channel, &mark).await {
            Ok(None) => Tried::Never,
            Ok(Some(how)) if how == IN_VAIN => Tried::InVain,
            Ok(Some(_)) => Tried::Unknown,
            Err(error) => return Err(away(error)),
        };
        channels::tried(pool, incident, channel, &mark, "")
            .await
            .map_err(away)?;
        let result = self.channels.deliver(&post, tried).await;
        // An earlier try that may have been taken stays so.
        if tried != Tried::Unknown && result.as_ref().is_err_and(is_in_vain) {
            let kept = channels::tried(pool, incident, channel, &mark, IN_VAIN).await;
            if let Err(error) = kept {
                tracing::warn!(%error, "that a try was in vain is not kept: the next is marked as a repeat");
            }
        }
        let reply = self.judge(kind, channel, id, |_| true, result).await?;
        Ok(Value::String(reply))
    }

    /// What became of a message that is to be sent again.
    async fn recall(&self, job: &Job) -> Result<Value, JobError> {
        let read = |error: serde_json::Error| JobError::Permanent(error.into());
        let asked: Asked = serde_json::from_value(job.payload.clone()).map_err(read)?;
        let (pool, id) = (&self.postgres.pool, &asked.command.target);
        let away = |error: PostgresError| JobError::Transient(error.into());
        let unreached = notifications::unreached(pool, id).await.map_err(away)?;
        let jobs = jobs::of_message(pool, NAME, id).await.map_err(away)?;
        serde_json::to_value(Found::read(unreached, jobs)).map_err(read)
    }

    /// Those of a mail's recipients to whom an earlier mail about the incident
    /// still waits: each gets an incident's mails in order.
    async fn behind(&self, mail: &Mail) -> Result<Vec<String>, JobError> {
        if mail.only.is_some() {
            return Ok(Vec::new());
        }
        let mut people = mail.addressed();
        let lanes: Vec<String> = people.iter().map(|one| mail.lane(one)).collect();
        let busy = jobs::busy_lanes(&self.postgres.pool, NAME, &lanes).await;
        let busy = busy.map_err(|error| JobError::Later {
            error: error.into(),
            wait: Duration::from_secs(1),
            give_up: GIVE_UP,
        })?;
        people.retain(|one| busy.contains(&mail.lane(one)));
        Ok(people)
    }

    /// Tells the breaker how a delivery went.
    async fn judge<T>(
        &self,
        kind: &'static str,
        channel: &str,
        message_id: &str,
        went: impl Fn(&T) -> bool,
        result: Result<T, JobError>,
    ) -> Result<T, JobError> {
        let outcome = match &result {
            Ok(receipt) if went(receipt) => "sent",
            Err(JobError::Permanent(_)) => "refused",
            Ok(_) | Err(_) => "postponed",
        };
        metrics::counter!("midwatch_communication_deliveries_total", "kind" => kind, "outcome" => outcome)
            .increment(1);
        if kind == "mail" {
            metrics::counter!("midwatch_communication_mails_total", "outcome" => outcome)
                .increment(1);
        }
        match result {
            // The channel is there; the message has its own tries.
            Err(JobError::Transient(error)) if error.is::<Answered>() => {
                self.breaker.answered(channel);
                Err(JobError::Transient(error))
            }
            Err(JobError::Transient(error)) => {
                let asked = error.downcast_ref::<AsksToWait>().map(|asked| asked.0);
                let (wait, failures) = self.breaker.failed(channel, asked, Instant::now());
                Err(self.away(message_id, wait, failures, error).await)
            }
            other => {
                self.breaker.answered(channel);
                other
            }
        }
    }

    async fn away(
        &self,
        message_id: &str,
        wait: Duration,
        failures: u32,
        error: anyhow::Error,
    ) -> JobError {
        if failures >= TRIES {
            let words = format!("{error:#}; still trying, for half an hour at most");
            let attempts = i32::try_from(failures).unwrap_or(i32::MAX);
            let pool = &self.postgres.pool;
            if let Err(error) = channels::failing(pool, message_id, attempts, &words).await {
                tracing::warn!(message_id, %error, "the failure cannot be shown");
            }
        }
        JobError::Later {
            error,
            wait,
            give_up: GIVE_UP,
        }
    }
}

/// The mark of tries that were certainly not taken.
const IN_VAIN: &str = "in vain";

/// Whether the provider certainly did not take a message.
fn is_in_vain(error: &JobError) -> bool {
    match error {
        JobError::Transient(error) | JobError::Later { error, .. } => {
            error.is::<NotTaken>() || error.is::<AsksToWait>()
        }
        JobError::Permanent(_) => true,
    }
}

fn closed(channel: &str) -> anyhow::Error {
    anyhow::anyhow!("{channel} is away and is left alone for a moment")
}

fn read_book(path: &Path) -> anyhow::Result<Book> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("NOTIFY_FILE {} cannot be read", path.display()))?;
    Book::parse(&text).map_err(|problem| {
        anyhow::anyhow!("NOTIFY_FILE {} is not understood {problem}", path.display())
    })
}

fn read_catalogue(path: &Path) -> anyhow::Result<Catalogue> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    Catalogue::parse(&text).map_err(|problem| anyhow::anyhow!("{}: {problem}", path.display()))
}

#[async_trait]
impl Agent for Communication {
    type State = State;

    fn spec(&self) -> AgentSpec {
        AgentSpec {
            name: NAME,
            topics: TOPICS,
        }
    }

    fn route(&self, envelope: &Envelope) -> Route {
        // Other agents obey the rest.
        if let Event::Command(command) = &envelope.event
            && command.command != RESEND
        {
            return Route::Ignore;
        }
        envelope
            .event
            .incident_id()
            .map_or(Route::Ignore, |id| Route::Scope(id.to_string()))
    }

    fn decide(&self, state: &mut State, at: Moment, input: Input) -> Vec<Effect> {
        self.core.decide(state, at, input)
    }

    async fn perform(&self, job: &Job) -> Result<Value, JobError> {
        match job.kind.as_str() {
            DELIVER | POST => self.deliver(job).await,
            RECALL => self.recall(job).await,
            other => Err(JobError::Permanent(anyhow::anyhow!(
                "no job of kind {other} is known here"
            ))),
        }
    }
}
