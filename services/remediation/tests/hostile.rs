//! Plans and approvals that somebody made up: none of them runs, and each is
//! refused by a rule that is written down.

mod fixtures;

use fixtures::{
    AT, audits, command, connections, found, hear, jobs, live_core, plan_for, resolved,
    typed_pool_runbook,
};
use midwatch_clients::knowledge::ActionTemplate;
use midwatch_events::action::{
    ActionKind, Executor, ExpectedEffect, RiskClass, TypedAction, plan_hash,
};
use midwatch_events::anomaly::Direction;
use midwatch_events::{Event, OperatorCommand, ids};
use midwatch_remediation::catalogue::{self, Known, Source, spec};
use midwatch_remediation::decide::{Core, State};
use midwatch_remediation::execution::EXECUTE;
use midwatch_runtime::effect::Effect;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Everything that an action of this incident may name.
fn known() -> Known {
    let mut known = Known::default();
    for (name, value) in [
        ("service", "payment-service"),
        ("workload", "payment-service"),
        ("namespace", "production"),
        ("measure", "payment-service service_db_connections"),
        ("from_version", "3.8.0"),
        ("to_version", "3.7.4"),
        ("replicas", "3"),
        ("node", "node-7"),
        ("pod", "payment-service-7d9f-x2x"),
        ("container", "app"),
        ("limit", "app memory 1Gi"),
        ("limit", "app cpu 500m"),
        ("setting_name", "DB_POOL_MAX"),
        ("setting", "DB_POOL_MAX 100"),
        ("setting_name", "SAFE_MODE"),
        ("setting", "SAFE_MODE false"),
        ("host", "web-1"),
        ("path", "/var/log/app"),
        ("log", "nginx"),
        ("unit", "nginx.service"),
        ("alertname", "HighLatency"),
        ("script", "reload-config"),
    ] {
        known.see(name, value);
    }
    known
}

fn effect() -> ExpectedEffect {
    ExpectedEffect {
        service: "payment-service".to_owned(),
        metric: "service_db_connections".to_owned(),
        direction: Direction::Below,
        baseline_value: 30.25,
        within_ms: 0,
    }
}

/// The good action of a kind.
fn good(kind: ActionKind) -> TypedAction {
    let given: &[(&str, &str)] = match kind {
        ActionKind::RaisePoolSize => &[("variable", "DB_POOL_MAX")],
        ActionKind::ToggleFlag => &[("flag", "SAFE_MODE"), ("value", "true")],
        _ => &[],
    };
    let given: BTreeMap<String, String> = given
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    catalogue::build(kind, "payment-service", &given, effect(), &known())
        .unwrap_or_else(|refusal| panic!("{}: {refusal}", kind.as_str()))
}

/// A published plan whose second step does `action`, hash and all.
fn planted(core: &Core, action: TypedAction) -> State {
    let mut rca = connections();
    rca.header.environment = "production".to_owned();
    let mut state = State::default();
    plan_for(core, &mut state, &rca, &found(typed_pool_runbook()));
    let published = state.plan.as_mut().expect("published");
    published.known = known();
    let plan = published.plan.as_mut().expect("a plan");
    plan.action_steps[1].typed = Some(Box::new(action));
    plan.plan_hash = plan_hash(plan.plan_id, &plan.action_steps);
    state
}

/// Two people approve the second step.
fn approved_by_two(core: &Core, state: &mut State) -> Vec<Effect> {
    let mut effects = Vec::new();
    for by in ["maria", "jan"] {
        let one = OperatorCommand {
            by: by.to_owned(),
            credential_id: format!("sha256:{by}"),
            ..command(state, "approve", "S2")
        };
        effects.extend(hear(core, state, Event::Command(one)));
    }
    effects
}

/// The rule of every refusal that was written down.
fn rules(effects: &[Effect]) -> Vec<String> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Audit(audit) if audit.event_type == "ACTION_REFUSED" => {
                audit.payload["rule"].as_str().map(str::to_owned)
            }
            _ => None,
        })
        .collect()
}

fn assert_refused(name: &str, effects: &[Effect], expected: &[&str]) {
    assert_eq!(jobs(effects, EXECUTE), Vec::new(), "{name} runs");
    assert!(
        !audits(effects)
            .iter()
            .any(|(kind, _)| *kind == "ACTION_STARTED"),
        "{name}"
    );
    let rules = rules(effects);
    assert!(!rules.is_empty(), "{name}: no refusal in {effects:?}");
    for rule in &rules {
        assert!(
            expected.contains(&rule.as_str()),
            "{name}: refused by {rule}, not {expected:?}"
        );
    }
}

/// Values that no argument may have.
const HOSTILE: [&str; 24] = [
    "a;reboot",
    "$(id)",
    "`id`",
    "a|b",
    "a&b",
    "a>b",
    "a b",
    "a\nb",
    "a\tb",
    "a'b",
    "a\"b",
    "a\\b",
    "*",
    "{x}",
    "-rf",
    "",
    "~root",
    "a\0b",
    "рayment-service",
    "payment\u{200b}-service",
    "\u{202e}ecivres",
    "ｐayment-service",
    "payment‐service",
    "#x",
];
/// Values of the right characters that nobody observed or that lead elsewhere.
const FOREIGN: [&str; 6] = [
    "../../etc/passwd",
    "/etc/passwd",
    "kube-system",
    "0",
    "99999",
    "A..B",
];

