//! From readings to series: which labels tell series of one metric apart.
//!
//! Labels of instances always do. Any other label does where it has several
//! values at the same time, for then they measure different things; where one
//! value follows another, as a version does, it describes one series. Labels
//! that count each record's own value tell nothing apart.

use super::tally::Tally;
use super::{loose, sums};
use midwatch_detection::decide::semantics::series_name;
use midwatch_events::raw::Labels;
use midwatch_investigation::rca::Series;
use midwatch_investigation::rca::quantity::Quantity;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Series that labels other than those of instances make of one metric of one
/// service, at most: more would drown the other metrics.
const SPLIT: usize = 64;
/// Readings that a series needs on average to be worth telling apart, unless
/// it is read at a quarter of all moments: labels that make less of them are
/// ids of something that passes, or one label too many.
const LASTING: usize = 16;
/// Label sets of one metric that are told apart while reading; of more, only
/// the instances are.
const SETS: usize = 4_096;
/// Two values whose times overlap by less than this part of the shorter one's
/// follow each other: one version is rolled out while the other goes.
const TOGETHER: i64 = 4;

pub type Points = Vec<(i64, f64)>;

#[derive(Clone, Copy)]
struct Sample {
    set: u32,
    line: u32,
    at: f64,
    value: f64,
}

/// The readings of one metric of one service.
#[derive(Default)]
struct Group {
    known: HashMap<Labels, u32>,
    labels: Vec<Labels>,
    samples: Vec<Sample>,
}

/// All readings, by service and metric.
#[derive(Default)]
pub struct Groups(HashMap<String, BTreeMap<String, Group>>);

impl Groups {
    /// Another reading: its time and value, and the line that it stands on.
    pub fn add(
        &mut self,
        service: String,
        metric: String,
        labels: Labels,
        (at, value): (f64, f64),
        line: u64,
    ) {
        let metrics = self.0.entry(service).or_default();
        let group = metrics.entry(metric).or_default();
        let set = match group.known.get(&labels) {
            Some(set) => *set,
            None => group.learn(labels),
        };
        group.samples.push(Sample {
            set,
            line: u32::try_from(line).unwrap_or(u32::MAX),
            at,
            value,
        });
    }

    /// The time of each reading, in the file's unit.
    pub fn times(&self) -> impl Iterator<Item = f64> {
        let groups = self.0.values().flat_map(BTreeMap::values);
        groups.flat_map(|group| group.samples.iter().map(|sample| sample.at))
    }

    /// The series, by service and name. `clock` makes milliseconds of a time;
    /// readings without any are left out.
    pub fn series(
        self,
        clock: impl Fn(f64, u64, &mut Tally) -> Option<i64>,
        tally: &mut Tally,
    ) -> Vec<Series> {
        let mut all: Vec<Series> = Vec::new();
        let mut crowded: BTreeSet<String> = BTreeSet::new();
        for (service, metrics) in self.0 {
            for (metric, group) in metrics {
                let sets = group.sets(&metric, |at, line| clock(at, line, tally));
                let (named, is_crowded) = split(&metric, sets);
                if is_crowded {
                    crowded.insert(format!("{metric} of {service}"));
                }
                all.extend(named.into_iter().map(|(metric, points)| Series {
                    service: service.clone(),
                    metric,
                    points,
                    ids: Vec::new(),
                }));
            }
        }
        if let Some(first) = crowded.first() {
            let more = match crowded.len() - 1 {
                0 => String::new(),
                more => format!(" and of {more} other metrics"),
            };
            tally.note(format!(
                "the labels of {first}{more} make more than {SPLIT} series of it; the smallest \
                 were averaged"
            ));
        }
        all.sort_by(|one, other| (&one.service, &one.metric).cmp(&(&other.service, &other.metric)));
        all
    }
}

/// The readings with one and the same labels, oldest first.
struct Set {
    /// The metric's name with its instance.
    name: String,
    /// Whether there is one in it.
    instance: bool,
    labels: Labels,
    points: Points,
}

impl Set {
    fn value(&self, label: &str) -> &str {
        self.labels.get(label).map_or("", String::as_str)
    }

    fn ends(&self) -> Option<(i64, i64)> {
        Some((self.points.first()?.0, self.points.last()?.0))
    }
}

