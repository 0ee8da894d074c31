//! Configuration from the environment: the one place that reads it.
//!
//! Every bad value is named with its variable and how to mend it, all of them
//! at once, before anything binds or connects.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a slot's name at most. A broker takes 249 for group.instance.id,
/// which is the group's name and the slot; pod names are shorter than 64.
pub const SLOT_BYTES: usize = 128;

/// The kernel's name of this machine; of the container inside one.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";

/// A snapshot of the environment, and the complaints about it so far.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: BTreeMap<String, String>,
    // Shared between clones: whoever finishes sees what everybody found.
    problems: Arc<Mutex<Vec<String>>>,
}

/// All that is wrong with the configuration, one problem a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is not usable:\n  {}", .0.join("\n  "))]
pub struct ConfigError(pub Vec<String>);

impl Settings {
    /// The process environment.
    #[must_use]
    pub fn from_env() -> Settings {
        Settings::from_values(std::env::vars())
    }

    /// A given set of variables, for tests.
    #[must_use]
    pub fn from_values(values: impl IntoIterator<Item = (String, String)>) -> Settings {
        Settings {
            values: values
                .into_iter()
                .filter(|(_, value)| !value.trim().is_empty())
                .collect(),
            problems: Arc::default(),
        }
    }

    /// The variable's text, where it is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        self.values.get(name).map(|value| value.trim().to_owned())
    }

    /// The variable's text, or `default`.
    #[must_use]
    pub fn text(&self, name: &str, default: &str) -> String {
        self.get(name).unwrap_or_else(|| default.to_owned())
    }

    /// The variable as a number (or anything that parses) within `range`, or
    /// `default`. A bad value is noted and `default` stands in until
    /// [`Settings::finish`] refuses the whole.
    pub fn number<T>(&self, name: &str, default: T, range: std::ops::RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        let Some(text) = self.get(name) else {
            return default;
        };
        match text.parse::<T>() {
            Ok(value) if range.contains(&value) => value,
            _ => {
                self.problem(
                    name,
                    &text,
                    &format!(
                        "set it to a number from {} to {} (default {default}), or unset it",
                        range.start(),
                        range.end()
                    ),
                );
                default
            }
        }
    }

    /// The variable as a yes or no.
    pub fn flag(&self, name: &str, default: bool) -> bool {
        match self.get(name).as_deref() {
            None => default,
            Some("1" | "true" | "yes" | "on") => true,
            Some("0" | "false" | "no" | "off") => false,
            Some(other) => {
                let other = other.to_owned();
                self.problem(name, &other, "set it to 1 or 0");
                default
            }
        }
    }

    /// MIDWATCH_SLOT: which of an agent's process slots this is, 1 to
    /// [`SLOT_BYTES`] letters, digits, `.`, `_` or `-`. `hostname` stands for
    /// the name of the machine, which every container has of its own: replicas
    /// that are started from one description then have different slots, and a
    /// container that starts again keeps its slot. Unset, it is `0`.
    #[must_use]
    pub fn slot(&self) -> String {
        let text = self.text("MIDWATCH_SLOT", "0");
        let named = if text == "hostname" {
            match std::fs::read_to_string(HOST_NAME_FILE) {
                Ok(name) => name.trim().to_owned(),
                Err(error) => {
                    let fix = format!(
                        "the machine's name cannot be read from {HOST_NAME_FILE} ({error}); give \
                         every replica a name of its own"
                    );
                    self.problem("MIDWATCH_SLOT", &text, &fix);
                    return "0".to_owned();
                }
            }
        } else {
            text
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if named.is_empty() || named.len() > SLOT_BYTES || !named.bytes().all(legal) {
            let fix = format!(
                "use 1 to {SLOT_BYTES} letters, digits, '.', '_' or '-', or hostname; replicas of \
                 one agent need different ones"
            );
            self.problem("MIDWATCH_SLOT", &named, &fix);
        }
        named
    }

    /// Every variable whose name begins with `prefix`, without the prefix.
    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.values.iter().filter_map(move |(name, value)| {
            name.strip_prefix(prefix).map(|rest| (rest, value.trim()))
        })
    }

    /// Notes a bad value.
    pub fn problem(&self, name: &str, value: &str, fix: &str) {
        self.complain(format!("{name} is {value:?}: {fix}"));
    }

    /// Notes a problem that is already a sentence.
    pub fn complain(&self, problem: String) {
        self.problems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(problem);
    }

    /// Refuses the configuration where anything was wrong with it.
    ///
    /// # Errors
    /// All problems together.
    pub fn finish(&self) -> Result<(), ConfigError> {
        let problems = self
            .problems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError(problems))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings::from_values(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        )
    }

    #[test]
    fn every_bad_value_is_named_with_its_fix() {
        let settings = settings(&[("SIGMA", "lots"), ("WINDOW", "1"), ("DRY_RUN", "maybe")]);
        assert!((settings.number("SIGMA", 2.5_f64, 0.5..=20.0) - 2.5).abs() < f64::EPSILON);
        assert_eq!(settings.number("WINDOW", 50, 10..=1000), 50);
        assert!(settings.flag("DRY_RUN", true));
        let error = settings.finish().expect_err("three problems").to_string();
        for words in [
            "SIGMA is \"lots\"",
            "from 0.5 to 20",
            "WINDOW is \"1\"",
            "DRY_RUN",
        ] {
            assert!(error.contains(words), "{words} in {error}");
        }
    }

    #[test]
    fn replicas_of_one_description_take_the_name_of_their_machine_as_slot() {
        let name = std::fs::read_to_string(HOST_NAME_FILE).unwrap();
        let of_machine = settings(&[("MIDWATCH_SLOT", "hostname")]);
        assert_eq!(of_machine.slot(), name.trim());
        assert_eq!(settings(&[]).slot(), "0");
        let pod = "midwatch-investigation-6d4cf56db6-x2x8p";
        assert_eq!(settings(&[("MIDWATCH_SLOT", pod)]).slot(), pod);
    }

    #[test]
    fn a_slot_that_a_broker_would_refuse_is_refused_by_name() {
        for bad in ["a b", "schön", "a/b", &"x".repeat(SLOT_BYTES + 1)] {
            let settings = settings(&[("MIDWATCH_SLOT", bad)]);
            assert_eq!(
                settings.slot(),
                bad,
                "the value stands until finish refuses it"
            );
            let error = settings.finish().expect_err(bad).to_string();
            assert!(error.contains("MIDWATCH_SLOT"), "{error}");
        }
    }

    #[test]
    fn an_empty_variable_is_an_unset_one() {
        let settings = settings(&[("WINDOW", "  ")]);
        assert_eq!(settings.number("WINDOW", 50, 10..=1000), 50);
        assert_eq!(settings.finish(), Ok(()));
    }
}
