mod bounds;

use super::*;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
const START_MS: i64 = 1_767_225_600_000;

/// One service, its lines told one after the other.
#[derive(Clone, Default)]
struct Service {
    templates: Templates,
    learning: Learning,
    now_ms: i64,
    next: u128,
}

impl Service {
    /// A service that has said for an hour that it is well.
    fn learnt() -> Service {
        let mut service = Service::default();
        for _ in 0..120 {
            service.pass(30_000);
            service.learning.hear(service.now_ms);
        }
        service
    }

    /// A service that has logged such a line so often in each minute, in
    /// turns, for three hours.
    fn used_to(severe: bool, counts: &[i64], message: &str) -> Service {
        let mut service = Service::default();
        for minute in 0..180 {
            service.learning.hear(service.now_ms);
            let found = service.minute(severe, counts[minute % counts.len()], message);
            assert_eq!(found, []);
        }
        service
    }

    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
    }

    fn line(&mut self, severe: bool, message: &str) -> Option<Sign> {
        self.next += 1;
        self.learning.hear(self.now_ms);
        let line = Line {
            message,
            severe,
            at_ms: START_MS + self.now_ms,
            event_id: Uuid::from_u128(self.next),
        };
        let times = Times {
            silence_ms: self.now_ms,
            quiet_ms: 120_000,
            relearn_ms: 120 * MINUTE_MS,
        };
        self.templates.judge(&line, &times, self.learning)
    }

    fn error(&mut self, message: &str) -> Option<&'static str> {
        self.line(true, message).map(|sign| sign.finding().name)
    }

    /// `count` errors within the coming minute; the findings.
    fn minute(&mut self, severe: bool, count: i64, message: &str) -> Vec<Sign> {
        let found = (0..count).filter_map(|index| {
            let before = index * MINUTE_MS / count;
            self.pass((index + 1) * MINUTE_MS / count - before);
            self.line(severe, message)
        });
        let found: Vec<Sign> = found.collect();
        if count == 0 {
            self.pass(MINUTE_MS);
        }
        found
    }

    fn count(&self) -> usize {
        self.templates.stored.slots.iter().flatten().count()
    }

    fn check(&self) {
        let templates = &self.templates;
        assert!(self.count() <= MAX_TEMPLATES);
        assert!(templates.bytes <= MAX_TEXT, "{}", templates.bytes);
        assert!(templates.tree.widest() <= tree::MAX_CHILDREN + 1);
        for template in templates.stored.slots.iter().flatten() {
            let tokens: Vec<&str> = template.text.split(' ').collect();
            assert!(tokens.len() <= mask::MAX_TOKENS);
            assert!(
                tokens
                    .iter()
                    .all(|token| token.len() <= mask::MAX_TOKEN_BYTES)
            );
        }
        let stored = serde_json::to_string(templates).unwrap();
        assert!(stored.len() < 80 * 1024, "{}", stored.len());
        let again: Templates = serde_json::from_str(&stored).unwrap();
        assert_eq!(&again, templates, "the tree grows again as it was");
    }
}

#[test]
fn an_error_never_seen_before_is_found_when_it_comes_back() {
    let mut service = Service::learnt();
    assert_eq!(
        service.error("ledger entry 17 has no counter account"),
        None
    );
    service.pass(20_000);
    assert_eq!(
        service.error("ledger entry 18 has no counter account"),
        None
    );
    service.pass(20_000);
    let found = service.line(true, "ledger entry 19 has no counter account");
    let Some(Sign::Found(finding, told)) = found else {
        panic!("not found");
    };
    assert_eq!(finding, NEW_TEMPLATE);
    assert_eq!(told.onset_ms, START_MS + HOUR_MS);
    assert_eq!(
        told.words,
        "an error that was never logged in the 59 min before logged 3 times or more within 40 s: \
         \"ledger entry <num> has no counter account\""
    );
    let first = told.first.expect("the first example");
    assert_eq!(first.text, "ledger entry 17 has no counter account");
    // It goes on, falls silent, and is no news when it comes back.
    service.pass(100_000);
    assert_eq!(
        service.error("ledger entry 20 has no counter account"),
        Some("log:new_template")
    );
    service.pass(130_000);
    for _ in 0..4 {
        service.pass(12_000);
        assert_eq!(
            service.error("ledger entry 21 has no counter account"),
            None
        );
    }
}

#[test]
fn one_odd_request_and_its_retries_are_no_news() {
    let mut service = Service::learnt();
    for _ in 0..24 {
        for wait_ms in [0, 200, 400, 800, 1_600] {
            service.pass(wait_ms);
            assert_eq!(service.error("card 4711 was refused by its issuer"), None);
        }
        service.pass(50 * MINUTE_MS);
    }
    // Two at once, but never three: weather.
    for _ in 0..24 {
        for wait_ms in [0, 30_000] {
            service.pass(wait_ms);
            assert_eq!(service.error("shard moved away during the read"), None);
        }
        service.pass(2 * MINUTE_MS);
    }
}

#[test]
fn nothing_is_new_before_the_usual_is_learnt() {
    // Few lines in a long time, and many in a short one.
    for (lines, step_ms) in [(90, 5 * MINUTE_MS), (800, 1_000)] {
        let mut service = Service::default();
        for index in 0..lines {
            service.pass(step_ms);
            let word = ["red", "green", "blue"][index % 3];
            assert_eq!(
                service.error(&format!("cannot paint it {word} at all today")),
                None
            );
        }
    }
    let mut service = Service::default();
    for _ in 0..120 {
        service.pass(10_000);
        service.error("usual trouble with the card processor");
    }
    for _ in 0..1_000 {
        service.pass(10_000);
        assert_eq!(service.error("usual trouble with the card processor"), None);
    }
}

