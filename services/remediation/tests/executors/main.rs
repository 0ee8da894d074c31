//! The executors against scripted peers, and the record of what they did
//! against PostgreSQL.

#[path = "../fixtures/mod.rs"]
mod fixtures;
#[path = "../support/mod.rs"]
mod support;

mod again;
mod connect;
mod drains;
mod hosts;
mod kubernetes;
mod limits;
mod local;
mod looks;
mod pods;
mod record;
mod rights;
mod scripted;
mod webhook;
mod withdraw;
