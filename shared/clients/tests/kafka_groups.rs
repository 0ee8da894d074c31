//! Groups, pages of messages and live reading, against every broker that can
//! be had here.

mod support;

use midwatch_clients::kafka::{
    self, BrokerReader, Followed, Group, KafkaSettings, Producer, Record, Start,
};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use support::{needed, variable};

const LIMIT: Duration = Duration::from_secs(30);

/// Whether the broker is the fallback one, and settings with a prefix that no
/// other test has.
fn brokers(test: &str) -> Vec<(bool, KafkaSettings)> {
    let found: Vec<(bool, String)> = [
        (false, "MIDWATCH_TEST_KAFKA"),
        (true, "MIDWATCH_TEST_TANSU"),
    ]
    .into_iter()
    .filter_map(|(tansu, name)| Some((tansu, variable(name)?)))
    .collect();
    if found.is_empty() {
        needed("MIDWATCH_TEST_TANSU");
    }
    found
        .into_iter()
        .map(|(tansu, broker)| {
            let mut settings = KafkaSettings::at(&broker);
            settings.topic_prefix = format!("{test}{}.", std::process::id());
            (tansu, settings)
        })
        .collect()
}

/// Publishes all at once, so that they share batches; answers with their
/// partitions and offsets.
async fn publish(
    settings: &KafkaSettings,
    topic: &str,
    messages: impl Iterator<Item = (String, String)>,
) -> Vec<(i32, i64)> {
    let producer = Producer::new(settings).expect("a producer");
    let headers = [("kind".to_owned(), "test".to_owned())];
    let sends = messages.map(|(key, text)| {
        let (producer, headers) = (producer.clone(), headers.clone());
        async move {
            producer
                .publish_bytes(topic, key.as_bytes(), text.as_bytes(), &headers)
                .await
                .expect("acknowledged")
        }
    });
    futures::future::join_all(sends).await
}

fn numbered(count: usize) -> impl Iterator<Item = (String, String)> {
    (0..count).map(|index| (format!("k{}", index % 7), format!("{{\"n\":{index}}}")))
}

/// Joins, reads `count` messages and commits.
fn consume(settings: &KafkaSettings, agent: &str, topic: &str, count: usize) -> BaseConsumer {
    let consumer: BaseConsumer = settings
        .consumer_config(&settings.group(agent), "0")
        .create()
        .expect("a consumer");
    consumer
        .subscribe(&[&settings.topic(topic)])
        .expect("subscribed");
    let deadline = Instant::now() + LIMIT;
    let mut seen = 0;
    while seen < count {
        assert!(Instant::now() < deadline, "{seen} of {count} messages came");
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            consumer
                .store_offset(message.topic(), message.partition(), message.offset())
                .expect("stored");
            seen += 1;
        }
    }
    consumer
        .commit_consumer_state(CommitMode::Sync)
        .expect("committed");
    consumer
}

async fn group(reader: &BrokerReader, name: &str) -> Group {
    let reading = reader.groups().await.expect("groups");
    assert_eq!(reading.left_off, 0);
    let names: Vec<&str> = reading.groups.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(
        names,
        [name],
        "only groups under the prefix, and only one that was joined"
    );
    reading.groups.into_iter().next().expect("judged above")
}

#[tokio::test]
async fn a_group_shows_its_members_offsets_and_lag() {
    for (tansu, settings) in brokers("groups") {
        kafka::create_topics(&settings).await.expect("topics");
        let topic = settings.topic("raw.logs");
        let one_key = (0..30).map(|index| ("k".to_owned(), format!("m{index}")));
        let places = publish(&settings, "raw.logs", one_key).await;
        let partition = places[0].0;
        let consumer = consume(&settings, "detection", "raw.logs", 20);
        let reader = BrokerReader::new(settings.clone());
        let name = settings.group("detection");
        let found = group(&reader, &name).await;
        assert_eq!((found.state.as_str(), found.members.len()), ("Stable", 1));
        let member = &found.members[0];
        let slot = format!("{name}.0");
        assert_eq!(member.client_id, slot);
        assert_eq!(member.instance.as_ref(), Some(&slot));
        let held = found
            .partitions
            .iter()
            .find(|one| one.partition == partition)
            .expect("the partition that was read");
        assert_eq!(
            (held.committed, held.end, held.lag),
            (Some(20), Some(30), Some(10))
        );
        assert_eq!((found.lag, found.topic_lag(&topic)), (Some(10), Some(10)));
        let start = Start::From {
            partition,
            offset: 20,
        };
        let page = reader.browse(&topic, None, start, 1).await.expect("read");
        let oldest = page.expect("the topic").records[0].timestamp_ms;
        assert!(
            oldest.is_some_and(|at| at > 1_700_000_000_000),
            "{oldest:?}"
        );
        assert_eq!(held.oldest_record_ms, oldest);
        assert_eq!(found.oldest_age_ms(oldest.unwrap() + 1_500), Some(1_500));
        assert_eq!(found.partitions.len(), 3, "also those with nothing in them");
        if tansu {
            assert_eq!(member.partitions, None, "this broker does not say");
        } else {
            let all = (0..3).map(|partition| (topic.clone(), partition)).collect();
            assert_eq!(member.partitions, Some(all));
            assert_eq!(member.client_host, "127.0.0.1");
        }
        drop(consumer);
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = group(&reader, &name).await;
            assert_eq!(left.lag, Some(10), "the offsets outlive the member");
            // The fallback broker keeps a group's last members.
            if tansu || left.members.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "{left:?}");
        }
    }
}

