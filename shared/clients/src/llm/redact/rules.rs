//! What a secret looks like.
//!
//! Each rule is a pattern whose last group that took part is the secret (the whole match without a
//! group), and a test of what the pattern cannot say. The order ranks them: where two rules find
//! overlapping places, the first one names the kind.

use std::ops::Range;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use regex::{Captures, Regex};

struct Rule {
    kind: &'static str,
    pattern: Regex,
    holds: fn(&Captures<'_>, &str) -> bool,
}

/// The rank of a secret that is known from elsewhere.
pub const LAST: usize = usize::MAX;

/// The word in a placeholder for what the rule of this rank finds.
pub fn kind(rank: usize) -> &'static str {
    match RULES.get(rank) {
        Some(rule) => rule.kind,
        None if rank == ENCODED => "encoded",
        None => "secret",
    }
}

/// Whether it is the rule of something personal, which may be no more than a part of a secret.
pub fn is_personal(rank: usize) -> bool {
    matches!(kind(rank), "email" | "card" | "iban")
}

/// The secrets in a text with the rank of their rule; they may overlap.
pub fn find(text: &str) -> Vec<(Range<usize>, usize)> {
    let mut found = Vec::new();
    for (rank, rule) in RULES.iter().enumerate() {
        for captures in rule.pattern.captures_iter(text) {
            let last = captures.iter().skip(1).flatten().last();
            let secret = last
                .or_else(|| captures.get(0))
                .expect("a match has a whole");
            let range = trimmed(text, secret.range());
            if !range.is_empty() && (rule.holds)(&captures, &text[range.clone()]) {
                found.push((range, rank));
            }
        }
    }
    found
}

/// Without the quotation marks around it, and without a bracket that closes what it does not open.
fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let mut secret = &text[range.clone()];
    let mut start = range.start;
    for quote in ["\\\"", "\"", "'", "`"] {
        if let Some(inner) = secret.strip_prefix(quote) {
            start += quote.len();
            secret = inner.strip_suffix(quote).unwrap_or(inner);
        }
    }
    for (open, close) in [('(', ')'), ('[', ']'), ('{', '}')] {
        if secret.ends_with(close) && !secret.contains(open) {
            secret = &secret[..secret.len() - 1];
        }
    }
    start..start + secret.len()
}

/// The rank of base64 that holds a secret: behind every rule, before [`LAST`].
const ENCODED: usize = 1_000;

/// Base64 in which `is_secret` finds something, as a whole.
pub fn find_encoded(text: &str, is_secret: &dyn Fn(&str) -> bool) -> Vec<(Range<usize>, usize)> {
    static RUN: LazyLock<Regex> = LazyLock::new(|| pattern(r"[A-Za-z0-9+/_-]{20,}={0,2}"));
    let runs = RUN
        .find_iter(text)
        .filter(|run| decoded(run.as_str()).is_some_and(|text| is_secret(&text)));
    runs.map(|run| (run.range(), ENCODED)).collect()
}

/// What base64 of either alphabet says, if that is text.
fn decoded(run: &str) -> Option<String> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const ENGINE: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    let standard = run.replace('-', "+").replace('_', "/");
    let text = String::from_utf8(ENGINE.decode(standard).ok()?).ok()?;
    let is_text = text
        .chars()
        .all(|sign| !sign.is_control() || sign.is_ascii_whitespace());
    is_text.then_some(text)
}

/// Whether a secret can be told from ordinary words, names and ids wherever it stands. Those must
/// not vanish everywhere because one hostile line calls them a token.
pub fn is_telling(secret: &str) -> bool {
    static NAME: LazyLock<Regex> = LazyLock::new(|| {
        // Words and names, also of pods and with a number; numbers; hashes and UUIDs; our own ids.
        pattern(concat!(
            r"^(?:[a-z]+|[A-Z][a-z]+|[A-Z]+|[a-z0-9]+(?:[-_.:/][a-z0-9]+)+|[a-z]{1,3}[0-9]{1,3}|[0-9.:,_-]+",
            r"|[0-9a-fA-F]{8,}|[0-9a-fA-F-]{36}|INC-[0-9A-F]{8})$"
        ))
    });
    secret.len() >= 5 && !NAME.is_match(secret)
}

/// Places of a secret that are not a part of a longer word.
pub fn find_literal(text: &str, secret: &str) -> impl Iterator<Item = Range<usize>> {
    let is_free = |sign: Option<char>| sign.is_none_or(|sign| !sign.is_alphanumeric());
    text.match_indices(secret)
        .map(|(start, found)| start..start + found.len())
        .filter(move |range| {
            is_free(text[..range.start].chars().next_back())
                && is_free(text[range.end..].chars().next())
        })
        .collect::<Vec<_>>()
        .into_iter()
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant that the tests compile")
}

