//! Which mail goes to whom, and when. Pure: no clock, network or log.

use crate::again::{self, RECALL, RESEND, UnderWay};
use crate::channels::{Board, Book};
use crate::clocks::Snooze;
use crate::config::{Addresses, CAUSE_WAIT_MS, OPENED_WAIT_MS, PLAN_WAIT_MS, RESOLVED_WAIT_MS};
use crate::digest::{DUE, Digest, WORD};
pub use crate::mail::{Mail, Receipt, Refusal};
use crate::picture;
use crate::quiet::{Quiet, is_low};
use crate::receipts::delivered;
use crate::render::{Templates, View};
use crate::routing::{self, Recipients, Stage};
use crate::view::{self, Deeds, Surroundings};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use midwatch_clients::signed_link::LinkKey;
use midwatch_events::incident::IncidentChange;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::{
    Event, IncidentHeader, IncidentOpened, IncidentResolved, IncidentUpdated, RcaCompleted,
    Severity,
};
use midwatch_runtime::agent::{Input, Moment};
use midwatch_runtime::effect::Effect;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The kind of the one job: hand a mail to the SMTP server.
pub const DELIVER: &str = "deliver";
/// Tries of a delivery; the runtime waits 2 s, then 4 s, between them.
pub const DELIVERY_TRIES: i32 = 3;

/// What is remembered of an incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What correlation said last, cut to what mails show.
    pub opened: Option<Box<IncidentOpened>>,
    /// The highest severity heard of.
    pub severity: Option<Severity>,
    /// How often the incident was reopened.
    pub round: u32,
    /// The updates that reopened it.
    #[serde(default)]
    pub reopenings: BTreeSet<u32>,
    /// The newest update taken in; an older one that comes late is past.
    #[serde(default)]
    pub update: u32,
    /// The newest revision of the cause.
    #[serde(default)]
    pub revision: u32,
    /// Message-IDs of the first mails; the oldest is the thread's root.
    pub thread: Vec<String>,
    /// Who was told of which stage, by [`Stage::key`].
    pub told: BTreeMap<String, BTreeSet<String>>,
    /// What became of the plan's steps.
    #[serde(default)]
    pub deeds: Deeds,
    /// The same of the time before the last reopening.
    #[serde(default)]
    pub earlier_deeds: Deeds,
    /// What channels other than mail show.
    #[serde(default)]
    pub board: Board,
    /// The channels that show it.
    #[serde(default)]
    pub shown_on: BTreeSet<String>,
    /// Somebody has taken it.
    #[serde(default)]
    pub acknowledged: bool,
    /// Somebody has silenced it for a while.
    #[serde(default)]
    pub snooze: Option<Snooze>,
    #[serde(default)]
    pub over: bool,
    /// Clocks of escalation that were set.
    #[serde(default)]
    pub clocks: BTreeSet<String>,
    /// When those that run are due, wall clock.
    #[serde(default)]
    pub due: BTreeMap<String, i64>,
    /// How often a snooze ended without an acknowledgement: a pager then
    /// opens an alert anew.
    #[serde(default)]
    pub alert: u32,
    /// How often a snooze ended.
    #[serde(default)]
    pub wakes: u32,
    /// Event time of the last reopening.
    #[serde(default)]
    pub reopened_at_ms: Option<i64>,
    /// The hash of the plan that was told last.
    #[serde(default)]
    pub plan_hash: String,
    /// What that plan was for and did; absent where an older build told it.
    #[serde(default)]
    pub plan_gist: Option<Uuid>,
    /// Wall clock of the last news.
    #[serde(default)]
    pub news_wall_ms: i64,
    /// The picture of the trigger's course, a PNG in base64.
    #[serde(default)]
    pub picture: Option<String>,
    /// Progress notes so far.
    #[serde(default)]
    pub notes: u32,
    /// What digests were told instead of people.
    #[serde(default)]
    pub quiet: Quiet,
    /// Where the scope is a digest and no incident.
    #[serde(default)]
    pub digest: Digest,
    /// What is being sent again.
    #[serde(default)]
    pub again: UnderWay,
}

