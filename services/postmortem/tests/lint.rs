//! Simulated incidents of many stories: no sentence is unbound, no step is
//! called applied that was not, and whatever is altered is noticed.

mod fixtures;

use fixtures::stories::{self, Story};
use midwatch_postmortem::document::{self, Document};
use midwatch_postmortem::facts::{Facts, Standing};
use midwatch_postmortem::records::Records;
use midwatch_postmortem::statement::{Part, Rule, Statement};
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
            .map(|(planned, _)| planned.step.step_id.as_str())
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

/// What a model might write of an incident that recovered by itself.
#[rustfmt::skip]
const HOSTILE: &[&str] = &[
    // Amounts.
    "Zero requests failed.", "Several pods were slow.", "A couple of pods were slow.",
    "A few calls failed.", "Dozens of calls failed.", "A dozen calls failed.",
    "Nearly a hundred calls failed.", "Half of the calls failed.", "Latency was twice its baseline.",
    "Latency doubled.", "The error rate tripled.", "Traffic was halved.", "A quarter of the calls failed.",
    "Two thirds of the calls failed.", "Load rose tenfold.", "Load rose threefold.", "Load rose 3x.",
    "Load rose by 3-fold.", "Load rose ten-fold.", "It rose by twenty-two percent.", "It rose by fifteen percent.",
    "It failed for the fifth time.", "The majority of calls failed.", "Almost all calls failed.",
    "Most of the traffic was lost.", "Many calls failed.", "Seventeen pods were slow.",
    "Every request failed.", "The entire fleet was slow.", "One in ten calls failed.",
    "It was down for one hour.", "It was slow for hours.", "It was over within minutes.",
    "It was down for half an hour.", "It began last night.", "It recovered immediately.",
    "It took a minute.", "Users saw errors.", "It cost revenue.", "No customer was touched.",
    // Deeds, active, passive and as nouns.
    "The release was rolled back.", "A rollback ended it.", "Rolling back ended it.", "The change was reverted.",
    "The service was restarted.", "A restart ended it.", "Restarting it helped.", "The host was rebooted.",
    "The workload was scaled up.", "Scaling out helped.", "The node was drained.", "The node was cordoned.",
    "The service was patched.", "A hotfix went out.", "The fault was mitigated.", "Mitigation came early.",
    "The database failed over.", "A failover ended it.", "The cache was flushed.", "The queue was cleared.",
    "The queue was purged.", "The service was redeployed.", "The team was paged.", "It was escalated.",
    "The escalation came early.", "The library was upgraded.", "Traffic was throttled.", "The flag was disabled.",
    "The flag was enabled.", "Midwatch carried out the plan.", "Steps were taken.", "The pods were evicted.",
    "The pods were killed.", "The limit was enlarged.", "It was fixed.", "Service was restored.",
    "A workaround helped.", "Traffic was rerouted.", "The fix was approved.", "It was verified as improved.",
    "It was not long before the service was restarted.", "Not only was it restarted.",
    "In no time the service was restarted.", "Without delay it was restarted.", "It was restarted no later than that.",
    "A new build was rolled out.", "It was released before.", "Responders were notified.",
    // Blame.
    "The engineer caused it.", "A developer forgot a check.", "It was a human error.", "It was a mistake.",
    "The team broke it.", "The on-call was too late.", "Somebody pushed a bad change.", "He was careless.",
    "It should have been noticed.", "The operator was at fault.", "People were responsible for it.",
    "The intern did it.", "It was due to negligence.", "A person caused it.", "The reviewer overlooked it.",
];

#[test]
fn whatever_a_model_makes_up_is_refused() {
    assert!(HOSTILE.len() >= 60);
    let mut tried = 0;
    for story in stories::all(INCIDENTS) {
        // Nothing was done here, whatever was proposed.
        if story.name != "recovered" && !story.name.starts_with("proposed") {
            continue;
        }
        let (document, records) = written(&story);
        let mut cited: Vec<String> = document
            .statements()
            .flat_map(|(_, statement)| statement.records.clone())
            .filter(|id| records.part(id, "deployment").is_none())
            .collect();
        cited.sort();
        cited.dedup();
        for words in HOSTILE {
            let statement = Statement {
                id: "S1".to_owned(),
                parts: vec![Part::Words((*words).to_owned())],
                records: cited.clone(),
            };
            assert!(
                lint::check(&statement, &records).is_err(),
                "{}: {words}",
                story.name
            );
            tried += 1;
        }
    }
    assert!(tried >= HOSTILE.len(), "{tried}");
}

