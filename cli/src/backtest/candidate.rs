//! Configurations: the one of the environment, and the one to compare it with.

use crate::configuration::Configuration;
use crate::doctor::{known_settings, nearest};
use crate::failure::Failure;
use crate::output;
use midwatch_correlation::config::Config as CorrelationConfig;
use midwatch_detection::config::DetectionConfig;
use midwatch_events::knowledge::Catalogue;
use midwatch_investigation::config::Config as InvestigationConfig;
use midwatch_local::layout::Layout;
use midwatch_runtime::{ConfigError, Settings};
use midwatch_score::virtual_run::Setup;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, Value};

/// What no setting is ever set to; whoever reads a number or choice says so.
const NONSENSE: &str = "\u{1}";

/// One configuration, ready to replay with.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// `current`, or the file's name.
    pub name: String,
    pub setup: Setup,
    /// Detection's wait before it lets silence grow.
    pub idle_after_ms: i64,
    /// How far back a partition without state begins.
    pub warmup_ms: i64,
}

/// A setting that the file gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub name: String,
    /// In the environment; `null` where the default counts.
    pub current: Option<String>,
    pub new: String,
}

/// A setting of detection or correlation, with what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    name: &'static str,
    takes: String,
}

/// All that detection and correlation make of their settings.
fn numbers(values: &BTreeMap<String, String>) -> (DetectionConfig, CorrelationConfig, Settings) {
    let mut settings = Settings::from_values(values.clone());
    let detection = DetectionConfig::from_settings(&mut settings);
    let correlation = CorrelationConfig::read(&settings);
    (detection, correlation, settings)
}

/// The settings that detection and correlation read, in their own words: each
/// is set to nonsense, and either somebody complains or something changes.
fn readable() -> Vec<Known> {
    let nothing = numbers(&BTreeMap::new());
    let probe = |name: &'static str| {
        let values = BTreeMap::from([(name.to_owned(), NONSENSE.to_owned())]);
        let (detection, correlation, settings) = numbers(&values);
        if let Err(ConfigError(problems)) = settings.finish() {
            let words = problems.iter().find_map(|problem| {
                let (_, fix) = problem.split_once("\": ")?;
                let fix = fix.strip_prefix("set it to ").unwrap_or(fix);
                Some(fix.strip_suffix(", or unset it").unwrap_or(fix).to_owned())
            });
            let takes = words.unwrap_or_default();
            return Some(Known { name, takes });
        }
        let takes = "text".to_owned();
        (detection != nothing.0 || correlation != nothing.1).then_some(Known { name, takes })
    };
    known_settings().into_iter().filter_map(probe).collect()
}

/// The settings for people, one a line.
fn listing(known: &[Known]) -> String {
    let width = known.iter().map(|one| one.name.len()).max().unwrap_or(0);
    let mut out = "settings of detection and correlation:\n".to_owned();
    for one in known {
        output::hang(
            &mut out,
            &format!("  {:width$}", one.name),
            width + 4,
            &one.takes,
        );
    }
    out
}

impl Candidate {
    fn read(
        name: String,
        values: &BTreeMap<String, String>,
        catalogue: &Catalogue,
    ) -> Result<Candidate, ConfigError> {
        let (detection, correlation, settings) = numbers(values);
        let investigation = InvestigationConfig::read(&settings);
        settings.finish()?;
        let ms = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Ok(Candidate {
            name,
            idle_after_ms: ms(detection.idle_after),
            warmup_ms: ms(detection.warmup),
            setup: Setup {
                tuning: detection.tuning,
                correlation,
                investigation,
                ..Setup::new(0, catalogue.clone())
            },
        })
    }

    /// What the environment says.
    ///
    /// # Errors
    /// A value that the services would refuse.
    pub fn current(
        configuration: &Configuration,
        catalogue: &Catalogue,
    ) -> Result<Candidate, Failure> {
        Candidate::read("current".to_owned(), &own(configuration), catalogue).map_err(
            |ConfigError(problems)| {
                Failure::new(
                    problems.join("; "),
                    "correct the environment or .env (`midwatch doctor` looks at all of it)",
                )
            },
        )
    }

