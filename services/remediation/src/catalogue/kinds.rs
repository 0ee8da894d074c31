//! The kinds of the catalogue, one record each.

use super::fill;
use super::form::Form;
use midwatch_events::action::{ActionKind, Executor, RiskClass};
use std::collections::BTreeMap;

/// Where a parameter's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Observed in the incident or recorded in the service catalogue, under
    /// this name of [`super::Known`].
    Seen(&'static str),
    /// The same together with the values of other parameters: known is
    /// `<others> <value>`, parted by spaces.
    SeenWith(&'static str, &'static [&'static str]),
    /// More than the observed number `of`, and at most `percent` of a hundred
    /// of it.
    Grown { of: &'static str, percent: u64 },
    /// The same of an amount, and at most what [`MOST_OF`] says of the
    /// `resource`.
    Raised {
        of: &'static str,
        resource: &'static str,
        percent: u64,
    },
    /// Chosen from what the form allows; the first or least is the default.
    Fixed,
}

/// One argument of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    pub name: &'static str,
    pub form: Form,
    pub source: Source,
}

/// What takes an action back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undoing {
    /// Nothing does, and why.
    None(&'static str),
    /// There is nothing to take back: it only looks.
    Nothing,
    /// The same kind with two arguments exchanged.
    Exchange(&'static str, &'static str),
    /// The same kind with one argument set.
    Set(&'static str, &'static str),
}

/// What the catalogue says about a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    pub kind: ActionKind,
    /// Who carries it out; in the simulated fleet the simulator does.
    pub executor: Executor,
    pub risk: RiskClass,
    pub parameters: &'static [Parameter],
    /// In words, with `{parameter}`.
    pub pre_checks: &'static [&'static str],
    pub blast_radius: &'static str,
    /// How long the effect may take, event time.
    pub within_ms: i64,
    pub undoing: Undoing,
    /// What a person would type, with `{parameter}`.
    command: &'static str,
}

impl Spec {
    /// The checks right before, in words.
    #[must_use]
    pub fn pre_checks(&self, arguments: &BTreeMap<String, String>) -> Vec<String> {
        self.pre_checks
            .iter()
            .map(|check| fill(check, arguments))
            .collect()
    }

    /// What a person would type.
    #[must_use]
    pub fn command(&self, arguments: &BTreeMap<String, String>) -> String {
        let released = arguments
            .get("unschedulable")
            .is_some_and(|on| on == "false");
        let template = if self.kind == ActionKind::Cordon && released {
            "kubectl uncordon {node}"
        } else {
            self.command
        };
        fill(template, arguments)
    }
}

const fn seen(name: &'static str, form: Form) -> Parameter {
    Parameter {
        name,
        form,
        source: Source::Seen(name),
    }
}

const fn of(name: &'static str, form: Form, source: Source) -> Parameter {
    Parameter { name, form, source }
}

const NAMESPACE: Parameter = seen("namespace", Form::Name);
const WORKLOAD: Parameter = seen("workload", Form::Name);
const HOST: Parameter = seen("host", Form::Name);
const SWITCH: Form = Form::OneOf(&["true", "false"]);
const EXISTS: &str = "deployment {workload} exists in namespace {namespace}";
const SETTLED: &str = "no rollout of {workload} is under way";
/// The most that a limit is raised to: beyond it a pod fits few nodes, and a
/// rollout that waits for one is an outage of its own.
pub(super) const MOST_OF: [(&str, &str); 2] = [("cpu", "16"), ("memory", "64Gi")];
const MINUTES_3: i64 = 180_000;
const MINUTES_5: i64 = 300_000;

/// What the catalogue says about a kind.
#[must_use]
pub fn spec(kind: ActionKind) -> &'static Spec {
    match kind {
        ActionKind::RestartRollout => &RESTART_ROLLOUT,
        ActionKind::RollbackDeployment => &ROLLBACK_DEPLOYMENT,
        ActionKind::Scale => &SCALE,
        ActionKind::Cordon => &CORDON,
        ActionKind::Drain => &DRAIN,
        ActionKind::DeletePod => &DELETE_POD,
        ActionKind::RaiseLimit => &RAISE_LIMIT,
        ActionKind::RaisePoolSize => &RAISE_POOL_SIZE,
        ActionKind::ToggleFlag => &TOGGLE_FLAG,
        ActionKind::ClearDiskPath => &CLEAR_DISK_PATH,
        ActionKind::RotateLogs => &ROTATE_LOGS,
        ActionKind::RestartUnit => &RESTART_UNIT,
        ActionKind::SilenceAlert => &SILENCE_ALERT,
        ActionKind::RunScript => &RUN_SCRIPT,
        ActionKind::CallWebhook => &CALL_WEBHOOK,
        ActionKind::DescribeWorkload => &DESCRIBE_WORKLOAD,
        ActionKind::TailLogs => &TAIL_LOGS,
        ActionKind::RunDiagnostic => &RUN_DIAGNOSTIC,
    }
}

