//! `midwatch investigate` on the recordings of strangers.

mod dialects;
mod fleet;
mod labels;
mod limits;

use fleet::{Case, gaps, logs, metrics, shuffled, spans};
use serde_json::{Value, json};

#[test]
fn metrics_alone_name_the_culprit_in_any_order_of_lines() {
    let case = Case::new(&metrics());
    let first = case.answered();
    let answer: Value = serde_json::from_str(&first).expect("JSON");
    assert_eq!(answer["ranking"], json!(["c", "b", "a"]));
    assert_eq!(answer["verdict"], "conclusive");
    assert_eq!(answer["candidates"][0]["cause"], "CPU_SATURATION");
    assert_eq!(
        gaps(&answer),
        ["no log lines were recorded", "no spans were recorded"]
    );
    assert_eq!(case.answered(), first);
    assert_eq!(Case::new(&shuffled(metrics())).answered(), first);
}

#[test]
fn logs_and_spans_join_the_metrics_and_the_same_files_give_the_same_bytes() {
    let case = Case::new(&metrics())
        .lines("logs", &logs())
        .lines("spans", &spans());
    let first = case.answered();
    let answer: Value = serde_json::from_str(&first).expect("JSON");
    assert_eq!(answer["ranking"], json!(["c", "b", "a"]));
    assert_eq!(answer["verdict"], "conclusive");
    assert_eq!(gaps(&answer), [""; 0]);
    let kinds = answer["candidates"][0]["evidence"]
        .as_array()
        .expect("a list");
    for kind in ["metric", "log"] {
        assert!(
            kinds.iter().any(|one| one["kind"] == kind),
            "{kind}: {kinds:?}"
        );
    }
    assert_eq!(case.answered(), first);
    // The id of a line is its number, so that logs stay as they are.
    let other = Case::new(&shuffled(metrics()));
    let other = other
        .lines("logs", &logs())
        .lines("spans", &shuffled(spans()));
    assert_eq!(other.answered(), first);
}
