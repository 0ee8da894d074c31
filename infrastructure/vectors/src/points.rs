//! The `qdrant.Points` service.

use std::sync::Arc;
use std::time::Instant;

use ::qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use ::qdrant_client::qdrant::points_server::Points;
use ::qdrant_client::qdrant::query::Variant;
use ::qdrant_client::qdrant::vector_input::Variant as InputVariant;
use ::qdrant_client::qdrant::*;
use tonic::Status;

use crate::collection::{Collection, Selection};
use crate::filter::FilterPlan;
use crate::reply::{Shape, unnamed};
use crate::space::Question;
use crate::store::{PointKey, Store, StoreError};

/// Results of a search or scroll that names no limit, as in Qdrant.
const DEFAULT_LIMIT: u64 = 10;

/// Answers what concerns the points of a collection.
#[derive(Debug, Clone)]
pub struct PointsService {
    store: Arc<Store>,
}

impl PointsService {
    /// A service over that store.
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }
}

/// Runs one call off the network threads: it may wait for the disk or scan a whole collection.
pub async fn run<Reply: Send + 'static>(
    call: &'static str,
    work: impl FnOnce() -> Result<Reply, StoreError> + Send + 'static,
) -> Result<tonic::Response<Reply>, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(reply)) => Ok(tonic::Response::new(reply)),
        Ok(Err(error)) => {
            if matches!(error, StoreError::Storage(_)) {
                tracing::error!(call, %error, "a change could not be stored");
            }
            Err(error.into())
        }
        Err(error) => {
            tracing::error!(call, %error, "a call was aborted");
            Err(Status::internal(format!("{call} was aborted: {error}")))
        }
    }
}

/// Implements a generated service trait: `answered` calls go to `answers::<call>`, `refused` ones
/// say which call it is that this server does not serve.
macro_rules! service {
    (
        $service:ident for $target:ident, $full_name:literal;
        answered { $($call:ident($request:ty) -> $reply:ty;)* }
        refused { $($other:ident($other_request:ty) -> $other_reply:ty;)* }
    ) => {
        #[tonic::async_trait]
        impl $service for $target {
            $(async fn $call(
                &self,
                request: tonic::Request<$request>,
            ) -> Result<tonic::Response<$reply>, tonic::Status> {
                let store = self.store.clone();
                run(stringify!($call), move || answers::$call(&store, request.into_inner())).await
            })*
            $(async fn $other(
                &self,
                _: tonic::Request<$other_request>,
            ) -> Result<tonic::Response<$other_reply>, tonic::Status> {
                Err(StoreError::Unsupported(format!("{}/{}", $full_name, stringify!($other))).into())
            })*
        }
    };
}
pub(crate) use service;

service! {
    Points for PointsService, "qdrant.Points";
    answered {
        upsert(UpsertPoints) -> PointsOperationResponse;
        delete(DeletePoints) -> PointsOperationResponse;
        get(GetPoints) -> GetResponse;
        create_field_index(CreateFieldIndexCollection) -> PointsOperationResponse;
        delete_field_index(DeleteFieldIndexCollection) -> PointsOperationResponse;
        search(SearchPoints) -> SearchResponse;
        search_batch(SearchBatchPoints) -> SearchBatchResponse;
        scroll(ScrollPoints) -> ScrollResponse;
        count(CountPoints) -> CountResponse;
        query(QueryPoints) -> QueryResponse;
        query_batch(QueryBatchPoints) -> QueryBatchResponse;
    }
    refused {
        update_vectors(UpdatePointVectors) -> PointsOperationResponse;
        delete_vectors(DeletePointVectors) -> PointsOperationResponse;
        set_payload(SetPayloadPoints) -> PointsOperationResponse;
        overwrite_payload(SetPayloadPoints) -> PointsOperationResponse;
        delete_payload(DeletePayloadPoints) -> PointsOperationResponse;
        clear_payload(ClearPayloadPoints) -> PointsOperationResponse;
        create_vector_name(CreateVectorNameRequest) -> PointsOperationResponse;
        delete_vector_name(DeleteVectorNameRequest) -> PointsOperationResponse;
        search_groups(SearchPointGroups) -> SearchGroupsResponse;
        recommend(RecommendPoints) -> RecommendResponse;
        recommend_batch(RecommendBatchPoints) -> RecommendBatchResponse;
        recommend_groups(RecommendPointGroups) -> RecommendGroupsResponse;
        discover(DiscoverPoints) -> DiscoverResponse;
        discover_batch(DiscoverBatchPoints) -> DiscoverBatchResponse;
        update_batch(UpdateBatchPoints) -> UpdateBatchResponse;
        query_groups(QueryPointGroups) -> QueryGroupsResponse;
        facet(FacetCounts) -> FacetResponse;
        search_matrix_pairs(SearchMatrixPoints) -> SearchMatrixPairsResponse;
        search_matrix_offsets(SearchMatrixPoints) -> SearchMatrixOffsetsResponse;
    }
}

mod answers {
    use super::*;

