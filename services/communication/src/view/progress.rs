//! The note that there is no news.

use super::{Frame, Surroundings, TakeView, frame};
use crate::channels::Board;
use midwatch_events::IncidentHeader;
use serde::Serialize;

/// What is known while nothing new has come.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProgressView {
    pub frame: Frame,
    pub preheader: String,
    /// `31 min`. Not `quiet`, which is a macro of the templates.
    pub silence: String,
    pub rows: Vec<RowView>,
    /// Whether somebody has acknowledged it.
    pub taken: bool,
    /// Where its one recipient can take the incident.
    pub take: Option<TakeView>,
}

/// One thing that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowView {
    pub label: &'static str,
    pub text: String,
}

/// The view of a progress note; `minutes` of wall clock without news, and
/// whether somebody has `taken` the incident.
#[must_use]
pub fn progress(
    board: &Board,
    (minutes, taken): (i64, bool),
    around: &Surroundings<'_>,
    header: &IncidentHeader,
) -> ProgressView {
    let silence = format!("{minutes} min");
    ProgressView {
        frame: frame(header, around),
        preheader: format!("Still open; nothing new for {silence}"),
        silence,
        rows: board
            .lines()
            .into_iter()
            .map(|(label, text)| RowView {
                label,
                text: super::line(text, super::QUOTE),
            })
            .collect(),
        taken,
        take: None,
    }
}
