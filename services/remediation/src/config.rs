//! Settings of the remediation agent.

use midwatch_runtime::config::Settings;
use std::path::PathBuf;

/// Namespace of workloads where neither a Kubernetes record nor the catalogue
/// names one.
pub const DEFAULT_NAMESPACE: &str = "shop";

/// Most steps of a plan: what a person on call can take in at once. The
/// longest runbook has six.
pub const MAX_STEPS: usize = 8;

/// Least cosine at which a section found without an anomaly type counts.
/// Related texts of this corpus lie at 0.40 to 0.68, unrelated ones below 0.24
/// (measured with all-MiniLM-L6-v2).
pub const MIN_SIMILARITY: f32 = 0.4;

/// What to allow for, minutes, where no similar incident is known.
pub const UNKNOWN_ESTIMATE: [u32; 2] = [15, 60];

/// Limits of the one model call: tokens of the reply, and temperature.
pub const MODEL_TOKENS: u32 = 2000;
/// Low: the answer is an order, not prose.
pub const MODEL_TEMPERATURE: f32 = 0.1;

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `K8S_NAMESPACE`.
    pub namespace: String,
    /// `KNOWLEDGE_DIR`, the folder of `services.json`.
    pub knowledge_dir: PathBuf,
}

impl Config {
    /// Reads the settings and notes what is wrong with them.
    pub fn read(settings: &mut Settings) -> Config {
        let mut namespace = settings.text("K8S_NAMESPACE", DEFAULT_NAMESPACE);
        let plain = |character: char| {
            character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-'
        };
        if !namespace.chars().all(plain) || namespace.starts_with('-') {
            settings.problem(
                "K8S_NAMESPACE",
                &namespace,
                "set it to a Kubernetes namespace: lower-case letters, digits and dashes",
            );
            DEFAULT_NAMESPACE.clone_into(&mut namespace);
        }
        Config {
            namespace,
            knowledge_dir: PathBuf::from(settings.text("KNOWLEDGE_DIR", "knowledge")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_a_shell_could_run_is_refused() {
        let pair = ("K8S_NAMESPACE".to_owned(), "shop; rm -rf /".to_owned());
        let mut settings = Settings::from_values([pair]);
        assert_eq!(Config::read(&mut settings).namespace, DEFAULT_NAMESPACE);
        let error = settings.finish().expect_err("a bad value").to_string();
        assert!(error.contains("K8S_NAMESPACE"), "{error}");
    }
}
