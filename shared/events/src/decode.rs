//! From bytes to an event, and back.

mod metric;

pub use metric::{PlainMetric, plain_metric};

use crate::anomaly::Anomaly;
use crate::ids;
use crate::incident::{IncidentOpened, IncidentResolved, IncidentUpdated, RcaCompleted};
use crate::raw::{GroundTruth, RawDeployment, RawKubernetes, RawLog, RawMetric, RawSpan};
use crate::response::{OperatorCommand, PostmortemGenerated, RemediationAction, RemediationPlan};
use crate::topics::Topic;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The payload version that this build writes and the highest it reads.
pub const SCHEMA_VERSION: u32 = 1;
/// Event times before this (2000-01-01) or after [`LATEST_MS`] are refused:
/// they are seconds or microseconds in a millisecond field.
pub const EARLIEST_MS: i64 = 946_684_800_000;
/// The longest name (service, environment, metric), bytes. Names are keys of
/// topics, stores and charts; what is longer is text in the wrong field.
pub const NAME_MAX_BYTES: usize = 256;
/// 2200-01-01.
pub const LATEST_MS: i64 = 7_258_118_400_000;

/// The fields common to every event, flattened into each payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    pub event_id: Uuid,
    /// The event that led to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause_id: Option<Uuid>,
    pub schema_version: u32,
    pub event_time_ms: i64,
    /// `midwatch.<agent>`, or what the producer called itself.
    pub producer: String,
}

/// Where on the broker a record lay.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Coordinates {
    /// The epoch of the broker's data.
    pub epoch: String,
    /// The topic's name without prefix.
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// The Kafka record's time, wall clock, epoch milliseconds.
    pub record_ms: i64,
}

/// Any event that travels on a topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Metric(RawMetric),
    Log(RawLog),
    Span(RawSpan),
    Deployment(RawDeployment),
    Kubernetes(RawKubernetes),
    Anomaly(Anomaly),
    Opened(Box<IncidentOpened>),
    Updated(Box<IncidentUpdated>),
    Rca(Box<RcaCompleted>),
    Plan(Box<RemediationPlan>),
    Action(Box<RemediationAction>),
    Resolved(Box<IncidentResolved>),
    Command(OperatorCommand),
    Postmortem(Box<PostmortemGenerated>),
    GroundTruth(GroundTruth),
}

/// An event with its common fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    pub meta: Meta,
    pub event: Event,
}

/// Why bytes are not an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the payload is not JSON: {0}")]
    NotJson(String),
    #[error("the payload is not a JSON object but {0}")]
    NotObject(&'static str),
    #[error("field `{path}`: {message}")]
    Field { path: String, message: String },
    #[error(
        "schema version {found} is newer than {SCHEMA_VERSION}, the newest that this build reads"
    )]
    Version { found: u64 },
    #[error("the payload has {found} bytes, more than the {limit} that the topic takes")]
    TooLarge { found: usize, limit: u32 },
}

impl DecodeError {
    /// A short word for metrics and headers.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            DecodeError::NotJson(_) => "not_json",
            DecodeError::NotObject(_) => "not_object",
            DecodeError::Field { .. } => "bad_field",
            DecodeError::Version { .. } => "newer_version",
            DecodeError::TooLarge { .. } => "too_large",
        }
    }
}

fn field(path: &str, message: impl Into<String>) -> DecodeError {
    DecodeError::Field {
        path: path.to_owned(),
        message: message.into(),
    }
}

/// Reads the event in `payload`, which lay at `coordinates` on `topic`.
///
/// A missing event id is derived from the coordinates, a missing time is the
/// record's, and an event id that is no UUID is hashed into one.
///
/// # Errors
/// Names the field and what is wrong with it.
pub fn decode(
    topic: Topic,
    payload: &[u8],
    coordinates: &Coordinates,
) -> Result<Envelope, DecodeError> {
    let limit = topic.spec().max_bytes;
    if payload.len() > limit as usize {
        let found = payload.len();
        return Err(DecodeError::TooLarge { found, limit });
    }
    if topic == Topic::RawMetrics
        && let Some(mut envelope) = metric::read(payload, coordinates)
    {
        complete(&mut envelope, coordinates)?;
        return Ok(envelope);
    }
    let mut envelope = decode_generally(topic, payload, coordinates)?;
    complete(&mut envelope, coordinates)?;
    Ok(envelope)
}

