//! What the words of a log line mean: that something went wrong, and whose
//! doing it was.
//!
//! Words that are parts of others count as whole words only: `oom` is in
//! `room`, and 400 is in `took 4000 ms`.

use super::lines::Kind;
use super::recording::Line;
use midwatch_events::raw::LogLevel;

/// Words after a number that make it an amount.
const UNITS: [&str; 40] = [
    "%",
    "ns",
    "us",
    "µs",
    "ms",
    "s",
    "sec",
    "secs",
    "second",
    "seconds",
    "m",
    "min",
    "mins",
    "minute",
    "minutes",
    "h",
    "hour",
    "hours",
    "b",
    "byte",
    "bytes",
    "k",
    "kb",
    "kib",
    "mb",
    "mib",
    "gb",
    "gib",
    "percent",
    "of",
    "times",
    "rows",
    "items",
    "records",
    "messages",
    "requests",
    "connections",
    "entries",
    "attempts",
    "retries",
];

/// What the key of a status code ends with, as in `http_status=400`.
const KEYS: [&str; 9] = [
    "status", "code", "http", "error", "err", "response", "result", "reply", "rc",
];

/// Whether a lower-case text holds one of these phrases as whole words.
fn has_word(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| {
        text.match_indices(word).any(|(start, found)| {
            let before = text[..start].chars().next_back();
            let after = text[start + found.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
        })
    })
}

fn has(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

/// Whether a lower-case text tells one of these status codes: a number of its
/// own, neither an amount (`400 ms`) nor a part of a time, an address, a path
/// or a value of something else (`port=400`).
fn has_status(text: &str, codes: &[&str]) -> bool {
    codes.iter().any(|code| {
        text.match_indices(code).any(|(start, found)| {
            is_code_before(&text[..start]) && is_code_after(&text[start + found.len()..])
        })
    })
}

fn is_code_before(before: &str) -> bool {
    let Some(last) = before.chars().next_back() else {
        return true;
    };
    match last {
        '=' | ':' => {
            let key = before[..before.len() - 1].trim_end_matches(['"', '\'', ' ']);
            KEYS.iter().any(|end| key.ends_with(end))
        }
        '.' | ',' | '-' | '+' | '/' | '#' | '_' | '$' | '@' => false,
        _ => !last.is_alphanumeric(),
    }
}

fn is_code_after(after: &str) -> bool {
    let mut letters = after.chars();
    let next = letters.next();
    let is_more = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '%' | '/');
    if next.is_some_and(is_more) {
        return false;
    }
    // The end of a sentence is none of a number: `400.5`, `400-499`, `400:17`.
    let is_joint = next.is_some_and(|letter| matches!(letter, '.' | ',' | '-' | ':'));
    if is_joint && letters.next().is_some_and(|letter| letter.is_ascii_digit()) {
        return false;
    }
    let rest = after.strip_prefix(' ').unwrap_or_default();
    let word = rest.split(|letter: char| !letter.is_alphanumeric() && letter != '%');
    let word = word.into_iter().next().unwrap_or_default();
    !UNITS.contains(&word)
}

/// Whether a line says that something went wrong.
pub(super) fn complains(line: &Line, level: LogLevel) -> bool {
    if level >= LogLevel::Warn {
        return true;
    }
    let text = line.message.to_ascii_lowercase();
    let words = [
        "exception",
        "traceback",
        "panic",
        "fatal",
        "error",
        "failed",
        "refused",
        "stack trace",
        "segfault",
        "out of memory",
        "unavailable",
        "timed out",
        "timeout",
        "deadline exceeded",
        "cannot",
        "could not",
        "unable to",
        "denied",
        "reset by peer",
        "broken pipe",
        "unreachable",
        "aborted",
    ];
    has(&text, &words) || has_word(&text, &["oom", "oomkilled", "oomkill"])
}

