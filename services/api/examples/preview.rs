//! Serves the pages over made-up incidents, for work on the pages:
//! `MIDWATCH_TEST_DATABASE_URL=… cargo run -p midwatch-api --example preview -- 127.0.0.1:8000`

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use fixture::{Cast, Scratch, Stage, write};
use midwatch_api::series::Recent;
use midwatch_api::topics::Topics;
use midwatch_api::{App, serve};
use midwatch_clients::kafka::KafkaSettings;
use midwatch_runtime::Shutdown;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let scratch = Scratch::create().await;
    if std::env::args().nth(2).as_deref() != Some("empty") {
        for (seed, minutes, stage) in [
            ("a", 190, Stage::Resolved),
            ("b", 95, Stage::Resolved),
            ("c", 31, Stage::Resolved),
            ("d", 6, Stage::Planned),
            ("e", 1, Stage::Opened),
        ] {
            write(&scratch.pool, &Cast::usual(seed, minutes), stage).await;
        }
        write(
            &scratch.pool,
            &Cast::hostile("<img src=x onerror=alert(1)>"),
            Stage::Resolved,
        )
        .await;
    }
    let (switch, shutdown) = Shutdown::channel();
    let topics = Topics::new(KafkaSettings::at("127.0.0.1:1"));
    let app = App::new(&scratch.pool, Recent::default(), topics, shutdown);
    let listener = tokio::net::TcpListener::bind(&address).await?;
    println!("http://{address}");
    let served = tokio::spawn(serve(app, listener));
    tokio::signal::ctrl_c().await?;
    switch.send_replace(true);
    served.await??;
    scratch.close().await;
    Ok(())
}