/// What somebody might do to an action, and the rules that may catch it.
fn altered(kind: ActionKind) -> Vec<(String, TypedAction, Vec<&'static str>)> {
    let base = good(kind);
    let mut cases = Vec::new();
    let mut add = |what: String, rules: &[&'static str], change: &dyn Fn(&mut TypedAction)| {
        let mut action = base.clone();
        change(&mut action);
        cases.push((format!("{}: {what}", kind.as_str()), action, rules.to_vec()));
    };
    for parameter in spec(kind).parameters {
        let name = parameter.name;
        add(
            format!("without {name}"),
            &["missing_argument"],
            &|action| {
                action.arguments.remove(name);
            },
        );
        for value in HOSTILE {
            add(format!("{name}={value:?}"), &["metacharacter"], &|action| {
                action.arguments.insert(name.to_owned(), value.to_owned());
            });
        }
        for value in FOREIGN {
            let rules = ["malformed_argument", "unobserved_argument", "out_of_bounds"];
            // Deleting older files only is the one number that may be any.
            if name == "older_than_days" || name == "minutes" {
                continue;
            }
            add(format!("{name}={value:?}"), &rules, &|action| {
                action.arguments.insert(name.to_owned(), value.to_owned());
            });
        }
        if let Source::Grown { of, .. } = parameter.source {
            add(
                format!("{name} ten times {of}"),
                &["out_of_bounds"],
                &|action| {
                    let more = format!(
                        "{}0",
                        action.arguments[of].trim_end_matches(char::is_alphabetic)
                    );
                    action.arguments.insert(name.to_owned(), more);
                },
            );
            add(format!("{name} as {of}"), &["out_of_bounds"], &|action| {
                let same = action.arguments[of].clone();
                action.arguments.insert(name.to_owned(), same);
            });
        }
    }
    add(
        "one argument more".to_owned(),
        &["unknown_argument"],
        &|action| {
            action
                .arguments
                .insert("force".to_owned(), "true".to_owned());
        },
    );
    if base.risk > RiskClass::ReadOnly {
        add(
            "called read-only".to_owned(),
            &["lowered_risk"],
            &|action| action.risk = RiskClass::ReadOnly,
        );
    }
    for executor in [
        Executor::Kubernetes,
        Executor::Local,
        Executor::Webhook,
        Executor::Simulator,
    ] {
        if executor != base.executor {
            add(
                format!("by {}", executor.as_str()),
                &["wrong_executor"],
                &|action| action.executor = executor,
            );
        }
    }
    add(
        "an undo from elsewhere".to_owned(),
        &["altered_undo"],
        &|action| {
            action.undo = Some(midwatch_events::action::Undo {
                kind: ActionKind::Drain,
                arguments: BTreeMap::from([("node".to_owned(), "node-7".to_owned())]),
                command: "kubectl drain node-7".to_owned(),
            });
        },
    );
    if base.undo.is_some() {
        add(
            "without its undo".to_owned(),
            &["altered_undo"],
            &|action| action.undo = None,
        );
        add(
            "with another undo command".to_owned(),
            &["altered_undo"],
            &|action| {
                if let Some(undo) = &mut action.undo {
                    undo.command.push_str(" --force");
                }
            },
        );
    }
    add("no pre-checks".to_owned(), &["altered_words"], &|action| {
        action.pre_checks.clear()
    });
    add("harmless words".to_owned(), &["altered_words"], &|action| {
        "It touches nothing.".clone_into(&mut action.blast_radius);
    });
    for service in ["order-service", "", "*", "payment-service "] {
        add(
            format!("on {service:?}"),
            &["unobserved_service"],
            &|action| {
                service.clone_into(&mut action.service);
            },
        );
    }
    add(
        "measured elsewhere".to_owned(),
        &["unproven_effect"],
        &|action| {
            "service_request_rate".clone_into(&mut action.effect.metric);
        },
    );
    add(
        "measured for a year".to_owned(),
        &["unproven_effect"],
        &|action| action.effect.within_ms = i64::MAX,
    );
    add(
        "with a baseline that is none".to_owned(),
        &["unproven_effect"],
        &|action| {
            action.effect.baseline_value = f64::INFINITY;
        },
    );
    for other in ActionKind::ALL {
        if spec(other).parameters != spec(kind).parameters {
            let rules = [
                "unknown_argument",
                "missing_argument",
                "altered_undo",
                "altered_words",
                "lowered_risk",
                "wrong_executor",
                "unobserved_argument",
                "out_of_bounds",
            ];
            add(
                format!("passed off as {}", other.as_str()),
                &rules,
                &|action| action.kind = other,
            );
        }
    }
    cases
}

