//! How unusual the readings of a metric were: the strip of scores below its
//! line, the readings that stood out, and what there was to say about them.

use super::chart::{Scale, gap_ms, round};
use crate::series::Point;
use serde::Serialize;
use std::collections::BTreeMap;

/// What detection decides by: a reading of this score or more stands out.
pub const DECISION: f64 = 0.5;
/// Reasons listed below one drawing; a page has up to two dozen drawings.
const LISTED: usize = 5;
/// Space between the plot and its scores, which is empty.
const ABOVE: f64 = 12.0;
/// How far apart, in tenths of a unit of the drawing, readings that stood out
/// are marked: closer, the marks would be one smear.
const APART: i64 = 110;

/// The scores of a drawing, as bars.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Strip {
    /// The score 1.
    pub top: f64,
    /// [`DECISION`].
    pub middle: f64,
    /// The score 0.
    pub bottom: f64,
    /// How wide a bar is.
    pub bar: f64,
    /// The bars below [`DECISION`].
    pub calm: String,
    /// The others.
    pub decided: String,
}

/// A reading that stood out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spot {
    pub x: f64,
    pub y: f64,
    /// What it says when pointed at.
    pub text: String,
}

/// Readings that stood out one after the other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stretch {
    pub from_ms: i64,
    pub to_ms: i64,
    /// How many stood out.
    pub readings: usize,
    /// The highest score, 0.5..1.
    pub score: f64,
    /// What was said about the reading of that score.
    pub reason: String,
}

/// What was said about the readings of a drawing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reasons {
    /// Newest first.
    pub listed: Vec<Stretch>,
    /// How many there are before those.
    pub earlier: usize,
}

/// The readings that stood out.
pub(super) fn decided(points: &[Point]) -> impl Iterator<Item = &Point> {
    points.iter().filter(|point| score(point) >= DECISION)
}

/// 0..1; 0 where none was kept.
fn score(point: &Point) -> f64 {
    point.score.unwrap_or(0.0).clamp(0.0, 1.0)
}

/// The scores as bars; `None` where no reading has one. Where there are more
/// readings than room, a bar is the highest of some that follow each other.
pub(super) fn strip(scale: &Scale, points: &[Point]) -> Option<Strip> {
    let scored: Vec<&Point> = points
        .iter()
        .filter(|point| point.score.is_some())
        .collect();
    if scored.is_empty() {
        return None;
    }
    let together = scored.len().div_ceil(scale.size.columns);
    let pitch = scale.width() * together as f64 / scored.len() as f64;
    let top = scale.end_y + ABOVE;
    let bottom = scale.size.height - scale.size.bottom;
    let height = bottom - top;
    let mut strip = Strip {
        top,
        middle: round(bottom - DECISION * height),
        bottom,
        bar: round((pitch * 0.7).clamp(1.5, 6.0)),
        calm: String::new(),
        decided: String::new(),
    };
    for some in scored.chunks(together) {
        let highest = some.iter().map(|point| score(point)).fold(0.0, f64::max);
        let bars = if highest >= DECISION {
            &mut strip.decided
        } else {
            &mut strip.calm
        };
        let end = round(bottom - highest * height);
        // The one in the middle keeps the bars apart from each other.
        let x = scale.x(some[some.len() / 2].at_ms);
        bars.push_str(&format!("M{x} {bottom}V{end}"));
    }
    Some(strip)
}

/// The readings that stood out; of those that lie close, the one of the
/// highest score, and of several of that the first.
pub(super) fn spots(scale: &Scale, points: &[Point], metric: &str) -> Vec<Spot> {
    let mut by_score: Vec<&Point> = decided(points).collect();
    by_score.sort_by(|one, other| score(other).total_cmp(&score(one)));
    let mut taken: BTreeMap<i64, &Point> = BTreeMap::new();
    // Tenths, as positions are rounded to, are whole numbers here.
    let place = |point: &Point| (scale.x(point.at_ms) * 10.0).round() as i64;
    for point in by_score {
        let at = place(point);
        if taken.range(at - APART + 1..at + APART).next().is_none() {
            taken.insert(at, point);
        }
    }
    taken
        .into_values()
        .map(|point| Spot {
            x: scale.x(point.at_ms),
            y: scale.y(point.value),
            text: scale.told(point, metric),
        })
        .collect()
}