const RESTART_ROLLOUT: Spec = Spec {
    kind: ActionKind::RestartRollout,
    executor: Executor::Kubernetes,
    risk: RiskClass::Disruptive,
    parameters: &[NAMESPACE, WORKLOAD],
    pre_checks: &[EXISTS, SETTLED],
    blast_radius: "Every pod of {workload} in namespace {namespace} ends and starts again, a few at a time.",
    within_ms: MINUTES_3,
    undoing: Undoing::None(
        "a restart cannot be undone, but the pods come back with the same version and settings",
    ),
    command: "kubectl rollout restart deployment/{workload} -n {namespace}",
};

const ROLLBACK_DEPLOYMENT: Spec = Spec {
    kind: ActionKind::RollbackDeployment,
    executor: Executor::Kubernetes,
    risk: RiskClass::Disruptive,
    parameters: &[
        NAMESPACE,
        WORKLOAD,
        of("from_version", Form::Version, Source::Seen("from_version")),
        of("to_version", Form::Version, Source::Seen("to_version")),
    ],
    pre_checks: &[
        EXISTS,
        "{workload} runs {from_version}",
        "a revision with {to_version} is kept",
    ],
    blast_radius: "Every pod of {workload} in namespace {namespace} is replaced by one of {to_version}.",
    within_ms: MINUTES_3,
    undoing: Undoing::Exchange("from_version", "to_version"),
    command: "kubectl rollout undo deployment/{workload} -n {namespace}",
};

const SCALE: Spec = Spec {
    kind: ActionKind::Scale,
    executor: Executor::Kubernetes,
    risk: RiskClass::LowRisk,
    parameters: &[
        NAMESPACE,
        WORKLOAD,
        of(
            "from_replicas",
            Form::Count { min: 1, max: 50 },
            Source::Seen("replicas"),
        ),
        of(
            "replicas",
            Form::Count { min: 2, max: 50 },
            Source::Grown {
                of: "from_replicas",
                percent: 200,
            },
        ),
    ],
    pre_checks: &[EXISTS, "{workload} has {from_replicas} replicas"],
    blast_radius: "{workload} in namespace {namespace} goes from {from_replicas} to {replicas} pods; what it calls gets more connections.",
    within_ms: MINUTES_3,
    undoing: Undoing::Exchange("from_replicas", "replicas"),
    command: "kubectl scale deployment/{workload} --current-replicas={from_replicas} --replicas={replicas} -n {namespace}",
};

const CORDON: Spec = Spec {
    kind: ActionKind::Cordon,
    executor: Executor::Kubernetes,
    risk: RiskClass::Disruptive,
    parameters: &[
        seen("node", Form::Name),
        of("unschedulable", SWITCH, Source::Fixed),
    ],
    pre_checks: &["node {node} exists", "another node takes pods"],
    blast_radius: "No new pod of any service starts on node {node}; those that run there stay.",
    within_ms: MINUTES_5,
    undoing: Undoing::Set("unschedulable", "false"),
    command: "kubectl cordon {node}",
};

const DRAIN: Spec = Spec {
    kind: ActionKind::Drain,
    executor: Executor::Kubernetes,
    risk: RiskClass::Destructive,
    parameters: &[seen("node", Form::Name)],
    pre_checks: &[
        "node {node} exists",
        "another node takes pods",
        "no disruption budget forbids it",
    ],
    blast_radius: "Every pod of every service on node {node} ends and starts elsewhere.",
    within_ms: MINUTES_5,
    undoing: Undoing::None("evicted pods do not come back; uncordon the node once it is well"),
    command: "kubectl drain {node} --ignore-daemonsets",
};

const DELETE_POD: Spec = Spec {
    kind: ActionKind::DeletePod,
    executor: Executor::Kubernetes,
    risk: RiskClass::Disruptive,
    parameters: &[NAMESPACE, seen("pod", Form::Name)],
    pre_checks: &[
        "pod {pod} exists in namespace {namespace}",
        "a controller owns it and starts another one",
    ],
    blast_radius: "Pod {pod} in namespace {namespace} ends with the requests that it holds.",
    within_ms: MINUTES_3,
    undoing: Undoing::None("an ended pod does not come back; its controller starts another one"),
    command: "kubectl delete pod {pod} -n {namespace}",
};

