//! Carries actions out.

pub mod simulator;
