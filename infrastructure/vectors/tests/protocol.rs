//! The protocol, through the client library that the services use.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::sync::Arc;

use midwatch_vectors::store::{Limits, Store};
use qdrant_client::qdrant::vectors_output::VectorsOptions;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder,
    DeletePointsBuilder, Distance, FieldType, Filter, GetPointsBuilder, PointId, PointStruct,
    PointsIdsList, QueryPointsBuilder, ScoredPoint, ScrollPointsBuilder, SearchPointsBuilder,
    SetPayloadPointsBuilder, UpsertPointsBuilder, VectorParamsBuilder, VectorParamsMap,
    point_id::PointIdOptions, vector_output::Vector, vectors_config::Config,
};
use qdrant_client::{Payload, Qdrant, QdrantError};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::Code;

struct Server {
    client: Qdrant,
    _folder: TempDir,
}

/// A server in this process, which ends with the test's runtime.
async fn server(limits: Limits) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path(), limits).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(midwatch_vectors::serve(
        store,
        listener,
        None,
        std::future::pending(),
    ));
    let client = Qdrant::from_url(&url)
        .skip_compatibility_check()
        .build()
        .unwrap();
    Server {
        client,
        _folder: folder,
    }
}

async fn with_collection(size: u64, distance: Distance, points: Vec<PointStruct>) -> Server {
    let server = server(Limits::default()).await;
    create(&server.client, size, distance).await.unwrap();
    if !points.is_empty() {
        server
            .client
            .upsert_points(UpsertPointsBuilder::new("c", points).wait(true))
            .await
            .unwrap();
    }
    server
}

async fn create(client: &Qdrant, size: u64, distance: Distance) -> Result<(), QdrantError> {
    let params = VectorParamsBuilder::new(size, distance);
    client
        .create_collection(CreateCollectionBuilder::new("c").vectors_config(params))
        .await
        .map(|_| ())
}

fn point(number: u64, vector: Vec<f32>, payload: serde_json::Value) -> PointStruct {
    PointStruct::new(number, vector, Payload::try_from(payload).unwrap())
}

fn number(id: Option<&PointId>) -> u64 {
    match id.and_then(|id| id.point_id_options.as_ref()) {
        Some(PointIdOptions::Num(number)) => *number,
        other => panic!("not a number: {other:?}"),
    }
}

fn ids(found: &[ScoredPoint]) -> Vec<u64> {
    found
        .iter()
        .map(|point| number(point.id.as_ref()))
        .collect()
}

fn code(error: &QdrantError) -> Code {
    match error {
        QdrantError::ResponseError { status } => status.code(),
        other => panic!("not a status: {other}"),
    }
}

/// xorshift64*, a published generator: the same vectors in every run, without a dependency.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn vector(&mut self, size: usize) -> Vec<f32> {
        (0..size)
            .map(|_| (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0)
            .collect()
    }
}

/// An independent computation in f64, straight from the definitions.
fn oracle(distance: Distance, left: &[f32], right: &[f32]) -> f64 {
    let pairs = || {
        left.iter()
            .zip(right)
            .map(|(a, b)| (f64::from(*a), f64::from(*b)))
    };
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    match distance {
        Distance::Dot => dot,
        Distance::Cosine => {
            let length = |v: &[f32]| v.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>().sqrt();
            dot / (length(left) * length(right))
        }
        Distance::Euclid => pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
        Distance::Manhattan => pairs().map(|(a, b)| (a - b).abs()).sum(),
        Distance::UnknownDistance => panic!("no distance"),
    }
}

#[tokio::test]
async fn search_agrees_with_a_brute_force_oracle() {
    for distance in [
        Distance::Cosine,
        Distance::Dot,
        Distance::Euclid,
        Distance::Manhattan,
    ] {
        let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
        let vectors: Vec<Vec<f32>> = (0..400).map(|_| noise.vector(37)).collect();
        let color = |index: usize| ["red", "green", "blue"][index % 3];
        let points = vectors.iter().enumerate();
        let points = points.map(|(i, v)| point(i as u64, v.clone(), json!({"color": color(i)})));
        let server = with_collection(37, distance, points.collect()).await;
        for _ in 0..20 {
            let wanted = noise.vector(37);
            let mut expected: Vec<(usize, f64)> = vectors
                .iter()
                .enumerate()
                .filter(|(index, _)| color(*index) == "green")
                .map(|(index, vector)| (index, oracle(distance, &wanted, vector)))
                .collect();
            expected.sort_by(|left, right| match distance {
                Distance::Cosine | Distance::Dot => right.1.total_cmp(&left.1),
                _ => left.1.total_cmp(&right.1),
            });
            let filter = Filter::must([Condition::matches("color", "green".to_owned())]);
            let query = QueryPointsBuilder::new("c")
                .query(wanted)
                .filter(filter)
                .limit(10)
                .offset(3);
            let found = server.client.query(query).await.unwrap().result;
            assert_eq!(found.len(), 10);
            for (point, (index, score)) in found.iter().zip(&expected[3..13]) {
                assert_eq!(number(point.id.as_ref()), *index as u64, "{distance:?}");
                assert!(
                    (f64::from(point.score) - score).abs() < 1e-4,
                    "{distance:?} {score}"
                );
            }
        }
    }
}

