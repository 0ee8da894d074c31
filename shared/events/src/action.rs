//! Typed actions: what a step of a plan does to which object, how one will see
//! that it helped, and what the check of that found.
//!
//! An action is data. What each kind does, which arguments it takes and how
//! grave it is stands in the remediation agent's catalogue; who may approve it
//! stands in the policy.

use crate::anomaly::Direction;
use crate::response::ActionStep;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What can be done at all. Nothing else is ever executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    RestartRollout,
    RollbackDeployment,
    Scale,
    Cordon,
    Drain,
    DeletePod,
    /// Processor or memory limit of a container.
    RaiseLimit,
    /// Connections or threads that a service may hold.
    RaisePoolSize,
    ToggleFlag,
    ClearDiskPath,
    RotateLogs,
    RestartUnit,
    SilenceAlert,
    /// A script that a runbook names, from the folder that is allowed.
    RunScript,
    /// A program behind one of the allowed addresses, asked by a signed
    /// request.
    CallWebhook,
    /// Reads a workload, its pods and their events.
    DescribeWorkload,
    /// Reads the last lines that a pod wrote.
    TailLogs,
    /// A script that only looks, from the list that is allowed.
    RunDiagnostic,
}

impl ActionKind {
    /// Every kind.
    pub const ALL: [ActionKind; 18] = [
        ActionKind::RestartRollout,
        ActionKind::RollbackDeployment,
        ActionKind::Scale,
        ActionKind::Cordon,
        ActionKind::Drain,
        ActionKind::DeletePod,
        ActionKind::RaiseLimit,
        ActionKind::RaisePoolSize,
        ActionKind::ToggleFlag,
        ActionKind::ClearDiskPath,
        ActionKind::RotateLogs,
        ActionKind::RestartUnit,
        ActionKind::SilenceAlert,
        ActionKind::RunScript,
        ActionKind::CallWebhook,
        ActionKind::DescribeWorkload,
        ActionKind::TailLogs,
        ActionKind::RunDiagnostic,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ActionKind::RestartRollout => "restart_rollout",
            ActionKind::RollbackDeployment => "rollback_deployment",
            ActionKind::Scale => "scale",
            ActionKind::Cordon => "cordon",
            ActionKind::Drain => "drain",
            ActionKind::DeletePod => "delete_pod",
            ActionKind::RaiseLimit => "raise_limit",
            ActionKind::RaisePoolSize => "raise_pool_size",
            ActionKind::ToggleFlag => "toggle_flag",
            ActionKind::ClearDiskPath => "clear_disk_path",
            ActionKind::RotateLogs => "rotate_logs",
            ActionKind::RestartUnit => "restart_unit",
            ActionKind::SilenceAlert => "silence_alert",
            ActionKind::RunScript => "run_script",
            ActionKind::CallWebhook => "call_webhook",
            ActionKind::DescribeWorkload => "describe_workload",
            ActionKind::TailLogs => "tail_logs",
            ActionKind::RunDiagnostic => "run_diagnostic",
        }
    }

    /// Whether it only looks. What it prints is its result; no effect is
    /// expected of it, and none is looked for.
    #[must_use]
    pub fn only_looks(self) -> bool {
        matches!(
            self,
            ActionKind::DescribeWorkload | ActionKind::TailLogs | ActionKind::RunDiagnostic
        )
    }

    /// The kind of this wire name.
    #[must_use]
    pub fn parse(text: &str) -> Option<ActionKind> {
        ActionKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// How grave an action is; the policy says who may approve each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RiskClass {
    /// Looks and changes nothing.
    ReadOnly,
    /// Changes something that no request notices.
    LowRisk,
    /// Requests may notice; it can be undone.
    Disruptive,
    /// It cannot be undone, or it takes capacity away.
    Destructive,
}

impl RiskClass {
    /// Every class, the mildest first.
    pub const ALL: [RiskClass; 4] = [
        RiskClass::ReadOnly,
        RiskClass::LowRisk,
        RiskClass::Disruptive,
        RiskClass::Destructive,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RiskClass::ReadOnly => "read-only",
            RiskClass::LowRisk => "low-risk",
            RiskClass::Disruptive => "disruptive",
            RiskClass::Destructive => "destructive",
        }
    }
}

/// Who carries an action out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Executor {
    Kubernetes,
    /// A command of the allow-list on this host, without a shell.
    Local,
    Webhook,
    /// The control endpoint of the failure simulator.
    Simulator,
}

impl Executor {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Executor::Kubernetes => "kubernetes",
            Executor::Local => "local",
            Executor::Webhook => "webhook",
            Executor::Simulator => "simulator",
        }
    }
}

