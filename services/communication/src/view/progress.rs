//! The note that there is no news.

use super::{Frame, Surroundings, frame};
use crate::channels::Board;
use midwatch_events::IncidentHeader;
use serde::Serialize;

/// What is known while nothing new has come.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProgressView {
    pub frame: Frame,
    pub preheader: String,
    /// `31 min`.
    pub quiet: String,
    pub rows: Vec<RowView>,
    /// Whether somebody has acknowledged it.
    pub taken: bool,
}

/// One thing that is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowView {
    pub label: &'static str,
    pub text: String,
}

/// The view of a progress note; `minutes` of wall clock without news.
#[must_use]
pub fn progress(
    board: &Board,
    minutes: i64,
    around: &Surroundings<'_>,
    header: &IncidentHeader,
) -> ProgressView {
    let quiet = format!("{minutes} min");
    ProgressView {
        frame: frame(header, around),
        preheader: format!("Still open; nothing new for {quiet}"),
        quiet,
        rows: board
            .lines()
            .into_iter()
            .map(|(label, text)| RowView {
                label,
                text: super::line(text, super::QUOTE),
            })
            .collect(),
        taken: board.note.is_some(),
    }
}
