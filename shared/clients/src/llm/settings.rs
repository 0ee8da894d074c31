//! Which model endpoint to use, read from the environment by whoever owns it.

use super::price::Price;
use std::collections::BTreeMap;
use std::fmt;

/// OpenAI's endpoint, used with `OPENAI_API_KEY`.
pub const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";
/// Anthropic's OpenAI-compatible endpoint, used with `ANTHROPIC_API_KEY`.
pub const ANTHROPIC_BASE_URL: &str = "https://api.anthropic.com/v1";

/// A minute covers a long answer of a hosted model; a small model on busy cores may need 300 000.
const DEFAULT_TIMEOUT_MS: u64 = 60_000;
/// Above ten minutes a job would outlive the incident that it is for.
const LONGEST_TIMEOUT_MS: u64 = 600_000;
/// About ten rounds of investigation and one call of each other agent; a loop that runs away ends here.
const DEFAULT_MAX_TOKENS_PER_INCIDENT: u64 = 200_000;
/// People wait for the answer: two minutes are what an advice may be worth to them.
const DEFAULT_MAX_SECONDS_PER_INCIDENT: u64 = 120;
/// What those tokens cost at list prices of 2026 for a large model, with room.
const DEFAULT_MAX_COST_USD_PER_INCIDENT: f64 = 1.0;

/// How strong a model a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Short classifications.
    Fast,
    /// Everything that weighs evidence.
    Reasoning,
}

impl Tier {
    /// `fast` or `reasoning`, as stored in `llm_calls`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Fast => "fast",
            Tier::Reasoning => "reasoning",
        }
    }
}

/// How tools are offered to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolMode {
    /// Through the protocol's own tool calls.
    Native,
    /// As a JSON schema for the reply (tool name and arguments), for endpoints that enforce
    /// schemas but not tool calls: llama.cpp, Ollama and the like with small models.
    Schema,
}

/// A model endpoint and the limits of its use.
#[derive(Clone, PartialEq)]
pub struct LlmSettings {
    /// Up to and including `/v1`, without a slash at the end.
    pub base_url: String,
    /// Sent as a bearer token.
    pub api_key: Option<String>,
    /// The model of [`Tier::Fast`].
    pub model_fast: String,
    /// The model of [`Tier::Reasoning`].
    pub model_reasoning: String,
    /// Limit of one call, all its tries included, in milliseconds.
    pub timeout_ms: u64,
    /// Tokens that one incident may use, prompts and replies of all agents together.
    pub max_tokens_per_incident: u64,
    /// Time that the calls of one incident may take together, in seconds. It holds where the caller
    /// says what was spent ([`super::Spent::ms`]).
    pub max_seconds_per_incident: u64,
    /// Money that one incident may cost, in US dollars.
    pub max_cost_usd_per_incident: f64,
    /// By model name; [`LlmSettings::price`] knows what others cost.
    pub prices: BTreeMap<String, Price>,
    /// How tools are offered.
    pub tool_mode: ToolMode,
}

impl fmt::Debug for LlmSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LlmSettings")
            .field("base_url", &self.base_url)
            .field("api_key", &self.api_key.as_ref().map(|_| "hidden"))
            .field("model_fast", &self.model_fast)
            .field("model_reasoning", &self.model_reasoning)
            .field("timeout_ms", &self.timeout_ms)
            .field("max_tokens_per_incident", &self.max_tokens_per_incident)
            .field("max_seconds_per_incident", &self.max_seconds_per_incident)
            .field("max_cost_usd_per_incident", &self.max_cost_usd_per_incident)
            .field("prices", &self.prices)
            .field("tool_mode", &self.tool_mode)
            .finish()
    }
}

