//! Takes secrets and personal data out of text before it leaves the process.
//!
//! Every outgoing message passes [`redact`]. The same kind of secret always becomes the same
//! placeholder, so that a redacted prompt is as repeatable as the text it came from, and redacting
//! twice changes nothing. What a placeholder stood for cannot be recovered from it.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

const OPENING: &str = "[redacted:";

struct Rule {
    pattern: Regex,
    replace: fn(&Captures<'_>) -> String,
}

/// The text with every recognised secret replaced by `[redacted:<kind>]`.
///
/// Recognised: private keys, JSON web tokens, passwords in URLs, bearer and basic credentials,
/// tokens of well-known services, values of keys whose name says that they are secret, mail
/// addresses, payment card numbers (with a valid check digit).
#[must_use]
pub fn redact(text: &str) -> String {
    let mut redacted = Cow::Borrowed(text);
    for rule in RULES.iter() {
        if let Cow::Owned(changed) = rule.pattern.replace_all(&redacted, rule.replace) {
            redacted = Cow::Owned(changed);
        }
    }
    redacted.into_owned()
}

/// In order: what holds a secret whole comes before what would match a part of it.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rule = |pattern: &str, replace| Rule {
        pattern: Regex::new(pattern).expect("the pattern is a constant that the tests compile"),
        replace,
    };
    vec![
        rule(
            r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)",
            |_| placeholder("private-key"),
        ),
        rule(
            r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?",
            |_| placeholder("jwt"),
        ),
        rule(
            r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*):([^\s/]+)@",
            url_password,
        ),
        rule(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/:@]{16,}@", |found| {
            format!("{}{}@", &found[1], placeholder("token"))
        }),
        rule(
            r"\b(?:sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}|A[KS]IA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{30,}|hf_[A-Za-z0-9]{20,}|npm_[A-Za-z0-9]{30,}|[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})",
            |_| placeholder("token"),
        ),
        rule(
            r"(?i)\b(bearer|basic)\s+([A-Za-z0-9._~+/-]{12,}=*)",
            credentials,
        ),
        rule(
            r#"(?i)\b((?:[\w.-]*[_.-])?(?:password|passwd|passphrase|pwd|secret|api[_-]?key|apikey|access[_-]?key|secret[_-]?key|private[_-]?key|authorization|credential|token|cookie)s?)(\\?["']?\s*[:=]\s*)("(?:[^"\\]|\\.)*"|'[^']*'|\\"[^"]*\\"|(?:bearer|basic|token)\s+[^\s"',;&]+|[^\s"',;&}\\]+)"#,
            named_value,
        ),
        rule(
            r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.([A-Za-z]{2,})\b",
            mail_address,
        ),
        rule(r"\b[2-6](?:[ -]?\d){13,18}\b", card_number),
    ]
});

fn placeholder(kind: &str) -> String {
    format!("{OPENING}{kind}]")
}

/// A URL whose password was replaced before still has the shape of one with a password.
fn url_password(found: &Captures<'_>) -> String {
    if found[0].contains(OPENING) {
        found[0].to_owned()
    } else {
        format!("{}:{}@", &found[1], placeholder("password"))
    }
}

/// `Bearer` and `Basic` are also words of prose: a credential has a digit or padding in it.
fn credentials(found: &Captures<'_>) -> String {
    if found[2].contains(|sign: char| sign.is_ascii_digit() || sign == '=') {
        format!("{} {}", &found[1], placeholder("token"))
    } else {
        found[0].to_owned()
    }
}

fn named_value(found: &Captures<'_>) -> String {
    let (name, separator, value) = (&found[1], &found[2], &found[3]);
    // `max_tokens: 200` is a count, and what another rule has replaced stays as it is.
    let is_count = name.to_ascii_lowercase().ends_with("tokens")
        && value.bytes().all(|byte| byte.is_ascii_digit());
    if is_count || value.contains(OPENING) {
        return found[0].to_owned();
    }
    let (open, close) = match value {
        _ if value.starts_with("\\\"") => ("\\\"", "\\\""),
        _ if value.starts_with('"') => ("\"", "\""),
        _ if value.starts_with('\'') => ("'", "'"),
        _ => ("", ""),
    };
    format!("{name}{separator}{open}{}{close}", placeholder("secret"))
}

