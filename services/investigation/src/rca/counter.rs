//! Counters: series that only ever grow are read as what they grew by.

use super::quantity::Quantity;
use super::recording::Series;
use std::borrow::Cow;

/// Readings from which on growth is told from chance.
const FEWEST: usize = 8;
/// The same where the name does not say that it counts: so many readings that
/// never fall are no chance.
const FEWEST_UNNAMED: usize = 30;
/// One step in so many may be a restart, from which a counter begins anew.
const RESETS: usize = 20;

/// The readings of a series; those of a counter as growth per second since
/// the reading before, at the later one's time.
#[must_use]
pub fn readings(series: &Series) -> Cow<'_, [(i64, f64)]> {
    if !is_counter(series) {
        return Cow::Borrowed(&series.points);
    }
    let rates = series.points.windows(2).filter_map(|pair| {
        let ((was_ms, was), (at_ms, value)) = (pair[0], pair[1]);
        // After a restart it has counted what it shows.
        let grown = if value >= was { value - was } else { value };
        #[expect(clippy::cast_precision_loss, reason = "milliseconds between readings")]
        let seconds = (at_ms - was_ms) as f64 / 1_000.0;
        (seconds > 0.0).then(|| (at_ms, grown / seconds))
    });
    Cow::Owned(rates.collect())
}

fn is_counter(series: &Series) -> bool {
    let counts = matches!(
        Quantity::of(&series.metric),
        Quantity::Requests
            | Quantity::Errors
            | Quantity::Cpu
            | Quantity::Network
            | Quantity::Disk
            | Quantity::Other
    );
    let points = &series.points;
    if !counts || points.len() < FEWEST {
        return false;
    }
    let bare = series.metric.split('{').next().unwrap_or_default();
    let named = ["total", "count", "sum", "counter"]
        .iter()
        .any(|end| bare.to_ascii_lowercase().ends_with(end));
    if !named && points.len() < FEWEST_UNNAMED {
        return false;
    }
    let (mut falls, mut rises) = (0, 0);
    for pair in points.windows(2) {
        let (was, is) = (pair[0].1, pair[1].1);
        if is < 0.0 || (is < was && is > 0.5 * was) {
            return false;
        }
        falls += usize::from(is < was);
        rises += usize::from(is > was);
    }
    // What mostly stands still is no counter of something that goes on, unless
    // its name says that it is one and it never falls.
    let grows = rises * 2 >= points.len() || (named && falls == 0 && points[0].1 > 0.0);
    grows && rises > 0 && falls * RESETS <= points.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(metric: &str, values: &[f64]) -> Series {
        let at = (0..).map(|index| index * 10_000);
        Series {
            service: "cart".to_owned(),
            metric: metric.to_owned(),
            points: at.zip(values.iter().copied()).collect(),
            ids: Vec::new(),
        }
    }

    #[test]
    fn a_counter_is_read_as_growth_per_second_and_survives_a_restart() {
        let values = [100.0, 110.0, 130.0, 140.0, 150.0, 160.0, 170.0, 20.0];
        let values: Vec<f64> = values
            .into_iter()
            .chain((4..20).map(|i| f64::from(i) * 10.0))
            .collect();
        let one = series("http_requests_total", &values);
        let read = readings(&one);
        assert_eq!(read[0], (10_000, 1.0));
        assert_eq!(read[1], (20_000, 2.0));
        // From 170 to 20: it counted 20 since it restarted.
        assert_eq!(read[6], (70_000, 2.0));
    }

    #[test]
    fn gauges_and_what_leaks_stay_what_they_are() {
        let wave = [5.0, 6.0, 4.0, 5.0, 7.0, 5.0, 6.0, 5.0, 4.0];
        let gauge = series("request_count", &wave);
        assert_eq!(readings(&gauge), Cow::Borrowed(&gauge.points[..]));
        let leak: Vec<f64> = (0..50).map(f64::from).collect();
        let leak = series("memory_used_total", &leak);
        assert_eq!(readings(&leak), Cow::Borrowed(&leak.points[..]));
    }
}
