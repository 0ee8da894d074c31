//! `THRESHOLDS.md` is what the code says: its tables are written from the
//! constants with their comments, from the settings and from the classes.
//! `WRITE_REFERENCE=1 cargo test -p midwatch-detection --test thresholds`
//! writes them anew.

use midwatch_detection::config::DetectionConfig;
use midwatch_detection::decide::burn::Rule;
use midwatch_detection::decide::semantics::markdown;
use midwatch_runtime::config::{ConfigError, Settings};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- from code: ";
const END: &str = "<!-- end -->";
/// Names that are no thresholds: lengths of time units, and what memory looks like.
const PLAIN: [&str; 8] = [
    "MINUTE_MS",
    "HOUR_MS",
    "DAY_MS",
    "DAY",
    "HOURS",
    "BLOCK",
    "FIRST",
    "NOBODY",
];
/// Units by the ends of names.
const ENDS: [(&str, &str); 12] = [
    ("_MS", "ms"),
    ("MINUTES", "min"),
    ("DAYS", "days"),
    ("SAMPLES", "samples"),
    ("READINGS", "readings"),
    ("PERCENT", "%"),
    ("SIGMA", "σ"),
    ("_FADE", "kept per sample"),
    ("_BYTES", "bytes"),
    ("_TOKENS", "tokens"),
    ("_CHARS", "characters"),
    ("_BUCKETS", "buckets"),
];
/// Units of the others: file, names, unit.
const UNITS: &[(&str, &str, &str)] = &[
    ("semantics.rs", "BLATANT", "× SIGMA_THRESHOLD"),
    ("overrides.rs", "MAX_RULES", "entries"),
    ("series.rs", "READINGS_TO_CLEAR RECENT QUOTED", "readings"),
    ("standing.rs", "SUSTAINED SUSTAINED_ELSEWHERE", "readings"),
    ("habit.rs", "DAYS", "days"),
    ("habit.rs", "FURTHER", "× the largest before"),
    ("habit.rs", "MOST", "habits"),
    ("clock.rs", "PACE", "× record time"),
    (
        "clock.rs",
        "BELIEVED_AHEAD BELIEVED_BACK BELIEVED_BACK_TO_NOW",
        "records",
    ),
    ("baseline.rs", "SIGMA_CAP EDGE", "σ"),
    ("baseline.rs", "HUGE ABSOLUTE_FLOOR", "the metric's unit"),
    ("baseline.rs", "RELATIVE_FLOOR", "parts of the level"),
    ("baseline.rs", "MOST RHYTHM_MARGIN", "× the largest error"),
    ("baseline.rs", "BEYOND_RANGE", "parts of the range"),
    ("baseline.rs", "FEW", "samples"),
    ("baseline.rs", "CALM", "parts of the largest error"),
    ("maxima.rs", "LEAST_MEMORY ONE_PEAK YOUNG", "samples"),
    ("season.rs", "LATEST", "weight, 0..1"),
    (
        "novelty.rs",
        "LEAST WARM_UP STILL BEAT_APART BEAT_LEAST REST_LEAST REST_MOST",
        "samples",
    ),
    (
        "novelty.rs",
        "FAST BRIEF SLOW UNREST UNREST_USUAL HOUR HOUR_LEVEL",
        "weight, 0..1",
    ),
    ("novelty.rs", "BEAT_SIZE", "parts of the largest departure"),
    ("novelty.rs", "BEATS", "peaks"),
    ("novelty.rs", "BEAT_REGULAR", "parts of their distance"),
    ("novelty.rs", "REST", "parts of the samples so far"),
    ("novelty.rs", "FATIGUE", "parts of a threshold"),
    ("novelty.rs", "REPORTED", "score, 0..1"),
    ("novelty.rs", "RANGE", "parts of the range"),
    ("novelty.rs", "STILLNESS", "× the longest run"),
    ("novelty.rs", "LULL", "× the usual distance"),
    ("novelty.rs", "UNREST_PEAK", "logarithm of a ratio"),
    ("novelty.rs", "Question::", "× the second largest peak"),
    ("forecast.rs", "WINDOWS FORGET FIRST_DAY AGE", "min"),
    ("forecast.rs", "SURE CLIMBING", "standard errors"),
    ("forecast.rs", "NOISE NEAR", "deviations"),
    (
        "forecast.rs",
        "NEWER GOES_ON GIVEN_BACK STALLED BEFORE",
        "parts of the rise",
    ),
    ("forecast.rs", "FOLLOW", "weight, 0..1"),
    ("forecast.rs", "MULTIPLE", "× the ceiling"),
    ("forecast.rs", "FURTHER", "parts of the growth's time"),
    ("burn.rs", "GAP NEW_RHYTHM", "intervals, gaps"),
    ("burn.rs", "COVERED", "parts of the window"),
    ("rules.rs", "LOOKED_AT", "bytes"),
    ("rules.rs", "QUOTED", "characters"),
    ("rules.rs", "BURST", "lines, and × the usual"),
    ("templates.rs", "MAX_TEMPLATES", "templates"),
    ("templates.rs", "MAX_TEXT EXAMPLE", "bytes"),
    ("templates.rs", "LEARN_LINES", "lines"),
    ("templates.rs", "TIMES", "sightings"),
    ("templates.rs", "SEVERE_TIMES", "× what is needed"),
    ("history.rs", "LASTING BLATANT", "× the largest minute"),
    (
        "history.rs",
        "LEAST_ERRORS LEAST_WARNINGS",
        "lines a minute",
    ),
    ("mask.rs", "KEPT_HEAD KEPT_TAIL QUOTATION ADDRESS", "bytes"),
    ("tree.rs", "MAX_CHILDREN", "first words"),
    ("decide.rs", "MAX_SERVICES", "services"),
    ("spans.rs", "MAX_OPERATIONS", "operations"),
    ("spans.rs", "EVERY", "spans"),
];

