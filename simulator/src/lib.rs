//! The simulated fleet: six services with noise, faults and a call graph of
//! their own.
//!
//! Consumes: nothing from the broker; over HTTP injections (`POST /inject`) and
//! what people and agents do to the fleet (`POST /actions`).
//! Produces: `raw.metrics`, `raw.logs`, `raw.spans`, `raw.deployments`,
//! `raw.kubernetes`, all in the environment `simulation` unless told
//! otherwise, and what was really injected on `simulator.ground-truth`, which
//! no agent reads.
//!
//! Guarantees
//! - [`world::World`] is pure: virtual time in, events out. The same seed and
//!   first moment give the same bytes, event ids included.
//! - Quiet readings of the standard fleet stay within the stated jitter, and no
//!   series deviates by 2.5 sample deviations without a fault. Drawn fleets
//!   ([`variation`]) are as noisy as their seed makes them.
//! - A fault strains its own service and whoever calls it, along the fleet's
//!   own call graph, and nobody else; one minute after its end all is normal.
//! - What its runbook advises ends a fault before its time, anything else does
//!   not and may hurt ([`actions`]); whoever acts is not told which it was.
//! - A fleet may have a daily [`rhythm`], and one of the [`cases`] for judging
//!   detection in virtual time; the documented fleet has neither.
//! - A fleet may live through [`trials`] one after another: small stories for
//!   judging correlation and investigation.
//! - Values never leave their physical limits.

pub mod actions;
pub mod cases;
pub mod changes;
pub mod config;
pub mod control;
pub mod fleet;
pub mod logs;
pub mod noise;
pub mod pace;
pub mod rhythm;
pub mod scenario;
pub mod shell;
pub mod spans;
pub mod stories;
pub mod trials;
pub mod variation;
pub mod world;
