//! The language model. None is a normal state.

use super::{Finding, Probe, chain, names, since};
use crate::configuration::Configuration;
use midwatch_clients::llm::{LlmSettings, Tier};
use midwatch_runtime::Settings;
use reqwest::StatusCode;
use std::time::{Duration, Instant};

const MODEL: &str = "model";

pub(super) fn probe(configuration: &Configuration) -> Probe {
    let settings = configuration.settings.clone();
    Probe {
        checks: &[MODEL],
        limit: Duration::from_secs(15),
        remedy: "see that the endpoint runs, or unset LLM_BASE_URL and the keys to do without a model",
        answer: Box::pin(async move { vec![check(&settings).await] }),
    }
}

/// The variable that the key came from; the same precedence as
/// [`LlmSettings::resolve`].
fn key_name(settings: &Settings) -> &'static str {
    if settings.get("LLM_BASE_URL").is_some() {
        "LLM_API_KEY"
    } else if settings.get("OPENAI_API_KEY").is_some() {
        "OPENAI_API_KEY"
    } else {
        "ANTHROPIC_API_KEY"
    }
}

async fn check(settings: &Settings) -> Finding {
    let model = match LlmSettings::resolve(|name| settings.get(name)) {
        Ok(None) => {
            return Finding::ok(
                MODEL,
                "none is configured: every decision has its deterministic answer",
            );
        }
        Ok(Some(model)) => model,
        Err(problem) => return Finding::fail(MODEL, problem, "correct that variable, or unset it"),
    };
    let begun = Instant::now();
    let (status, body) = match list(&model).await {
        Ok(answer) => answer,
        Err(error) => {
            return Finding::fail(
                MODEL,
                format!("{} does not answer: {}", model.base_url, chain(&error)),
                "start the endpoint or correct LLM_BASE_URL; without it and the keys Midwatch does without a model",
            );
        }
    };
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Finding::fail(
            MODEL,
            format!(
                "{} refuses the key in {} ({})",
                model.base_url,
                key_name(settings),
                status.as_u16()
            ),
            format!("put a valid key into {}", key_name(settings)),
        ),
        status if status.is_success() => listed(&model, &body, &since(begun)),
        status => Finding::warn(
            MODEL,
            format!(
                "{} answers, but lists no models ({})",
                model.base_url,
                status.as_u16()
            ),
            "see that LLM_BASE_URL ends where /chat/completions begins, mostly in /v1",
        ),
    }
}

async fn list(model: &LlmSettings) -> Result<(StatusCode, String), reqwest::Error> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(12))
        .build()?;
    let mut request = client.get(format!("{}/models", model.base_url));
    if let Some(key) = &model.api_key {
        request = request.bearer_auth(key);
        if model.base_url.starts_with("https://api.anthropic.com/") {
            // Its list of models wants the key under its own name.
            request = request
                .header("x-api-key", key)
                .header("anthropic-version", "2023-06-01");
        }
    }
    let response = request.send().await?;
    let status = response.status();
    Ok((status, response.text().await?))
}

fn listed(model: &LlmSettings, body: &str, took: &str) -> Finding {
    let answer: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let Some(models) = answer["data"].as_array() else {
        return Finding::warn(
            MODEL,
            format!("{} answers, but with no list of models", model.base_url),
            "see that it is an OpenAI-compatible endpoint",
        );
    };
    let ids: Vec<&str> = models.iter().filter_map(|one| one["id"].as_str()).collect();
    let mut missing: Vec<&str> = [Tier::Fast, Tier::Reasoning]
        .into_iter()
        .map(|tier| model.model(tier))
        // An endpoint of one's own that serves one model takes any name.
        .filter(|name| *name != "default" && !ids.contains(name))
        .collect();
    missing.dedup();
    if !missing.is_empty() {
        return Finding::warn(
            MODEL,
            format!("{} does not list {}", model.base_url, names(&missing)),
            format!(
                "set LLM_MODEL_FAST and LLM_MODEL_REASONING to some of: {}",
                names(&ids)
            ),
        );
    }
    if let Some(assumed) = model.assumed_prices() {
        return Finding::warn(
            MODEL,
            assumed,
            "set LLM_PRICES to model=input/output in USD per million tokens; 0/0 where it is free",
        );
    }
    let found = format!(
        "{} lists {} models in {took}; fast {}, reasoning {}",
        model.base_url,
        ids.len(),
        model.model(Tier::Fast),
        model.model(Tier::Reasoning)
    );
    Finding::ok(MODEL, found)
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn model(fast: &str) -> LlmSettings {
        LlmSettings::resolve(|name| match name {
            "LLM_BASE_URL" => Some("http://127.0.0.1:1/v1".to_owned()),
            "LLM_MODEL_FAST" => Some(fast.to_owned()),
            _ => None,
        })
        .unwrap()
        .unwrap()
    }

    #[test]
    fn a_model_that_is_not_listed_is_named_with_those_that_are() {
        let body = r#"{"data":[{"id":"small"},{"id":"large"}]}"#;
        assert_eq!(listed(&model("small"), body, "1 ms").status, Status::Ok);
        let found = listed(&model("huge"), body, "1 ms");
        assert_eq!(found.status, Status::Warn);
        assert!(
            found.found.ends_with("does not list huge"),
            "{}",
            found.found
        );
        assert!(found.remedy.unwrap().ends_with("small, large"));
        assert_eq!(listed(&model("x"), "<html>", "1 ms").status, Status::Warn);
    }

    #[test]
    fn a_price_that_is_only_assumed_is_told_with_its_remedy() {
        let remote = |prices: &str| {
            LlmSettings::resolve(|name| match name {
                "LLM_BASE_URL" => Some("https://models.example/v1".to_owned()),
                "LLM_MODEL_FAST" => Some("small".to_owned()),
                "LLM_PRICES" => Some(prices.to_owned()),
                _ => None,
            })
            .unwrap()
            .unwrap()
        };
        let body = r#"{"data":[{"id":"small"}]}"#;
        let found = listed(&remote(""), body, "1 ms");
        assert_eq!(found.status, Status::Warn);
        assert!(
            found.found.contains("no price for small"),
            "{}",
            found.found
        );
        assert!(found.remedy.unwrap().contains("LLM_PRICES"));
        assert_eq!(
            listed(&remote("small=0/0"), body, "1 ms").status,
            Status::Ok
        );
    }
}
