//! The API and the pages, against a real PostgreSQL, Redis and broker.

mod agents;
mod commands;
mod decisions;
mod declare;
mod doors;
#[path = "../fixture/mod.rs"]
mod fixture;
mod fleet;
mod knowledge;
mod letters;
mod links;
mod lists;
mod live;
mod pages;
mod resend;
mod server;
mod slack;
mod stores;
mod take;

/// What a name or a line may hold at worst.
const HOSTILE: &str = "<img src=x onerror=alert(1)>";
