//! The service catalogue as agents use it: `knowledge/services.json`.

use crate::topology::{EdgeSource, Topology};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What the catalogue says about one service. Fields that agents do not use
/// stay in [`CatalogueEntry::rest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CatalogueEntry {
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub team: String,
    /// `P0`, `P1`, `P2`, …
    #[serde(default)]
    pub criticality: String,
    /// Mail address of whoever is on call.
    #[serde(default)]
    pub on_call: String,
    /// Mail address of the team.
    #[serde(default)]
    pub team_email: String,
    /// The services that this one calls.
    #[serde(default)]
    pub dependencies_downstream: Vec<String>,
    /// The services that call this one.
    #[serde(default)]
    pub dependencies_upstream: Vec<String>,
    #[serde(default)]
    pub runbooks: Vec<String>,
    /// What its availability is held to, where somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Slo>,
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// A service level objective. It is what alerts go by, and looser than the
/// promise to customers (`sla`): an objective that healthy operation does not
/// meet would alarm for ever.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// Requests that succeed, percent: from 50 up to, but not including, 100.
    pub availability_percent: f64,
    /// Days over which they are counted: 30, which the burn rates of the
    /// alerts belong to.
    #[serde(default = "thirty")]
    pub window_days: u32,
}

fn thirty() -> u32 {
    30
}

impl Slo {
    fn check(&self) -> Result<(), String> {
        if !(50.0..100.0).contains(&self.availability_percent) {
            return Err(format!(
                "`slo.availability_percent` is {}; it must be at least 50 and below 100, for example 99.0",
                self.availability_percent
            ));
        }
        if self.window_days != thirty() {
            return Err(format!(
                "`slo.window_days` is {}; it must be 30, because the burn rates of the alerts are those of a 30-day budget",
                self.window_days
            ));
        }
        Ok(())
    }
}

/// All services by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    services: BTreeMap<String, CatalogueEntry>,
    /// Graphs from other places where people write down who calls whom.
    others: Topology,
}

impl Catalogue {
    /// Reads the catalogue from JSON: an array of records, or an object with
    /// that array under `services`.
    ///
    /// # Errors
    /// Says in words what is wrong with the text.
    pub fn parse(text: &str) -> Result<Catalogue, String> {
        const SHAPE: &str =
            "the service catalogue is neither a list of services nor an object with `services`";
        let file: Value =
            serde_json::from_str(text).map_err(|error| format!("{SHAPE}: {error}"))?;
        let list = match file {
            Value::Array(list) => list,
            Value::Object(mut file) => match file.remove("services") {
                Some(Value::Array(list)) => list,
                _ => return Err(SHAPE.to_owned()),
            },
            _ => return Err(SHAPE.to_owned()),
        };
        let mut services = BTreeMap::new();
        for (index, value) in list.into_iter().enumerate() {
            let entry = entry(index, value)?;
            if let Some(twice) = services.insert(entry.name.clone(), entry) {
                return Err(format!(
                    "the service catalogue names {} twice; remove one of the records",
                    twice.name
                ));
            }
        }
        Ok(Catalogue {
            services,
            others: Topology::default(),
        })
    }

    /// The record of one service.
    #[must_use]
    pub fn get(&self, service: &str) -> Option<&CatalogueEntry> {
        self.services.get(service)
    }

    /// All records, by name.
    pub fn iter(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.services.values()
    }

    /// Adds what another catalogue claims about the graph.
    pub fn add_graph(&mut self, graph: Topology) {
        self.others.merge(&graph);
    }

    /// The graph that the catalogue claims.
    #[must_use]
    pub fn topology(&self) -> Topology {
        let mut topology = self.others.clone();
        for entry in self.services.values() {
            for callee in &entry.dependencies_downstream {
                topology.add_call(&entry.name, callee, EdgeSource::Catalogue);
            }
            for caller in &entry.dependencies_upstream {
                topology.add_call(caller, &entry.name, EdgeSource::Catalogue);
            }
        }
        topology
    }
}

/// One record, or what is wrong with it, by its name where it has one.
fn entry(index: usize, value: Value) -> Result<CatalogueEntry, String> {
    let known = value.get("name").and_then(Value::as_str);
    let name = known.map_or_else(|| format!("record {}", index + 1), str::to_owned);
    let fault = |problem: String| format!("{name} in the service catalogue: {problem}");
    let entry: CatalogueEntry =
        serde_json::from_value(value).map_err(|error| fault(error.to_string()))?;
    entry
        .slo
        .as_ref()
        .map_or(Ok(()), Slo::check)
        .map_err(fault)?;
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_edges_come_from_both_sides() {
        let list = r#"[{"name":"a","dependencies_downstream":["b"],"sla":"99.9"},
                       {"name":"c","dependencies_upstream":["b"]}]"#;
        let catalogue = Catalogue::parse(list).expect("a list is read");
        let wrapped = Catalogue::parse(&format!("{{\"services\":{list}}}")).expect("an object too");
        assert_eq!(catalogue, wrapped);
        assert_eq!(catalogue.topology().callees("b"), ["c"]);
        assert_eq!(catalogue.topology().callers("b"), ["a"]);
    }

    #[test]
    fn a_service_named_twice_is_an_error_that_names_it() {
        let error = Catalogue::parse(r#"[{"name":"a"},{"name":"a"}]"#).expect_err("twice");
        assert!(error.contains("names a twice"), "{error}");
    }

    #[test]
    fn an_objective_is_read_and_a_bad_one_is_named_with_its_service() {
        let one = |slo: &str| Catalogue::parse(&format!(r#"[{{"name":"a","slo":{slo}}}]"#));
        let catalogue = one(r#"{"availability_percent":99.5}"#).expect("30 days are the default");
        let slo = Slo {
            availability_percent: 99.5,
            window_days: 30,
        };
        assert_eq!(catalogue.get("a").and_then(|entry| entry.slo), Some(slo));
        for (bad, told) in [
            (
                r#"{"availability_percent":100}"#,
                "`slo.availability_percent` is 100",
            ),
            (
                r#"{"availability_percent":0.999}"#,
                "is 0.999; it must be at least 50",
            ),
            (
                r#"{"availability_percent":99,"window_days":7}"#,
                "`slo.window_days` is 7",
            ),
            (r#"{"availability_percent":"99"}"#, "invalid type: string"),
            (r#"{"percent":99}"#, "unknown field `percent`"),
        ] {
            let error = one(bad).expect_err(bad);
            assert!(error.starts_with("a in the service catalogue"), "{error}");
            assert!(error.contains(told), "{error}");
        }
        let error = Catalogue::parse(r#"[{"team":"x"}]"#).expect_err("no name");
        assert!(error.starts_with("record 1 in the service"), "{error}");
    }

    #[test]
    fn healthy_operation_meets_every_objective_of_our_catalogue() {
        let text = include_str!("../../../knowledge/services.json");
        let catalogue = Catalogue::parse(text).expect("our catalogue is well formed");
        for entry in catalogue.iter() {
            let slo = entry
                .slo
                .expect("every service of the fleet has an objective");
            let healthy = entry.rest["baseline"]["error_rate_percent"].as_f64();
            let healthy = healthy.expect("the baseline is known");
            // ±30 % jitter on top, as in the simulated fleet.
            assert!(
                1.3 * healthy < 100.0 - slo.availability_percent,
                "{}: {healthy} % fail on a quiet day",
                entry.name
            );
        }
    }
}
