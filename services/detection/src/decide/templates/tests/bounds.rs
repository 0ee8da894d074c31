//! What holds whatever is logged, and when there is no more room.

use super::*;
use proptest::prelude::*;

#[test]
fn a_storm_pushes_out_itself_and_not_what_is_known() {
    let mut service = Service::default();
    for round in 0..60 {
        for kind in 0..40_u8 {
            service.pass(1_000);
            let letter = char::from(b'A' + kind % 26)
                .to_string()
                .repeat(1 + usize::from(kind / 26));
            service.error(&format!("{letter} part {round} of the usual trouble"));
        }
    }
    let known = service.count();
    let mut word = 0_u64;
    for _ in 0..5_000 {
        service.pass(10);
        let mut name = |length: usize| -> String {
            (0..length)
                .map(|_| char::from(b'g' + (uniform(&mut word) * 20.0) as u8))
                .collect()
        };
        let line = format!(
            "{} {} {} {} {}",
            name(5),
            name(6),
            name(7),
            name(6),
            name(5)
        );
        assert_eq!(service.error(&line), None, "each only once");
    }
    service.check();
    assert_eq!(service.count(), MAX_TEMPLATES);
    assert_eq!(service.templates.stored.displaced_ms, None);
    for round in 0..20 {
        for kind in 0..40_u8 {
            service.pass(400);
            let letter = char::from(b'A' + kind % 26)
                .to_string()
                .repeat(1 + usize::from(kind / 26));
            let line = format!("{letter} part {round} of the usual trouble");
            assert_eq!(service.error(&line), None, "{line} with {known} known");
        }
    }
    // And what is really new is still found.
    let found: Vec<_> = (0..4)
        .filter_map(|_| {
            service.pass(10_000);
            service.error("the vault is sealed and gives no key")
        })
        .collect();
    assert_eq!(found, ["log:new_template"; 2]);
}

#[test]
fn where_known_templates_had_to_go_nothing_is_new_for_a_day() {
    let mut service = Service::default();
    let usual = |kind: i64| {
        let letters: String = format!("{kind:04}")
            .bytes()
            .map(|digit| char::from(b'k' + digit - b'0'))
            .collect();
        format!("{letters} {letters} {letters} went wrong")
    };
    // More kinds, all usual, than there is room for.
    for _ in 0..6 {
        for kind in 0..150 {
            service.pass(8_000);
            service.error(&usual(kind));
        }
    }
    assert!(service.templates.stored.displaced_ms.is_some());
    let mut found = 0;
    for kind in 0..150 {
        for _ in 0..5 {
            service.pass(8_000);
            found += usize::from(service.error(&usual(kind)).is_some());
        }
    }
    assert_eq!(found, 0, "those that were pushed out are not called new");
    for _ in 0..25 * 60 {
        service.pass(MINUTE_MS);
        service.error(&usual(1));
    }
    let mut news = || {
        service.pass(10_000);
        service.error("the vault is sealed and gives no key")
    };
    assert_eq!((0..3).filter_map(|_| news()).count(), 1);
}

#[test]
fn first_tokens_without_end_share_a_child() {
    let mut service = Service::learnt();
    for number in 0..3_000_u32 {
        let name: String = (0..6)
            .map(|place| char::from(b'g' + (number / 7_u32.pow(place) % 7) as u8))
            .collect();
        service.pass(700);
        let sign = service.error(&format!("{name} failed to sign in today"));
        assert!(sign.is_none() || service.count() <= 17, "{number}");
    }
    assert!(
        service.count() <= tree::MAX_CHILDREN + 1,
        "{}",
        service.count()
    );
    service.check();
}

/// Lines that somebody may send to do harm.
fn hostile() -> Vec<String> {
    vec![
        "x".repeat(60_000),
        "x ".repeat(30_000),
        "<*> ".repeat(100),
        "<*>".to_owned(),
        "\u{0}\u{1b}[31m\u{7f}".repeat(5_000),
        "\"".repeat(60_000),
        "'a".repeat(30_000),
        "a.".repeat(30_000),
        "1.".repeat(30_000),
        "1e".repeat(30_000),
        "@.".repeat(30_000),
        "a@".repeat(30_000),
        ":".repeat(60_000),
        "a:".repeat(30_000),
        "deadbeef-".repeat(6_000),
        "ä€😀\u{202e}\u{feff}".repeat(6_000),
        "\\\"".repeat(30_000),
        "{\"a\":".repeat(10_000),
        String::new(),
        "\n\n\n".to_owned(),
    ]
}

#[test]
fn hostile_lines_cost_no_more_than_others_and_stay_within_bounds() {
    let mut service = Service::learnt();
    let begun = std::time::Instant::now();
    for round in 0..100 {
        for line in hostile() {
            service.pass(100);
            service.line(round % 2 == 0, &line);
        }
    }
    service.check();
    // 2 000 lines; at one step for each pair of their bytes it were minutes.
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}

fn lines() -> impl Strategy<Value = Vec<(String, bool, i64)>> {
    let word = prop_oneof![
        Just("order".to_owned()),
        Just("failed".to_owned()),
        Just("<*>".to_owned()),
        Just("17".to_owned()),
        Just("10.0.0.1".to_owned()),
        Just("\"".to_owned()),
        "[a-z]{1,6}",
        "[a-zA-Z0-9:/@._-]{1,60}",
        "\\PC{0,8}",
        ".{0,4}",
    ];
    let text = prop_oneof![
        8 => prop::collection::vec(word, 1..30).prop_map(|words| words.join(" ")),
        1 => prop::sample::select(hostile()),
        3 => prop::sample::select(vec!["disk of node 3 is slow".to_owned(), "peer 10.1.2.3 went away".to_owned()]),
    ];
    let step = prop_oneof![0..2_000_i64, 0..40_000_i64, -30_000..0_i64, 0..HOUR_MS];
    prop::collection::vec((text, any::<bool>(), step), 1..250)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn bounds_hold_whatever_is_logged(lines in lines()) {
        let mut service = Service::learnt();
        for (text, severe, step_ms) in lines {
            service.pass(step_ms.max(0));
            service.line(severe, &text);
        }
        service.check();
    }

    #[test]
    fn putting_the_state_away_anywhere_changes_nothing(lines in lines(), every in 1..20_usize) {
        let mut whole = Service::learnt();
        let mut split = whole.clone();
        for (index, (text, severe, step_ms)) in lines.into_iter().enumerate() {
            if step_ms < 0 && index % 7 == 0 {
                whole.templates.set_back();
                split.templates.set_back();
            }
            for service in [&mut whole, &mut split] {
                service.pass(step_ms.max(0));
            }
            let expected = whole.line(severe, &text);
            prop_assert_eq!(split.line(severe, &text), expected);
            if index % every == 0 {
                let stored = serde_json::to_string(&split.templates).unwrap();
                split.templates = serde_json::from_str(&stored).unwrap();
                let stored = serde_json::to_string(&split.learning).unwrap();
                split.learning = serde_json::from_str(&stored).unwrap();
            }
        }
        prop_assert_eq!(split.templates, whole.templates);
    }
}
