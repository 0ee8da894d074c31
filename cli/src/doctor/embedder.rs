//! The embedder: gives vectors of the right length.

use super::{Finding, Probe, chain, since};
use crate::configuration::Configuration;
use midwatch_clients::embeddings::{DIMENSION, EmbeddingsClient, EmbeddingsError, MODEL};
use std::time::{Duration, Instant};

const SERVER: &str = "embedder";

pub(super) fn probe(configuration: &Configuration) -> Probe {
    let settings = &configuration.settings;
    let url = settings.text("EMBEDDINGS_URL", "http://127.0.0.1:8081/v1");
    let key = settings.get("EMBEDDINGS_API_KEY");
    Probe {
        checks: &[SERVER],
        limit: Duration::from_secs(12),
        remedy: "see that the embedder runs and is not overloaded, and that EMBEDDINGS_URL leads to it",
        answer: Box::pin(async move { vec![check(&url, key).await] }),
    }
}

async fn check(url: &str, key: Option<String>) -> Finding {
    let begun = Instant::now();
    let text = "payment-service runs out of database connections".to_owned();
    let answer = match EmbeddingsClient::new(url, key) {
        Ok(client) => client.embed(&[text]).await,
        Err(error) => Err(error),
    };
    match answer {
        // The client refuses vectors of another length.
        Ok(_) => Finding::ok(
            SERVER,
            format!("{DIMENSION} numbers from {url} in {}", since(begun)),
        ),
        Err(error @ EmbeddingsError::Unreachable { .. }) => {
            let found = format!("{url} gives no answer: {}", chain(&error));
            Finding::fail(SERVER, found, remedy(&error))
        }
        Err(error) => Finding::fail(SERVER, chain(&error), remedy(&error)),
    }
}

fn remedy(error: &EmbeddingsError) -> String {
    match error {
        EmbeddingsError::Address { .. } => "correct EMBEDDINGS_URL".to_owned(),
        EmbeddingsError::Unreachable { .. } => {
            "start midwatch-embedder (`make demo` does), or correct EMBEDDINGS_URL".to_owned()
        }
        EmbeddingsError::Refused {
            status: 401 | 403, ..
        } => "correct EMBEDDINGS_API_KEY".to_owned(),
        EmbeddingsError::Refused { .. } | EmbeddingsError::Answer { .. } => format!(
            "set EMBEDDINGS_URL to an OpenAI-compatible endpoint that serves {MODEL} ({DIMENSION} numbers)"
        ),
    }
}