/// Whether there is an escaped U+0000 in the payload. PostgreSQL stores none in
/// text, so one in a log line would otherwise stop whoever writes it down.
fn has_nul(payload: &[u8]) -> bool {
    payload.contains(&b'\\') && payload.windows(6).any(|part| part == b"\\u0000")
}

/// Reads any event through a tree of values, so that errors name the field.
fn decode_generally(
    topic: Topic,
    payload: &[u8],
    coordinates: &Coordinates,
) -> Result<Envelope, DecodeError> {
    let mut value: Value =
        serde_json::from_slice(payload).map_err(|error| DecodeError::NotJson(error.to_string()))?;
    if has_nul(payload) {
        without_nul(&mut value);
    }
    let meta = read_meta(&value, coordinates)?;
    let event = read_event(topic, value)?;
    Ok(Envelope { meta, event })
}

/// Replaces U+0000 by the replacement character, in keys and strings.
fn without_nul(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', "\u{fffd}"),
        Value::Array(items) => items.iter_mut().for_each(without_nul),
        Value::Object(object) => {
            let old = std::mem::take(object);
            for (key, mut item) in old {
                without_nul(&mut item);
                object.insert(key.replace('\0', "\u{fffd}"), item);
            }
        }
        _ => {}
    }
}

/// The event id of a payload that gives this one, or none.
fn outside_id(given: Option<&str>, coordinates: &Coordinates) -> Uuid {
    match given {
        Some(text) => {
            Uuid::parse_str(text).unwrap_or_else(|_| ids::derive(&["outside-event-id", text]))
        }
        None => ids::outside_record(
            &coordinates.epoch,
            &coordinates.topic,
            coordinates.partition,
            coordinates.offset,
        ),
    }
}

fn read_meta(value: &Value, coordinates: &Coordinates) -> Result<Meta, DecodeError> {
    let object = match value {
        Value::Object(object) => object,
        Value::Null => return Err(DecodeError::NotObject("null")),
        Value::Bool(_) => return Err(DecodeError::NotObject("a boolean")),
        Value::Number(_) => return Err(DecodeError::NotObject("a number")),
        Value::String(_) => return Err(DecodeError::NotObject("a string")),
        Value::Array(_) => return Err(DecodeError::NotObject("an array")),
    };
    let version = match object.get("schema_version") {
        None | Some(Value::Null) => u64::from(SCHEMA_VERSION),
        Some(value) => value
            .as_u64()
            .ok_or_else(|| field("schema_version", "expected a whole number"))?,
    };
    if version > u64::from(SCHEMA_VERSION) {
        return Err(DecodeError::Version { found: version });
    }
    let event_id = match object.get("event_id") {
        None | Some(Value::Null) => outside_id(None, coordinates),
        Some(Value::String(text)) => outside_id(Some(text), coordinates),
        Some(_) => return Err(field("event_id", "expected a string")),
    };
    let cause_id = match object.get("cause_id") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Uuid::parse_str(text).ok(),
        Some(_) => return Err(field("cause_id", "expected a string")),
    };
    let event_time_ms = match object.get("event_time_ms") {
        None | Some(Value::Null) => 0,
        Some(value) => value
            .as_i64()
            .ok_or_else(|| field("event_time_ms", "expected whole milliseconds"))?,
    };
    let producer = match object.get("producer") {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "outside".to_owned(),
        Some(_) => return Err(field("producer", "expected a string")),
    };
    Ok(Meta {
        event_id,
        cause_id,
        schema_version: SCHEMA_VERSION,
        event_time_ms,
        producer,
    })
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, DecodeError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        DecodeError::Field {
            path,
            message: error.into_inner().to_string(),
        }
    })
}