/// The deciding part of the agent.
#[derive(Debug)]
pub struct Core {
    pub addresses: Addresses,
    pub dashboard_url: String,
    pub catalogue: Catalogue,
    /// Why routing falls short of what was meant; shown in every mail.
    pub notice: Option<String>,
    pub templates: Templates,
    /// Channels other than mail, routes and escalation.
    pub book: Book,
    /// Minutes between digests of LOW incidents by mail; 0 for a mail each.
    pub digest_minutes: u32,
    /// What links in mails are signed with; without one there are none.
    pub link_key: Option<LinkKey>,
}

impl Core {
    /// Decides on an input.
    pub fn decide(&self, state: &mut State, at: Moment, input: Input) -> Vec<Effect> {
        match input {
            Input::Event { envelope, .. } => match envelope.event {
                Event::Command(command) if command.command == RESEND => {
                    self.resend(state, at, envelope.meta.event_id, &command)
                }
                event => self.hear(state, at, event, false),
            },
            Input::Expired { envelope } => self.hear(state, at, envelope.event, true),
            Input::JobDone { job, result } if job.kind == RECALL => {
                self.recalled(state, at, &job, result)
            }
            Input::JobDone { job, result } => {
                again::settle(state, &job);
                delivered(at, &job, result)
            }
            Input::Timer { name, .. } if name == DUE => self.digest_due(state, at),
            Input::Timer { name, payload } if name.starts_with(WORD) => {
                self.noted(state, at, payload)
            }
            Input::Timer { name, .. } => self.rang(state, at, &name),
        }
    }

    /// `late`: the event's predecessor never came, so it is not waited for.
    fn hear(&self, state: &mut State, at: Moment, event: Event, late: bool) -> Vec<Effect> {
        if !late && let Some(park) = must_wait(state, &event) {
            return vec![park];
        }
        match event {
            Event::Opened(opened) => {
                note_severity(state, opened.header.severity);
                // The readings weigh too much to be kept with the state.
                state.picture = picture::of(&opened).map(|png| BASE64_STANDARD.encode(png));
                state.opened = Some(Box::new(cut(*opened)));
                self.tell_opened(state, at)
            }
            Event::Updated(updated) => self.updated(state, at, &updated),
            Event::Rca(rca) => self.cause(state, at, &rca),
            Event::Plan(plan) => self.planned(state, at, &plan),
            Event::Resolved(resolved) if is_merged(&resolved) => self.merged(state, at, &resolved),
            Event::Resolved(resolved) => {
                let around = self.around(state, &resolved.header);
                let opened = state.opened.as_deref();
                // An end that is heard after the relapse ends only what was
                // before it.
                let relapse = state.reopened_at_ms;
                let is_past = relapse.is_some_and(|at_ms| resolved.resolved_at_ms <= at_ms);
                let deeds = if is_past {
                    &state.earlier_deeds
                } else {
                    &state.deeds
                };
                let view = View::Resolved(view::resolved(&resolved, opened, deeds, &around));
                if is_past {
                    let key = Stage::Resolved.key(state.round.saturating_sub(1));
                    let people = self.recipients(state, Stage::Resolved, &resolved.header);
                    return self.tell_as(state, at, &view, &resolved.header, key, people);
                }
                let key = Stage::Resolved.key(state.round);
                let mut effects = self.tell(state, at, &view, &resolved.header);
                effects.extend(self.post_stage(state, at, &resolved.header, &view, key));
                effects
            }
            Event::Action(action) => {
                state.deeds.note(&action);
                if action.phase != "intent" {
                    state.earlier_deeds.note(&action);
                }
                if state.opened.is_none() {
                    return Vec::new();
                }
                self.post_action(state, at, &action)
            }
            Event::Postmortem(event) => {
                let view = view::postmortem(&event, &self.around(state, &event.header));
                let view = View::Postmortem(view);
                let key = Stage::Postmortem.key(state.round);
                let mut effects = self.tell(state, at, &view, &event.header);
                effects.extend(self.post_stage(state, at, &event.header, &view, key));
                effects
            }
            _ => Vec::new(),
        }
    }

