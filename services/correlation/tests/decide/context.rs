//! What is read for a decision: the onset, the catalogue, Backstage.

use crate::story::{T0, slow};
use midwatch_correlation::backstage;
use midwatch_correlation::config::Config;
use midwatch_correlation::surroundings::{Recent, around};
use midwatch_correlation::table::ContextTable;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::topology::{EdgeSource, NodeKind};
use serde_json::json;

#[test]
fn the_onset_of_a_ramp_is_its_beginning() {
    // Up by 1 ms a reading from reading 20 on; the threshold was crossed at 60.
    let readings = (0_i32..=60).map(|index| {
        let at_ms = T0 + i64::from(index - 60) * 10_000;
        let wobble = f64::from(index * 37 % 11) / 10.0;
        json!([at_ms, 380.0 + wobble + f64::from((index - 20).max(0))])
    });
    let recent = Recent {
        readings: readings.collect(),
        ..Recent::default()
    };
    let catalogue = Catalogue::parse(r#"[{"name": "payment-service", "criticality": "P0"}]"#)
        .expect("it is readable");
    let table = ContextTable::default();
    let found = around(
        &Config::default(),
        &catalogue,
        &table,
        &slow("payment-service", 0),
        &recent,
    );
    let onset = found.onset.expect("the ramp is seen");
    let beginning = T0 - 400_000;
    assert!(
        (onset.at_ms - beginning).abs() <= 30_000,
        "{}",
        onset.at_ms - beginning
    );
    assert!(
        onset.earliest_ms <= beginning && beginning <= onset.latest_ms,
        "{onset:?}"
    );
    assert_eq!(found.criticality["payment-service"], "P0");
    assert_eq!(found.recent_metrics.len(), 30);
    assert_eq!(found.recent_metrics[29].at_ms, T0);
}

const CATALOG: &str = r"
apiVersion: backstage.io/v1alpha1
kind: Component
metadata:
  name: orders
spec:
  type: service
  lifecycle: production
  owner: team-commerce
  dependsOn:
    - component:default/payments
    - resource:orders-db
  providesApis: [orders-api]
  consumesApis:
    - ledger-api
    - api:default/weather-api
---
apiVersion: backstage.io/v1alpha1
kind: API
metadata: {name: ledger-api}
spec: {type: openapi, lifecycle: production, owner: team-money, definition: '...'}
---
kind: Component
metadata: {name: ledger}
spec: {type: service, owner: team-money, providesApis: [ledger-api]}
---
kind: Resource
metadata: {name: orders-db}
spec: {type: database, owner: team-data}
---
kind: User
metadata: {name: dana}
spec: {memberOf: [team-data]}
";

#[test]
fn components_depend_on_what_they_name_and_on_who_provides_what_they_consume() {
    let file = ("catalog-info.yaml".to_owned(), CATALOG.to_owned());
    let graph = backstage::parse(&[file]).expect("it is readable");
    assert_eq!(
        graph.callees("orders"),
        ["ledger", "orders-db", "payments", "weather-api"]
    );
    let sources = graph.sources("orders", "ledger").expect("an edge");
    assert_eq!(sources.keys().collect::<Vec<_>>(), [&EdgeSource::Backstage]);
    let nodes: Vec<(&str, NodeKind, &str, &str)> = graph
        .nodes()
        .map(|(name, node)| {
            (
                name,
                node.kind,
                node.owner.as_str(),
                node.lifecycle.as_str(),
            )
        })
        .collect();
    assert_eq!(
        nodes,
        [
            ("ledger", NodeKind::Service, "team-money", ""),
            ("ledger-api", NodeKind::Api, "team-money", "production"),
            ("orders", NodeKind::Service, "team-commerce", "production"),
            ("orders-db", NodeKind::Resource, "team-data", ""),
        ]
    );
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name() {
    for (text, told) in [
        ("kind: Component\nspec: {}\n", "has no `metadata.name`"),
        ("metadata: {name: a}\n", "has no `kind`"),
        ("kind: [\n", "is not a catalogue of Backstage"),
        (
            "kind: Component\nmetadata: {name: a}\nspec: {dependsOn: b}\n",
            "`spec` of a in here.yaml",
        ),
    ] {
        let file = ("here.yaml".to_owned(), text.to_owned());
        let error = backstage::parse(&[file]).expect_err(told);
        assert!(
            error.contains(told) && error.contains("here.yaml"),
            "{error}"
        );
    }
}

#[test]
fn a_folder_is_read_with_what_lies_below_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let below = folder.path().join("team");
    std::fs::create_dir(&below).expect("a folder below");
    std::fs::write(below.join("catalog-info.yaml"), CATALOG).expect("a file");
    std::fs::write(folder.path().join("readme.md"), "kind: [").expect("another file");
    let path = folder.path().display().to_string();
    let graph = backstage::read(&path).expect("the folder is readable");
    let mut catalogue = Catalogue::default();
    catalogue.add_graph(graph);
    assert_eq!(catalogue.topology().callers("ledger"), ["orders"]);
    let error = backstage::read(&format!("{path}/nowhere")).expect_err("it is missing");
    assert!(
        error.contains("BACKSTAGE_CATALOG") && error.contains("nowhere"),
        "{error}"
    );
    let empty = tempfile::tempdir().expect("a folder");
    let error = backstage::read(&empty.path().display().to_string()).expect_err("it is empty");
    assert!(error.contains("no .yaml"), "{error}");
}
