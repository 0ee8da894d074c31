//! The variables: known, well-formed, and judged by the code that reads them.

use super::nearest::nearest;
use super::{Finding, Probe};
use crate::configuration::{self, Configuration, EnvFile};
use midwatch_runtime::{ConfigError, Settings};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const SETTINGS: &str = "settings";
const ENV_FILE: &str = "env-file";

/// The list of everything that Midwatch reads.
const TEMPLATE: &str = include_str!("../../../.env.example");

/// Every variable that the template names, commented out or in its remarks,
/// and those of this program.
#[must_use]
pub fn known() -> BTreeSet<&'static str> {
    let listed = TEMPLATE
        .split_whitespace()
        .filter_map(|word| word.trim_start_matches('#').split_once('='))
        .map(|(name, _)| name)
        .filter(|name| {
            name.starts_with(|first: char| first.is_ascii_uppercase())
                && name.chars().all(|letter| {
                    letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'
                })
        });
    listed.chain(configuration::OWN_NAMES).collect()
}

/// Whether something reads a variable of this name.
fn is_known(name: &str, known: &BTreeSet<&str>) -> bool {
    known.contains(name) || name.starts_with("KAFKA_PROPERTY_")
}

pub(super) fn probe(configuration: &Configuration) -> Probe {
    let configuration = configuration.clone();
    Probe {
        checks: &[SETTINGS, ENV_FILE],
        limit: Duration::from_secs(5),
        remedy: "try again; this reads nothing but variables and one file",
        answer: Box::pin(async move { check(&configuration) }),
    }
}

fn check(configuration: &Configuration) -> Vec<Finding> {
    let known = known();
    let mut findings = values(configuration, &known);
    match &configuration.env_file {
        None => findings.push(Finding::ok(
            ENV_FILE,
            "there is none; the template is .env.example",
        )),
        Some((path, file)) => findings.extend(env_file(path, file, &known)),
    }
    findings
}

/// Judges the values.
fn values(configuration: &Configuration, known: &BTreeSet<&str>) -> Vec<Finding> {
    // A fresh set of complaints for this run.
    let all = configuration.settings.with_prefix("");
    let own = all.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut settings = Settings::from_values(own);
    read_all(&mut settings);
    read_processes(&settings);
    drop(midwatch_runtime::kafka_settings(&settings));
    let Err(ConfigError(mut problems)) = settings.finish() else {
        let set = known
            .iter()
            .filter(|name| settings.get(name).is_some())
            .count();
        let found = format!(
            "{} variables are known, {set} are set, all usable",
            known.len()
        );
        return vec![Finding::ok(SETTINGS, found)];
    };
    // Several processes read some of the variables.
    problems.sort();
    problems.dedup();
    problems.iter().map(|problem| told(problem)).collect()
}

/// `NAME is "value": what to do` as what was found and what to do.
fn told(problem: &str) -> Finding {
    let split = problem.split_once("\": ");
    let (found, remedy) = split.map_or((problem.to_owned(), None), |(found, remedy)| {
        (format!("{found}\""), Some(remedy))
    });
    let remedy = remedy.unwrap_or("correct it in the environment or in .env");
    Finding::fail(SETTINGS, found, remedy)
}

/// The settings of each service, by its own code.
fn read_all(settings: &mut Settings) {
    let default_flags = midwatch_simulator::config::Flags::default();
    drop(midwatch_detection::config::DetectionConfig::from_settings(
        settings,
    ));
    drop(midwatch_correlation::config::Config::read(settings));
    drop(midwatch_investigation::config::Config::read(settings));
    drop(midwatch_remediation::config::Config::read(settings));
    drop(midwatch_communication::config::Config::read(settings));
    drop(midwatch_postmortem::config::Config::read(settings));
    drop(midwatch_collector::config::CollectorConfig::read(settings));
    drop(midwatch_simulator::config::SimulatorConfig::read(
        &default_flags,
        settings,
    ));
    drop(midwatch_api::setup::Setup::read(settings));
    drop(midwatch_runtime::engine::EngineSettings::read(settings));
}

/// What processes read when they start, before any configuration of their own.
fn read_processes(settings: &Settings) {
    settings.number("WORKER_THREADS", 2, 1..=256);
    for name in ["API_BIND", "TOPICS_BIND", "HTTP_BIND"] {
        let Some(value) = settings.get(name) else {
            continue;
        };
        let off = name == "TOPICS_BIND" && value == "off";
        if !off && value.parse::<SocketAddr>().is_err() {
            let fix = "set it to an address and port such as 127.0.0.1:8000";
            settings.problem(name, &value, fix);
        }
    }
    if let Some(filter) = settings.get("RUST_LOG")
        && let Err(error) = tracing_subscriber::EnvFilter::try_new(&filter)
    {
        settings.problem(
            "RUST_LOG",
            &filter,
            &format!("use a filter such as info ({error})"),
        );
    }
    let format = settings.text("LOG_FORMAT", "auto");
    if !["auto", "human", "json"].contains(&format.as_str()) {
        settings.problem("LOG_FORMAT", &format, "set it to auto, human or json");
    }
    for name in [
        "KNOWLEDGE_DIR",
        "MODEL_DIR",
        "ORT_DYLIB_PATH",
        "SMTP_CA_FILE",
    ] {
        if let Some(value) = settings.get(name)
            && !Path::new(&value).exists()
        {
            let fix = "it is not there; set it to an existing path, or unset it";
            settings.problem(name, &value, fix);
        }
    }
}

