//! A picture of the series that opened an incident, with the band that is
//! normal for it. It has no letters in it: the words beside it say what it
//! shows, and fonts would be heavier than the rest of the agent.

use midwatch_events::IncidentOpened;
use tiny_skia::{Color, FillRule, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, Transform};

/// Pixels; mails show it at half of that, so that it is sharp on a phone.
const WIDTH: u32 = 1_104;
const HEIGHT: u32 = 260;
/// Pixels left free at each edge.
const EDGE: f32 = 14.0;
/// Fewer readings show no course.
const LEAST: usize = 4;
/// More readings than pixels show nothing more.
const MOST: usize = 500;
/// Half of the band's height, in standard deviations of the baseline: what
/// leaves it once in 370 readings of a normal distribution.
const BAND: f64 = 3.0;

/// A PNG of the trigger's recent readings; nothing where there are too few.
#[must_use]
pub fn of(opened: &IncidentOpened) -> Option<Vec<u8>> {
    let service = opened.header.primary_service();
    let mut points: Vec<(i64, f64)> = opened
        .recent_metrics
        .iter()
        .filter(|reading| {
            reading.service == service
                && reading.metric_name == opened.trigger_metric
                && reading.value.is_finite()
        })
        .map(|reading| (reading.at_ms, reading.value))
        .collect();
    // The readings were copied before the one that raised the alarm was kept.
    let member = opened.grouped_anomalies.iter().find(|anomaly| {
        anomaly.service == service && anomaly.trigger_metric == opened.trigger_metric
    });
    // The incident may have been detected by another series before.
    let alarm_ms = member.map_or(opened.header.detected_at_ms, |anomaly| {
        anomaly.observed_at_ms.unwrap_or(anomaly.detected_at_ms)
    });
    if opened.observed_value.is_finite() {
        points.push((alarm_ms, opened.observed_value));
    }
    points.sort_by_key(|(at_ms, _)| *at_ms);
    points.dedup_by_key(|(at_ms, _)| *at_ms);
    let surplus = points.len().saturating_sub(MOST);
    points.drain(..surplus);
    if points.len() < LEAST || !opened.baseline_value.is_finite() {
        return None;
    }
    let distance = (opened.observed_value - opened.baseline_value).abs();
    let sigma = opened.deviation_sigma.abs();
    let spread = if sigma > 0.0 && sigma.is_finite() && distance.is_finite() {
        BAND * distance / sigma
    } else {
        0.0
    };
    let band = (
        opened.baseline_value - spread,
        opened.baseline_value + spread,
    );
    draw(&points, band, alarm_ms)
}

/// Where moments and values lie on the picture.
struct Frame {
    from_ms: i64,
    span_ms: f64,
    low: f64,
    high: f64,
}

impl Frame {
    fn around(points: &[(i64, f64)], band: (f64, f64)) -> Frame {
        let values = points.iter().map(|(_, value)| *value);
        let low = values.clone().fold(band.0, f64::min);
        let high = values.fold(band.1, f64::max);
        let (from_ms, to_ms) = (points[0].0, points[points.len() - 1].0);
        // A flat line lies in the middle.
        let room = if high > low { 0.0 } else { 1.0 };
        Frame {
            from_ms,
            #[expect(clippy::cast_precision_loss, reason = "a span of hours")]
            span_ms: ((to_ms - from_ms).max(1)) as f64,
            low: low - room,
            high: high + room,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "a share of the width, and times within hours of each other"
    )]
    fn x(&self, at_ms: i64) -> f32 {
        let share = (at_ms - self.from_ms) as f64 / self.span_ms;
        EDGE + share as f32 * (WIDTH as f32 - 2.0 * EDGE)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "a share of the height"
    )]
    fn y(&self, value: f64) -> f32 {
        let share = (value - self.low) / (self.high - self.low);
        HEIGHT as f32 - EDGE - share as f32 * (HEIGHT as f32 - 2.0 * EDGE)
    }
}

/// Colours that can be told from a white and from a black ground.
const LINE: [u8; 4] = [34, 139, 230, 255];
const GROUND: [u8; 4] = [134, 142, 150, 70];
const ALARM: [u8; 4] = [224, 49, 49, 255];

fn paint([red, green, blue, alpha]: [u8; 4]) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color(Color::from_rgba8(red, green, blue, alpha));
    paint.anti_alias = true;
    paint
}

fn line(points: impl Iterator<Item = (f32, f32)>) -> Option<Path> {
    let mut path = PathBuilder::new();
    for (index, (x, y)) in points.enumerate() {
        if index == 0 {
            path.move_to(x, y);
        } else {
            path.line_to(x, y);
        }
    }
    path.finish()
}

fn draw(points: &[(i64, f64)], band: (f64, f64), detected_ms: i64) -> Option<Vec<u8>> {
    let frame = Frame::around(points, band);
    let mut map = Pixmap::new(WIDTH, HEIGHT)?;
    let whole = Transform::identity();
    let stroke = |width: f32| Stroke {
        width,
        ..Stroke::default()
    };
    let (top, bottom) = (frame.y(band.1), frame.y(band.0));
    #[expect(clippy::cast_precision_loss, reason = "a width in pixels")]
    let right = WIDTH as f32 - EDGE;
    // A band without height is still a line.
    if let Some(area) = Rect::from_ltrb(EDGE, top, right, bottom.max(top + 2.0)) {
        map.fill_rect(area, &paint(GROUND), whole, None);
    }
    let course = line(
        points
            .iter()
            .map(|(at_ms, value)| (frame.x(*at_ms), frame.y(*value))),
    )?;
    map.stroke_path(&course, &paint(LINE), &stroke(4.0), whole, None);
    let outside = points
        .iter()
        .filter(|(_, value)| *value < band.0 || *value > band.1);
    for (at_ms, value) in outside {
        let dot = PathBuilder::from_circle(frame.x(*at_ms), frame.y(*value), 6.0)?;
        map.fill_path(&dot, &paint(ALARM), FillRule::Winding, whole, None);
    }
    let (first, last) = (points[0].0, points[points.len() - 1].0);
    if (first..=last).contains(&detected_ms) {
        #[expect(clippy::cast_precision_loss, reason = "a height in pixels")]
        let height = HEIGHT as f32;
        let x = frame.x(detected_ms);
        let mark = line([(x, EDGE), (x, height - EDGE)].into_iter())?;
        map.stroke_path(&mark, &paint(ALARM), &stroke(2.0), whole, None);
    }
    map.encode_png().ok()
}