#[derive(Debug)]
struct Constant {
    name: String,
    value: String,
    why: String,
}

fn crate_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `600_000` as people write it.
fn spaced(value: &str) -> String {
    let digit = |text: &str| text.starts_with(|letter: char| letter.is_ascii_digit());
    let mut out = String::new();
    for (place, part) in value.split('_').enumerate() {
        if place > 0 {
            out.push(if digit(part) { ' ' } else { '_' });
        }
        out.push_str(part);
    }
    out
}

/// The numbers that a file names, with the comments above them. One that
/// follows another without a comment of its own shares the other's.
fn constants(source: &str) -> Vec<Constant> {
    let code = source
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(source);
    let (mut found, mut comment): (Vec<Constant>, String) = (Vec::new(), String::new());
    let mut before = String::new();
    for line in code.lines() {
        let bare = line.trim_start();
        if let Some(words) = bare.strip_prefix("///") {
            if !comment.is_empty() {
                comment.push(' ');
            }
            comment.push_str(words.trim());
            continue;
        }
        let declared = bare
            .split_once("const ")
            .filter(|(head, _)| line == bare && (head.is_empty() || head.starts_with("pub")));
        let number = declared.and_then(|(_, rest)| {
            let (name, rest) = rest.split_once(": ")?;
            let (kind, value) = rest.split_once(" = ")?;
            let numeric = kind.trim_start_matches('[').starts_with(['f', 'i', 'u']);
            let value = value.strip_suffix(';')?;
            numeric.then(|| (name.to_owned(), spaced(value)))
        });
        let asked = bare.strip_prefix("(Question::").and_then(|rest| {
            let (name, value) = rest.strip_suffix("),")?.split_once(", ")?;
            value.parse::<f64>().ok()?;
            Some((format!("Question::{name}"), value.to_owned()))
        });
        if let Some((name, value)) = number.or(asked) {
            let own = if comment.is_empty() {
                &before
            } else {
                &comment
            };
            before = own.replace(['[', ']'], "");
            let why = before.clone();
            found.push(Constant { name, value, why });
        } else if declared.is_some() {
            before.clone_from(&comment);
        } else {
            before.clear();
        }
        comment.clear();
    }
    found.retain(|constant| !PLAIN.contains(&constant.name.as_str()));
    found
}

