//! Asking the processes themselves: `/readyz` and `/metrics` of each address
//! in AGENT_ENDPOINTS, which lists them or names a file that does.

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long one process may take to answer.
const LIMIT: Duration = Duration::from_millis(1_500);
/// Largest answer that is read.
const BYTES: usize = 4 * 1024 * 1024;
/// Processes that can be named.
const MOST: usize = 64;
/// A rate needs some time between two readings of its counter.
const APART: Duration = Duration::from_secs(1);
/// What a process counts as handled: detection and the collector samples, the
/// others inputs.
const COUNTERS: [&str; 2] = ["samples_total", "inputs_applied_total"];

/// A process to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub name: String,
    /// Without a slash at the end.
    pub url: String,
}

/// Where the processes to ask are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Named(Vec<Endpoint>),
    /// A file in the form of Prometheus' file discovery, read at each question:
    /// processes come and go with the scale.
    File(PathBuf),
}

impl From<Vec<Endpoint>> for Source {
    fn from(endpoints: Vec<Endpoint>) -> Source {
        Source::Named(endpoints)
    }
}

impl Source {
    /// Reads a list ([`parse_endpoints`]), or `@` and the path of a file.
    ///
    /// # Errors
    /// Says which entry is wrong. A file is not opened yet.
    pub fn parse(text: &str) -> Result<Source, String> {
        match text.trim().strip_prefix('@') {
            Some(path) => Ok(Source::File(path.into())),
            None => parse_endpoints(text).map(Source::Named),
        }
    }

    /// The processes as of now.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    fn endpoints(&self) -> Result<Vec<Endpoint>, String> {
        #[derive(Deserialize)]
        struct Group {
            targets: Vec<String>,
            labels: BTreeMap<String, String>,
        }
        let path = match self {
            Source::Named(endpoints) => return Ok(endpoints.clone()),
            Source::File(path) => path,
        };
        let wrong = |error: String| format!("the list of processes {}: {error}", path.display());
        let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let groups: Vec<Group> =
            serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        let endpoints = groups.into_iter().flat_map(|group| {
            let name = group.labels.get("service").cloned().unwrap_or_default();
            group.targets.into_iter().map(move |target| Endpoint {
                name: name.clone(),
                url: format!("http://{target}"),
            })
        });
        Ok(endpoints.take(MOST).collect())
    }
}

/// How a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Ready,
    /// It answers that something is missing.
    NotReady,
    NoAnswer,
}

/// A process and what it answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProcessNow {
    pub name: String,
    pub url: String,
    pub health: Health,
    /// What is missing, by dependency.
    pub missing: BTreeMap<String, String>,
    /// Messages handled since it started.
    pub handled: Option<f64>,
    /// Messages per second since it was asked before; `null` at first.
    pub per_second: Option<f64>,
}

/// Reads `detection=http://127.0.0.1:9101,correlation=http://…`. A name may
/// come several times, once for each of its processes.
///
/// # Errors
/// Says which entry is wrong.
pub fn parse_endpoints(text: &str) -> Result<Vec<Endpoint>, String> {
    let mut endpoints = Vec::new();
    for entry in text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
    {
        let wrong = || format!("{entry:?} is not name=http://host:port");
        let (name, url) = entry.split_once('=').ok_or_else(wrong)?;
        let parsed = reqwest::Url::parse(url.trim()).map_err(|_| wrong())?;
        if name.trim().is_empty() || parsed.scheme() != "http" || parsed.host().is_none() {
            return Err(wrong());
        }
        endpoints.push(Endpoint {
            name: name.trim().to_owned(),
            url: url.trim().trim_end_matches('/').to_owned(),
        });
    }
    if endpoints.len() > MOST {
        return Err(format!(
            "{} processes are named, at most {MOST} can be",
            endpoints.len()
        ));
    }
    Ok(endpoints)
}

/// When a counter was read, its value, and the rate then.
type Counted = (Instant, f64, Option<f64>);

/// Asks processes, and remembers their counters.
pub struct Prober {
    source: Source,
    http: reqwest::Client,
    /// By address.
    before: Mutex<HashMap<String, Counted>>,
}

impl Prober {
    /// Connects to nothing yet.
    ///
    /// # Panics
    /// Never: the client is built from constants.
    #[must_use]
    pub fn new(source: impl Into<Source>) -> Prober {
        let http = reqwest::Client::builder()
            .timeout(LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            // These are this stack's own processes.
            .no_proxy()
            .build()
            .expect("the client is built from constants");
        Prober {
            source: source.into(),
            http,
            before: Mutex::default(),
        }
    }

    /// Whether no process was named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.source == Source::Named(Vec::new())
    }

    /// All processes, in the order of their naming.
    pub async fn ask(&self) -> Vec<ProcessNow> {
        let endpoints = self.source.endpoints().unwrap_or_else(|problem| {
            tracing::warn!(problem, "the agents page knows no processes");
            Vec::new()
        });
        join_all(endpoints.iter().map(|endpoint| self.one(endpoint))).await
    }

    async fn one(&self, endpoint: &Endpoint) -> ProcessNow {
        let (ready, metrics) = tokio::join!(
            self.text(&endpoint.url, "readyz"),
            self.text(&endpoint.url, "metrics")
        );
        let (health, missing) = match ready {
            Ok(text) => judge(&text),
            Err(error) => {
                let missing = BTreeMap::from([("answer".to_owned(), error)]);
                (Health::NoAnswer, missing)
            }
        };
        let handled = metrics.ok().and_then(|text| handled(&endpoint.name, &text));
        ProcessNow {
            name: endpoint.name.clone(),
            url: endpoint.url.clone(),
            health,
            missing,
            handled,
            per_second: handled.and_then(|count| self.rate(&endpoint.url, count)),
        }
    }

