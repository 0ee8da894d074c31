//! What channels other than mail are told. Pure: no clock, network or log.

use crate::acts::{is_in_vain, more_of, told_of};
use crate::channels::book::Asked;
use crate::channels::{Board, Button, Channel, Kind, POST, Post, Signal};
use crate::clocks::{forget, silence, snooze, unwind};
use crate::decide::{Core, State};
use crate::digest::Audience;
use crate::render::View;
use crate::view::Reading;
use midwatch_events::action::RiskClass;
use midwatch_events::incident::IncidentChange;
use midwatch_events::{
    IncidentHeader, IncidentUpdated, RemediationAction, RemediationPlan, Severity, ids,
};
use midwatch_runtime::agent::Moment;
use midwatch_runtime::effect::{Effect, JobRequest, Notification};

/// Tries of a message that its channel answers wrongly; an outage costs none.
pub(crate) const POST_TRIES: i32 = 3;
/// Characters of a detail that are carried; the channels cut further.
const DETAIL: usize = 8_000;

/// Something to tell.
pub(crate) struct News {
    /// What routes call it.
    pub stage: &'static str,
    /// What tells it apart within the incident.
    pub key: String,
    pub signal: Signal,
    pub headline: String,
    /// Empty where only the board changed.
    pub detail: String,
}

impl Core {
    /// Tells the channels that are routed; those that show the incident and
    /// are not routed get their board brought up to date.
    pub(crate) fn post(
        &self,
        state: &mut State,
        at: Moment,
        header: &IncidentHeader,
        news: &News,
    ) -> Vec<Effect> {
        let team = self.catalogue.get(header.primary_service());
        let asked = Asked {
            stage: news.stage,
            severity: state.severity.unwrap_or(header.severity),
            services: &header.affected_services,
            team: team.map_or("", |entry| entry.team.as_str()),
            wall_ms: at.wall_ms,
        };
        let routed: Vec<&str> = self
            .book
            .routed(&asked)
            .into_iter()
            .map(|channel| channel.name.as_str())
            .collect();
        // Whoever was alarmed hears of the end, whatever the hour.
        let owed = matches!(news.signal, Signal::Acknowledge | Signal::Resolve);
        let mut effects = Vec::new();
        for channel in &self.book.channels {
            let shows = state.shown_on.contains(&channel.name);
            let is_routed = routed.contains(&channel.name.as_str());
            if !shows && let Some(minutes) = self.rests(state, news, (channel, is_routed), &asked) {
                let quiet = (channel, minutes);
                effects.extend(self.note_channel(state, at, header, &news.key, quiet));
                continue;
            }
            let told = if is_routed || (owed && shows) {
                news.detail.as_str()
            } else if shows && news.signal == Signal::Update {
                ""
            } else {
                continue;
            };
            effects.extend(
                self.post_to(state, at, header, news, channel, told)
                    .into_iter()
                    .flatten(),
            );
        }
        effects
    }

    /// Whether a message is left to the channel's digest, and of how many
    /// minutes. A digest that told of a beginning tells of the end.
    fn rests(
        &self,
        state: &State,
        news: &News,
        (channel, is_routed): (&Channel, bool),
        asked: &Asked<'_>,
    ) -> Option<u32> {
        if asked.severity > Severity::Low || news.detail.is_empty() {
            return None;
        }
        let scope = Audience::Channel(channel.name.clone()).scope();
        let noted = state.quiet.noted.get(&scope);
        // A route that wants the message at once is stronger than what is owed.
        let owed = noted.filter(|_| news.signal == Signal::Resolve && !is_routed);
        let routed = self.book.digest_minutes(channel, asked);
        routed.or(owed.map(|noted| noted.minutes))
    }

