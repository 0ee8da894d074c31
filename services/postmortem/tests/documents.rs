//! What postmortems say, and what they must never say.

mod fixtures;

use fixtures::{
    DETECTED, Words, connections, deed, facts, release, resolved, revised, stored, typed, written,
};
use midwatch_events::AnomalyType;
use midwatch_events::action::VerificationVerdict;
use midwatch_postmortem::facts::Facts;
use midwatch_postmortem::{forms, lesson};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn text(facts: &Facts) -> String {
    let (mut document, records) = written(facts);
    assert_eq!(document.lint(&records), Vec::new());
    forms::markdown(&document)
}

#[test]
fn the_postmortem_of_exhausted_connections() {
    insta::assert_snapshot!(text(&facts(&connections())));
}

#[test]
fn the_postmortem_of_a_failed_release() {
    insta::assert_snapshot!(text(&facts(&release())));
}

/// Digits of `text`, as whole numbers and decimals, without list and footnote
/// marks.
fn numbers(text: &str) -> BTreeSet<String> {
    let mut numbers = BTreeSet::new();
    let mut current = String::new();
    for character in text.chars().chain([' ']) {
        if character.is_ascii_digit() || (character == '.' && !current.is_empty()) {
            current.push(character);
        } else if !current.is_empty() {
            numbers.insert(current.trim_end_matches('.').to_owned());
            current.clear();
        }
    }
    numbers
}

/// Every number that the facts can give rise to: those in them, their times of
/// day and dates, spans between recorded times, and counts of recorded things.
fn allowed(facts: &Facts) -> BTreeSet<String> {
    let value = serde_json::to_value(facts).expect("encodes");
    let mut allowed = numbers(&value.to_string());
    let mut times = Vec::new();
    gather(&value, "", &mut times, &mut allowed);
    for &at in &times {
        let seconds = at / 1000;
        let day = seconds.rem_euclid(86_400);
        allowed.extend([day / 3600, day / 60 % 60, day % 60].map(|part| format!("{part:02}")));
        for &from in &times {
            let seconds = ((at - from).abs() + 500) / 1000;
            let minutes = format!("{:.1}", (seconds as f64 / 60.0 * 10.0).round() / 10.0);
            allowed.insert(minutes.trim_end_matches(".0").to_owned());
            allowed.insert(seconds.to_string());
        }
    }
    // The day of the incident and those that items are due on: `date -d`.
    for part in ["22", "2026", "29", "11", "12", "06"] {
        allowed.insert(part.to_owned());
    }
    // The goal of one minute for detection is configuration, not a record.
    allowed.insert("1".to_owned());
    allowed
}

fn gather(value: &Value, name: &str, times: &mut Vec<i64>, allowed: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                gather(value, name, times, allowed);
            }
        }
        Value::Array(list) => {
            allowed.insert(list.len().to_string());
            for value in list {
                gather(value, name, times, allowed);
            }
        }
        Value::Number(number) => {
            if let Some(at) = number.as_i64().filter(|_| name.ends_with("_ms")) {
                times.push(at);
            }
            if let Some(value) = number.as_f64() {
                let share = format!("{:.2}", value * 100.0);
                for text in [format!("{value:.2}"), share] {
                    allowed.insert(text.trim_end_matches('0').trim_end_matches('.').to_owned());
                }
            }
        }
        _ => {}
    }
}

#[test]
fn every_number_in_the_text_comes_from_the_facts() {
    for words in [connections(), release()] {
        let facts = facts(&words);
        let text = text(&facts);
        let (body, _) = text
            .split_once("\n## Records")
            .expect("the list of records comes last");
        // Marks of footnotes are no statements.
        let body: String = body
            .split("[^")
            .enumerate()
            .map(|(index, part)| {
                if index == 0 {
                    part
                } else {
                    part.split_once(']').map_or(part, |(_, rest)| rest)
                }
            })
            .collect();
        let foreign: Vec<String> = numbers(&body)
            .difference(&allowed(&facts))
            .cloned()
            .collect();
        // Letters before digits: p99 of a metric's name, S1 of a step.
        assert_eq!(foreign, Vec::<String>::new(), "{body}");
    }
}

#[test]
fn every_footnote_is_listed_and_every_listed_one_is_used() {
    for words in [connections(), release()] {
        let text = text(&facts(&words));
        let (body, list) = text
            .split_once("\n## Records")
            .expect("the list comes last");
        let listed = list.matches("]: ").count();
        assert!(listed > 5);
        for number in 1..=listed {
            assert!(body.contains(&format!("[^{number}]")), "{number}");
        }
        assert!(!body.contains(&format!("[^{}]", listed + 1)));
    }
}

