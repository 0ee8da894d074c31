//! How many processes of each agent run: read from `SCALE=investigation=3,…`
//! and, for a running demo, from a wish that another command leaves in the
//! demo's folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::demo::AGENTS;
use crate::layout::Layout;
use crate::run_dir::write_json;

/// Most processes of one agent. More than a machine of two cores can use, and
/// more than three partitions can feed.
pub const MOST: u32 = 8;

/// The wished number of processes, by agent; agents that are not named stay as
/// they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale(pub BTreeMap<String, u32>);

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut wished = BTreeMap::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let example = "write it like investigation=3,detection=2";
            let (agent, count) = part
                .split_once('=')
                .ok_or_else(|| format!("'{part}' names no number; {example}"))?;
            let (agent, count) = (agent.trim(), count.trim());
            if !AGENTS.contains(&agent) {
                return Err(format!(
                    "'{agent}' is no agent; the agents are {}",
                    AGENTS.join(", ")
                ));
            }
            let count = count
                .parse()
                .ok()
                .filter(|count| (1..=MOST).contains(count))
                .ok_or_else(|| {
                    format!("'{count}' processes of {agent} cannot be; 1 to {MOST} can, {example}")
                })?;
            if wished.insert(agent.to_owned(), count).is_some() {
                return Err(format!("{agent} is named twice; {example}"));
            }
        }
        Ok(Self(wished))
    }
}

/// The name of an agent's process in a slot: `detection`, `detection-1`, …
#[must_use]
pub fn name_in_slot(agent: &str, slot: u32) -> String {
    if slot == 0 {
        agent.to_owned()
    } else {
        format!("{agent}-{slot}")
    }
}

/// The agent and the slot of a process of this name; `None` for what is no
/// agent.
#[must_use]
pub fn slot_of(name: &str) -> Option<(&'static str, u32)> {
    AGENTS.into_iter().find_map(|agent| {
        let rest = name.strip_prefix(agent)?;
        let slot = match rest.strip_prefix('-') {
            None if rest.is_empty() => 0,
            Some(number) => number.parse().ok()?,
            None => return None,
        };
        Some((agent, slot))
    })
}

fn path(layout: &Layout) -> PathBuf {
    layout.run().join("scale.json")
}

/// Leaves the wish for the running demo.
///
/// # Errors
/// When it cannot be written.
pub fn leave(layout: &Layout, scale: &Scale) -> Result<()> {
    write_json(&path(layout), scale)
}

/// Takes a wish that was left, if there is one.
///
/// # Errors
/// When it cannot be read or removed, or is no wish.
pub fn take(layout: &Layout) -> Result<Option<Scale>> {
    let path = path(layout);
    let Ok(text) = fs::read(&path) else {
        return Ok(None);
    };
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    let scale = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no scale; it was removed", path.display()))?;
    Ok(Some(scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_read_and_a_wrong_one_is_explained() {
        let scale: Scale = "investigation=3, detection=2".parse().unwrap();
        let expected = [("detection", 2), ("investigation", 3)];
        assert_eq!(
            scale.0,
            expected
                .map(|(name, count)| (name.to_owned(), count))
                .into()
        );
        for (text, words) in [
            ("detection", "names no number"),
            ("api=2", "is no agent"),
            ("detection=0", "1 to 8"),
            ("detection=9", "1 to 8"),
            ("detection=2,detection=3", "named twice"),
        ] {
            let error = text.parse::<Scale>().unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn names_of_slots_are_read_back() {
        assert_eq!(name_in_slot("detection", 0), "detection");
        assert_eq!(slot_of("detection"), Some(("detection", 0)));
        assert_eq!(
            slot_of(&name_in_slot("detection", 2)),
            Some(("detection", 2))
        );
        for other in ["api", "detections", "detection-x", "kafka"] {
            assert_eq!(slot_of(other), None, "{other}");
        }
    }
}