fn unit(path: &str, name: &str) -> &'static str {
    let file = path.rsplit('/').next().unwrap_or(path);
    let given = UNITS.iter().find(|(of, names, _)| {
        *of == file
            && names
                .split(' ')
                .any(|one| one == name || (one.ends_with("::") && name.starts_with(one)))
    });
    let by_end = || ENDS.iter().find(|(end, _)| name.ends_with(end));
    given
        .map(|(.., unit)| *unit)
        .or_else(|| by_end().map(|(_, unit)| *unit))
        .unwrap_or_else(|| panic!("say in UNITS which unit {name} of {path} has"))
}

fn of_files(paths: &str) -> String {
    let mut out = "| name | value | unit | why |\n|---|---|---|---|\n".to_owned();
    let (mut unexplained, mut above) = (Vec::new(), String::new());
    for path in paths.split(' ') {
        for Constant { name, value, why } in constants(&read(&crate_path(path))) {
            if why.is_empty() {
                unexplained.push(format!("{name} of {path}"));
            }
            let unit = unit(path, &name);
            let words = if why == above { "as above" } else { &why };
            writeln!(out, "| `{name}` | {value} | {unit} | {words} |")
                .expect("a string takes everything");
            above = why;
        }
    }
    assert!(
        unexplained.is_empty(),
        "say why in a comment: {unexplained:?}"
    );
    out
}

/// Name, unit, default and reason of each setting, from the comments.
fn settings() -> Vec<[String; 4]> {
    let source = read(&crate_path("src/config.rs"));
    let mut comments: Vec<String> = vec![String::new()];
    for line in source.lines() {
        match line.trim_start().strip_prefix("/// ") {
            Some(words) => {
                let comment = comments.last_mut().expect("there is one");
                comment.push_str(words);
                comment.push(' ');
            }
            None => comments.push(String::new()),
        }
    }
    let setting = |comment: &String| {
        let (name, rest) = comment.strip_prefix('`')?.split_once("`, ")?;
        let (unit, rest) = rest.split_once(", default ")?;
        let end = rest.find([':', '(', ';', ',']).unwrap_or(rest.len());
        let (default, why) = rest.split_at(end);
        let why = why.trim_start_matches(':').trim().replace(['[', ']'], "");
        let why = match why.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            Some((head, tail)) => format!("{head}{tail}"),
            None => why,
        };
        Some([name, unit, default.trim(), &why].map(str::to_owned))
    };
    comments.iter().filter_map(setting).collect()
}

fn of_settings() -> String {
    let mut out = "| setting | default | unit | why |\n|---|---|---|---|\n".to_owned();
    for [name, unit, default, why] in settings() {
        writeln!(out, "| `{name}` | {default} | {unit} | {why} |")
            .expect("a string takes everything");
    }
    out
}

fn of_rules() -> String {
    let mut out = "| rule | burn rate | severity |\n|---|---|---|\n".to_owned();
    for rule in Rule::ALL {
        let (threshold, severity) = (rule.threshold(), rule.severity());
        writeln!(out, "| {rule:?} | {threshold} | {severity} |")
            .expect("a string takes everything");
    }
    out
}

fn table(what: &str) -> String {
    match what {
        "settings" => of_settings(),
        "classes" => markdown::table(),
        "burn rates" => of_rules(),
        files => of_files(files),
    }
}

/// What the tables of the document are made from, and the document with them
/// as the code has them.
fn rewritten(document: &str) -> (Vec<String>, String) {
    let (mut made_from, mut out) = (Vec::new(), String::new());
    let mut rest = document;
    while let Some(start) = rest.find(BEGIN) {
        let line = start + rest[start..].find('\n').expect("a mark is a line") + 1;
        let what = rest[start + BEGIN.len()..line]
            .trim_end()
            .trim_end_matches(" -->");
        let end = line + rest[line..].find(END).expect("each mark has its end");
        made_from.push(what.to_owned());
        out.push_str(&rest[..line]);
        out.push_str(&table(what));
        rest = &rest[end..];
    }
    out.push_str(rest);
    (made_from, out)
}