fn read_event(topic: Topic, value: Value) -> Result<Event, DecodeError> {
    Ok(match topic {
        Topic::RawMetrics => Event::Metric(typed(value)?),
        Topic::RawLogs => Event::Log(typed(value)?),
        Topic::RawSpans => Event::Span(typed(value)?),
        Topic::RawDeployments => Event::Deployment(typed(value)?),
        Topic::RawKubernetes => Event::Kubernetes(typed(value)?),
        Topic::AnomaliesDetected => Event::Anomaly(typed(value)?),
        Topic::IncidentsOpened => Event::Opened(Box::new(typed(value)?)),
        Topic::IncidentsUpdated => Event::Updated(Box::new(typed(value)?)),
        Topic::RcaCompleted => Event::Rca(Box::new(typed(value)?)),
        Topic::RemediationPlans => Event::Plan(Box::new(typed(value)?)),
        Topic::RemediationActions => Event::Action(Box::new(typed(value)?)),
        Topic::IncidentsResolved => Event::Resolved(Box::new(typed(value)?)),
        Topic::OperatorCommands => Event::Command(typed(value)?),
        Topic::PostmortemsGenerated => Event::Postmortem(Box::new(typed(value)?)),
        Topic::GroundTruth => Event::GroundTruth(typed(value)?),
    })
}

/// Fills in times that the producer left out and checks what must not be
/// empty or out of range.
fn complete(envelope: &mut Envelope, coordinates: &Coordinates) -> Result<(), DecodeError> {
    let record_ms = coordinates.record_ms;
    let timed = |name: &str, at: &mut i64| {
        if *at == 0 {
            *at = record_ms;
        }
        if (EARLIEST_MS..LATEST_MS).contains(at) {
            Ok(*at)
        } else {
            let message = format!("{at} is not a time in epoch milliseconds (2000 to 2200)");
            Err(field(name, message))
        }
    };
    let short = |name: &str, text: &str| {
        if text.len() > NAME_MAX_BYTES {
            let size = text.len();
            let message = format!("has {size} bytes; a name has at most {NAME_MAX_BYTES}");
            Err(field(name, message))
        } else {
            Ok(())
        }
    };
    let named = |name: &str, text: &str| {
        if text.trim().is_empty() {
            Err(field(name, "must not be empty"))
        } else {
            short(name, text)
        }
    };
    let at = match &mut envelope.event {
        Event::Metric(metric) => {
            named("service", &metric.service)?;
            named("metric_name", &metric.metric_name)?;
            short("environment", &metric.environment)?;

            timed("timestamp_ms", &mut metric.timestamp_ms)?
        }
        Event::Log(log) => {
            named("service", &log.service)?;
            short("environment", &log.environment)?;

            timed("timestamp_ms", &mut log.timestamp_ms)?
        }
        Event::Span(span) => {
            named("service", &span.service)?;
            short("environment", &span.environment)?;
            short("operation", &span.operation)?;

            if span.duration_ms < 0.0 {
                return Err(field("duration_ms", "must not be negative"));
            }
            timed("start_ms", &mut span.start_ms)?
        }
        Event::Deployment(deployment) => {
            named("service", &deployment.service)?;
            short("environment", &deployment.environment)?;
            short("version", &deployment.version)?;

            timed("timestamp_ms", &mut deployment.timestamp_ms)?
        }
        Event::Kubernetes(event) => {
            named("namespace", &event.namespace)?;
            named("name", &event.name)?;
            short("owner", &event.owner)?;
            short("environment", &event.environment)?;
            short("reason", &event.reason)?;
            short("event_kind", &event.event_kind)?;

            timed("timestamp_ms", &mut event.timestamp_ms)?
        }
        other => other.time_ms(),
    };
    if envelope.meta.event_time_ms == 0 {
        envelope.meta.event_time_ms = at;
    }
    Ok(())
}

impl Event {
    /// The topic that the event travels on.
    #[must_use]
    pub fn topic(&self) -> Topic {
        match self {
            Event::Metric(_) => Topic::RawMetrics,
            Event::Log(_) => Topic::RawLogs,
            Event::Span(_) => Topic::RawSpans,
            Event::Deployment(_) => Topic::RawDeployments,
            Event::Kubernetes(_) => Topic::RawKubernetes,
            Event::Anomaly(_) => Topic::AnomaliesDetected,
            Event::Opened(_) => Topic::IncidentsOpened,
            Event::Updated(_) => Topic::IncidentsUpdated,
            Event::Rca(_) => Topic::RcaCompleted,
            Event::Plan(_) => Topic::RemediationPlans,
            Event::Action(_) => Topic::RemediationActions,
            Event::Resolved(_) => Topic::IncidentsResolved,
            Event::Command(_) => Topic::OperatorCommands,
            Event::Postmortem(_) => Topic::PostmortemsGenerated,
            Event::GroundTruth(_) => Topic::GroundTruth,
        }
    }