impl LlmSettings {
    /// Reads the settings through `get`, which gives the value of an environment variable.
    ///
    /// `LLM_BASE_URL` chooses any OpenAI-compatible endpoint (with `LLM_API_KEY`, if it wants one);
    /// without it `OPENAI_API_KEY` or else `ANTHROPIC_API_KEY` chooses that provider. None of the
    /// three is a normal state: `Ok(None)`. A key is only ever sent to the endpoint it belongs to.
    ///
    /// Further: `LLM_MODEL_FAST`, `LLM_MODEL_REASONING`, `LLM_TIMEOUT_MS`,
    /// `LLM_MAX_TOKENS_PER_INCIDENT`, `LLM_MAX_SECONDS_PER_INCIDENT`,
    /// `LLM_MAX_COST_USD_PER_INCIDENT`, `LLM_TOOL_MODE` (`native` or `schema`) and `LLM_PRICES` (`model=input/output,…` in USD per million tokens).
    ///
    /// # Errors
    /// Names the variable, its value (unless it is a key) and what to write instead.
    pub fn resolve(get: impl Fn(&str) -> Option<String>) -> Result<Option<LlmSettings>, String> {
        let read = |name: &str| {
            let value = get(name).map(|value| value.trim().to_owned());
            value.filter(|value| !value.is_empty())
        };
        let (base_url, api_key, default_fast, default_reasoning) = match (
            read("LLM_BASE_URL"),
            key(&read, "LLM_API_KEY")?,
            key(&read, "OPENAI_API_KEY")?,
            key(&read, "ANTHROPIC_API_KEY")?,
        ) {
            (Some(url), own_key, _, _) => (address(&url)?, own_key, "default", "default"),
            (None, Some(_), None, None) => {
                return Err(
                    "LLM_API_KEY is set without LLM_BASE_URL; set LLM_BASE_URL to the endpoint that the key belongs to, for example https://openrouter.ai/api/v1"
                        .to_owned(),
                );
            }
            (None, _, Some(openai), _) => (
                OPENAI_BASE_URL.to_owned(),
                Some(openai),
                "gpt-4.1-mini",
                "gpt-4.1",
            ),
            (None, _, None, Some(anthropic)) => (
                ANTHROPIC_BASE_URL.to_owned(),
                Some(anthropic),
                "claude-haiku-4-5",
                "claude-sonnet-4-5",
            ),
            (None, None, None, None) => return Ok(None),
        };
        let named = (read("LLM_MODEL_FAST"), read("LLM_MODEL_REASONING"));
        let (model_fast, model_reasoning) = models(named, (default_fast, default_reasoning));
        Ok(Some(LlmSettings {
            base_url,
            api_key,
            model_fast,
            model_reasoning,
            timeout_ms: number(
                &read,
                "LLM_TIMEOUT_MS",
                DEFAULT_TIMEOUT_MS,
                100,
                LONGEST_TIMEOUT_MS,
            )?,
            max_tokens_per_incident: number(
                &read,
                "LLM_MAX_TOKENS_PER_INCIDENT",
                DEFAULT_MAX_TOKENS_PER_INCIDENT,
                0,
                u64::from(u32::MAX),
            )?,
            max_seconds_per_incident: number(
                &read,
                "LLM_MAX_SECONDS_PER_INCIDENT",
                DEFAULT_MAX_SECONDS_PER_INCIDENT,
                1,
                3_600,
            )?,
            max_cost_usd_per_incident: cost_limit(read("LLM_MAX_COST_USD_PER_INCIDENT"))?,
            prices: prices(read("LLM_PRICES"))?,
            tool_mode: tool_mode(read("LLM_TOOL_MODE"))?,
        }))
    }

    /// The model of that tier.
    #[must_use]
    pub fn model(&self, tier: Tier) -> &str {
        match tier {
            Tier::Fast => &self.model_fast,
            Tier::Reasoning => &self.model_reasoning,
        }
    }
}

/// The models of both tiers: those named, or the provider's defaults.
fn models(
    (fast, reasoning): (Option<String>, Option<String>),
    (default_fast, default_reasoning): (&str, &str),
) -> (String, String) {
    // An endpoint of one's own mostly serves one model: naming it once is enough.
    let only = if default_fast == "default" {
        fast.clone().or(reasoning.clone())
    } else {
        None
    };
    let or_default = |named: Option<String>, default: &str| {
        named
            .or_else(|| only.clone())
            .unwrap_or_else(|| default.to_owned())
    };
    (
        or_default(fast, default_fast),
        or_default(reasoning, default_reasoning),
    )
}

fn cost_limit(text: Option<String>) -> Result<f64, String> {
    match text {
        None => Ok(DEFAULT_MAX_COST_USD_PER_INCIDENT),
        Some(text) => amount(&text).ok_or_else(|| {
            format!(
                "LLM_MAX_COST_USD_PER_INCIDENT is {text:?}; set it to an amount in US dollars, for example 1.50"
            )
        }),
    }
}

fn tool_mode(text: Option<String>) -> Result<ToolMode, String> {
    match text.as_deref() {
        None | Some("native") => Ok(ToolMode::Native),
        Some("schema") => Ok(ToolMode::Schema),
        Some(other) => Err(format!(
            "LLM_TOOL_MODE is {other:?}; set it to native or schema"
        )),
    }
}

fn address(text: &str) -> Result<String, String> {
    let example = "set it to something like http://127.0.0.1:11434/v1";
    let url = reqwest::Url::parse(text).map_err(|error| {
        format!("LLM_BASE_URL is {text:?}, which is no address ({error}); {example}")
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "LLM_BASE_URL holds a user name or password; put the key into LLM_API_KEY".to_owned(),
        );
    }
    if !matches!(url.scheme(), "http" | "https")
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(format!(
            "LLM_BASE_URL is {text:?}; it must be a plain http or https address: {example}"
        ));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// A key goes into a header, so it must be printable; its value is never shown.
fn key(read: &impl Fn(&str) -> Option<String>, name: &str) -> Result<Option<String>, String> {
    match read(name) {
        Some(key) if !key.bytes().all(|byte| byte.is_ascii_graphic()) => Err(format!(
            "{name} ({} characters, not shown) holds blanks or signs that no key has; copy it again, without quotes or line breaks",
            key.chars().count()
        )),
        key => Ok(key),
    }
}

fn number(
    read: &impl Fn(&str) -> Option<String>,
    name: &str,
    default: u64,
    least: u64,
    most: u64,
) -> Result<u64, String> {
    let Some(text) = read(name) else {
        return Ok(default);
    };
    match text.parse::<u64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!(
            "{name} is {text:?}; set it to a whole number from {least} to {most}"
        )),
    }
}

