//! The binary: what it acknowledged is there after `kill -9`, and its HTTP side answers.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use qdrant_client::qdrant::{
    CountPointsBuilder, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder,
    DeletePointsBuilder, Distance, FieldType, GetPointsBuilder, PointStruct, PointsIdsList,
    UpsertPointsBuilder, VectorParamsBuilder,
};
use qdrant_client::{Payload, Qdrant};
use serde_json::json;

struct Process {
    child: Child,
    client: Qdrant,
    http: String,
}

impl Process {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_midwatch-vectors"))
            .args([
                "--bind",
                "127.0.0.1:0",
                "--http-bind",
                "127.0.0.1:0",
                "--data",
            ])
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = |name: &str| {
            let found = line
                .split_whitespace()
                .find_map(|word| word.strip_prefix(name));
            found
                .unwrap_or_else(|| panic!("no {name} in {line:?}"))
                .to_owned()
        };
        let client = Qdrant::from_url(&format!("http://{}", address("grpc=")))
            .timeout(Duration::from_secs(10))
            .skip_compatibility_check()
            .build()
            .unwrap();
        Self {
            child,
            client,
            http: address("http="),
        }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }
}

impl Drop for Process {
    /// SIGKILL: no chance to flush anything.
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn point(number: u64, round: u64) -> PointStruct {
    let payload = Payload::try_from(json!({"round": round})).unwrap();
    PointStruct::new(number, vec![number as f32, 1.0], payload)
}

async fn count(client: &Qdrant) -> u64 {
    client
        .count(CountPointsBuilder::new("c"))
        .await
        .unwrap()
        .result
        .unwrap()
        .count
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let params = VectorParamsBuilder::new(2, Distance::Cosine);
    let config = CreateCollectionBuilder::new("c").vectors_config(params);
    process.client.create_collection(config).await.unwrap();
    let index = CreateFieldIndexCollectionBuilder::new("c", "round", FieldType::Integer);
    process.client.create_field_index(index).await.unwrap();
    drop(process);

    for round in 1..=3 {
        let process = Process::start(folder.path());
        for first in (0..100).step_by(10) {
            let points: Vec<_> = (first..first + 10)
                .map(|number| point(number, round))
                .collect();
            process
                .client
                .upsert_points(UpsertPointsBuilder::new("c", points))
                .await
                .unwrap();
        }
        let gone = PointsIdsList {
            ids: vec![round.into()],
        };
        process
            .client
            .delete_points(DeletePointsBuilder::new("c").points(gone))
            .await
            .unwrap();
        drop(process);

        let process = Process::start(folder.path());
        assert_eq!(count(&process.client).await, 99, "after round {round}");
        let get = GetPointsBuilder::new("c", vec![round.into(), 50.into()]).with_payload(true);
        let found = process.client.get_points(get).await.unwrap().result;
        assert_eq!(found.len(), 1, "the deleted point stays deleted");
        assert_eq!(found[0].payload["round"].as_integer(), Some(round as i64));
        let info = process
            .client
            .collection_info("c")
            .await
            .unwrap()
            .result
            .unwrap();
        assert!(info.payload_schema.contains_key("round"));
    }
    let compacted = std::fs::metadata(folder.path().join("c.log"))
        .unwrap()
        .len();
    let process = Process::start(folder.path());
    assert!(process.client.delete_collection("c").await.unwrap().result);
    drop(process);
    let process = Process::start(folder.path());
    assert!(!process.client.collection_exists("c").await.unwrap());
    // 99 points of two floats and one small payload; three rounds uncompacted would be three times it.
    assert!(compacted < 99 * 80, "{compacted} bytes");
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_write_keeps_every_acknowledged_point() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let params = VectorParamsBuilder::new(2, Distance::Cosine);
    let config = CreateCollectionBuilder::new("c").vectors_config(params);
    process.client.create_collection(config).await.unwrap();
    let (acknowledge, mut acknowledged) = tokio::sync::mpsc::unbounded_channel();
    let client = process.client.clone();
    let writer = tokio::spawn(async move {
        for number in 0.. {
            let request = UpsertPointsBuilder::new("c", vec![point(number, 1)]);
            match client.upsert_points(request).await {
                Ok(_) => acknowledge.send(number).unwrap(),
                Err(_) => return,
            }
        }
    });
    let mut last = 0;
    while last < 60 {
        last = acknowledged
            .recv()
            .await
            .expect("the writer runs until the process dies");
    }
    drop(process);
    writer.await.unwrap();
    while let Some(number) = acknowledged.recv().await {
        last = number;
    }
    let process = Process::start(folder.path());
    let ids: Vec<_> = (0..=last).map(Into::into).collect();
    let found = process
        .client
        .get_points(GetPointsBuilder::new("c", ids))
        .await
        .unwrap()
        .result;
    assert_eq!(found.len() as u64, last + 1);
    // At most the one write under way may have been stored without its acknowledgement.
    assert!(count(&process.client).await <= last + 2);
}

#[tokio::test]
async fn health_metrics_and_collections_answer_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let params = VectorParamsBuilder::new(2, Distance::Dot);
    let config = CreateCollectionBuilder::new("c").vectors_config(params);
    process.client.create_collection(config).await.unwrap();
    let upsert = UpsertPointsBuilder::new("c", vec![point(1, 1)]);
    process.client.upsert_points(upsert).await.unwrap();
    for path in ["/healthz", "/readyz"] {
        assert!(process.get(path).starts_with("HTTP/1.1 200"), "{path}");
    }
    assert!(
        process
            .get("/collections")
            .contains(r#"{"collections":[{"name":"c"}]}"#)
    );
    assert!(
        process
            .get("/metrics")
            .contains("midwatch_vectors_points{collection=\"c\"} 1")
    );
    assert!(process.get("/other").starts_with("HTTP/1.1 404"));
}

#[test]
fn a_folder_in_use_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Process::start(folder.path());
    let second = Command::new(env!("CARGO_BIN_EXE_midwatch-vectors"))
        .args([
            "--bind",
            "127.0.0.1:0",
            "--http-bind",
            "127.0.0.1:0",
            "--data",
        ])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        said.contains("in use by another midwatch-vectors"),
        "{said}"
    );
}