/// What an action is expected to do to which metric, by when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpectedEffect {
    pub service: String,
    pub metric: String,
    /// Where the metric should go: [`Direction::Below`] means that it falls.
    pub direction: Direction,
    /// What it was before the incident.
    pub baseline_value: f64,
    /// How long that may take, in event time.
    pub within_ms: i64,
}

/// What takes an action back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    pub kind: ActionKind,
    pub arguments: BTreeMap<String, String>,
    /// What a person would type.
    pub command: String,
}

/// An action with its arguments, each of which was observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TypedAction {
    pub kind: ActionKind,
    /// The service that it acts on; one action at a time for each.
    pub service: String,
    /// By the names of the catalogue, for example `namespace`, `workload`,
    /// `replicas`.
    pub arguments: BTreeMap<String, String>,
    pub risk: RiskClass,
    pub executor: Executor,
    /// What must hold right before it is done, in words.
    pub pre_checks: Vec<String>,
    /// What it touches, in one sentence.
    pub blast_radius: String,
    /// Of an action that only looks, the metric that it is about: nothing is
    /// expected to change.
    pub effect: ExpectedEffect,
    /// Absent where nothing takes it back; such an action needs approval,
    /// unless it only looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
}

/// What an approval is bound to: the SHA-256 of a plan's id and steps, in
/// hexadecimal digits. Any edit of a step gives another hash.
#[must_use]
pub fn plan_hash(plan_id: Uuid, steps: &[ActionStep]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"midwatch plan 1\n");
    hash.update(plan_id.as_bytes());
    for step in steps {
        let mut step = step.clone();
        if let Some(action) = &mut step.typed {
            // Reading a number back may change its last digit.
            let value = &mut action.effect.baseline_value;
            *value = (*value * 1_000.0).round() / 1_000.0;
        }
        // Maps are ordered and fields keep the order of their declaration, so
        // equal steps are equal bytes.
        let bytes = serde_json::to_vec(&step).expect("a step has string keys only");
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(&bytes);
    }
    let digest = hash.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a check of an action's effect found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerificationVerdict {
    Improved,
    NotImproved,
    Worse,
    /// Too few readings, or nothing to compare with.
    NotProvable,
    /// The metric had begun to return before the action.
    RecoveredByItself,
}

impl VerificationVerdict {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            VerificationVerdict::Improved => "improved",
            VerificationVerdict::NotImproved => "not_improved",
            VerificationVerdict::Worse => "worse",
            VerificationVerdict::NotProvable => "not_provable",
            VerificationVerdict::RecoveredByItself => "recovered_by_itself",
        }
    }
}

/// Readings of one series in a span of event time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Span {
    pub from_ms: i64,
    pub to_ms: i64,
    pub count: usize,
    pub median: f64,
}

/// A series that the action did not touch, over the same spans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    pub service: String,
    pub metric: String,
    pub before: Span,
    pub after: Span,
}

/// Before and after an action, on the same metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    pub service: String,
    pub metric: String,
    pub verdict: VerificationVerdict,
    pub before: Span,
    pub after: Span,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
    /// The name of the statistical test, with its threshold.
    pub test: String,
    /// Two-sided; absent where there were too few readings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// One sentence for people.
    pub summary: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::Priority;

    #[test]
    fn wire_names_agree_with_serde() {
        for kind in ActionKind::ALL {
            let json = serde_json::to_value(kind).expect("a unit variant encodes");
            assert_eq!(json, kind.as_str());
            assert_eq!(ActionKind::parse(kind.as_str()), Some(kind));
        }
        for risk in RiskClass::ALL {
            let json = serde_json::to_value(risk).expect("a unit variant encodes");
            assert_eq!(json, risk.as_str());
        }
    }

    fn step(command: &str) -> ActionStep {
        ActionStep {
            step_id: "S1".to_owned(),
            priority: Priority::Immediate,
            action: "Restart".to_owned(),
            command: command.to_owned(),
            rationale: String::new(),
            risk_level: "low".to_owned(),
            owner: String::new(),
            expected_outcome: String::new(),
            rollback: String::new(),
            typed: None,
        }
    }

    #[test]
    fn an_edited_plan_has_another_hash() {
        let id = Uuid::from_u128(1);
        let hash = plan_hash(id, &[step("a"), step("b")]);
        assert_eq!(hash.len(), 64);
        assert_eq!(hash, plan_hash(id, &[step("a"), step("b")]));
        assert_ne!(hash, plan_hash(id, &[step("b"), step("a")]));
        assert_ne!(hash, plan_hash(id, &[step("a")]));
        assert_ne!(hash, plan_hash(Uuid::from_u128(2), &[step("a"), step("b")]));
    }
}