const RAISE_LIMIT: Spec = Spec {
    kind: ActionKind::RaiseLimit,
    executor: Executor::Kubernetes,
    risk: RiskClass::Disruptive,
    parameters: &[
        NAMESPACE,
        WORKLOAD,
        seen("container", Form::Name),
        of("resource", Form::OneOf(&["memory", "cpu"]), Source::Fixed),
        of(
            "from_limit",
            Form::Amount,
            Source::SeenWith("limit", &["container", "resource"]),
        ),
        of(
            "limit",
            Form::Amount,
            Source::Raised {
                of: "from_limit",
                resource: "resource",
                percent: 200,
            },
        ),
    ],
    pre_checks: &[
        EXISTS,
        SETTLED,
        "the {resource} limit of container {container} is {from_limit}",
    ],
    blast_radius: "Every pod of {workload} in namespace {namespace} is replaced by one that may use {limit} of {resource}.",
    within_ms: MINUTES_3,
    undoing: Undoing::Exchange("from_limit", "limit"),
    command: "kubectl set resources deployment/{workload} -c {container} --limits={resource}={limit} -n {namespace}",
};

const RAISE_POOL_SIZE: Spec = Spec {
    kind: ActionKind::RaisePoolSize,
    executor: Executor::Kubernetes,
    risk: RiskClass::Disruptive,
    parameters: &[
        NAMESPACE,
        WORKLOAD,
        of("variable", Form::Variable, Source::Seen("setting_name")),
        of(
            "from_size",
            Form::Count {
                min: 1,
                max: 10_000,
            },
            Source::SeenWith("setting", &["variable"]),
        ),
        of(
            "size",
            Form::Count {
                min: 2,
                max: 10_000,
            },
            Source::Grown {
                of: "from_size",
                percent: 150,
            },
        ),
    ],
    pre_checks: &[
        EXISTS,
        SETTLED,
        "{variable} of {workload} is {from_size} or unset",
    ],
    blast_radius: "Every pod of {workload} in namespace {namespace} is replaced by one with {variable}={size}; its database sees more connections.",
    within_ms: MINUTES_3,
    undoing: Undoing::Exchange("from_size", "size"),
    command: "kubectl set env deployment/{workload} {variable}={size} -n {namespace}",
};

const TOGGLE_FLAG: Spec = Spec {
    kind: ActionKind::ToggleFlag,
    executor: Executor::Kubernetes,
    risk: RiskClass::Disruptive,
    parameters: &[
        NAMESPACE,
        WORKLOAD,
        of("flag", Form::Variable, Source::Seen("setting_name")),
        of("from_value", SWITCH, Source::SeenWith("setting", &["flag"])),
        of("value", SWITCH, Source::Fixed),
    ],
    pre_checks: &[
        EXISTS,
        SETTLED,
        "{flag} of {workload} is {from_value} or unset",
    ],
    blast_radius: "Every pod of {workload} in namespace {namespace} is replaced by one with {flag}={value}; what the flag guards changes for all requests.",
    within_ms: MINUTES_3,
    undoing: Undoing::Exchange("from_value", "value"),
    command: "kubectl set env deployment/{workload} {flag}={value} -n {namespace}",
};

const CLEAR_DISK_PATH: Spec = Spec {
    kind: ActionKind::ClearDiskPath,
    executor: Executor::Local,
    risk: RiskClass::Destructive,
    parameters: &[
        HOST,
        seen("path", Form::Path),
        of(
            "older_than_days",
            Form::Count { min: 7, max: 3650 },
            Source::Fixed,
        ),
    ],
    pre_checks: &["{path} is a folder and no link", "this host is {host}"],
    blast_radius: "Files under {path} of {host} that are older than {older_than_days} days are gone for good.",
    within_ms: MINUTES_5,
    undoing: Undoing::None("deleted files do not come back"),
    command: "find {path} -xdev -type f -mtime +{older_than_days} -delete",
};

const ROTATE_LOGS: Spec = Spec {
    kind: ActionKind::RotateLogs,
    executor: Executor::Local,
    risk: RiskClass::LowRisk,
    parameters: &[HOST, seen("log", Form::Name)],
    pre_checks: &["/etc/logrotate.d/{log} exists", "this host is {host}"],
    blast_radius: "The logs of {log} on {host} are closed, and the oldest are removed as its settings say.",
    within_ms: MINUTES_5,
    undoing: Undoing::None("rotated logs stay rotated; they can still be read"),
    command: "logrotate --force /etc/logrotate.d/{log}",
};