#[tokio::test]
async fn thresholds_keep_what_is_good_enough() {
    let points = || {
        vec![
            point(1, vec![1.0, 0.0], json!({})),
            point(2, vec![3.0, 3.0], json!({})),
            point(3, vec![0.0, 2.0], json!({})),
        ]
    };
    // Cosine to (1,0): 1, cos 45° = 0.707, 0. Euclidean: 0, sqrt(13) = 3.61, sqrt(5) = 2.24.
    for (distance, threshold, expected) in [
        (Distance::Cosine, 0.7, vec![1, 2]),
        (Distance::Euclid, 2.5, vec![1, 3]),
    ] {
        let server = with_collection(2, distance, points()).await;
        let search = SearchPointsBuilder::new("c", vec![1.0, 0.0], 10).score_threshold(threshold);
        let found = server.client.search_points(search).await.unwrap().result;
        assert_eq!(ids(&found), expected);
        assert!(
            found.iter().all(|point| point.payload.is_empty()),
            "search shows no payload unasked"
        );
    }
}

#[tokio::test]
async fn a_query_by_id_leaves_that_point_out() {
    let points = vec![
        point(1, vec![1.0, 0.0], json!({})),
        point(2, vec![1.0, 0.1], json!({})),
        point(3, vec![0.0, 1.0], json!({})),
    ];
    let server = with_collection(2, Distance::Cosine, points).await;
    let by_id = QueryPointsBuilder::new("c").query(PointId::from(1));
    assert_eq!(
        ids(&server.client.query(by_id).await.unwrap().result),
        vec![2, 3]
    );
    let unknown = QueryPointsBuilder::new("c").query(PointId::from(9));
    assert_eq!(
        code(&server.client.query(unknown).await.unwrap_err()),
        Code::NotFound
    );
}

#[tokio::test]
async fn scroll_visits_every_matching_point_once_in_id_order() {
    let kind = |number: u64| {
        if number.is_multiple_of(2) {
            "even"
        } else {
            "odd"
        }
    };
    let points = (1..=25)
        .rev()
        .map(|n| point(n, vec![n as f32], json!({"kind": kind(n)})));
    let server = with_collection(1, Distance::Dot, points.collect()).await;
    let mut seen = Vec::new();
    let mut offset: Option<PointId> = None;
    loop {
        let filter = Filter::must([Condition::matches("kind", "odd".to_owned())]);
        let mut request = ScrollPointsBuilder::new("c").filter(filter).limit(4);
        if let Some(offset) = offset.take() {
            request = request.offset(offset);
        }
        let page = server.client.scroll(request).await.unwrap();
        assert!(
            page.result
                .iter()
                .all(|point| point.payload.contains_key("kind"))
        );
        seen.extend(page.result.iter().map(|point| number(point.id.as_ref())));
        match page.next_page_offset {
            Some(next) => offset = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, (1..=25).step_by(2).collect::<Vec<u64>>());
}

#[tokio::test]
async fn points_are_replaced_read_counted_and_deleted() {
    let uuid = "936DA01F-9ABD-4d9d-80C7-02AF85C822A8";
    let payload = || Payload::try_from(json!({"text": "a", "tag": "x"})).unwrap();
    let points = vec![
        PointStruct::new(1, vec![3.0, 4.0], payload()),
        PointStruct::new(2, vec![0.0, 1.0], payload()),
        PointStruct::new(uuid, vec![1.0, 0.0], payload()),
    ];
    let server = with_collection(2, Distance::Cosine, points).await;
    let client = &server.client;
    let replaced = vec![point(1, vec![6.0, 8.0], json!({"text": "b"}))];
    client
        .upsert_points(UpsertPointsBuilder::new("c", replaced))
        .await
        .unwrap();

    let all: Vec<PointId> = vec![1.into(), uuid.into(), 77.into()];
    let get = GetPointsBuilder::new("c", all)
        .with_payload(true)
        .with_vectors(true);
    let found = client.get_points(get).await.unwrap().result;
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].payload.keys().collect::<Vec<_>>(), ["text"]);
    // Cosine vectors are stored at length 1: (6, 8) / 10.
    match found[0]
        .vectors
        .clone()
        .and_then(|vectors| vectors.vectors_options)
    {
        Some(VectorsOptions::Vector(vector)) => match vector.into_vector() {
            Vector::Dense(dense) => {
                assert!((dense.data[0] - 0.6).abs() < 1e-6 && (dense.data[1] - 0.8).abs() < 1e-6);
            }
            other => panic!("not dense: {other:?}"),
        },
        other => panic!("not one vector: {other:?}"),
    }
    // A UUID is the same point in any spelling.
    assert_eq!(found[1].id, Some(uuid.to_lowercase().as_str().into()));

    let count = || client.count(CountPointsBuilder::new("c").exact(true));
    assert_eq!(count().await.unwrap().result.unwrap().count, 3);
    let one = PointsIdsList {
        ids: vec![2.into(), 99.into()],
    };
    client
        .delete_points(DeletePointsBuilder::new("c").points(one))
        .await
        .unwrap();
    assert_eq!(count().await.unwrap().result.unwrap().count, 2);
    let tagged = Filter::must([Condition::matches("tag", "x".to_owned())]);
    client
        .delete_points(DeletePointsBuilder::new("c").points(tagged))
        .await
        .unwrap();
    assert_eq!(count().await.unwrap().result.unwrap().count, 1);
}