#[test]
fn a_step_is_applied_only_if_it_was_verified() {
    let words = connections();
    let states = [
        (vec![], "proposed, not carried out"),
        (vec!["approved"], "approved, not carried out"),
        (vec!["refused"], "refused"),
        (
            vec!["approved", "intent"],
            "begun; how it ended is not recorded",
        ),
        (
            vec!["approved", "intent", "outcome"],
            "executed; its effect is not proven",
        ),
        (
            vec!["approved", "intent", "outcome", "undone"],
            "tried and undone",
        ),
        (
            vec!["approved", "intent", "verified"],
            "begun; how it ended is not recorded",
        ),
        (
            vec!["approved", "intent", "outcome", "verified"],
            "applied; its effect was verified as: improved",
        ),
    ];
    for (phases, state) in states {
        let mut facts = facts(&words);
        facts.actions = phases.iter().map(|phase| deed(&words, phase)).collect();
        let text = text(&facts);
        assert!(text.contains(&format!("| {state} |")), "{state}: {text}");
        let applied = state.starts_with("applied");
        assert_eq!(text.contains("was applied"), applied, "{state}");
        assert_eq!(
            text.contains("why the readings returned is not recorded"),
            !applied
        );
        assert_eq!(
            text.contains("Midwatch carried out no action"),
            state.ends_with("not carried out") || state == "refused",
            "{state}"
        );
    }
}

#[test]
fn what_is_not_recorded_is_called_unknown() {
    let facts = Facts::bare(
        resolved(&connections()),
        Some("the database is away".to_owned()),
    );
    let text = text(&facts);
    for words in [
        "The cause is unknown.",
        "Unknown: no root cause was established",
        "Unknown: the database is away",
        "No plan is recorded",
        "The stores could not be read when this was written: the database is away",
        "MTTA is unknown: nobody acknowledged the incident.",
        "Toil was stated by nobody: unknown.",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!((2..=5).contains(&written(&facts).0.items.len()));
}

#[test]
fn items_have_owner_date_and_two_to_five_in_number() {
    let mut facts = facts(&connections());
    facts.mails[0].status = "FAILED".to_owned();
    facts.mails[0].sent_at_ms = None;
    let document = written(&facts).0;
    assert!((2..=5).contains(&document.items.len()));
    let dues: BTreeSet<&str> = document
        .items
        .iter()
        .map(|item| item.due.as_str())
        .collect();
    // 22 Nov 2026 and 7, 14 and 30 days: `date -d '2026-11-22 + 7 days'`.
    assert_eq!(
        dues,
        BTreeSet::from(["2026-11-29", "2026-12-06", "2026-12-22"])
    );
    assert_eq!(document.items[0].owner, "team payments");
    assert!(
        document
            .items
            .iter()
            .any(|item| item.title.contains("mail delivery"))
    );
    assert!(text(&facts).contains("Mails that could not be delivered: 1 of 2."));
}

#[test]
fn two_faults_have_different_lessons_and_name_their_own_service() {
    let (one, other) = (text(&facts(&connections())), text(&facts(&release())));
    assert!(one.contains("payment-service") && !one.contains("user-service"));
    assert!(other.contains("user-service") && !other.contains("payment-service"));
    assert!(one.contains("keeps database connections") && other.contains("canary"));
}

#[test]
fn text_from_telemetry_begins_no_markup() {
    let hostile = "x|y` <img src=a onerror=alert(1)> [l](javascript:b) **bold**\n# H\n[^9]";
    let words = Words {
        service: hostile,
        kind: AnomalyType::ErrorRateSpike,
        metric: hostile,
        values: [1.0, 0.5],
        log: hostile,
        hypothesis: hostile,
        deployment: json!({
            "timestamp_ms": DETECTED - 60_000, "service": hostile, "environment": "e",
            "version": hostile, "deployed_by": hostile, "description": hostile,
            "known_risks": [hostile]
        }),
    };
    let text = text(&facts(&words));
    let options =
        pulldown_cmark::Options::ENABLE_TABLES | pulldown_cmark::Options::ENABLE_FOOTNOTES;
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, pulldown_cmark::Parser::new_ext(&text, options));
    for bad in ["<img", "<strong>", "javascript:b\"", "<h1>H"] {
        assert!(!html.contains(bad), "{bad} in {html}");
    }
    assert_eq!(html.matches("<h1>").count(), 1);
    // Tables keep their columns.
    let mut columns = 0;
    for row in text.lines() {
        let cells = row.replace("\\|", "").matches('|').count();
        if row.starts_with("| ") && columns > 0 {
            assert_eq!(cells, columns, "{row}");
        }
        columns = if row.starts_with('|') { cells } else { 0 };
    }
}

