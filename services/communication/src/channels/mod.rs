//! Channels other than mail: Slack, PagerDuty, Telegram, and webhooks for
//! whatever else takes JSON (Microsoft Teams, Discord, Mattermost).
//!
//! Each incident has its own queue on each channel, so that messages of one
//! incident come in order and an outage of one channel delays nobody else.

pub mod board;
pub mod book;
pub mod breaker;
pub mod http;
mod pagerduty;
mod shapes;
mod slack;
mod telegram;
mod webhook;

pub use board::{Board, Button, Post, Signal};
pub use book::{Book, Channel, Kind};
pub use breaker::Breaker;

use anyhow::Context as _;
use http::Http;
use midwatch_runtime::agent::JobError;
use sqlx::PgPool;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The job that brings a [`Post`] to its channel.
pub const POST: &str = "post";

/// How long a message waits for a channel that is away, from when it was asked
/// for. Half an hour spans a provider's usual outage; a later message would
/// tell of an incident that people have long met otherwise.
pub const GIVE_UP: Duration = Duration::from_secs(30 * 60);

/// What is known of earlier tries of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    Never,
    /// None of them was taken.
    InVain,
    /// One may have been taken: its answer was lost, or its process ended.
    Unknown,
}

/// Everything that deliveries need.
#[derive(Debug)]
pub struct Channels {
    http: Http,
    pool: PgPool,
    ways: BTreeMap<String, Way>,
}

/// A channel with its secrets.
#[derive(Debug)]
enum Way {
    Slack(slack::Slack),
    PagerDuty(pagerduty::PagerDuty),
    Telegram(telegram::Telegram),
    Webhook(webhook::Webhook),
}

impl Channels {
    /// Reads the channels' secrets. Nothing is contacted yet.
    ///
    /// # Errors
    /// A file cannot be read or is empty, or a URL is none; the message names
    /// the channel.
    pub fn open(book: &Book, pool: PgPool) -> anyhow::Result<Channels> {
        let mut ways = BTreeMap::new();
        for channel in &book.channels {
            let way = way(&channel.kind).with_context(|| format!("channel {:?}", channel.name))?;
            ways.insert(channel.name.clone(), way);
        }
        Ok(Channels {
            http: Http::new()?,
            pool,
            ways,
        })
    }

    /// Brings a message to its channel.
    ///
    /// # Errors
    /// `Transient` where the channel is away, `Permanent` where it refuses.
    pub async fn deliver(&self, post: &Post, tried: Tried) -> Result<String, JobError> {
        let is_retry = tried != Tried::Never;
        let Some(way) = self.ways.get(&post.channel) else {
            return Err(JobError::Permanent(anyhow::anyhow!(
                "channel {:?} is not in NOTIFY_FILE any more",
                post.channel
            )));
        };
        match way {
            Way::Slack(slack) => slack.deliver(&self.http, &self.pool, post, is_retry).await,
            Way::PagerDuty(pager) => pager.deliver(&self.http, post).await,
            Way::Telegram(telegram) => {
                let post = post.marked(tried);
                telegram.deliver(&self.http, &self.pool, &post).await
            }
            Way::Webhook(webhook) => webhook.deliver(&self.http, post, tried).await,
        }
    }
}

fn way(kind: &Kind) -> anyhow::Result<Way> {
    Ok(match kind {
        Kind::Slack {
            channel,
            token_file,
            api_url,
        } => Way::Slack(slack::Slack {
            channel: channel.clone(),
            token: secret(token_file)?,
            api: base(api_url.as_deref(), "https://slack.com/api")?,
        }),
        Kind::Pagerduty {
            routing_key_file,
            api_url,
        } => Way::PagerDuty(pagerduty::PagerDuty {
            routing_key: secret(routing_key_file)?,
            api: base(api_url.as_deref(), "https://events.pagerduty.com")?,
        }),
        Kind::Telegram {
            chat,
            token_file,
            api_url,
            buttons,
        } => Way::Telegram(telegram::Telegram {
            chat: chat.clone(),
            buttons: *buttons,
            token: secret(token_file)?,
            api: base(api_url.as_deref(), "https://api.telegram.org")?,
        }),
        Kind::Webhook {
            url_file,
            secret_file,
            format,
        } => Way::Webhook(webhook::Webhook {
            url: base(Some(secret(url_file)?.as_str()), "")?,
            secret: secret_file.as_deref().map(secret).transpose()?,
            format: *format,
        }),
    })
}

/// The first line of a file that holds one secret.
fn secret(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let text = text.lines().next().unwrap_or_default().trim();
    anyhow::ensure!(
        !text.is_empty(),
        "{} is empty; write the secret on its first line",
        path.display()
    );
    Ok(text.to_owned())
}

/// An address without a slash at its end. Secrets go over TLS, or stay on this
/// machine.
fn base(given: Option<&str>, default: &str) -> anyhow::Result<String> {
    let text = given.unwrap_or(default).trim_end_matches('/');
    let url = reqwest::Url::parse(text).context("its address is not a URL")?;
    let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    anyhow::ensure!(
        url.scheme() == "https" || (url.scheme() == "http" && local),
        "its address must begin with https:// (http:// only on this machine)"
    );
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_leaves_this_machine_in_the_clear() {
        assert!(base(Some("http://chat.example.com"), "").is_err());
        assert!(base(Some("ftp://127.0.0.1"), "").is_err());
        assert!(base(Some("not a url"), "").is_err());
        let kept = base(Some("http://127.0.0.1:9/x/"), "").expect("loopback");
        assert_eq!(kept, "http://127.0.0.1:9/x");
        assert!(base(None, "https://slack.com/api").is_ok());
    }
}
