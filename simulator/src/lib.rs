//! The simulated fleet: six services with noise, faults and a call graph of
//! their own.
//!
//! Consumes: nothing from the broker; injections over HTTP (`POST /inject`).
//! Produces: `raw.metrics`, `raw.logs`, `raw.spans`, `raw.deployments`,
//! `raw.kubernetes`, all in the environment `simulation` unless told
//! otherwise, and what was really injected on `simulator.ground-truth`, which
//! no agent reads.
//!
//! Guarantees
//! - [`world::World`] is pure: virtual time in, events out. The same seed and
//!   first moment give the same bytes, event ids included.
//! - Quiet readings stay within the stated jitter, and no series deviates by
//!   2.5 sample deviations without a fault.
//! - A fault strains its own service and whoever calls it, along
//!   [`fleet::CALLS`], and nobody else; one minute after its end all is normal.
//! - Values never leave their physical limits.

pub mod changes;
pub mod config;
pub mod control;
pub mod fleet;
pub mod logs;
pub mod noise;
pub mod pace;
pub mod scenario;
pub mod shell;
pub mod spans;
pub mod stories;
pub mod world;
