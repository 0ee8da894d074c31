//! Vector size, distance and exact nearest-neighbour search.

use qdrant_client::qdrant::vectors::VectorsOptions;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{CreateCollection, Datatype, Distance, VectorParams, Vectors};

use crate::collection::State;
use crate::filter::FilterPlan;
use crate::store::{Limits, PointKey, StoreError};

/// The metric space of one collection.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    size: usize,
    metric: Metric,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    Cosine,
    Dot,
    Euclid,
    Manhattan,
}

/// One nearest-neighbour question.
#[derive(Debug)]
pub struct Question {
    /// The vector, already admitted by [`Space::admit`].
    pub vector: Vec<f32>,
    /// Which points are eligible.
    pub filter: FilterPlan,
    /// A point left out of the answer: the one whose vector is asked for.
    pub except: Option<PointKey>,
    /// Worse scores than this one are left out.
    pub threshold: Option<f32>,
    /// How many of the best to skip.
    pub offset: usize,
    /// How many to return.
    pub limit: usize,
}

impl Space {
    /// Reads vector size and distance from a request to create a collection.
    ///
    /// # Errors
    /// `Unsupported` for named, sparse, multi-vector or non-float32 vectors, `Invalid` for a
    /// missing configuration or a size out of range.
    pub fn of(config: &CreateCollection, limits: Limits) -> Result<Self, StoreError> {
        let unsupported = |what: &str| Err(StoreError::Unsupported(what.to_owned()));
        if config
            .sparse_vectors_config
            .as_ref()
            .is_some_and(|sparse| !sparse.map.is_empty())
        {
            return unsupported("a collection with sparse vectors");
        }
        let vectors = config
            .vectors_config
            .as_ref()
            .and_then(|vectors| vectors.config.as_ref());
        let params = match vectors {
            Some(Config::Params(params)) => params,
            Some(Config::ParamsMap(_)) => return unsupported("a collection with named vectors"),
            None => {
                return Err(StoreError::Invalid(
                    "vectors_config is missing: give size and distance".to_owned(),
                ));
            }
        };
        if params.multivector_config.is_some() {
            return unsupported("a collection with multi-vectors");
        }
        if !matches!(params.datatype(), Datatype::Default | Datatype::Float32) {
            return unsupported("a vector datatype other than float32");
        }
        Ok(Self {
            size: size_of(params, limits)?,
            metric: metric_of(params)?,
        })
    }

    /// Checks a vector and brings it into the stored form: length 1 where the distance is cosine.
    ///
    /// # Errors
    /// `Invalid` for a wrong size or a component that is no finite number.
    pub fn admit(&self, mut vector: Vec<f32>) -> Result<Vec<f32>, StoreError> {
        if vector.len() != self.size {
            return Err(StoreError::Invalid(format!(
                "vector size: expected {}, got {}",
                self.size,
                vector.len()
            )));
        }
        if let Some(position) = vector.iter().position(|component| !component.is_finite()) {
            return Err(StoreError::Invalid(format!(
                "vector component {position} is {}, not a finite number",
                vector[position]
            )));
        }
        if self.metric == Metric::Cosine {
            let length = dot(&vector, &vector).sqrt();
            // The zero vector has no direction; it stays, and scores 0 against everything.
            if length > f32::EPSILON && length.is_finite() {
                vector.iter_mut().for_each(|component| *component /= length);
            }
        }
        Ok(vector)
    }

