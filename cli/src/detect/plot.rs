//! What a picture needs of a stream without end, in bounded memory.
//!
//! A trace keeps each sample until [`BUCKETS`] are there; then neighbours are
//! merged, and from there on a bucket stands for twice as many. The lowest and
//! the highest reading of a bucket stay with their times, so no peak is lost.

use super::Sample;
use midwatch_detection::decide::semantics::series_name;
use midwatch_detection::decide::watch::Verdict;
use midwatch_events::raw::DEFAULT_ENVIRONMENT;

/// At least half of them are in use later: more than two for each of the 900
/// columns of the picture.
const BUCKETS: usize = 4096;
/// Series that are followed; of those the ones with alerts are drawn first.
const TRACES: usize = 256;
/// Panels of the picture.
pub const PANELS: usize = 12;
/// Alerts of one series that are drawn.
const ALERTS: usize = 300;

/// A reading and its time.
pub type Point = (i64, f64);

/// One reading, or several that follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub from_ms: i64,
    pub to_ms: i64,
    pub lowest: Point,
    pub highest: Point,
    /// Expected, low and high, on average over the readings that had a band.
    pub band: Option<[f64; 3]>,
    /// The readings that had a band.
    weight: f64,
    /// The highest score.
    pub score: f64,
}

impl Bucket {
    fn of(at_ms: i64, value: f64, verdict: &Verdict) -> Bucket {
        let band = [verdict.expected, verdict.low, verdict.high];
        let known = verdict.ready && band.iter().all(|number| number.is_finite());
        Bucket {
            from_ms: at_ms,
            to_ms: at_ms,
            lowest: (at_ms, value),
            highest: (at_ms, value),
            band: known.then_some(band),
            weight: f64::from(u8::from(known)),
            score: super::score(verdict),
        }
    }

    /// Takes in what follows.
    pub fn merge(&mut self, later: &Bucket) {
        self.to_ms = later.to_ms;
        if later.lowest.1 < self.lowest.1 {
            self.lowest = later.lowest;
        }
        if later.highest.1 > self.highest.1 {
            self.highest = later.highest;
        }
        self.band = match (self.band, later.band) {
            (Some(mine), Some(theirs)) => {
                let share = later.weight / (self.weight + later.weight);
                Some([0, 1, 2].map(|i| mine[i] * (1.0 - share) + theirs[i] * share))
            }
            (mine, theirs) => mine.or(theirs),
        };
        self.weight += later.weight;
        self.score = self.score.max(later.score);
    }
}

/// A sample that was worth a look.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub at_ms: i64,
    pub value: f64,
    pub score: f64,
    /// Expected, low and high.
    pub band: [f64; 3],
    pub reason: String,
}

/// One series as it will be drawn.
#[derive(Debug)]
pub struct Trace {
    pub environment: Option<String>,
    pub service: String,
    /// The metric, with the labels that name the instance.
    pub name: String,
    pub metric_name: String,
    pub samples: u64,
    pub buckets: Vec<Bucket>,
    /// Samples of a full bucket.
    size: u64,
    pub alerts: Vec<Alert>,
    /// All alerts, also those beyond what is kept.
    pub alert_count: u64,
}

impl Trace {
    fn new(sample: &Sample<'_>) -> Trace {
        let environment = sample.environment.as_deref();
        let metric = sample.metric_name.to_string();
        Trace {
            environment: environment
                .filter(|name| *name != DEFAULT_ENVIRONMENT)
                .map(str::to_owned),
            service: sample.service.to_string(),
            name: series_name(&metric, &sample.labels).unwrap_or_else(|| metric.clone()),
            metric_name: metric,
            samples: 0,
            buckets: Vec::new(),
            size: 1,
            alerts: Vec::new(),
            alert_count: 0,
        }
    }

    fn take(&mut self, at_ms: i64, value: f64, verdict: &Verdict) {
        let bucket = Bucket::of(at_ms, value, verdict);
        let is_new = self.samples.is_multiple_of(self.size);
        self.samples += 1;
        match self.buckets.last_mut() {
            Some(last) if !is_new => last.merge(&bucket),
            _ => self.buckets.push(bucket),
        }
        if self.buckets.len() == BUCKETS && self.samples.is_multiple_of(self.size) {
            self.halve();
        }
        if verdict.is_anomaly {
            self.alert_count += 1;
            if self.alerts.len() < ALERTS {
                self.alerts.push(Alert {
                    at_ms,
                    value,
                    score: bucket.score,
                    band: bucket.band.unwrap_or([f64::NAN; 3]),
                    reason: verdict.reason.clone(),
                });
            }
        }
    }