/// What was said about `points`, which are in order of time. Readings that
/// stood out belong together up to a pause that also breaks the line: a score
/// that dips for a moment ends nothing.
#[must_use]
pub fn reasons(points: &[Point]) -> Reasons {
    let gap = gap_ms(points);
    let mut stretches: Vec<Stretch> = Vec::new();
    for point in decided(points).filter(|point| !point.reason.is_empty()) {
        let score = score(point);
        match stretches.last_mut() {
            Some(last) if point.at_ms - last.to_ms <= gap => {
                last.to_ms = point.at_ms;
                last.readings += 1;
                if score > last.score {
                    last.score = score;
                    last.reason.clone_from(&point.reason);
                }
            }
            _ => stretches.push(Stretch {
                from_ms: point.at_ms,
                to_ms: point.at_ms,
                readings: 1,
                score,
                reason: point.reason.clone(),
            }),
        }
    }
    let earlier = stretches.len().saturating_sub(LISTED);
    let mut listed = stretches.split_off(earlier);
    listed.reverse();
    Reasons { listed, earlier }
}

#[cfg(test)]
mod tests {
    use super::super::chart::{self, NARROW, WIDE};
    use super::*;
    use crate::pages::environment;
    use crate::series::Series;
    use minijinja::value::Serde;

    const HOSTILE: &str = "\"'><img src=x onerror=alert(1)></title></svg><script>alert(2)</script>";

    /// One reading every ten seconds, of these scores.
    fn points(scores: &[f64]) -> Vec<Point> {
        let point = |(index, score): (usize, &f64)| Point {
            at_ms: index as i64 * 10_000,
            value: 100.0 + score * 50.0,
            score: Some(*score),
            reason: if *score >= DECISION {
                format!("reason {index}")
            } else {
                String::new()
            },
            ..Point::default()
        };
        scores.iter().enumerate().map(point).collect()
    }

    fn series(points: Vec<Point>) -> Series {
        Series {
            service: "payment-service".to_owned(),
            metric: "latency_ms".to_owned(),
            points,
            ..Series::default()
        }
    }

    #[test]
    fn a_bar_is_as_high_as_its_score_and_a_decision_is_told_apart() {
        let scores = series(points(&[0.0, 0.25, 0.5, 1.0, 7.0]));
        let chart = chart::draw(&scores, None, WIDE).unwrap();
        let strip = chart.strip.unwrap();
        // The strip is 20 high, from 282 up to 262; the plot is 958 wide.
        assert_eq!(
            (strip.top, strip.middle, strip.bottom),
            (262.0, 272.0, 282.0)
        );
        assert_eq!(strip.calm, "M64 282V282M303.5 282V277");
        assert_eq!(strip.decided, "M543 282V272M782.5 282V262M1022 282V262");
        assert!(chart.end_y < strip.top && strip.bottom == chart.axis_y);
        let told: Vec<&str> = chart.spots.iter().map(|spot| spot.text.as_str()).collect();
        assert_eq!(
            told,
            [
                "00:00:20: 125 ms, score 0.50: reason 2",
                "00:00:30: 150 ms, score 1.00: reason 3",
                "00:00:40: 450 ms, score 1.00: reason 4"
            ]
        );
        assert!(chart.label.ends_with("; 3 readings stood out"));
    }

    #[test]
    fn without_scores_there_is_no_strip_and_the_plot_takes_its_room() {
        let mut bare = points(&[0.0, 0.0]);
        for point in &mut bare {
            point.score = None;
        }
        let chart = chart::draw(&series(bare), None, NARROW).unwrap();
        assert_eq!((chart.strip, chart.spots), (None, Vec::new()));
        assert_eq!((chart.end_y, chart.axis_y), (242.0, 242.0));
    }