#[tokio::test]
async fn collections_are_created_described_listed_and_deleted() {
    let points = vec![
        point(1, vec![1.0], json!({"type": "x"})),
        point(2, vec![1.0], json!({})),
    ];
    let server = with_collection(1, Distance::Cosine, points).await;
    let client = &server.client;
    assert!(
        client
            .health_check()
            .await
            .unwrap()
            .title
            .contains("midwatch-vectors")
    );
    let index = CreateFieldIndexCollectionBuilder::new("c", "type", FieldType::Keyword);
    client.create_field_index(index).await.unwrap();
    let info = client.collection_info("c").await.unwrap().result.unwrap();
    assert_eq!(info.points_count, Some(2));
    let schema = &info.payload_schema["type"];
    assert_eq!(
        (schema.data_type().as_str_name(), schema.points),
        ("Keyword", Some(1))
    );

    assert_eq!(
        code(&create(client, 1, Distance::Cosine).await.unwrap_err()),
        Code::AlreadyExists
    );
    let listed = client.list_collections().await.unwrap().collections;
    assert_eq!(
        listed
            .iter()
            .map(|found| found.name.as_str())
            .collect::<Vec<_>>(),
        ["c"]
    );
    assert!(client.collection_exists("c").await.unwrap());
    assert!(client.delete_collection("c").await.unwrap().result);
    assert!(!client.delete_collection("c").await.unwrap().result);
    assert!(!client.collection_exists("c").await.unwrap());
    assert_eq!(
        code(&client.collection_info("c").await.unwrap_err()),
        Code::NotFound
    );
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_with_a_reason() {
    let limits = Limits {
        max_points: 2,
        ..Limits::default()
    };
    let server = server(limits).await;
    let client = &server.client;
    let named = VectorParamsMap {
        map: [(
            "text".to_owned(),
            VectorParamsBuilder::new(4, Distance::Dot).build(),
        )]
        .into(),
    };
    let refused = client
        .create_collection(
            CreateCollectionBuilder::new("n").vectors_config(Config::ParamsMap(named)),
        )
        .await;
    assert_eq!(code(&refused.unwrap_err()), Code::Unimplemented);
    create(client, 2, Distance::Dot).await.unwrap();

    let upsert = |points| client.upsert_points(UpsertPointsBuilder::new("c", points));
    let wrong_size = upsert(vec![point(1, vec![1.0], json!({}))])
        .await
        .unwrap_err();
    assert_eq!(code(&wrong_size), Code::InvalidArgument);
    assert!(
        wrong_size.to_string().contains("expected 2, got 1"),
        "{wrong_size}"
    );
    let not_finite = upsert(vec![point(1, vec![1.0, f32::NAN], json!({}))])
        .await
        .unwrap_err();
    assert_eq!(code(&not_finite), Code::InvalidArgument);
    let good = |number| point(number, vec![1.0, 2.0], json!({}));
    let too_many = upsert(vec![good(1), good(2), good(3)]).await.unwrap_err();
    assert_eq!(code(&too_many), Code::ResourceExhausted);
    let count = client
        .count(CountPointsBuilder::new("c"))
        .await
        .unwrap()
        .result
        .unwrap()
        .count;
    assert_eq!(count, 0, "a refused upsert leaves nothing behind");
    upsert(vec![good(1), good(2)]).await.unwrap();
    upsert(vec![good(2)]).await.unwrap();

    let unknown = client
        .search_points(SearchPointsBuilder::new("other", vec![1.0], 1))
        .await;
    assert_eq!(code(&unknown.unwrap_err()), Code::NotFound);
    let payload = SetPayloadPointsBuilder::new("c", Payload::try_from(json!({"a": 1})).unwrap());
    let unsupported = client.set_payload(payload).await.unwrap_err();
    assert_eq!(code(&unsupported), Code::Unimplemented);
    assert!(
        unsupported
            .to_string()
            .contains("qdrant.Points/set_payload"),
        "{unsupported}"
    );
}
