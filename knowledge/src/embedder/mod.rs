//! The one process that holds the embedding model: all-MiniLM-L6-v2 behind
//! OpenAI's `POST /v1/embeddings`.
//!
//! Guarantees: inputs, waiting and queue are bounded; refusals are errors in
//! OpenAI's form; the vector of a text does not depend on its neighbours.

pub mod api;
pub mod model;
