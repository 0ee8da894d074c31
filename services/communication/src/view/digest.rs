//! 🔵 What was of LOW severity, in one list.

use super::{Frame, NAME, Surroundings};
use crate::digest::{Entry, Standing};
use crate::units::{self, line};
use midwatch_events::Severity;
use serde::Serialize;

/// One digest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DigestView {
    pub frame: Frame,
    pub preheader: String,
    /// `3 incidents, 1 still open`.
    pub title: String,
    /// End of the interval, wall clock.
    pub until: String,
    pub entries: Vec<EntryView>,
    /// `12 more incidents`, where there are more than are listed.
    pub more: Option<String>,
}

/// One incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EntryView {
    pub short_id: String,
    pub title: String,
    pub service: String,
    pub environment: String,
    /// `open`, `over after 6 min`.
    pub state: String,
    pub is_open: bool,
    /// Event time.
    pub detected: String,
    pub figure: Option<String>,
    pub has_postmortem: bool,
    pub link: String,
}

/// The view of a digest whose interval ends at `due_ms` (wall clock), with at
/// most `limit` incidents: what is open first, then by age. `beyond` counts
/// incidents that are not among the entries, and whether there may be more.
#[must_use]
pub fn digest(
    mut entries: Vec<Entry>,
    (beyond, or_more): (usize, bool),
    due_ms: i64,
    limit: usize,
    around: &Surroundings<'_>,
) -> DigestView {
    let is_over = |entry: &Entry| entry.standing != Standing::Open;
    entries.sort_by(|one, other| {
        let key = |entry: &Entry| (is_over(entry), entry.detected_ms);
        (key(one), &one.short_id).cmp(&(key(other), &other.short_id))
    });
    let known = entries.len();
    let open = entries.iter().filter(|entry| !is_over(entry)).count();
    let all = known + beyond;
    let more = all - known.min(limit);
    let at_least = if or_more { "at least " } else { "" };
    let title = match entries.as_slice() {
        [one] if beyond == 0 => format!("{}, {}", one.short_id, one.title),
        _ if beyond == 0 => format!("{all} incidents, {open} still open"),
        _ => format!("{at_least}{all} incidents"),
    };
    let entries: Vec<EntryView> = entries.into_iter().take(limit).map(shown).collect();
    let until = units::moment(due_ms);
    let first = entries.first();
    DigestView {
        frame: Frame {
            short_id: "digest".to_owned(),
            severity: Severity::Low.as_str(),
            severity_colour: super::colour(Severity::Low),
            title: line(&title, 3 * NAME),
            environment: format!("until {until}"),
            services: Vec::new(),
            link: format!("{}/", around.dashboard_url),
            detected: String::new(),
            detected_wall: None,
            notice: around.notice.map(str::to_owned),
        },
        preheader: first.map_or_else(String::new, |one| {
            format!("{}: {}, {}", one.short_id, one.title, one.state)
        }),
        title: line(&title, 3 * NAME),
        until,
        more: (more > 0).then(|| {
            let plural = if more == 1 { "" } else { "s" };
            format!("{at_least}{more} more incident{plural}")
        }),
        entries,
    }
}

fn shown(entry: Entry) -> EntryView {
    EntryView {
        is_open: entry.standing == Standing::Open,
        state: match entry.standing {
            Standing::Open => "open".to_owned(),
            Standing::Over { after } => format!("over after {after}"),
            Standing::Merged { words } => words,
        },
        short_id: entry.short_id,
        title: entry.title,
        service: entry.service,
        environment: entry.environment,
        detected: units::moment(entry.detected_ms),
        figure: entry.figure,
        has_postmortem: entry.has_postmortem,
        link: entry.link,
    }
}

impl DigestView {
    /// The first services, each once.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let mut services: Vec<String> = Vec::new();
        for entry in &self.entries {
            if !services.contains(&entry.service) && services.len() < 8 {
                services.push(entry.service.clone());
            }
        }
        services
    }

    /// The list for channels, a line or two each.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut lines: Vec<String> = self
            .entries
            .iter()
            .map(|entry| {
                let mut text = format!("{} {}: {}", entry.short_id, entry.title, entry.state);
                if let Some(figure) = &entry.figure {
                    text.push_str(&format!("; {figure}"));
                }
                format!("{text}\n{}", entry.link)
            })
            .collect();
        lines.extend(self.more.as_ref().map(|more| format!("and {more}")));
        lines.join("\n")
    }
}
