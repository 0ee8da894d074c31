//! Steps that are built in and only look.

use super::{Chosen, Means, explained, is_host, typed};
use crate::case::Case;
use midwatch_clients::knowledge::{ActionTemplate, RunbookStep};
use midwatch_events::ActionStep;
use midwatch_events::response::Priority;
use std::collections::BTreeMap;

/// A built-in step that only looks.
pub(super) struct Look {
    pub action: &'static str,
    pub command: &'static str,
    pub why: &'static str,
    pub expect: &'static str,
    /// What could be carried out instead.
    pub typed: Option<&'static str>,
}

/// What is worth knowing about a workload of which nothing else is known.
const WORKLOAD: [Look; 5] = [
    Look {
        action: "List the pods of {{service}}",
        command: "kubectl get pods -l app={{service}} -n {{namespace}} -o wide",
        why: "It tells one bad pod or node from a fault of the whole service.",
        expect: "One line per pod; restarts, pods that are not ready and their nodes stand out.",
        typed: Some("describe_workload namespace={{namespace}} workload={{service}}"),
    },
    Look {
        action: "Read the last quarter of an hour of logs of {{service}}",
        command: "kubectl logs -l app={{service}} -n {{namespace}} --since=15m --tail=300 --prefix",
        why: "The first new kind of error often names the failing part.",
        expect: "Lines of all pods; look for the first error that was not there before.",
        typed: Some("tail_logs namespace={{namespace}} pod={{pod}}"),
    },
    Look {
        action: "Compare the rollouts of {{service}}",
        command: "kubectl rollout history deployment/{{service}} -n {{namespace}}",
        why: "A change that no deployment event announced shows here.",
        expect: "The list of revisions; a recent one is the first suspect.",
        typed: None,
    },
    Look {
        action: "Read CPU and memory of the pods of {{service}}",
        command: "kubectl top pods -l app={{service}} -n {{namespace}} --containers",
        why: "It tells a shortage inside the pods from trouble with something they call.",
        expect: "One line per container; saturated ones are near their limit.",
        typed: None,
    },
    Look {
        action: "Read the events around {{service}}",
        command: "kubectl get events -n {{namespace}} --sort-by=.lastTimestamp",
        why: "Kills, failed probes and evictions are written there and nowhere else.",
        expect: "The latest events at the end; those that name {{service}} matter.",
        typed: None,
    },
];

/// The same for a machine.
const HOST: [Look; 4] = [
    Look {
        action: "List the busiest processes of the machine",
        command: "top -b -n 1 -o %CPU",
        why: "It names who uses the processor and the memory.",
        expect: "The first lines carry most of the load.",
        typed: None,
    },
    Look {
        action: "Read memory and swap of the machine",
        command: "free -m",
        why: "Little available memory and used swap explain slowness of everything else.",
        expect: "The column available and the line Swap.",
        typed: None,
    },
    Look {
        action: "Read the fill of the machine's file systems",
        command: "df -h",
        why: "A full disk stops logs, databases and queues.",
        expect: "No file system above 90 %.",
        typed: None,
    },
    Look {
        action: "Read the machine's errors of the last quarter of an hour",
        command: "journalctl -p err --since -15min --no-pager",
        why: "Hardware, kernel and service failures are reported there.",
        expect: "Few lines; those near the onset matter.",
        typed: None,
    },
];

pub(super) fn built_in(
    look: &Look,
    values: &BTreeMap<String, String>,
) -> (RunbookStep, ActionStep) {
    let step = RunbookStep {
        priority: Priority::Immediate,
        action: look.action.to_owned(),
        command: look.command.to_owned(),
        why: look.why.to_owned(),
        expect: look.expect.to_owned(),
        rollback: "none: read-only".to_owned(),
        risk: "read-only".to_owned(),
        owner: "on-call".to_owned(),
        typed: look.typed.and_then(|text| ActionTemplate::parse(text).ok()),
    };
    let filled = step.fill("S0", values).unwrap_or_else(|_| {
        // A name that no command may hold: the words stay, the command goes.
        let plain = |text: &str| {
            text.replace("{{service}}", "the service")
                .replace("{{namespace}}", "its namespace")
        };
        ActionStep {
            step_id: String::new(),
            priority: step.priority,
            action: plain(look.action),
            command: "none: the observed name is not a plain word and may not stand in a command"
                .to_owned(),
            rationale: plain(look.why),
            risk_level: step.risk.clone(),
            owner: step.owner.clone(),
            expected_outcome: plain(look.expect),
            rollback: step.rollback.clone(),
            typed: None,
        }
    });
    (step, filled)
}

/// Steps that only look, at the suspected service.
#[must_use]
pub fn diagnosis(case: &Case<'_>, means: Means<'_>) -> Chosen {
    let looks: &[Look] = if is_host(case.service()) {
        &HOST
    } else {
        &WORKLOAD
    };
    let values = case.values(case.service(), means.observed);
    let mut chosen = Chosen::default();
    for look in looks {
        let (step, filled) = built_in(look, &values);
        let mut filled = explained(case, &step, filled, None);
        let by_hand = typed(case, step.typed.as_ref(), &mut filled, &values, means);
        chosen.by_hand.extend(by_hand);
        chosen.take(filled, None);
    }
    // Looks have no merit by which they could be ordered.
    let means = Means {
        effective: &[],
        ..means
    };
    chosen.finish(case, means, 0)
}
