//! The agents: whether each is well, how far behind it is, what it gets done,
//! and what waits for it.

mod probe;

pub use probe::{Endpoint, Health, Prober, ProcessNow, Source, parse_endpoints};

use crate::App;
use crate::error::ApiError;
use crate::params::Params;
use crate::topics::TopicsView;
use axum::Json;
use axum::extract::State;
use midwatch_clients::kafka::{Group, KafkaSettings};
use midwatch_clients::postgres::read::{self, AgentWork, THROUGHPUT_MINUTES};
use midwatch_events::topics::TOPICS;
use midwatch_runtime::clock;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The agents of the pipeline, in the order in which data flow.
pub const AGENTS: [&str; 6] = [
    "detection",
    "correlation",
    "investigation",
    "remediation",
    "communication",
    "postmortem",
];
/// How long a page waits for the broker. The question goes on meanwhile, so
/// that the next page finds the answer.
const WAIT: Duration = Duration::from_secs(6);

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    pub client_id: String,
    pub host: String,
    pub instance: Option<String>,
    /// Partitions that it reads, by topic; `null` where the broker does not say.
    pub partitions: Option<BTreeMap<String, Vec<i32>>>,
}

/// How far a group is behind in one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicLag {
    /// Without prefix.
    pub topic: String,
    pub partitions: usize,
    /// Messages that wait; `null` where the broker cannot say.
    pub lag: Option<i64>,
}

/// A consumer group as the broker knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupNow {
    pub name: String,
    /// `Stable`, `Empty`, …
    pub state: String,
    pub members: Vec<Member>,
    pub topics: Vec<TopicLag>,
    /// Over all topics; `null` where one is unknown.
    pub lag: Option<i64>,
    /// How long the oldest message that waits has waited.
    pub oldest_wait_ms: Option<i64>,
}

/// An agent, or another process that was named in AGENT_ENDPOINTS.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentNow {
    pub name: String,
    /// Whether it is one of the pipeline's six agents.
    pub is_agent: bool,
    /// The topics that it reads, as declared.
    pub reads: Vec<&'static str>,
    /// Empty where AGENT_ENDPOINTS names none of its processes: its health is
    /// then not known here.
    pub processes: Vec<ProcessNow>,
    /// `null` where the broker knows no such group, or gives no answer.
    pub group: Option<GroupNow>,
    pub work: AgentWork,
}

/// All of them.
#[derive(Clone, Debug, Serialize)]
pub struct AgentsView {
    pub items: Vec<AgentNow>,
    /// Whether the broker said which groups there are.
    pub groups_known: bool,
    /// Minutes over which inputs and audit lines are counted.
    pub throughput_minutes: i64,
    /// What is not known, and why.
    pub notes: Vec<String>,
}

/// The broker's topics and groups, if it gives them in time.
///
/// # Errors
/// Says in words why they are not known.
pub async fn broker(app: &App) -> Result<Arc<TopicsView>, String> {
    let topics = app.topics.clone();
    let asked = tokio::spawn(async move { topics.view().await });
    match tokio::time::timeout(WAIT, asked).await {
        Ok(Ok(Ok(view))) => match &view.error {
            None => Ok(view),
            Some(error) => Err(format!("the broker gives no answer: {error}")),
        },
        Ok(Ok(Err(error))) => Err(error.message),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "the broker gave no answer within {} s",
            WAIT.as_secs()
        )),
    }
}

