//! The topic page over real HTTP, against every broker that can be had here.

mod follow;
mod pages;
mod server;
mod stage;
