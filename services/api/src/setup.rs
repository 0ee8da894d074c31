//! The settings of the API beside its address and its database.

use crate::App;
use crate::agents::{Prober, Source};
use crate::fleet::CatalogueFile;
use crate::operators::{Operators, Proxy};
use crate::origin::Origins;
use crate::pagerduty::PagerDuty;
use crate::pages::Pages;
use crate::slack::Slack;
use crate::telegram::Telegram;
use midwatch_clients::embeddings::EmbeddingsClient;
use midwatch_clients::knowledge::KnowledgeStore;
use midwatch_clients::signed_link::LinkKey;
use midwatch_runtime::Settings;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the environment says.
pub struct Setup {
    endpoints: Source,
    knowledge_dir: PathBuf,
    knowledge: Option<KnowledgeStore>,
    dashboard: Option<String>,
    operators: Operators,
    link_key: Option<LinkKey>,
    slack: Option<Slack>,
    pagerduty: Option<PagerDuty>,
    telegram: Option<Telegram>,
    duplicate_window_ms: i64,
    links: Vec<(&'static str, String)>,
}

impl Setup {
    /// Reads `AGENT_ENDPOINTS`, `KNOWLEDGE_DIR`, `QDRANT_URL`,
    /// `EMBEDDINGS_URL` with their keys, `DASHBOARD_URL`, `TOPICS_URL`,
    /// `INBOX_URL`, `OPERATOR_TOKENS_FILE`, `OPERATOR_PROXY_HEADER`,
    /// `OPERATOR_PROXY_ADDRESSES`, `APPROVAL_LINK_KEY_FILE`,
    /// `SLACK_SIGNING_SECRET_FILE`, `SLACK_RESPONSE_URL`,
    /// `PAGERDUTY_WEBHOOK_SECRET_FILE`, `TELEGRAM_WEBHOOK_SECRET_FILE` and
    /// `DUPLICATE_WINDOW_MINUTES`; bad values are noted in `settings`.
    #[must_use]
    pub fn read(settings: &Settings) -> Setup {
        let text = settings.text("AGENT_ENDPOINTS", "");
        let endpoints = Source::parse(&text).unwrap_or_else(|problem| {
            settings.problem(
                "AGENT_ENDPOINTS",
                &text,
                &format!("{problem}; name processes as in detection=http://127.0.0.1:9101"),
            );
            Source::Named(Vec::new())
        });
        let pages = [("Topics", "TOPICS_URL"), ("Inbox", "INBOX_URL")];
        let links = pages.into_iter().filter_map(|(title, name)| {
            let address = settings.get(name)?;
            if is_page(&address) {
                return Some((title, address));
            }
            let fix = "set it to an address such as http://127.0.0.1:8080, or unset it";
            settings.problem(name, &address, fix);
            None
        });
        let dashboard = settings.get("DASHBOARD_URL");
        Setup {
            endpoints,
            knowledge_dir: settings.text("KNOWLEDGE_DIR", "knowledge").into(),
            knowledge: knowledge(settings),
            operators: operators(settings, dashboard.as_deref()),
            link_key: link_key(settings),
            slack: slack(settings),
            pagerduty: shared(
                settings,
                "PAGERDUTY_WEBHOOK_SECRET_FILE",
                settings.get("PAGERDUTY_WEBHOOK_SECRET_FILE"),
                PagerDuty::read,
            ),
            telegram: shared(
                settings,
                "TELEGRAM_WEBHOOK_SECRET_FILE",
                settings.get("TELEGRAM_WEBHOOK_SECRET_FILE"),
                Telegram::read,
            ),
            duplicate_window_ms: i64::from(settings.number(
                "DUPLICATE_WINDOW_MINUTES",
                60_u32,
                1..=1_440,
            )) * 60_000,
            dashboard,
            links: links.collect(),
        }
    }

