//! The failure simulator as a hand. Its control endpoint does nothing twice
//! under one key and tells what became of it, so asking again is safe.

use super::hand::{Acted, Acting, Done, Hand, Prepared, Seen, Stop};
use super::simulator;
use crate::execution::{Execution, Outcome, OutcomeStatus};
use async_trait::async_trait;
use midwatch_runtime::JobError;
use reqwest::Client;
use serde_json::Value;
use std::time::Duration;

const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Acts on a simulated fleet.
pub struct Simulated {
    client: Client,
    url: String,
}

impl Simulated {
    /// Asks the simulator at `url`.
    #[must_use]
    pub fn new(client: Client, url: &str) -> Simulated {
        Simulated {
            client,
            url: url.to_owned(),
        }
    }
}

fn done(outcome: Outcome) -> Done {
    Done {
        output: outcome.output,
        at_ms: outcome.acted_at_ms,
    }
}

#[async_trait]
impl Hand for Simulated {
    async fn check(&self, execution: &Execution) -> Result<Prepared, Stop> {
        let action = &execution.action;
        Ok(Prepared {
            description: format!(
                "ask the simulator for {} of {} with {:?}",
                action.kind.as_str(),
                action.service,
                action.arguments
            ),
            observed: Value::Null,
        })
    }

    async fn act(&self, execution: &Execution, _prepared: &Prepared) -> Acted {
        let mut last = String::new();
        for attempt in 1..=TRIES {
            match simulator::act(&self.client, &self.url, execution).await {
                Ok(outcome) if outcome.status == OutcomeStatus::Done => {
                    return Acted::Done {
                        done: done(outcome),
                        looked: false,
                    };
                }
                Ok(outcome) => return Acted::Refused(outcome.output),
                Err(JobError::Permanent(error)) => return Acted::Unclear(format!("{error:#}")),
                Err(error) => last = format!("{error:#}"),
            }
            if attempt < TRIES {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Acted::Unclear(last)
    }

    async fn look(&self, execution: &Execution, _acting: &Acting) -> Seen {
        match simulator::look(&self.client, &self.url, &execution.key).await {
            Ok(Some(outcome)) if outcome.status == OutcomeStatus::Done => Seen::Done(done(outcome)),
            // Asked again, it refuses again or does it now, for the first time.
            Ok(_) => Seen::NotDone,
            Err(JobError::Permanent(error)) => Seen::CannotTell(format!("{error:#}")),
            Err(error) => Seen::Away(format!("{error:#}")),
        }
    }
}