/// Whom a complaint is about. Who is told that a request was bad sent it;
/// whoever says so of one that was sent to it means its caller.
pub(super) fn of_complaint(message: &str, names_another: bool) -> Kind {
    let text = message.to_ascii_lowercase();
    let refusals = [
        "bad request",
        "unprocessable",
        "invalid_argument",
        "invalidargument",
    ];
    let refused = has(&text, &refusals) || has_status(&text, &["400", "422"]);
    let is_answer = has(&text, &["answered", "returned", "responded", "response"]);
    if refused && (names_another || is_answer || has_word(&text, &["got"])) {
        return Kind::Refused;
    }
    if has(
        &text,
        &[
            "answer", "response", "reply", "returned", "result", "payload",
        ],
    ) && has(
        &text,
        &[
            "cannot use",
            "unexpected",
            "expected",
            "invalid",
            "malformed",
            "parse",
            "decode",
            "unmarshal",
            "deserializ",
            "mismatch",
            "missing field",
        ],
    ) {
        return Kind::BadAnswer;
    }
    if names_another || points_away(message) {
        return Kind::Blame;
    }
    if refused
        || has(
            &text,
            &[
                "invalid argument",
                "invalid parameter",
                "missing parameter",
                "missing required",
                "validation failed",
                "bad argument",
                "illegal argument",
                "illegalargument",
                "constraint violation",
            ],
        )
    {
        return Kind::BadRequest;
    }
    Kind::Complaint
}

/// Whether a complaint is about an answer that did not come, rather than about
/// its writer's own work.
fn points_away(message: &str) -> bool {
    let text = message.to_ascii_lowercase();
    // A stack trace says where it was noticed; what it ends with says what.
    let code = [
        "nullpointer",
        "null pointer",
        "segfault",
        "indexerror",
        "keyerror",
        "typeerror",
        "valueerror",
        "out of memory",
        "classcast",
        "illegalargument",
        "illegalstate",
        "undefined",
        "invalid",
        "parse",
    ];
    let away = [
        "rpc error",
        "upstream",
        "connection refused",
        "connection reset",
        "timed out",
        "timeout",
        "deadline exceeded",
        "unavailable",
        "no healthy",
        "unreachable",
        "broken pipe",
        "bad gateway",
        "econnrefused",
        "could not reach",
        "no route",
        "dial tcp",
        "no answer",
        "no response",
        "no reply",
        "not responding",
        "unresponsive",
    ];
    has(&text, &away) && !has(&text, &code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refusal(text: &str) -> bool {
        has_status(&text.to_ascii_lowercase(), &["400", "422"])
    }

    #[test]
    fn a_status_code_is_a_number_of_its_own() {
        for text in [
            "orders answered 400 Bad Request",
            "\"POST /x HTTP/1.1\" 400 17",
            "status=400",
            "{\"http_status\": 422}",
            "{\"code\":400}",
            "rejected with code 422",
            "got 422.",
            "upstream (400)",
        ] {
            assert!(is_refusal(text), "{text}");
        }
        for text in [
            "timeout after 4000 ms calling cart",
            "timeout after 400 ms calling cart",
            "timeout after 400ms calling cart",
            "no answer for 400 seconds",
            "read 1400 rows",
            "disk at 42.400",
            "order 8f400a is gone",
            "cache holds 400MB",
            "at cart.go:400",
            "GET /orders/400 timed out",
            "400 of 500 attempts failed",
            "took 3,422",
            "latency 422.7",
            "port=400",
        ] {
            assert!(!is_refusal(text), "{text}");
        }
    }

    #[test]
    fn how_long_a_wait_was_makes_it_no_refusal() {
        for ms in [3000, 4000, 400, 4220] {
            let line = format!("timeout after {ms} ms calling cart");
            assert_eq!(of_complaint(&line, true), Kind::Blame, "{line}");
        }
        assert_eq!(of_complaint("cart answered 400", true), Kind::Refused);
    }

    #[test]
    fn who_waits_for_an_answer_complains_of_another_also_in_a_stack_trace() {
        for line in [
            "no answer from upstream within 200 ms",
            "Traceback (most recent call last):\nTimeoutError: no response in 3 s",
            "panic: dial tcp 10.1.2.3:80: i/o timeout",
        ] {
            assert_eq!(of_complaint(line, false), Kind::Blame, "{line}");
        }
        let own = "Traceback (most recent call last):\nKeyError: 'sku' at cart.py:17";
        assert_eq!(of_complaint(own, false), Kind::Complaint);
    }

    #[test]
    fn a_word_within_another_is_no_complaint() {
        let says = |message: &str| {
            let line = Line {
                id: String::new(),
                service: "shop".to_owned(),
                at_ms: 0,
                level: LogLevel::Info,
                message: message.to_owned(),
            };
            complains(&line, line.level)
        };
        assert!(!says("reserved room 7"));
        assert!(!says("zoom level 4"));
        for message in [
            "worker hit OOM",
            "OOMKilled: 137",
            "oom-killer ran",
            "a TimeoutError",
        ] {
            assert!(says(message), "{message}");
        }
    }
}