#[test]
fn the_tables_are_the_codes() {
    let path = crate_path("THRESHOLDS.md");
    let document = read(&path);
    let (_, wanted) = rewritten(&document);
    if std::env::vars().any(|(name, _)| name == "WRITE_REFERENCE") {
        std::fs::write(&path, wanted).expect("THRESHOLDS.md can be written");
        return;
    }
    for (there, wanted) in document.lines().zip(wanted.lines()) {
        assert_eq!(there, wanted, "run `make reference`");
    }
    assert_eq!(document, wanted, "run `make reference`");
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("it is a folder") {
        let path = entry.expect("it is readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_number_of_the_core_is_in_a_table() {
    let (made_from, _) = rewritten(&read(&crate_path("THRESHOLDS.md")));
    let listed: BTreeSet<&str> = made_from.iter().flat_map(|what| what.split(' ')).collect();
    let mut files = Vec::new();
    sources(&crate_path("src/decide"), &mut files);
    for file in files {
        let name = file
            .strip_prefix(crate_path(""))
            .expect("it lies within")
            .display()
            .to_string();
        let is_test = name.contains("/tests");
        let numbers = constants(&read(&file));
        if !is_test && !numbers.is_empty() {
            assert!(
                listed.contains(name.as_str()),
                "{name} has {numbers:?}, and THRESHOLDS.md no table of it"
            );
        }
    }
}

#[test]
fn settings_are_those_that_are_read_with_their_defaults() {
    let source = read(&crate_path("src/config.rs"));
    let is_name = |text: &&str| {
        text.len() > 5
            && text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    let in_code: BTreeSet<&str> = source.split('"').filter(is_name).collect();
    let told = settings();
    let in_document: BTreeSet<&str> = told.iter().map(|[name, ..]| name.as_str()).collect();
    assert_eq!(in_document, in_code);
    for [name, _, default, _] in &told {
        let mut wrong = Settings::from_values([(name.clone(), "\u{1}".to_owned())]);
        drop(DetectionConfig::from_settings(&mut wrong));
        let ConfigError(problems) = wrong.finish().expect_err(name);
        let number = default.replace(' ', "");
        let words = if default == "none" {
            "or unset it".to_owned()
        } else {
            format!("(default {number})")
        };
        assert!(
            problems.iter().any(|problem| problem.contains(&words)),
            "{name}, default {default}: {problems:?}"
        );
    }
}

#[test]
fn settings_are_in_the_example_of_the_environment() {
    let example = read(&crate_path("../../.env.example"));
    let offered = |name: &str, line: &str| {
        let line = line.trim_start_matches('#').trim_start();
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('='))
    };
    let mut missing = settings();
    missing.retain(|[name, ..]| !example.lines().any(|line| offered(name, line)));
    let names: Vec<&String> = missing.iter().map(|[name, ..]| name).collect();
    assert!(names.is_empty(), "add {names:?} to .env.example");
}

#[test]
fn a_wrong_file_of_semantics_stops_the_start_by_its_name() {
    let path = std::env::temp_dir().join(format!("semantics-{}.toml", std::process::id()));
    let read_with = |path: &Path| {
        let value = path.display().to_string();
        let mut settings = Settings::from_values([("DETECTION_SEMANTICS".to_owned(), value)]);
        let config = DetectionConfig::from_settings(&mut settings);
        (config, settings.finish())
    };
    std::fs::write(&path, "[[series]]\nmatch = 'a'\ndirection = 'left'\n")
        .expect("it can be written");
    let (_, outcome) = read_with(&path);
    std::fs::remove_file(&path).expect("it is there");
    let ConfigError(problems) = outcome.expect_err("left is no direction");
    let place = format!("DETECTION_SEMANTICS is {:?}", path.display().to_string());
    assert_eq!(
        problems,
        [format!(
            "{place}: entry 1: `direction` = \"left\": use up, down, both, none"
        )]
    );
    let (_, outcome) = read_with(&path);
    assert!(
        outcome
            .expect_err("it is gone")
            .to_string()
            .contains("readable TOML file")
    );
    let (config, outcome) = read_with(&crate_path("semantics.example.toml"));
    assert_eq!(outcome, Ok(()));
    assert!(
        config
            .tuning
            .semantics
            .rule("payment-service", "service_db_connections")
            .is_some()
    );
}
