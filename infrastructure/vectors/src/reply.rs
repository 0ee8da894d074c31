//! What a reply shows of a point: its payload, or part of it, and its vector.

use qdrant_client::qdrant::vectors_output::VectorsOptions;
use qdrant_client::qdrant::with_vectors_selector::SelectorOptions;
use qdrant_client::qdrant::{
    DenseVector, RetrievedPoint, ScoredPoint, VectorOutput, VectorsOutput, WithPayloadSelector,
    WithVectorsSelector, vector_output,
};

use crate::collection::StoredPoint;
use crate::path::PayloadChoice;
use crate::store::{PointKey, StoreError};

/// Refuses the name of a vector: there is only the unnamed one.
///
/// # Errors
/// `Invalid`.
pub fn unnamed(vector_name: Option<&str>) -> Result<(), StoreError> {
    match vector_name {
        None | Some("") => Ok(()),
        Some(name) => Err(StoreError::Invalid(format!(
            "there is no vector named `{name}` in this collection"
        ))),
    }
}

/// What a reply shows of each point.
pub struct Shape {
    payload: PayloadChoice,
    vector: bool,
}

impl Shape {
    /// Reads the selectors; `payload_by_default` says what a request without one gets.
    ///
    /// # Errors
    /// `Invalid` where a named vector is asked for.
    pub fn parse(
        payload: Option<WithPayloadSelector>,
        payload_by_default: bool,
        vectors: Option<WithVectorsSelector>,
    ) -> Result<Self, StoreError> {
        let vector = match vectors.and_then(|selector| selector.selector_options) {
            Some(SelectorOptions::Enable(enable)) => enable,
            Some(SelectorOptions::Include(list)) => {
                list.names.iter().try_for_each(|name| unnamed(Some(name)))?;
                !list.names.is_empty()
            }
            None => false,
        };
        Ok(Self {
            payload: PayloadChoice::parse(payload, payload_by_default),
            vector,
        })
    }

    fn vectors(&self, point: &StoredPoint) -> Option<VectorsOutput> {
        let dense = || DenseVector {
            data: point.vector.clone(),
        };
        self.vector.then(|| VectorsOutput {
            vectors_options: Some(VectorsOptions::Vector(VectorOutput {
                vector: Some(vector_output::Vector::Dense(dense())),
                ..VectorOutput::default()
            })),
        })
    }

    /// A point as scroll and get show it.
    pub fn retrieved(&self, key: PointKey, point: &StoredPoint) -> RetrievedPoint {
        RetrievedPoint {
            id: Some(key.into()),
            payload: self.payload.apply(&point.payload),
            vectors: self.vectors(point),
            ..RetrievedPoint::default()
        }
    }

    /// A point as search shows it.
    pub fn scored(&self, key: PointKey, point: &StoredPoint, score: f32) -> ScoredPoint {
        ScoredPoint {
            id: Some(key.into()),
            payload: self.payload.apply(&point.payload),
            score,
            version: point.version,
            vectors: self.vectors(point),
            ..ScoredPoint::default()
        }
    }
}
