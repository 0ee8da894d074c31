//! The executors against scripted peers, and the record of what they did
//! against PostgreSQL.

#[path = "../support/mod.rs"]
mod support;

mod again;
mod connect;
mod drains;
mod kubernetes;
mod limits;
mod local;
mod pods;
mod record;
mod rights;
mod scripted;
mod webhook;
mod withdraw;
