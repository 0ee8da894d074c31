//! What a model costs: as configured, as listed, or as assumed.
//!
//! A budget in money means nothing for a model whose price is unknown, so every
//! model has one. To refuse the start instead would break "one key is enough";
//! to count it as free would let an incident cost whatever it costs.

use super::settings::{LlmSettings, Tier};

/// What a model costs, in US dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Price {
    /// For what is sent.
    pub input_usd_per_million: f64,
    /// For what comes back.
    pub output_usd_per_million: f64,
}

/// How a price is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priced {
    /// `LLM_PRICES` names the model.
    Configured,
    /// The provider's public list price when this was built.
    Listed,
    /// The endpoint is on this machine, where tokens cost nothing.
    Local,
    /// Nobody said: [`ASSUMED`].
    Assumed,
}

/// What is assumed of a model that nobody gave a price for: that of the dearest
/// models in common use, so that the budget ends too early rather than too late.
pub const ASSUMED: Price = Price {
    input_usd_per_million: 15.0,
    output_usd_per_million: 75.0,
};

/// Public list prices of the models that are used where none is named.
const LISTED: [(&str, f64, f64); 4] = [
    ("gpt-4.1", 2.0, 8.0),
    ("gpt-4.1-mini", 0.4, 1.6),
    ("claude-haiku-4-5", 1.0, 5.0),
    ("claude-sonnet-4-5", 3.0, 15.0),
];

impl LlmSettings {
    /// What a model costs, and how that is known.
    #[must_use]
    pub fn price(&self, model: &str) -> (Price, Priced) {
        if let Some(price) = self.prices.get(model) {
            return (*price, Priced::Configured);
        }
        if is_local(&self.base_url) {
            return (Price::default(), Priced::Local);
        }
        let listed = LISTED.iter().find(|(name, _, _)| *name == model);
        listed.map_or((ASSUMED, Priced::Assumed), |(_, input, output)| {
            let price = Price {
                input_usd_per_million: *input,
                output_usd_per_million: *output,
            };
            (price, Priced::Listed)
        })
    }

    /// What these tokens cost with that model, in US dollars.
    #[must_use]
    pub fn cost_usd(&self, model: &str, prompt_tokens: u64, completion_tokens: u64) -> f64 {
        let (price, _) = self.price(model);
        (prompt_tokens as f64 * price.input_usd_per_million
            + completion_tokens as f64 * price.output_usd_per_million)
            / 1_000_000.0
    }

    /// The models in use whose price is only assumed, with what to do about it;
    /// `None` where all are known. For start-up and `midwatch doctor`.
    #[must_use]
    pub fn assumed_prices(&self) -> Option<String> {
        let mut models: Vec<&str> = [Tier::Fast, Tier::Reasoning]
            .into_iter()
            .map(|tier| self.model(tier))
            .filter(|model| self.price(model).1 == Priced::Assumed)
            .collect();
        models.dedup();
        if models.is_empty() {
            return None;
        }
        Some(format!(
            "LLM_PRICES names no price for {}: {}/{} USD per million tokens are assumed, and LLM_MAX_COST_USD_PER_INCIDENT ({} USD) is kept by that",
            models.join(", "),
            ASSUMED.input_usd_per_million,
            ASSUMED.output_usd_per_million,
            self.max_cost_usd_per_incident
        ))
    }
}

/// Whether an endpoint is on this machine.
fn is_local(base_url: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(base_url) else {
        return false;
    };
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_matches(['[', ']']);
    host == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> LlmSettings {
        LlmSettings::resolve(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
        .expect("good values")
        .expect("a model is configured")
    }

    #[test]
    fn every_model_has_a_price_and_a_configured_one_comes_first() {
        let openai = [
            ("OPENAI_API_KEY", "k"),
            ("LLM_PRICES", "gpt-4.1=5/9, mine=0/0"),
        ];
        let hosted = settings(&openai);
        let remote = settings(&[("LLM_BASE_URL", "https://models.example/v1")]);
        let here = settings(&[("LLM_BASE_URL", "http://[::1]:8080/v1")]);
        let priced = [
            ("LLM_BASE_URL", "http://localhost:1/v1"),
            ("LLM_PRICES", "m=1/2"),
        ];
        let priced = settings(&priced);
        for (settings, model, input, output, how) in [
            (&hosted, "gpt-4.1", 5.0, 9.0, Priced::Configured),
            (&hosted, "mine", 0.0, 0.0, Priced::Configured),
            (&hosted, "gpt-4.1-mini", 0.4, 1.6, Priced::Listed),
            (&hosted, "another", 15.0, 75.0, Priced::Assumed),
            (&remote, "default", 15.0, 75.0, Priced::Assumed),
            (&here, "default", 0.0, 0.0, Priced::Local),
            (&priced, "m", 1.0, 2.0, Priced::Configured),
        ] {
            let price = Price {
                input_usd_per_million: input,
                output_usd_per_million: output,
            };
            assert_eq!(settings.price(model), (price, how), "{model}");
        }
    }

    #[test]
    fn cost_follows_the_price() {
        let settings = settings(&[("OPENAI_API_KEY", "k")]);
        // 1 000 tokens at 2 USD and 500 at 8 USD a million: 0.002 + 0.004.
        assert!((settings.cost_usd("gpt-4.1", 1_000, 500) - 0.006).abs() < 1e-12);
        // 1 000 at 15 and 500 at 75: 0.015 + 0.0375.
        assert!((settings.cost_usd("another", 1_000, 500) - 0.0525).abs() < 1e-12);
    }

    #[test]
    fn an_assumed_price_is_told_and_a_known_one_is_not() {
        let remote = settings(&[
            ("LLM_BASE_URL", "https://models.example/v1"),
            ("LLM_MODEL_FAST", "small"),
            ("LLM_MODEL_REASONING", "large"),
            ("LLM_PRICES", "small=1/2"),
        ]);
        let told = remote.assumed_prices().expect("large has no price");
        assert!(told.contains("no price for large: 15/75 USD"), "{told}");
        assert!(
            told.contains("LLM_MAX_COST_USD_PER_INCIDENT (1 USD)"),
            "{told}"
        );
        for known in [
            settings(&[("OPENAI_API_KEY", "k")]),
            settings(&[("ANTHROPIC_API_KEY", "k")]),
            settings(&[("LLM_BASE_URL", "http://127.0.0.1:1/v1")]),
        ] {
            assert_eq!(known.assumed_prices(), None);
        }
    }
}