/// Names of keys whose values are secret, as the end of a longer name.
const NAMES: &str = concat!(
    r"(?:password|passwd|passwort|passphrase|passcode|passwrd|pwd|pgpass|secret|credential|token|authorization|cookie",
    r"|(?:api|access|account|private|secret|encryption|signing|master|auth|licen[cs]e|app|application|ssh|service|write",
    r"|server|deploy|consumer|webhook|subscription|storage|integration|routing_secret|hmac|aes|shared[_-]?access|access[_-]?key[_-]?secret)[_-]?key",
    r"|connection[_-]?secret|session[_-]?id|[a-z]+_session|sessid|connect\.sid|x-amz-signature|mnemonic|otp[_-]?seed|client[_-]?assertion)s?"
);

/// In order: what holds a secret whole comes before what would match a part of it.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let mut rules = shapes();
    rules.extend(named());
    rules.extend(spoken());
    rules.extend(personal());
    rules
});

fn rule(kind: &'static str, text: &str, holds: fn(&Captures<'_>, &str) -> bool) -> Rule {
    Rule {
        kind,
        pattern: pattern(text),
        holds,
    }
}

fn always(_: &Captures<'_>, _: &str) -> bool {
    true
}

/// Secrets that are known by their own form.
fn shapes() -> Vec<Rule> {
    let key_body = r"[A-Za-z0-9+/=\s\\:,.|-]*?";
    vec![
        rule(
            "private-key",
            &format!(
                r"(?i)-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?:{key_body}-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|[A-Za-z0-9+/=\s\\|]*)"
            ),
            always,
        ),
        rule(
            "private-key",
            r"(?i)\bAGE-SECRET-KEY-1[0-9A-Z]{40,}",
            always,
        ),
        rule(
            "jwt",
            r"(?i)\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}",
            always,
        ),
        rule(
            "password",
            r#"[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@"'<>]*:([^\s/"'<>]+)@"#,
            always,
        ),
        rule(
            "token",
            r#"[A-Za-z][A-Za-z0-9+.-]*://([^\s/:@"'<>]{16,})@"#,
            always,
        ),
        rule(
            "password",
            r#"(?i)\bjdbc:oracle:[a-z]+:[^\s/"']+/([^\s@"']+)@"#,
            always,
        ),
        rule("token", SERVICE_TOKENS, always),
        // Without a digit it is a name that only begins like one.
        rule(
            "token",
            r"(?i)\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}",
            |_, secret| secret.contains(|sign: char| sign.is_ascii_digit()),
        ),
        rule(
            "token",
            r"(?i)\b(?:hooks\.slack\.com/(?:services|workflows|triggers)|discord(?:app)?\.com/api/webhooks/[0-9]+|[\w.-]+\.webhook\.office\.com/webhookb2)/([A-Za-z0-9/@_-]{8,})",
            always,
        ),
        // `Bearer` and `Basic` are also words of prose: a credential has a digit or padding.
        rule(
            "token",
            r"(?i)\b(?:bearer|basic|negotiate|bot)\s+([A-Za-z0-9._~+/-]{12,}=*)",
            |_, secret| secret.contains(|sign: char| sign.is_ascii_digit() || sign == '='),
        ),
    ]
}

/// Tokens by the beginning that their issuer gives them.
const SERVICE_TOKENS: &str = concat!(
    r"(?i)\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|gl(?:pat|dt|rt|ft|soat|cbt)-[A-Za-z0-9_-]{16,}",
    r"|xox[abceoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}|(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b|AIza[0-9A-Za-z_-]{30,}",
    r"|ya29\.[0-9A-Za-z_-]{16,}|GOCSPX-[0-9A-Za-z_-]{16,}|hf_[A-Za-z0-9]{20,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{16,}",
    r"|[rsp]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{16,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    r"|SK[0-9a-f]{32}\b|key-[0-9a-f]{32}\b|dop_v1_[0-9a-f]{32,}|dckr_pat_[A-Za-z0-9_-]{16,}|shp(?:at|ca|pa|ss)_[0-9a-f]{32}",
    r"|sq0(?:atp|csp)-[A-Za-z0-9_-]{16,}|[0-9]{8,10}:AA[A-Za-z0-9_-]{33}|hv[sbr]\.[A-Za-z0-9_-]{20,}|dapi[0-9a-f]{32}",
    r"|lin_api_[A-Za-z0-9]{20,}|ntn_[A-Za-z0-9]{20,}|gl(?:sa|c)_[A-Za-z0-9_=+/-]{20,}|NRAK-[A-Z0-9]{20,}|sntry[su]_[A-Za-z0-9_=+/-]{20,}",
    r"|ATATT3[A-Za-z0-9_=-]{20,}|[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{30,}|fm[12]_[A-Za-z0-9+/=_-]{20,}|sbp_[0-9a-f]{32,}",
    r"|dp\.(?:pt|st|ct)\.[A-Za-z0-9]{20,}|gsk_[A-Za-z0-9]{20,}|r8_[A-Za-z0-9]{20,}|xai-[A-Za-z0-9]{20,}|pplx-[A-Za-z0-9]{20,}",
    r"|pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.-]{20,}|PMAK-[0-9a-f-]{20,}|[A-Za-z0-9_~.-]{3}8Q~[A-Za-z0-9_~.-]{31,}|rubygems_[0-9a-f]{32,})"
);

