//! What an incident has cost, stage by stage, as a table.

use midwatch_clients::postgres::ledger::StageCost;
use serde::Serialize;

/// A line of the table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Line {
    pub stage: String,
    pub model_calls: i64,
    /// Of prompts and replies.
    pub tokens: i64,
    pub cost_usd: f64,
    /// Wall clock that its jobs were worked on.
    pub work_seconds: f64,
    /// Wall clock that models took of that.
    pub model_seconds: f64,
    pub events: i64,
    pub event_bytes: i64,
    pub stored_bytes: i64,
}

/// The table and its last line.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Costs {
    pub lines: Vec<Line>,
    pub total: Line,
}

/// The table of a ledger.
#[must_use]
pub fn collect(ledger: &[StageCost]) -> Costs {
    let mut costs = Costs::default();
    for cost in ledger {
        let line = Line {
            stage: cost.stage.clone(),
            model_calls: cost.model_calls,
            tokens: cost.prompt_tokens + cost.completion_tokens,
            cost_usd: cost.cost_usd,
            work_seconds: cost.work_ms as f64 / 1_000.0,
            model_seconds: cost.model_ms as f64 / 1_000.0,
            events: cost.events,
            event_bytes: cost.event_bytes,
            stored_bytes: cost.stored_bytes,
        };
        let total = &mut costs.total;
        total.model_calls += line.model_calls;
        total.tokens += line.tokens;
        total.cost_usd += line.cost_usd;
        total.work_seconds += line.work_seconds;
        total.model_seconds += line.model_seconds;
        total.events += line.events;
        total.event_bytes += line.event_bytes;
        total.stored_bytes += line.stored_bytes;
        costs.lines.push(line);
    }
    costs.total.stage = "all".to_owned();
    costs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_sum_and_nothing_costs_nothing() {
        let stage = |stage: &str, model_calls, prompt_tokens, model_ms| StageCost {
            stage: stage.to_owned(),
            model_calls,
            prompt_tokens,
            completion_tokens: 5 * model_calls,
            cost_usd: 0.25 * model_calls as f64,
            model_ms,
            work_ms: model_ms + 500,
            events: 2,
            event_bytes: 300,
            stored_bytes: 40,
        };
        let costs = collect(&[
            stage("correlation", 0, 0, 0),
            stage("investigation", 2, 100, 2_500),
        ]);
        assert_eq!(costs.lines.len(), 2);
        assert_eq!(costs.lines[0].tokens, 0);
        assert_eq!(
            costs.total,
            Line {
                stage: "all".to_owned(),
                model_calls: 2,
                tokens: 110,
                cost_usd: 0.5,
                work_seconds: 3.5,
                model_seconds: 2.5,
                events: 4,
                event_bytes: 600,
                stored_bytes: 80,
            }
        );
        let none = collect(&[]);
        assert_eq!((none.lines.len(), none.total.tokens), (0, 0));
    }
}
