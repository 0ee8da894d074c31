//! What happens when nobody acts and nothing is new: escalation, and the note
//! that an incident is still open; a snooze stops both for a while. Pure: timers are effects, and what counts
//! when one rings is how things stand then.

use crate::channels::book::Rung;
use crate::channels::{Channel, Signal};
use crate::decide::{Core, State};
use crate::posts::News;
use crate::render::View;
use crate::routing::{Recipients, Stage};
use crate::view;
use midwatch_events::{IncidentHeader, IncidentOpened, Severity};
use midwatch_runtime::agent::Moment;
use midwatch_runtime::effect::Effect;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Timers of escalation begin so.
const ESCALATE: &str = "escalate";
/// The timer of the progress note.
const PROGRESS: &str = "progress";
/// The timer at the end of a snooze.
const WAKE: &str = "wake";
/// Lines that are kept during a snooze.
const MISSED: usize = 5;

/// A snooze, and what is left of the clocks that it stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snooze {
    /// Wall clock.
    pub until_ms: i64,
    /// Milliseconds of each step of escalation.
    pub left: BTreeMap<String, i64>,
    /// What the board said of who has it.
    pub note: Option<String>,
    /// What happened meanwhile, and nobody was told: the last few.
    #[serde(default)]
    pub missed: Vec<String>,
}

impl Snooze {
    /// Keeps a line for the end of the snooze.
    pub(crate) fn keep(&mut self, line: &str) {
        self.missed.push(line.to_owned());
        let surplus = self.missed.len().saturating_sub(MISSED);
        self.missed.drain(..surplus);
    }

    /// What happened meanwhile, as a part of a text.
    fn told(&self) -> String {
        match self.missed.as_slice() {
            [] => String::new(),
            lines => format!(" Meanwhile: {}.", lines.join("; ")),
        }
    }
}

