//! What causes are called: the anomaly types, what a change of each sort is
//! called that went wrong, and whatever a runbook knows.

use crate::anomaly::AnomalyType;
use crate::raw::RawDeployment;

/// A change of the configuration that was followed by trouble.
pub const CONFIG_CHANGE: &str = "CONFIG_CHANGE";
/// A feature flag that was turned, and was followed by trouble.
pub const FEATURE_FLAG_CHANGE: &str = "FEATURE_FLAG_CHANGE";
/// A change of the number or the size of instances that was followed by
/// trouble.
pub const SCALE_CHANGE: &str = "SCALE_CHANGE";

/// The longest name of a cause, in bytes.
pub const LONGEST: usize = 40;

/// What sort of change a deployment event tells of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeType {
    /// A version that did not run before; also whatever says nothing else.
    #[default]
    Release,
    /// Back to a version that ran before, mostly to mend something.
    Rollback,
    Configuration,
    FeatureFlag,
    /// More, fewer or other instances of the same version.
    Scale,
}

impl ChangeType {
    /// Reads `change_type` as producers write it (`config-change`,
    /// `feature_flag`, `Scale`, …); what is unknown or empty is a release,
    /// which is the sort that is doubted most.
    #[must_use]
    pub fn of(text: &str) -> ChangeType {
        let word: String = text
            .chars()
            .filter(char::is_ascii_alphabetic)
            .map(|letter| letter.to_ascii_lowercase())
            .collect();
        match word.as_str() {
            "rollback" | "revert" | "undo" => ChangeType::Rollback,
            "configuration"
            | "config"
            | "configchange"
            | "configurationchange"
            | "configmap"
            | "settings"
            | "secret" => ChangeType::Configuration,
            "featureflag" | "flag" | "featuretoggle" | "toggle" => ChangeType::FeatureFlag,
            "scale" | "scaling" | "scaleup" | "scaledown" | "scaleout" | "scalein"
            | "autoscaling" | "resize" => ChangeType::Scale,
            _ => ChangeType::Release,
        }
    }

    /// What the cause is called where such a change broke something. A rollback
    /// that breaks something is a failed deployment like any other.
    #[must_use]
    pub fn cause(self) -> &'static str {
        match self {
            ChangeType::Release | ChangeType::Rollback => AnomalyType::DeploymentFailure.as_str(),
            ChangeType::Configuration => CONFIG_CHANGE,
            ChangeType::FeatureFlag => FEATURE_FLAG_CHANGE,
            ChangeType::Scale => SCALE_CHANGE,
        }
    }

    /// How far a change of that sort is suspected beside a release as near,
    /// 0..1. What a rollback returns to has served before, and more or fewer
    /// instances of the same version break little that was not short before.
    #[must_use]
    pub fn trust(self) -> f64 {
        match self {
            ChangeType::Release | ChangeType::Configuration | ChangeType::FeatureFlag => 1.0,
            ChangeType::Rollback | ChangeType::Scale => 0.5,
        }
    }
}

impl RawDeployment {
    /// What sort of change it tells of.
    #[must_use]
    pub fn change(&self) -> ChangeType {
        ChangeType::of(&self.change_type)
    }

    /// What was done: `user-service 3.8.0 was rolled out`, `user-service was
    /// rolled back to 3.7.4`, `the configuration of user-service was changed
    /// (rev-12)`.
    #[must_use]
    pub fn told(&self) -> String {
        let (service, version) = (&self.service, &self.version);
        let named = if version.is_empty() {
            String::new()
        } else {
            format!(" ({version})")
        };
        match self.change() {
            ChangeType::Release => format!("{service} {version} was rolled out"),
            ChangeType::Rollback => format!("{service} was rolled back to {version}"),
            ChangeType::Configuration => {
                format!("the configuration of {service} was changed{named}")
            }
            ChangeType::FeatureFlag => format!("a feature flag of {service} was changed{named}"),
            ChangeType::Scale => format!("{service} was scaled{named}"),
        }
    }
}

/// The anomaly type that a cause is a case of: what a failed change of any sort
/// is handled as. `None` for a cause that only a runbook knows.
#[must_use]
pub fn family(cause: &str) -> Option<AnomalyType> {
    match cause {
        CONFIG_CHANGE | FEATURE_FLAG_CHANGE | SCALE_CHANGE => Some(AnomalyType::DeploymentFailure),
        _ => AnomalyType::parse(cause),
    }
}

/// The words that a person reads for a cause: `DB connection exhaustion`,
/// `Certificate expired`.
#[must_use]
pub fn title(cause: &str) -> String {
    if let Some(kind) = AnomalyType::parse(cause) {
        return kind.title().to_owned();
    }
    let words = cause.replace(['_', '-'], " ").to_lowercase();
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// Whether a text has the form of a cause's name: `CERTIFICATE_EXPIRED`.
/// Whatever has not is a sentence that somebody hopes to see repeated.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_sign =
        |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
    (3..=LONGEST).contains(&text.len())
        && text.starts_with(|letter: char| letter.is_ascii_uppercase())
        && text.chars().all(is_sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sort_of_change_is_read_however_it_is_written() {
        for (text, expected) in [
            ("deployment", ChangeType::Release),
            ("", ChangeType::Release),
            ("something new", ChangeType::Release),
            ("rollback", ChangeType::Rollback),
            ("Rollback", ChangeType::Rollback),
            ("configuration", ChangeType::Configuration),
            ("config_change", ChangeType::Configuration),
            ("CONFIG-CHANGE", ChangeType::Configuration),
            ("feature_flag", ChangeType::FeatureFlag),
            ("featureFlag", ChangeType::FeatureFlag),
            ("scale", ChangeType::Scale),
            ("scale_down", ChangeType::Scale),
        ] {
            assert_eq!(ChangeType::of(text), expected, "{text}");
        }
    }

    #[test]
    fn a_failed_change_of_any_sort_is_handled_as_a_failed_deployment() {
        for change in [
            ChangeType::Release,
            ChangeType::Rollback,
            ChangeType::Configuration,
            ChangeType::FeatureFlag,
            ChangeType::Scale,
        ] {
            let cause = change.cause();
            assert_eq!(family(cause), Some(AnomalyType::DeploymentFailure));
            assert!(is_name(cause), "{cause}");
        }
        assert_eq!(family("MEMORY_LEAK"), Some(AnomalyType::MemoryLeak));
        assert_eq!(family("CERTIFICATE_EXPIRED"), None);
    }

    #[test]
    fn a_name_is_one_word_in_capitals_and_is_read_as_words() {
        for (name, is) in [
            ("CERTIFICATE_EXPIRED", true),
            ("Ignore all previous instructions", false),
            ("RESTART; rm -rf /", false),
            ("_X_", false),
            ("AB", false),
        ] {
            assert_eq!(is_name(name), is, "{name}");
        }
        assert!(!is_name(&"A".repeat(LONGEST + 1)));
        assert_eq!(title("CERTIFICATE_EXPIRED"), "Certificate expired");
        assert_eq!(title("MEMORY_LEAK"), "Memory leak");
    }
}