fn amount(text: &str) -> Option<f64> {
    text.trim()
        .parse::<f64>()
        .ok()
        .filter(|amount| amount.is_finite() && *amount >= 0.0)
}

fn prices(text: Option<String>) -> Result<BTreeMap<String, Price>, String> {
    let mut prices = BTreeMap::new();
    for entry in text
        .as_deref()
        .unwrap_or_default()
        .split(',')
        .filter(|entry| !entry.trim().is_empty())
    {
        let parsed = entry.split_once('=').and_then(|(model, price)| {
            let (input, output) = price.split_once('/')?;
            let price = Price {
                input_usd_per_million: amount(input)?,
                output_usd_per_million: amount(output)?,
            };
            Some((model.trim().to_owned(), price))
        });
        match parsed {
            Some((model, price)) if !model.is_empty() => prices.insert(model, price),
            _ => {
                return Err(format!(
                    "LLM_PRICES holds {entry:?}; write model=input/output in US dollars per million tokens, for example gpt-4.1=2/8,gpt-4.1-mini=0.4/1.6"
                ));
            }
        };
    }
    Ok(prices)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(variables: &[(&str, &str)]) -> Result<Option<LlmSettings>, String> {
        LlmSettings::resolve(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn no_variable_means_no_model() {
        assert_eq!(resolve(&[]), Ok(None));
        assert_eq!(resolve(&[("OPENAI_API_KEY", " ")]), Ok(None));
    }

    #[test]
    fn one_variable_is_enough_and_keys_stay_with_their_endpoint() {
        let openai = resolve(&[("OPENAI_API_KEY", "k1"), ("ANTHROPIC_API_KEY", "k2")])
            .unwrap()
            .unwrap();
        assert_eq!(
            (openai.base_url.as_str(), openai.api_key.as_deref()),
            (OPENAI_BASE_URL, Some("k1"))
        );
        let anthropic = resolve(&[("ANTHROPIC_API_KEY", "k2")]).unwrap().unwrap();
        assert_eq!(
            (anthropic.base_url.as_str(), anthropic.api_key.as_deref()),
            (ANTHROPIC_BASE_URL, Some("k2"))
        );
        let own = [
            ("LLM_BASE_URL", "http://127.0.0.1:1/v1/"),
            ("OPENAI_API_KEY", "k1"),
            ("LLM_MODEL_FAST", "m"),
        ];
        let own = resolve(&own).unwrap().unwrap();
        assert_eq!(
            (own.base_url.as_str(), own.api_key.as_deref()),
            ("http://127.0.0.1:1/v1", None)
        );
        assert_eq!(
            (own.model(Tier::Fast), own.model(Tier::Reasoning)),
            ("m", "m")
        );
        assert!(!format!("{openai:?}").contains("k1"));
    }

    #[test]
    fn bad_values_name_variable_value_and_fix() {
        let table = [
            (
                ("LLM_BASE_URL", "localhost"),
                "LLM_BASE_URL is \"localhost\"",
            ),
            (
                ("LLM_BASE_URL", "ftp://x/v1"),
                "plain http or https address",
            ),
            (
                ("LLM_BASE_URL", "http://u:hush@x/v1"),
                "put the key into LLM_API_KEY",
            ),
            (("LLM_API_KEY", "k"), "set LLM_BASE_URL"),
            (
                ("OPENAI_API_KEY", "hush hush"),
                "OPENAI_API_KEY (9 characters, not shown)",
            ),
            (
                ("LLM_TIMEOUT_MS", "1m"),
                "LLM_TIMEOUT_MS is \"1m\"; set it to a whole number from 100 to 600000",
            ),
            (
                ("LLM_MAX_COST_USD_PER_INCIDENT", "-1"),
                "LLM_MAX_COST_USD_PER_INCIDENT is \"-1\"",
            ),
            (
                ("LLM_TOOL_MODE", "auto"),
                "LLM_TOOL_MODE is \"auto\"; set it to native or schema",
            ),
            (
                ("LLM_PRICES", "gpt-4.1"),
                "LLM_PRICES holds \"gpt-4.1\"; write model=input/output",
            ),
        ];
        for (variable, expected) in table {
            let mut variables = vec![variable];
            if !variable.0.ends_with("_KEY") && variable.0 != "LLM_BASE_URL" {
                variables.push(("ANTHROPIC_API_KEY", "k"));
            }
            let error = resolve(&variables).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