impl Core {
    /// Sets the clocks of escalation that are not set yet.
    pub(crate) fn wind(
        &self,
        state: &mut State,
        at: Moment,
        header: &IncidentHeader,
    ) -> Vec<Effect> {
        if state.acknowledged || state.over || state.snooze.is_some() {
            return Vec::new();
        }
        let severity = state.severity.unwrap_or(header.severity);
        let mut effects = Vec::new();
        for (index, rung) in self.book.escalation.iter().enumerate() {
            let name = format!("{ESCALATE}:{}:{index}", state.round);
            if severity >= rung.min_severity && state.clocks.insert(name.clone()) {
                let due_ms = at.wall_ms + i64::from(rung.after_minutes) * 60_000;
                state.due.insert(name.clone(), due_ms);
                effects.push(timer(name, due_ms));
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
        let due_ms = at.wall_ms + i64::from(minutes) * 60_000;
        vec![timer(PROGRESS.to_owned(), due_ms)]
    }

    /// A clock ran out. What counts is how things stand now.
    pub(crate) fn rang(&self, state: &mut State, at: Moment, name: &str) -> Vec<Effect> {
        let Some(opened) = state.opened.clone().filter(|_| !state.over) else {
            return Vec::new();
        };
        if name == WAKE {
            // It was read before the snooze was made longer.
            let is_early = |snooze: &Snooze| at.wall_ms < snooze.until_ms;
            if state.snooze.as_ref().is_some_and(is_early) {
                return Vec::new();
            }
            return self.wake(state, at, &opened.header);
        }
        if let Some(snooze) = state.snooze.as_mut() {
            // Nobody wants a note before the snooze is over; a step of escalation
            // had run out at the moment of the snooze.
            if name == PROGRESS {
                return vec![timer(name.to_owned(), snooze.until_ms + 1_000)];
            }
            snooze.left.entry(name.to_owned()).or_insert(0);
            return Vec::new();
        }
        if name == PROGRESS {
            state.clocks.remove(PROGRESS);
            return self.progress(state, at, &opened.header);
        }
        state.due.remove(name);
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
        self.escalate(state, at, &opened, (index, rung))
    }

    /// Tells whoever is to hear of it when nobody takes it.
    fn escalate(
        &self,
        state: &mut State,
        at: Moment,
        opened: &IncidentOpened,
        (index, rung): (usize, &Rung),
    ) -> Vec<Effect> {
        let key = match state.round {
            0 => format!("escalation.{}", index + 1),
            round => format!("escalation.{}.{}", index + 1, round + 1),
        };
        let around = self.around(state, &opened.header);
        let mut view = view::opened(opened, state.round > 0, &around);
        view.picture = state.picture.is_some();
        let apart = if state.wakes > 0 {
            ", snoozes not counted"
        } else {
            ""
        };
        let within = format!("{} min{apart}", rung.after_minutes);
        view.escalated = Some(within.clone());
        let view = View::Opened(view);
        let news = News {
            stage: "opened",
            key: key.clone(),
            signal: Signal::Trigger,
            headline: format!(
                "{} was not acknowledged within {within}",
                opened.header.short_id
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
                self.post_to(state, at, &opened.header, &news, channel, &news.detail)
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

    /// The snooze is over, by its time or because there is something new: the
    /// clocks go on where they were, and a pager rings anew.
    pub(crate) fn wake(
        &self,
        state: &mut State,
        at: Moment,
        header: &IncidentHeader,
    ) -> Vec<Effect> {
        let Some(snooze) = state.snooze.take() else {
            return Vec::new();
        };
        state.wakes += 1;
        let mut effects = vec![Effect::CancelTimer {
            name: WAKE.to_owned(),
        }];
        let short = &header.short_id;
        let mut news = News {
            stage: "update",
            key: format!("awake.{}", state.wakes),
            signal: Signal::Update,
            headline: format!("{short}: the snooze is over"),
            detail: String::new(),
        };
        let meanwhile = snooze.told();
        if state.acknowledged {
            state.board.note = snooze.note;
            meanwhile.trim_start().clone_into(&mut news.detail);
            effects.extend(self.post(state, at, header, &news));
            effects.extend(self.tell_opened(state, at));
            effects.extend(self.rest(state, at, header));
            return effects;
        }
        let next_ms = snooze.left.values().min().copied();
        for (name, left_ms) in snooze.left {
            let due_ms = at.wall_ms + left_ms;
            state.due.insert(name.clone(), due_ms);
            effects.push(timer(name, due_ms));
        }
        effects.extend(self.wind(state, at, header));
        let words = "The snooze is over; nobody has acknowledged it.";
        state.board.note = Some(words.to_owned());
        news.headline.push_str(" and nobody has acknowledged it");
        news.detail = match next_ms {
            Some(ms) => format!(
                "{words} The next step of escalation is due in {}.",
                soon(ms)
            ),
            None => words.to_owned(),
        };
        news.detail.push_str(&meanwhile);
        effects.extend(self.post(state, at, header, &news));
        state.alert += 1;
        news.signal = Signal::Trigger;
        let shown =
            |channel: &&Channel| channel.kind.is_pager() && state.shown_on.contains(&channel.name);
        let pagers: Vec<&Channel> = self.book.channels.iter().filter(shown).collect();
        for pager in pagers {
            let told = self.post_to(state, at, header, &news, pager, &news.detail);
            effects.extend(told.into_iter().flatten());
        }
        effects.extend(self.tell_opened(state, at));
        effects.extend(self.rest(state, at, header));
        effects
    }

    fn progress(&self, state: &mut State, at: Moment, header: &IncidentHeader) -> Vec<Effect> {
        state.notes += 1;
        let key = format!("progress.{}", state.notes);
        let minutes = (at.wall_ms - state.news_wall_ms).max(0) / 60_000;
        let around = self.around(state, header);
        let view = View::Progress(view::progress(
            &state.board,
            (minutes, state.acknowledged),
            &around,
            header,
        ));
        let recipients = self.recipients(state, Stage::Opened, header);
        let mut effects = self.tell_as(state, at, &view, header, key.clone(), recipients);
        effects.extend(self.post_stage(state, at, header, &view, key));
        effects
    }
}

/// Stops escalation until the snooze ends; a second snooze moves that end.
pub(crate) fn snooze(state: &mut State, at: Moment, until_ms: i64) -> Vec<Effect> {
    let mut effects = Vec::new();
    let note = state.board.note.clone();
    let snooze = state.snooze.get_or_insert_with(|| Snooze {
        note,
        ..Snooze::default()
    });
    snooze.until_ms = until_ms;
    for (name, due_ms) in std::mem::take(&mut state.due) {
        snooze
            .left
            .insert(name.clone(), (due_ms - at.wall_ms).max(0));
        effects.push(Effect::CancelTimer { name });
    }
    effects.push(timer(WAKE.to_owned(), until_ms));
    effects
}

/// Stops escalation for good: somebody has taken it.
pub(crate) fn silence(state: &mut State) -> Vec<Effect> {
    state.due.clear();
    if let Some(snooze) = &mut state.snooze {
        snooze.left.clear();
        snooze.note.clone_from(&state.board.note);
    }
    let stopped = state.clocks.extract_if(.., |name| name != PROGRESS);
    stopped.map(|name| Effect::CancelTimer { name }).collect()
}

/// Stops all clocks at the end.
pub(crate) fn unwind(state: &mut State) -> Vec<Effect> {
    let mut effects = silence(state);
    let rest = state.clocks.take(PROGRESS);
    effects.extend(rest.map(|name| Effect::CancelTimer { name }));
    effects.extend(forget(state));
    effects
}

/// An incident that comes back begins anew: neither what was left of its clocks
/// nor a snooze counts.
pub(crate) fn forget(state: &mut State) -> Option<Effect> {
    state.due.clear();
    let name = WAKE.to_owned();
    state.snooze.take().map(|_| Effect::CancelTimer { name })
}

fn timer(name: String, due_ms: i64) -> Effect {
    Effect::SetTimer {
        name,
        due_ms,
        payload: Value::Null,
    }
}

/// Whole minutes, at least one.
fn soon(ms: i64) -> String {
    format!("{} min", ((ms + 59_999) / 60_000).max(1))
}