    fn halve(&mut self) {
        let merged = self.buckets.chunks(2).map(|pair| {
            let mut first = pair[0];
            pair[1..].iter().for_each(|later| first.merge(later));
            first
        });
        self.buckets = merged.collect();
        self.size *= 2;
    }
}

/// What has been seen so far.
#[derive(Debug, Default)]
pub struct Plot {
    /// By number; a series without a judged sample has no trace yet.
    traces: Vec<Option<Trace>>,
    series: usize,
}

impl Plot {
    /// Takes in a judged sample of the series with that number; series are
    /// numbered by first appearance.
    pub fn take(&mut self, index: usize, sample: &Sample<'_>, verdict: &Verdict) {
        self.series = self.series.max(index + 1);
        if index < TRACES {
            if index >= self.traces.len() {
                self.traces.resize_with(index + 1, || None);
            }
            let trace = self.traces[index].get_or_insert_with(|| Trace::new(sample));
            trace.take(sample.at_ms, sample.value, verdict);
        }
    }

    /// How many series there were.
    pub fn series(&self) -> usize {
        self.series
    }

    /// Those to draw: with alerts before the others, in order of appearance.
    pub fn chosen(&self) -> Vec<&Trace> {
        let mut chosen: Vec<(usize, &Trace)> = self.traces.iter().flatten().enumerate().collect();
        chosen.sort_by_key(|(index, trace)| (trace.alerts.is_empty(), *index));
        chosen.truncate(PANELS);
        chosen.sort_by_key(|(index, _)| *index);
        chosen.into_iter().map(|(_, trace)| trace).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(is_anomaly: bool) -> Verdict {
        Verdict {
            ready: true,
            score: 0.25,
            is_anomaly,
            expected: 5.0,
            low: 4.0,
            high: 6.0,
            reason: String::new(),
        }
    }

    fn sample(name: &str, at_ms: i64, value: f64) -> Sample<'static> {
        Sample {
            environment: None,
            service: "s".into(),
            metric_name: name.to_owned().into(),
            at_ms,
            value,
            value_text: None,
            labels: std::collections::BTreeMap::new(),
            labels_text: None,
        }
    }

    #[test]
    fn a_long_stream_stays_small_and_keeps_its_peaks() {
        let mut plot = Plot::default();
        for at in 0..100_000 {
            let value = match at {
                77_777 => 500.0,
                33_333 => -500.0,
                _ => (at % 7) as f64,
            };
            plot.take(0, &sample("m", at, value), &verdict(false));
        }
        let trace = plot.chosen()[0];
        assert!((BUCKETS / 2..BUCKETS).contains(&trace.buckets.len()));
        assert_eq!(trace.samples, 100_000);
        let buckets = &trace.buckets;
        assert!(
            buckets
                .iter()
                .any(|bucket| bucket.highest == (77_777, 500.0))
        );
        assert!(
            buckets
                .iter()
                .any(|bucket| bucket.lowest == (33_333, -500.0))
        );
        assert!(
            buckets
                .windows(2)
                .all(|pair| pair[0].to_ms + 1 == pair[1].from_ms)
        );
        assert_eq!(buckets.last().map(|bucket| bucket.to_ms), Some(99_999));
        assert_eq!(buckets[0].band, Some([5.0, 4.0, 6.0]));
    }

    #[test]
    fn series_with_alerts_are_drawn_first() {
        let mut plot = Plot::default();
        for index in 0..300 {
            let name = format!("m{index}");
            plot.take(
                index,
                &sample(&name, 1, 1.0),
                &verdict(index == 40 || index == 290),
            );
        }
        let names: Vec<&str> = plot
            .chosen()
            .iter()
            .map(|trace| trace.name.as_str())
            .collect();
        assert_eq!((names.len(), plot.series()), (PANELS, 300));
        assert_eq!((names[0], names[11]), ("m0", "m40"));
    }
}
