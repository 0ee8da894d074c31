//! The same recording as other programs write it, and lines that mean nothing.

use crate::fleet::{Case, FIRST_MS, changed, gaps, logs, metrics, spans, without_gaps};
use serde_json::{Value, json};

/// The three files as other programs would write them.
fn in_dialect() -> Case {
    let metrics = changed(metrics(), |row| {
        row["timestamp_ms"] = json!(format!("{}.0", row["timestamp_ms"]));
        row["metric_value"] = json!(row["metric_value"].to_string());
        row["labels"] = match row["metric_name"].as_str() {
            Some("cpu") => Value::Null,
            _ => json!({"port": 8080, "tls": true, "zone": null}),
        };
    });
    let logs = changed(logs(), |row| {
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let at = row["timestamp_ms"].as_i64().expect("a time") as f64 + 0.25;
        row["timestamp_ms"] = json!(at);
        row["level"] = match row["level"].as_str() {
            Some("ERROR") => json!("err"),
            _ => json!("Notice"),
        };
        row["labels"] = json!(null);
        row["trace_id"] = json!(12);
    });
    let dialects = [
        json!("Ok"),
        json!("Unset"),
        json!(""),
        Value::Null,
        json!(0),
        json!(200),
    ];
    let errors = [
        json!("STATUS_CODE_ERROR"),
        json!("failed"),
        json!(2),
        json!("500"),
    ];
    let mut count = 0;
    let mut spans = spans();
    for row in &mut spans {
        count += 1;
        row["status"] = match row["status"].as_str() {
            Some("ERROR") => errors[count % errors.len()].clone(),
            _ => dialects[count % dialects.len()].clone(),
        };
        row["labels"] = json!({"http.status_code": 200});
        row["start_ms"] = json!(format!("{}", row["start_ms"]));
        row["parent_span_id"] = match row["parent_span_id"].take() {
            Value::Null => json!(""),
            parent => parent,
        };
    }
    let case = Case::new(&metrics)
        .lines("logs", &logs)
        .lines("spans", &spans);
    let topology = "\u{feff}{\"services\": [{\"name\": \"a\", \"depends_on\": [\"b\"]}, \
         {\"name\": \"b\", \"depends_on\": \"c\"}, {\"name\": \"c\", \"depends_on\": null}]}";
    case.write("topology.json", topology);
    for name in ["metrics.jsonl", "logs.jsonl", "spans.jsonl"] {
        let text = std::fs::read_to_string(case.path(name)).expect("written before");
        case.write(name, &format!("\u{feff}{}\r\n", text.replace('\n', "\r\n")));
    }
    case
}

#[test]
fn the_same_recording_in_another_dialect_has_the_same_answer() {
    let plain = Case::new(&metrics())
        .lines("logs", &logs())
        .lines("spans", &spans());
    assert_eq!(in_dialect().answered(), plain.answered());
    // Ids and names that are numbers.
    let spans = changed(spans(), |row| {
        for name in ["span_id", "parent_span_id"] {
            let id = row[name]
                .as_str()
                .and_then(|id| id.trim_start_matches('s').parse::<i64>().ok());
            row[name] = id.map_or(Value::Null, |id| json!(id + 7));
        }
        row["operation"] = Value::Null;
    });
    let numbers = Case::new(&metrics()).lines("spans", &spans).answer();
    assert_eq!(numbers["ranking"], json!(["c", "b", "a"]));
    assert_eq!(gaps(&numbers), ["no log lines were recorded"]);
}

