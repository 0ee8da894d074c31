//! `make demo ONCE=1`: follows one fault through its whole life as a reader
//! would, through the API and the inbox, and judges what it sees.
//!
//! The steps and the judgement are pure ([`story`], [`report`], [`kills`]);
//! this file asks, prints and keeps time.

pub mod approval;
pub mod kcat;
pub mod kills;
pub mod report;
pub mod rescale;
pub mod story;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::once::approval::{Approval, Approve, Ask};
use crate::once::kills::Schedule;
use crate::once::report::ModelCall;
use crate::once::rescale::Changes;
use crate::once::story::{Incident, Mail, Mark};
use crate::probe::http;
use crate::supervisor::Order;
use crate::table::{Row, summary};

/// How often the API and the inbox are read.
const POLL: Duration = Duration::from_millis(250);
/// After this from the command's start an unfinished incident is given up.
/// Above the limit of four minutes, so that a slow life is told to its end.
const PATIENCE: Duration = Duration::from_secs(330);
/// After the last mail: a second incident or a repeated mail would show here.
const SETTLE: Duration = Duration::from_secs(5);

/// What is followed.
#[derive(Clone, Debug)]
pub struct Once {
    /// Base address of the API.
    pub api: String,
    /// Base address of the inbox.
    pub inbox: String,
    /// The scenario.
    pub scenario: String,
    /// Simulated seconds per second.
    pub speed: u32,
    /// Seed of the kills.
    pub seed: u64,
    /// Whether each agent is killed once.
    pub kills: bool,
    /// Whether agents are scaled up and down meanwhile.
    pub rescale: bool,
    /// Which step of the plan is approved, if any.
    pub approve: Option<Approving>,
    /// The broker that kcat is to look at.
    pub kcat: Option<String>,
    /// Whether a scripted model is there.
    pub scripted_model: bool,
    /// When the command began.
    pub begun: Instant,
    /// When all was healthy, from then.
    pub healthy_after: Duration,
}

/// How a step is approved.
#[derive(Clone, Debug)]
pub struct Approving {
    /// Which step.
    pub which: Approve,
    /// The tokens of two operators.
    pub tokens: [String; 2],
    /// Base address of the simulator, which knows when the fault would end.
    pub simulator: String,
    /// Whether the stack's own policy holds.
    pub own_policy: bool,
}