/// Judges the names in a `.env` file.
fn env_file(path: &Path, file: &EnvFile, known: &BTreeSet<&str>) -> Vec<Finding> {
    let path = path.display();
    let mut findings = Vec::new();
    for line in &file.bad_lines {
        findings.push(Finding::fail(
            ENV_FILE,
            format!("line {line} of {path} is no NAME=value"),
            "write NAME=value, or begin the line with #",
        ));
    }
    for one in &file.assignments {
        if is_known(&one.name, known) {
            continue;
        }
        let meant = nearest(&one.name, known.iter().copied());
        findings.push(Finding::warn(
            ENV_FILE,
            format!("line {} of {path}: nothing reads {}", one.line, one.name),
            meant.map_or_else(
                || "remove it; .env.example lists what is read".to_owned(),
                |meant| format!("write {meant}, if that is what was meant"),
            ),
        ));
    }
    if findings.is_empty() {
        let found = format!(
            "{path} sets {} variables, all known",
            file.assignments.len()
        );
        findings.push(Finding::ok(ENV_FILE, found));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn the_template_lists_what_is_read() {
        let known = known();
        for name in [
            "KAFKA_BOOTSTRAP_SERVERS",
            "SIGMA_THRESHOLD",
            "KAFKA_PROPERTY_SASL_MECHANISM",
            "ONCE",
            "SMTP_URL",
        ] {
            assert!(known.contains(name), "{name} in {known:?}");
        }
        assert!(known.iter().all(|name| name.len() > 2), "{known:?}");
    }

    #[test]
    fn the_template_itself_is_a_usable_configuration() {
        let file = EnvFile::parse(TEMPLATE);
        let pairs: Vec<(&str, &str)> = file
            .assignments
            .iter()
            .map(|one| (one.name.as_str(), one.value.as_str()))
            // Relative to the checkout, not to where tests run.
            .filter(|(name, _)| *name != "KNOWLEDGE_DIR")
            .collect();
        let found = check(&Configuration::of(&pairs));
        assert!(
            found.iter().all(|finding| finding.status == Status::Ok),
            "{found:#?}"
        );
        let names = env_file(Path::new(".env.example"), &file, &known());
        assert_eq!(names[0].status, Status::Ok, "{names:?}");
    }

    #[test]
    fn bad_values_come_with_their_service_s_own_words() {
        let configuration = Configuration::of(&[
            ("SIGMA_THRESHOLD", "lots"),
            ("DEPLOYMENT_WINDOW_MINUTES", "0"),
            ("COLLECT_INTERVAL_MS", "1"),
            ("API_BIND", "everywhere"),
            ("KAFKA_PARTITIONS", "none"),
            ("SMTP_URL", "http://mail"),
            ("LOG_FORMAT", "xml"),
        ]);
        let found = check(&configuration);
        let failed: Vec<String> = found
            .iter()
            .filter(|finding| finding.status == Status::Fail)
            .map(|finding| finding.found.clone())
            .collect();
        for name in [
            "SIGMA_THRESHOLD is \"lots\"",
            "DEPLOYMENT_WINDOW_MINUTES is \"0\"",
            "COLLECT_INTERVAL_MS is \"1\"",
            "API_BIND is \"everywhere\"",
            "KAFKA_PARTITIONS is \"none\"",
            "SMTP_URL",
            "LOG_FORMAT is \"xml\"",
        ] {
            let times = failed.iter().filter(|found| found.contains(name)).count();
            assert_eq!(times, 1, "{name} in {failed:#?}");
        }
        assert_eq!(failed.len(), 7, "{failed:#?}");
        let sigma = found.iter().find(|finding| finding.found.contains("SIGMA"));
        let remedy = sigma.and_then(|finding| finding.remedy.as_deref());
        assert_eq!(
            remedy,
            Some("set it to a number from 0.5 to 20 (default 2.5), or unset it")
        );
    }

    #[test]
    fn unknown_names_are_named_with_what_was_meant() {
        let file = EnvFile::parse("SIGMA_TRESHOLD=3\nKAFKA_PROPERTY_X_Y=1\nwhat\nCOLOUR=red\n");
        let found = env_file(Path::new(".env"), &file, &known());
        let told: Vec<(Status, &str, &str)> = found
            .iter()
            .map(|one| {
                let remedy = one.remedy.as_deref().unwrap_or_default();
                (one.status, one.found.as_str(), remedy)
            })
            .collect();
        assert_eq!(
            told,
            [
                (
                    Status::Fail,
                    "line 3 of .env is no NAME=value",
                    "write NAME=value, or begin the line with #"
                ),
                (
                    Status::Warn,
                    "line 1 of .env: nothing reads SIGMA_TRESHOLD",
                    "write SIGMA_THRESHOLD, if that is what was meant"
                ),
                (
                    Status::Warn,
                    "line 4 of .env: nothing reads COLOUR",
                    "remove it; .env.example lists what is read"
                ),
            ]
        );
    }
}