    pub fn upsert(
        store: &Store,
        request: UpsertPoints,
    ) -> Result<PointsOperationResponse, StoreError> {
        let start = Instant::now();
        if request.update_filter.is_some() {
            return Err(StoreError::Unsupported(
                "upsert with update_filter".to_owned(),
            ));
        }
        let mode = request.update_mode();
        let number = store
            .collection(&request.collection_name)?
            .upsert(request.points, mode)?;
        Ok(completed(number, start))
    }

    pub fn delete(
        store: &Store,
        request: DeletePoints,
    ) -> Result<PointsOperationResponse, StoreError> {
        let start = Instant::now();
        let collection = store.collection(&request.collection_name)?;
        let selection = match request
            .points
            .and_then(|selector| selector.points_selector_one_of)
        {
            Some(PointsSelectorOneOf::Points(list)) => Selection::Ids(keys(list.ids)?),
            Some(PointsSelectorOneOf::Filter(filter)) => {
                Selection::Filter(FilterPlan::parse(Some(filter))?)
            }
            None => {
                return Err(StoreError::Invalid(
                    "delete needs ids or a filter".to_owned(),
                ));
            }
        };
        Ok(completed(collection.delete(selection)?, start))
    }

    pub fn create_field_index(
        store: &Store,
        request: CreateFieldIndexCollection,
    ) -> Result<PointsOperationResponse, StoreError> {
        let start = Instant::now();
        let collection = store.collection(&request.collection_name)?;
        Ok(completed(collection.create_index(request)?, start))
    }

    pub fn delete_field_index(
        store: &Store,
        request: DeleteFieldIndexCollection,
    ) -> Result<PointsOperationResponse, StoreError> {
        let start = Instant::now();
        let collection = store.collection(&request.collection_name)?;
        Ok(completed(
            collection.delete_index(request.field_name)?,
            start,
        ))
    }

    pub fn get(store: &Store, request: GetPoints) -> Result<GetResponse, StoreError> {
        let start = Instant::now();
        let collection = store.collection(&request.collection_name)?;
        let shape = Shape::parse(request.with_payload, true, request.with_vectors)?;
        let keys = keys(request.ids)?;
        let state = collection.read();
        let found = keys
            .iter()
            .filter_map(|key| Some((key, state.points.get(key)?)));
        let result = found
            .map(|(key, point)| shape.retrieved(*key, point))
            .collect();
        Ok(GetResponse {
            result,
            time: start.elapsed().as_secs_f64(),
            usage: None,
        })
    }

    pub fn search(store: &Store, request: SearchPoints) -> Result<SearchResponse, StoreError> {
        let start = Instant::now();
        let result = found_by_search(store, request)?;
        Ok(SearchResponse {
            result,
            time: start.elapsed().as_secs_f64(),
            usage: None,
        })
    }

    pub fn search_batch(
        store: &Store,
        request: SearchBatchPoints,
    ) -> Result<SearchBatchResponse, StoreError> {
        let start = Instant::now();
        let mut result = Vec::with_capacity(request.search_points.len());
        for mut search in request.search_points {
            search.collection_name.clone_from(&request.collection_name);
            result.push(BatchResult {
                result: found_by_search(store, search)?,
            });
        }
        Ok(SearchBatchResponse {
            result,
            time: start.elapsed().as_secs_f64(),
            usage: None,
        })
    }

    pub fn query(store: &Store, request: QueryPoints) -> Result<QueryResponse, StoreError> {
        let start = Instant::now();
        let result = found_by_query(store, request)?;
        Ok(QueryResponse {
            result,
            time: start.elapsed().as_secs_f64(),
            usage: None,
        })
    }

    pub fn query_batch(
        store: &Store,
        request: QueryBatchPoints,
    ) -> Result<QueryBatchResponse, StoreError> {
        let start = Instant::now();
        let mut result = Vec::with_capacity(request.query_points.len());
        for mut query in request.query_points {
            query.collection_name.clone_from(&request.collection_name);
            result.push(BatchResult {
                result: found_by_query(store, query)?,
            });
        }
        Ok(QueryBatchResponse {
            result,
            time: start.elapsed().as_secs_f64(),
            usage: None,
        })
    }

    pub fn scroll(store: &Store, request: ScrollPoints) -> Result<ScrollResponse, StoreError> {
        let start = Instant::now();
        if request.order_by.is_some() {
            return Err(StoreError::Unsupported("scroll with order_by".to_owned()));
        }
        let limit = request.limit.map_or(DEFAULT_LIMIT, u64::from);
        if limit == 0 {
            return Err(StoreError::Invalid(
                "the limit of a scroll must be at least 1".to_owned(),
            ));
        }
        let collection = store.collection(&request.collection_name)?;
        let shape = Shape::parse(request.with_payload, true, request.with_vectors)?;
        let filter = FilterPlan::parse(request.filter)?;
        let first = match request.offset {
            Some(offset) => PointKey::parse(offset)?,
            None => PointKey::Number(0),
        };
        let state = collection.read();
        let mut matching = state
            .points
            .range(first..)
            .filter(|(key, point)| filter.matches(key, &point.payload));
        let page = matching.by_ref().take(bounded(limit));
        let result = page
            .map(|(key, point)| shape.retrieved(*key, point))
            .collect();
        let next_page_offset = matching.next().map(|(key, _)| (*key).into());
        Ok(ScrollResponse {
            next_page_offset,
            result,
            time: start.elapsed().as_secs_f64(),
            usage: None,
        })
    }

