//! Prepares an empty broker and database, once: topics, epoch, schema.

use midwatch_clients::kafka;
use midwatch_runtime::{ServiceContext, clock, run_service};
use std::process::ExitCode;

fn main() -> ExitCode {
    run_service("init", init)
}

async fn init(context: ServiceContext) -> anyhow::Result<()> {
    let postgres = context.postgres().await?;
    postgres.migrate().await?;
    tracing::info!("the schema is up to date");
    let created = kafka::create_topics(&context.kafka).await?;
    let epoch = kafka::ensure_epoch(&context.kafka, &clock::random_id().to_string()).await?;
    tracing::info!(created, epoch, "the broker is prepared");
    Ok(())
}
