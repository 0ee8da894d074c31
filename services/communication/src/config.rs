//! Settings of the communication agent.

use crate::channels::book::DIGEST_LONGEST;
use lettre::Address;
use midwatch_clients::signed_link::LinkKey;
use midwatch_runtime::config::Settings;
use std::path::PathBuf;

/// Default of `SMTP_URL`: the local stack's inbox, without TLS on loopback.
pub const DEFAULT_SMTP_URL: &str = "smtp://127.0.0.1:1025";
/// Default of `DASHBOARD_URL`.
pub const DEFAULT_DASHBOARD_URL: &str = "http://127.0.0.1:8000";
/// Default of `DIGEST_MINUTES`: what is of low severity can wait an hour, and
/// a mail an hour is still read.
pub const DIGEST_MINUTES: u32 = 60;

/// How long (wall clock) a mail waits for the incident's first one. Topics
/// have no order among each other; after a crash of correlation's publisher
/// its outbox is flushed within seconds, so a minute is generous. Longer would
/// keep people in the dark, shorter would break threads for nothing.
pub const OPENED_WAIT_MS: i64 = 60_000;
/// How long a plan waits for the cause that it answers.
pub const CAUSE_WAIT_MS: i64 = 20_000;
/// How long the end waits for the plan: good news may wait half a minute so
/// that the story arrives in order.
pub const PLAN_WAIT_MS: i64 = 30_000;
/// How long the postmortem waits for the end.
pub const RESOLVED_WAIT_MS: i64 = 60_000;

/// Where mails come from and go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// `MAIL_FROM`.
    pub from: String,
    /// `MAIL_ONCALL`, one or more, separated by commas.
    pub on_call: Vec<String>,
    /// `MAIL_TEAM`.
    pub team: Vec<String>,
    /// `MAIL_MANAGEMENT`.
    pub management: Vec<String>,
}

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    pub addresses: Addresses,
    /// `SMTP_URL`: `smtp://` (add `?tls=required` for STARTTLS) or `smtps://`,
    /// with `user:password@` where the server wants it. A login, and one-time
    /// links, go to another machine over TLS only.
    pub smtp_url: String,
    /// `SMTP_CA_FILE`: a PEM certificate to trust besides the system's.
    pub smtp_ca_file: Option<PathBuf>,
    /// `DASHBOARD_URL`, without a slash at the end.
    pub dashboard_url: String,
    /// `KNOWLEDGE_DIR`, the folder of `services.json`.
    pub knowledge_dir: PathBuf,
    /// `APPROVAL_LINK_KEY_FILE`: what links in mails are signed with, the same
    /// file as the API's.
    pub link_key: Option<LinkKey>,
    /// `NOTIFY_FILE`: channels other than mail, routes and escalation.
    pub notify_file: Option<PathBuf>,
    /// `DIGEST_MINUTES`: wall clock between digests of LOW incidents by mail;
    /// 0 for a mail each.
    pub digest_minutes: u32,
}