    pub fn count(store: &Store, request: CountPoints) -> Result<CountResponse, StoreError> {
        let start = Instant::now();
        let collection = store.collection(&request.collection_name)?;
        let filter = FilterPlan::parse(request.filter)?;
        let state = collection.read();
        let passing = state
            .points
            .iter()
            .filter(|(key, point)| filter.matches(key, &point.payload));
        let result = Some(CountResult {
            count: passing.count() as u64,
        });
        Ok(CountResponse {
            result,
            time: start.elapsed().as_secs_f64(),
            usage: None,
        })
    }
}

fn found_by_search(store: &Store, request: SearchPoints) -> Result<Vec<ScoredPoint>, StoreError> {
    let collection = store.collection(&request.collection_name)?;
    unnamed(request.vector_name.as_deref())?;
    if request.sparse_indices.is_some() {
        return Err(StoreError::Unsupported(
            "search with a sparse vector".to_owned(),
        ));
    }
    let shape = Shape::parse(request.with_payload, false, request.with_vectors)?;
    let question = Question {
        vector: collection.space().admit(request.vector)?,
        filter: FilterPlan::parse(request.filter)?,
        except: None,
        threshold: request.score_threshold,
        offset: bounded(request.offset.unwrap_or(0)),
        limit: bounded(request.limit),
    };
    Ok(nearest(&collection, &question, &shape))
}

fn found_by_query(store: &Store, request: QueryPoints) -> Result<Vec<ScoredPoint>, StoreError> {
    let collection = store.collection(&request.collection_name)?;
    unnamed(request.using.as_deref())?;
    if !request.prefetch.is_empty() || request.lookup_from.is_some() {
        return Err(StoreError::Unsupported(
            "query with prefetch or lookup_from".to_owned(),
        ));
    }
    let shape = Shape::parse(request.with_payload, false, request.with_vectors)?;
    let filter = FilterPlan::parse(request.filter)?;
    let offset = bounded(request.offset.unwrap_or(0));
    let limit = bounded(request.limit.unwrap_or(DEFAULT_LIMIT));
    let (vector, except) = match request.query.and_then(|query| query.variant) {
        Some(Variant::Nearest(input)) => target(&collection, input)?,
        Some(_) => {
            return Err(StoreError::Unsupported(
                "a query other than nearest-to-a-vector".to_owned(),
            ));
        }
        None => {
            let state = collection.read();
            let passing = state
                .points
                .iter()
                .filter(|(key, point)| filter.matches(key, &point.payload));
            let page = passing.skip(offset).take(limit);
            return Ok(page
                .map(|(key, point)| shape.scored(*key, point, 0.0))
                .collect());
        }
    };
    let threshold = request.score_threshold;
    let question = Question {
        vector,
        filter,
        except,
        threshold,
        offset,
        limit,
    };
    Ok(nearest(&collection, &question, &shape))
}

/// The vector asked for, and the point to leave out where it was named by id.
fn target(
    collection: &Collection,
    input: VectorInput,
) -> Result<(Vec<f32>, Option<PointKey>), StoreError> {
    match input.variant {
        Some(InputVariant::Dense(vector)) => Ok((collection.space().admit(vector.data)?, None)),
        Some(InputVariant::Id(id)) => {
            let key = PointKey::parse(id.clone())?;
            match collection.read().points.get(&key) {
                Some(point) => Ok((point.vector.clone(), Some(key))),
                None => Err(StoreError::NotFound(format!("point {id:?}"))),
            }
        }
        Some(_) => Err(StoreError::Unsupported(
            "a query with anything but a dense vector".to_owned(),
        )),
        None => Err(StoreError::Invalid("the query holds no vector".to_owned())),
    }
}

fn nearest(collection: &Collection, question: &Question, shape: &Shape) -> Vec<ScoredPoint> {
    let state = collection.read();
    let found = collection.space().nearest(&state, question);
    let scored = found.into_iter().filter_map(|(key, score)| {
        state
            .points
            .get(&key)
            .map(|point| shape.scored(key, point, score))
    });
    scored.collect()
}

/// Larger than any collection means all of it.
fn bounded(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn keys(ids: Vec<PointId>) -> Result<Vec<PointKey>, StoreError> {
    ids.into_iter().map(PointKey::parse).collect()
}

fn completed(number: u64, start: Instant) -> PointsOperationResponse {
    PointsOperationResponse {
        result: Some(UpdateResult {
            operation_id: Some(number),
            status: UpdateStatus::Completed.into(),
        }),
        time: start.elapsed().as_secs_f64(),
        usage: None,
    }
}