/// Secrets that are known by what stands before them.
fn named() -> Vec<Rule> {
    let value = r#""(?:[^"\\]|\\.)*"|'[^']*'|`[^`]*`|\\"[^"]*\\"|\[[^\]\n]*\]|[^\s"',;&}\\<`]+"#;
    vec![
        rule(
            "cookie",
            r#"(?i)\b(?:set-)?cookie["']?\s*[:=]\s*["']?([^\s"'=;,]+=[^\s"';,]+(?:;\s*[^\s"'=;,]+(?:=[^\s"';,]*)?)*)"#,
            always,
        ),
        // A whole line of an environment file: the value ends with the line.
        rule(
            "secret",
            &format!(r#"(?im)^[ \t]*(?:export[ \t]+)?([\w]*{NAMES})=([^\s"'][^\s]*)[ \t]*\r?$"#),
            |found, value| is_secret_value(found, value) && !SECOND_FIELD.is_match(value),
        ),
        rule(
            "secret",
            &format!(
                r#"(?i)\b((?:[\w.-]*?){NAMES})(?:\\*["'])?[ \t]*(?::=|=>|->|[:=])[ \t]*(?:[|>][+-]?[ \t]*\n[ \t]*)?(?:(?:bearer|basic|token|digest|negotiate|apikey)[ \t]+)?({value})"#
            ),
            is_secret_value,
        ),
        rule(
            "secret",
            r#"(?im)\b(passphrase|mnemonic|seed[ _-]?phrase)["']?[ \t]*[:=][ \t]*["']?([a-z]+(?: [a-z]+){2,})"#,
            always,
        ),
        // The field of a list of names and values, as Kubernetes and .NET write them.
        rule(
            "secret",
            &format!(
                r#"(?i)\b(?:name|key)["']?\s*[:=]\s*["']?([\w.-]*{NAMES})["']?[\s,]*["']?value["']?\s*[:=]\s*("[^"]*"|'[^']*'|[^\s"'\d][^\s"',}}]*)"#
            ),
            is_secret_value,
        ),
        rule(
            "secret",
            &format!(r"(?i)<([\w:.-]*{NAMES})(?:\s[^<>]*)?>([^<>\s][^<>]*)</"),
            is_secret_value,
        ),
    ]
}

/// Secrets in command lines, in sentences and in queries.
fn spoken() -> Vec<Rule> {
    vec![
        rule(
            "secret",
            &format!(r#"(?i)\s--?([\w-]*{NAMES})[ \t]+("[^"]*"|'[^']*'|[^\s"'-][^\s"']*)"#),
            is_secret_value,
        ),
        rule(
            "secret",
            r#"(?i)\b(?:password|passphrase|passwort|api[ _-]?key|secret|token)[ \t]+(?:is|was|set to|changed to|reset to|ist)[ \t]+["']?([^\s"',;]{5,})"#,
            |_, secret| secret.contains(|sign: char| sign.is_ascii_digit()),
        ),
        rule(
            "password",
            r#"(?i)\b(?:identified by|with (?:encrypted )?password|\bpassword)[ \t]+('[^'\n]+'|"[^"\n]+")"#,
            always,
        ),
        rule(
            "password",
            r#"(?i)\b(?:sshpass|mysql\w*|mariadb\w*)\b[^\n]*?\s-p[ \t]?("[^"]*"|'[^']*'|[^\s"'-][^\s"']*)"#,
            always,
        ),
        rule(
            "password",
            r#"(?i)\bcurl\b[^\n]*?\s(?:-u|--user)[ =]["']?[^\s:"']+:([^\s"']+)"#,
            always,
        ),
        rule(
            "password",
            r#"(?i)["']auth["'][ ,]+(?:["'][^"'\s]+["'][ ,]+)?["']([^"'\s]{4,})["']"#,
            always,
        ),
        rule(
            "secret",
            r#"(?i)["']auth["']\s*:\s*["']([A-Za-z0-9+/]{8,}={0,2})["']"#,
            |_, value| decoded(value).is_some_and(|text| text.contains(':')),
        ),
        rule(
            "secret",
            r"(?i)[?&](?:sig|signature|x-amz-security-token|x-goog-signature)=([^\s&;]{8,})",
            always,
        ),
    ]
}

static SECOND_FIELD: LazyLock<Regex> = LazyLock::new(|| pattern(r"[;&]\s*[\w .-]+="));

/// Words that say how it is with a secret, where its value would stand.
const STATES: &str = "absent accepted authentication bad cannot changed denied disabled empty enabled \
    error expired failed false forbidden has hidden incorrect invalid is malformed \
    masked mismatch missing must nil no none not null ok optional present redacted \
    refused rejected required revoked signature true undefined unknown unset valid was \
    wrong yes";

/// The name and the value of a field: not a count, not a state, not a reference to the secret.
fn is_secret_value(found: &Captures<'_>, value: &str) -> bool {
    let name = found
        .get(1)
        .map_or("", |name| name.as_str())
        .to_ascii_lowercase();
    let word = value
        .trim_end_matches(['.', '!', ':', ')'])
        .to_ascii_lowercase();
    if STATES.split(' ').any(|state| state == word) {
        return false;
    }
    let is_list = value.starts_with('[');
    let is_number = value
        .bytes()
        .all(|byte| byte.is_ascii_digit() || (is_list && b"[], .".contains(&byte)));
    if is_number && (name.ends_with('s') || value.len() < 3) {
        return false;
    }
    if name == "pwd" || name == "oldpwd" {
        // The working directory of a process.
        return !value.starts_with(['/', '~']);
    }
    let is_reference = [
        "${",
        "$(",
        "{{",
        "%{",
        "%(",
        "<",
        "&lt;",
        "secretKeyRef",
        "vault:",
        "arn:aws:",
    ]
    .iter()
    .any(|start| value.starts_with(start));
    !is_reference && value.contains(|sign: char| sign.is_alphanumeric())
}

/// What names people.
fn personal() -> Vec<Rule> {
    vec![
        rule(
            "email",
            r"(?:^|[^\w.%+/-])([\w.%+-]+@(?:[\w-]+\.)+\w{2,})",
            |found, secret| {
                // Names of systemd units look like mail addresses and are evidence, and so is the
                // user in the address of a repository or a server.
                const UNITS: [&str; 6] = ["service", "timer", "socket", "mount", "slice", "scope"];
                let ending = secret.rsplit('.').next().unwrap_or_default();
                let is_word = ending.chars().all(char::is_alphabetic);
                let is_remote = secret.starts_with("git@");
                let is_in_url = found[0].starts_with('/');
                is_word && !is_remote && !is_in_url && !UNITS.contains(&ending)
            },
        ),
        rule(
            "card",
            r"(?i)(?:^|[^\w.-])((?:\d{13,19}|\d{4}[ -]\d{4}[ -]\d{4}[ -]\d{1,7}|\d{4}[ -]\d{6}[ -]\d{4,5}))(?:$|[^\w-])",
            |_, secret| is_card(secret),
        ),
        rule(
            "iban",
            r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b",
            |_, secret| is_iban(secret),
        ),
    ]
}

/// Lengths and first digits as the networks publish them, and the check digit of ISO/IEC 7812-1:
/// together they keep ids and times from being taken for cards.
fn is_card(secret: &str) -> bool {
    let digits: Vec<u32> = secret
        .chars()
        .filter_map(|sign| sign.to_digit(10))
        .collect();
    let first = |count: usize| {
        digits[..count]
            .iter()
            .fold(0, |sum, digit| sum * 10 + digit)
    };
    let fits = match (first(1), first(2), first(4)) {
        (4, ..) => matches!(digits.len(), 13 | 16 | 19),
        (_, 51..=55, _) | (_, _, 2221..=2720) => digits.len() == 16,
        (_, 34 | 37, _) => digits.len() == 15,
        (_, 36 | 38, _) | (_, _, 3000..=3059) => digits.len() == 14,
        (_, 62 | 64 | 65, _) | (_, _, 6011 | 3528..=3589) => (16..=19).contains(&digits.len()),
        _ => false,
    };
    fits && passes_luhn(&digits)
}

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

/// The check of ISO 13616: the first four characters moved to the end, letters as numbers from 10,
/// the whole leaves 1 when divided by 97.
fn is_iban(secret: &str) -> bool {
    let signs: Vec<char> = secret.chars().filter(|sign| *sign != ' ').collect();
    let rotated = signs.iter().skip(4).chain(signs.iter().take(4));
    let rest = rotated.fold(0, |rest, sign| match sign.to_digit(36) {
        Some(digit) if digit > 9 => (rest * 100 + digit) % 97,
        Some(digit) => (rest * 10 + digit) % 97,
        None => rest,
    });
    (15..=34).contains(&signs.len()) && rest == 1
}