#[test]
fn the_first_sentence_is_about_the_triggers_own_series() {
    let mut facts = facts(&connections());
    // Another series left its range a minute before the trigger's did.
    facts.anomalies[1].onset_ms = DETECTED - 110_000;
    let text = text(&facts);
    let own = "At 14:02:30 `service_db_connections` of payment-service left its normal range; it was detected at 14:03:20 reading 88 against a baseline of 30.2.";
    assert!(text.contains(own), "{text}");
}

#[test]
fn what_is_refused_after_its_intent_was_not_begun() {
    let words = connections();
    let told = |result: &str, credential: &str| {
        let mut facts = facts(&words);
        facts.actions = ["approved", "intent", "refused"]
            .iter()
            .map(|phase| deed(&words, phase))
            .collect();
        let refused = &mut facts.actions[2].action;
        refused.result = result.to_owned();
        refused.details.rule = "freeze".to_owned();
        refused.details.credential_id = credential.to_owned();
        text(&facts)
    };
    for text in [told("refused", ""), told("rejected", "token:maria")] {
        assert!(text.contains("refused by the rule freeze"), "{text}");
        assert!(text.contains("Midwatch carried out no action"), "{text}");
    }
    // A second command that came too late stops nothing.
    let text = told("refused", "token:maria");
    assert!(
        text.contains("begun; how it ended is not recorded"),
        "{text}"
    );
}

#[test]
fn a_reading_that_came_after_the_detection_has_its_own_time() {
    let mut facts = facts(&connections());
    facts.anomalies[0].observed_at_ms = Some(DETECTED + 10_000);
    let text = text(&facts);
    let own = "it was detected at 14:03:20 and read 88 at 14:03:30 against a baseline of 30.2.";
    assert!(text.contains(own), "{text}");
}

#[test]
fn a_reading_and_its_time_are_those_of_one_anomaly() {
    let mut facts = facts(&connections());
    // The series broke out a second time, and worse; that is the trigger now.
    let mut again = facts.anomalies[0].clone();
    again.anomaly_id = uuid::Uuid::from_u128(7);
    again.detected_at_ms += 120_000;
    again.observed_value = 99.0;
    facts.anomalies.push(again);
    facts.trigger.as_mut().expect("a trigger").observed_value = 99.0;
    let own = "it was detected at 14:03:20 reading 88 against a baseline of 30.2.";
    let text = text(&facts);
    assert!(text.contains(own), "{text}");
}

#[test]
fn a_mail_that_some_were_refused_is_not_counted_as_delivered() {
    let mut facts = facts(&connections());
    facts.mails[0].status = "FAILED".to_owned();
    facts.mails[0].error = Some("not delivered to b@example.com: 550".to_owned());
    let text = text(&facts);
    assert!(
        text.contains("Mails that did not reach all of their recipients: 1 of 2."),
        "{text}"
    );
    assert!(!text.contains("delivered at the first try"), "{text}");
}

/// What the table says became of each step, by its name.
fn rows(text: &str) -> Vec<(String, String)> {
    let section = text.split("## What was tried").nth(1).expect("a section");
    let table = section.split("\n## ").next().expect("a part");
    let rows = table.lines().filter(|line| line.starts_with("| S"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let bare = |cell: &str| {
            let words = cell.split("[^").next().unwrap_or_default();
            words.trim_matches(['|', ' ']).to_owned()
        };
        (bare(cells[0]), bare(cells[3]))
    })
    .collect()
}

