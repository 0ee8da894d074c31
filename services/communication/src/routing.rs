//! Who is told: roles by severity and stage, addresses by service.

use crate::config::Addresses;
use midwatch_events::Severity;
use midwatch_events::knowledge::Catalogue;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The five mails of an incident, in the order of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Opened,
    Rca,
    Plan,
    Resolved,
    Postmortem,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Stage; 5] = [
        Stage::Opened,
        Stage::Rca,
        Stage::Plan,
        Stage::Resolved,
        Stage::Postmortem,
    ];

    /// The name in `notifications.stage` and of the templates.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Opened => "opened",
            Stage::Rca => "rca",
            Stage::Plan => "plan",
            Stage::Resolved => "resolved",
            Stage::Postmortem => "postmortem",
        }
    }

    /// The stage's key in `notifications`. A reopened incident goes through
    /// its stages again, as `resolved.2`, so that people are told of the
    /// second end as well.
    #[must_use]
    pub fn key(self, round: u32) -> String {
        match round {
            0 => self.as_str().to_owned(),
            _ => format!("{}.{}", self.as_str(), round + 1),
        }
    }
}

/// Addresses of one mail, without repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipients {
    pub to: Vec<String>,
    pub cc: Vec<String>,
}

impl Recipients {
    /// To and copy, in that order.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        self.to.iter().chain(&self.cc).cloned().collect()
    }

    /// Without those who are in `told`. Where only people in copy are left,
    /// they become the addressees.
    #[must_use]
    pub fn without(&self, told: &BTreeSet<String>) -> Recipients {
        let left = |list: &[String]| -> Vec<String> {
            list.iter()
                .filter(|address| !told.contains(*address))
                .cloned()
                .collect()
        };
        let (to, cc) = (left(&self.to), left(&self.cc));
        if to.is_empty() {
            Recipients { to: cc, cc: to }
        } else {
            Recipients { to, cc }
        }
    }
}

/// Who is told of `stage` of an incident of this severity on `service`.
///
/// The service's own on-call and team addresses take the place of the general
/// ones where the catalogue has them.
#[must_use]
pub fn recipients(
    stage: Stage,
    severity: Severity,
    service: &str,
    addresses: &Addresses,
    catalogue: &Catalogue,
) -> Recipients {
    let entry = catalogue.get(service);
    let own = |address: Option<&String>, general: &[String]| -> Vec<String> {
        match address {
            Some(address) if crate::config::is_address(address) => vec![address.clone()],
            _ => general.to_vec(),
        }
    };
    let on_call = own(entry.map(|entry| &entry.on_call), &addresses.on_call);
    let team = own(entry.map(|entry| &entry.team_email), &addresses.team);
    let management = addresses.management.clone();
    let (to, cc) = match (stage, severity) {
        (Stage::Postmortem, _) => ([on_call, team].concat(), management),
        (_, Severity::Critical) => (on_call, management),
        (_, Severity::High) => ([on_call, team].concat(), Vec::new()),
        (_, Severity::Medium | Severity::Low) => (team, Vec::new()),
    };
    let mut seen = BTreeSet::new();
    let mut once = |list: Vec<String>| -> Vec<String> {
        list.into_iter()
            .filter(|address| seen.insert(address.clone()))
            .collect()
    };
    Recipients {
        to: once(to),
        cc: once(cc),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        Addresses {
            from: "midwatch@example.com".to_owned(),
            on_call: vec!["oncall@example.com".to_owned()],
            team: vec!["team@example.com".to_owned()],
            management: vec!["management@example.com".to_owned()],
        }
    }

    fn catalogue() -> Catalogue {
        Catalogue::parse(
            r#"[{"name":"payment-service","on_call":"payments-oncall@example.com","team_email":"payments@example.com"},
                {"name":"odd-service","on_call":"nobody\r\nBcc: all@example.com"}]"#,
        )
        .expect("the catalogue is well formed")
    }

    fn routed(stage: Stage, severity: Severity, service: &str) -> String {
        let recipients = recipients(stage, severity, service, &addresses(), &catalogue());
        let short = |list: &[String]| list.join(" ").replace("@example.com", "");
        format!("{} | {}", short(&recipients.to), short(&recipients.cc))
    }

    #[test]
    fn the_routing_table_is_as_the_reference_says() {
        let expected = [
            (Severity::Critical, "oncall | management"),
            (Severity::High, "oncall team | "),
            (Severity::Medium, "team | "),
            (Severity::Low, "team | "),
        ];
        for (severity, words) in expected {
            for stage in [Stage::Opened, Stage::Rca, Stage::Plan, Stage::Resolved] {
                assert_eq!(
                    routed(stage, severity, "unlisted"),
                    words,
                    "{stage:?} {severity}"
                );
            }
            assert_eq!(
                routed(Stage::Postmortem, severity, "unlisted"),
                "oncall team | management"
            );
        }
    }

    #[test]
    fn a_services_own_addresses_take_the_place_of_the_general_ones() {
        assert_eq!(
            routed(Stage::Opened, Severity::High, "payment-service"),
            "payments-oncall payments | "
        );
    }

    #[test]
    fn an_address_that_would_inject_a_header_is_not_used() {
        assert_eq!(
            routed(Stage::Opened, Severity::Critical, "odd-service"),
            "oncall | management"
        );
    }

    #[test]
    fn who_was_told_is_left_out_and_copies_move_up() {
        let all = recipients(
            Stage::Opened,
            Severity::Critical,
            "x",
            &addresses(),
            &catalogue(),
        );
        let told = BTreeSet::from(["oncall@example.com".to_owned()]);
        assert_eq!(
            all.without(&told),
            Recipients {
                to: vec!["management@example.com".to_owned()],
                cc: Vec::new()
            }
        );
    }
}
