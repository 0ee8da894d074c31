//! Labelled telemetry for tuning the detector, and the scorer that judges it.
//!
//! Consumes a seed and makes univariate series as an engineer on call meets
//! them, with anomalies injected at known moments ([`generate`]); consumes the
//! verdicts of any detector and scores them by windows ([`score`]). The same
//! seed gives the same series on every machine. Nothing here knows how the
//! detector works: the crate depends on no other crate of the project.

mod baseline;
mod clock;
mod draw;
mod families;
mod files;
mod inject;
mod recipe;
mod score;

use serde::{Deserialize, Serialize};

pub use baseline::{Baseline, BaselineWatch};
pub use families::families;
pub use files::{interleave, judge_lines, read_series, read_verdicts, write_series};
pub use score::{FamilyScore, Report, SeriesVerdicts, score, trial_points};

/// One series with the truth about it; one line of a series file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelledSeries {
    /// Anonymous and unique within a file: it tells nothing of the family.
    pub name: String,
    /// What kind of telemetry this is, one of [`families`].
    pub family: String,
    /// The nominal distance of two samples in milliseconds; the real ones may
    /// differ where samples are missing or come at irregular times.
    pub interval_ms: i64,
    /// Time in milliseconds and value, times strictly increasing, values finite.
    pub points: Vec<(i64, f64)>,
    /// First and last millisecond of each anomaly's window, both inclusive and
    /// times of samples; sorted and disjoint.
    pub windows: Vec<(i64, i64)>,
}

/// Makes `per_family` series of every family. Two calls with the same seed give
/// the same series, and a larger `per_family` only adds more.
#[must_use]
pub fn generate(seed: u64, per_family: usize) -> Vec<LabelledSeries> {
    let mut all = Vec::with_capacity(per_family * families().len());
    for copy in 0..per_family as u64 {
        for (index, (family, make)) in families::ALL.iter().enumerate() {
            let mut draw = draw::Draw::at(&[seed, index as u64, copy]);
            let recipe = make(&mut draw);
            let name = format!("series-{:012x}", draw.bits() >> 16);
            all.push(inject::finish(
                &mut draw,
                &recipe,
                name,
                (*family).to_owned(),
            ));
        }
    }
    all
}
