//! Redis: reachable, never dropping a key by itself, and writing to disk.

use super::{Finding, Probe, reason, since};
use crate::configuration::Configuration;
use fred::interfaces::ClientLike;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SERVER: &str = "redis";
const POLICY: &str = "redis-policy";
const DISK: &str = "redis-persistence";

pub(super) fn probe(configuration: &Configuration) -> Probe {
    let url = configuration
        .settings
        .text("REDIS_URL", "redis://127.0.0.1:6379");
    Probe {
        checks: &[SERVER, POLICY, DISK],
        limit: Duration::from_secs(10),
        remedy: "see that Redis runs, and that REDIS_URL leads to it",
        answer: Box::pin(check(url)),
    }
}

async fn check(url: String) -> Vec<Finding> {
    let begun = Instant::now();
    let client = match midwatch_clients::redis::connect(&url).await {
        Ok(client) => client,
        Err(error) => {
            return vec![Finding::fail(
                SERVER,
                format!("{url}: {}", reason(&error.to_string())),
                "start Redis (`make demo` does), or correct REDIS_URL: redis://user:password@host:6379, rediss:// for TLS",
            )];
        }
    };
    let connected = since(begun);
    let told: Result<String, _> = client.info(None).await;
    client.quit().await.ok();
    match told {
        Ok(info) => judge(&fields(&info), &url, &connected),
        Err(error) => vec![Finding::fail(
            SERVER,
            format!("{url} does not answer INFO: {error}"),
            "allow this user the command INFO",
        )],
    }
}

/// `name:value` lines.
fn fields(info: &str) -> BTreeMap<&str, &str> {
    info.lines()
        .filter_map(|line| line.trim().split_once(':'))
        .collect()
}

fn judge(info: &BTreeMap<&str, &str>, url: &str, connected: &str) -> Vec<Finding> {
    let version = info.get("redis_version").copied().unwrap_or("?");
    let memory = info.get("used_memory_human").copied().unwrap_or("?");
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    let server = match major {
        Some(major) if major >= 7 => Finding::ok(
            SERVER,
            format!("version {version} at {url}, {memory} used, connected in {connected}"),
        ),
        Some(_) => Finding::fail(
            SERVER,
            format!("version {version} at {url} is older than 7"),
            "run Redis 7 or newer, or Valkey",
        ),
        None => Finding::warn(
            SERVER,
            format!("{url} does not tell its version"),
            "see that it is Redis 7 or newer",
        ),
    };
    let policy = match info.get("maxmemory_policy").copied() {
        Some("noeviction") => Finding::ok(POLICY, "maxmemory-policy is noeviction"),
        Some(policy) => Finding::fail(
            POLICY,
            format!(
                "maxmemory-policy is {policy}: with its memory full, Redis would drop baselines in silence"
            ),
            "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
        ),
        None => Finding::warn(
            POLICY,
            "the server does not tell its maxmemory-policy",
            "see that it is noeviction",
        ),
    };
    let disk = match info.get("aof_enabled").copied() {
        Some("1") => Finding::ok(DISK, "the append-only file is on"),
        Some(_) => Finding::fail(
            DISK,
            "the append-only file is off: after a restart detection would have to learn anew",
            "redis-cli CONFIG SET appendonly yes, and the same in redis.conf",
        ),
        None => Finding::warn(
            DISK,
            "the server does not tell whether it writes an append-only file",
            "see that appendonly is yes",
        ),
    };
    vec![server, policy, disk]
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn statuses(info: &str) -> Vec<Status> {
        let found = judge(&fields(info), "redis://127.0.0.1:6379", "1 ms");
        found.iter().map(|finding| finding.status).collect()
    }

    #[test]
    fn only_a_server_that_keeps_everything_is_right() {
        use Status::{Fail, Ok, Warn};
        let good = "# Server\r\nredis_version:7.0.15\r\nused_memory_human:2M\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n";
        assert_eq!(statuses(good), [Ok, Ok, Ok]);
        let bad = good
            .replace("7.0.15", "6.2.1")
            .replace("noeviction", "allkeys-lru")
            .replace("aof_enabled:1", "aof_enabled:0");
        assert_eq!(statuses(&bad), [Fail, Fail, Fail]);
        assert_eq!(statuses(""), [Warn, Warn, Warn]);
    }
}