    /// The cause, or a revision of it. Whoever knows a cause hears of another
    /// one only where another comes first, and of that one once.
    pub(crate) fn cause(&self, state: &mut State, at: Moment, rca: &RcaCompleted) -> Vec<Effect> {
        note_severity(state, rca.header.severity);
        if rca.revision < state.revision {
            return self.speak_up(state, at, &rca.header);
        }
        let is_quiet = is_low(state, &rca.header);
        state.quiet.cause = is_quiet.then(|| Box::new(rca.clone()));
        // What was planned already comes after the cause.
        let plan = state.quiet.plan.take_if(|_| !is_quiet);
        let mut effects = self.speak_up(state, at, &rca.header);
        effects.extend(self.tell_cause(state, at, rca, is_quiet));
        if let Some(plan) = plan {
            effects.extend(self.planned(state, at, &plan));
        }
        effects
    }

    fn tell_cause(
        &self,
        state: &mut State,
        at: Moment,
        rca: &RcaCompleted,
        is_quiet: bool,
    ) -> Vec<Effect> {
        let is_new = rca.revision > state.revision;
        state.revision = rca.revision;
        let known = Stage::Rca.key(state.round);
        // Whoever was told of none hears of this one as the first.
        let told = state.told.get(&known).is_some_and(|told| !told.is_empty());
        let changed = is_new && rca.top_changed && (told || is_quiet);
        let onset = state.opened.as_deref().map(view::onset_ms);
        let mut view = view::cause(rca, onset, at.wall_ms, &self.around(state, &rca.header));
        view.changed = changed;
        let view = View::Cause(view);
        if !changed {
            let mut effects = self.tell(state, at, &view, &rca.header);
            effects.extend(self.post_stage(state, at, &rca.header, &view, known));
            return effects;
        }
        let key = format!("{}.changed.{}", Stage::Rca.as_str(), rca.revision);
        let recipients = self.recipients(state, Stage::Rca, &rca.header);
        // Who hears of it now has nothing left to hear of the cause.
        let mails_rest = self.mails_rest(state, &rca.header);
        let told = state.told.entry(known).or_default();
        if !mails_rest {
            told.extend(recipients.all());
        }
        let mut effects = self.tell_as(state, at, &view, &rca.header, key.clone(), recipients);
        effects.extend(self.post_stage(state, at, &rca.header, &view, key));
        effects
    }

    /// The incident goes on inside another one: a line to those who know of it.
    fn merged(&self, state: &mut State, at: Moment, resolved: &IncidentResolved) -> Vec<Effect> {
        let header = &resolved.header;
        let known = state.told.get(&Stage::Opened.key(state.round));
        let mut known = known.cloned().unwrap_or_default();
        known.extend(state.quiet.mailed().cloned());
        let is_known = |address: &String| known.contains(address);
        let mut recipients = self.recipients(state, Stage::Resolved, header);
        recipients.to.retain(is_known);
        recipients.cc.retain(is_known);
        let view = View::Merged(view::merged(resolved, &self.around(state, header)));
        let key = Stage::Resolved.key(state.round);
        let mut effects = self.tell_as(state, at, &view, header, key.clone(), recipients);
        effects.extend(self.post_stage(state, at, header, &view, key));
        effects
    }

    fn updated(&self, state: &mut State, at: Moment, updated: &IncidentUpdated) -> Vec<Effect> {
        if updated.change == IncidentChange::Reopened && state.reopenings.insert(updated.revision) {
            state.round += 1;
            state.earlier_deeds = std::mem::take(&mut state.deeds);
            state.reopened_at_ms = Some(updated.updated_at_ms);
        }
        // It holds the whole, and a newer whole is known. What is left of an
        // incident that was merged into another one is nothing.
        let is_left =
            updated.change != IncidentChange::Merged || !updated.grouped_anomalies.is_empty();
        if updated.revision <= state.update || !is_left {
            if state.snooze.is_some() {
                return Vec::new();
            }
            return self.tell_opened(state, at);
        }
        state.update = updated.revision;
        note_severity(state, updated.header.severity);
        // Without the first mail's event there are no readings to show; the
        // severity is kept for the mails that follow.
        let Some(opened) = state.opened.as_deref_mut() else {
            return Vec::new();
        };
        opened.header = updated.header.clone();
        opened.blast_radius = updated.blast_radius.clone();
        opened
            .correlation_signals
            .clone_from(&updated.correlation_signals);
        opened
            .deployment_context
            .clone_from(&updated.deployment_context);
        opened
            .grouped_anomalies
            .clone_from(&updated.grouped_anomalies);
        opened.more_anomalies.clone_from(&updated.more_anomalies);
        opened.keep_anomalies(KEPT);
        let mut effects = self.post_update(state, at, updated);
        // Whoever is concerned by what joined during a snooze hears of it when
        // the snooze is over.
        if state.snooze.is_none() {
            effects.extend(self.tell_opened(state, at));
        }
        effects.extend(self.speak_up(state, at, &updated.header));
        effects
    }

