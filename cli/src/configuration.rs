//! Which settings a command works with, and what of them may be shown.
//!
//! A variable counts from the first of: the environment of this process; the
//! running demo of this checkout (its address book); the checkout's `.env`.
//! With `--env-file` only the environment and that file count, so that a
//! machine's settings can be judged before they are used.

use crate::failure::Failure;
use midwatch_clients::kafka::KafkaSettings;
use midwatch_local::address_book::AddressBook;
use midwatch_local::layout::Layout;
use midwatch_runtime::{Settings, kafka_settings};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where the API is, unless something says otherwise.
pub const DEFAULT_API_URL: &str = "http://127.0.0.1:8000";

/// What this program reads beyond the settings of the services.
pub const OWN_NAMES: [&str; 4] = ["MIDWATCH_API_URL", "OPERATOR_TOKEN", "NO_COLOR", "TERM"];

/// One assignment of a `.env` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Counted from 1.
    pub line: usize,
    pub name: String,
    pub value: String,
}

/// A `.env` file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvFile {
    pub assignments: Vec<Assignment>,
    /// Lines that are no assignment, counted from 1.
    pub bad_lines: Vec<usize>,
}

impl EnvFile {
    /// Reads the format of the template: comments, `export`, quotes. A bad
    /// line is noted and passed over.
    #[must_use]
    pub fn parse(text: &str) -> EnvFile {
        let mut file = EnvFile::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let line = line.strip_prefix("export ").unwrap_or(line);
            let Some((name, value)) = line.split_once('=') else {
                file.bad_lines.push(index + 1);
                continue;
            };
            let value = value.trim();
            let bare = ['"', '\''].iter().find_map(|&quote| {
                value
                    .strip_prefix(quote)
                    .and_then(|rest| rest.strip_suffix(quote))
            });
            file.assignments.push(Assignment {
                line: index + 1,
                name: name.trim().to_owned(),
                value: bare.unwrap_or(value).to_owned(),
            });
        }
        file
    }
}

/// The settings of a command.
#[derive(Clone, Debug)]
pub struct Configuration {
    pub settings: Settings,
    /// Which configuration this is, in words.
    pub origin: String,
    /// The `.env` file that was read, if there was one.
    pub env_file: Option<(PathBuf, EnvFile)>,
    /// What may not be shown, the longest first.
    secrets: Vec<String>,
}

impl Configuration {
    /// Finds the settings. `env_file` is the user's wish for one file.
    ///
    /// # Errors
    /// A named file that cannot be read.
    pub fn load(env_file: Option<&Path>) -> Result<Configuration, Failure> {
        let environment = Settings::from_env();
        if let Some(path) = env_file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::new(
                    format!("{} cannot be read: {error}", path.display()),
                    "name an existing file after --env-file",
                )
            })?;
            let origin = format!("the environment and {}", path.display());
            let file = Some((path.to_path_buf(), EnvFile::parse(&text)));
            return Ok(Configuration::assemble(
                &environment,
                BTreeMap::new(),
                file,
                origin,
            ));
        }
        let Ok(layout) = Layout::find() else {
            let origin = "the environment (this is no checkout of Midwatch)".to_owned();
            return Ok(Configuration::assemble(
                &environment,
                BTreeMap::new(),
                None,
                origin,
            ));
        };
        let path = layout.root.join(".env");
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => Some((PathBuf::from(".env"), EnvFile::parse(&text))),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                return Err(Failure::new(
                    format!("{} cannot be read: {error}", path.display()),
                    "make it readable, or name another file with --env-file",
                ));
            }
        };
        let demo = AddressBook::open(&layout).ok();
        let mut origin = match &demo {
            Some(_) => "the running demo of this checkout".to_owned(),
            None => "the environment; no demo runs in this checkout".to_owned(),
        };
        if file.is_some() {
            origin.push_str(", and .env");
        }
        let demo = demo.map(|book| book.environment).unwrap_or_default();
        Ok(Configuration::assemble(&environment, demo, file, origin))
    }

    /// Puts the sources together; earlier ones win.
    fn assemble(
        environment: &Settings,
        demo: BTreeMap<String, String>,
        file: Option<(PathBuf, EnvFile)>,
        origin: String,
    ) -> Configuration {
        let assignments = file.iter().flat_map(|(_, file)| &file.assignments);
        let file_values = assignments.map(|one| (one.name.clone(), one.value.clone()));
        let own = environment
            .with_prefix("")
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        // An empty variable is an unset one, and hides nothing.
        let values: BTreeMap<String, String> = file_values
            .chain(demo)
            .chain(own)
            .filter(|(_, value)| !value.trim().is_empty())
            .collect();
        Configuration {
            secrets: secrets(&values),
            settings: Settings::from_values(values),
            origin,
            env_file: file,
        }
    }

    /// A configuration of given values, for tests.
    #[must_use]
    pub fn of(pairs: &[(&str, &str)]) -> Configuration {
        let values = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let origin = "a test".to_owned();
        Configuration::assemble(
            &Settings::from_values(values),
            BTreeMap::new(),
            None,
            origin,
        )
    }

    /// The broker, by the variables that every service reads.
    #[must_use]
    pub fn kafka(&self) -> KafkaSettings {
        kafka_settings(&self.settings)
    }

    /// The API's address without a slash at the end: `--api`, MIDWATCH_API_URL,
    /// DASHBOARD_URL, or the default.
    #[must_use]
    pub fn api_url(&self, wish: Option<&str>) -> String {
        let url = wish
            .map(str::to_owned)
            .or_else(|| self.settings.get("MIDWATCH_API_URL"))
            .or_else(|| self.settings.get("DASHBOARD_URL"))
            .unwrap_or_else(|| DEFAULT_API_URL.to_owned());
        url.trim_end_matches('/').to_owned()
    }

    /// The text without keys, tokens, passwords and the users of URLs.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        self.mask_secrets(&mask_urls(text))
    }

    /// The text without keys, tokens and passwords; examples of URLs stay.
    #[must_use]
    pub fn mask_secrets(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret, "***");
        }
        text
    }
}

