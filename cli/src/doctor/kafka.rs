//! The broker: reachable, with our topics as they must be.

use super::{Finding, Probe, names, since};
use crate::configuration::Configuration;
use crate::output;
use midwatch_clients::kafka::{BrokerReader, KafkaSettings, Logs, read_epoch};
use midwatch_events::topics::{DLQ_MAX_BYTES, EPOCH_TOPIC, TOPICS};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const BROKER: &str = "kafka";
const TOPICS_CHECK: &str = "kafka-topics";
const SIZES: &str = "kafka-sizes";
const JOINS: &str = "kafka-joins";
const EPOCH: &str = "kafka-epoch";
const LETTERS: &str = "kafka-dead-letters";

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(6);
const RUN_INIT: &str = "run midwatch-init with the same settings (`make demo` does)";

pub(super) fn probe(configuration: &Configuration) -> Probe {
    let kafka = configuration.kafka();
    Probe {
        checks: &[BROKER, TOPICS_CHECK, SIZES, JOINS, EPOCH, LETTERS],
        limit: Duration::from_secs(20),
        remedy: "see that the broker runs, and that KAFKA_BOOTSTRAP_SERVERS names it",
        answer: Box::pin(check(kafka)),
    }
}

/// What the broker told about itself.
struct Broker {
    /// `host:port` of each node, as clients are told to reach them.
    nodes: Vec<String>,
    /// Partitions by the topic's name on the broker.
    topics: BTreeMap<String, usize>,
}

/// A topic that Midwatch needs.
struct Needed {
    name: String,
    partitions: usize,
    max_bytes: u32,
}

async fn check(kafka: KafkaSettings) -> Vec<Finding> {
    let begun = Instant::now();
    let settings = kafka.clone();
    let broker = match blocking(move || ask(&settings)).await {
        Ok(broker) => broker,
        Err(error) => {
            // The usual error says no more than that.
            let why = if error.contains("BrokerTransportFailure") {
                String::new()
            } else {
                format!(": {error}")
            };
            return vec![Finding::fail(
                BROKER,
                format!("no broker answers at {}{why}", kafka.bootstrap),
                "start it (`make demo` does), or set KAFKA_BOOTSTRAP_SERVERS to the host:port of one",
            )];
        }
    };
    let mut findings = vec![Finding::ok(
        BROKER,
        format!(
            "answers in {}; nodes: {}",
            since(begun),
            names(&broker.nodes)
        ),
    )];
    let needed = needed(&kafka);
    findings.push(topics(&kafka, &needed, &broker));
    findings.push(joins(&kafka, &broker));
    let reader = BrokerReader::new(kafka.clone());
    let settings = kafka.clone();
    let (sizes, epoch, logs) = tokio::join!(
        sizes(&kafka, &needed, &broker),
        blocking(move || read_epoch(&settings).map_err(|error| error.to_string())),
        reader.topics(),
    );
    findings.push(sizes);
    findings.push(epoch_finding(epoch));
    findings.push(match logs {
        Ok(logs) => letters(&kafka, &logs),
        Err(error) => Finding::warn(LETTERS, error.to_string(), "look again"),
    });
    findings
}

/// librdkafka's calls block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| error.to_string())?
}

fn ask(kafka: &KafkaSettings) -> Result<Broker, String> {
    let consumer: BaseConsumer = kafka
        .client_config()
        .set("allow.auto.create.topics", "false")
        .create()
        .map_err(|error| error.to_string())?;
    let metadata = consumer
        .fetch_metadata(None, REQUEST)
        .map_err(|error| error.to_string())?;
    Ok(Broker {
        nodes: metadata
            .brokers()
            .iter()
            .map(|node| format!("{}:{}", node.host(), node.port()))
            .collect(),
        topics: metadata
            .topics()
            .iter()
            .map(|topic| (topic.name().to_owned(), topic.partitions().len()))
            .collect(),
    })
}

/// All topics that midwatch-init creates.
fn needed(kafka: &KafkaSettings) -> Vec<Needed> {
    let partitions = usize::try_from(kafka.partitions).unwrap_or(1);
    let pairs = TOPICS.iter().flat_map(|spec| {
        [
            (spec.name.to_owned(), spec.max_bytes),
            (spec.topic.dlq_name(), DLQ_MAX_BYTES),
        ]
    });
    let mut needed: Vec<Needed> = pairs
        .map(|(name, max_bytes)| Needed {
            name: kafka.topic(&name),
            partitions,
            max_bytes,
        })
        .collect();
    needed.push(Needed {
        name: kafka.topic(EPOCH_TOPIC),
        partitions: 1,
        max_bytes: 0,
    });
    needed
}

