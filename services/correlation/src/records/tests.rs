use super::*;

fn window() -> Window {
    Window {
        incident_id: Uuid::from_u128(1),
        environment: "e".to_owned(),
        services: vec!["a".to_owned()],
        also: Vec::new(),
        from_ms: 5,
        onset_ms: None,
        anomalies: Vec::new(),
    }
}

#[test]
fn what_detection_wrote_becomes_the_same_records_each_time() {
    let readings = [
        json!([10, 1.5, 0.1, 1.0, 0.5, 2.0, 99, "id"]),
        json!(["no", 1]),
    ];
    let line = json!({"timestamp_ms": 11, "level": "ERROR", "message": "no", "event_id": "x"});
    let span = json!({"start_ms": 12, "operation": "GET /", "status": "OK", "duration_ms": 7.5,
        "event_id": "y"});
    let copy = || {
        let mut kept = window().metric_records("a", "m", &readings);
        kept.extend(window().text_records("a", Text::Log, std::slice::from_ref(&line)));
        kept.extend(window().text_records("a", Text::Span, std::slice::from_ref(&span)));
        kept
    };
    let kept = copy();
    assert_eq!(kept, copy());
    let said: Vec<_> = kept
        .iter()
        .map(|one| {
            (
                one.kind.as_str(),
                one.name.as_str(),
                one.at_ms,
                one.value,
                one.text.as_str(),
            )
        })
        .collect();
    let expected = [
        ("metric", "m", 10, Some(1.5), ""),
        ("log", "ERROR", 11, None, "no"),
        ("span", "GET /", 12, Some(7.5), "OK"),
    ];
    assert_eq!(said, expected);
}

fn record(kind: &str, service: &str, at_ms: i64) -> KeptRecord {
    KeptRecord {
        record_id: format!("{kind}/{service}/{at_ms}"),
        kind: kind.to_owned(),
        service: service.to_owned(),
        name: String::new(),
        at_ms,
        value: None,
        text: String::new(),
        payload: Value::Null,
    }
}

#[test]
fn what_is_kept_of_too_much_lies_around_the_onset_and_at_the_end() {
    let window = Window {
        onset_ms: Some(50_000),
        ..window()
    };
    let mut found: Vec<KeptRecord> = (0..100_000).map(|at| record("log", "loud", at)).collect();
    found.extend((0..100).map(|at| record("span", "quiet", at)));
    found.extend((0..100).map(|at| record("metric", "loud", at)));
    found.push(record("anomaly", "loud", 0));
    found.push(record("deployment", "far", -9_000_000));
    let chosen = window.choose(found, &BTreeSet::new());
    assert_eq!(chosen.kept.len(), LIMIT);
    let of = |kind: &str, service: &str| -> Vec<i64> {
        let kept = chosen.kept.iter();
        let kept = kept.filter(|one| one.kind == kind && one.service == service);
        let mut times: Vec<i64> = kept.map(|one| one.at_ms).collect();
        times.sort_unstable();
        times
    };
    assert_eq!(
        (of("span", "quiet").len(), of("metric", "loud").len()),
        (100, 100)
    );
    assert_eq!(
        (of("anomaly", "loud").len(), of("deployment", "far").len()),
        (1, 1)
    );
    let lines = of("log", "loud");
    let around: Vec<i64> = (50_000 - 7_000..50_000 + 7_000).collect();
    assert!(around.iter().all(|at| lines.binary_search(at).is_ok()));
    let end: Vec<i64> = (100_000 - 4_900..100_000).collect();
    assert!(end.iter().all(|at| lines.binary_search(at).is_ok()));
    let left_out = BTreeMap::from([(("log".to_owned(), "loud".to_owned()), 80_202)]);
    assert_eq!(chosen.left_out, left_out);
    let answer = chosen.answer(json!({"complaints": []}));
    assert_eq!(answer["left_out"][0]["count"], 80_202);
}

#[test]
fn later_copies_add_what_is_new_within_the_incidents_bound() {
    let window = window();
    let found: Vec<KeptRecord> = (0..40_000).map(|at| record("log", "a", at)).collect();
    let first = window.choose(found.clone(), &BTreeSet::new());
    let known: BTreeSet<String> = first.kept.iter().map(|one| one.record_id.clone()).collect();
    let second = window.choose(found, &known);
    assert_eq!(
        (first.kept.len(), second.kept.len()),
        (LIMIT, TOTAL - RESERVED - LIMIT)
    );
    assert!(
        second
            .kept
            .iter()
            .all(|one| !known.contains(&one.record_id))
    );
    let left_out = second.left_out.values().sum::<usize>();
    assert_eq!(left_out, 40_000 + RESERVED - TOTAL);
    // What says most has room in an incident that is full of lines.
    let known = known
        .into_iter()
        .chain(second.kept.into_iter().map(|one| one.record_id));
    let late = vec![record("log", "a", 50_000), record("deployment", "a", 7)];
    let third = window.choose(late, &known.collect());
    let kinds: Vec<&str> = third.kept.iter().map(|one| one.kind.as_str()).collect();
    assert_eq!(kinds, ["deployment"]);
}

#[test]
fn only_changes_of_the_windows_services_are_kept_and_deployments_from_earlier_too() {
    let table = ContextTable::default();
    for (service, at) in [("a", 6), ("a", 1), ("b", 6)] {
        let deployment = json!({"service": service, "version": format!("{service}{at}"),
            "environment": "e", "timestamp_ms": at});
        let event = json!({"namespace": "n", "name": "p", "owner": service, "reason": "BackOff",
            "environment": "e", "timestamp_ms": at});
        let read = "both are readable";
        table.take(midwatch_events::Event::Deployment(
            serde_json::from_value(deployment).expect(read),
        ));
        table.take(midwatch_events::Event::Kubernetes(
            serde_json::from_value(event).expect(read),
        ));
    }
    let kept = window().change_records(&table, 4);
    let said: Vec<_> = kept
        .iter()
        .map(|one| (one.kind.as_str(), one.at_ms))
        .collect();
    assert_eq!(
        said,
        [("deployment", 1), ("deployment", 6), ("kubernetes", 6)]
    );
}