/// Values that are secret by their name, and the passwords in URLs. Very short
/// ones would only make a riddle of every text.
fn secrets(values: &BTreeMap<String, String>) -> Vec<String> {
    let words = ["KEY", "PASSWORD", "SECRET", "TOKEN"];
    let mut found: Vec<String> = values
        .iter()
        .filter(|(name, _)| name.split('_').any(|part| words.contains(&part)))
        .map(|(_, value)| value.trim().to_owned())
        .collect();
    for url in values.values() {
        let Some((user, _)) = authority(url).and_then(|authority| authority.rsplit_once('@'))
        else {
            continue;
        };
        if let Some((_, password)) = user.split_once(':') {
            found.push(password.to_owned());
            found.push(percent_decoded(password));
        }
    }
    found.retain(|secret| secret.len() >= 4);
    found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    found.dedup();
    found
}

/// `user:password@host:port` of a URL.
fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some(&rest[..end])
}

/// Replaces user and password in each URL of the text, and what follows
/// `password=`.
fn mask_urls(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        masked.push_str(before);
        let end = after
            .find(|letter: char| letter.is_whitespace() || "/?#\"'<>,)".contains(letter))
            .unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(sign) => {
                masked.push_str("***");
                &after[sign..]
            }
            None => after,
        };
    }
    masked.push_str(rest);
    for name in ["password=", "sslpassword="] {
        let Some(at) = masked.find(name) else {
            continue;
        };
        let start = at + name.len();
        let end = masked[start..]
            .find(|letter: char| letter.is_whitespace() || "&\"',)".contains(letter))
            .map_or(masked.len(), |length| start + length);
        masked.replace_range(start..end, "***");
    }
    masked
}

/// `%40` as `@`; what is no such code stays.
#[must_use]
pub fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|code| std::str::from_utf8(code).ok())
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        decoded.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_the_demo_and_the_demo_over_the_file() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let environment = Settings::from_values([pair("A", "env"), pair("B", " ")]);
        let demo = BTreeMap::from([pair("A", "demo"), pair("B", "demo")]);
        let file = EnvFile::parse("A=file\nB=file\nexport C='file'\nnonsense\n");
        assert_eq!(file.bad_lines, [4]);
        let file = Some((PathBuf::from(".env"), file));
        let found = Configuration::assemble(&environment, demo, file, String::new());
        let values = ["A", "B", "C"].map(|name| found.settings.get(name).unwrap());
        assert_eq!(values, ["env", "demo", "file"]);
    }

    #[test]
    fn nothing_secret_is_shown() {
        let configuration = Configuration::of(&[
            ("OPENAI_API_KEY", "sk-very-secret"),
            ("KAFKA_PROPERTY_SASL_PASSWORD", "hush-hush"),
            (
                "SMTP_URL",
                "smtp://me:p%40ssw0rd@mail.example:587?tls=required",
            ),
            ("REDIS_URL", "redis://:let-me-in@cache:6379"),
        ]);
        for (text, masked) in [
            (
                "postgres://midwatch:pw@db/midwatch is away",
                "postgres://***@db/midwatch is away",
            ),
            ("it said sk-very-secret!", "it said ***!"),
            ("sasl hush-hush refused", "sasl *** refused"),
            ("login of p@ssw0rd failed", "login of *** failed"),
            (
                "\"redis://:let-me-in@cache:6379\" and let-me-in",
                "\"redis://***@cache:6379\" and ***",
            ),
            (
                "postgres://db/m?user=a&password=pw&x=1",
                "postgres://db/m?user=a&password=***&x=1",
            ),
            ("http://127.0.0.1:8000/a@b", "http://127.0.0.1:8000/a@b"),
        ] {
            assert_eq!(configuration.mask(text), masked);
        }
    }

    #[test]
    fn the_api_is_where_the_flag_or_a_variable_says() {
        let both = Configuration::of(&[
            ("MIDWATCH_API_URL", "http://api:1/"),
            ("DASHBOARD_URL", "http://people:2"),
        ]);
        assert_eq!(both.api_url(Some("http://flag:3/")), "http://flag:3");
        assert_eq!(both.api_url(None), "http://api:1");
        let one = Configuration::of(&[("DASHBOARD_URL", "http://people:2")]);
        assert_eq!(one.api_url(None), "http://people:2");
        assert_eq!(Configuration::of(&[]).api_url(None), DEFAULT_API_URL);
    }

    #[test]
    fn percent_codes_are_read_and_others_stay() {
        assert_eq!(percent_decoded("p%40s%zz%"), "p@s%zz%");
    }
}
