//! What classification may use: in an hour as much as one incident, tokens and
//! money. Each copy of the agent counts for itself and anew after a start. A
//! storm of anomalies says the same thing many times, and nothing waits for a
//! second opinion, so that what is beyond is not asked.

use midwatch_clients::llm::{LlmCall, LlmError, Spent};

const HOUR_MS: i64 = 3_600_000;

/// One hour, from the first question in it.
#[derive(Debug, Default)]
pub(super) struct Hour {
    /// Wall clock.
    began_ms: Option<i64>,
    spent: Spent,
    /// A call was refused: the rest of the hour nothing is asked.
    is_used_up: bool,
}

impl Hour {
    /// What was used so far; `None` where nothing may be asked any more.
    pub fn spent(&mut self, now_ms: i64) -> Option<Spent> {
        let goes_on = |began_ms: i64| (0..HOUR_MS).contains(&(now_ms - began_ms));
        if !self.began_ms.is_some_and(goes_on) {
            *self = Hour {
                began_ms: Some(now_ms),
                ..Hour::default()
            };
        }
        (!self.is_used_up).then_some(self.spent)
    }

    /// Counts a call. The seconds of an incident are no matter here: nobody
    /// waits for these answers.
    pub fn note(&mut self, call: &LlmCall, error: Option<&LlmError>) {
        let tokens = call.prompt_tokens.saturating_add(call.completion_tokens);
        let tokens = u64::try_from(tokens).unwrap_or(0);
        self.spent.tokens = self.spent.tokens.saturating_add(tokens);
        self.spent.cost_usd += call.cost_usd;
        if matches!(error, Some(LlmError::Budget(_))) {
            self.is_used_up = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_counts_for_an_hour_and_a_refusal_ends_it() {
        let mut hour = Hour::default();
        let call = LlmCall {
            call_id: uuid::Uuid::nil(),
            agent: "detection".to_owned(),
            purpose: "classify_anomaly".to_owned(),
            tier: "fast".to_owned(),
            model: "m".to_owned(),
            prompt: serde_json::Value::Null,
            reply: None,
            prompt_tokens: 900,
            completion_tokens: 100,
            cost_usd: 0.25,
            latency_ms: 4_000,
            outcome: "ok".to_owned(),
            error: None,
        };
        assert_eq!(hour.spent(1_000), Some(Spent::default()));
        hour.note(&call, None);
        hour.note(&call, None);
        let used = Spent {
            tokens: 2_000,
            cost_usd: 0.5,
            ms: 0,
        };
        assert_eq!(hour.spent(2_000), Some(used));
        hour.note(&call, Some(&LlmError::Budget("used up".to_owned())));
        assert_eq!(hour.spent(1_000 + HOUR_MS - 1), None);
        assert_eq!(hour.spent(1_000 + HOUR_MS), Some(Spent::default()));
        // The clock was set back: no hour of the future holds.
        assert_eq!(hour.spent(0), Some(Spent::default()));
    }
}