/// What is known about all agents.
///
/// # Errors
/// The database is away. A broker or process that is away is an answer.
pub async fn view(app: &App) -> Result<AgentsView, ApiError> {
    let (view, processes, work) =
        tokio::join!(broker(app), app.prober.ask(), read::agent_work(&app.pool));
    let mut work = work?;
    let mut notes = Vec::new();
    let groups_known = view.is_ok();
    let groups = view.map_or_else(
        |problem| {
            notes.push(format!("Lag is not known: {problem}."));
            BTreeMap::new()
        },
        |view| grouped(&view.groups, app.broker().settings()),
    );
    if app.prober.is_empty() {
        notes.push(
            "Health and readings per second are not known here: AGENT_ENDPOINTS names no process \
             (detection=http://127.0.0.1:9101,correlation=…)."
                .to_owned(),
        );
    }
    let items = names(&processes, &groups, &work)
        .into_iter()
        .map(|name| AgentNow {
            is_agent: AGENTS.contains(&name.as_str()),
            reads: reads(&name),
            processes: processes
                .iter()
                .filter(|process| process.name == name)
                .cloned()
                .collect(),
            group: groups.get(&name).cloned(),
            work: work.remove(&name).unwrap_or_default(),
            name,
        })
        .collect();
    Ok(AgentsView {
        items,
        groups_known,
        throughput_minutes: THROUGHPUT_MINUTES,
        notes,
    })
}

/// `GET /api/agents`.
pub async fn get(State(app): State<App>, params: Params) -> Result<Json<AgentsView>, ApiError> {
    params.only(&[])?;
    Ok(Json(view(&app).await?))
}

/// The six agents first, then whoever else shows.
fn names(
    processes: &[ProcessNow],
    groups: &BTreeMap<String, GroupNow>,
    work: &BTreeMap<String, AgentWork>,
) -> Vec<String> {
    let others: BTreeSet<&String> = processes
        .iter()
        .map(|process| &process.name)
        .chain(groups.keys())
        .chain(work.keys())
        .filter(|name| !AGENTS.contains(&name.as_str()))
        .collect();
    AGENTS
        .into_iter()
        .map(str::to_owned)
        .chain(others.into_iter().cloned())
        .collect()
}

fn reads(name: &str) -> Vec<&'static str> {
    TOPICS
        .iter()
        .filter(|spec| spec.consumers.split(", ").any(|reader| reader == name))
        .map(|spec| spec.name)
        .collect()
}

/// The groups of Midwatch, by the name of their agent.
fn grouped(groups: &[Group], settings: &KafkaSettings) -> BTreeMap<String, GroupNow> {
    let begins = settings.group("");
    let now_ms = clock::now_ms();
    groups
        .iter()
        .filter_map(|group| {
            let name = group.name.strip_prefix(begins.as_str())?;
            Some((name.to_owned(), group_now(group, settings, now_ms)))
        })
        .collect()
}

fn group_now(group: &Group, settings: &KafkaSettings, now_ms: i64) -> GroupNow {
    let bare = |topic: &str| settings.bare(topic).to_owned();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for partition in &group.partitions {
        *counts.entry(partition.topic.as_str()).or_default() += 1;
    }
    GroupNow {
        name: group.name.clone(),
        state: group.state.clone(),
        members: group
            .members
            .iter()
            .map(|member| Member {
                client_id: member.client_id.clone(),
                host: member.client_host.trim_start_matches('/').to_owned(),
                instance: member.instance.clone(),
                partitions: member.partitions.as_ref().map(|places| {
                    let mut read: BTreeMap<String, Vec<i32>> = BTreeMap::new();
                    for (topic, partition) in places {
                        read.entry(bare(topic)).or_default().push(*partition);
                    }
                    read
                }),
            })
            .collect(),
        topics: counts
            .into_iter()
            .map(|(topic, partitions)| TopicLag {
                topic: bare(topic),
                partitions,
                lag: group.topic_lag(topic),
            })
            .collect(),
        lag: group.lag,
        oldest_wait_ms: group.oldest_age_ms(now_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_agent_reads_what_the_topics_declare() {
        for name in AGENTS {
            assert!(!reads(name).is_empty(), "{name}");
        }
        assert_eq!(
            reads("postmortem"),
            [
                "remediation.actions",
                "incidents.resolved",
                "operator.commands"
            ]
        );
        assert!(reads("scorer").is_empty());
    }
}