    /// The message key: see the topic's declaration.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Event::Metric(metric) => metric.service.clone(),
            Event::Log(log) => log.service.clone(),
            Event::Span(span) => span.service.clone(),
            Event::Deployment(deployment) => deployment.service.clone(),
            Event::Kubernetes(event) => format!("{}/{}", event.namespace, event.service()),
            Event::Anomaly(anomaly) => anomaly.environment.clone(),
            Event::Opened(opened) => opened.header.incident_id.to_string(),
            Event::Updated(updated) => updated.header.incident_id.to_string(),
            Event::Rca(rca) => rca.header.incident_id.to_string(),
            Event::Plan(plan) => plan.header.incident_id.to_string(),
            Event::Action(action) => action.header.incident_id.to_string(),
            Event::Resolved(resolved) => resolved.header.incident_id.to_string(),
            Event::Command(command) => command.incident_id.to_string(),
            Event::Postmortem(postmortem) => postmortem.header.incident_id.to_string(),
            Event::GroundTruth(truth) => truth.service.clone(),
        }
    }

    /// The event's own time, epoch milliseconds.
    #[must_use]
    pub fn time_ms(&self) -> i64 {
        match self {
            Event::Metric(metric) => metric.timestamp_ms,
            Event::Log(log) => log.timestamp_ms,
            Event::Span(span) => span.start_ms,
            Event::Deployment(deployment) => deployment.timestamp_ms,
            Event::Kubernetes(event) => event.timestamp_ms,
            Event::Anomaly(anomaly) => anomaly.detected_at_ms,
            Event::Opened(opened) => opened.opened_at_ms,
            Event::Updated(updated) => updated.updated_at_ms,
            Event::Rca(rca) => rca.completed_at_ms,
            Event::Plan(plan) => plan.planned_at_ms,
            Event::Action(action) => action.at_ms,
            Event::Resolved(resolved) => resolved.resolved_at_ms,
            Event::Command(command) => command.issued_at_ms,
            Event::Postmortem(postmortem) => postmortem.generated_at_ms,
            Event::GroundTruth(truth) => truth.timestamp_ms,
        }
    }

    /// The incident that the event is about, where it is about one.
    #[must_use]
    pub fn incident_id(&self) -> Option<Uuid> {
        match self {
            Event::Opened(opened) => Some(opened.header.incident_id),
            Event::Updated(updated) => Some(updated.header.incident_id),
            Event::Rca(rca) => Some(rca.header.incident_id),
            Event::Plan(plan) => Some(plan.header.incident_id),
            Event::Action(action) => Some(action.header.incident_id),
            Event::Resolved(resolved) => Some(resolved.header.incident_id),
            Event::Command(command) => Some(command.incident_id),
            Event::Postmortem(postmortem) => Some(postmortem.header.incident_id),
            _ => None,
        }
    }
}

impl Envelope {
    /// The payload as it goes onto the topic.
    ///
    /// # Panics
    /// Never for values of these types: they hold no map with keys that are
    /// not strings, and numbers that JSON cannot hold become `null`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Flat<'a, T> {
            #[serde(flatten)]
            meta: &'a Meta,
            #[serde(flatten)]
            payload: &'a T,
        }
        fn bytes<T: Serialize>(meta: &Meta, payload: &T) -> Vec<u8> {
            serde_json::to_vec(&Flat { meta, payload }).expect("payload types encode as JSON")
        }
        let meta = &self.meta;
        match &self.event {
            Event::Metric(payload) => bytes(meta, payload),
            Event::Log(payload) => bytes(meta, payload),
            Event::Span(payload) => bytes(meta, payload),
            Event::Deployment(payload) => bytes(meta, payload),
            Event::Kubernetes(payload) => bytes(meta, payload),
            Event::Anomaly(payload) => bytes(meta, payload),
            Event::Opened(payload) => bytes(meta, payload),
            Event::Updated(payload) => bytes(meta, payload),
            Event::Rca(payload) => bytes(meta, payload),
            Event::Plan(payload) => bytes(meta, payload),
            Event::Action(payload) => bytes(meta, payload),
            Event::Resolved(payload) => bytes(meta, payload),
            Event::Command(payload) => bytes(meta, payload),
            Event::Postmortem(payload) => bytes(meta, payload),
            Event::GroundTruth(payload) => bytes(meta, payload),
        }
    }
}