    /// Makes `app` follow it.
    pub fn apply(self, app: &mut App) {
        app.prober = Arc::new(Prober::new(self.endpoints));
        app.catalogue = Arc::new(CatalogueFile::below(&self.knowledge_dir));
        app.knowledge = self.knowledge;
        app.origins = Arc::new(Origins::new(self.dashboard.as_deref()));
        app.operators = Arc::new(self.operators);
        app.link_key = self.link_key.map(Arc::new);
        app.slack = self.slack.map(Arc::new);
        app.pagerduty = self.pagerduty.map(Arc::new);
        app.telegram = self.telegram.map(Arc::new);
        app.duplicate_window_ms = self.duplicate_window_ms;
        app.pages = Arc::new(Pages::with_links(&self.links));
    }
}

/// Without a file nobody may give commands, which is a normal state.
fn operators(settings: &Settings, dashboard: Option<&str>) -> Operators {
    let secure = dashboard.is_some_and(|url| url.starts_with("https://"));
    let file = settings.get("OPERATOR_TOKENS_FILE");
    let operators = Operators::new(file.as_ref().map(PathBuf::from), secure);
    if let Err(problem) = operators.check() {
        let value = file.unwrap_or_default();
        let fix = "name a readable file with lines `name token` or `name:sha256`";
        settings.problem("OPERATOR_TOKENS_FILE", &value, &format!("{problem}; {fix}"));
    }
    operators.behind(proxy(settings))
}

/// A proxy that signs people in: its header and its addresses belong together.
fn proxy(settings: &Settings) -> Option<Proxy> {
    let header = settings.text("OPERATOR_PROXY_HEADER", "");
    let addresses = settings.text("OPERATOR_PROXY_ADDRESSES", "");
    if header.is_empty() && addresses.is_empty() {
        return None;
    }
    Proxy::new(&header, &addresses)
        .map_err(|(name, fix)| {
            let value = if name == "OPERATOR_PROXY_HEADER" {
                &header
            } else {
                &addresses
            };
            settings.problem(name, value, &format!("set it to {fix}, or unset both"));
        })
        .ok()
}

fn link_key(settings: &Settings) -> Option<LinkKey> {
    let file = settings.get("APPROVAL_LINK_KEY_FILE")?;
    LinkKey::read(Path::new(&file))
        .map_err(|problem| {
            let fix = format!("{problem}; name a readable file with the key, or unset it");
            settings.problem("APPROVAL_LINK_KEY_FILE", &file, &fix);
        })
        .ok()
}

fn slack(settings: &Settings) -> Option<Slack> {
    let replies_to = settings.text("SLACK_RESPONSE_URL", "https://hooks.slack.com/");
    let file = settings.get("SLACK_SIGNING_SECRET_FILE");
    shared(settings, "SLACK_SIGNING_SECRET_FILE", file, |file| {
        Slack::read(file, &replies_to)
    })
}

/// What a door shares with its product; without a file it stays shut.
fn shared<T>(
    settings: &Settings,
    name: &'static str,
    file: Option<String>,
    read: impl FnOnce(&Path) -> Result<T, String>,
) -> Option<T> {
    let file = file?;
    read(Path::new(&file))
        .map_err(|problem| {
            let fix = format!("{problem}; name a readable file with the secret, or unset it");
            settings.problem(name, &file, &fix);
        })
        .ok()
}

/// Nothing is contacted yet: a store that is away shows on its page.
fn knowledge(settings: &Settings) -> Option<KnowledgeStore> {
    let url = settings.text("EMBEDDINGS_URL", "http://127.0.0.1:8081/v1");
    let embeddings = EmbeddingsClient::new(&url, settings.get("EMBEDDINGS_API_KEY"))
        .map_err(|error| settings.complain(error.to_string()))
        .ok()?;
    let url = settings.text("QDRANT_URL", "http://127.0.0.1:6334");
    KnowledgeStore::connect(&url, settings.get("QDRANT_API_KEY"), embeddings)
        .map_err(|error| settings.complain(error.to_string()))
        .ok()
}

/// A link in a page must lead to a page, and run nothing.
fn is_page(address: &str) -> bool {
    reqwest::Url::parse(address).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Settings::from_values(pairs.iter().map(owned))
    }

    #[test]
    fn every_bad_value_is_named() {
        let bad = settings(&[
            ("AGENT_ENDPOINTS", "detection"),
            ("TOPICS_URL", "javascript:alert(1)"),
            ("INBOX_URL", "http://127.0.0.1:8025"),
            ("EMBEDDINGS_URL", "redis://x"),
            ("OPERATOR_TOKENS_FILE", "/nowhere/operators"),
            ("OPERATOR_PROXY_HEADER", "X-Forwarded-User"),
            ("APPROVAL_LINK_KEY_FILE", "/nowhere/key"),
            ("SLACK_SIGNING_SECRET_FILE", "/nowhere/secret"),
            ("PAGERDUTY_WEBHOOK_SECRET_FILE", "/nowhere/pager"),
            ("TELEGRAM_WEBHOOK_SECRET_FILE", "/nowhere/bot"),
        ]);
        let setup = Setup::read(&bad);
        assert_eq!(setup.links, [("Inbox", "http://127.0.0.1:8025".to_owned())]);
        let error = bad.finish().unwrap_err().to_string();
        for name in [
            "AGENT_ENDPOINTS",
            "TOPICS_URL",
            "EMBEDDINGS_URL",
            "OPERATOR_TOKENS_FILE is \"/nowhere/operators\"",
            "OPERATOR_PROXY_ADDRESSES",
            "APPROVAL_LINK_KEY_FILE is \"/nowhere/key\"",
            "SLACK_SIGNING_SECRET_FILE is \"/nowhere/secret\"",
            "PAGERDUTY_WEBHOOK_SECRET_FILE is \"/nowhere/pager\"",
            "TELEGRAM_WEBHOOK_SECRET_FILE is \"/nowhere/bot\"",
        ] {
            assert!(error.contains(name), "{name} in {error}");
        }
        assert!(!error.contains("INBOX_URL"), "{error}");
    }
}
