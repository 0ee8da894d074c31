//! What every process of Midwatch shares.
//!
//! - [`run_agent`] starts an [`Agent`]: the one consume loop, its outbox, jobs,
//!   timers, parking and the fences around them ([`engine`]).
//! - [`run_service`] starts everything else (collector, dashboard, simulator,
//!   detection) with the same configuration, logs, health and shutdown.
//!
//! Guarantees, for agents: an input is decided on once per scope, and all of
//! its effects are written in one PostgreSQL transaction with the mark that it
//! was processed; messages go out from the outbox with the same bytes however
//! often; an offset is stored only after the message's effects are on the
//! broker. A message that cannot be read goes to the dead-letter topic and the
//! loop goes on.

pub mod agent;
pub mod clock;
pub mod config;
pub mod effect;
pub mod engine;
pub mod health;
pub mod service;
pub mod telemetry;

pub use agent::{Agent, AgentSpec, Input, Job, JobError, Moment, Route};
pub use config::{ConfigError, Settings};
pub use effect::{Audit, Effect, JobRequest, KeptRecord, Notification, Projection};
pub use health::Readiness;
pub use service::{ServiceContext, Shutdown, kafka_settings, run_agent, run_service};