    /// The best points in order, with their scores; ties go to the smaller id.
    pub fn nearest(&self, state: &State, question: &Question) -> Vec<(PointKey, f32)> {
        let mut found: Vec<(PointKey, f32)> = state
            .points
            .iter()
            .filter(|(key, point)| {
                question.except != Some(**key) && question.filter.matches(key, &point.payload)
            })
            .map(|(key, point)| (*key, self.score(&question.vector, &point.vector)))
            .filter(|(_, score)| {
                question
                    .threshold
                    .is_none_or(|bound| !self.worse(*score, bound))
            })
            .collect();
        let order = |left: &(PointKey, f32), right: &(PointKey, f32)| {
            let by_score = if self.larger_is_better() {
                right.1.total_cmp(&left.1)
            } else {
                left.1.total_cmp(&right.1)
            };
            by_score.then(left.0.cmp(&right.0))
        };
        let wanted = question.offset.saturating_add(question.limit);
        if wanted < found.len() {
            found.select_nth_unstable_by(wanted, order);
            found.truncate(wanted);
        }
        found.sort_unstable_by(order);
        found.into_iter().skip(question.offset).collect()
    }

    fn larger_is_better(&self) -> bool {
        matches!(self.metric, Metric::Cosine | Metric::Dot)
    }

    fn worse(&self, score: f32, bound: f32) -> bool {
        if self.larger_is_better() {
            score < bound
        } else {
            score > bound
        }
    }

    fn score(&self, left: &[f32], right: &[f32]) -> f32 {
        match self.metric {
            Metric::Cosine | Metric::Dot => dot(left, right),
            Metric::Euclid => sum(left, right, |a, b| (a - b) * (a - b)).sqrt(),
            Metric::Manhattan => sum(left, right, |a, b| (a - b).abs()),
        }
    }
}

fn size_of(params: &VectorParams, limits: Limits) -> Result<usize, StoreError> {
    match usize::try_from(params.size) {
        Ok(size) if size > 0 && params.size <= limits.max_dimensions => Ok(size),
        _ => Err(StoreError::Invalid(format!(
            "vector size {} is outside 1 to {}",
            params.size, limits.max_dimensions
        ))),
    }
}

fn metric_of(params: &VectorParams) -> Result<Metric, StoreError> {
    match params.distance() {
        Distance::Cosine => Ok(Metric::Cosine),
        Distance::Dot => Ok(Metric::Dot),
        Distance::Euclid => Ok(Metric::Euclid),
        Distance::Manhattan => Ok(Metric::Manhattan),
        Distance::UnknownDistance => Err(StoreError::Invalid(
            "distance is missing: Cosine, Dot, Euclid or Manhattan".to_owned(),
        )),
    }
}

/// The one dense vector of a point.
///
/// # Errors
/// `Invalid` where it is missing, named, or of another kind.
pub fn point_vector(vectors: Option<Vectors>) -> Result<Vec<f32>, StoreError> {
    let vector = match vectors.and_then(|vectors| vectors.vectors_options) {
        Some(VectorsOptions::Vector(vector)) => vector,
        Some(VectorsOptions::Vectors(mut named)) => {
            let unnamed = named.vectors.remove("");
            match (unnamed, named.vectors.into_keys().next()) {
                (Some(vector), None) => vector,
                (_, Some(name)) => {
                    return Err(StoreError::Invalid(format!(
                        "there is no vector named `{name}` in this collection"
                    )));
                }
                (None, None) => {
                    return Err(StoreError::Invalid("a point has no vector".to_owned()));
                }
            }
        }
        None => return Err(StoreError::Invalid("a point has no vector".to_owned())),
    };
    vector
        .try_into_dense()
        .map_err(|error| StoreError::Invalid(error.to_string()))
}

fn dot(left: &[f32], right: &[f32]) -> f32 {
    sum(left, right, |a, b| a * b)
}

/// Sums over pairs in eight independent lanes, which the compiler turns into vector instructions.
fn sum(left: &[f32], right: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (left_blocks, left_rest) = left.as_chunks::<8>();
    let (right_blocks, right_rest) = right.as_chunks::<8>();
    for (a, b) in left_blocks.iter().zip(right_blocks) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += term(*a, *b);
        }
    }
    let rest: f32 = left_rest
        .iter()
        .zip(right_rest)
        .map(|(a, b)| term(*a, *b))
        .sum();
    lanes.iter().sum::<f32>() + rest
}