#[test]
fn a_deed_is_told_by_the_name_that_its_step_has() {
    let stories = stories::all(INCIDENTS);
    let story = stories
        .iter()
        .find(|story| !story.applied.is_empty())
        .expect("some step was applied");
    let (_, records) = written(story);
    let step = story.facts.steps().next().expect("a step");
    assert_eq!(story.applied, [step.step.step_id.as_str()]);
    let deeds: Vec<String> = story
        .facts
        .deeds(step)
        .map(|deed| story.facts.deed_id(deed))
        .collect();
    let say = |words: &str, with_step: bool| {
        let mut records = deeds.clone();
        records.extend(with_step.then(|| story.facts.step_id(step)));
        Statement {
            id: "S1".to_owned(),
            parts: vec![Part::Words(words.to_owned())],
            records,
        }
    };
    // The step of these stories is a restart.
    assert_eq!(
        lint::check(&say("It was restarted.", true), &records),
        Ok(())
    );
    assert_eq!(
        lint::check(&say("The step was applied.", false), &records),
        Ok(())
    );
    for (words, with_step) in [
        ("It was restarted.", false),
        ("It was rolled back.", true),
        ("It was scaled up.", true),
        ("The cache was flushed.", true),
        ("It was not restarted.", true),
        ("Nobody restarted it.", true),
    ] {
        let found = lint::check(&say(words, with_step), &records);
        assert!(found.is_err(), "{words}");
    }
}

#[test]
fn a_figure_is_of_what_the_record_says() {
    let story = &stories::all(1)[0];
    let (document, records) = written(story);
    let number = document
        .statements()
        .flat_map(|(_, statement)| statement.facts())
        .find(|fact| fact.rule == Rule::Number && !fact.places[0].path.contains("percent"))
        .expect("a reading is told")
        .clone();
    let say = |words: &str| Statement {
        id: "S1".to_owned(),
        parts: vec![
            Part::Words("It read ".to_owned()),
            Part::Fact(number.clone()),
            Part::Words(words.to_owned()),
        ],
        records: vec![number.places[0].record.clone()],
    };
    assert_eq!(lint::check(&say(" then."), &records), Ok(()));
    for words in [
        " % then.",
        " percent.",
        " times its baseline.",
        "-fold.",
        " x its baseline.",
        " users.",
    ] {
        assert!(lint::check(&say(words), &records).is_err(), "{words}");
    }
}

#[test]
fn a_step_of_another_plan_lends_no_name_to_a_deed() {
    let words = fixtures::connections();
    let mut facts = fixtures::facts(&words);
    facts.actions = ["outcome", "verified"]
        .iter()
        .map(|phase| fixtures::deed(&words, phase))
        .collect();
    facts.earlier = vec![fixtures::revised(&words)];
    let (_, records) = fixtures::written(&facts);
    let ids: Vec<String> = facts
        .actions
        .iter()
        .map(|deed| facts.deed_id(deed))
        .collect();
    let cites = |plan: &midwatch_events::RemediationPlan| {
        let step = format!("{}/S1", plan.plan_id);
        assert!(records.has(&step));
        let mut records = ids.clone();
        records.push(step);
        records
    };
    let say = |words: &str, records: Vec<String>| Statement {
        id: "S1".to_owned(),
        parts: vec![Part::Words(words.to_owned())],
        records,
    };
    let own = cites(facts.plan.as_ref().expect("a plan"));
    let other = cites(&facts.earlier[0]);
    assert_eq!(
        lint::check(&say("It was restarted.", own), &records),
        Ok(())
    );
    assert!(lint::check(&say("It was scaled.", other), &records).is_err());
}

#[test]
fn a_denial_against_the_records_is_noticed() {
    let stories = stories::all(INCIDENTS);
    let story = stories
        .iter()
        .find(|story| !story.applied.is_empty())
        .expect("some step was applied");
    let (_, records) = written(story);
    let deeds = story
        .facts
        .deeds(story.facts.steps().next().expect("a step"));
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
