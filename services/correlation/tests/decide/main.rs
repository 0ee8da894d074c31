//! What correlation decides, told as stories: anomalies in, effects out.

mod after;
mod aside;
mod closed;
mod commands;
mod context;
mod declare;
mod graph;
mod grouping;
mod large;
mod life;
mod naming;
mod storm;
mod story;
