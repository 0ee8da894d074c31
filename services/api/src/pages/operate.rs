//! What an operator may ask for on the page of an incident, and what became
//! of what was asked.

use super::conclusion::{self, Heard};
use crate::App;
use crate::caller::Caller;
use crate::commands::resend::RESEND;
use crate::commands::{COMMANDS, offered};
use crate::error::ApiError;
use crate::incidents::Item;
use crate::known::Known;
use crate::operators::Operator;
use axum::http::HeaderMap;
use midwatch_clients::postgres::read::{self, AgentEvent, IncidentFilter, IncidentRow};
use midwatch_runtime::clock;
use serde::Serialize;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Other incidents that the page offers for a merge.
const OTHERS: i64 = 50;
/// Members that the page offers for a split.
const MEMBERS: usize = 60;

/// Something to choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    pub value: String,
    pub words: String,
}

/// A command that this page just published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    pub command: &'static str,
    pub partition: i32,
    pub offset: i64,
}

/// The part of the page.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Operate {
    /// Whether there are operators at all.
    pub set_up: bool,
    /// Whether one can sign in with a token.
    pub have_tokens: bool,
    /// Who is signed in here.
    pub operator: Option<Operator>,
    /// Why the operators cannot be read.
    pub problem: Option<String>,
    pub offered: Vec<&'static str>,
    pub others: Vec<Choice>,
    pub members: Vec<Choice>,
    pub services: Vec<String>,
    pub acknowledged_by: Option<String>,
    /// Wall clock.
    pub snoozed_until_ms: Option<i64>,
    pub heard: Vec<Heard>,
    pub asked: Option<Asked>,
}

/// What may be asked of the incident.
///
/// # Errors
/// The database is away.
pub async fn collect(
    app: &App,
    row: &IncidentRow,
    known: &Known,
    timeline: &[AgentEvent],
    (caller, headers): (&Caller, &HeaderMap),
    asked: Option<&str>,
) -> Result<Operate, ApiError> {
    let mut part = Operate {
        set_up: app.operators.are_set_up(),
        have_tokens: app.operators.have_tokens(),
        offered: offered(row),
        heard: conclusion::heard(timeline),
        asked: asked.and_then(read_asked),
        ..Operate::default()
    };
    let now_ms = clock::now_ms();
    part.snoozed_until_ms = known.snoozed_until_ms.filter(|until| *until > now_ms);
    part.acknowledged_by.clone_from(&known.acknowledged_by);
    if part.acknowledged_by.is_some() {
        part.offered.retain(|command| *command != "acknowledge");
    }
    if !part.set_up {
        return Ok(part);
    }
    match app.operators.of_page(caller, headers) {
        Ok(operator) => part.operator = operator,
        Err(error) => part.problem = Some(error.message),
    }
    if part.operator.is_none() {
        return Ok(part);
    }
    part.services.clone_from(&known.services);
    part.members = members(known);
    if part.members.is_empty() {
        part.offered.retain(|command| *command != "split");
    }
    if part.offered.contains(&"merge") {
        part.others = others(app, row).await?;
    }
    if part.others.is_empty() {
        part.offered.retain(|command| *command != "merge");
    }
    Ok(part)
}

/// The address says what was published; only words and numbers of ours count.
fn read_asked(text: &str) -> Option<Asked> {
    let mut parts = text.split('.');
    let name = parts.next()?;
    let known = COMMANDS.into_iter().chain(["maintain", RESEND]);
    let asked = Asked {
        command: known.into_iter().find(|command| *command == name)?,
        partition: parts.next()?.parse().ok()?,
        offset: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(asked)
}

/// What could leave: each service with others beside it, each anomaly.
fn members(known: &Known) -> Vec<Choice> {
    let anomalies = &known.anomalies;
    if anomalies.len() < 2 {
        return Vec::new();
    }
    let services: BTreeSet<&str> = anomalies.iter().map(|one| one.service.as_str()).collect();
    let mut choices = Vec::new();
    if services.len() > 1 {
        choices.extend(services.into_iter().map(|service| Choice {
            value: service.to_owned(),
            words: format!("all of {service}"),
        }));
    }
    choices.extend(anomalies.iter().map(|one| Choice {
        value: one.anomaly_id.to_string(),
        words: format!("{} of {}", one.trigger_metric, one.service),
    }));
    choices.truncate(MEMBERS);
    choices
}

async fn others(app: &App, row: &IncidentRow) -> Result<Vec<Choice>, ApiError> {
    let filter = IncidentFilter {
        status: Some("OPEN".to_owned()),
        environment: Some(row.environment.clone()),
        ..IncidentFilter::default()
    };
    let found = read::incidents(&app.pool, &filter, OTHERS).await?;
    let choice = |item: Item| Choice {
        value: Uuid::to_string(&item.row.id),
        words: format!("{} {}", item.row.short_id, item.title),
    };
    Ok(found
        .into_iter()
        .filter(|other| other.id != row.id)
        .map(|other| choice(Item::from(other)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_server_could_have_published_is_shown_as_asked() {
        let asked = read_asked("snooze.2.15").unwrap();
        assert_eq!(
            (asked.command, asked.partition, asked.offset),
            ("snooze", 2, 15)
        );
        for other in [
            "",
            "heal.1.2",
            "snooze.x.2",
            "snooze.1",
            "snooze.1.2.3",
            "<b>.1.2",
        ] {
            assert_eq!(read_asked(other), None, "{other}");
        }
    }
}