    /// What the environment says, but for what the file at `path` gives: lines
    /// `NAME = value` in TOML, where NAME is a variable that detection or
    /// correlation reads, in capitals or small letters.
    ///
    /// # Errors
    /// The file cannot be read, names something else, or gives a value that
    /// the services would refuse.
    pub fn proposed(
        configuration: &Configuration,
        catalogue: &Catalogue,
        path: &Path,
    ) -> Result<(Candidate, Vec<Changed>), Failure> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(
                format!("{shown} cannot be read: {error}"),
                "name an existing file after --config",
            )
        })?;
        let given = assignments(&text).map_err(|what| {
            Failure::new(
                format!("{shown}: {what}"),
                "write one NAME = value a line, such as SIGMA_THRESHOLD = 3.0",
            )
        })?;
        let known = readable();
        let own = own(configuration);
        let mut values = own.clone();
        let mut changed = Vec::new();
        for (key, value) in given {
            let name = key.to_uppercase();
            if !known.iter().any(|one| one.name == name) {
                eprint!("{}", listing(&known));
                let meant = nearest(&name, known.iter().map(|one| one.name));
                return Err(Failure::new(
                    format!("{shown}: neither detection nor correlation reads {key}"),
                    meant.map_or_else(
                        || "the settings that can be tried are listed above".to_owned(),
                        |meant| format!("write {meant}, or another of those listed above"),
                    ),
                ));
            }
            changed.push(Changed {
                current: own.get(&name).cloned(),
                name: name.clone(),
                new: value.clone(),
            });
            values.insert(name, value);
        }
        let name = path.file_name().map_or_else(
            || shown.to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        let candidate =
            Candidate::read(name, &values, catalogue).map_err(|ConfigError(problems)| {
                let what = format!("{shown}: {}", problems.join("; "));
                Failure::new(what, "correct it there, and try again")
            })?;
        Ok((candidate, changed))
    }
}

fn own(configuration: &Configuration) -> BTreeMap<String, String> {
    let all = configuration.settings.with_prefix("");
    all.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The assignments of a file, in its order.
fn assignments(text: &str) -> Result<Vec<(String, String)>, String> {
    let document = text
        .parse::<DocumentMut>()
        .map_err(|error| format!("it is no TOML: {error}"))?;
    let mut found: Vec<(String, String)> = Vec::new();
    for (key, item) in document.iter() {
        let value = match item {
            Item::Value(Value::String(text)) => text.value().clone(),
            Item::Value(Value::Integer(number)) => number.value().to_string(),
            Item::Value(Value::Float(number)) => number.value().to_string(),
            Item::Value(Value::Boolean(flag)) => flag.value().to_string(),
            other => return Err(format!("{key} is {}, not one value", other.type_name())),
        };
        if value.trim().is_empty() {
            return Err(format!("{key} is empty"));
        }
        if found
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(key))
        {
            return Err(format!("{key} is given twice"));
        }
        found.push((key.to_owned(), value));
    }
    if found.is_empty() {
        return Err("it sets nothing".to_owned());
    }
    Ok(found)
}

