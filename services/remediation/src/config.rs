//! Settings of the remediation agent.

use crate::allowed::Allowed;
use crate::executors::allowed;
use crate::policy::{Mode, Policy, Source};
use midwatch_runtime::config::Settings;
use std::path::{Path, PathBuf};

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
    /// `REMEDIATION_POLICY_FILE` and `REMEDIATION_MODE`.
    pub policy: Policy,
    /// `REMEDIATION_ALLOWED_FILE`: what may be acted on beside workloads.
    pub allowed: Allowed,
    /// Where it is read again before each action.
    pub policy_source: Source,
    /// `REMEDIATION_STOP_FILE`: while it is there, nothing runs.
    pub stop_file: Option<PathBuf>,
    /// `SIM_ENVIRONMENT`, where actions go to the simulator.
    pub simulated_environment: String,
    /// `SIMULATOR_ACTIONS_URL`, the address of the simulator's control
    /// endpoint; without it, the steps of its environment stay by hand.
    pub simulator_url: Option<String>,
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
        let (policy_source, policy) = read_policy(settings);
        Config {
            namespace,
            knowledge_dir: PathBuf::from(settings.text("KNOWLEDGE_DIR", "knowledge")),
            policy,
            allowed: allowed(settings),
            policy_source,
            stop_file: settings.get("REMEDIATION_STOP_FILE").map(PathBuf::from),
            simulated_environment: settings.text("SIM_ENVIRONMENT", "simulation"),
            simulator_url: read_url(settings, "SIMULATOR_ACTIONS_URL"),
        }
    }
}

/// Where the policy comes from, and what it is now: of the file, or the
/// built-in one.
fn read_policy(settings: &Settings) -> (Source, Policy) {
    let mut source = Source {
        file: settings.get("REMEDIATION_POLICY_FILE").map(PathBuf::from),
        mode: None,
    };
    if let Some(text) = settings.get("REMEDIATION_MODE") {
        source.mode = Mode::parse(&text);
        if source.mode.is_none() {
            settings.problem(
                "REMEDIATION_MODE",
                &text,
                "set it to dry-run or live, or unset it to go by the policy's file",
            );
        }
    }
    let policy = source.read().unwrap_or_else(|problem| {
        let path = source.file.as_deref().unwrap_or_else(|| Path::new(""));
        let fix = format!("{problem}; mend the file, or unset the variable for dry runs only");
        settings.problem("REMEDIATION_POLICY_FILE", &path.to_string_lossy(), &fix);
        Policy::default()
    });
    (source, policy)
}

fn read_url(settings: &Settings, name: &str) -> Option<String> {
    let url = settings.get(name)?;
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
        settings.problem(
            name,
            &url,
            "set it to an address such as http://127.0.0.1:8100",
        );
        return None;
    }
    Some(url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Config, Result<(), String>) {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut settings = Settings::from_values(pairs);
        let config = Config::read(&mut settings);
        (config, settings.finish().map_err(|error| error.to_string()))
    }

    #[test]
    fn nothing_is_carried_out_unless_somebody_says_so() {
        let (config, result) = read(&[]);
        assert_eq!(result, Ok(()));
        assert_eq!(config.policy, Policy::default());
        assert!(config.policy.is_dry_run("production"));
        let (config, _) = read(&[("REMEDIATION_MODE", "live")]);
        assert!(!config.policy.is_dry_run("production"));
        let (config, result) = read(&[("REMEDIATION_MODE", "yolo")]);
        assert!(config.policy.is_dry_run("production"));
        let error = result.expect_err("no such mode");
        assert!(error.contains("REMEDIATION_MODE is \"yolo\""), "{error}");
    }

    #[test]
    fn the_mode_dry_run_is_stronger_than_the_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("policy.json");
        std::fs::write(&path, r#"{"environments": {"simulation": "live"}}"#).expect("written");
        let path = path.to_string_lossy();
        let (config, result) = read(&[("REMEDIATION_POLICY_FILE", &path)]);
        assert_eq!(result, Ok(()));
        assert!(!config.policy.is_dry_run("simulation"));
        assert!(config.policy.is_dry_run("production"));
        let dry = ("REMEDIATION_MODE", "dry-run");
        let (config, _) = read(&[("REMEDIATION_POLICY_FILE", &path), dry]);
        assert!(config.policy.is_dry_run("simulation"));
    }

    #[test]
    fn a_policy_that_cannot_be_used_is_named_with_its_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("policy.json");
        for (text, told) in [
            ("{\n\"mode\": \"wild\"}", "line 2"),
            (r#"{"mood": "live"}"#, "unknown field `mood`"),
            (
                r#"{"classes": {"destructive": {"approvals": 1}}}"#,
                "classes.destructive.approvals is 1",
            ),
        ] {
            std::fs::write(&path, text).expect("written");
            let file = path.to_string_lossy();
            let error = read(&[("REMEDIATION_POLICY_FILE", &file)])
                .1
                .expect_err(text);
            assert!(
                error.contains("REMEDIATION_POLICY_FILE") && error.contains(told),
                "{error}"
            );
        }
        let error = read(&[("REMEDIATION_POLICY_FILE", "/nowhere/policy.json")]);
        let error = error.1.expect_err("no such file");
        assert!(error.contains("cannot be read"), "{error}");
    }

    #[test]
    fn a_namespace_that_a_shell_could_run_is_refused() {
        let pair = ("K8S_NAMESPACE".to_owned(), "shop; rm -rf /".to_owned());
        let mut settings = Settings::from_values([pair]);
        assert_eq!(Config::read(&mut settings).namespace, DEFAULT_NAMESPACE);
        let error = settings.finish().expect_err("a bad value").to_string();
        assert!(error.contains("K8S_NAMESPACE"), "{error}");
    }
}
