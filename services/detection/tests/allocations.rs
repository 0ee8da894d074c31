//! A sample of a known series costs no allocation, from the bytes of its
//! message to the reading that is kept of it.

mod fleet;

use fleet::Noise;
use midwatch_detection::config::Tuning;
use midwatch_detection::decide::naming::write_series_name;
use midwatch_detection::decide::samples::{Kept, Sample};
use midwatch_detection::decide::state::PartitionState;
use midwatch_detection::decide::{At, Detector, Effect};
use midwatch_events::Coordinates;
use midwatch_events::decode::plain_metric;

const SERIES: usize = 50;
const START_MS: i64 = 1_767_225_600_000;

/// As a collector writes it; every other one has no id and is of an instance.
fn payload(noise: &mut Noise, round: usize, series: usize) -> Vec<u8> {
    let at_ms = START_MS + 10_000 * round as i64;
    let value = noise.around(100.0, 0.08);
    let (id, labels) = if series.is_multiple_of(2) {
        let number = round * SERIES + series;
        let id = format!(r#""event_id":"00000000-0000-4000-8000-{number:012}","#);
        (id, r#"{"service":"a"}"#)
    } else {
        (String::new(), r#"{"pod":"a-7d9f","region":"eu"}"#)
    };
    format!(
        r#"{{{id}"timestamp_ms":{at_ms},"service":"service-{series}","environment":"e","metric_name":"queue_depth","metric_value":{value},"labels":{labels}}}"#
    )
    .into_bytes()
}

struct Way {
    detector: Detector,
    state: PartitionState,
    place: Coordinates,
    name: String,
    effects: Vec<Effect>,
}

impl Way {
    fn go(&mut self, payload: &[u8]) -> Option<Kept> {
        self.place.offset += 1;
        let metric = plain_metric(payload, &self.place).expect("it is plain");
        write_series_name(&mut self.name, metric.metric_name, |label| {
            metric.label(label)
        });
        let sample = Sample {
            environment: metric.environment,
            service: metric.service,
            series: &self.name,
            at_ms: metric.timestamp_ms,
            value: metric.metric_value,
        };
        let at = At {
            event_id: metric.event_id,
            wall_ms: metric.timestamp_ms,
        };
        self.detector
            .sample(&mut self.state, at, sample, &mut self.effects)
    }
}

#[test]
fn a_sample_of_a_known_series_costs_no_allocation() {
    let mut way = Way {
        detector: Detector::new(Tuning::default(), "epoch-1"),
        state: PartitionState::default(),
        place: Coordinates {
            epoch: "epoch-1".to_owned(),
            topic: "raw.metrics".to_owned(),
            partition: 1,
            offset: 0,
            record_ms: START_MS,
        },
        name: String::new(),
        effects: Vec::new(),
    };
    let mut noise = Noise(1);
    let payloads: Vec<Vec<u8>> = (0..400 * SERIES)
        .map(|number| payload(&mut noise, number / SERIES, number % SERIES))
        .collect();
    let (first, rest) = payloads.split_at(200 * SERIES);
    for payload in first {
        assert!(way.go(payload).is_some());
    }
    way.state.take_changes();
    way.effects.clear();
    // The first sample after a checkpoint lists its series among the changed.
    let (listed, rest) = rest.split_at(SERIES);
    for payload in listed {
        assert!(way.go(payload).is_some());
    }
    let (mut usual, mut allocations) = (0, 0);
    for payload in rest {
        let mut kept = None;
        let info = allocation_counter::measure(|| kept = way.go(payload));
        let reading = kept.expect("each is newer than the last").reading;
        // What is unusual is put into words, which cost something.
        if reading.reason.is_empty() {
            usual += 1;
            allocations += info.count_total;
        }
    }
    assert_eq!(way.effects, [], "nothing unusual happened");
    println!(
        "{usual} of {} usual readings, {allocations} allocations",
        rest.len()
    );
    assert!(2 * usual > rest.len(), "{usual} of {}", rest.len());
    assert_eq!(allocations, 0);
}