#[test]
fn the_good_action_of_every_kind_runs_after_two_approvals() {
    let core = live_core();
    for kind in ActionKind::ALL {
        let mut state = planted(&core, good(kind));
        let effects = approved_by_two(&core, &mut state);
        assert_eq!(
            jobs(&effects, EXECUTE).len(),
            1,
            "{}: {effects:?}",
            kind.as_str()
        );
    }
}

#[test]
fn no_made_up_action_runs() {
    let core = live_core();
    let mut tried = 0;
    for kind in ActionKind::ALL {
        for (name, action, rules) in altered(kind) {
            let mut state = planted(&core, action);
            let effects = approved_by_two(&core, &mut state);
            assert_refused(&name, &effects, &rules);
            tried += 1;
        }
    }
    println!("{tried} made-up actions, 0 executed");
    assert!(tried >= 200, "{tried}");
}

/// What somebody might do to an approval, and the rule that catches it.
fn forged(good: &OperatorCommand) -> Vec<(String, OperatorCommand, &'static str)> {
    let mut cases = Vec::new();
    let mut add = |name: &str, rule: &'static str, change: &dyn Fn(&mut OperatorCommand)| {
        let mut command = good.clone();
        change(&mut command);
        cases.push((name.to_owned(), command, rule));
    };
    for (name, at) in [
        ("a moment late", AT.wall_ms),
        ("a year late", AT.wall_ms - 31_536_000_000),
        ("without an end", 0),
        ("before all time", i64::MIN),
    ] {
        add(name, "expired", &|command| command.expires_at_ms = at);
    }
    for at in [AT.wall_ms + 300_001, i64::MAX] {
        add("from the future", "issued_in_future", &|command| {
            command.issued_at_ms = at;
            command.expires_at_ms = i64::MAX;
        });
    }
    let hash = good.details.plan_hash.clone();
    let hashes = [
        String::new(),
        hash.to_uppercase(),
        hash[1..].to_owned(),
        format!("{hash} "),
        format!("{hash}{hash}"),
        hash.replace(['0', '1', '2'], "3"),
        "*".to_owned(),
    ];
    for other in hashes {
        add(
            &format!("for the hash {other:?}"),
            "plan_hash",
            &|command| {
                command.details.plan_hash.clone_from(&other);
            },
        );
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
        add("of another step", "unknown_step", &|command| {
            target.clone_into(&mut command.target)
        });
    }
    add("of a step by hand", "by_hand", &|command| {
        "S1".clone_into(&mut command.target)
    });
    for id in [Uuid::nil(), Uuid::max(), ids::derive(&["another incident"])] {
        add("of another incident", "other_incident", &|command| {
            command.incident_id = id
        });
    }
    for by in [
        "",
        " ",
        "\u{a0}",
        "eve",
        "MARIA",
        "mаria",
        "maria\u{200b}",
        "maria ",
        "*",
    ] {
        add(&format!("by {by:?}"), "approver", &|command| {
            by.clone_into(&mut command.by)
        });
    }
    add("without a credential", "same_credential", &|command| {
        command.credential_id.clear()
    });
    add("by a used link", "reused_nonce", &|command| {
        "used".clone_into(&mut command.details.nonce)
    });
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
    for (name, forged, rule) in forged(&good) {
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
    let cases: [(&str, &str, fn(&mut State)); 5] = [
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

#[test]
fn a_kind_outside_the_catalogue_is_nothing_that_can_be_read() {
    for name in [
        "reboot",
        "RESTART_ROLLOUT",
        "restart_rollout ",
        "",
        "shell",
        "exec",
        "scale;reboot",
    ] {
        let mut json = serde_json::to_value(good(ActionKind::Scale)).expect("encodes");
        json["kind"] = name.into();
        assert!(
            serde_json::from_value::<TypedAction>(json).is_err(),
            "{name}"
        );
        if !name.trim_end().eq("restart_rollout") {
            assert!(ActionTemplate::parse(name).is_err(), "{name}");
        }
    }
}

#[test]
fn a_runbook_cannot_bring_in_an_unobserved_object() {
    for text in [
        "restart_rollout namespace=kube-system workload={{service}}",
        "restart_rollout namespace={{namespace}} workload=order-service",
        "scale namespace={{namespace}} workload={{service}} replicas=50",
        "scale namespace={{namespace}} workload={{service}} from_replicas=30",
        "raise_pool_size namespace={{namespace}} workload={{service}} variable=PATH",
        "drain node=node-1",
        "run_script script=wipe",
        "delete_pod namespace={{namespace}} pod={{pod}}",
        "toggle_flag namespace={{namespace}} workload={{service}} flag=CIRCUIT_BREAKER_FORCE_OPEN value=false",
    ] {
        let mut sections = typed_pool_runbook();
        for step in sections.iter_mut().flat_map(|section| &mut section.steps) {
            step.typed = step
                .typed
                .is_some()
                .then(|| ActionTemplate::parse(text).expect("well formed"));
        }
        let (plan, _) = live_core().draft(&State::default(), AT, &connections(), &found(sections));
        assert!(
            plan.action_steps.iter().all(|step| step.typed.is_none()),
            "{text}"
        );
    }
}
