//! The model's sentence about the impact, beside the measured description, which stands in any case.

use super::Correlation;
use anyhow::Context as _;
use midwatch_clients::llm::claims::Ground;
use midwatch_clients::llm::{LlmRequest, Spent, Tier, fence};
use midwatch_events::ids;
use midwatch_runtime::Job;
use serde_json::{Value, json};

/// Two sentences fit. The fast tier, as for every text that only words what was measured.
const MAX_TOKENS: u32 = 600;
/// Characters of one text of the facts.
const TEXT_LIMIT: usize = 600;

const SYSTEM: &str = "You word the impact of a production incident for an on-call engineer in at \
    most two sentences, 400 characters together. Use only the facts of the data. Name no number \
    that is not there, no user counts, no revenue, and tell nobody what to do.";

impl Correlation {
    /// Asks the model; answers with its sentence, if it holds, with why it
    /// does not, and the call's record. Only the first call of an incident, so
    /// nothing is spent yet.
    pub(super) async fn assess_impact(&self, job: &Job) -> anyhow::Result<Value> {
        let llm = self
            .llm
            .as_ref()
            .context("no model is configured any more")?;
        let id = ids::derive(&["llm", &job.id.to_string(), &job.attempt.to_string()]);
        let mut facts = job.payload["facts"].clone();
        fence::untrusted_json(&mut facts, TEXT_LIMIT);
        let text = serde_json::to_string_pretty(&facts)?;
        let mark = fence::nonce(&[&id.to_string(), &text]);
        let outcome = llm
            .complete(LlmRequest {
                call_id: id,
                agent: "correlation".to_owned(),
                purpose: "assess_impact".to_owned(),
                tier: Tier::Fast,
                system: format!("{SYSTEM} {}", fence::RULE),
                user: fence::block("facts of the incident", &text, &mark),
                max_tokens: MAX_TOKENS,
                temperature: 0.1,
                schema: Some((
                    "assess_impact".to_owned(),
                    json!({"type": "object", "required": ["impact"], "additionalProperties": false,
                        "properties": {"impact": {"type": "string", "maxLength": 400}}}),
                )),
                spent: Spent::default(),
            })
            .await;
        let said = match &outcome.result {
            Ok(reply) => reply
                .value
                .as_ref()
                .and_then(|value| value["impact"].as_str()),
            Err(error) => {
                tracing::warn!(%error, "the model gave no impact; the measured description stands");
                None
            }
        };
        let problems = said.map_or_else(Vec::new, |said| problems(said, &facts));
        if !problems.is_empty() {
            tracing::warn!(
                ?problems,
                "the model's impact does not hold; the measured description stands"
            );
            return Ok(
                json!({"impact": null, "claim": said, "rejected": problems.join("; "),
                "call": outcome.call}),
            );
        }
        Ok(json!({"impact": said, "call": outcome.call}))
    }
}

/// What the sentence says that the facts do not.
fn problems(sentence: &str, facts: &Value) -> Vec<String> {
    let mut ground = Ground::default();
    ground.document(facts);
    // The name of a metric tells the unit of its readings.
    for anomaly in facts["anomalies"].as_array().into_iter().flatten() {
        for reading in ["observed", "baseline"] {
            if let (Some(metric), Some(value)) =
                (anomaly["metric"].as_str(), anomaly[reading].as_f64())
            {
                ground.reading(metric, value);
            }
        }
    }
    ground.problems(sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_that_the_facts_do_not_carry_is_noticed() {
        let facts = json!({"services": ["payment-service", "order-service"],
            "anomalies": [{"service": "payment-service", "metric": "service_latency_p99_ms",
                           "observed": 7380.5, "baseline": 380}],
            "blast_radius": "payment-service; order-service may follow"});
        for held in [
            "Answers of payment-service take 7.4 s instead of 380 ms.",
            "payment-service is slow; order-service may follow.",
        ] {
            assert_eq!(problems(held, &facts), Vec::<String>::new(), "{held}");
        }
        for (lie, told) in [
            ("About 12000 users wait.", "12000"),
            ("ledger-service is slow.", "ledger-service"),
            ("It says \"all is lost\".", "all is lost"),
            ("Please restart payment-service.", "tells somebody"),
        ] {
            let problems = problems(lie, &facts).join("; ");
            assert!(problems.contains(told), "{lie}: {problems}");
        }
    }
}