impl Group {
    fn learn(&mut self, mut labels: Labels) -> u32 {
        if self.labels.len() >= SETS {
            labels.retain(|name, value| {
                let alone = Labels::from([(name.clone(), value.clone())]);
                series_name("", &alone).is_some()
            });
            if let Some(set) = self.known.get(&labels) {
                return *set;
            }
        }
        let set = u32::try_from(self.labels.len()).unwrap_or(u32::MAX);
        self.labels.push(labels.clone());
        self.known.insert(labels, set);
        set
    }

    /// The sets in the order of their names and labels.
    fn sets(self, metric: &str, mut clock: impl FnMut(f64, u64) -> Option<i64>) -> Vec<Set> {
        let mut sets: Vec<Set> = self
            .labels
            .into_iter()
            .map(|labels| {
                let name = series_name(metric, &labels);
                Set {
                    instance: name.is_some(),
                    name: name.unwrap_or_else(|| metric.to_owned()),
                    labels,
                    points: Points::new(),
                }
            })
            .collect();
        for sample in self.samples {
            if let Some(at) = clock(sample.at, u64::from(sample.line)) {
                sets[sample.set as usize].points.push((at, sample.value));
            }
        }
        for set in &mut sets {
            set.points = sums::mean(std::mem::take(&mut set.points));
        }
        sets.retain(|set| !set.points.is_empty());
        sets.sort_by(|one, other| (&one.name, &one.labels).cmp(&(&other.name, &other.labels)));
        sets
    }
}

/// Series by name, and whether there were too many to be told apart.
fn split(metric: &str, sets: Vec<Set>) -> (BTreeMap<String, Points>, bool) {
    let varying = varying(&sets);
    let quantity = Quantity::of(metric);
    let counts = matches!(quantity, Quantity::Requests | Quantity::Errors);
    let mut parts: BTreeMap<String, Vec<Set>> = BTreeMap::new();
    for set in sets {
        let name = name(&set, &varying, quantity == Quantity::Requests);
        parts.entry(name).or_default().push(set);
    }
    let all_of = |sets: Vec<Set>| sets.into_iter().flat_map(|set| set.points).collect();
    if varying.is_empty() || !counts {
        let rest = crowd(&mut parts, &varying);
        let merged = parts.into_iter();
        let mut out: BTreeMap<String, Points> = merged
            .map(|(name, sets)| (name, sums::mean(all_of(sets))))
            .collect();
        let is_crowded = !rest.is_empty();
        if is_crowded {
            out.insert(others(metric), sums::mean(all_of(rest)));
        }
        return (out, is_crowded);
    }
    // Counts add up: what all of them come to is a series as well.
    let mut instances: BTreeMap<String, Vec<&Points>> = BTreeMap::new();
    for set in parts.values().flatten() {
        let of_it = instances.entry(set.name.clone()).or_default();
        of_it.push(&set.points);
    }
    let grids: BTreeMap<String, Vec<i64>> = instances
        .iter()
        .map(|(name, sets)| (name.clone(), sums::grid(sets)))
        .collect();
    let mut out: BTreeMap<String, Points> = instances
        .iter()
        .filter(|(name, _)| !parts.contains_key(*name))
        .map(|(name, sets)| (name.clone(), sums::sum(sets, &grids[name])))
        .collect();
    drop(instances);
    let rest = crowd(&mut parts, &varying);
    for (name, sets) in parts {
        let points: Vec<&Points> = sets.iter().map(|set| &set.points).collect();
        // All sets of a part are of one instance, which its name begins with.
        let grid = sets.first().and_then(|set| grids.get(&set.name));
        out.insert(name, sums::sum(&points, grid.map_or(&[], Vec::as_slice)));
    }
    let is_crowded = !rest.is_empty();
    if is_crowded {
        out.insert(others(metric), sums::mean(all_of(rest)));
    }
    (out, is_crowded)
}

fn others(metric: &str) -> String {
    format!("{metric}{{others}}")
}

/// Takes the parts with the fewest readings away where there are too many.
fn crowd(parts: &mut BTreeMap<String, Vec<Set>>, varying: &BTreeSet<String>) -> Vec<Set> {
    if varying.is_empty() || parts.len() <= SPLIT {
        return Vec::new();
    }
    let size = |sets: &[Set]| sets.iter().map(|set| set.points.len()).sum::<usize>();
    let mut by_size: Vec<(Reverse<usize>, String)> = parts
        .iter()
        .map(|(name, sets)| (Reverse(size(sets)), name.clone()))
        .collect();
    by_size.sort_unstable();
    let rest = by_size.drain(SPLIT - 1..);
    rest.filter_map(|(_, name)| parts.remove(&name))
        .flatten()
        .collect()
}