/// Names of systemd units look like mail addresses and are evidence.
fn mail_address(found: &Captures<'_>) -> String {
    const UNITS: [&str; 6] = ["service", "timer", "socket", "mount", "slice", "scope"];
    if UNITS.contains(&&found[1]) {
        found[0].to_owned()
    } else {
        placeholder("email")
    }
}

fn card_number(found: &Captures<'_>) -> String {
    let digits: Vec<u32> = found[0]
        .chars()
        .filter_map(|sign| sign.to_digit(10))
        .collect();
    if passes_luhn(&digits) {
        placeholder("card")
    } else {
        found[0].to_owned()
    }
}

/// The check digit of ISO/IEC 7812-1, which keeps ids and timestamps from being taken for cards.
fn passes_luhn(digits: &[u32]) -> bool {
    let doubled = |(index, digit): (usize, &u32)| match (index % 2, digit * 2) {
        (0, _) => *digit,
        (_, twice) if twice > 9 => twice - 9,
        (_, twice) => twice,
    };
    digits
        .iter()
        .rev()
        .enumerate()
        .map(doubled)
        .sum::<u32>()
        .is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The card numbers are the published test numbers of Visa and Mastercard.
    const SECRETS: &[(&str, &str)] = &[
        (
            "postgres://app:s3cr3t@db:5432/x",
            "postgres://app:[redacted:password]@db:5432/x",
        ),
        (
            "redis://:p@ss@cache:6379",
            "redis://:[redacted:password]@cache:6379",
        ),
        (
            "GET https://0123456789abcdef@sentry.io/1",
            "GET https://[redacted:token]@sentry.io/1",
        ),
        (
            "key sk-abcdefghijklmnop1234 used",
            "key [redacted:token] used",
        ),
        ("ghp_abcdefghijklmnopqrst12", "[redacted:token]"),
        ("AKIAABCDEFGHIJKLMNOP", "[redacted:token]"),
        (
            "Authorization: Bearer abc.def-ghi12345",
            "Authorization: Bearer [redacted:token]",
        ),
        (
            "Authorization: Basic dXNlcjpwYXNz",
            "Authorization: [redacted:secret]",
        ),
        (
            "curl -H 'X-Api-Key: k1'",
            "curl -H 'X-Api-Key: [redacted:secret]'",
        ),
        (
            "password=hunter2 user=bob",
            "password=[redacted:secret] user=bob",
        ),
        (
            "DB_PASSWORD: \"two words\",",
            "DB_PASSWORD: \"[redacted:secret]\",",
        ),
        (
            r#"{"token":"t0","user":"bob"}"#,
            r#"{"token":"[redacted:secret]","user":"bob"}"#,
        ),
        (
            r#"{\"api_key\":\"k\",\"a\":1}"#,
            r#"{\"api_key\":\"[redacted:secret]\",\"a\":1}"#,
        ),
        (
            "?access_token=abc&page=2",
            "?access_token=[redacted:secret]&page=2",
        ),
        (
            "mail bob.b+x@mail.example.com now",
            "mail [redacted:email] now",
        ),
        (
            "card 4111 1111 1111 1111 declined",
            "card [redacted:card] declined",
        ),
        ("card 5555-5555-5555-4444.", "card [redacted:card]."),
        (
            "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N end",
            "jwt [redacted:jwt] end",
        ),
        (
            "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----\nb",
            "a\n[redacted:private-key]\nb",
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nMIIE cut off",
            "[redacted:private-key]",
        ),
    ];

    #[test]
    fn secrets_become_placeholders() {
        for (text, expected) in SECRETS {
            assert_eq!(redact(text), *expected);
            assert_eq!(
                redact(expected),
                *expected,
                "redacting twice changes nothing"
            );
        }
    }

    #[test]
    fn evidence_stays_readable() {
        let kept = [
            "password authentication failed for user app",
            "Basic authentication required, bearer authentication offered",
            "prompt_tokens: 1200, max_tokens=200",
            "restarted backup@nightly.service",
            "image registry/app@sha256:4f5a0c",
            "timestamp_ms 1763769600000, offset 4111111111111112",
            "trace 4bf92f3577b34da6a3ce929d0e0e4736 span 00f067aa0ba902b7",
            "id 550e8400-e29b-41d4-a716-446655440000",
            "http://payment-service:8080/pay?order=12",
            "HikariPool-1 - Connection is not available, request timed out after 30000ms",
        ];
        for text in kept {
            assert_eq!(redact(text), text);
        }
    }
}
