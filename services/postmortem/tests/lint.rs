//! Simulated incidents of many stories: no sentence is unbound, no step is
//! called applied that was not, and whatever is altered is noticed.

mod fixtures;

use fixtures::stories::{self, Story};
use midwatch_postmortem::document::{self, Document};
use midwatch_postmortem::facts::{Facts, Standing};
use midwatch_postmortem::records::Records;
use midwatch_postmortem::statement::{Part, Statement};
use midwatch_postmortem::{forms, lint};

const INCIDENTS: usize = 66;

fn written(story: &Story) -> (Document, Records) {
    let records = Records::collect(&story.facts, &fixtures::catalogue(), story.version);
    (
        document::write(&story.facts, &records, story.version),
        records,
    )
}

#[test]
fn no_sentence_of_many_incidents_is_unbound() {
    let (mut sentences, mut told) = (0, std::collections::BTreeSet::new());
    for story in stories::all(INCIDENTS) {
        let (mut document, records) = written(&story);
        let left_out = document.lint(&records);
        assert_eq!(left_out, Vec::new(), "{}", story.name);
        for (_, statement) in document.statements() {
            assert!(!statement.records.is_empty(), "{statement:?}");
            sentences += 1;
        }
        frame(&document, &story);
        told.insert(story.name);
    }
    assert!(told.len() >= 11, "{told:?}");
    // Every kind of computed value was told at least once.
    let all: String = stories::all(INCIDENTS)
        .iter()
        .map(|story| forms::markdown(&written(story).0))
        .collect();
    for words in [
        "Failed requests to payment-service: ",
        "Minutes of the SLO of payment-service that burnt: ",
        "its whole window holds 216 at an objective of 99.5 %",
        "Downtime of ",
        "stated this toil, in minutes: 45.5",
        "Against Latency spike in order-service speaks this",
        "that was dropped: the number 12000",
        "MTTA, from detection to the first acknowledgement",
        "refused by the rule freeze-window",
        "tried, found worse and undone",
        "dry run: shown, not carried out",
        "| in all |",
    ] {
        assert!(all.contains(words), "{words}");
    }
    assert!(sentences > INCIDENTS * 25, "{sentences}");
}

/// Outside of statements a text holds headings only.
fn frame(document: &Document, story: &Story) {
    let mut text = forms::markdown(document);
    let list = text.find("\n## Records\n").expect("the list comes last");
    text.truncate(list);
    for (_, statement) in document.statements() {
        let sentence = statement.markdown();
        assert!(text.contains(&sentence), "{}: {sentence}", story.name);
        text = text.replacen(&sentence, "", 1);
    }
    let mut own: Vec<&str> = document
        .sections
        .iter()
        .map(|one| one.heading.as_str())
        .collect();
    own.sort_by_key(|heading| std::cmp::Reverse(heading.len()));
    for line in text.lines() {
        let bare: String = line
            .split("[^")
            .enumerate()
            .map(|(index, part)| match index {
                0 => part,
                _ => part.split_once(']').map_or(part, |(_, rest)| rest),
            })
            .collect();
        let bare = bare.trim_matches(|letter: char| " |-#".contains(letter));
        let columns = line.starts_with("| ") && !line.contains("[^");
        assert!(
            bare.is_empty() || own.contains(&bare) || columns,
            "{}: {line:?}",
            story.name
        );
    }
}

#[test]
fn no_step_is_called_applied_that_was_not_executed_and_verified() {
    let mut applied = 0;
    for story in stories::all(INCIDENTS) {
        let (document, _) = written(&story);
        let done: Vec<&str> = story
            .facts
            .standings()
            .filter(|(_, standing)| matches!(standing, Standing::Applied { .. }))
            .map(|(step, _)| step)
            .collect();
        // The story's own account, which the code under test never sees.
        assert_eq!(done, story.applied, "{}", story.name);
        for (heading, statement) in document.statements() {
            let own = own_words(statement).to_lowercase();
            let claims = own.contains("applied") && !own.contains("no applied");
            if claims {
                assert!(
                    !story.applied.is_empty(),
                    "{}: {heading}: {own}",
                    story.name
                );
                applied += 1;
            }
        }
    }
    assert!(applied > 10, "{applied}");
}