    /// One message on one channel, once.
    pub(crate) fn post_to(
        &self,
        state: &mut State,
        at: Moment,
        header: &IncidentHeader,
        news: &News,
        channel: &Channel,
        detail: &str,
    ) -> Option<Effects> {
        let is_edit = detail.is_empty() && news.signal == Signal::Update;
        // A pager wants alarms, and a webhook has nothing to edit.
        let silent = match channel.kind {
            Kind::Pagerduty { .. } => news.signal == Signal::Update,
            Kind::Webhook { .. } => is_edit,
            Kind::Slack { .. } | Kind::Telegram { .. } => false,
        };
        let told = state.told.entry(news.key.clone()).or_default();
        if silent || !told.insert(channel.name.clone()) {
            return None;
        }
        state.shown_on.insert(channel.name.clone());
        let offers = news.signal != Signal::Resolve && channel.kind.takes_links();
        let link = offers.then(|| self.take_link(state, at, header, (&news.key, &channel.name)));
        let name = std::slice::from_ref(&channel.name);
        let notification = Notification {
            incident_id: header.incident_id,
            message_id: ids::message_id(header.incident_id, &news.key, name),
            stage: news.key.clone(),
            channel: channel.name.clone(),
            to: vec![channel.kind.recipient().to_owned()],
            cc: Vec::new(),
            in_reply_to: None,
            subject: news.headline.clone(),
            body_html: String::new(),
            body_text: detail.to_owned(),
        };
        let post = Post {
            channel: channel.name.clone(),
            board: state.board.clone(),
            signal: news.signal,
            headline: news.headline.clone(),
            detail: detail.chars().take(DETAIL).collect(),
            notification: notification.clone(),
            about: Vec::new(),
            again: false,
            alert: state.alert,
            link: link.flatten(),
            take: None,
        };
        let payload = serde_json::to_value(&post).ok()?;
        let request = JobRequest {
            lane: Some(format!("{}/{}", header.incident_id, channel.name)),
            max_attempts: POST_TRIES,
            ..JobRequest::new(format!("{POST}:{}", notification.message_id), POST, payload)
        };
        Some([Effect::Notify(notification), Effect::StartJob(request)])
    }

    /// The incident's first message, and the clocks that run from it.
    pub(crate) fn post_opened(
        &self,
        state: &mut State,
        at: Moment,
        header: &IncidentHeader,
        view: &View,
    ) -> Vec<Effect> {
        state
            .board
            .refresh(header, state.severity, &self.dashboard_url);
        if let View::Opened(opened) = view {
            state.board.reading = Some(reading(&opened.trigger));
        }
        let key = view.stage().key(state.round);
        let rendered = self.templates.render(view, header);
        let mut effects = self.post(
            state,
            at,
            header,
            &News {
                stage: "opened",
                key,
                signal: Signal::Trigger,
                headline: rendered.subject,
                detail: rendered.text,
            },
        );
        effects.extend(self.wind(state, at, header));
        effects.extend(self.rest(state, at, header));
        effects
    }

    /// A later stage: what its mail says, for the thread.
    pub(crate) fn post_stage(
        &self,
        state: &mut State,
        at: Moment,
        header: &IncidentHeader,
        view: &View,
        key: String,
    ) -> Vec<Effect> {
        state
            .board
            .refresh(header, state.severity, &self.dashboard_url);
        match view {
            View::Cause(cause) => {
                state.board.cause = Some(format!("{} ({}%)", cause.top, cause.confidence));
            }
            View::Plan(plan) => {
                let dry_run = plan.dry_run && !plan.read_only;
                let told = if dry_run {
                    ", approving is a dry run"
                } else {
                    ""
                };
                state.board.plan = Some(format!("{}, ETA {}{told}", plan.count, plan.eta));
            }
            View::Resolved(end) => {
                state.board.end = Some(format!("{} {}", end.mttr_both, end.method))
            }
            View::Merged(merged) => state.board.end = Some(merged.words.clone()),
            View::Opened(_) | View::Progress(_) | View::Postmortem(_) => {}
        }
        let is_end = matches!(view, View::Resolved(_) | View::Merged(_));
        if is_end {
            state.board.buttons.clear();
        }
        let rendered = self.templates.render(view, header);
        let news = News {
            stage: match view {
                View::Progress(_) => "update",
                _ => view.stage().as_str(),
            },
            key,
            signal: if is_end {
                Signal::Resolve
            } else {
                Signal::Update
            },
            headline: rendered.subject,
            detail: rendered.text,
        };
        let mut effects = self.post(state, at, header, &news);
        if is_end {
            state.over = true;
            (state.quiet.cause, state.quiet.plan) = (None, None);
            effects.extend(unwind(state));
        } else {
            effects.extend(self.rest(state, at, header));
        }
        effects
    }

    /// What the plan lets people approve from where they are.
    pub(crate) fn offer(state: &mut State, plan: &RemediationPlan) {
        let steps = plan.action_steps.iter();
        // What only looks is approved where its command is shown.
        let typed = steps
            .filter_map(|step| Some((step, step.typed.as_deref()?)))
            .filter(|(_, action)| !action.kind.only_looks());
        let dry_run = if plan.dry_run == Some(true) {
            " (dry run)"
        } else {
            ""
        };
        state
            .board
            .buttons
            .retain(|button| button.action == "acknowledge");
        for (step, action) in typed.take(2) {
            state.board.buttons.push(Button {
                action: "approve".to_owned(),
                label: format!("Approve {}{dry_run}: {}", step.step_id, step.action),
                value: format!(
                    "{}|{}|{}",
                    plan.header.incident_id, plan.plan_hash, step.step_id
                ),
                is_grave: action.risk >= RiskClass::Disruptive,
            });
        }
    }

