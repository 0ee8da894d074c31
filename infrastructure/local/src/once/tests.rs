use std::time::Duration;

use serde_json::json;

use super::report::{self, ModelCall};
use super::story::{self, Entry, Incident, Mail, Mark, Notification, Stage};

const SUBJECTS: [&str; 5] = [
    "🚨 [CRITICAL] INC-A1B2C3D4 — DB connection exhaustion on payment-service",
    "🔍 [INC-A1B2C3D4] Root cause analysis — 87% confidence",
    "🛠️ [INC-A1B2C3D4] Remediation plan — 5 steps, ETA 15–30 min",
    "✅ [INC-A1B2C3D4] RESOLVED — DB connection exhaustion — MTTR 18 min",
    "📋 [INC-A1B2C3D4] Postmortem — 5 action items",
];

fn entry(event_type: &str, at_ms: i64, wall_ms: i64) -> Entry {
    Entry {
        event_type: event_type.to_owned(),
        at_ms,
        wall_ms,
        summary: "service_db_connections of payment-service read 97 where 30 is usual, \
                  6.1 sigma above its baseline"
            .to_owned(),
        ..Entry::default()
    }
}

fn life() -> (Incident, Vec<Mail>) {
    let mails: Vec<Mail> = SUBJECTS
        .iter()
        .enumerate()
        .map(|(index, subject)| Mail {
            subject: (*subject).to_owned(),
            message_id: format!("{index}@midwatch"),
            recipients: vec![
                "oncall@example.org".to_owned(),
                "team@example.org".to_owned(),
            ],
            seen_ms: 9000 + i64::try_from(index).unwrap(),
        })
        .collect();
    let told = mails.iter().map(|mail| Notification {
        subject: mail.subject.clone(),
        status: "SENT".to_owned(),
        message_id: format!("<{}>", mail.message_id),
        ..Notification::default()
    });
    let mut anomaly = entry("ANOMALY_DETECTED", 70_000, 5000);
    anomaly.payload = json!({"crossed_ms": 58_000, "detected_wall_ms": 4900});
    let incident = Incident {
        short_id: "INC-A1B2C3D4".to_owned(),
        status: "RESOLVED".to_owned(),
        mails: told.collect(),
        timeline: vec![
            anomaly,
            entry("INCIDENT_OPENED", 70_000, 5400),
            entry("RCA_COMPLETE", 72_000, 6000),
            entry("PLAN_READY", 73_000, 7000),
            entry("INCIDENT_RESOLVED", 250_000, 40_000),
            entry("POSTMORTEM_GENERATED", 251_000, 41_000),
        ],
        ..Incident::default()
    };
    (incident.with_breach(6.0), mails)
}

#[test]
fn whole_life_has_no_problems() {
    let (incident, mails) = life();
    assert!(story::is_complete(&incident, &mails));
    assert_eq!(story::problems(&incident, &mails), Vec::<String>::new());
    assert_eq!(story::repeats(&incident, &mails), Vec::<String>::new());
}

#[test]
fn breach_is_dated_from_the_onset() {
    let (incident, _) = life();
    let breach = Mark::Breach.find(&incident.timeline).unwrap();
    // 12 simulated seconds before the anomaly are 2 seconds at speed 6, and
    // detection saw it 100 ms before correlation did.
    assert_eq!((breach.at_ms, breach.wall_ms), (58_000, 2900));
}

#[test]
fn each_missing_step_and_mail_is_named() {
    for index in 0..SUBJECTS.len() {
        let (incident, mut mails) = life();
        let lost = mails.remove(index);
        let stage = Stage::of(&lost.subject).unwrap();
        assert!(!story::is_complete(&incident, &mails));
        let problems = story::problems(&incident, &mails).join("\n");
        assert!(
            problems.contains(&format!("no mail of stage {}", stage.name())),
            "{problems}"
        );
        assert!(problems.contains("not in the inbox"), "{problems}");
    }
    for index in 1..Mark::ALL.len() {
        let (mut incident, mails) = life();
        incident.timeline.remove(index);
        let problems = story::problems(&incident, &mails);
        assert_eq!(
            problems,
            [format!("the timeline tells no {}", Mark::ALL[index].name())]
        );
    }
}

#[test]
fn second_message_id_is_a_problem_and_a_repeat_is_told() {
    let (incident, mut mails) = life();
    mails.push(mails[2].clone());
    assert_eq!(story::problems(&incident, &mails), Vec::<String>::new());
    let repeats = story::repeats(&incident, &mails);
    assert_eq!(repeats.len(), 2);
    assert!(repeats[0].contains("2 times as 2@midwatch"), "{repeats:?}");

    mails[2].message_id = "other@midwatch".to_owned();
    let problems = story::problems(&incident, &mails).join("\n");
    assert!(problems.contains("under 2 Message-IDs"), "{problems}");
}

