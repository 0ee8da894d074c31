//! Serves the topic page over made-up messages, for work on the page:
//! `MIDWATCH_TEST_KAFKA=… cargo run -p midwatch-api --example topics -- 127.0.0.1:8080`

#[path = "../tests/topic_page/stage.rs"]
mod stage;

use midwatch_api::topic_page::{self, TopicPage};
use midwatch_api::topics::Topics;
use midwatch_runtime::Shutdown;
use stage::{HOSTILE, Stage, brokers};
use std::sync::Arc;
use std::time::Duration;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let (_, settings) = brokers().remove(0);
    let stage = Stage::set(settings.clone()).await;
    stage.metrics(1_830).await;
    for (key, line) in [
        (
            "order-service",
            r#"{"timestamp_ms":1795356190000,"service":"order-service","environment":"simulation","level":"ERROR","message":"upstream payment-service timed out after 3000 ms","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","labels":{"pod":"order-7f9c"}}"#,
        ),
        (
            HOSTILE,
            r#"{"service":"<img src=x onerror=alert(1)>","level":"WARN","message":"a service may call itself anything"}"#,
        ),
    ] {
        stage.say("raw.logs", key, line).await;
    }
    stage
        .producer
        .publish_bytes("raw.logs", b"agent", b"\xff\xd8\xff\xe0 binary", &[])
        .await?;
    stage
        .dead_letter(
            b"{\"service\": order-service}",
            "expected value at line 1 column 13",
        )
        .await;
    stage
        .dead_letter(b"\xff\xfe\x00", "invalid UTF-8 at byte 0")
        .await;
    let members = tokio::task::block_in_place(|| {
        let topics = ["raw.metrics", "raw.logs"];
        let gone = stage.member("postmortem", "0", &["raw.logs"], 3);
        drop(gone);
        vec![
            stage.member("detection", "0", &topics, 300),
            stage.member("detection", "1", &topics, 0),
            stage.member("correlation", "0", &["raw.spans", "anomalies.detected"], 0),
        ]
    });
    let (switch, shutdown) = Shutdown::channel();
    let page = TopicPage::new(Arc::new(Topics::new(settings)), Some(8000), shutdown);
    let listener = topic_page::listen(address.parse()?).await?;
    println!("http://{}", listener.local_addr()?);
    let served = tokio::spawn(topic_page::serve(page, Some(listener)));
    let mut tick = tokio::time::interval(Duration::from_millis(700));
    loop {
        tokio::select! {
            _ = tick.tick() => { stage.metrics(4).await; }
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    drop(members);
    switch.send_replace(true);
    served.await?
}