#[tokio::test]
async fn groups_that_share_a_topic_each_have_their_own_oldest_message() {
    for (_, settings) in brokers("share") {
        kafka::create_topics(&settings).await.expect("topics");
        for text in ["a", "b", "c"] {
            publish(
                &settings,
                "raw.spans",
                [("k".to_owned(), text.to_owned())].into_iter(),
            )
            .await;
        }
        let first = consume(&settings, "correlation", "raw.spans", 1);
        let second = consume(&settings, "detection", "raw.spans", 2);
        let reader = BrokerReader::new(settings.clone());
        let reading = reader.groups().await.expect("groups");
        let topic = settings.topic("raw.spans");
        let page = reader.browse(&topic, None, Start::Newest, 9).await;
        let page = page.expect("read").expect("the topic");
        let times: Vec<_> = page
            .records
            .iter()
            .rev()
            .map(|one| one.timestamp_ms)
            .collect();
        assert_eq!(times.len(), 3);
        for (group, lag, oldest) in [(0, 2, times[1]), (1, 1, times[2])] {
            let found = &reading.groups[group];
            assert_eq!(found.lag, Some(lag), "{found:?}");
            let age = found.oldest_age_ms(oldest.unwrap());
            assert_eq!(age, Some(0), "{found:?}");
        }
        drop((first, second));
    }
}

#[tokio::test]
async fn ends_are_right_whatever_the_broker_lists() {
    for (_, settings) in brokers("ends") {
        kafka::create_topics(&settings).await.expect("topics");
        let reader = BrokerReader::new(settings.clone());
        let mut expected = BTreeMap::from([(0, 0), (1, 0), (2, 0)]);
        for _ in 0..3 {
            for (partition, offset) in publish(&settings, "raw.logs", numbered(300)).await {
                let end = expected.get_mut(&partition).expect("three partitions");
                *end = (*end).max(offset + 1);
            }
            let logs = reader.topics().await.expect("topics");
            let found: BTreeMap<i32, i64> = logs[&settings.topic("raw.logs")]
                .iter()
                .map(|log| (log.partition, log.end.expect("known")))
                .collect();
            assert_eq!(found, expected);
            assert!(
                logs[&settings.topic("raw.spans")]
                    .iter()
                    .all(|log| log.end == Some(0))
            );
        }
    }
}

#[tokio::test]
async fn paging_back_shows_every_message_once_and_newest_first() {
    for (_, settings) in brokers("pages") {
        kafka::create_topics(&settings).await.expect("topics");
        let topic = settings.topic("raw.logs");
        let places = publish(&settings, "raw.logs", numbered(95)).await;
        assert!(
            places.iter().any(|place| place.0 != places[0].0),
            "several partitions"
        );
        let reader = BrokerReader::new(settings.clone());
        let (mut all, mut start, mut pages) = (Vec::<Record>::new(), Start::Newest, 0);
        loop {
            let page = reader.browse(&topic, None, start, 20).await;
            let page = page.expect("read").expect("the topic");
            assert!(page.complete);
            pages += 1;
            all.extend(page.records);
            match page.older {
                Some(older) => start = Start::Before(older),
                None => break,
            }
        }
        assert_eq!((pages, all.len()), (5, 95));
        let shown: BTreeSet<(i32, i64)> =
            all.iter().map(|one| (one.partition, one.offset)).collect();
        assert_eq!(shown, places.iter().copied().collect());
        assert!(
            all.windows(2)
                .all(|pair| pair[0].timestamp_ms >= pair[1].timestamp_ms)
        );
        let (index, (partition, offset)) = (40, places[40]);
        let one = reader
            .browse(&topic, None, Start::From { partition, offset }, 3)
            .await;
        let one = one.expect("read").expect("the topic").records;
        let last = one.last().expect("the first from there");
        assert_eq!((last.partition, last.offset), (partition, offset));
        assert_eq!(last.payload, format!("{{\"n\":{index}}}"));
        assert_eq!(last.key, Some(format!("k{}", index % 7)));
        assert_eq!(last.headers, [("kind".to_owned(), "test".to_owned())]);
        let only = reader
            .browse(&topic, Some(partition), Start::Newest, 500)
            .await;
        let only = only.expect("read").expect("the topic").records;
        let expected = places.iter().filter(|place| place.0 == partition).count();
        assert_eq!(only.len(), expected);
        assert!(only.iter().all(|one| one.partition == partition));
        let none = reader
            .browse(&settings.topic("no.such"), None, Start::Newest, 5)
            .await;
        assert_eq!(none.expect("read"), None);
        let topics = reader.topics().await.expect("topics");
        assert!(
            !topics.contains_key(&settings.topic("no.such")),
            "asking created nothing"
        );
    }
}

