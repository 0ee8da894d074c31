//! `.env.example` lists what is read: nothing less, so that the doctor knows
//! every name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of this project") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names in calls such as `settings.text("NAME", …)` and attributes such
/// as `env = "NAME"`, outside tests.
fn names(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let calls = ["get(", "text(", "number(", "flag(", "env = "];
    let mut found = BTreeSet::new();
    for call in calls {
        for (at, _) in code.match_indices(call) {
            let rest = code[at + call.len()..].trim_start();
            let Some(name) = rest
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next())
            else {
                continue;
            };
            // A word without `_` may be a state in a table.
            let is_variable = name.contains('_')
                && name.starts_with(|first: char| first.is_ascii_uppercase())
                && name.chars().all(|letter| {
                    letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_'
                });
            if is_variable {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

#[test]
fn every_variable_that_is_read_stands_in_the_template() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the project");
    let template = std::fs::read_to_string(root.join(".env.example")).expect("the template");
    let listed: BTreeSet<&str> = template
        .split_whitespace()
        .filter_map(|word| word.trim_start_matches('#').split_once('='))
        .map(|(name, _)| name)
        .collect();
    let mut files = Vec::new();
    for part in [
        "services/detection",
        "services/correlation",
        "services/investigation",
        "services/remediation",
        "services/communication",
        "services/postmortem",
        "services/collector",
        "services/api",
        "shared/runtime",
        "shared/clients",
        "knowledge",
        "simulator",
        "cli",
    ] {
        sources(&root.join(part).join("src"), &mut files);
    }
    let mut read = BTreeSet::new();
    for file in &files {
        // Tests of a module in a file of its own.
        if file.file_name().is_some_and(|name| name == "tests.rs") {
            continue;
        }
        read.extend(names(&std::fs::read_to_string(file).expect("readable")));
    }
    assert!(
        read.contains("SMTP_URL") && read.contains("MODEL_DIR"),
        "{read:?}"
    );
    // Conventions of terminals, not settings of Midwatch.
    for convention in ["NO_COLOR", "TERM"] {
        read.remove(convention);
    }
    let missing: Vec<&String> = read
        .iter()
        .filter(|name| !listed.contains(name.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "read somewhere, but not in .env.example: {missing:?}"
    );
}
