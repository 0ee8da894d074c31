//! The `qdrant.Collections` and `qdrant.Qdrant` services.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use qdrant_client::qdrant::collections_server::Collections;
use qdrant_client::qdrant::qdrant_server::Qdrant;
use qdrant_client::qdrant::{
    ChangeAliases, CollectionClusterInfoRequest, CollectionClusterInfoResponse, CollectionConfig,
    CollectionDescription, CollectionExists, CollectionExistsRequest, CollectionExistsResponse,
    CollectionInfo, CollectionOperationResponse, CollectionParams, CollectionStatus,
    CreateCollection, CreateShardKeyRequest, CreateShardKeyResponse, DeleteCollection,
    DeleteShardKeyRequest, DeleteShardKeyResponse, GetCollectionInfoRequest,
    GetCollectionInfoResponse, HealthCheckReply, HealthCheckRequest, HnswConfigDiff,
    ListAliasesRequest, ListAliasesResponse, ListCollectionAliasesRequest, ListCollectionsRequest,
    ListCollectionsResponse, ListShardKeysRequest, ListShardKeysResponse, OptimizerStatus,
    OptimizersConfigDiff, PayloadSchemaInfo, UpdateCollection, UpdateCollectionClusterSetupRequest,
    UpdateCollectionClusterSetupResponse, WalConfigDiff,
};
use tonic::{Request, Response, Status};

use crate::collection::{Collection, State};
use crate::path::FieldPath;
use crate::points::{run, service};
use crate::store::{Store, StoreError};

/// The protocol version spoken here: that of the client library whose messages it uses.
pub const PROTOCOL_VERSION: &str = "1.20.0";

/// Answers what concerns whole collections.
#[derive(Debug, Clone)]
pub struct CollectionsService {
    store: Arc<Store>,
}

impl CollectionsService {
    /// A service over that store.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

service! {
    Collections for CollectionsService, "qdrant.Collections";
    answered {
        get(GetCollectionInfoRequest) -> GetCollectionInfoResponse;
        list(ListCollectionsRequest) -> ListCollectionsResponse;
        create(CreateCollection) -> CollectionOperationResponse;
        delete(DeleteCollection) -> CollectionOperationResponse;
        collection_exists(CollectionExistsRequest) -> CollectionExistsResponse;
    }
    refused {
        update(UpdateCollection) -> CollectionOperationResponse;
        update_aliases(ChangeAliases) -> CollectionOperationResponse;
        list_collection_aliases(ListCollectionAliasesRequest) -> ListAliasesResponse;
        list_aliases(ListAliasesRequest) -> ListAliasesResponse;
        collection_cluster_info(CollectionClusterInfoRequest) -> CollectionClusterInfoResponse;
        update_collection_cluster_setup(UpdateCollectionClusterSetupRequest)
            -> UpdateCollectionClusterSetupResponse;
        create_shard_key(CreateShardKeyRequest) -> CreateShardKeyResponse;
        delete_shard_key(DeleteShardKeyRequest) -> DeleteShardKeyResponse;
        list_shard_keys(ListShardKeysRequest) -> ListShardKeysResponse;
    }
}

mod answers {
    use super::*;

    pub fn get(
        store: &Store,
        request: GetCollectionInfoRequest,
    ) -> Result<GetCollectionInfoResponse, StoreError> {
        let start = Instant::now();
        let collection = store.collection(&request.collection_name)?;
        let result = Some(describe(&collection));
        Ok(GetCollectionInfoResponse {
            result,
            time: start.elapsed().as_secs_f64(),
        })
    }

    pub fn list(
        store: &Store,
        _: ListCollectionsRequest,
    ) -> Result<ListCollectionsResponse, StoreError> {
        let start = Instant::now();
        let collections = store.collections();
        let named = collections.iter().map(|collection| CollectionDescription {
            name: collection.name().to_owned(),
        });
        let collections = named.collect();
        Ok(ListCollectionsResponse {
            collections,
            time: start.elapsed().as_secs_f64(),
        })
    }

    pub fn create(
        store: &Store,
        request: CreateCollection,
    ) -> Result<CollectionOperationResponse, StoreError> {
        let start = Instant::now();
        store.create(request)?;
        Ok(CollectionOperationResponse {
            result: true,
            time: start.elapsed().as_secs_f64(),
        })
    }

