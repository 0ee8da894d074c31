//! The file of operators: one line for each.
//!
//! `name token`, or `name:sha256` with the token's SHA-256 in hexadecimal
//! digits; after that, where they are known elsewhere under other names,
//! `slack=U123`, `telegram=123` and `mail=ana@example.com`, each as often as
//! there are such names.

use super::{Hash, Operator};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Characters of a token at least: shorter ones can be guessed.
const TOKEN: usize = 16;
/// Characters of a name at most.
pub(super) const NAME: usize = 100;
/// Bytes of the file at most: some thousand operators.
const FILE: u64 = 256 * 1024;
/// Other names of one operator, of each kind.
const ALIASES: usize = 8;

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credential {
    pub(super) name: String,
    pub(super) hash: Hash,
    /// User ids of Slack.
    pub(super) slack: Vec<String>,
    /// User ids of Telegram.
    pub(super) telegram: Vec<String>,
    pub(super) mail: Vec<String>,
}

impl Credential {
    /// Whoever shows the token.
    pub(super) fn operator(&self) -> Operator {
        Operator {
            name: self.name.clone(),
            credential_id: format!("sha256:{}", &hex(&self.hash)[..12]),
        }
    }
}

pub(super) fn read(file: &Path) -> Result<Vec<Credential>, String> {
    let name = file.display();
    let size = std::fs::metadata(file).map_err(|error| format!("{name}: {error}"))?;
    if size.len() > FILE {
        return Err(format!(
            "{name} has {} bytes, at most {FILE} are read",
            size.len()
        ));
    }
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let credentials = parse(&text).map_err(|problem| format!("{name}, {problem}"))?;
    if credentials.is_empty() {
        return Err(format!("{name} names nobody"));
    }
    Ok(credentials)
}

/// The credentials of a file's text. No problem quotes a token.
fn parse(text: &str) -> Result<Vec<Credential>, String> {
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| credential(line).map_err(|why| format!("line {}: {why}", index + 1)))
        .collect()
}

fn credential(line: &str) -> Result<Credential, &'static str> {
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or_default();
    // A name holds no colon.
    let (name, hash) = match first.rsplit_once(':') {
        Some((name, digits)) => {
            let hash = from_hex(digits).ok_or("a SHA-256 has 64 hexadecimal digits")?;
            (name, hash)
        }
        None => {
            let token = words.next().ok_or("write `name token` or `name:sha256`")?;
            if token.chars().count() < TOKEN {
                return Err("a token has at least 16 characters");
            }
            (first, Sha256::digest(token.as_bytes()).into())
        }
    };
    if !is_name(name) {
        return Err("a name has letters, digits and ._-@+ only, at most 100");
    }
    let mut read = Credential {
        name: name.to_owned(),
        hash,
        slack: Vec::new(),
        telegram: Vec::new(),
        mail: Vec::new(),
    };
    for word in words {
        match word.split_once('=') {
            Some(("slack", id)) if is_slack_user(id) => read.slack.push(id.to_owned()),
            Some(("telegram", id)) if is_telegram_user(id) => read.telegram.push(id.to_owned()),
            Some(("mail", address)) if is_address(address) => {
                read.mail.push(address.to_ascii_lowercase());
            }
            Some(("slack", _)) => return Err("slack= takes a user id such as UABCDEFGH"),
            Some(("telegram", _)) => return Err("telegram= takes a user id of digits"),
            Some(("mail", _)) => return Err("mail= takes an address"),
            _ => {
                return Err(
                    "a token holds no blanks; slack=…, telegram=… and mail=… may follow it",
                );
            }
        }
    }
    let kinds = [&read.slack, &read.telegram, &read.mail];
    if kinds.iter().any(|names| names.len() > ALIASES) {
        return Err("at most 8 names of each kind");
    }
    Ok(read)
}

/// Whether it can be an operator's name.
pub(super) fn is_name(name: &str) -> bool {
    let harmless = |letter: char| letter.is_alphanumeric() || "._-@+".contains(letter);
    !name.is_empty() && name.chars().count() <= NAME && name.chars().all(harmless)
}

fn is_slack_user(id: &str) -> bool {
    (2..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// As Telegram writes it: a number without zeros before it.
fn is_telegram_user(id: &str) -> bool {
    id.parse::<i64>()
        .is_ok_and(|number| number > 0 && number.to_string() == id)
}

fn is_address(text: &str) -> bool {
    text.len() <= 320
        && text
            .split_once('@')
            .is_some_and(|(who, place)| !who.is_empty() && !place.is_empty())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_with_a_token_or_with_its_hash() {
        // `printf %s correct-horse-battery | sha256sum`
        let digits = "62249369389075490555a758353aec61500c6218fa597252d52dc4bd0148f12d";
        let read = parse(&format!(
            "# people\n\nana correct-horse-battery\nbo:{digits}\n"
        ));
        let read = read.expect("two operators");
        assert_eq!(
            (read[0].name.as_str(), read[1].name.as_str()),
            ("ana", "bo")
        );
        assert_eq!(hex(&read[1].hash), digits);
        assert_eq!(read[0].hash, read[1].hash);
    }

    #[test]
    fn a_bad_line_is_named_and_no_token_is_quoted() {
        for (text, words) in [
            ("ana short", "at least 16"),
            ("\nana", "line 2: write `name token`"),
            ("ana:12", "64 hexadecimal digits"),
            ("<b> 0123456789abcdef", "a name has letters"),
            ("ana 0123456789abcdef 0123", "no blanks"),
            ("ana 0123456789abcdef slack=", "such as UABCDEFGH"),
            ("ana 0123456789abcdef mail=ana", "takes an address"),
            ("ana 0123456789abcdef telegram=@ana", "of digits"),
            ("ana 0123456789abcdef telegram=-1", "of digits"),
            ("ana 0123456789abcdef telegram=01", "of digits"),
            ("ana 0123456789abcdef 0123=slack", "no blanks"),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains(words), "{text}: {problem}");
            assert!(!problem.contains("0123"), "{problem}");
        }
    }

    #[test]
    fn a_line_may_say_how_one_is_called_elsewhere() {
        let digits = "62249369389075490555a758353aec61500c6218fa597252d52dc4bd0148f12d";
        let text = format!(
            "ana correct-horse-battery slack=U0123ABCD mail=Ana@example.com\nbo:{digits} telegram=7 slack=U9 slack=U8\n"
        );
        let read = parse(&text).expect("two operators");
        assert_eq!(
            (&read[0].slack[..], &read[0].mail[..]),
            (
                &["U0123ABCD".to_owned()][..],
                &["ana@example.com".to_owned()][..]
            )
        );
        assert_eq!(read[1].slack, ["U9", "U8"]);
        assert_eq!(read[1].telegram, ["7"]);
        assert_eq!(read[0].hash, read[1].hash);
    }
}
