//! What people and agents can do to the fleet, and what helps against which
//! fault: the physics behind the runbooks' advice.
//!
//! Whoever acts is told that the action was carried out, never whether it was
//! the right one.

use crate::fleet::{Service, Strain};
use crate::scenario::Scenario;
use midwatch_events::action::ActionKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Actions that are remembered; beyond that none is taken. A demo sees a few,
/// and each is some hundred bytes.
pub const MOST_ACTIONS: usize = 10_000;
/// Bytes of a key, an argument's name or its value.
pub const LONGEST: usize = 253;
/// Arguments of one action.
pub const MOST_ARGUMENTS: usize = 16;
/// How long pods of a rollout are fewer than usual.
pub const ROLLOUT_MS: i64 = 20_000;

/// The body of `POST /actions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionRequest {
    /// The same for every try: a second request with it does nothing and gets
    /// the first one's answer.
    pub key: String,
    /// An [`ActionKind`]'s wire name.
    pub kind: String,
    pub service: String,
    #[serde(default)]
    pub arguments: BTreeMap<String, String>,
}

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionStatus {
    Applied,
    /// The fleet has nothing that this kind could change.
    Ignored,
    /// It cannot be carried out as it was asked.
    Refused,
}

/// The answer to an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActionReport {
    pub status: ActionStatus,
    /// Simulated time at which it was carried out, epoch milliseconds.
    pub event_ms: i64,
    pub words: String,
}

/// An action that the fleet understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    pub key: String,
    pub kind: ActionKind,
    pub service: Service,
    pub arguments: BTreeMap<String, String>,
}

/// What an action does to a fault on the same service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Remedy {
    /// The fault ends `fade_ms` later.
    Ends { fade_ms: i64 },
    /// Of the fault's strain `left` stays, 0..1, from `fade_ms` later on until
    /// the fault ends or the action is taken back.
    Eases { left: f64, fade_ms: i64 },
    /// The fault strains by so much more at its peak, until the action is taken
    /// back.
    Worsens(Strain),
}

impl Action {
    /// Reads a request.
    ///
    /// # Errors
    /// Says in words what is wrong with it.
    pub fn read(request: &ActionRequest) -> Result<Action, String> {
        let kind = ActionKind::parse(&request.kind).ok_or_else(|| {
            let names = ActionKind::ALL.map(ActionKind::as_str).join(", ");
            format!("kind {:?} is none of {names}", request.kind)
        })?;
        let service = Service::from_name(&request.service).ok_or_else(|| {
            let names = Service::ALL.map(Service::name).join(", ");
            format!("service {:?} is none of {names}", request.service)
        })?;
        let texts = request
            .arguments
            .iter()
            .flat_map(|(name, value)| [name, value]);
        if texts.into_iter().any(|text| text.len() > LONGEST)
            || request.arguments.len() > MOST_ARGUMENTS
        {
            return Err(format!(
                "send at most {MOST_ARGUMENTS} arguments of {LONGEST} bytes"
            ));
        }
        let action = Action {
            key: request.key.clone(),
            kind,
            service,
            arguments: request.arguments.clone(),
        };
        if kind == ActionKind::Scale && action.growth().is_none() {
            return Err(
                "scale needs from_replicas and replicas, whole numbers from 1 to 50".to_owned(),
            );
        }
        Ok(action)
    }

    fn argument(&self, name: &str) -> &str {
        self.arguments.get(name).map_or("", String::as_str)
    }

    /// Of a scale: replicas asked for, as a part of those before.
    #[must_use]
    pub fn growth(&self) -> Option<f64> {
        let count = |name: &str| {
            let count: u8 = self.argument(name).parse().ok()?;
            (1..=50).contains(&count).then(|| f64::from(count))
        };
        Some(count("replicas")? / count("from_replicas")?)
    }

