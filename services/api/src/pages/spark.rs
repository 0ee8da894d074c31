//! A metric as a line small enough for a list.

use crate::series::Point;
use serde::Serialize;

/// Width and height, in units of the drawing.
const SIZE: (f64, f64) = (132.0, 30.0);
/// Room for the dot at the end, and for the line's own width.
const EDGE: f64 = 4.0;

/// A small drawing, ready to print.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spark {
    pub width: f64,
    pub height: f64,
    /// The normal range; empty where it is not known.
    pub band: String,
    pub line: String,
    /// The newest reading.
    pub end_x: f64,
    pub end_y: f64,
}

/// Draws readings in order of time; `None` where there are fewer than two.
#[must_use]
pub fn draw(points: &[Point]) -> Option<Spark> {
    let (first, last) = (points.first()?, points.last()?);
    if first.at_ms == last.at_ms {
        return None;
    }
    let values = points
        .iter()
        .flat_map(|point| [Some(point.value), point.low, point.high])
        .flatten()
        .filter(|value| value.is_finite());
    let (least, most) = values.fold(
        (f64::INFINITY, f64::NEG_INFINITY),
        |(least, most), value| (least.min(value), most.max(value)),
    );
    let spread = (most - least).max(most.abs() * 0.02).max(1e-9);
    let x = |at_ms: i64| {
        let share = (at_ms - first.at_ms) as f64 / (last.at_ms - first.at_ms) as f64;
        tenth(EDGE + share * (SIZE.0 - 2.0 * EDGE))
    };
    let y = |value: f64| {
        let share = ((value - least) / spread).clamp(0.0, 1.0);
        tenth(EDGE + (1.0 - share) * (SIZE.1 - 2.0 * EDGE))
    };
    let place = |at_ms: i64, value: f64| format!("{} {}", x(at_ms), y(value));
    let line: Vec<String> = points
        .iter()
        .map(|point| place(point.at_ms, point.value))
        .collect();
    let known: Vec<(i64, f64, f64)> = points
        .iter()
        .filter_map(|point| Some((point.at_ms, point.low?, point.high?)))
        .collect();
    let above = known.iter().map(|(at, _, high)| place(*at, *high));
    let below = known.iter().rev().map(|(at, low, _)| place(*at, *low));
    let corners: Vec<String> = above.chain(below).collect();
    Some(Spark {
        width: SIZE.0,
        height: SIZE.1,
        band: if known.len() > 1 {
            format!("M{}Z", corners.join("L"))
        } else {
            String::new()
        },
        line: format!("M{}", line.join("L")),
        end_x: x(last.at_ms),
        end_y: y(last.value),
    })
}

fn tenth(position: f64) -> f64 {
    (position * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_ends_at_the_newest_reading_and_stays_inside() {
        let point = |at_ms, value, range: Option<(f64, f64)>| Point {
            at_ms,
            value,
            low: range.map(|(low, _)| low),
            high: range.map(|(_, high)| high),
            ..Point::default()
        };
        let range = Some((0.0, 20.0));
        let points = [
            point(0, 10.0, range),
            point(50, 40.0, range),
            point(100, 0.0, range),
        ];
        let spark = draw(&points).unwrap();
        // 40 is the top edge, 0 the bottom one, 10 a quarter up: 4 + 0.75 × 22.
        assert_eq!(spark.line, "M4 20.5L66 4L128 26");
        assert_eq!((spark.end_x, spark.end_y), (128.0, 26.0));
        assert_eq!(spark.band, "M4 15L66 15L128 15L128 26L66 26L4 26Z");
        assert_eq!(draw(&points[..1]), None);
        let bare = [point(0, 5.0, None), point(9, 5.0, None)];
        assert_eq!(draw(&bare).unwrap().band, "");
    }
}