const RESTART_UNIT: Spec = Spec {
    kind: ActionKind::RestartUnit,
    executor: Executor::Local,
    risk: RiskClass::Disruptive,
    parameters: &[HOST, seen("unit", Form::Unit)],
    pre_checks: &["unit {unit} is loaded", "this host is {host}"],
    blast_radius: "{unit} on {host} ends and starts again; requests that it holds fail.",
    within_ms: MINUTES_3,
    undoing: Undoing::None("a restart cannot be undone; the unit runs with the same settings"),
    command: "systemctl restart {unit}",
};

const SILENCE_ALERT: Spec = Spec {
    kind: ActionKind::SilenceAlert,
    executor: Executor::Webhook,
    risk: RiskClass::LowRisk,
    parameters: &[
        seen("alertname", Form::Word),
        of("minutes", Form::Count { min: 30, max: 240 }, Source::Fixed),
    ],
    pre_checks: &["alert {alertname} is firing"],
    blast_radius: "Nobody hears of {alertname} for {minutes} minutes; nothing else changes.",
    within_ms: MINUTES_5,
    undoing: Undoing::None(
        "the silence ends by itself; expire it in Alertmanager to end it sooner",
    ),
    command: "amtool silence add alertname={alertname} --duration={minutes}m --comment=incident",
};

const RUN_SCRIPT: Spec = Spec {
    kind: ActionKind::RunScript,
    executor: Executor::Local,
    // Nobody here knows what it does.
    risk: RiskClass::Destructive,
    parameters: &[seen("script", Form::Name)],
    pre_checks: &["{script} is a file of the folder of allowed scripts"],
    blast_radius: "Whatever the script {script} does on this host.",
    within_ms: MINUTES_5,
    undoing: Undoing::None("what a script did is not known here"),
    command: "./{script}",
};

const CALL_WEBHOOK: Spec = Spec {
    kind: ActionKind::CallWebhook,
    executor: Executor::Webhook,
    // Nobody here knows what the program behind the address does.
    risk: RiskClass::Destructive,
    parameters: &[seen("hook", Form::Name)],
    pre_checks: &["{hook} is a webhook of the list of what is allowed"],
    blast_radius: "Whatever the program behind the webhook {hook} does.",
    within_ms: MINUTES_5,
    undoing: Undoing::None("what the webhook's receiver did is not known here"),
    command: "none: a signed request to the webhook {hook}",
};

const DESCRIBE_WORKLOAD: Spec = Spec {
    kind: ActionKind::DescribeWorkload,
    executor: Executor::Kubernetes,
    risk: RiskClass::ReadOnly,
    parameters: &[NAMESPACE, WORKLOAD],
    pre_checks: &[EXISTS],
    blast_radius: "Nothing changes: deployment {workload} in namespace {namespace}, its pods and their events are read.",
    within_ms: 0,
    undoing: Undoing::Nothing,
    command: "kubectl describe deployment/{workload} -n {namespace}",
};

const TAIL_LOGS: Spec = Spec {
    kind: ActionKind::TailLogs,
    executor: Executor::Kubernetes,
    risk: RiskClass::ReadOnly,
    parameters: &[NAMESPACE, seen("pod", Form::Name)],
    pre_checks: &["pod {pod} exists in namespace {namespace}"],
    blast_radius: "Nothing changes: the last lines of pod {pod} in namespace {namespace} are read.",
    within_ms: 0,
    undoing: Undoing::Nothing,
    command: "kubectl logs {pod} -n {namespace} --all-containers --tail=100",
};

const RUN_DIAGNOSTIC: Spec = Spec {
    kind: ActionKind::RunDiagnostic,
    executor: Executor::Local,
    risk: RiskClass::ReadOnly,
    parameters: &[seen("diagnostic", Form::Name)],
    pre_checks: &["{diagnostic} is on the list of scripts that only look"],
    blast_radius: "Nothing changes: the script {diagnostic} only looks, as whoever listed it says.",
    within_ms: 0,
    undoing: Undoing::Nothing,
    command: "./{diagnostic}",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_looks_is_read_only_and_nothing_else_is() {
        for kind in ActionKind::ALL {
            let spec = spec(kind);
            assert_eq!(spec.kind, kind);
            let looks = kind.only_looks();
            assert_eq!(spec.risk == RiskClass::ReadOnly, looks, "{}", kind.as_str());
            assert_eq!(spec.undoing == Undoing::Nothing, looks, "{}", kind.as_str());
            assert_eq!(spec.within_ms == 0, looks, "{}", kind.as_str());
        }
    }
}
