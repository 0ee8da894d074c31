//! An unseen exam for the detector: labelled telemetry as an operator would have collected it.
//!
//! Consumes a seed, produces univariate series with windows around their anomalies. It shares
//! no code with the generator that the detector is tuned on, and its anomalies act on causes
//! (arrival rates, cooling, pool sizes), so that what is seen is what the system makes of them.
//!
//! [`faults`] does the same for the investigator: recordings of systems in which something broke.
//!
//! Guarantees: the same seed gives the same series; timestamps rise strictly and readings are
//! finite; windows are sorted and disjoint, together about a tenth of the series, each centred
//! on where a person would mark the beginning; no anomaly begins in the first 15 % of the
//! points; and every label has something behind it, because each series is also made without
//! its anomalies and compared (see [`plan`]).

mod dice;
mod families;
pub mod faults;
mod frame;
mod make;
mod plan;

pub use families::names as family_names;
pub use make::generate;

use serde::{Deserialize, Serialize};

/// One labelled series; one line of a series file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Anonymous: says nothing about the family.
    pub name: String,
    /// What was measured; for reports by family, never for the detector.
    pub family: String,
    /// Usual distance of two readings in milliseconds.
    pub interval_ms: i64,
    /// `(timestamp in milliseconds, reading)`, timestamps strictly rising.
    pub points: Vec<(i64, f64)>,
    /// `(first, last)` timestamp in milliseconds, both included; sorted and disjoint.
    pub windows: Vec<(i64, i64)>,
}