#[test]
fn what_replaces_an_earlier_mail_is_counted_against_the_timeline() {
    for (index, end, kind, payload) in [
        (
            1,
            "(another cause than before)",
            "RCA_REVISED",
            json!({"top_changed": true}),
        ),
        (2, "(replaces the plan before)", "PLAN_READY", json!({})),
    ] {
        let (mut incident, mut mails) = life();
        let mut other = mails[index].clone();
        other.subject = format!("{} {end}", other.subject);
        other.message_id = "other@midwatch".to_owned();
        mails.push(other);
        // Nothing was revised.
        let problems = story::problems(&incident, &mails).join("\n");
        assert!(problems.contains("told 1 times that stage"), "{problems}");
        let mut revised = entry(kind, 90_000, 9000);
        revised.payload = payload;
        incident.timeline.push(revised);
        assert_eq!(story::problems(&incident, &mails), Vec::<String>::new());
        // It does not stand for the first one, and comes once for each change.
        let mut again = mails[5].clone();
        again.message_id = "third@midwatch".to_owned();
        mails.push(again);
        let problems = story::problems(&incident, &mails).join("\n");
        assert!(problems.contains("told 2 times that stage"), "{problems}");
        mails.truncate(5);
        mails[index].message_id = "second@midwatch".to_owned();
        mails.push(life().1[index].clone());
        let problems = story::problems(&incident, &mails).join("\n");
        assert!(problems.contains("under 2 Message-IDs"), "{problems}");
    }
    // A revision that keeps the first cause is no reason for another mail.
    let (mut incident, mut mails) = life();
    let mut other = mails[1].clone();
    other.subject.push_str(" (another cause than before)");
    mails.push(other);
    let mut revised = entry("RCA_REVISED", 90_000, 9000);
    revised.payload = json!({"top_changed": false});
    incident.timeline.push(revised);
    assert!(!story::problems(&incident, &mails).is_empty());
}

#[test]
fn mails_of_another_incident_are_not_counted() {
    let (mut incident, mails) = life();
    incident.short_id = "INC-00000000".to_owned();
    assert!(story::mails_of(&mails, &incident.short_id).is_empty());
    assert!(!story::is_complete(&incident, &mails));
}

#[test]
fn unfinished_incident_and_failed_mail_are_problems() {
    let (mut incident, mails) = life();
    incident.status = "REMEDIATING".to_owned();
    incident.mails[0].status = "FAILED".to_owned();
    let problems = story::problems(&incident, &mails);
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn inbox_element_is_read_from_the_servers_own_form() {
    let value = json!({
        "id": "x", "subject": SUBJECTS[0], "messageId": "<1@midwatch>",
        "headers": {"message-id": "<1@midwatch>"},
        "envelope": {"from": {"address": "midwatch@example.org"},
                     "to": [{"address": "oncall@example.org", "args": false}]},
    });
    let mail = Mail::parse(&value, 7).unwrap();
    assert_eq!(mail.message_id, "1@midwatch");
    assert_eq!(mail.recipients, ["oncall@example.org"]);
    assert_eq!(mail.seen_ms, 7);
}

#[test]
fn steps_are_told_once_with_the_seconds_between_and_fit_the_width() {
    let (incident, mails) = life();
    let all = report::new_steps(&incident, &[]);
    assert_eq!(all.len(), Mark::ALL.len());
    assert!(
        all[1].1[0].starts_with("     +12.0 s     +2.1 s   anomaly:"),
        "{}",
        all[1].1[0]
    );
    let seen: Vec<Mark> = Mark::ALL[..6].to_vec();
    let last = report::new_steps(&incident, &seen);
    assert_eq!(last.len(), 1);
    assert!(
        last[0].1[0].starts_with("      +1.0 s     +1.0 s   postmortem:"),
        "{}",
        last[0].1[0]
    );
    let lines = all.into_iter().flat_map(|(_, lines)| lines);
    for line in lines.chain(report::mail_lines(&incident, &mails)) {
        assert!(line.chars().count() < 80, "{line}");
    }
}

#[test]
fn each_time_limit_is_held() {
    let (incident, mails) = life();
    let quick = Duration::from_secs(40);
    let late = |healthy, mails_after, inbox: &[Mail]| {
        let (_, late) = report::check_times(&incident, inbox, 6, healthy, mails_after);
        late.len()
    };
    assert_eq!(late(quick, Some(quick), &mails), 0);
    assert_eq!(late(Duration::from_secs(61), Some(quick), &mails), 1);
    assert_eq!(late(quick, Some(Duration::from_secs(241)), &mails), 1);
    assert_eq!(late(quick, None, &mails), 1);
    let mut slow = mails;
    slow[0].seen_ms = 2900 + 15_001;
    assert_eq!(late(quick, Some(quick), &slow), 1);
    // At half the pace the 12 simulated seconds before the anomaly take 2 s
    // longer, and nothing else may.
    let slower = |seen_ms: i64| {
        let mut mails = slow.clone();
        mails[0].seen_ms = 2900 + seen_ms;
        let (said, late) = report::check_times(&incident, &mails, 3, quick, Some(quick));
        (said[1].clone(), late.len())
    };
    let words = "  alert mail +17.0 s after the breach, +15.0 s at speed 6 (limit 15 s)";
    assert_eq!(slower(17_000), (words.to_owned(), 0));
    assert!(words.chars().count() < 80);
    assert_eq!(slower(17_001).1, 1);
}

#[test]
fn agents_without_a_model_call_are_named() {
    let call = |agent: &str| ModelCall {
        agent: agent.to_owned(),
        outcome: "ok".to_owned(),
    };
    let calls = [
        call("detection"),
        call("detection"),
        call("midwatch.correlation"),
        call("postmortem"),
    ];
    let (lines, missing) = report::model_calls(&calls);
    assert_eq!(lines[1].trim(), "detection      2 ok");
    assert_eq!(
        missing,
        [
            "investigation made no call to the model",
            "remediation made no call to the model"
        ]
    );
}