    /// The two arguments that the undo of this kind exchanges.
    fn exchanged(&self) -> Option<(&'static str, &'static str)> {
        match self.kind {
            ActionKind::Scale => Some(("from_replicas", "replicas")),
            ActionKind::RaiseLimit => Some(("from_limit", "limit")),
            ActionKind::RaisePoolSize => Some(("from_size", "size")),
            ActionKind::ToggleFlag => Some(("from_value", "value")),
            ActionKind::RollbackDeployment => Some(("from_version", "to_version")),
            _ => None,
        }
    }

    /// Whether this one takes `earlier` back: the same with both exchanged.
    #[must_use]
    pub fn undoes(&self, earlier: &Action) -> bool {
        let Some((from, to)) = self.exchanged() else {
            return false;
        };
        let rest = |action: &Action| {
            let mut rest = action.arguments.clone();
            rest.remove(from);
            rest.remove(to);
            rest
        };
        self.kind == earlier.kind
            && self.service == earlier.service
            && !self.argument(to).is_empty()
            && self.argument(to) == earlier.argument(from)
            && self.argument(from) == earlier.argument(to)
            && rest(self) == rest(earlier)
    }

    /// Whether the fleet has what this kind changes.
    #[must_use]
    pub fn means_something(&self) -> bool {
        use ActionKind::{
            DeletePod, RaiseLimit, RaisePoolSize, RestartRollout, RollbackDeployment, Scale,
            ToggleFlag,
        };
        matches!(
            self.kind,
            DeletePod
                | RaiseLimit
                | RaisePoolSize
                | RestartRollout
                | RollbackDeployment
                | Scale
                | ToggleFlag
        )
    }

    /// What requests notice while pods are replaced: for [`ROLLOUT_MS`].
    #[must_use]
    pub fn dip(&self) -> Strain {
        let depth = match self.kind {
            // Of three pods one is gone.
            ActionKind::DeletePod => 0.4,
            ActionKind::RestartRollout
            | ActionKind::RollbackDeployment
            | ActionKind::RaiseLimit
            | ActionKind::RaisePoolSize
            | ActionKind::ToggleFlag => 1.0,
            _ => 0.0,
        };
        let dip = Strain {
            latency_ms: 0.3 * self.service.profile().p99_ms,
            error_percent: 0.8,
            ..Strain::default()
        };
        dip.times(depth)
    }

    /// What a service with too few replicas lacks for as long as that lasts.
    #[must_use]
    pub fn shortage(&self) -> Strain {
        let missing = match self.growth() {
            Some(growth) if self.kind == ActionKind::Scale => (1.0 - growth).max(0.0),
            _ => 0.0,
        };
        let shortage = Strain {
            cpu_percent: 40.0,
            latency_ms: self.service.profile().p99_ms,
            error_percent: 2.0,
            ..Strain::default()
        };
        shortage.times(missing)
    }