/// The labels that have several values at the same time within one instance,
/// those with the fewest values first, as long as what they make lasts.
fn varying(sets: &[Set]) -> BTreeSet<String> {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for instance in sets.chunk_by(|one, other| one.name == other.name) {
        if instance.len() < 2 {
            continue;
        }
        let labels: BTreeSet<&String> = instance.iter().flat_map(|set| set.labels.keys()).collect();
        for label in labels {
            if !found.contains_key(label.as_str()) && varies(instance, label) {
                let values: BTreeSet<&str> = sets.iter().map(|set| set.value(label)).collect();
                found.insert(label, values.len());
            }
        }
    }
    if found.is_empty() {
        return BTreeSet::new();
    }
    let points = || sets.iter().flat_map(|set| &set.points);
    let readings = points().count();
    let moments = points().map(|(at, _)| *at).collect::<BTreeSet<i64>>().len();
    let mut by_count: Vec<(usize, &str)> = found
        .iter()
        .map(|(label, count)| (*count, *label))
        .collect();
    by_count.sort_unstable();
    let mut chosen: Vec<&str> = Vec::new();
    for (_, label) in by_count {
        chosen.push(label);
        let parts: BTreeSet<(&str, Vec<&str>)> = sets
            .iter()
            .map(|set| {
                let values = chosen.iter().map(|label| set.value(label));
                (set.name.as_str(), values.collect())
            })
            .collect();
        let count = parts.len();
        let lasts = readings >= count * LASTING || readings * 4 >= count * moments;
        if !lasts || (count > SPLIT && chosen.len() > 1) {
            chosen.pop();
        }
    }
    chosen.into_iter().map(str::to_owned).collect()
}

fn varies(instance: &[Set], label: &str) -> bool {
    let mut values: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for set in instance {
        let Some((first, last)) = set.ends() else {
            continue;
        };
        let known = values.entry(set.value(label)).or_insert((first, last));
        known.0 = known.0.min(first);
        known.1 = known.1.max(last);
    }
    let mut spans: Vec<(i64, i64)> = values.into_values().collect();
    spans.sort_unstable();
    let mut longest: Option<(i64, i64)> = None;
    for (first, last) in spans {
        if let Some((from, until)) = longest {
            let shared = until.min(last) - first;
            let shorter = (until - from).min(last - first);
            if shared >= 0 && shared * TOGETHER >= shorter {
                return true;
            }
        }
        if longest.is_none_or(|(_, until)| until < last) {
            longest = Some((first, last));
        }
    }
    false
}

/// The name of the part that a set belongs to.
fn name(set: &Set, varying: &BTreeSet<String>, requests: bool) -> String {
    let mut name = set.name.clone();
    let mut is_open = set.instance;
    for label in varying {
        let value = set.value(label);
        if value.is_empty() {
            continue;
        }
        let failure = Some(label).filter(|_| requests);
        let failure = failure.and_then(|label| failure_of(label, value));
        if is_open {
            name.pop();
            name.push(',');
        } else {
            name.push('{');
            is_open = true;
        }
        name.push_str(label);
        name.push('=');
        name.push_str(failure.unwrap_or(value));
        name.push('}');
    }
    name
}

/// What a label says of requests that failed, in the words by which the
/// investigator knows them: all kinds of a failure are one series.
fn failure_of(label: &str, value: &str) -> Option<&'static str> {
    let label = label.to_ascii_lowercase();
    let is_status = ["status", "code", "outcome", "result", "response"]
        .iter()
        .any(|word| label.contains(word));
    if let Some(word) = ["4xx", "5xx"]
        .into_iter()
        .find(|word| value.eq_ignore_ascii_case(word))
    {
        return Some(word);
    }
    match value.parse::<u16>() {
        Ok(400..=499) if is_status => Some("4xx"),
        Ok(500..=599) if is_status => Some("5xx"),
        Ok(1..=16) if label.contains("grpc") => Some("error"),
        Ok(1) if label.contains("error") => Some("error"),
        Ok(_) => None,
        Err(_) => {
            let text = serde_json::Value::String(value.to_owned());
            let is_told = label.contains("error") && value.eq_ignore_ascii_case("true");
            (is_told || (is_status && loose::failed(&text))).then_some("error")
        }
    }
}
