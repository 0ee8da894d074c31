//! Where the broker is, and how a consumer of Midwatch's is set up.

use rdkafka::ClientConfig;

/// Everything that a process must know to reach the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `host:port`, several separated by commas.
    pub bootstrap: String,
    /// Any librdkafka properties, applied last.
    pub properties: Vec<(String, String)>,
    /// Prefix of every topic and group, for clusters that are shared.
    pub topic_prefix: String,
    /// Partitions of each topic that is created.
    pub partitions: i32,
}

/// How long a consumer may be silent before its partitions go to others. The
/// librdkafka default of 45 s would leave an incident waiting that long after
/// a crash; below 6 s the group coordinator of a default broker refuses.
pub const SESSION_TIMEOUT_MS: &str = "6000";
/// The process slot whose consumer is a static member of its group.
const STATIC_SLOT: &str = "0";

impl KafkaSettings {
    /// Settings for a broker at `bootstrap` and defaults elsewhere.
    #[must_use]
    pub fn at(bootstrap: &str) -> KafkaSettings {
        KafkaSettings {
            bootstrap: bootstrap.to_owned(),
            properties: Vec::new(),
            topic_prefix: String::new(),
            partitions: 3,
        }
    }

    /// The librdkafka property that an environment variable's suffix names:
    /// `SECURITY_PROTOCOL` is `security.protocol`.
    #[must_use]
    pub fn property_name(suffix: &str) -> String {
        suffix.to_lowercase().replace('_', ".")
    }

    /// The name on the broker of a topic.
    #[must_use]
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }

    /// The topic's own name, of its name on the broker.
    #[must_use]
    pub fn bare<'a>(&self, name: &'a str) -> &'a str {
        name.strip_prefix(self.topic_prefix.as_str())
            .unwrap_or(name)
    }

    /// The consumer group of an agent.
    #[must_use]
    pub fn group(&self, agent: &str) -> String {
        format!("{}midwatch.{agent}", self.topic_prefix)
    }

    /// What every client has in common.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("broker.address.family", "v4")
            // A dead-letter copy is a raw message of 6 MB plus its headers.
            .set("message.max.bytes", "8388608")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", "2000");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    /// A consumer in `group`, in the process slot `slot`: offsets are stored
    /// by hand after the work is done and committed in the background.
    ///
    /// Slot 0, which is always there, is a static member: when it restarts it
    /// takes its partitions back in seconds and nothing moves. The other slots
    /// come and go with the scale and are dynamic members, because a static one
    /// that leaves says nothing: its partitions would lie still until the
    /// session times out (on Apache Kafka) or for good (on Tansu).
    #[must_use]
    pub fn consumer_config(&self, group: &str, slot: &str) -> ClientConfig {
        let mut config = self.client_config();
        config
            .set("group.id", group)
            .set("client.id", format!("{group}.{slot}"))
            .set("session.timeout.ms", SESSION_TIMEOUT_MS)
            .set("heartbeat.interval.ms", "1500")
            .set("max.poll.interval.ms", "120000")
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "1000")
            .set("enable.auto.offset.store", "false")
            .set("allow.auto.create.topics", "false")
            .set("fetch.message.max.bytes", "8388608")
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", "32768")
            .set("topic.metadata.refresh.interval.ms", "10000");
        if slot == STATIC_SLOT {
            config.set("group.instance.id", format!("{group}.{slot}"));
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    /// A producer whose messages are neither lost nor doubled by its own
    /// retries.
    #[must_use]
    pub fn producer_config(&self) -> ClientConfig {
        let mut config = self.client_config();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("message.timeout.ms", "30000")
            .set("queue.buffering.max.kbytes", "65536");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_from_the_environment_win() {
        let mut settings = KafkaSettings::at("one:9092");
        settings.topic_prefix = "t1.".to_owned();
        let name = KafkaSettings::property_name("SESSION_TIMEOUT_MS");
        settings.properties.push((name, "9000".to_owned()));
        let config = settings.consumer_config(&settings.group("api"), "0");
        assert_eq!(config.get("session.timeout.ms"), Some("9000"));
        assert_eq!(config.get("group.id"), Some("t1.midwatch.api"));
        assert_eq!(config.get("group.instance.id"), Some("t1.midwatch.api.0"));
        let other = settings.consumer_config(&settings.group("api"), "1");
        assert_eq!(other.get("group.instance.id"), None);
        assert_eq!(other.get("client.id"), Some("t1.midwatch.api.1"));
        assert_eq!(settings.bare(&settings.topic("raw.logs")), "raw.logs");
    }
}
