//! The executors against scripted peers, and the record of what they did
//! against PostgreSQL.

#[path = "../support/mod.rs"]
mod support;

mod connect;
mod kubernetes;
mod limits;
mod local;
mod pods;
mod record;
mod scripted;
mod webhook;
