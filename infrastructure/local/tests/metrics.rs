//! The metrics that the sources export, the table in
//! `infrastructure/prometheus/METRICS.md`, and the rules that use them: one
//! without the others is an alert that never fires or a number nobody knows.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where sources of processes lie.
const SOURCES: [&str; 6] = [
    "services",
    "shared",
    "simulator",
    "knowledge",
    "cli",
    "infrastructure",
];

/// Stands for the agent's name where the runtime exports a metric for each.
const ANY: &str = "<agent>";

/// Names outside the pattern `midwatch_<agent>_<thing>`, each with its reason.
const EXCEPTIONS: [&str; 3] = [
    // The same question to every agent, told apart by the label `topic`.
    "midwatch_consumer_lag",
    // The convention of Prometheus for what a process is built from.
    "midwatch_build_info",
    // Public interface of the simulator.
    "failure_injections_total",
];

/// A metric's type and its labels.
type Kind = (String, BTreeSet<String>);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn prometheus() -> PathBuf {
    root().join("infrastructure/prometheus")
}

/// All files below a folder with this ending, outside of tests.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["tests", "target", "node_modules"].contains(&name.as_str()) {
            files(&path, ending, found);
        } else if name.ends_with(ending) && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// The text up to the parenthesis that closes the one before it.
fn arguments(text: &str) -> &str {
    let mut depth = 1;
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..index];
        }
    }
    panic!("a macro without end: {text:.80}");
}

/// The name that the first argument of a metric's macro gives.
fn name_of(arguments: &str) -> Option<String> {
    let literal = arguments.split('"').nth(1)?;
    let before = &arguments[..arguments.find('"')?];
    if before.trim().is_empty() {
        return Some(literal.to_owned());
    }
    if before.ends_with(".metric(") {
        return Some(format!("midwatch_{ANY}_{literal}"));
    }
    let (front, rest) = literal.split_once('{')?;
    let (_, back) = rest.split_once('}')?;
    before
        .ends_with("format!(")
        .then(|| format!("{front}{ANY}{back}"))
}

/// What the sources export.
fn exported() -> BTreeMap<String, Kind> {
    let mut sources = Vec::new();
    for folder in SOURCES {
        files(&root().join(folder), ".rs", &mut sources);
    }
    let mut exported: BTreeMap<String, Kind> = BTreeMap::new();
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for kind in ["counter", "gauge", "histogram"] {
            for (start, found) in code.match_indices(&format!("{kind}!(")) {
                let arguments = arguments(&code[start + found.len()..]);
                let name = name_of(arguments).unwrap_or_else(|| {
                    let path = path.display();
                    panic!("{path}: {kind}!({arguments}): write the name out where it is counted")
                });
                let parts: Vec<&str> = arguments.split('"').collect();
                let labels = parts
                    .windows(2)
                    .filter(|pair| pair[1].trim_start().starts_with("=>"))
                    .map(|pair| pair[0].to_owned());
                let entry = exported.entry(name).or_default();
                entry.0 = kind.to_owned();
                entry.1.extend(labels);
            }
        }
        written_by_hand(code, &mut exported);
    }
    exported
}

/// Metrics of a process that writes Prometheus's text itself.
fn written_by_hand(code: &str, exported: &mut BTreeMap<String, Kind>) {
    for line in code.split("# TYPE ").skip(1) {
        let words: Vec<&str> = line
            .split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
            .collect();
        let (name, kind) = (words[0], words[1]);
        let label = code
            .split_once(&format!("{name}{{{{"))
            .and_then(|(_, rest)| rest.split_once('='))
            .map(|(label, _)| label.to_owned());
        let entry = (kind.to_owned(), label.into_iter().collect());
        exported.insert(name.to_owned(), entry);
    }
}

/// The table: rows of name, type and labels, each in its cell.
fn listed() -> BTreeMap<String, Kind> {
    let text = fs::read_to_string(prometheus().join("METRICS.md")).unwrap();
    let mut listed = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, meaning, _] = cells[..] else {
            panic!("not four cells: {line}");
        };
        assert!(meaning.len() > 10, "what does it mean? {line}");
        let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned);
        let kind = (kind.to_owned(), labels.collect());
        let before = listed.insert(name.trim_matches('`').to_owned(), kind);
        assert_eq!(before, None, "listed twice: {name}");
    }
    listed
}

