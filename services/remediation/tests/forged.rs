//! Approvals that somebody made up, or that come too late: none counts.

mod fixtures;

use fixtures::acts::{assert_refused, good, planted};
use fixtures::{AT, command, connections, hear, jobs, live_core, resolved};
use midwatch_events::action::ActionKind;
use midwatch_events::{Event, OperatorCommand, ids};
use midwatch_remediation::decide::State;
use midwatch_remediation::execution::EXECUTE;
use uuid::Uuid;

/// A change of an approval, and the rule that catches it.
type Forgery = (String, OperatorCommand, &'static str);

fn forgery(
    good: &OperatorCommand,
    name: &str,
    rule: &'static str,
    change: impl Fn(&mut OperatorCommand),
) -> Forgery {
    let mut command = good.clone();
    change(&mut command);
    (name.to_owned(), command, rule)
}

fn of_another_time(good: &OperatorCommand) -> Vec<Forgery> {
    let mut cases = Vec::new();
    let year_ago = AT.wall_ms - 31_536_000_000;
    for at in [AT.wall_ms, year_ago, 0, i64::MIN] {
        let name = format!("until {at}");
        cases.push(forgery(good, &name, "expired", |command| {
            command.expires_at_ms = at;
        }));
    }
    for at in [AT.wall_ms + 300_001, i64::MAX] {
        let name = format!("issued at {at}");
        cases.push(forgery(good, &name, "issued_in_future", |command| {
            command.issued_at_ms = at;
            command.expires_at_ms = i64::MAX;
        }));
    }
    cases.push(forgery(good, "by a used link", "reused_nonce", |command| {
        "used".clone_into(&mut command.details.nonce);
    }));
    cases
}

fn of_another_thing(good: &OperatorCommand) -> Vec<Forgery> {
    let mut cases = Vec::new();
    let hash = &good.details.plan_hash;
    for other in [
        String::new(),
        hash.to_uppercase(),
        hash[1..].to_owned(),
        format!("{hash} "),
        format!("{hash}{hash}"),
        hash.replace(['0', '1', '2'], "3"),
        "*".to_owned(),
    ] {
        let name = format!("for the hash {other:?}");
        cases.push(forgery(good, &name, "plan_hash", |command| {
            command.details.plan_hash.clone_from(&other);
        }));
    }
    let long = "S2".repeat(10_000);
    for target in [
        "S9",
        "s2",
        "S2 ",
        "",
        "S2,S3",
        "S2;S3",
        "../S2",
        "Ｓ2",
        "S2\u{200b}",
        "*",
        &long,
    ] {
        cases.push(forgery(
            good,
            "of another step",
            "unknown_step",
            |command| {
                target.clone_into(&mut command.target);
            },
        ));
    }
    cases.push(forgery(good, "of a step by hand", "by_hand", |command| {
        "S1".clone_into(&mut command.target);
    }));
    for id in [Uuid::nil(), Uuid::max(), ids::derive(&["another incident"])] {
        let name = format!("of incident {id}");
        cases.push(forgery(good, &name, "other_incident", |command| {
            command.incident_id = id;
        }));
    }
    cases
}

fn by_another_person(good: &OperatorCommand) -> Vec<Forgery> {
    let names = [
        "",
        " ",
        "\u{a0}",
        "eve",
        "MARIA",
        "mаria",
        "maria\u{200b}",
        "maria ",
        "*",
    ];
    let mut cases: Vec<Forgery> = names
        .iter()
        .map(|by| {
            forgery(good, &format!("by {by:?}"), "approver", |command| {
                (*by).clone_into(&mut command.by);
            })
        })
        .collect();
    cases.push(forgery(
        good,
        "without a credential",
        "same_credential",
        |command| {
            command.credential_id.clear();
        },
    ));
    cases
}

#[test]
fn no_forged_approval_counts() {
    let mut core = live_core();
    for rule in core.policy.classes.values_mut() {
        rule.approvers = ["maria", "jan"].map(str::to_owned).into();
    }
    let clean = planted(&core, good(ActionKind::RestartRollout));
    let good = command(&clean, "approve", "S2");
    let all = [of_another_time, of_another_thing, by_another_person].map(|make| make(&good));
    for (name, forged, rule) in all.concat() {
        let mut state = clean.clone();
        state.nonces.insert("used".to_owned(), i64::MAX);
        let effects = hear(&core, &mut state, Event::Command(forged));
        assert_refused(&name, &effects, &[rule]);
        assert_eq!(state.acting, None, "{name}");
        assert_eq!(state.queue, Vec::<String>::new(), "{name}");
    }
    // The approval that all of them began as does count.
    let effects = hear(&core, &mut clean.clone(), Event::Command(good));
    assert_eq!(jobs(&effects, EXECUTE).len(), 1);
}

#[test]
fn an_approval_of_another_plan_or_of_what_is_over_does_not_count() {
    let core = live_core();
    let clean = planted(&core, good(ActionKind::RestartRollout));
    let approve = command(&clean, "approve", "S2");
    type Change = fn(&mut State);
    let cases: [(&str, &str, Change); 5] = [
        ("a plan with a nil id", "altered_plan", |state| {
            let plan = state.plan.as_mut().and_then(|one| one.plan.as_mut());
            plan.expect("a plan").plan_id = Uuid::nil();
        }),
        (
            "a step edited after the plan was shown",
            "altered_plan",
            |state| {
                let plan = state.plan.as_mut().and_then(|one| one.plan.as_mut());
                plan.expect("a plan").action_steps[1].typed =
                    Some(Box::new(good(ActionKind::Drain)));
            },
        ),
        (
            "a plan of a version that carried nothing out",
            "no_plan",
            |state| {
                state.plan.as_mut().expect("published").plan = None;
            },
        ),
        ("an incident that is over", "incident_over", |state| {
            state.resolved_at_ms = Some(0)
        }),
        ("a merged incident", "incident_over", |state| {
            state.merged = true
        }),
    ];
    for (name, rule, change) in cases {
        let mut state = clean.clone();
        change(&mut state);
        let effects = hear(&core, &mut state, Event::Command(approve.clone()));
        assert_refused(name, &effects, &[rule]);
    }
    let mut state = clean;
    hear(&core, &mut state, resolved(&connections(), 0, "MERGED"));
    let effects = hear(&core, &mut state, Event::Command(approve));
    assert_refused("an incident that was merged", &effects, &["incident_over"]);
}
