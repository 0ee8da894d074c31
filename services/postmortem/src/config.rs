//! Settings of the postmortem agent, and the goals that it judges by.

use midwatch_runtime::config::Settings;
use std::path::PathBuf;

/// How long (wall clock) to wait after the end before the trail is read: the
/// last mails and audit lines of the other agents are then in. Longer would
/// keep the postmortem's mail back, shorter would miss lines.
pub const SETTLE_MS: i64 = 1500;

/// A detection within this time of the onset went well: six readings at the
/// simulator's ten seconds, which is what a debounced detector needs.
pub const DETECTION_GOAL_MS: i64 = 60_000;

/// Days from the event to an action item's due date, by its priority.
pub const DUE_DAYS: [(&str, i64); 3] = [("P1", 7), ("P2", 14), ("P3", 30)];

/// Fewest and most action items: one alone is rarely all, more than five are
/// not done.
pub const ITEMS: std::ops::RangeInclusive<usize> = 2..=5;

/// Longest timeline, lines; what is left out is counted.
pub const TIMELINE: usize = 40;

/// Limits of the one model call.
pub const MODEL_TOKENS: u32 = 3000;
/// Higher than elsewhere: the answer is prose.
pub const MODEL_TEMPERATURE: f32 = 0.2;

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `KNOWLEDGE_DIR`, the folder of `services.json`.
    pub knowledge_dir: PathBuf,
}

impl Config {
    /// Reads the settings.
    #[must_use]
    pub fn read(settings: &Settings) -> Config {
        Config {
            knowledge_dir: PathBuf::from(settings.text("KNOWLEDGE_DIR", "knowledge")),
        }
    }
}