#[test]
fn a_burst_is_found_within_two_minutes_and_ends() {
    let mut service = Service::used_to(true, &[2, 0, 1, 3], "order 5 was not priced");
    assert_eq!(service.minute(true, 12, "order 6 was not priced"), []);
    let found = service.minute(true, 12, "order 7 was not priced");
    let Some(Sign::Found(finding, told)) = found.first() else {
        panic!("not found");
    };
    assert_eq!(*finding, ERROR_TEMPLATE_BURST);
    assert!(told.words.contains("usually at most 3"), "{}", told.words);
    let earlier_ms = START_MS + service.now_ms - told.onset_ms;
    assert!(
        (MINUTE_MS..=2 * MINUTE_MS).contains(&earlier_ms),
        "{earlier_ms}"
    );
    // A minute later it is as usual, and nothing keeps the finding open.
    service.minute(true, 2, "order 8 was not priced");
    service.minute(true, 2, "order 8 was not priced");
    for _ in 0..60 {
        assert_eq!(service.minute(true, 3, "order 9 was not priced"), []);
    }
    // What was reported is not learnt: it is found again.
    service.minute(true, 12, "order 6 was not priced");
    assert!(
        !service
            .minute(true, 12, "order 6 was not priced")
            .is_empty()
    );
}

#[test]
fn a_blatant_burst_needs_one_minute_and_a_huge_one_is_high() {
    let mut service = Service::used_to(true, &[2], "order 5 was not priced");
    let found = service.minute(true, 1_000, "order 6 was not priced");
    let severities: Vec<Severity> = found.iter().map(|sign| sign.finding().severity).collect();
    assert_eq!(severities[0], Severity::Medium);
    assert_eq!(severities.iter().max(), Some(&Severity::High));
    let warned = service.minute(false, 1_000, "order 6 was priced late");
    assert!(
        warned
            .iter()
            .all(|sign| *sign.finding() == WARN_TEMPLATE_BURST)
    );
    assert!(!warned.is_empty(), "a warning never seen before may burst");
}

/// Uniform in (0, 1), by a linear congruential generator.
fn uniform(state: &mut u64) -> f64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    ((*state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// Counts a minute with a Pareto tail of exponent 1.5: of infinite variance.
/// A multiple of the mean is passed every day; bursts are one in some weeks.
#[test]
fn heavy_tailed_counts_are_no_bursts() {
    let (mut bursts, mut multiples, mut days) = (0, 0, 0);
    for seed in 0..6 {
        let mut state = seed * 977 + 5;
        let mut service = Service::used_to(true, &[3, 1, 2], "lost a packet on the way");
        let mut mean = 3.0;
        let mut open = false;
        for _ in 0..14 * 1_440 {
            let count = (uniform(&mut state).powf(-1.0 / 1.5)).min(2_000.0).floor();
            multiples += u32::from(count >= (5.0 * mean));
            mean += 0.02 * (count - mean);
            let found = service.minute(true, count as i64, "lost a packet on the way");
            bursts += u32::from(!found.is_empty() && !open);
            open = !found.is_empty();
        }
        days += 14;
    }
    assert!(
        multiples > 10 * days,
        "{multiples} by the mean in {days} days"
    );
    assert!(bursts * 28 <= days, "{bursts} bursts in {days} days");
}

#[test]
fn a_job_of_every_night_or_week_bursts_twice_at_most() {
    for (period, count) in [(1, 8), (7, 4)] {
        let mut service = Service::learnt();
        let mut nights = Vec::new();
        for _ in 0..count {
            let mut found = 0;
            for minute in 0..period * 1_440 {
                let lines = if minute < 20 { 40 } else { 0 };
                found += service
                    .minute(false, lines, "row 17 was skipped: no price")
                    .len();
            }
            nights.push(found);
        }
        assert!(nights[0] > 0, "a storm of warnings never seen before");
        assert!(nights[2..].iter().all(|found| *found == 0), "{nights:?}");
    }
}

#[test]
fn what_lasts_is_accepted_and_its_end_is_said() {
    for usual in [0, 2] {
        let mut service = Service::used_to(true, &[usual], "quota of tenant 9 is used up");
        let mut last = None;
        let mut minutes = 0;
        for minute in 0..360 {
            for sign in service.minute(true, 30, "quota of tenant 9 is used up") {
                last = Some(sign);
                minutes = minute;
            }
        }
        let Some(Sign::Accepted(_, words)) = last else {
            panic!("{last:?}");
        };
        assert!((118..=125).contains(&minutes), "{minutes}");
        assert!(
            words.contains("up to 30 a minute: accepted as usual, not recovered"),
            "{words}"
        );
    }
}

/// A day is long enough that days of silence do not overflow anything.
#[test]
fn years_of_silence_are_only_silence() {
    let mut service = Service::learnt();
    service.error("the vault is sealed and gives no key");
    service.pass(4_000 * DAY_MS);
    assert_eq!(service.error("the vault is sealed and gives no key"), None);
    service.now_ms = i64::MAX / 4;
    assert_eq!(service.error("the vault is sealed and gives no key"), None);
    service.check();
}
