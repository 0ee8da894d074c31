//! The readings behind a verdict, from a real Redis.

use fred::clients::Client;
use fred::interfaces::{KeysInterface, SetsInterface, SortedSetsInterface};
use midwatch_clients::redis;
use midwatch_events::action::{ExpectedEffect, Verification, VerificationVerdict};
use midwatch_events::anomaly::Direction;
use midwatch_events::knowledge::Catalogue;
use midwatch_remediation::execution::Check;
use midwatch_remediation::proof::Proof;
use midwatch_runtime::{JobError, clock};

const ACTED_MS: i64 = 1_800_000_000_000;

/// A Redis with readings of an environment that only this test has.
struct Readings {
    client: Client,
    environment: String,
    keys: Vec<String>,
}

impl Readings {
    async fn of(name: &str) -> Readings {
        #[expect(
            clippy::disallowed_methods,
            reason = "a test reads where its servers are"
        )]
        let url = std::env::var("MIDWATCH_TEST_REDIS_URL")
            .expect("run it under: midwatch-stack exec --with redis -- cargo test");
        let client = redis::connect(&url).await.expect("Redis answers");
        let environment = format!("proof-{name}-{}", std::process::id());
        let keys = vec![format!("midwatch:series:{environment}")];
        Readings {
            client,
            environment,
            keys,
        }
    }

    /// A reading every ten seconds, the last of `before` at the action.
    async fn write(&mut self, service: &str, before: &[f64], after: &[f64]) {
        let key = format!("midwatch:recent:{}:{service}:errors", self.environment);
        let first_ms = ACTED_MS - 10_000 * (before.len() as i64 - 1);
        for (index, value) in before.iter().chain(after).enumerate() {
            let at_ms = first_ms + 10_000 * index as i64;
            let member = format!("[{at_ms},{value},null,null,null,null,{at_ms},\"r{index}\",\"\"]");
            let _: i64 = self
                .client
                .zadd(&key, None, None, false, false, (at_ms as f64, member))
                .await
                .expect("written");
        }
        let _: i64 = self
            .client
            .sadd(&self.keys[0], format!("{service}\0errors"))
            .await
            .expect("written");
        self.keys.push(key);
    }

    fn check(&self) -> Check {
        Check {
            incident_id: uuid::Uuid::nil(),
            environment: self.environment.clone(),
            step_id: "S1".to_owned(),
            effect: ExpectedEffect {
                service: "orders".to_owned(),
                metric: "errors".to_owned(),
                direction: Direction::Below,
                baseline_value: 0.5,
                within_ms: 60_000,
            },
            onset_ms: ACTED_MS - 60_000,
            acted_at_ms: ACTED_MS,
            affected_services: vec!["orders".to_owned()],
            asked_wall_ms: Some(clock::now_ms()),
        }
    }

    async fn verify(&self, check: &Check) -> Result<Verification, JobError> {
        let catalogue = r#"[{"name": "orders", "dependencies_downstream": ["stock"]}]"#;
        let catalogue = Catalogue::parse(catalogue).expect("a catalogue");
        Proof::new(self.client.clone(), catalogue)
            .verify(check)
            .await
    }

    async fn forget(self) {
        let _: i64 = self.client.del(self.keys).await.expect("removed");
    }
}

#[tokio::test]
async fn the_readings_of_the_metric_and_of_an_untouched_service_decide() {
    let mut readings = Readings::of("cure").await;
    let fixed = [21.0, 9.0, 0.6, 0.5, 0.4, 0.5];
    readings
        .write("orders", &[20.0, 22.0, 21.0, 23.0, 20.5], &fixed)
        .await;
    readings.write("stock", &[0.5; 5], &[0.4; 6]).await;
    readings
        .write(
            "mail",
            &[0.5, 0.6, 0.5, 0.4, 0.5],
            &[0.6, 0.5, 0.4, 0.5, 0.6, 0.5],
        )
        .await;
    let found = readings
        .verify(&readings.check())
        .await
        .expect("it is clear");
    assert_eq!(
        found.verdict,
        VerificationVerdict::Improved,
        "{}",
        found.summary
    );
    assert_eq!((found.before.count, found.after.count), (5, 5));
    assert_eq!(found.control.expect("mail is untouched").service, "mail");
    readings.forget().await;
}

#[tokio::test]
async fn without_an_answer_it_asks_for_another_look_until_the_wall_clock_ends_it() {
    let mut readings = Readings::of("wait").await;
    readings
        .write("orders", &[20.0, 22.0, 21.0, 23.0, 20.5], &[21.0])
        .await;
    let mut check = readings.check();
    let waits = readings.verify(&check).await.expect_err("too early");
    assert!(matches!(waits, JobError::Later { .. }), "{waits}");
    check.asked_wall_ms = Some(clock::now_ms() - 2 * 60_000 - 61_000);
    let found = readings.verify(&check).await.expect("it is over");
    assert_eq!(
        found.verdict,
        VerificationVerdict::NotProvable,
        "{}",
        found.summary
    );
    assert_eq!((found.before.count, found.after.count), (5, 0));
    readings.forget().await;
}