    /// The first mail, to whoever of those concerned by now has not got it.
    pub(crate) fn tell_opened(&self, state: &mut State, at: Moment) -> Vec<Effect> {
        // What is over alarms nobody any more.
        let Some(opened) = state.opened.clone().filter(|_| !state.over) else {
            return Vec::new();
        };
        let around = self.around(state, &opened.header);
        let mut view = view::opened(&opened, state.round > 0, &around);
        view.picture = state.picture.is_some();
        let view = View::Opened(view);
        let mut effects = self.tell(state, at, &view, &opened.header);
        effects.extend(self.post_opened(state, at, &opened.header, &view));
        effects
    }

    pub(crate) fn around(&self, state: &State, header: &IncidentHeader) -> Surroundings<'_> {
        Surroundings {
            dashboard_url: &self.dashboard_url,
            severity: state.severity.unwrap_or(header.severity),
            notice: self.notice.as_deref(),
        }
    }

    /// Sends the mail to those of its recipients who have not got it.
    fn tell(
        &self,
        state: &mut State,
        at: Moment,
        view: &View,
        header: &IncidentHeader,
    ) -> Vec<Effect> {
        let key = view.stage().key(state.round);
        let recipients = self.recipients(state, view.stage(), header);
        self.tell_as(state, at, view, header, key, recipients)
    }

    pub(crate) fn recipients(
        &self,
        state: &State,
        stage: Stage,
        header: &IncidentHeader,
    ) -> Recipients {
        routing::recipients(
            stage,
            state.severity.unwrap_or(header.severity),
            header.primary_service(),
            &self.addresses,
            &self.catalogue,
        )
    }
}

/// Grouped anomalies, readings and log lines that are remembered; mails show
/// fewer.
const KEPT: usize = 24;

fn cut(mut opened: IncidentOpened) -> IncidentOpened {
    opened.keep_anomalies(KEPT);
    opened.recent_errors.truncate(KEPT);
    // No mail draws the series; it would only weigh on every state write.
    opened.recent_metrics.clear();
    opened
}

/// Severity only rises: whoever was alarmed must also hear the end.
fn note_severity(state: &mut State, severity: Severity) {
    state.severity = Some(state.severity.map_or(severity, |known| known.max(severity)));
}

/// Where the event's predecessor in the life of an incident is still missing.
fn must_wait(state: &State, event: &Event) -> Option<Effect> {
    let told = |stage: Stage| state.told.contains_key(&stage.key(state.round));
    let park = |reason: &str, ttl_ms: i64| {
        Some(Effect::Park {
            reason: reason.to_owned(),
            ttl_ms,
        })
    };
    match event {
        Event::Updated(_)
        | Event::Rca(_)
        | Event::Plan(_)
        | Event::Resolved(_)
        | Event::Postmortem(_)
            if state.opened.is_none() =>
        {
            park("incidents.opened has not come yet", OPENED_WAIT_MS)
        }
        Event::Plan(_) if !told(Stage::Rca) => {
            park("the mail about the cause goes first", CAUSE_WAIT_MS)
        }
        // A second end waits for no second plan: people know what was proposed.
        Event::Resolved(resolved)
            if state.round == 0 && follows_a_plan(resolved) && !told(Stage::Plan) =>
        {
            park("the mail with the plan goes first", PLAN_WAIT_MS)
        }
        Event::Postmortem(_) if !told(Stage::Resolved) => {
            park("the mail about the end goes first", RESOLVED_WAIT_MS)
        }
        _ => None,
    }
}

fn is_merged(resolved: &IncidentResolved) -> bool {
    resolved.resolution_method == "MERGED"
}

/// A merged or closed incident may never get a plan.
fn follows_a_plan(resolved: &IncidentResolved) -> bool {
    !matches!(
        resolved.resolution_method.as_str(),
        "MERGED" | "CLOSED_BY_OPERATOR"
    )
}