/// Follows the fault. Whether everything was as it must be; what was missing
/// is printed.
///
/// # Errors
/// When the supervisor is gone.
pub async fn follow(
    once: &Once,
    orders: &mpsc::Sender<Order>,
    rows: watch::Receiver<Vec<Row>>,
) -> Result<bool> {
    let Once {
        scenario,
        speed,
        seed,
        ..
    } = once;
    println!("following {scenario} at speed {speed}, seed {seed}\n");
    let mut eye = Eye::new(once);
    let plan = if once.kills {
        kills::plan(once.seed)
    } else {
        Vec::new()
    };
    let mut schedule = Schedule::new(plan);
    let mut changes = Changes::new(once.rescale);
    let mut completed = None;
    while once.begun.elapsed() < PATIENCE {
        eye.look(once).await;
        eye.tell_new_steps();
        if completed.is_none() {
            if let Some(agent) = schedule.due(Instant::now(), |mark| eye.seen.get(&mark).copied()) {
                let order = Order::Kill(agent.to_owned());
                orders.send(order).await.context("the supervisor is gone")?;
            }
            if let Some(scale) = changes.due(Instant::now(), |mark| eye.seen.get(&mark).copied()) {
                let order = Order::Scale(scale);
                orders.send(order).await.context("the supervisor is gone")?;
            }
            if eye.is_complete() {
                completed = Some(once.begun.elapsed());
            }
        }
        let is_settled = completed.is_some_and(|after| once.begun.elapsed() > after + SETTLE);
        if is_settled && not_back(&schedule, &rows.borrow()).is_empty() {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    let mut problems = eye.judge(once, completed);
    for agent in schedule.left() {
        problems.push(format!(
            "{agent} was not killed before the incident was over"
        ));
    }
    problems.extend(not_back(&schedule, &rows.borrow()));
    if changes.left() > 0 {
        problems.push("the incident was over before all changes of scale".to_owned());
    }
    if once.scripted_model {
        problems.extend(tell_model_calls(once).await);
    }
    if let Some(bootstrap) = &once.kcat {
        match kcat::look(bootstrap).await {
            Ok(line) => println!("\n{line}"),
            Err(error) => problems.push(format!("{error:#}")),
        }
    }
    println!("\n{}", summary(&rows.borrow()));
    if problems.is_empty() {
        println!("\nPASSED: one incident, five stages, one Message-ID for each recipient");
        return Ok(true);
    }
    println!("\nFAILED {scenario} (seed {seed}):");
    for problem in problems {
        println!("  - {problem}");
    }
    Ok(false)
}

/// Killed agents that do not serve again.
fn not_back(schedule: &Schedule, rows: &[Row]) -> Vec<String> {
    let is_back = |agent: &str| {
        rows.iter().any(|row| {
            row.name == agent && row.restarts > 0 && row.complaint.is_none() && row.pid.is_some()
        })
    };
    let lost = schedule.done.iter().filter(|agent| !is_back(agent));
    lost.map(|agent| format!("{agent} was killed and is not back"))
        .collect()
}

async fn tell_model_calls(once: &Once) -> Vec<String> {
    let calls = match get(&format!("{}/api/llm-calls", once.api)).await {
        Ok(answer) => list(answer),
        Err(error) => return vec![format!("the API does not tell model calls: {error:#}")],
    };
    let calls: Vec<ModelCall> = calls
        .into_iter()
        .filter_map(|call| serde_json::from_value(call).ok())
        .collect();
    let (lines, missing) = report::model_calls(&calls);
    println!("\nmodel calls");
    for line in lines {
        println!("{line}");
    }
    missing
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Eye {
    incidents: Vec<Value>,
    incident: Option<Incident>,
    mails: Vec<Mail>,
    seen: BTreeMap<Mark, Instant>,
    heading_told: bool,
    complaint: Option<String>,
    approval: Option<Approval>,
}

impl Eye {
    /// Nothing seen yet.
    fn new(once: &Once) -> Self {
        let approval = |how: &Approving| Approval::new(how.which, &once.scenario, how.own_policy);
        Self {
            approval: once.approve.as_ref().map(approval),
            ..Self::default()
        }
    }

    /// Reads the API and the inbox once. A failure is kept for the end: under
    /// kills, answers may fail for a moment.
    async fn look(&mut self, once: &Once) {
        self.complaint = self
            .try_to_look(once)
            .await
            .err()
            .map(|error| format!("{error:#}"));
    }

    async fn try_to_look(&mut self, once: &Once) -> Result<()> {
        let received = list(get(&format!("{}/email", once.inbox)).await?);
        let now_ms = wall_ms();
        for value in received.iter().skip(self.mails.len()) {
            let mail = Mail::parse(value, now_ms);
            self.mails
                .push(mail.context("the inbox lists a mail without subject or id")?);
        }
        let address = format!("{}/api/incidents", once.api);
        self.incidents = list(get(&format!("{address}?environment=simulation")).await?);
        let Some(id) = self.incidents.first().and_then(|row| row["id"].as_str()) else {
            return Ok(());
        };
        let mut incident: Incident = serde_json::from_value(get(&format!("{address}/{id}")).await?)
            .context("the API's answer for one incident is not as agreed")?;
        // The same trail with the payloads, which tell the onset.
        let trail = format!("{}/api/agent-events?incident={id}&limit=1000", once.api);
        incident.timeline = list(get(&trail).await?)
            .into_iter()
            .map(serde_json::from_value)
            .collect::<Result<_, _>>()
            .context("the API's audit trail is not as agreed")?;
        self.incident = Some(incident.with_breach(once.speed.into()));
        self.approve(once, &format!("{address}/{id}")).await
    }

    /// Looks at the plan and approves what is to be approved of it.
    async fn approve(&mut self, once: &Once, incident: &str) -> Result<()> {
        let (Some(how), Some(approval)) = (&once.approve, &mut self.approval) else {
            return Ok(());
        };
        let plan = http().get(format!("{incident}/plan")).send().await?;
        // There is none before there is a cause.
        let plan = match plan.status().as_u16() {
            404 => None,
            _ => Some(plan.error_for_status()?.json().await?),
        };
        let mut status = get(&format!("{}/status", how.simulator)).await?;
        let faults = serde_json::from_value(status["faults"].take())
            .context("the simulator's status is not as agreed")?;
        approval.see(plan, faults);
        if let Some(ask) = approval.next() {
            give(incident, &how.tokens[ask.operator], &ask).await?;
            approval.was_given(ask);
        }
        Ok(())
    }

    fn tell_new_steps(&mut self) {
        let Some(incident) = &self.incident else {
            return;
        };
        if !self.heading_told {
            self.heading_told = true;
            println!(
                "{} {} {}",
                incident.short_id, incident.severity, incident.anomaly_type
            );
            println!("{}", report::HEADING);
        }
        let seen: Vec<Mark> = self.seen.keys().copied().collect();
        for (mark, lines) in report::new_steps(incident, &seen) {
            println!("{}", lines.join("\n"));
            self.seen.insert(mark, Instant::now());
        }
        for line in self.approval.iter_mut().flat_map(Approval::news) {
            println!("{line}");
        }
    }

    fn is_complete(&self) -> bool {
        let is_proven = self.approval.as_ref().is_none_or(Approval::is_complete);
        let incident = self.incident.as_ref();
        is_proven && incident.is_some_and(|incident| story::is_complete(incident, &self.mails))
    }

    /// Prints mails and times, and returns what is wrong.
    fn judge(&self, once: &Once, completed: Option<Duration>) -> Vec<String> {
        let mut problems: Vec<String> = self.complaint.iter().cloned().collect();
        let Some(incident) = &self.incident else {
            problems.push("no incident was opened in environment simulation".to_owned());
            return problems;
        };
        println!("\nmails");
        for line in report::mail_lines(incident, &self.mails) {
            println!("{line}");
        }
        for line in story::repeats(incident, &self.mails) {
            println!("  repeated: {line}");
        }
        let (said, late) = report::check_times(
            incident,
            &self.mails,
            once.speed,
            once.healthy_after,
            completed,
        );
        println!("\ntimes\n{}", said.join("\n"));
        if let Some(approval) = &self.approval {
            let (said, wrong) = approval.judge(incident);
            println!("\napproval\n{}", said.join("\n"));
            problems.extend(wrong);
        }
        if self.incidents.len() != 1 {
            problems.push(format!("{} incidents instead of one", self.incidents.len()));
            for row in &self.incidents {
                let field = |name: &str| row[name].as_str().unwrap_or("?").to_owned();
                let (id, kind) = (field("short_id"), field("anomaly_type"));
                problems.push(format!("  {id} {kind} {}", row["affected_services"]));
            }
        }
        problems.extend(story::problems(incident, &self.mails));
        problems.extend(late);
        problems
    }
}

/// Approves a step as an operator.
async fn give(incident: &str, token: &str, ask: &Ask) -> Result<()> {
    let body = json!({
        "command": "approve",
        "target": ask.step_id,
        "plan_hash": ask.plan_hash,
        "reason": "approved by the demo",
    });
    let request = http()
        .post(format!("{incident}/commands"))
        .bearer_auth(token);
    let answer = request.json(&body).send().await?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let text = answer.text().await.unwrap_or_default();
    bail!(
        "the API answers {status} to the approval of {}: {text}",
        ask.step_id
    )
}

async fn get(address: &str) -> Result<Value> {
    let response = http().get(address).send().await?.error_for_status()?;
    response
        .json()
        .await
        .with_context(|| format!("{address} does not answer JSON"))
}

/// A list, bare or as the first list inside an object.
fn list(answer: Value) -> Vec<Value> {
    match answer {
        Value::Array(items) => items,
        Value::Object(fields) => fields
            .into_iter()
            .find_map(|(_, value)| match value {
                Value::Array(items) => Some(items),
                _ => None,
            })
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "compared with wall times that other processes recorded; this crate stands below the runtime, whose clock is the home of this call"
)]
fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