#[tokio::test]
async fn large_and_binary_payloads_are_cut_or_described() {
    for (_, settings) in brokers("large") {
        kafka::create_topics(&settings).await.expect("topics");
        let producer = Producer::new(&settings).expect("a producer");
        let large = "ž".repeat(2 * 1024 * 1024);
        for payload in [large.as_bytes(), b"\xff\xfe"] {
            producer
                .publish_bytes("raw.logs", b"\xff", payload, &[])
                .await
                .expect("acknowledged");
        }
        let reader = BrokerReader::new(settings.clone());
        let page = reader
            .browse(&settings.topic("raw.logs"), None, Start::Newest, 5)
            .await;
        let records = page.expect("read").expect("the topic").records;
        assert_eq!(records.len(), 2);
        let (binary, long) = (&records[0], &records[1]);
        assert_eq!(
            (long.size, long.truncated, long.is_text),
            (large.len(), true, true)
        );
        assert_eq!(long.payload, large[..32 * 1024]);
        assert!(
            !binary.is_text && binary.payload.contains("not UTF-8"),
            "{binary:?}"
        );
        assert!(binary.key.as_ref().is_some_and(|key| key.contains("ff")));
    }
}

#[tokio::test]
async fn a_follower_hears_what_is_new_and_a_slow_one_how_much_it_missed() {
    for (_, settings) in brokers("follow") {
        kafka::create_topics(&settings).await.expect("topics");
        let topic = settings.topic("raw.logs");
        publish(&settings, "raw.logs", numbered(50)).await;
        let reader = BrokerReader::new(settings.clone());
        let mut follow = reader
            .follow(&topic, None)
            .await
            .expect("read")
            .expect("the topic");
        assert_eq!(follow.from.values().sum::<i64>(), 50);
        let mut places = publish(&settings, "raw.logs", numbered(1_980)).await;
        // Nobody listens meanwhile: the queue fills, the rest is counted.
        for _ in 0..20 {
            places.extend(publish(&settings, "raw.logs", numbered(1)).await);
        }
        let (mut heard, mut dropped) = (BTreeSet::new(), 0);
        let deadline = Instant::now() + LIMIT;
        while heard.len() as u64 + dropped < 2_000 {
            assert!(
                Instant::now() < deadline,
                "{} heard, {dropped} dropped",
                heard.len()
            );
            let news = tokio::time::timeout(Duration::from_secs(5), follow.receiver.recv()).await;
            match news
                .expect("news in time")
                .expect("still following")
                .expect("no failure")
            {
                Followed::Record(one) => {
                    assert!(heard.insert((one.partition, one.offset)), "twice")
                }
                Followed::Dropped(count) => dropped += count,
            }
        }
        assert!(
            heard.is_subset(&places.iter().copied().collect()),
            "nothing older"
        );
        assert_eq!(heard.len() as u64 + dropped, 2_000);
        assert!(dropped > 0 && heard.len() >= 256, "{dropped} dropped");
        let more = publish(&settings, "raw.logs", numbered(1)).await;
        let news = follow
            .receiver
            .recv()
            .await
            .expect("following")
            .expect("no failure");
        assert!(
            matches!(&news, Followed::Record(one) if (one.partition, one.offset) == more[0]),
            "{news:?}"
        );
        let gone = reader.follow(&settings.topic("no.such"), None).await;
        assert!(gone.expect("read").is_none());
    }
}

#[tokio::test]
async fn a_broker_that_is_away_is_an_error_within_seconds() {
    let reader = BrokerReader::new(KafkaSettings::at("127.0.0.1:1"));
    let asked = Instant::now();
    let error = reader.groups().await.expect_err("nobody listens there");
    assert!(
        error.to_string().contains("listing the consumer groups"),
        "{error}"
    );
    assert!(asked.elapsed() < Duration::from_secs(10));
}