#[test]
fn a_step_of_a_revised_plan_is_told_as_what_it_was() {
    let words = connections();
    let of_revised = |phase: &str| {
        let mut deed = deed(&words, phase);
        deed.action.plan_id = revised(&words).plan_id;
        deed.action.details.typed = Some(typed(&words));
        deed.id = format!("revised {phase}");
        deed
    };
    let newest = ("S1".to_owned(), "proposed, not carried out".to_owned());
    let name = "S1 of the plan of 14:04:50".to_owned();
    let applied = "applied; its effect was verified as: improved".to_owned();

    let deeds = ["approved", "intent", "outcome", "verified"].map(of_revised);
    let mut facts = Facts::collect(resolved(&words), deeds.to_vec(), stored(&words));
    facts.resolved.resolution_method = "REMEDIATED".to_owned();
    let text = text(&facts);
    assert_eq!(
        rows(&text),
        [(name.clone(), applied.clone()), newest.clone()]
    );
    for said in [
        "Scale payment-service: `kubectl scale deployment/payment-service`",
        "Applied steps of the plans, with their improvement verified: 1.",
        "Step S1 of the plan of 14:04:50 was applied and verified as improved.",
        "S1 of the plan of 14:04:50: the median of",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("no applied step is recorded"), "{text}");
    let (document, _) = written(&facts);
    let lesson = lesson::draw(&facts, &document);
    assert_eq!(lesson.tried.len(), 1);
    assert_eq!(
        (
            lesson.tried[0].step_id.clone(),
            lesson.tried[0].became.clone()
        ),
        (name.clone(), applied.clone())
    );
    assert_eq!(lesson.tried[0].action, "Scale payment-service");
    assert_eq!(lesson.effective_actions[0].verdict, "improved");

    // Both plans' steps of one number, each with what became of it.
    let failed = {
        let mut deed = deed(&words, "outcome");
        deed.action.details.succeeded = Some(false);
        deed
    };
    let both = [deeds.to_vec(), vec![failed]].concat();
    let facts = Facts::collect(resolved(&words), both, stored(&words));
    let failed = ("S1".to_owned(), "begun, and it failed".to_owned());
    assert_eq!(rows(&self::text(&facts)), [(name, applied), failed]);

    // A plan that nobody touched is none of what was tried.
    let facts = Facts::collect(resolved(&words), Vec::new(), stored(&words));
    assert_eq!(rows(&self::text(&facts)), [newest]);
}

#[test]
fn a_begun_step_of_plans_that_cannot_be_read_is_not_denied() {
    let words = connections();
    let facts = Facts {
        actions: vec![deed(&words, "outcome")],
        ..Facts::bare(resolved(&words), Some("away".to_owned()))
    };
    let text = text(&facts);
    assert!(text.contains("No plan is recorded, though a step of it was begun."));
}

/// A step that was applied and made it worse, and what became of its undo.
fn worse_and(undo: Option<(&str, Option<bool>)>) -> String {
    let words = connections();
    let mut deeds = ["approved", "intent", "outcome", "verified"].map(|phase| deed(&words, phase));
    let found = deeds[3].action.details.verification.as_mut();
    found.expect("a check").verdict = VerificationVerdict::Worse;
    let mut deeds = deeds.to_vec();
    for (phase, succeeded) in undo
        .map(|undo| [("intent", None), undo])
        .into_iter()
        .flatten()
    {
        let mut deed = deed(&words, phase);
        deed.action.details.is_undo = true;
        deed.action.details.succeeded = succeeded;
        deed.id = format!("undo {phase}");
        deeds.push(deed);
    }
    text(&Facts::collect(resolved(&words), deeds, stored(&words)))
}

#[test]
fn what_became_of_an_undo_is_not_taken_for_what_became_of_the_step() {
    let cases = [
        (None, "", ""),
        (
            Some(("outcome", Some(false))),
            "; its undo failed",
            "Step S1 was not taken back by Midwatch, since its undo failed.",
        ),
        (
            Some(("refused", None)),
            "; its undo was refused",
            "Step S1 was not taken back by Midwatch, since its undo was refused.",
        ),
        (
            Some(("outcome", None)),
            "; whether it was taken back is not recorded",
            "Step S1 was to be taken back; whether it was is not recorded.",
        ),
    ];
    for (undo, row, said) in cases {
        let text = worse_and(undo);
        let became = format!("applied; its effect was verified as: worse{row}");
        assert_eq!(rows(&text)[0].1, became);
        assert!(text.contains(said), "{said}: {text}");
        assert!(!text.contains("S1 failed"), "{text}");
    }
}

#[test]
fn a_step_that_did_not_help_is_not_how_it_ended() {
    let text = worse_and(None);
    for said in [
        "but no improvement by it is proven; why the readings returned is not recorded.",
        "What ended the incident: no applied step was verified as an improvement.",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("Applied steps of"), "{text}");
}