    async fn text(&self, url: &str, page: &str) -> Result<String, String> {
        let answer = self.http.get(format!("{url}/{page}")).send().await;
        let mut answer = answer.map_err(|error| said(&error))?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| said(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > BYTES {
                return Err(format!("{url}/{page} is longer than {BYTES} bytes"));
            }
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    fn rate(&self, url: &str, count: f64) -> Option<f64> {
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (rate, at) = match before.get(url) {
            // Two looks at once would divide by almost nothing.
            Some((then, _, rate)) if now - *then < APART => return *rate,
            // A counter that fell belongs to a process that began anew.
            Some((then, old, _)) if count >= *old => {
                (Some((count - old) / (now - *then).as_secs_f64()), now)
            }
            _ => (None, now),
        };
        before.insert(url.to_owned(), (at, count, rate));
        rate
    }
}

fn said(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        format!("no answer within {} ms", LIMIT.as_millis())
    } else if error.is_connect() {
        "nobody listens there".to_owned()
    } else {
        error.to_string()
    }
}

fn judge(text: &str) -> (Health, BTreeMap<String, String>) {
    #[derive(Deserialize)]
    struct Ready {
        ready: bool,
        #[serde(default)]
        dependencies: BTreeMap<String, String>,
    }
    match serde_json::from_str::<Ready>(text) {
        Ok(answer) if answer.ready => (Health::Ready, BTreeMap::new()),
        Ok(mut answer) => {
            answer.dependencies.retain(|_, state| state != "ok");
            (Health::NotReady, answer.dependencies)
        }
        Err(_) => {
            let missing = BTreeMap::from([(
                "answer".to_owned(),
                "what answers there is no process of Midwatch".to_owned(),
            )]);
            (Health::NotReady, missing)
        }
    }
}

/// The sum of the process's counter of handled messages over all labels.
fn handled(name: &str, metrics: &str) -> Option<f64> {
    let names = COUNTERS.map(|counter| format!("midwatch_{name}_{counter}"));
    let values = metrics.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let family = series.split('{').next()?;
        names
            .iter()
            .any(|name| name == family)
            .then(|| value.parse::<f64>().ok())?
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_anew_at_each_question() {
        let folder = std::env::temp_dir().join(format!("midwatch-probe-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("targets.json");
        let source = Source::parse(&format!("@{}", path.display())).unwrap();
        assert!(source.endpoints().unwrap_err().contains("targets.json"));
        let group = |slot: u16| {
            serde_json::json!({"targets": [format!("127.0.0.1:{}", 9101 + slot)],
                "labels": {"service": "detection", "slot": slot.to_string()}})
        };
        for count in [1, 2] {
            let groups: Vec<_> = (0..count).map(group).collect();
            std::fs::write(&path, serde_json::to_vec(&groups).unwrap()).unwrap();
            let endpoints = source.endpoints().unwrap();
            assert_eq!(endpoints.len(), usize::from(count));
            assert_eq!(endpoints[0].name, "detection");
            assert_eq!(endpoints[0].url, "http://127.0.0.1:9101");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn endpoints_are_read_and_wrong_ones_named() {
        let read = parse_endpoints(" detection=http://127.0.0.1:9101/ ,a=http://h:1,a=http://h:2,")
            .unwrap();
        assert_eq!(read.len(), 3);
        assert_eq!(read[0].url, "http://127.0.0.1:9101");
        assert_eq!(
            (read[2].name.as_str(), read[2].url.as_str()),
            ("a", "http://h:2")
        );
        assert_eq!(parse_endpoints(""), Ok(Vec::new()));
        for wrong in ["detection", "a=127.0.0.1:9101", "=http://h:1", "a=ftp://h"] {
            assert!(
                parse_endpoints(wrong).unwrap_err().contains(wrong),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_counter_is_summed_over_its_labels_and_absent_where_it_is_not_counted() {
        let text = "# TYPE midwatch_detection_samples_total counter\n\
            midwatch_detection_samples_total{topic=\"raw.metrics\"} 40\n\
            midwatch_detection_samples_total{topic=\"a b\"} 2\n\
            midwatch_detection_samples_total_other 7\n\
            midwatch_detection_dead_letters_total{topic=\"x\",kind=\"y\"} 1\n";
        assert_eq!(handled("detection", text), Some(42.0));
        assert_eq!(handled("correlation", text), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        let (health, missing) = judge(
            r#"{"service":"x","ready":false,"dependencies":{"postgres":"ok","kafka":"away"}}"#,
        );
        assert_eq!(health, Health::NotReady);
        assert_eq!(missing, BTreeMap::from([("kafka".into(), "away".into())]));
        assert_eq!(judge(r#"{"ready":true}"#).0, Health::Ready);
        assert_eq!(judge("<html>").0, Health::NotReady);
    }

    #[test]
    fn a_rate_needs_two_readings_and_a_counter_that_grows() {
        let prober = Prober::new(Vec::new());
        assert_eq!(prober.rate("a", 10.0), None);
        assert_eq!(prober.rate("a", 20.0), None, "too soon after the first");
        let earlier = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let set = |count| {
            let mut before = prober.before.lock().unwrap();
            before.insert("a".to_owned(), (earlier, count, None));
        };
        set(10.0);
        let rate = prober.rate("a", 60.0).unwrap();
        assert!((4.9..=5.0).contains(&rate), "{rate}");
        set(100.0);
        assert_eq!(prober.rate("a", 1.0), None);
    }
}
