//! The one loop, on a real broker and a real PostgreSQL: what it does with
//! poison, crashes' leftovers, early events, slow jobs and stale owners.
//!
//! A small counting agent stands for all agents. Every test has topics, group
//! and database of its own.

mod bench;

use bench::{Bench, brokers};
use midwatch_events::Topic;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_dead_lettered_with_its_reason_and_the_next_message_is_processed() {
    for broker in brokers() {
        let bench = Bench::start(&broker).await;
        let agent = bench.run_agent("0").await;
        let topic = Topic::IncidentsOpened;
        let huge = format!("{{\"pad\":\"{}\"", "x".repeat(900_000));
        let poison: [(&str, &str); 5] = [
            ("{not json", "not_json"),
            ("[1,2]", "not_object"),
            (r#"{"incident_id": 7}"#, "bad_field"),
            ("{}", "bad_field"),
            (&huge, "not_json"),
        ];
        for (payload, _) in poison {
            bench.produce(topic, "k", payload.as_bytes()).await;
        }
        bench.open_incident("a").await;
        bench
            .until("the good message is counted", || bench.count("a", 1))
            .await;
        let letters = bench.dead_letters(topic, poison.len()).await;
        let kinds: Vec<&str> = letters.iter().map(|letter| letter.kind.as_str()).collect();
        for (payload, kind) in poison {
            let letter = letters
                .iter()
                .find(|letter| letter.payload == payload.as_bytes());
            assert_eq!(
                letter.map(|letter| letter.kind.as_str()),
                Some(kind),
                "{kinds:?}"
            );
        }
        assert!(letters.iter().all(|letter| !letter.reason.is_empty()));
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_megabytes_of_garbage_on_a_raw_topic_are_dead_lettered_whole() {
    for broker in brokers() {
        let bench = Bench::start(&broker).await;
        let agent = bench.run_agent("0").await;
        let garbage = vec![b'g'; 5 * 1024 * 1024];
        bench.produce(Topic::RawLogs, "k", &garbage).await;
        bench.open_incident("a").await;
        bench
            .until("the next message is counted", || bench.count("a", 1))
            .await;
        let letters = bench.dead_letters(Topic::RawLogs, 1).await;
        assert_eq!(letters[0].payload.len(), garbage.len());
        assert_eq!(letters[0].kind, "not_json");
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_event_twice_is_applied_once_and_published_once() {
    for broker in brokers() {
        let bench = Bench::start(&broker).await;
        let agent = bench.run_agent("0").await;
        let payload = bench.opened("a");
        for _ in 0..3 {
            bench.produce(Topic::IncidentsOpened, "a", &payload).await;
        }
        bench.open_incident("b").await;
        bench
            .until("both are counted", || async {
                bench.count("a", 1).await && bench.count("b", 1).await
            })
            .await;
        assert_eq!(bench.published(2).await.len(), 2, "one message per event");
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_is_written_with_its_event_and_a_command_has_the_scopes_time() {
    for broker in brokers() {
        let bench = Bench::start(&broker).await;
        let agent = bench.run_agent("0").await;
        bench.open_incident_with_finding("a").await;
        bench
            .until("the incident is counted", || bench.count("a", 1))
            .await;
        let written = bench.artifacts("a").await;
        assert_eq!(written.len(), 1);
        assert_eq!(written[0].evidence, ["record"]);
        bench.command("a").await;
        bench
            .until("the command is heard", || async {
                !bench.audit_times("COMMAND").await.is_empty()
            })
            .await;
        // Not the wall clock's time, at which the command was given.
        assert_eq!(bench.audit_times("COMMAND").await, [1_767_225_600_000]);
        agent.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_the_outbox_of_a_dead_process_goes_out_with_the_same_bytes() {
    let bench = Bench::start(&brokers()[0]).await;
    let bytes = bench.leave_in_outbox().await;
    let agent = bench.run_agent("0").await;
    let messages = bench.published(1).await;
    assert_eq!(messages[0], bytes);
    assert!(bench.outbox_is_empty().await);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_before_its_predecessor_waits_for_it() {
    let bench = Bench::start(&brokers()[0]).await;
    let agent = bench.run_agent("0").await;
    bench.resolve_incident("a").await;
    bench
        .until("the early event is parked", || bench.parked(1))
        .await;
    bench.open_incident("a").await;
    // Opened counts one, resolved ten.
    bench
        .until("both are counted, in order", || bench.count("a", 11))
        .await;
    bench
        .until("nothing is parked any more", || bench.parked(0))
        .await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_event_whose_predecessor_never_comes_ends_aloud() {
    let bench = Bench::start(&brokers()[0]).await;
    let agent = bench.run_agent("0").await;
    bench.resolve_incident("a").await;
    bench
        .until("the early event is parked", || bench.parked(1))
        .await;
    bench.expire_parked().await;
    // Expired counts a hundred.
    bench
        .until("it came as expired", || bench.count("a", 100))
        .await;
    bench
        .until("nothing is parked any more", || bench.parked(0))
        .await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_twice_succeeds_at_the_third_try_and_is_applied_once() {
    let bench = Bench::start(&brokers()[0]).await;
    let agent = bench.run_agent("0").await;
    bench.open_incident_with_job("a", 2).await;
    // Opened counts one, the finished job a thousand.
    bench
        .until("the job's outcome is applied", || bench.count("a", 1_001))
        .await;
    assert_eq!(bench.job_attempts().await, 3);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_must_wait_costs_no_try_and_waits_only_so_long() {
    let bench = Bench::start(&brokers()[0]).await;
    let agent = bench.run_agent("0").await;
    // More looks than a job has tries.
    bench.open_incident_with_wait("a", 6).await;
    bench
        .until("the seventh look has the answer", || {
            bench.count("a", 1_001)
        })
        .await;
    assert_eq!(bench.job_attempts().await, 1);
    // Two seconds on it has failed, which counts a million.
    bench.open_incident_with_wait("b", 1_000_000).await;
    bench
        .until("the wait has come to its end", || {
            bench.count("b", 1_000_001)
        })
        .await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_a_killed_process_had_taken_runs_again_in_the_same_slot() {
    let bench = Bench::start(&brokers()[0]).await;
    bench.leave_running_job("a", "counter-0").await;
    let agent = bench.run_agent("0").await;
    bench.until("the job ran", || bench.count("a", 1_000)).await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_owner_that_wakes_up_overwrites_nothing() {
    let bench = Bench::start(&brokers()[0]).await;
    let agent = bench.run_agent("0").await;
    bench.open_incident("a").await;
    bench
        .until("the first is counted", || bench.count("a", 1))
        .await;
    // Another process read the state at version 1 and was paused; meanwhile
    // the owner goes on to version 2.
    let stale = bench.read_version("a").await;
    bench.resolve_incident("a").await;
    bench
        .until("the owner went on", || bench.count("a", 11))
        .await;
    let error = bench
        .write_at("a", stale, json!({"event_ms": 0, "state": {"count": 0}}))
        .await;
    assert!(error.contains("written by somebody else"), "{error}");
    assert!(bench.count("a", 11).await, "the state is the owner's");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_the_work_and_double_nothing() {
    for broker in brokers() {
        let bench = Bench::start(&broker).await;
        let one = bench.run_agent("0").await;
        let other = bench.run_agent("1").await;
        let names: Vec<String> = (0..40).map(|index| format!("incident-{index}")).collect();
        for name in &names {
            bench.open_incident(name).await;
        }
        for name in &names {
            bench
                .until("each is counted once", || bench.count(name, 1))
                .await;
        }
        assert_eq!(bench.published(names.len()).await.len(), names.len());
        one.stop().await;
        other.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channels_event_waits_for_its_subscriber_and_reaches_every_one() {
    let bench = Bench::start(&brokers()[0]).await;
    let agent = bench.run_agent("0").await;
    // The counting agent routes anomalies to the channel of their service.
    bench.anomaly("payment").await;
    bench.until("nobody listens yet", || bench.parked(1)).await;
    bench.open_incident_listening("a", "payment").await;
    // Opened counts one, an anomaly ten thousand.
    bench
        .until("the subscriber got it", || bench.count("a", 10_001))
        .await;
    bench.open_incident_listening("b", "payment").await;
    bench.anomaly("payment").await;
    bench
        .until("both got the second", || async {
            bench.count("a", 20_001).await && bench.count("b", 10_001).await
        })
        .await;
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_broker_ends_the_process_instead_of_mixing_two_logs() {
    let bench = Bench::start(&brokers()[0]).await;
    let agent = bench.run_agent_under_epoch("0", "another-epoch").await;
    let error = agent.ended().await;
    assert!(error.contains("the broker was emptied"), "{error}");
}
