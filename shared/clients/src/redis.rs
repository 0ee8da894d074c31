//! Redis: rolling baselines and recent readings.

use crate::error::Gravity;
use fred::prelude::{Builder, Client, ClientLike, Config, ReconnectPolicy};
use std::time::Duration;

/// Log lines of a service that detection keeps, the newest ones; the records of
/// an incident are copied from there.
pub const RECENT_LOGS: u16 = 400;
/// Of those at INFO so many: they tell what normal looks like and must not push
/// errors out.
pub const RECENT_INFO_LINES: u16 = 100;
/// Spans of a service that detection keeps, the newest ones.
pub const RECENT_SPANS: u16 = 200;

/// A failed conversation with Redis.
#[derive(Debug, thiserror::Error)]
#[error("redis: {what}: {detail}")]
pub struct RedisError {
    what: String,
    detail: String,
    gravity: Gravity,
}

impl RedisError {
    /// What a caller can do about it.
    #[must_use]
    pub fn gravity(&self) -> Gravity {
        self.gravity
    }

    fn new(what: &str, error: &fred::error::Error, gravity: Gravity) -> RedisError {
        RedisError {
            what: what.to_owned(),
            detail: error.to_string(),
            gravity,
        }
    }
}

/// Connects to `url` (`redis://`, or `rediss://` for TLS) and waits up to 15 s
/// for the connection. Commands have a limit of 5 s each; a lost connection is
/// taken up again for ever, with a growing pause of up to 2 s.
///
/// # Errors
/// The URL is no Redis URL (fatal), or nobody answered in time (transient).
pub async fn connect(url: &str) -> Result<Client, RedisError> {
    if !url.starts_with("redis") {
        return Err(RedisError {
            what: "REDIS_URL".to_owned(),
            detail: format!("{url} is no Redis URL; it looks like redis://127.0.0.1:6379"),
            gravity: Gravity::Fatal,
        });
    }
    let config = Config::from_url(url)
        .map_err(|error| RedisError::new("REDIS_URL", &error, Gravity::Fatal))?;
    let client = Builder::from_config(config)
        .with_connection_config(|connection| {
            connection.connection_timeout = Duration::from_secs(5);
            connection.internal_command_timeout = Duration::from_secs(5);
            connection.max_command_attempts = 3;
        })
        .with_performance_config(|performance| {
            performance.default_command_timeout = Duration::from_secs(5);
        })
        .set_policy(ReconnectPolicy::new_exponential(0, 50, 2_000, 2))
        .build()
        .map_err(|error| RedisError::new("setting up the client", &error, Gravity::Fatal))?;
    let connected = tokio::time::timeout(Duration::from_secs(15), client.init()).await;
    match connected {
        Ok(Ok(_)) => Ok(client),
        Ok(Err(error)) => Err(RedisError::new("connecting", &error, Gravity::Transient)),
        Err(_) => Err(RedisError {
            what: "connecting".to_owned(),
            detail: "no answer within 15 s".to_owned(),
            gravity: Gravity::Transient,
        }),
    }
}
