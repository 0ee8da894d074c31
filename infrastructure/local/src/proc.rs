//! What `/proc` says about processes: who is who, who is whose child, and how
//! much memory each one really costs.
//!
//! A process id alone proves nothing, because ids are reused; the pair of id
//! and start time does. Nothing in this crate signals a recorded process
//! without comparing both.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// One process for the whole life of the machine: its id and the clock tick
/// (since boot) at which it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot, field 22 of `/proc/PID/stat`.
    pub start_ticks: u64,
}

impl Identity {
    /// The identity of a process that exists now, or `None`.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        Some(Self {
            pid,
            start_ticks: stat.start_ticks,
        })
    }

    /// The calling process.
    ///
    /// # Panics
    /// When `/proc` is not mounted.
    #[must_use]
    pub fn own() -> Self {
        let pid = i32::try_from(std::process::id()).expect("Linux process ids fit 22 bits");
        Self::of(pid).expect("a running process has an entry in /proc")
    }

    /// Whether this very process still runs. A zombie does not.
    #[must_use]
    pub fn is_alive(self) -> bool {
        Stat::read(self.pid)
            .is_some_and(|stat| stat.start_ticks == self.start_ticks && stat.state != 'Z')
    }
}

struct Stat {
    state: char,
    parent: i32,
    group: i32,
    start_ticks: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The command name stands in parentheses and may hold anything, also
    /// spaces and parentheses, so the fields are counted from the last one.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }
}

/// Every process that exists now.
fn all() -> Vec<(i32, Stat)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| Some((pid, Stat::read(pid)?)))
        .collect()
}

/// Parent of every process that exists now, by process id.
fn parents() -> BTreeMap<i32, i32> {
    all()
        .into_iter()
        .map(|(pid, stat)| (pid, stat.parent))
        .collect()
}

/// The running processes of a process group that were started with `folder`
/// in their environment.
#[must_use]
pub fn members_of_group(group: i32, folder: &Path) -> Vec<Identity> {
    let mark = folder.as_os_str().as_bytes();
    let is_marked = |pid: i32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|text| text.windows(mark.len().max(1)).any(|part| part == mark))
    };
    all()
        .into_iter()
        .filter(|(pid, stat)| stat.group == group && stat.state != 'Z' && is_marked(*pid))
        .map(|(pid, stat)| Identity {
            pid,
            start_ticks: stat.start_ticks,
        })
        .collect()
}

/// Proportional set size in bytes of each given process with all its
/// descendants, in the order given. A process that is gone counts zero.
///
/// Proportional means that memory shared by several processes is divided among
/// them, so that the sum over a stack is what it really costs.
#[must_use]
pub fn memory_of_trees(roots: &[i32]) -> Vec<u64> {
    let parents = parents();
    let mut sums = vec![0; roots.len()];
    for &pid in parents.keys() {
        let mut ancestor = pid;
        // The bound guards against a loop through a reused id between reads.
        for _ in 0..64 {
            if let Some(index) = roots.iter().position(|&root| root == ancestor) {
                sums[index] += proportional_bytes(pid);
                break;
            }
            match parents.get(&ancestor) {
                Some(&parent) if parent > 1 => ancestor = parent,
                _ => break,
            }
        }
    }
    sums
}

fn proportional_bytes(pid: i32) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .ok()
        .and_then(|text| parse_proportional(&text))
        .unwrap_or(0)
}

fn parse_proportional(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_name_with_parentheses_does_not_shift_fields() {
        let text = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 1 2";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.state, stat.parent, stat.start_ticks), ('S', 7, 98765));
        assert_eq!(stat.group, 42);
    }

    #[test]
    fn identity_with_another_start_time_is_not_alive() {
        let own = Identity::own();
        assert!(own.is_alive());
        let other = Identity {
            start_ticks: own.start_ticks + 1,
            ..own
        };
        assert!(!other.is_alive());
    }

    #[test]
    fn proportional_size_is_read_in_bytes() {
        let text =
            "00400000-7fff [rollup]\nRss:  900 kB\nPss:             300 kB\nPss_Anon: 1 kB\n";
        assert_eq!(parse_proportional(text), Some(300 * 1024));
    }

    #[test]
    fn own_memory_is_counted() {
        assert!(memory_of_trees(&[Identity::own().pid])[0] > 100_000);
    }
}
