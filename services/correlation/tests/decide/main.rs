//! What correlation decides, told as stories: anomalies in, effects out.

mod after;
mod aside;
mod commands;
mod context;
mod declare;
mod grouping;
mod life;
mod naming;
mod storm;
mod story;