#[test]
fn what_cannot_be_read_is_left_out_and_told() {
    let plain = Case::new(&metrics())
        .lines("logs", &logs())
        .lines("spans", &spans());
    let join = |rows: Vec<Value>, odd: &str| {
        let rows: Vec<String> = rows.iter().map(Value::to_string).collect();
        format!("{}\n{odd}", rows.join("\n"))
    };
    let at = FIRST_MS;
    let odd_metrics = format!(
        "{{\"service\": \"a\", \"metric_name\": \"cpu\", \"metric_value\": NaN, \"timestamp_ms\": {at}}}
{{\"service\": \"a\", \"metric_name\": \"cpu\", \"metric_value\": null, \"timestamp_ms\": {at}}}
{{\"service\": \"a\", \"metric_name\": \"cpu\", \"metric_value\": \"inf\", \"timestamp_ms\": {at}}}
{{\"service\": \"a\", \"metric_name\": \"cpu\", \"metric_value\": 1}}
{{\"service\": \"a\", \"metric_name\": \"cpu\", \"metric_value\": 1, \"timestamp_ms\": -3}}
{{\"service\": \"a\", \"metric_name\": \"cpu\", \"metric_value\": 1, \"timestamp_ms\": 1e300}}
{{\"service\": \"a\", \"metric_name\": \"cpu\", \"metric_value\": 1, \"timestamp_ms\": 1700000000}}
not json
{{\"metric_name\": \"cpu\", \"metric_value\": 1, \"timestamp_ms\": {at}}}"
    );
    let odd_logs = format!(
        "{{\"service\": \"b\", \"message\": \"boot\"}}\n[]]\n{{\"service\": null, \"message\": \"x\", \"timestamp_ms\": {at}}}"
    );
    let day_before = at - 86_400_001;
    let odd_spans = format!(
        "{{\"trace_id\": \"x\", \"span_id\": \"y\", \"service\": \"b\", \"operation\": \"get\", \"start_ms\": {day_before}, \"duration_ms\": 1}}
{{\"trace_id\": \"x\", \"span_id\": \"y\", \"service\": \"b\", \"operation\": \"get\", \"start_ms\": {at}, \"duration_ms\": null}}"
    );
    let case = Case::new(&[])
        .text("metrics", &join(metrics(), &odd_metrics))
        .text("logs", &join(logs(), &odd_logs))
        .text("spans", &join(spans(), &odd_spans));
    let answer = case.answer();
    assert_eq!(
        gaps(&answer),
        [
            "metrics: 9 of 729 lines skipped: 2 unreadable (first line 728: expected ident), \
             3 without a time (first line 724), 1 with a time in another unit (first line 727), \
             3 without a finite value (first line 721)",
            "logs: 3 of 363 lines skipped: 2 unreadable (first line 362: trailing characters), \
             1 without a time (first line 361)",
            "spans: 2 of 1082 lines skipped: 1 without a finite value (first line 1082), \
             1 more than a day away from the rest (first line 1081)",
        ]
    );
    assert_eq!(without_gaps(answer), without_gaps(plain.answer()));
    let told = String::from_utf8(case.run(&[]).stderr).expect("text");
    assert_eq!(told.lines().count(), 3, "{told}");
    assert!(
        told.starts_with("midwatch: metrics.jsonl: 9 of 729 lines skipped: "),
        "{told}"
    );
}

#[test]
fn files_in_another_unit_of_time_have_the_same_answer() {
    let plain = Case::new(&metrics()).lines("spans", &spans()).answer();
    for (unit, factor) in [
        ("seconds", 0.001),
        ("microseconds", 1e3),
        ("nanoseconds", 1e6),
    ] {
        let other = |name: &'static str| {
            move |row: &mut Value| {
                let at = row[name].as_f64().expect("a time");
                row[name] = json!(at * factor);
            }
        };
        let case = Case::new(&changed(metrics(), other("timestamp_ms")));
        let case = case.lines("spans", &changed(spans(), other("start_ms")));
        let answer = case.answer();
        let told = ["metrics", "spans"]
            .map(|file| format!("{file}: times are in {unit} and were read as such"));
        assert_eq!(gaps(&answer)[1..], told);
        assert_eq!(without_gaps(answer), without_gaps(plain.clone()));
    }
}
