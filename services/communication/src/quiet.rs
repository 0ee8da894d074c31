//! What digests are told of an incident of LOW severity, instead of messages
//! of its own. Pure.
//!
//! Each stage that would have been told is a line in the next digest of whoever
//! it was for. Once the severity rises, the digests forget it, and what was
//! kept back is told at once in the ordinary way.

use crate::channels::Channel;
use crate::decide::{Core, State};
use crate::digest::{Audience, Entry, Standing, Word};
use crate::render::View;
use crate::routing::Recipients;
use crate::units::line;
use crate::view;
use midwatch_events::{IncidentHeader, RcaCompleted, RemediationPlan, Severity};
use midwatch_runtime::agent::Moment;
use midwatch_runtime::effect::{Call, Effect};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is remembered of an incident that is left to digests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quiet {
    /// The digests that know of it, by their scope.
    pub noted: BTreeMap<String, Noted>,
    /// Calls so far.
    pub calls: u32,
    /// Wall clock of the last call.
    pub called_ms: i64,
    pub standing: Standing,
    pub has_postmortem: bool,
    /// The cause and the plan as they were last, for when the severity rises.
    pub cause: Option<Box<RcaCompleted>>,
    pub plan: Option<Box<RemediationPlan>>,
}

/// What a digest knows of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noted {
    pub audience: Audience,
    pub minutes: u32,
    /// The stages that it was told of.
    pub stages: Vec<String>,
}

impl Quiet {
    /// Takes in how things stand after `view`; one of a round that is past
    /// changes nothing.
    pub(crate) fn stand(&mut self, view: &View, key: &str, round: u32) {
        match view {
            _ if matches!(view, View::Resolved(_) | View::Merged(_))
                && key != view.stage().key(round) => {}
            View::Resolved(end) => {
                self.standing = Standing::Over {
                    after: end.mttr_both.clone(),
                };
            }
            View::Merged(merged) => {
                self.standing = Standing::Merged {
                    words: line(&merged.words, 200),
                };
            }
            View::Postmortem(_) => self.has_postmortem = true,
            View::Opened(opened) if opened.reopened => self.standing = Standing::Open,
            View::Opened(_) | View::Cause(_) | View::Plan(_) | View::Progress(_) => {}
        }
    }

    /// The mail addresses whose digests know of it.
    pub(crate) fn mailed(&self) -> impl Iterator<Item = &String> {
        self.noted
            .values()
            .filter_map(|noted| match &noted.audience {
                Audience::Mail(address) => Some(address),
                Audience::Channel(_) => None,
            })
    }
}

impl Core {
    /// Whether mails about the incident are left to digests.
    pub(crate) fn mails_rest(&self, state: &State, header: &IncidentHeader) -> bool {
        self.digest_minutes > 0 && is_low(state, header)
    }

    /// Leaves a stage to the digests of these recipients.
    pub(crate) fn note_mails(
        &self,
        state: &mut State,
        at: Moment,
        header: &IncidentHeader,
        key: String,
        recipients: &Recipients,
    ) -> Vec<Effect> {
        // Whoever comes after this stage need not wait for it.
        state.told.entry(key.clone()).or_default();
        let people = recipients.all().into_iter();
        people
            .filter_map(|address| {
                let audience = Audience::Mail(address);
                self.note(state, at, header, &key, (audience, self.digest_minutes))
            })
            .collect()
    }

    /// Leaves a message to a channel's digest.
    pub(crate) fn note_channel(
        &self,
        state: &mut State,
        at: Moment,
        header: &IncidentHeader,
        key: &str,
        (channel, minutes): (&Channel, u32),
    ) -> Option<Effect> {
        let audience = Audience::Channel(channel.name.clone());
        self.note(state, at, header, key, (audience, minutes))
    }

    /// Tells a digest of a stage, once.
    fn note(
        &self,
        state: &mut State,
        at: Moment,
        header: &IncidentHeader,
        key: &str,
        (audience, minutes): (Audience, u32),
    ) -> Option<Effect> {
        let entry = self.entry(state, at, header);
        let scope = audience.scope();
        let noted = state.quiet.noted.entry(scope).or_insert_with(|| Noted {
            audience: audience.clone(),
            minutes,
            stages: Vec::new(),
        });
        noted.minutes = minutes;
        if noted.stages.iter().any(|known| known == key) {
            return None;
        }
        noted.stages.push(key.to_owned());
        Some(call(state, at, header, audience, minutes, Some(entry)))
    }

    fn entry(&self, state: &State, at: Moment, header: &IncidentHeader) -> Entry {
        let others = header.affected_services.len().saturating_sub(1);
        let mut service = line(header.primary_service(), view::NAME);
        if others > 0 {
            service.push_str(&format!(" and {others} more"));
        }
        Entry {
            short_id: line(&header.short_id, view::NAME),
            title: line(&header.title(), 2 * view::NAME),
            service,
            environment: line(&header.environment, view::NAME),
            detected_ms: header.detected_at_ms,
            at_ms: at.event_ms,
            standing: state.quiet.standing.clone(),
            has_postmortem: state.quiet.has_postmortem,
            figure: state.opened.as_deref().map(|opened| {
                let trigger = view::trigger(opened);
                match (trigger.observed, trigger.baseline) {
                    (Some(observed), Some(baseline)) => {
                        format!("{} {observed}, normally {baseline}", trigger.metric)
                    }
                    _ => trigger.metric,
                }
            }),
            link: format!("{}/incidents/{}", self.dashboard_url, header.incident_id),
        }
    }

    /// The severity rose, so that digests forget the incident, and what was
    /// left to them is told at once, in order.
    pub(crate) fn speak_up(
        &self,
        state: &mut State,
        at: Moment,
        header: &IncidentHeader,
    ) -> Vec<Effect> {
        // What is over alarms nobody any more; the digest tells of it.
        if state.over || is_low(state, header) || state.quiet.noted.is_empty() {
            return Vec::new();
        }
        let noted = std::mem::take(&mut state.quiet.noted);
        let mut effects: Vec<Effect> = noted
            .into_values()
            .map(|noted| call(state, at, header, noted.audience, noted.minutes, None))
            .collect();
        let (cause, plan) = (state.quiet.cause.take(), state.quiet.plan.take());
        effects.extend(self.tell_opened(state, at));
        if let Some(cause) = cause {
            effects.extend(self.cause(state, at, &cause));
        }
        if let Some(plan) = plan {
            effects.extend(self.planned(state, at, &plan));
        }
        effects
    }
}

pub(crate) fn is_low(state: &State, header: &IncidentHeader) -> bool {
    state.severity.unwrap_or(header.severity) == Severity::Low
}

/// Says something to a digest: later than whatever was said before.
fn call(
    state: &mut State,
    at: Moment,
    header: &IncidentHeader,
    audience: Audience,
    minutes: u32,
    entry: Option<Entry>,
) -> Effect {
    let quiet = &mut state.quiet;
    quiet.calls += 1;
    quiet.called_ms = at.wall_ms.max(quiet.called_ms + 1);
    let scope = audience.scope();
    let word = Word {
        audience,
        minutes,
        incident_id: header.incident_id,
        entry,
    };
    Effect::Call(Call {
        scope,
        name: format!(
            "{}{}:{}",
            crate::digest::WORD,
            header.incident_id,
            quiet.calls
        ),
        due_ms: quiet.called_ms,
        payload: serde_json::to_value(word).expect("a word is plain data with string keys"),
    })
}
