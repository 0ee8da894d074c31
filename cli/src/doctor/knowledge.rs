//! Qdrant: reachable, with the three collections, filled.

use super::{Finding, Probe, chain, since};
use crate::configuration::Configuration;
use midwatch_clients::embeddings::DIMENSION;
use midwatch_clients::knowledge::COLLECTIONS;
use qdrant_client::qdrant::CountPointsBuilder;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::{Qdrant, QdrantError};
use std::time::{Duration, Instant};

const SERVER: &str = "qdrant";
const FILLED: &str = "qdrant-collections";
const RUN_SEEDER: &str = "run midwatch-seeder (`make seed` for a running demo)";

pub(super) fn probe(configuration: &Configuration) -> Probe {
    let url = configuration
        .settings
        .text("QDRANT_URL", "http://127.0.0.1:6334");
    let key = configuration.settings.get("QDRANT_API_KEY");
    Probe {
        checks: &[SERVER, FILLED],
        limit: Duration::from_secs(12),
        remedy: "see that Qdrant runs, and that QDRANT_URL leads to its gRPC port",
        answer: Box::pin(check(url, key)),
    }
}

async fn check(url: String, key: Option<String>) -> Vec<Finding> {
    let client = Qdrant::from_url(&url)
        .api_key(key)
        .timeout(Duration::from_secs(5))
        .connect_timeout(Duration::from_secs(5))
        .skip_compatibility_check()
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            let found = format!("QDRANT_URL is {url}: {}", chain(&error));
            let remedy = "set it to an address such as http://127.0.0.1:6334";
            return vec![Finding::fail(SERVER, found, remedy)];
        }
    };
    let begun = Instant::now();
    let reply = match client.health_check().await {
        Ok(reply) => reply,
        Err(error) => {
            return vec![Finding::fail(
                SERVER,
                format!("{url} does not answer: {}", chain(&error)),
                "start Qdrant (`make demo` starts one that speaks its protocol), or correct QDRANT_URL (the gRPC port, often 6334) and QDRANT_API_KEY",
            )];
        }
    };
    let server = format!("version {} at {url}, {}", reply.version, since(begun));
    let mut filled = Vec::new();
    for (collection, _) in COLLECTIONS {
        match look(&client, collection).await {
            Ok(Ok(count)) => filled.push(format!("{collection} {count}")),
            Ok(Err(problem)) => {
                let filled = Finding::fail(FILLED, format!("{collection} {problem}"), RUN_SEEDER);
                return vec![Finding::ok(SERVER, server), filled];
            }
            Err(error) => {
                let found = format!("{collection}: {}", chain(&*error));
                let remedy = "see that QDRANT_API_KEY may read it";
                return vec![
                    Finding::ok(SERVER, server),
                    Finding::fail(FILLED, found, remedy),
                ];
            }
        }
    }
    let filled = format!("{}; vectors of {DIMENSION} numbers", filled.join(", "));
    vec![Finding::ok(SERVER, server), Finding::ok(FILLED, filled)]
}

/// The points of a collection, or what is wrong with it.
async fn look(client: &Qdrant, collection: &str) -> Result<Result<u64, String>, Box<QdrantError>> {
    if !client
        .collection_exists(collection)
        .await
        .map_err(Box::new)?
    {
        return Ok(Err("does not exist".to_owned()));
    }
    let info = client.collection_info(collection).await.map_err(Box::new)?;
    let vectors = info
        .result
        .and_then(|info| info.config)
        .and_then(|config| config.params)
        .and_then(|params| params.vectors_config)
        .and_then(|vectors| vectors.config);
    match vectors {
        Some(Config::Params(params)) if params.size == DIMENSION as u64 => {}
        Some(Config::Params(params)) => {
            return Ok(Err(format!(
                "has vectors of {} numbers instead of {DIMENSION}; delete it first",
                params.size
            )));
        }
        _ => return Ok(Err("has no plain vectors; delete it first".to_owned())),
    }
    let request = CountPointsBuilder::new(collection).exact(true);
    let counted = client.count(request).await.map_err(Box::new)?;
    Ok(match counted.result.map_or(0, |result| result.count) {
        0 => Err("is empty".to_owned()),
        count => Ok(count),
    })
}
