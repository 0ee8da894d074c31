//! What the API reads from Redis and from the broker, against the real ones.

use crate::fixture::{Cast, METRIC, Scratch, Stage, write};
use fred::interfaces::{KeysInterface, SortedSetsInterface};
use midwatch_api::App;
use midwatch_api::known::Known;
use midwatch_api::params::find_incident;
use midwatch_api::series::{self, Recent};
use midwatch_api::topics::Topics;
use midwatch_clients::kafka::{KafkaSettings, Producer, create_topics};
use midwatch_clients::redis;
use midwatch_events::topics::TOPICS;
use midwatch_runtime::{Settings, Shutdown, clock};
use std::time::{Duration, Instant};

fn variable(name: &str) -> Option<String> {
    Settings::from_env().get(name)
}

#[tokio::test]
async fn recent_readings_extend_the_kept_ones_and_say_what_was_expected() {
    let url = variable("MIDWATCH_TEST_REDIS_URL")
        .expect("MIDWATCH_TEST_REDIS_URL names a Redis; `midwatch-stack exec` sets it");
    let scratch = Scratch::create().await;
    let mut cast = Cast::usual("redis", 4);
    // A service of its own keeps this test's key apart from others'.
    cast.primary = format!("payment-{}", clock::random_id().simple());
    write(&scratch.pool, &cast, Stage::Resolved).await;
    let client = redis::connect(&url).await.unwrap();
    let key = format!("midwatch:recent:simulation:{}:{METRIC}", cast.primary);
    let last = cast.wall_ms + 420_000;
    for (at_ms, value, reason) in [
        // From before reasons were kept.
        (cast.wall_ms, 71.5, ""),
        (last + 10_000, 30.5, ",\"twice the largest error\""),
        // More than ten minutes after the end: not part of this incident.
        (last + 3_600_000, 99.0, ",\"\""),
    ] {
        let member = format!("[{at_ms},{value},0.5,30.0,26.0,34.0,{at_ms},\"id\"{reason}]");
        let added: i64 = client
            .zadd(&key, None, None, false, false, (at_ms as f64, member))
            .await
            .unwrap();
        assert_eq!(added, 1);
    }
    let (_switch, shutdown) = Shutdown::channel();
    let topics = Topics::new(KafkaSettings::at("127.0.0.1:1"));
    let app = App::new(&scratch.pool, Recent::of(client.clone()), topics, shutdown);
    let row = find_incident(&app.pool, &cast.id.to_string())
        .await
        .unwrap();
    let known = Known::read(&row);
    let series = series::load(&app, &row, &known, &cast.primary, METRIC)
        .await
        .unwrap();
    assert_eq!(series.source, "redis+records");
    assert_eq!(series.points.len(), 134);
    let end = series.points.last().unwrap();
    assert_eq!(
        (end.at_ms, end.value, end.high, end.reason.as_str()),
        (last + 10_000, 30.5, Some(34.0), "twice the largest error")
    );
    let trigger = series
        .points
        .iter()
        .find(|point| point.at_ms == cast.wall_ms)
        .unwrap();
    assert_eq!(
        (trigger.value, trigger.score, trigger.reason.as_str()),
        (71.5, Some(0.5), "")
    );
    let removed: i64 = client.del(&key).await.unwrap();
    assert_eq!(removed, 1);
    app.pool.close().await;
    scratch.close().await;
}

#[tokio::test]
async fn topics_show_offsets_and_an_answer_is_kept_for_a_moment() {
    let brokers: Vec<String> = ["MIDWATCH_TEST_KAFKA", "MIDWATCH_TEST_TANSU"]
        .into_iter()
        .filter_map(variable)
        .collect();
    assert!(
        !brokers.is_empty(),
        "neither MIDWATCH_TEST_KAFKA nor MIDWATCH_TEST_TANSU names a broker; `midwatch-stack exec` sets them"
    );
    for broker in brokers {
        let mut settings = KafkaSettings::at(&broker);
        settings.topic_prefix = format!("api-{}.", clock::random_id().simple());
        settings.partitions = 2;
        create_topics(&settings).await.unwrap();
        let producer = Producer::new(&settings).unwrap();
        for key in ["a", "b", "c", "d", "e"] {
            producer
                .publish_bytes("raw.metrics", key.as_bytes(), b"{}", &[])
                .await
                .unwrap();
        }
        let topics = Topics::new(settings.clone());
        let view = topics.view().await.unwrap();
        assert!(view.reachable, "{broker}: {:?}", view.error);
        assert_eq!(
            view.topics.len(),
            TOPICS.len() * 2 + 1,
            "{broker}: and the epoch's topic"
        );
        let metrics = &view.topics[0];
        assert_eq!(metrics.name, settings.topic("raw.metrics"));
        let partitions = metrics.partitions.as_ref().unwrap();
        assert_eq!(partitions.len(), 2, "{broker}");
        assert_eq!(metrics.messages, Some(5), "{broker}: {partitions:?}");
        let asked = Instant::now();
        assert!(std::sync::Arc::ptr_eq(&view, &topics.view().await.unwrap()));
        assert!(asked.elapsed() < Duration::from_millis(500));
    }
}