fn topics(kafka: &KafkaSettings, needed: &[Needed], broker: &Broker) -> Finding {
    let missing: Vec<&str> = needed
        .iter()
        .filter(|topic| !broker.topics.contains_key(&topic.name))
        .map(|topic| topic.name.as_str())
        .collect();
    if !missing.is_empty() {
        let found = format!(
            "{} of {} topics are missing: {}",
            missing.len(),
            needed.len(),
            names(&missing)
        );
        return Finding::fail(TOPICS_CHECK, found, RUN_INIT);
    }
    let other: Vec<String> = needed
        .iter()
        .filter_map(|topic| {
            let count = broker.topics.get(&topic.name)?;
            (*count != topic.partitions).then(|| format!("{} has {count}", topic.name))
        })
        .collect();
    if other.is_empty() {
        let found = format!(
            "{} topics, {} partitions each",
            needed.len(),
            kafka.partitions
        );
        return Finding::ok(TOPICS_CHECK, found);
    }
    Finding::warn(
        TOPICS_CHECK,
        format!(
            "KAFKA_PARTITIONS is {}, but {}",
            kafka.partitions,
            names(&other)
        ),
        "set KAFKA_PARTITIONS to what the topics have, or add partitions with kafka-topics.sh --alter --partitions",
    )
}

/// Topics with the same key are read side by side: what belongs together must
/// lie in partitions of the same number.
fn joins(kafka: &KafkaSettings, broker: &Broker) -> Finding {
    let mut by_key: BTreeMap<&str, BTreeMap<usize, Vec<&str>>> = BTreeMap::new();
    for spec in TOPICS {
        if let Some(count) = broker.topics.get(&kafka.topic(spec.name)) {
            let counts = by_key.entry(spec.key).or_default();
            counts.entry(*count).or_default().push(spec.name);
        }
    }
    let unequal: Vec<String> = by_key
        .iter()
        .filter(|(_, counts)| counts.len() > 1)
        .map(|(key, counts)| {
            let sets: Vec<String> = counts
                .iter()
                .map(|(count, topics)| format!("{count} in {}", names(topics)))
                .collect();
            format!("keyed by {key}: {}", sets.join("; "))
        })
        .collect();
    if unequal.is_empty() {
        return Finding::ok(JOINS, "topics with the same key have equal partitions");
    }
    Finding::fail(
        JOINS,
        format!("unequal partitions: {}", unequal.join(". ")),
        "give all of them the larger number (kafka-topics.sh --alter --topic NAME --partitions N), then restart the agents",
    )
}

/// Whether each topic takes the messages that are meant for it.
async fn sizes(kafka: &KafkaSettings, needed: &[Needed], broker: &Broker) -> Finding {
    let there: Vec<&Needed> = needed
        .iter()
        .filter(|topic| broker.topics.contains_key(&topic.name))
        .collect();
    let limits = match max_bytes(kafka, &there).await {
        Ok(limits) => limits,
        Err(error) => {
            let remedy = "look at max.message.bytes of the topics with kafka-configs.sh --describe";
            return Finding::warn(SIZES, format!("the broker does not tell: {error}"), remedy);
        }
    };
    let small: Vec<String> = there
        .iter()
        .filter_map(|topic| {
            let limit = *limits.get(&topic.name)?;
            (limit < u64::from(topic.max_bytes))
                .then(|| format!("{} takes {limit} of {} bytes", topic.name, topic.max_bytes))
        })
        .collect();
    if small.is_empty() {
        let silent = there.len() - limits.len();
        let found = match silent {
            0 => "max.message.bytes is right for all topics".to_owned(),
            _ => format!("the broker does not tell max.message.bytes of {silent} topics"),
        };
        return Finding::ok(SIZES, found);
    }
    Finding::fail(
        SIZES,
        format!("max.message.bytes is too small: {}", names(&small)),
        "kafka-configs.sh --alter --entity-type topics --entity-name NAME --add-config max.message.bytes=BYTES",
    )
}

async fn max_bytes(
    kafka: &KafkaSettings,
    topics: &[&Needed],
) -> Result<BTreeMap<String, u64>, String> {
    let admin: AdminClient<DefaultClientContext> = kafka
        .client_config()
        .create()
        .map_err(|error| error.to_string())?;
    let wanted: Vec<ResourceSpecifier<'_>> = topics
        .iter()
        .map(|topic| ResourceSpecifier::Topic(&topic.name))
        .collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST));
    let answers = admin
        .describe_configs(&wanted, &options)
        .await
        .map_err(|error| error.to_string())?;
    let mut limits = BTreeMap::new();
    // The answers come in the order of the questions.
    for (topic, answer) in topics.iter().zip(answers) {
        let answer = answer.map_err(|code| format!("{}: {code}", topic.name))?;
        let entry = answer.get("max.message.bytes");
        let value = entry.and_then(|entry| entry.value.as_ref()?.parse().ok());
        if let Some(value) = value {
            limits.insert(topic.name.clone(), value);
        }
    }
    Ok(limits)
}