    /// Somebody acknowledged or snoozed, or the incident changed otherwise.
    pub(crate) fn post_update(
        &self,
        state: &mut State,
        at: Moment,
        updated: &IncidentUpdated,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if updated.change == IncidentChange::Reopened {
            effects.extend(forget(state));
            (state.acknowledged, state.over) = (false, false);
            (state.board.end, state.board.note) = (None, None);
            state.board.action = None;
            state
                .board
                .offer_acknowledgement(updated.header.incident_id);
        }
        state
            .board
            .refresh(&updated.header, state.severity, &self.dashboard_url);
        let until_ms = updated.snoozed_until_ms;
        let taken = match (updated.change, until_ms) {
            (IncidentChange::Snoozed, Some(until_ms)) => {
                effects.extend(snooze(state, at, until_ms));
                state.board.note = Some(updated.reason.clone());
                true
            }
            // A snooze whose end was not told would never end.
            (IncidentChange::Acknowledged | IncidentChange::Snoozed, _) => {
                state.acknowledged = true;
                state.board.note = Some(updated.reason.clone());
                state
                    .board
                    .buttons
                    .retain(|button| button.action != "acknowledge");
                effects.extend(silence(state));
                true
            }
            (_, None) => {
                effects.extend(self.wake(state, at, &updated.header));
                false
            }
            // The investigation must know; people wanted quiet.
            _ if state.snooze.is_some() => {
                if let Some(snooze) = &mut state.snooze {
                    snooze.keep(&updated.reason);
                }
                return effects;
            }
            _ => false,
        };
        let (signal, detail) = if taken {
            (Signal::Acknowledge, updated.reason.clone())
        } else {
            (Signal::Update, String::new())
        };
        let news = News {
            stage: "update",
            key: format!("update.{}", updated.revision),
            signal,
            headline: format!("{}: {}", updated.header.short_id, updated.reason),
            detail,
        };
        effects.extend(self.post(state, at, &updated.header, &news));
        if !taken && !state.over && state.opened.is_some() {
            effects.extend(self.wind(state, at, &updated.header));
        }
        effects.extend(self.rest(state, at, &updated.header));
        effects
    }

    /// A step of the plan went on.
    pub(crate) fn post_action(
        &self,
        state: &mut State,
        at: Moment,
        action: &RemediationAction,
    ) -> Vec<Effect> {
        let words = told_of(action);
        let lines = more_of(action);
        // Whoever presses a button once more, or may not, changes nothing about
        // the step, which goes on or is over.
        if !is_in_vain(action) {
            state.board.action = Some(words.clone());
        }
        let news = News {
            stage: "action",
            key: format!(
                "action.{}.{}.{}.{}",
                action.plan_id.simple(),
                action.step_id,
                action.phase,
                action.at_ms
            ),
            signal: Signal::Update,
            headline: format!("{}: {words}", action.header.short_id),
            detail: if lines.is_empty() {
                words
            } else {
                lines.join("\n")
            },
        };
        let mut effects = self.post(state, at, &action.header, &news);
        effects.extend(self.rest(state, at, &action.header));
        effects
    }
}

/// The row of a message and the job that delivers it.
type Effects = [Effect; 2];

impl Board {
    pub(crate) fn offer_acknowledgement(&mut self, incident_id: uuid::Uuid) {
        self.buttons.retain(|button| button.action != "acknowledge");
        self.buttons.push(Button {
            action: "acknowledge".to_owned(),
            label: "Acknowledge".to_owned(),
            value: format!("{incident_id}||"),
            is_grave: false,
        });
    }

    /// Brings what every event carries up to date.
    fn refresh(&mut self, header: &IncidentHeader, severity: Option<Severity>, dashboard: &str) {
        if self.short_id.is_empty() {
            self.offer_acknowledgement(header.incident_id);
        }
        let plain = |text: &str| crate::units::line(text, 200);
        self.title = plain(&header.title());
        severity
            .unwrap_or(header.severity)
            .as_str()
            .clone_into(&mut self.severity);
        self.short_id.clone_from(&header.short_id);
        self.environment = plain(&header.environment);
        self.services = header
            .affected_services
            .iter()
            .take(8)
            .map(|name| plain(name))
            .collect();
        self.link = format!("{dashboard}/incidents/{}", header.incident_id);
    }
}

fn reading(reading: &Reading) -> String {
    let mut text = format!("{} of {}", reading.metric, reading.service);
    if let (Some(observed), Some(baseline)) = (&reading.observed, &reading.baseline) {
        text.push_str(&format!(": {observed}, normally {baseline}"));
    }
    if let Some(sigma) = &reading.sigma {
        text.push_str(&format!(" ({sigma})"));
    }
    text
}
