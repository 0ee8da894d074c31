//! The Redis client against a real Redis.

mod support;

use fred::interfaces::KeysInterface;
use midwatch_clients::error::Gravity;
use midwatch_clients::redis;
use support::needed;

#[tokio::test]
async fn a_value_comes_back() {
    let client = redis::connect(&needed("MIDWATCH_TEST_REDIS_URL"))
        .await
        .expect("connected");
    let key = format!("clients-test-{}", std::process::id());
    let _: () = client
        .set(&key, "held", None, None, false)
        .await
        .expect("written");
    let read: String = client.get(&key).await.expect("read");
    assert_eq!(read, "held");
    let _: i64 = client.del(&key).await.expect("removed");
}

#[tokio::test]
async fn a_bad_url_is_fatal_and_an_absent_server_is_not() {
    let bad = redis::connect("http://127.0.0.1")
        .await
        .expect_err("no Redis URL");
    assert_eq!(bad.gravity(), Gravity::Fatal, "{bad}");
    // Port 1 on loopback: nobody listens there.
    let away = redis::connect("redis://127.0.0.1:1")
        .await
        .expect_err("nobody answers");
    assert_eq!(away.gravity(), Gravity::Transient, "{away}");
}
