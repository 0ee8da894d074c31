//! The API: does it answer, and can it do its work?

use super::{Finding, Probe, since};
use crate::api::Api;
use crate::configuration::Configuration;
use crate::failure::Failure;
use std::time::{Duration, Instant};

const API: &str = "api";

pub(super) fn probe(configuration: &Configuration, wish: Option<&str>) -> Probe {
    let url = configuration.api_url(wish);
    Probe {
        checks: &[API],
        limit: Duration::from_secs(12),
        remedy: "see that midwatch-api runs and is not overloaded",
        answer: Box::pin(async move { vec![check(url).await] }),
    }
}

async fn check(url: String) -> Finding {
    let begun = Instant::now();
    let answer = match Api::new(&url) {
        Ok(api) => api.get("/health", &[]).await,
        Err(failure) => Err(failure),
    };
    match answer {
        Ok(health) => {
            let status = health["status"].as_str().unwrap_or("no status");
            let found = format!("{url} is {status}, {}", since(begun));
            if status == "ok" {
                Finding::ok(API, found)
            } else {
                Finding::fail(API, found, "see the log of midwatch-api (`make logs-api`)")
            }
        }
        Err(Failure::Problem { what, mend }) => Finding::fail(API, what, mend),
        Err(Failure::BrokenPipe) => Finding::fail(API, "the connection broke", "look again"),
    }
}
