//! How long it may take, from how long it took before.

use crate::case::{Case, number};
use crate::config::UNKNOWN_ESTIMATE;
use serde::{Deserialize, Serialize};

/// A past incident, as far as the estimate needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    pub incident_id: String,
    /// Wire name of its type; empty where unknown.
    pub anomaly_type: String,
    pub mttr_minutes: f64,
}

/// Lower and upper estimate in minutes, and where they come from.
#[must_use]
pub fn estimate(case: &Case<'_>, retrieved: &[Past]) -> ([u32; 2], String) {
    let mut past: Vec<(String, f64)> = Vec::new();
    let cited = case.candidate().into_iter().flat_map(|first| {
        let similar = first.similar_incidents.iter();
        similar.map(|past| (past.incident_id.clone(), past.mttr_minutes))
    });
    let of_kind = retrieved
        .iter()
        .filter(|past| past.anomaly_type == case.cause())
        .map(|past| (past.incident_id.clone(), past.mttr_minutes));
    for (id, minutes) in cited.chain(of_kind) {
        if minutes.is_finite() && minutes > 0.0 && !past.iter().any(|(known, _)| *known == id) {
            past.push((id, minutes));
        }
    }
    if past.is_empty() {
        let [low, high] = UNKNOWN_ESTIMATE;
        let basis =
            format!("No similar incident is known; {low} to {high} min is a general allowance.");
        return (UNKNOWN_ESTIMATE, basis);
    }
    let mut minutes: Vec<f64> = past.iter().map(|(_, minutes)| *minutes).collect();
    minutes.sort_by(f64::total_cmp);
    // Quartiles of less than four are the ends.
    let (low, high, words) = if minutes.len() >= 4 {
        (
            quantile(&minutes, 0.25),
            quantile(&minutes, 0.75),
            "Middle half of ",
        )
    } else {
        (minutes[0], minutes[minutes.len() - 1], "")
    };
    let list: Vec<String> = past
        .iter()
        .take(5)
        .map(|(id, minutes)| format!("{id} {} min", number(*minutes)))
        .collect();
    let more = past.len().saturating_sub(5);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let incidents = if past.len() == 1 {
        "incident"
    } else {
        "incidents"
    };
    let basis = format!(
        "{words}{} similar {incidents}: {}{more}.",
        past.len(),
        list.join(", ")
    );
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "minutes of incidents are positive and small; the cast saturates"
    )]
    let range = [low.floor().max(1.0) as u32, high.ceil().max(1.0) as u32];
    (range, basis)
}

/// The quantile by linear interpolation between order statistics (type 7 of
/// Hyndman and Fan, "Sample Quantiles in Statistical Packages", 1996).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a handful of incidents")]
    let place = share * (sorted.len() - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the length"
    )]
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_agree_with_r() {
        // R: quantile(c(12, 18, 22, 31, 47), c(.25, .75)) gives 18 and 31;
        // quantile(c(10, 20, 30, 40), c(.25, .75)) gives 17.5 and 32.5.
        let five = [12.0, 18.0, 22.0, 31.0, 47.0];
        assert_eq!((quantile(&five, 0.25), quantile(&five, 0.75)), (18.0, 31.0));
        let four = [10.0, 20.0, 30.0, 40.0];
        assert_eq!((quantile(&four, 0.25), quantile(&four, 0.75)), (17.5, 32.5));
    }
}