    pub fn delete(
        store: &Store,
        request: DeleteCollection,
    ) -> Result<CollectionOperationResponse, StoreError> {
        let start = Instant::now();
        let result = store.delete(&request.collection_name)?;
        Ok(CollectionOperationResponse {
            result,
            time: start.elapsed().as_secs_f64(),
        })
    }

    pub fn collection_exists(
        store: &Store,
        request: CollectionExistsRequest,
    ) -> Result<CollectionExistsResponse, StoreError> {
        let start = Instant::now();
        let exists = match store.collection(&request.collection_name) {
            Ok(_) => true,
            Err(StoreError::NotFound(_)) => false,
            Err(error) => return Err(error),
        };
        let result = Some(CollectionExists { exists });
        Ok(CollectionExistsResponse {
            result,
            time: start.elapsed().as_secs_f64(),
        })
    }
}

fn describe(collection: &Collection) -> CollectionInfo {
    let config = collection.config();
    let state = collection.read();
    let params = CollectionParams {
        shard_number: 1,
        vectors_config: config.vectors_config.clone(),
        replication_factor: Some(1),
        write_consistency_factor: Some(1),
        ..CollectionParams::default()
    };
    CollectionInfo {
        status: CollectionStatus::Green.into(),
        optimizer_status: Some(OptimizerStatus {
            ok: true,
            error: String::new(),
        }),
        segments_count: 1,
        config: Some(CollectionConfig {
            params: Some(params),
            hnsw_config: Some(hnsw_or_default(config)),
            optimizer_config: Some(optimizers_or_default(config)),
            wal_config: Some(wal_or_default(config)),
            quantization_config: config.quantization_config,
            strict_mode_config: config.strict_mode_config.clone(),
            metadata: config.metadata.clone(),
        }),
        payload_schema: schema(&state),
        points_count: Some(state.points.len() as u64),
        indexed_vectors_count: Some(0),
        ..CollectionInfo::default()
    }
}

// Clients insist on these settings of an approximate index. They are shown as given, or as Qdrant's
// documented defaults; the search here is exact and heeds none of them.

fn hnsw_or_default(config: &CreateCollection) -> HnswConfigDiff {
    let given = config.hnsw_config.unwrap_or_default();
    HnswConfigDiff {
        m: given.m.or(Some(16)),
        ef_construct: given.ef_construct.or(Some(100)),
        full_scan_threshold: given.full_scan_threshold.or(Some(10_000)),
        ..given
    }
}

fn optimizers_or_default(config: &CreateCollection) -> OptimizersConfigDiff {
    let given = config.optimizers_config.unwrap_or_default();
    OptimizersConfigDiff {
        deleted_threshold: given.deleted_threshold.or(Some(0.2)),
        vacuum_min_vector_number: given.vacuum_min_vector_number.or(Some(1_000)),
        default_segment_number: given.default_segment_number.or(Some(0)),
        flush_interval_sec: given.flush_interval_sec.or(Some(5)),
        ..given
    }
}

fn wal_or_default(config: &CreateCollection) -> WalConfigDiff {
    let given = config.wal_config.unwrap_or_default();
    WalConfigDiff {
        wal_capacity_mb: given.wal_capacity_mb.or(Some(32)),
        wal_segments_ahead: given.wal_segments_ahead.or(Some(0)),
        ..given
    }
}

fn schema(state: &State) -> HashMap<String, PayloadSchemaInfo> {
    let describe =
        |(field, index): (&String, &qdrant_client::qdrant::CreateFieldIndexCollection)| {
            let holding = FieldPath::parse(field).map_or(0, |path| {
                let payloads = state.points.values().map(|point| &point.payload);
                payloads
                    .filter(|payload| !path.values(payload).is_empty())
                    .count()
            });
            let info = PayloadSchemaInfo {
                // `FieldType` counts from 0, `PayloadSchemaType` has an unknown type in front of it.
                data_type: index.field_type.unwrap_or_default() + 1,
                params: index.field_index_params.clone(),
                points: Some(holding as u64),
            };
            (field.clone(), info)
        };
    state.indexes.iter().map(describe).collect()
}

/// Says that the server is there, and what it is.
#[derive(Debug, Clone, Copy)]
pub struct HealthService;

#[tonic::async_trait]
impl Qdrant for HealthService {
    async fn health_check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckReply>, Status> {
        Ok(Response::new(HealthCheckReply {
            title: "midwatch-vectors (Qdrant protocol, exact search)".to_owned(),
            version: PROTOCOL_VERSION.to_owned(),
            commit: None,
        }))
    }
}
