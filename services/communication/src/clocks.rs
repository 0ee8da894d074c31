//! What happens when nobody acts and nothing is new: escalation, and the note
//! that an incident is still open. Pure: timers are effects, and what counts
//! when one rings is how things stand then.

use crate::channels::Signal;
use crate::decide::{Core, State};
use crate::posts::News;
use crate::render::View;
use crate::routing::{Recipients, Stage};
use crate::view;
use midwatch_events::{IncidentHeader, Severity};
use midwatch_runtime::agent::Moment;
use midwatch_runtime::effect::Effect;
use serde_json::{Value, json};

/// Timers of escalation begin so.
const ESCALATE: &str = "escalate";
/// The timer of the progress note.
const PROGRESS: &str = "progress";

impl Core {
    /// Sets the clocks of escalation that are not set yet.
    pub(crate) fn wind(
        &self,
        state: &mut State,
        at: Moment,
        header: &IncidentHeader,
    ) -> Vec<Effect> {
        if state.acknowledged || state.over {
            return Vec::new();
        }
        let severity = state.severity.unwrap_or(header.severity);
        let mut effects = Vec::new();
        for (index, rung) in self.book.escalation.iter().enumerate() {
            let name = format!("{ESCALATE}:{}:{index}", state.round);
            if severity >= rung.min_severity && state.clocks.insert(name.clone()) {
                effects.push(Effect::SetTimer {
                    name,
                    due_ms: at.wall_ms + i64::from(rung.after_minutes) * 60_000,
                    payload: Value::Null,
                });
            }
        }
        effects
    }

    /// There were news: the next note that there are none is due later.
    pub(crate) fn rest(
        &self,
        state: &mut State,
        at: Moment,
        header: &IncidentHeader,
    ) -> Vec<Effect> {
        let minutes = self.book.progress_minutes;
        let severity = state.severity.unwrap_or(header.severity);
        if minutes == 0 || severity != Severity::Critical || state.over || state.opened.is_none() {
            return Vec::new();
        }
        let is_set = !state.clocks.insert(PROGRESS.to_owned());
        if is_set && state.news_wall_ms == at.wall_ms {
            return Vec::new();
        }
        state.news_wall_ms = at.wall_ms;
        vec![Effect::SetTimer {
            name: PROGRESS.to_owned(),
            due_ms: at.wall_ms + i64::from(minutes) * 60_000,
            payload: Value::Null,
        }]
    }

    /// A clock ran out. What counts is how things stand now.
    pub(crate) fn rang(&self, state: &mut State, at: Moment, name: &str) -> Vec<Effect> {
        let Some(opened) = state.opened.clone().filter(|_| !state.over) else {
            return Vec::new();
        };
        if name == PROGRESS {
            state.clocks.remove(PROGRESS);
            return self.progress(state, at, &opened.header);
        }
        let mut parts = name.split(':');
        let rung = match (parts.next(), parts.next(), parts.next()) {
            (Some(ESCALATE), Some(round), Some(index)) if round == state.round.to_string() => {
                index.parse::<usize>().ok()
            }
            _ => None,
        };
        let Some((index, rung)) =
            rung.and_then(|index| Some((index, self.book.escalation.get(index)?)))
        else {
            return Vec::new();
        };
        if state.acknowledged {
            return Vec::new();
        }
        let key = match state.round {
            0 => format!("escalation.{}", index + 1),
            round => format!("escalation.{}.{}", index + 1, round + 1),
        };
        let around = self.around(state, &opened.header);
        let mut view = view::opened(&opened, state.round > 0, &around);
        view.picture = state.picture.is_some();
        let view = View::Opened(view);
        let news = News {
            stage: "opened",
            key: key.clone(),
            signal: Signal::Trigger,
            headline: format!(
                "{} was not acknowledged within {} min",
                opened.header.short_id, rung.after_minutes
            ),
            detail: self.templates.render(&view, &opened.header).text,
        };
        let mut effects = Vec::new();
        for channel in rung
            .channels
            .iter()
            .filter_map(|name| self.book.channel(name))
        {
            effects.extend(
                self.post_to(state, &opened.header, &news, channel, &news.detail)
                    .into_iter()
                    .flatten(),
            );
        }
        let recipients = Recipients {
            to: rung.mail.clone(),
            cc: Vec::new(),
        };
        // Who is asked for by name is told at once, whatever the severity.
        effects.extend(self.mail_to(state, at, &view, &opened.header, key, recipients));
        effects.push(Effect::audit(
            opened.header.incident_id,
            "ESCALATED",
            at.event_ms,
            news.headline,
            json!({ "channels": rung.channels, "mail": rung.mail }),
        ));
        effects
    }

    fn progress(&self, state: &mut State, at: Moment, header: &IncidentHeader) -> Vec<Effect> {
        state.notes += 1;
        let key = format!("progress.{}", state.notes);
        let minutes = (at.wall_ms - state.news_wall_ms).max(0) / 60_000;
        let around = self.around(state, header);
        let view = View::Progress(view::progress(&state.board, minutes, &around, header));
        let recipients = self.recipients(state, Stage::Opened, header);
        let mut effects = self.tell_as(state, at, &view, header, key.clone(), recipients);
        effects.extend(self.post_stage(state, at, header, &view, key));
        effects
    }
}

/// Stops the clocks: of escalation once somebody has taken it, all at its end.
pub(crate) fn unwind(state: &mut State) -> Vec<Effect> {
    let over = state.over;
    let stopped = state.clocks.extract_if(.., |name| over || name != PROGRESS);
    stopped.map(|name| Effect::CancelTimer { name }).collect()
}
