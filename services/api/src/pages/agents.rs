//! `/agents`: how each agent is, and what none of them could read.

use super::{Frame, Section, format};
use crate::App;
use crate::agents::{self, AgentNow, AgentsView, GroupNow, Health};
use crate::dead_letters::{self, Letter, Letterbox};
use crate::error::ApiError;
use crate::params::Params;
use axum::extract::State;
use axum::response::Response;
use midwatch_clients::postgres::read;
use serde::Serialize;

/// An agent's row.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    agent: AgentNow,
    /// `good`, `bad` or `unknown`.
    health: &'static str,
    health_text: String,
    /// What is missing, in words.
    missing: Vec<String>,
    lag_text: String,
    behind: bool,
    /// Members with what they read, in words.
    members: Vec<(String, String)>,
    throughput: String,
    per_second: Option<String>,
}

#[derive(Serialize)]
struct View {
    frame: Frame,
    rows: Vec<Row>,
    minutes: i64,
    notes: Vec<String>,
    well: usize,
    known: usize,
    /// Over all groups; `None` where one is unknown.
    lag: Option<i64>,
    failed_jobs: i64,
    letters: Vec<Letter>,
    boxes: Vec<Letterbox>,
    letters_total: Option<i64>,
    letters_problem: Option<String>,
    topic: String,
    /// The query of this page, so that the button leads back to it.
    here: String,
    next: Option<String>,
    later: bool,
}

/// `GET /agents`.
pub async fn show(State(app): State<App>, params: Params) -> Result<Response, ApiError> {
    params.only(&["topic", "before", "limit"])?;
    let mut frame = Frame::new("Agents").of(Section::Agents);
    frame.every_ms = 10_000;
    frame.last_id = read::last_event_id(&app.pool).await?;
    let (agents, letters) =
        tokio::try_join!(agents::view(&app), dead_letters::list(&app, &params))?;
    let AgentsView {
        items,
        groups_known,
        throughput_minutes,
        notes,
    } = agents;
    let rows: Vec<Row> = items
        .into_iter()
        .map(|agent| row(agent, groups_known, throughput_minutes))
        .collect();
    let pipeline = || rows.iter().filter(|row| row.agent.is_agent);
    let view = View {
        known: pipeline().filter(|row| row.health != "unknown").count(),
        well: pipeline().filter(|row| row.health == "good").count(),
        lag: pipeline()
            .map(|row| row.agent.group.as_ref().and_then(|group| group.lag))
            .sum(),
        failed_jobs: rows.iter().map(|row| row.agent.work.failed_jobs).sum(),
        minutes: throughput_minutes,
        notes,
        letters_total: letters.boxes.iter().map(|found| found.letters).sum(),
        letters: letters.items,
        boxes: letters.boxes,
        letters_problem: letters.problem,
        topic: params.text("topic").unwrap_or_default(),
        here: params.query(),
        next: letters.next.map(|next| params.query_with("before", &next)),
        later: params.text("before").is_some(),
        rows,
        frame,
    };
    app.pages.answer("agents.html", view)
}

fn row(agent: AgentNow, groups_known: bool, minutes: i64) -> Row {
    let (health, health_text) = health(&agent);
    let missing = agent
        .processes
        .iter()
        .flat_map(|process| {
            let said = process.missing.iter();
            said.map(|(what, state)| format!("{} {what}: {state}", process.url))
        })
        .collect();
    let (lag_text, behind) = lag(&agent, groups_known);
    let rates: Vec<f64> = agent
        .processes
        .iter()
        .filter_map(|process| process.per_second)
        .collect();
    let per_second =
        (!rates.is_empty()).then(|| format!("{} messages/s", format::number(rates.iter().sum())));
    Row {
        health,
        health_text,
        missing,
        lag_text,
        behind,
        members: agent.group.as_ref().map(members).unwrap_or_default(),
        throughput: throughput(&agent, minutes),
        per_second,
        agent,
    }
}

fn health(agent: &AgentNow) -> (&'static str, String) {
    let all = agent.processes.len();
    let count = |health: Health| {
        let found = agent.processes.iter().filter(|one| one.health == health);
        found.count()
    };
    let (ready, silent) = (count(Health::Ready), count(Health::NoAnswer));
    match (all, ready) {
        (0, _) => ("unknown", "not known here".to_owned()),
        (1, 1) => ("good", "ready".to_owned()),
        (1, 0) if silent == 1 => ("bad", "no answer".to_owned()),
        (1, 0) => ("bad", "not ready".to_owned()),
        (all, ready) if all == ready => ("good", format!("{all} ready")),
        (all, ready) => ("bad", format!("{ready} of {all} ready")),
    }
}

fn lag(agent: &AgentNow, groups_known: bool) -> (String, bool) {
    let Some(group) = &agent.group else {
        let text = match (agent.reads.is_empty(), groups_known) {
            (true, _) => "reads no topic",
            (false, true) => "its group has not joined the broker",
            (false, false) => "not known",
        };
        return (text.to_owned(), false);
    };
    match (group.lag, group.oldest_wait_ms) {
        (None, _) => ("the broker cannot say".to_owned(), false),
        (Some(0), _) => ("none".to_owned(), false),
        (Some(lag), wait) => {
            let count = format::number(lag as f64);
            let noun = if lag == 1 { "message" } else { "messages" };
            let wait = wait.map_or_else(String::new, |ms| {
                format!(", the oldest for {}", format::span(ms))
            });
            // Some wait at any moment; that they wait long is the news.
            let behind = group.oldest_wait_ms.is_none_or(|ms| ms > 30_000);
            (format!("{count} {noun}{wait}"), behind)
        }
    }
}

fn members(group: &GroupNow) -> Vec<(String, String)> {
    group
        .members
        .iter()
        .map(|member| {
            let name = match &member.instance {
                Some(instance) => instance.clone(),
                None => member.client_id.clone(),
            };
            let reads = match &member.partitions {
                None => "the broker does not say what it reads".to_owned(),
                Some(read) if read.is_empty() => "reads nothing at the moment".to_owned(),
                Some(read) => {
                    let parts: Vec<String> = read
                        .iter()
                        .map(|(topic, partitions)| {
                            let numbers: Vec<String> =
                                partitions.iter().map(ToString::to_string).collect();
                            format!("{topic} {}", numbers.join(" "))
                        })
                        .collect();
                    parts.join(", ")
                }
            };
            (name, reads)
        })
        .collect()
}

fn throughput(agent: &AgentNow, minutes: i64) -> String {
    let per_minute = |count: i64| format::number(count as f64 / minutes as f64);
    // Detection and the sources keep no row per message; their own counter
    // tells, from the second look on as a rate.
    let handled: Vec<f64> = agent
        .processes
        .iter()
        .filter_map(|process| process.handled)
        .collect();
    if agent.work.inputs > 0 {
        format!("{} inputs/min", per_minute(agent.work.inputs))
    } else if agent.work.audit_lines > 0 {
        format!("{} decisions/min", per_minute(agent.work.audit_lines))
    } else if !handled.is_empty() {
        let count = format::number(handled.iter().sum());
        format!("{count} messages since its start")
    } else if agent.is_agent {
        format!("nothing in {minutes} min")
    } else {
        "does not count messages".to_owned()
    }
}