#[test]
fn the_table_lists_every_metric_of_the_sources_and_nothing_else() {
    let mut listed = listed();
    // These come from the crate metrics-process; the runtime's test reads them.
    listed.retain(|name, _| !name.starts_with("process_"));
    let exported = exported();
    assert!(
        exported.len() > 40,
        "the sources were not read: {exported:?}"
    );
    let wrong: Vec<String> = exported
        .iter()
        .filter(|(name, kind)| listed.get(*name) != Some(kind))
        .map(|(name, (kind, labels))| {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{name}` | {kind} | {} | … |", labels.join(", "))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "METRICS.md needs these rows, with their meaning:\n{}",
        wrong.join("\n")
    );
    listed.retain(|name, _| !exported.contains_key(name));
    assert!(listed.is_empty(), "nothing exports these: {listed:?}");
}

#[test]
fn names_follow_the_pattern_and_say_their_unit() {
    for (name, (kind, labels)) in exported() {
        if !EXCEPTIONS.contains(&name.as_str()) {
            let rest = name.strip_prefix("midwatch_").unwrap_or_default();
            let (agent, thing) = rest.split_once('_').unwrap_or_default();
            // The rules take any agent as [a-z]+.
            let agent_fits =
                agent == ANY || agent.chars().all(|letter| letter.is_ascii_lowercase());
            assert!(
                agent_fits && !agent.is_empty() && !thing.is_empty(),
                "{name}"
            );
        }
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name}");
        for label in labels {
            assert!(
                !label.ends_with("id"),
                "{name}: the label {label} has no bound"
            );
        }
    }
}

/// Writes a choice of agents out: `midwatch_(a|b)_x` is two names.
fn without_choices(text: &str) -> String {
    let mut pieces = text.split("midwatch_(");
    let mut whole = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (agents, rest) = piece.split_once(')').unwrap();
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let (thing, rest) = rest.split_at(end.unwrap_or(rest.len()));
        for agent in agents.split('|') {
            whole += &format!("midwatch_{agent}{thing} ");
        }
        whole += rest;
    }
    whole
}

/// Words that are the names of metrics, with [`ANY`] for a pattern of agents.
fn used_in(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.trim().starts_with('#'));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let text = without_choices(&text).replace("midwatch_[a-z]+_", "midwatch_ANY_");
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && !"_:".contains(letter))
        .map(|word| word.trim_matches(':'))
        .filter(|word| {
            let name = word.split(':').nth(1).unwrap_or(word);
            name.starts_with("midwatch_") || name.starts_with("process_")
        })
        .map(|word| word.replace("_ANY_", "_<agent>_"))
        .collect()
}

#[test]
fn names_are_found_in_expressions() {
    let text = "# midwatch_no_x\nrate({__name__=~\"midwatch_(api|detection)_ready|midwatch_[a-z]+_y_total\"}[5m]) + a:midwatch_z:sum";
    let expected = [
        "a:midwatch_z:sum",
        "midwatch_<agent>_y_total",
        "midwatch_api_ready",
        "midwatch_detection_ready",
    ];
    assert_eq!(used_in(text), expected.map(str::to_owned).into());
    let listed = listed();
    assert!(is_known(
        "midwatch_detection_checkpoint_seconds_count",
        &listed
    ));
    assert!(!is_known("midwatch_detection_nonsense_total", &listed));
}

/// Whether a name is in the table, also as a part of a histogram or as one
/// agent's.
fn is_known(name: &str, listed: &BTreeMap<String, Kind>) -> bool {
    let parts = ["_bucket", "_sum", "_count"];
    let whole = parts.iter().find_map(|part| name.strip_suffix(part));
    if let Some(whole) = whole
        && listed.get(whole).is_some_and(|kind| kind.0 == "histogram")
    {
        return true;
    }
    let of_agent = |name: &str| {
        let (agent, thing) = name.strip_prefix("midwatch_")?.split_once('_')?;
        (agent != ANY).then(|| format!("midwatch_{ANY}_{thing}"))
    };
    listed.contains_key(name)
        || of_agent(name).is_some_and(|name| is_known(&name, listed))
        // A pattern of agents also fits what one of them exports by itself.
        || name.contains(ANY) && listed.keys().any(|key| of_agent(key).as_deref() == Some(name))
}

#[test]
fn every_metric_in_rules_tests_and_dashboards_exists() {
    let listed = listed();
    let mut texts = Vec::new();
    for folder in ["rules", "tests"] {
        for entry in fs::read_dir(prometheus().join(folder)).unwrap() {
            texts.push(entry.unwrap().path());
        }
    }
    files(&root().join("infrastructure/grafana"), ".json", &mut texts);
    assert!(texts.len() >= 5, "{texts:?}");
    let rules = prometheus().join("rules/midwatch-recording.yml");
    let recorded: BTreeSet<String> = fs::read_to_string(rules)
        .unwrap()
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- record: "))
        .map(str::to_owned)
        .collect();
    assert!(recorded.len() > 20);
    for path in texts {
        for name in used_in(&fs::read_to_string(&path).unwrap()) {
            let exists = if name.contains(':') {
                recorded.contains(&name)
            } else {
                is_known(&name, &listed)
            };
            assert!(exists, "{}: nothing exports {name}", path.display());
        }
    }
}

/// Runs promtool in the folder of the rules.
fn promtool(arguments: &[&str]) {
    let program = midwatch_local::layout::program("promtool").unwrap();
    let output = Command::new(program)
        .args(arguments)
        .current_dir(prometheus())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn rules_pass_their_unit_tests() {
    let tests =
        ["watcher", "delivery", "data", "recording"].map(|name| format!("tests/{name}.yml"));
    let count = fs::read_dir(prometheus().join("tests")).unwrap().count();
    assert_eq!(count, tests.len(), "a file of tests is not run");
    let mut arguments = vec!["test", "rules"];
    arguments.extend(tests.iter().map(String::as_str));
    promtool(&arguments);
    promtool(&[
        "check",
        "rules",
        "rules/midwatch-recording.yml",
        "rules/midwatch-alerting.yml",
    ]);
}

#[test]
fn every_alert_is_explained_and_is_tested_firing_and_silent() {
    let rules = fs::read_to_string(prometheus().join("rules/midwatch-alerting.yml")).unwrap();
    let tests: String = ["watcher", "delivery", "data"]
        .map(|name| fs::read_to_string(prometheus().join(format!("tests/{name}.yml"))).unwrap())
        .concat();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 20, "{}", alerts.len());
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        for part in [
            "for: ",
            "severity: ",
            "summary: ",
            "description: ",
            "runbook: ",
        ] {
            assert!(alert.contains(part), "{name} has no {part}");
        }
        let asked = format!("alertname=\"{name}\", alertstate=\"firing\"}}'");
        let answers: Vec<&str> = tests
            .split(&asked)
            .skip(1)
            .map(|rest| rest.split("exp_samples:").nth(1).unwrap())
            .collect();
        let silent = |answer: &&str| answer.starts_with(" []");
        assert!(answers.iter().any(silent), "{name} is never seen silent");
        assert!(!answers.iter().all(silent), "{name} is never seen firing");
    }
}
