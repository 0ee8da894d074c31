//! Plans and approvals that somebody made up: none of them runs, and each is
//! refused by a rule that is written down.

mod fixtures;

use fixtures::acts::{approved_by_two, assert_refused, good, planted};
use fixtures::{AT, connections, found, jobs, live_core, typed_pool_runbook};
use midwatch_clients::knowledge::ActionTemplate;
use midwatch_events::action::{ActionKind, Executor, RiskClass, TypedAction, Undo};
use midwatch_remediation::catalogue::{Source, spec};
use midwatch_remediation::decide::State;
use midwatch_remediation::execution::EXECUTE;
use std::collections::BTreeMap;

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
struct Altered {
    base: TypedAction,
    cases: Vec<(String, TypedAction, Vec<&'static str>)>,
}

impl Altered {
    fn of(kind: ActionKind) -> Altered {
        let mut all = Altered {
            base: good(kind),
            cases: Vec::new(),
        };
        all.arguments();
        all.frame();
        all.undo();
        all.effect();
        all.passed_off();
        all
    }

    fn add(&mut self, what: &str, rules: &[&'static str], change: impl Fn(&mut TypedAction)) {
        let mut action = self.base.clone();
        change(&mut action);
        let name = format!("{}: {what}", self.base.kind.as_str());
        self.cases.push((name, action, rules.to_vec()));
    }

    fn set(&mut self, rules: &[&'static str], name: &'static str, value: &str) {
        self.add(&format!("{name}={value:?}"), rules, |action| {
            action.arguments.insert(name.to_owned(), value.to_owned());
        });
    }

    fn arguments(&mut self) {
        for parameter in spec(self.base.kind).parameters {
            let name = parameter.name;
            self.add(
                &format!("without {name}"),
                &["missing_argument"],
                |action| {
                    action.arguments.remove(name);
                },
            );
            for value in HOSTILE {
                self.set(&["metacharacter"], name, value);
            }
            for value in FOREIGN {
                // Deleting older files only, or silence for longer, may be any
                // number within bounds.
                if name != "older_than_days" && name != "minutes" {
                    let rules = ["malformed_argument", "unobserved_argument", "out_of_bounds"];
                    self.set(&rules, name, value);
                }
            }
            if let Source::Grown { of, .. } = parameter.source {
                let from = self.base.arguments[of].clone();
                let digits = from.trim_end_matches(char::is_alphabetic);
                self.set(
                    &["out_of_bounds"],
                    name,
                    &format!("{digits}0{}", &from[digits.len()..]),
                );
                self.set(&["out_of_bounds"], name, &from);
            }
        }
        self.add("one argument more", &["unknown_argument"], |action| {
            action
                .arguments
                .insert("force".to_owned(), "true".to_owned());
        });
    }

    fn frame(&mut self) {
        // What only looks is called so rightly.
        if !self.base.kind.only_looks() {
            self.add("called read-only", &["lowered_risk"], |action| {
                action.risk = RiskClass::ReadOnly;
            });
        }
        for executor in [
            Executor::Kubernetes,
            Executor::Local,
            Executor::Webhook,
            Executor::Simulator,
        ] {
            if executor != self.base.executor {
                let what = format!("by {}", executor.as_str());
                self.add(&what, &["wrong_executor"], |action| {
                    action.executor = executor
                });
            }
        }
        self.add("no pre-checks", &["altered_words"], |action| {
            action.pre_checks.clear();
        });
        self.add("harmless words", &["altered_words"], |action| {
            "It touches nothing.".clone_into(&mut action.blast_radius);
        });
        for service in ["order-service", "", "*", "payment-service "] {
            self.add(
                &format!("on {service:?}"),
                &["unobserved_service"],
                |action| {
                    service.clone_into(&mut action.service);
                },
            );
        }
    }

    fn undo(&mut self) {
        self.add("an undo from elsewhere", &["altered_undo"], |action| {
            action.undo = Some(Undo {
                kind: ActionKind::Drain,
                arguments: BTreeMap::from([("node".to_owned(), "node-7".to_owned())]),
                command: "kubectl drain node-7".to_owned(),
            });
        });
        if self.base.undo.is_some() {
            self.add("without its undo", &["altered_undo"], |action| {
                action.undo = None;
            });
            self.add("with another undo command", &["altered_undo"], |action| {
                if let Some(undo) = &mut action.undo {
                    undo.command.push_str(" --force");
                }
            });
        }
    }

    fn effect(&mut self) {
        self.add("measured elsewhere", &["unproven_effect"], |action| {
            "service_request_rate".clone_into(&mut action.effect.metric);
        });
        self.add("measured for a year", &["unproven_effect"], |action| {
            action.effect.within_ms = i64::MAX;
        });
        self.add(
            "with a baseline that is none",
            &["unproven_effect"],
            |action| {
                action.effect.baseline_value = f64::INFINITY;
            },
        );
    }

    fn passed_off(&mut self) {
        for other in ActionKind::ALL {
            if spec(other).parameters == spec(self.base.kind).parameters {
                continue;
            }
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
            let what = format!("passed off as {}", other.as_str());
            self.add(&what, &rules, |action| action.kind = other);
        }
    }
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
        for (name, action, rules) in Altered::of(kind).cases {
            let mut state = planted(&core, action);
            let effects = approved_by_two(&core, &mut state);
            assert_refused(&name, &effects, &rules);
            tried += 1;
        }
    }
    println!("{tried} made-up actions, 0 executed");
    assert!(tried >= 200, "{tried}");
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
