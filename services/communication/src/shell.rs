//! The acting part: reads the catalogue, delivers mails.

use crate::config::Config;
use crate::decide::{Core, DELIVER, Mail, State};
use crate::render::Templates;
use crate::smtp::Mailer;
use anyhow::Context as _;
use async_trait::async_trait;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::{Envelope, Event, Topic};
use midwatch_runtime::agent::{Agent, AgentSpec, Input, Job, JobError, Moment, Route};
use midwatch_runtime::config::Settings;
use midwatch_runtime::effect::Effect;
use serde_json::Value;
use std::path::Path;

/// The communication agent.
#[derive(Debug)]
pub struct Communication {
    core: Core,
    mailer: Mailer,
}

const TOPICS: &[Topic] = &[
    Topic::IncidentsOpened,
    Topic::IncidentsUpdated,
    Topic::RcaCompleted,
    Topic::RemediationPlans,
    Topic::RemediationActions,
    Topic::IncidentsResolved,
    Topic::PostmortemsGenerated,
];

impl Communication {
    /// Sets the agent up from its settings.
    ///
    /// # Errors
    /// The mail server's settings cannot be used. A missing catalogue is no
    /// error: mails then go to the general addresses and say so.
    pub fn new(settings: &mut Settings) -> anyhow::Result<Communication> {
        let config = Config::read(settings);
        // Complaints come out together; nothing below can hide them.
        settings.clone().finish()?;
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
        Ok(Communication {
            core: Core {
                addresses: config.addresses,
                dashboard_url: config.dashboard_url,
                catalogue,
                notice,
                templates: Templates::default(),
            },
            mailer,
        })
    }
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
            name: "communication",
            topics: TOPICS,
        }
    }

    fn route(&self, envelope: &Envelope) -> Route {
        match &envelope.event {
            // Carried-out steps are told by the mails around them.
            Event::Action(_) => Route::Ignore,
            event => event
                .incident_id()
                .map_or(Route::Ignore, |id| Route::Scope(id.to_string())),
        }
    }

    fn decide(&self, state: &mut State, at: Moment, input: Input) -> Vec<Effect> {
        self.core.decide(state, at, input)
    }

    async fn perform(&self, job: &Job) -> Result<Value, JobError> {
        if job.kind != DELIVER {
            let error = anyhow::anyhow!("no job of kind {} is known here", job.kind);
            return Err(JobError::Permanent(error));
        }
        let mail: Mail = serde_json::from_value(job.payload.clone())
            .map_err(|error| JobError::Permanent(anyhow::Error::new(error)))?;
        let result = self.mailer.deliver(&mail).await;
        let outcome = match &result {
            Ok(_) => "sent",
            Err(JobError::Permanent(_)) => "refused",
            Err(JobError::Transient(_)) => "postponed",
        };
        metrics::counter!("midwatch_communication_mails_total", "outcome" => outcome).increment(1);
        let receipt = result?;
        serde_json::to_value(receipt)
            .map_err(|error| JobError::Permanent(anyhow::Error::new(error)))
    }
}
