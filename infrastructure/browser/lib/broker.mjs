// Publishing as an outside program would: with an independent client, in
// whichever environment it likes.
import { Kafka, Partitioners, logLevel } from "./modules.mjs";
import { stack } from "./stack.mjs";

const prefix = process.env.KAFKA_TOPIC_PREFIX ?? "";
const kafka = new Kafka({
  clientId: "midwatch-browser-test",
  brokers: stack.broker.split(","),
  logLevel: logLevel.ERROR,
  connectionTimeout: 5_000,
  requestTimeout: 10_000,
  retry: { retries: 3 },
});
const producer = kafka.producer({
  allowAutoTopicCreation: false,
  createPartitioner: Partitioners.DefaultPartitioner,
});

export const topicName = (topic) => prefix + topic;
export const connect = () => producer.connect();
export const disconnect = () => producer.disconnect();

/** Publishes messages `{key, value}`; a value that is no text is sent as JSON. */
export function publish(topic, messages) {
  const encoded = messages.map(({ key, value }) => ({
    key,
    value: typeof value === "string" ? value : JSON.stringify(value),
  }));
  return producer.send({ topic: topicName(topic), acks: -1, messages: encoded });
}

const STEP_MS = 10_000;

/**
 * A made-up service whose latency leaves its range: an hour's worth of history
 * is not needed, detection judges from ten readings on. Its readings lie in an
 * environment of its own, so that nothing else is grouped with it.
 */
export class Stranger {
  /** `words` is put wherever a producer may write freely. */
  constructor(service, environment, words) {
    Object.assign(this, { service, environment, words });
    this.at = Date.now() - 70 * STEP_MS;
  }

  #metrics(count, latency, errors) {
    const messages = [];
    for (let index = 0; index < count; index += 1) {
      this.at += STEP_MS;
      // A few percent of regular unrest: a flat line has no range.
      const unrest = 1 + 0.03 * Math.sin(index * 1.7);
      const values = { service_latency_p99_ms: latency, service_error_rate_percent: errors };
      for (const [metric_name, value] of Object.entries(values)) {
        const reading = {
          timestamp_ms: this.at,
          service: this.service,
          environment: this.environment,
          metric_name,
          metric_value: value * unrest,
          labels: { service: this.service, note: this.words },
        };
        messages.push({ key: this.service, value: reading });
      }
    }
    return publish("raw.metrics", messages);
  }

  /** Normal readings, a change, then the fault with log lines. */
  async fail() {
    await this.#metrics(40, 120, 0.5);
    const common = { service: this.service, environment: this.environment };
    const change = {
      ...common,
      timestamp_ms: this.at,
      version: `v2 ${this.words}`,
      change_type: "deployment",
      git_sha: "4f2c9be",
      deployed_by: this.words,
      description: this.words,
      known_risks: [this.words],
      previous_version: "v1",
    };
    await publish("raw.deployments", [{ key: this.service, value: change }]);
    const lines = Array.from({ length: 6 }, (_, index) => ({
      ...common,
      timestamp_ms: this.at + 1_000 * (index + 1),
      level: "ERROR",
      message: `request failed: ${this.words}`,
      trace_id: null,
      labels: { pod: this.words },
    }));
    await publish("raw.logs", lines.map((value) => ({ key: this.service, value })));
    await this.#metrics(12, 4_800, 24);
  }

  /** Readings back in their range. */
  recover() {
    return this.#metrics(14, 120, 0.5);
  }
}
