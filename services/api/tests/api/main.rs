//! The API and the pages, against a real PostgreSQL, Redis and broker.

#[path = "../fixture/mod.rs"]
mod fixture;
mod lists;
mod live;
mod pages;
mod server;
mod stores;

/// What a name or a line may hold at worst.
const HOSTILE: &str = "<img src=x onerror=alert(1)>";
