//! Fills the knowledge store from the knowledge folder, verifies, and exits.

use anyhow::Context;
use clap::Parser;
use midwatch_clients::embeddings::EmbeddingsClient;
use midwatch_clients::knowledge::KnowledgeStore;
use midwatch_knowledge::{Knowledge, init_logging, seed};
use std::path::PathBuf;
use std::time::Duration;

/// Seeds the knowledge store: incidents, runbooks and service records.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Folder with services.json, incidents/ and runbooks/.
    #[arg(long, env = "KNOWLEDGE_DIR", default_value = "knowledge")]
    knowledge_dir: PathBuf,
    /// gRPC address of the knowledge store.
    #[arg(long, env = "QDRANT_URL", default_value = "http://127.0.0.1:6334")]
    qdrant_url: String,
    #[arg(long, env = "QDRANT_API_KEY", hide_env_values = true)]
    qdrant_api_key: Option<String>,
    /// Address of the embeddings endpoint, up to and including /v1.
    #[arg(
        long,
        env = "EMBEDDINGS_URL",
        default_value = "http://127.0.0.1:8081/v1"
    )]
    embeddings_url: String,
    #[arg(long, env = "EMBEDDINGS_API_KEY", hide_env_values = true)]
    embeddings_api_key: Option<String>,
    /// Seconds to wait for store and embedder to come up.
    #[arg(long, default_value_t = 60)]
    wait_seconds: u64,
    /// Only check the files; contact nothing.
    #[arg(long)]
    check: bool,
    /// auto, human or json.
    #[arg(long, env = "LOG_FORMAT", default_value = "auto")]
    log_format: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    init_logging(&arguments.log_format);
    let knowledge = Knowledge::load(&arguments.knowledge_dir)?;
    tracing::info!(
        services = knowledge.services.len(),
        incidents = knowledge.incidents.len(),
        runbooks = knowledge.runbooks.len(),
        "knowledge folder is valid"
    );
    if arguments.check {
        return Ok(());
    }
    let key = |key: Option<String>| key.filter(|key| !key.is_empty());
    let embeddings =
        EmbeddingsClient::new(&arguments.embeddings_url, key(arguments.embeddings_api_key))?;
    let store = KnowledgeStore::connect(
        &arguments.qdrant_url,
        key(arguments.qdrant_api_key),
        embeddings.clone(),
    )?;
    let limit = Duration::from_secs(arguments.wait_seconds);
    seed::wait_until_ready(&store, &embeddings, limit).await?;
    let report = seed::seed(&store, &knowledge)
        .await
        .context("the knowledge store was not filled; run midwatch-seeder again")?;
    for one in report {
        tracing::info!(
            collection = one.collection,
            points = one.points,
            removed = one.removed,
            "seeded and verified"
        );
    }
    Ok(())
}
