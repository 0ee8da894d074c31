//! The service catalogue as agents use it: `knowledge/services.json`.

use crate::topology::{EdgeSource, Topology};
use serde::{Deserialize, Serialize};
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
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

/// All services by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    services: BTreeMap<String, CatalogueEntry>,
}

impl Catalogue {
    /// Reads the catalogue from JSON: an array of records, or an object with
    /// that array under `services`.
    ///
    /// # Errors
    /// Says in words what is wrong with the text.
    pub fn parse(text: &str) -> Result<Catalogue, String> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum File {
            List(Vec<CatalogueEntry>),
            Object { services: Vec<CatalogueEntry> },
        }
        let file: File = serde_json::from_str(text).map_err(|error| {
            format!("the service catalogue is neither a list of services nor an object with `services`: {error}")
        })?;
        let list = match file {
            File::List(list) | File::Object { services: list } => list,
        };
        let mut services = BTreeMap::new();
        for entry in list {
            if let Some(twice) = services.insert(entry.name.clone(), entry) {
                return Err(format!(
                    "the service catalogue names {} twice; remove one of the records",
                    twice.name
                ));
            }
        }
        Ok(Catalogue { services })
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

    /// The graph that the catalogue claims.
    #[must_use]
    pub fn topology(&self) -> Topology {
        let mut topology = Topology::default();
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
}