/// The service catalogue, and where it lay: KNOWLEDGE_DIR, else `knowledge`
/// here or in the checkout. Without one, services are connected by what the
/// telemetry says of them alone.
///
/// # Errors
/// A catalogue that cannot be read, or none where KNOWLEDGE_DIR names one.
pub fn catalogue(configuration: &Configuration) -> Result<(Catalogue, Option<PathBuf>), Failure> {
    let wish = configuration.settings.get("KNOWLEDGE_DIR");
    let mut folders: Vec<PathBuf> = Vec::new();
    match &wish {
        Some(folder) => folders.push(PathBuf::from(folder)),
        None => {
            folders.push(PathBuf::from("knowledge"));
            folders.extend(
                Layout::find()
                    .ok()
                    .map(|layout| layout.root.join("knowledge")),
            );
        }
    }
    let mend = "set KNOWLEDGE_DIR to the folder that holds services.json";
    let mut tried = String::new();
    for folder in folders {
        let path = folder.join("services.json");
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let catalogue = Catalogue::parse(&text)
                    .map_err(|error| Failure::new(format!("{}: {error}", path.display()), mend))?;
                return Ok((catalogue, Some(path)));
            }
            Err(error) => {
                write!(tried, "{} cannot be read: {error}", path.display())
                    .expect("a string takes all");
            }
        }
    }
    if wish.is_some() {
        return Err(Failure::new(tried, mend));
    }
    Ok((Catalogue::default(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_that_can_be_tried_are_those_that_are_read_with_their_ranges() {
        let known = readable();
        let names: Vec<&str> = known.iter().map(|one| one.name).collect();
        for name in [
            "DETECTION_MISSING_SECONDS",
            "CORRELATION_SETTLE_MS",
            "DEPLOYMENT_WINDOW_MINUTES",
        ] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        for name in ["KAFKA_BOOTSTRAP_SERVERS", "SMTP_URL", "COLLECT_INTERVAL_MS"] {
            assert!(!names.contains(&name), "{name} in {names:?}");
        }
        let settle = known.iter().find(|one| one.name == "CORRELATION_SETTLE_MS");
        let takes = settle.map(|one| one.takes.as_str());
        assert_eq!(takes, Some("a number from 0 to 60000 (default 3000)"));
        let text = listing(&known);
        assert!(
            text.lines()
                .all(|line| output::columns(line) <= output::WIDTH),
            "{text}"
        );
    }

    #[test]
    fn a_file_gives_numbers_words_and_flags_and_nothing_twice() {
        let text = "# why\nsettle_ms = 5\nSIGMA = 2.5\nMODE = 'a b'\nflag = true\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            assignments(text),
            Ok(vec![
                pair("settle_ms", "5"),
                pair("SIGMA", "2.5"),
                pair("MODE", "a b"),
                pair("flag", "true")
            ])
        );
        for (bad, words) in [
            ("a = 1\nA = 2", "A is given twice"),
            ("[detection]\na = 1", "detection is table, not one value"),
            ("a = [1]", "a is array, not one value"),
            ("a = ''", "a is empty"),
            ("", "it sets nothing"),
            ("a 1", "it is no TOML"),
        ] {
            let error = assignments(bad).expect_err(bad);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_proposal_stands_on_the_environment_and_is_judged_by_the_services() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new.toml");
        let propose = |text: &str| {
            std::fs::write(&path, text).expect("written");
            let configuration = Configuration::of(&[
                ("CORRELATION_SETTLE_MS", "1000"),
                ("CORRELATION_GROW_MS", "500"),
            ]);
            Candidate::proposed(&configuration, &Catalogue::default(), &path)
        };
        let (candidate, changed) = propose("correlation_settle_ms = 7000\n").expect("fine");
        assert_eq!(candidate.name, "new.toml");
        let correlation = &candidate.setup.correlation;
        assert_eq!((correlation.settle_ms, correlation.grow_ms), (7_000, 500));
        let wanted = Changed {
            name: "CORRELATION_SETTLE_MS".to_owned(),
            current: Some("1000".to_owned()),
            new: "7000".to_owned(),
        };
        assert_eq!(changed, [wanted]);
        for (text, what, mend) in [
            (
                "CORRELATION_SETTLE_MS = -5",
                "CORRELATION_SETTLE_MS is \"-5\": set it to a number from 0 to 60000",
                "correct it there",
            ),
            (
                "CORRELATION_SETLE_MS = 5",
                "neither detection nor correlation reads CORRELATION_SETLE_MS",
                "write CORRELATION_SETTLE_MS",
            ),
            (
                "SMTP_URL = 'smtp://x'",
                "neither detection nor correlation reads SMTP_URL",
                "listed above",
            ),
        ] {
            let Err(Failure::Problem {
                what: said,
                mend: fix,
            }) = propose(text)
            else {
                panic!("{text} is refused");
            };
            assert!(said.contains(what) && fix.contains(mend), "{said} / {fix}");
        }
    }
}