    #[test]
    fn a_crowd_keeps_its_highest_score_and_does_not_smear() {
        let mut scores = vec![0.6; 4_000];
        scores[1_234] = 0.99;
        for size in [WIDE, NARROW] {
            let chart = chart::draw(&series(points(&scores)), None, size).unwrap();
            let strip = chart.strip.unwrap();
            assert!(strip.decided.matches('M').count() <= size.columns);
            let apart = chart.spots.windows(2).map(|two| two[1].x - two[0].x);
            assert!(apart.fold(f64::MAX, f64::min) >= 11.0);
            assert!(chart.spots.len() > 20, "{}", chart.spots.len());
            let highest = |spot: &&Spot| spot.text.ends_with("score 0.99: reason 1234");
            assert_eq!(chart.spots.iter().filter(highest).count(), 1);
        }
    }

    #[test]
    fn readings_that_stood_out_together_are_listed_as_one() {
        // Dips for less than five pauses; then calm for six.
        let found = reasons(&points(&[
            0.1, 0.6, 0.9, 0.2, 0.3, 0.7, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.1,
        ]));
        let stretch = |from_s: i64, to_s: i64, readings, score, reason: &str| Stretch {
            from_ms: from_s * 1_000,
            to_ms: to_s * 1_000,
            readings,
            score,
            reason: reason.to_owned(),
        };
        let listed = vec![
            stretch(110, 110, 1, 0.5, "reason 11"),
            stretch(10, 50, 3, 0.9, "reason 2"),
        ];
        assert_eq!(found, Reasons { listed, earlier: 0 });
        assert_eq!(reasons(&points(&[0.1, 0.49])), Reasons::default());
        assert_eq!(reasons(&[]), Reasons::default());
        // Members from before reasons were kept say nothing.
        let mut old = points(&[0.1, 0.9]);
        old[1].reason.clear();
        assert_eq!(reasons(&old), Reasons::default());
    }

    #[test]
    fn the_list_holds_the_newest_and_counts_the_others() {
        let scores: Vec<f64> = (0..90)
            .map(|index| if index % 10 == 3 { 0.8 } else { 0.0 })
            .collect();
        let found = reasons(&points(&scores));
        let told: Vec<&str> = found.listed.iter().map(|one| one.reason.as_str()).collect();
        assert_eq!(
            told,
            [
                "reason 83",
                "reason 73",
                "reason 63",
                "reason 53",
                "reason 43"
            ]
        );
        assert_eq!(found.earlier, 4);
    }

    #[test]
    fn a_reason_and_a_name_stay_text_in_the_drawing_and_in_the_list() {
        let mut shown = series(points(&[0.1, 0.9, 0.2]));
        shown.service = HOSTILE.to_owned();
        shown.points[1].reason = HOSTILE.to_owned();
        let mut environment = environment();
        let source = include_str!("../../templates/chart.html");
        environment.add_template("chart.html", source).unwrap();
        let page =
            "{% from 'chart.html' import draw, reasons %}{{ draw(chart) }}{{ reasons(found) }}";
        environment.add_template("page.html", page).unwrap();
        let view = serde_json::json!({
            "chart": chart::draw(&shown, None, NARROW),
            "found": reasons(&shown.points),
        });
        let page = environment.get_template("page.html").unwrap();
        let html = page.render(Serde(view)).unwrap();
        let escaped = "&quot;&#x27;&gt;&lt;img src=x onerror=alert(1)&gt;&lt;&#x2f;title&gt;&lt;&#x2f;svg&gt;&lt;script&gt;alert(2)&lt;&#x2f;script&gt;";
        // Once in the label, the dot, the mark and the list.
        assert_eq!(html.matches(escaped).count(), 4, "{html}");
        assert!(
            !html.contains("<img") && !html.contains("<script"),
            "{html}"
        );
        assert_eq!(html.matches("</svg>").count(), 1);
        assert!(html.contains("class=\"spot\"") && html.contains("class=\"scores decided\""));
        assert!(html.contains("score 0.90"), "{html}");
    }
}
