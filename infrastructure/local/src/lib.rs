//! The embedded stack: every server that Midwatch needs, as private processes
//! of this user, and the supervisor that runs the whole pipeline on them.
//!
//! Consumes what `setup.sh` put into `.midwatch/cache` and Debian's server
//! programs. Produces running servers on free loopback ports, and for a demo
//! the address book `.midwatch/run/stack.json` and logs in `.midwatch/logs`.
//!
//! Guarantees:
//! - A server is handed out only after it answered in its own protocol.
//! - All data lie in one temporary folder, which is removed at the end.
//! - Nothing outlives the supervisor: it stops its processes in order, the
//!   kernel ends them if it is killed, and the next run ends and removes what
//!   might still be left. Only processes that are provably ours are signalled.
//! - A server that Debian started, or any other, is left alone.

pub mod address_book;
pub mod attached;
pub mod control;
pub mod demo;
mod environment;
pub mod exec;
pub mod health;
mod kafka;
pub mod layout;
pub mod once;
pub mod port;
pub mod probe;
pub mod proc;
pub mod process;
pub mod prometheus;
pub mod run_dir;
pub mod scale;
pub mod servers;
pub mod signals;
pub mod stack;
pub mod supervisor;
pub mod table;

pub use servers::{Endpoint, Server};
pub use stack::Stack;