fn own_words(statement: &Statement) -> String {
    let words = statement.parts.iter().filter_map(|part| match part {
        Part::Words(words) => Some(words.as_str()),
        Part::Fact(_) | Part::Cell => None,
    });
    words.collect()
}

/// Alters the text of one fact so that it names another number, time or name.
fn altered(text: &str) -> String {
    let place = text.rfind(|letter: char| letter.is_ascii_digit());
    match place {
        Some(place) => {
            let digit = if &text[place..=place] == "7" {
                "3"
            } else {
                "7"
            };
            format!("{}{digit}{}", &text[..place], &text[place + 1..])
        }
        None => format!("{text}x"),
    }
}

#[test]
fn whatever_is_altered_in_a_statement_is_noticed() {
    let mut alterations = 0;
    for story in stories::all(INCIDENTS) {
        let (document, records) = written(&story);
        for (_, statement) in document.statements() {
            for index in 0..statement.parts.len() {
                let mut other = statement.clone();
                match &mut other.parts[index] {
                    Part::Fact(fact) => fact.text = altered(&fact.text),
                    Part::Words(words) => words.push_str(" at 14:03:27"),
                    Part::Cell => continue,
                }
                let found = lint::check(&other, &records);
                assert!(found.is_err(), "{}: {}", story.name, other.text());
                alterations += 1;
            }
            let mut unbound = statement.clone();
            unbound.records.clear();
            assert!(lint::check(&unbound, &records).is_err());
            let mut foreign = statement.clone();
            foreign.records.push("no-such-record".to_owned());
            assert!(lint::check(&foreign, &records).is_err());
        }
    }
    assert!(alterations > INCIDENTS * 50, "{alterations}");
}

#[test]
fn our_own_words_may_name_nothing_and_claim_nothing() {
    let story = &stories::all(1)[0];
    let (_, records) = written(story);
    let id = story.facts.incident_id();
    let say = |words: &str| Statement {
        id: "S1".to_owned(),
        parts: vec![Part::Words(words.to_owned())],
        records: vec![id.clone()],
    };
    assert_eq!(lint::check(&say("The cause is unknown."), &records), Ok(()));
    assert_eq!(lint::check(&say("No step was applied."), &records), Ok(()));
    for words in [
        "",
        "It took 5 minutes.",
        "It took five minutes.",
        "Thousands of users saw errors.",
        "payment-service was slow.",
        "Errors came from Billing.",
        "It read service_errors.",
        "Mail to a@example.com.",
        "The step was applied.",
        "The pods were restarted.",
        "It was verified.",
        "The step was approved.",
        "It was undone.",
        "Line\nbreak.",
    ] {
        assert!(lint::check(&say(words), &records).is_err(), "{words}");
    }
}

#[test]
fn a_denial_against_the_records_is_noticed() {
    let stories = stories::all(INCIDENTS);
    let story = stories
        .iter()
        .find(|story| !story.applied.is_empty())
        .expect("some step was applied");
    let (_, records) = written(story);
    let deeds = story.facts.deeds(story.applied[0]);
    let statement = Statement {
        id: "S1".to_owned(),
        parts: vec![Part::Words("The step was not applied.".to_owned())],
        records: deeds.map(|deed| story.facts.deed_id(deed)).collect(),
    };
    assert!(lint::check(&statement, &records).is_err());
}

#[test]
fn the_page_is_one_file_that_runs_nothing() {
    for story in stories::all(INCIDENTS) {
        let (document, _) = written(&story);
        let page = forms::page(&document);
        for bad in [
            "<script",
            "<img",
            "<link",
            "src=",
            "http://",
            "https://",
            "javascript:",
        ] {
            let shown = page.contains(bad) && !as_text(&story.facts, bad);
            assert!(!shown, "{}: {bad}", story.name);
        }
        assert!(page.contains("@media print") && page.contains("@page"));
        assert!(page.starts_with("<!doctype html>"));
    }
}

/// Whether a record says this; as text it does no harm.
fn as_text(facts: &Facts, bad: &str) -> bool {
    !bad.starts_with('<') && serde_json::to_string(facts).expect("encodes").contains(bad)
}
