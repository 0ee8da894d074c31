//! One module for each system that Midwatch talks to.
//!
//! Every error says whether it is transient, permanent or fatal
//! ([`error::Gravity`]), every wait has a limit, and TLS is used where the URL
//! says so. No module knows another, except that the knowledge store asks the
//! embedder for vectors.

pub mod embeddings;
pub mod error;
pub mod kafka;
pub mod knowledge;
pub mod llm;
pub mod postgres;
pub mod redis;
pub mod signature;
pub mod signed_link;
