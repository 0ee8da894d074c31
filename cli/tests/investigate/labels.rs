//! Metrics whose labels tell more than one thing apart: the fault is found
//! whichever line comes last.

use crate::fleet::{Case, FIRST_MS, FLEET, START_MS, STEP_MS, chance, gaps, metric, shuffled};
use serde_json::{Value, json};

/// What a service shows at one moment: metric, label, value of the label, and
/// the reading.
type Shown = Vec<(&'static str, Option<(&'static str, String)>, f64)>;

/// Readings of all services at all moments. The kind makes chance differ.
fn fleet(shown: impl Fn(&str, f64, i64, bool) -> Shown) -> Vec<Value> {
    let mut rows = Vec::new();
    for index in 0..120 {
        for (kind, (service, usual)) in (0..).zip(FLEET) {
            let usual = usual + 5.0 * chance(kind, index);
            for (name, label, value) in shown(service, usual, index, index >= 80) {
                let mut row = metric(service, name, FIRST_MS + index * STEP_MS, value);
                if let Some((label, told)) = label {
                    row["labels"] = json!({label: told});
                }
                rows.push(row);
            }
        }
    }
    rows
}

/// The answer, which is the same for the lines in three orders.
fn in_every_order(rows: &[Value]) -> Value {
    let turned: Vec<Value> = rows.iter().rev().cloned().collect();
    let answer = Case::new(rows).answered();
    assert_eq!(Case::new(&turned).answered(), answer);
    assert_eq!(Case::new(&shuffled(rows.to_vec())).answered(), answer);
    serde_json::from_str(&answer).expect("JSON")
}

fn quoted(answer: &Value) -> Vec<&str> {
    let evidence = answer["candidates"][0]["evidence"].as_array();
    let evidence = evidence.expect("a list").iter();
    evidence.filter_map(|one| one["metric"].as_str()).collect()
}

#[test]
fn a_fault_in_one_operation_is_found_and_quoted() {
    let rows = fleet(|service, usual, _, is_broken| {
        let more = match (service, is_broken) {
            (_, false) => 0.0,
            ("c", true) => 500.0,
            ("b", true) => 20.0,
            (_, true) => 25.0,
        };
        let write = if service == "c" { 0.0 } else { more };
        let label = |value: &str| Some(("operation", value.to_owned()));
        vec![
            ("latency_ms", label("queue/read"), usual + more),
            ("latency_ms", label("queue/write"), usual + write),
        ]
    });
    let answer = in_every_order(&rows);
    assert_eq!(answer["ranking"], json!(["c", "b", "a"]));
    assert_eq!(answer["candidates"][0]["cause"], "LATENCY_SPIKE");
    assert!(
        quoted(&answer).contains(&"latency_ms{operation=queue/read}"),
        "{answer}"
    );
    // The alert names the metric without its labels.
    assert_eq!(
        gaps(&answer),
        ["no log lines were recorded", "no spans were recorded"]
    );
}

#[test]
fn failures_are_told_from_requests_by_their_status() {
    // Counters: ten requests a second, of which every other one fails in `c`
    // since the fault, and its callers pass that on; 503 never failed before.
    let rows = fleet(|_, usual, index, is_broken| {
        let since = if is_broken {
            f64::from(i32::try_from(index - 79).expect("small"))
        } else {
            0.0
        };
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let all = (index + 1) as f64 * 100.0 + usual / 10.0;
        let label = |code: &str| Some(("code", code.to_owned()));
        let mut shown = vec![
            ("http_requests_total", label("200"), all - since * 50.0),
            ("http_requests_total", label("500"), since * 25.0),
            ("latency_ms", None, usual),
        ];
        if is_broken {
            shown.push(("http_requests_total", label("503"), since * 25.0));
        }
        shown
    });
    let answer = in_every_order(&rows);
    assert_eq!(answer["ranking"][0], "c");
    assert_eq!(answer["candidates"][0]["cause"], "ERROR_RATE_SPIKE");
    assert!(
        quoted(&answer).contains(&"http_requests_total{code=5xx}"),
        "{answer}"
    );
}

#[test]
fn a_busy_host_beside_an_idle_one_is_seen() {
    let cpu = |service: &str, host: i64, index: i64, is_broken: bool| {
        let usual = if host == 1 { 20.0 } else { 80.0 };
        let more = if is_broken && service == "c" {
            15.0
        } else {
            0.0
        };
        usual + 3.0 * chance(host + 30, index) + more
    };
    let rows = fleet(|service, usual, index, is_broken| {
        let slow = if is_broken { 200.0 } else { 0.0 };
        let host = |name: &str| Some(("host", name.to_owned()));
        vec![
            ("cpu_percent", host("h1"), cpu(service, 1, index, is_broken)),
            ("cpu_percent", host("h2"), cpu(service, 2, index, is_broken)),
            ("latency_ms", None, usual + slow),
        ]
    });
    let answer = in_every_order(&rows);
    assert_eq!(answer["ranking"][0], "c");
    assert_eq!(answer["candidates"][0]["cause"], "CPU_SATURATION");
}

#[test]
fn labels_that_only_describe_make_no_series_of_their_own() {
    let plain = fleet(|service, usual, _, is_broken| {
        let more = if is_broken && service == "c" {
            300.0
        } else {
            0.0
        };
        vec![("latency_ms", None, usual + more)]
    });
    let labelled = |label: &dyn Fn(usize, &Value) -> Value| -> Vec<Value> {
        let rows = plain.iter().enumerate();
        rows.map(|(number, row)| {
            let mut row = row.clone();
            row["labels"] = label(number, &row);
            row
        })
        .collect()
    };
    let expected = Case::new(&plain).answered();
    let version = |_: usize, row: &Value| {
        let is_new = row["timestamp_ms"].as_i64() >= Some(START_MS);
        json!({"version": if is_new { "v2" } else { "v1" }, "region": "eu"})
    };
    assert_eq!(Case::new(&labelled(&version)).answered(), expected);
    // A value of its own for each reading, beside one that tells two apart.
    let scrape = |number: usize, _: &Value| json!({"scrape": number});
    assert_eq!(Case::new(&labelled(&scrape)).answered(), expected);
    let twice: Vec<Value> = (0..2)
        .flat_map(|half| {
            labelled(&move |number, _| json!({"half": half, "scrape": number * 2 + half}))
        })
        .collect();
    let answer = in_every_order(&twice);
    assert_eq!(answer["ranking"][0], "c");
    assert!(quoted(&answer).contains(&"latency_ms{half=0}"), "{answer}");
}

#[test]
fn of_too_many_series_the_smallest_are_averaged_and_that_is_told() {
    let rows: Vec<Value> = (0..120)
        .flat_map(|index| (0..80).map(move |path| (index, path)))
        // Half of the paths are read half as often.
        .filter(|(index, path)| *path < 40 || index % 2 == 0)
        .map(|(index, path)| {
            let more = if index >= 80 && path == 7 { 900.0 } else { 0.0 };
            let value = 50.0 + 5.0 * chance(path, index) + more;
            let mut row = metric("a", "latency_ms", FIRST_MS + index * STEP_MS, value);
            row["labels"] = json!({"path": format!("/p{path}")});
            row
        })
        .collect();
    let answer = in_every_order(&rows);
    assert_eq!(answer["ranking"][0], "a");
    assert!(
        quoted(&answer).contains(&"latency_ms{path=/p7}"),
        "{answer}"
    );
    let told = "metrics: the labels of latency_ms of a make more than 64 series of it; \
                the smallest were averaged";
    assert!(gaps(&answer).contains(&told), "{answer}");
}