    /// What the action does to a fault of this scenario on its service; none
    /// where it changes nothing about it.
    #[must_use]
    pub fn remedy(&self, scenario: Scenario) -> Option<Remedy> {
        let ends = |seconds: i64| {
            Some(Remedy::Ends {
                fade_ms: seconds * 1_000,
            })
        };
        let eases = |left: f64| {
            Some(Remedy::Eases {
                left,
                fade_ms: 30_000,
            })
        };
        let more = self.growth().unwrap_or(1.0) - 1.0;
        let (of, flag) = (self.argument("resource"), self.argument("flag"));
        let is_on = self.argument("value") == "true";
        match (scenario, self.kind) {
            // A new process holds no leaked connection, no leaked memory, and
            // joins its consumer group anew.
            (Scenario::DbConnectionExhaustion, ActionKind::RestartRollout) => ends(20),
            (Scenario::MemoryLeak, ActionKind::RestartRollout) => ends(30),
            (Scenario::KafkaConsumerLag, ActionKind::RestartRollout) => ends(60),
            // Room for those who wait.
            (Scenario::DbConnectionExhaustion, ActionKind::RaisePoolSize) => ends(30),
            (Scenario::CpuSaturation, ActionKind::RaiseLimit) if of == "cpu" => ends(40),
            // The leak goes on under a higher ceiling.
            (Scenario::MemoryLeak, ActionKind::RaiseLimit) if of == "memory" => eases(0.5),
            (Scenario::MemoryLeak, ActionKind::DeletePod) => eases(0.67),
            // The version before had neither the fault nor the leak in it.
            (
                Scenario::DeploymentFailure | Scenario::MemoryLeak,
                ActionKind::RollbackDeployment,
            ) => ends(30),
            (Scenario::CpuSaturation, ActionKind::Scale) if more > 0.0 => ends(40),
            (Scenario::KafkaConsumerLag, ActionKind::Scale) if more > 0.0 => ends(60),
            // Every pod brings a pool of its own to a database that is full.
            (Scenario::DbConnectionExhaustion, ActionKind::Scale) if more > 0.0 => {
                let crowd = Strain {
                    connections: 30.0,
                    error_percent: 10.0,
                    latency_ms: 1_000.0,
                    ..Strain::default()
                };
                Some(Remedy::Worsens(crowd.times(more.min(1.0))))
            }
            // More workers that wait for the same slow dependency load it more.
            (Scenario::LatencySpike, ActionKind::Scale) if more > 0.0 => {
                let queue = Strain {
                    latency_ms: 1_500.0,
                    ..Strain::default()
                };
                Some(Remedy::Worsens(queue.times(more.min(1.0))))
            }
            // The errors come with a feature that safe mode turns off; failing
            // at once spares only those who do not need it.
            (Scenario::ErrorRateSpike, ActionKind::ToggleFlag) if is_on => match flag {
                "FEATURE_FLAGS_SAFE_MODE" => ends(20),
                "CIRCUIT_BREAKER_FORCE_OPEN" => eases(0.35),
                _ => None,
            },
            // Not waiting for a slow dependency is all that can be done here.
            (Scenario::LatencySpike, ActionKind::ToggleFlag)
                if is_on && flag == "CIRCUIT_BREAKER_FORCE_OPEN" =>
            {
                ends(20)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(kind: &str, service: &str, arguments: &[(&str, &str)]) -> Action {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Action::read(&ActionRequest {
            key: "k".to_owned(),
            kind: kind.to_owned(),
            service: service.to_owned(),
            arguments: arguments.iter().map(owned).collect(),
        })
        .expect("a good request")
    }

    #[test]
    fn only_the_same_with_both_exchanged_takes_an_action_back() {
        let flag = |flag, from, to| {
            let arguments = [("flag", flag), ("from_value", from), ("value", to)];
            action("toggle_flag", "order-service", &arguments)
        };
        let done = flag("A", "false", "true");
        assert!(flag("A", "true", "false").undoes(&done));
        assert!(!flag("B", "true", "false").undoes(&done));
        assert!(!done.undoes(&done));
        let restart = action("restart_rollout", "order-service", &[]);
        assert!(!restart.undoes(&restart));
    }

    #[test]
    fn what_helps_is_bound_to_the_scenario() {
        let scale = [("from_replicas", "3"), ("replicas", "6")];
        let scaled = action("scale", "payment-service", &scale);
        for scenario in Scenario::ALL {
            let helps = matches!(scaled.remedy(scenario), Some(Remedy::Ends { .. }));
            let expected = [Scenario::CpuSaturation, Scenario::KafkaConsumerLag];
            assert_eq!(helps, expected.contains(&scenario), "{scenario:?}");
        }
        let back = [("from_replicas", "6"), ("replicas", "3")];
        let back = action("scale", "payment-service", &back);
        assert_eq!(back.remedy(Scenario::CpuSaturation), None);
        assert!(back.undoes(&scaled));
        assert_eq!(back.shortage().cpu_percent, 20.0);
    }
}