impl Config {
    /// Reads the settings and notes what is wrong with them.
    pub fn read(settings: &mut Settings) -> Config {
        let from = addresses(settings, "MAIL_FROM", "midwatch@midwatch.example");
        let smtp_url = settings.text("SMTP_URL", DEFAULT_SMTP_URL);
        let link_key = link_key(settings);
        let links = link_key
            .as_ref()
            .map(|_| crate::smtp::check_links(&smtp_url));
        // One complaint: a login that goes in the clear says what to write.
        if let Err(problem) = crate::smtp::check_url(&smtp_url).and(links.unwrap_or(Ok(()))) {
            settings.complain(problem);
        }
        let dashboard_url = settings.text("DASHBOARD_URL", DEFAULT_DASHBOARD_URL);
        if !dashboard_url.starts_with("http://") && !dashboard_url.starts_with("https://") {
            settings.problem(
                "DASHBOARD_URL",
                &dashboard_url,
                "set it to the address that people open, such as http://127.0.0.1:8000",
            );
        }
        Config {
            addresses: Addresses {
                from: from.into_iter().next().unwrap_or_default(),
                on_call: addresses(settings, "MAIL_ONCALL", "oncall@midwatch.example"),
                team: addresses(settings, "MAIL_TEAM", "team@midwatch.example"),
                management: addresses(settings, "MAIL_MANAGEMENT", "management@midwatch.example"),
            },
            smtp_url,
            smtp_ca_file: settings.get("SMTP_CA_FILE").map(PathBuf::from),
            dashboard_url: dashboard_url.trim_end_matches('/').to_owned(),
            knowledge_dir: PathBuf::from(settings.text("KNOWLEDGE_DIR", "knowledge")),
            link_key,
            notify_file: settings.get("NOTIFY_FILE").map(PathBuf::from),
            digest_minutes: settings.number("DIGEST_MINUTES", DIGEST_MINUTES, 0..=DIGEST_LONGEST),
        }
    }
}

fn link_key(settings: &mut Settings) -> Option<LinkKey> {
    let file = settings.get("APPROVAL_LINK_KEY_FILE")?;
    match LinkKey::read(std::path::Path::new(&file)) {
        Ok(key) => Some(key),
        Err(error) => {
            settings.problem("APPROVAL_LINK_KEY_FILE", &file, &error.to_string());
            None
        }
    }
}

/// Whether `text` is one mail address and nothing more.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.parse::<Address>().is_ok()
}

fn addresses(settings: &mut Settings, name: &str, default: &str) -> Vec<String> {
    let text = settings.text(name, default);
    let list: Vec<String> = text
        .split(',')
        .map(|address| address.trim().to_owned())
        .filter(|address| !address.is_empty())
        .collect();
    if list.is_empty() || !list.iter().all(|address| is_address(address)) {
        settings.problem(name, &text, "set it to mail addresses separated by commas");
        return vec![default.to_owned()];
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let owned = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_values(owned)
    }

    #[test]
    fn nothing_set_is_a_working_local_configuration() {
        let mut settings = settings(&[]);
        let config = Config::read(&mut settings);
        assert_eq!(config.addresses.on_call, ["oncall@midwatch.example"]);
        assert_eq!(config.smtp_url, DEFAULT_SMTP_URL);
        assert_eq!(settings.finish(), Ok(()));
    }

    #[test]
    fn bad_values_are_named_all_at_once() {
        let mut settings = settings(&[
            ("MAIL_TEAM", "not an address"),
            ("SMTP_URL", "http://mail"),
            ("DASHBOARD_URL", "javascript:alert(1)"),
        ]);
        Config::read(&mut settings);
        let error = settings.finish().expect_err("three problems").to_string();
        for name in ["MAIL_TEAM", "SMTP_URL", "DASHBOARD_URL"] {
            assert!(error.contains(name), "{name} in {error}");
        }
    }

    #[test]
    fn links_that_approve_want_a_protected_way() {
        // Any file of a key's size.
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        for (url, has_key, fits) in [
            ("smtp://mailpit:1025", false, true),
            ("smtp://mailpit:1025", true, false),
            ("smtp://mailpit:1025?tls=required", true, true),
            ("smtp://127.0.0.1:1025", true, true),
        ] {
            let mut pairs = vec![("SMTP_URL", url)];
            pairs.extend(has_key.then_some(("APPROVAL_LINK_KEY_FILE", file)));
            let mut settings = settings(&pairs);
            Config::read(&mut settings);
            let read = settings.finish();
            assert_eq!(read.is_ok(), fits, "{url}, {has_key}: {read:?}");
        }
    }

    #[test]
    fn several_addresses_are_separated_by_commas() {
        let mut settings = settings(&[("MAIL_TEAM", "a@example.com, b@example.com")]);
        let config = Config::read(&mut settings);
        assert_eq!(config.addresses.team, ["a@example.com", "b@example.com"]);
    }
}