fn epoch_finding(epoch: Result<Option<String>, String>) -> Finding {
    match epoch {
        Ok(Some(epoch)) => Finding::ok(EPOCH, format!("the broker's data are of epoch {epoch}")),
        Ok(None) => Finding::fail(EPOCH, "the broker's data carry no epoch yet", RUN_INIT),
        Err(error) => Finding::fail(
            EPOCH,
            format!("the epoch cannot be read: {error}"),
            "see that this user may read the topic midwatch.epoch",
        ),
    }
}

fn letters(kafka: &KafkaSettings, logs: &Logs) -> Finding {
    let mut waiting = Vec::new();
    let mut unknown = Vec::new();
    let mut first = None;
    for (topic, partitions) in logs {
        let bare = kafka.bare(topic);
        if !bare.ends_with(".dlq") {
            continue;
        }
        let held: Option<i64> = partitions.iter().map(|log| Some(log.end? - log.low?)).sum();
        match held {
            Some(0) => {}
            Some(held) => {
                first.get_or_insert_with(|| bare.to_owned());
                waiting.push(format!("{bare} {}", output::count(held)));
            }
            None => unknown.push(bare.to_owned()),
        }
    }
    if !unknown.is_empty() {
        let found = format!(
            "the broker does not tell how many are on {}",
            names(&unknown)
        );
        return Finding::warn(LETTERS, found, "look again in a moment");
    }
    let Some(first) = first else {
        return Finding::ok(LETTERS, "none");
    };
    Finding::warn(
        LETTERS,
        format!("messages that could not be read: {}", names(&waiting)),
        format!(
            "see why on the dashboard's page /agents, or with `midwatch topics tail {first}`; those that were sent again stay there until they expire"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;
    use midwatch_clients::kafka::PartitionLog;

    fn broker(kafka: &KafkaSettings) -> Broker {
        let topics = needed(kafka)
            .into_iter()
            .map(|topic| (topic.name, topic.partitions));
        Broker {
            nodes: vec!["one:9092".to_owned()],
            topics: topics.collect(),
        }
    }

    #[test]
    fn missing_topics_other_partitions_and_unequal_joins_are_told_apart() {
        let mut kafka = KafkaSettings::at("one:9092");
        kafka.topic_prefix = "t.".to_owned();
        let needed = needed(&kafka);
        let good = broker(&kafka);
        assert_eq!(topics(&kafka, &needed, &good).status, Status::Ok);
        assert_eq!(joins(&kafka, &good).status, Status::Ok);
        let mut some = broker(&kafka);
        some.topics.remove("t.raw.logs.dlq");
        let found = topics(&kafka, &needed, &some);
        assert_eq!(found.status, Status::Fail);
        assert_eq!(found.found, "1 of 31 topics are missing: t.raw.logs.dlq");
        let mut other = broker(&kafka);
        other.topics.insert("t.rca.completed".to_owned(), 5);
        assert_eq!(topics(&kafka, &needed, &other).status, Status::Warn);
        let found = joins(&kafka, &other);
        assert_eq!(found.status, Status::Fail);
        assert!(
            found.found.contains("keyed by incident id")
                && found.found.contains("5 in rca.completed"),
            "{}",
            found.found
        );
    }

    #[test]
    fn dead_letters_are_counted_and_what_is_unknown_is_no_zero() {
        let kafka = KafkaSettings::at("one:9092");
        let log = |low, end| PartitionLog {
            partition: 0,
            low: Some(low),
            end,
        };
        let logs = |end| {
            Logs::from([
                (
                    "raw.logs.dlq".to_owned(),
                    vec![log(2, end), log(0, Some(1))],
                ),
                ("raw.logs".to_owned(), vec![log(0, Some(9))]),
            ])
        };
        assert_eq!(letters(&kafka, &Logs::new()).status, Status::Ok);
        let found = letters(&kafka, &logs(Some(5)));
        assert_eq!(found.status, Status::Warn);
        assert!(found.found.ends_with("raw.logs.dlq 4"), "{}", found.found);
        let found = letters(&kafka, &logs(None));
        assert!(found.found.contains("does not tell"), "{}", found.found);
    }
}
