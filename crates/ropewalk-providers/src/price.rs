//! What models cost.

use std::collections::BTreeMap;
use std::path::Path;

use ropewalk_core::{Error, ErrorKind, Pricing, Result, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Prices of one model, in US dollars per million tokens.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Price {
    /// Tokens of the prompt that no cache served.
    pub input: f64,
    /// Generated tokens, reasoning included.
    pub output: f64,
    /// Tokens of the prompt read from a cache; as `input` when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<f64>,
    /// Tokens of the prompt written to a cache; as `input` when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<f64>,
    /// Prices of calls whose prompt is longer than so many tokens.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub above: BTreeMap<u64, Self>,
    /// Largest prompt, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// Largest reply, in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u64>,
    /// Whether the model takes temperature and the like; unknown when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<bool>,
}

impl Price {
    /// Creates a price from the two main figures, in US dollars per million tokens.
    #[must_use]
    pub fn new(input: f64, output: f64) -> Self {
        Self {
            input,
            output,
            ..Self::default()
        }
    }

    /// Sets the prices of cache reads and writes, in US dollars per million tokens.
    #[must_use]
    pub fn with_cache(mut self, read: f64, write: f64) -> Self {
        (self.cache_read, self.cache_write) = (Some(read), Some(write));
        self
    }

    /// Returns the cost of a call in US dollars: `(in − cached − written) · input + cached · read +
    /// written · write + out · output`, all counts being inclusive totals (see [`Usage`]). `None`
    /// when a total is not reported.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of tokens are far below 2^53"
    )]
    pub fn cost(&self, usage: &Usage) -> Option<f64> {
        let input = usage.input_tokens?;
        let output = usage.output_tokens?;
        if let Some((_, price)) = self.above.iter().rev().find(|(limit, _)| input > **limit) {
            return price.cost(usage);
        }
        let cached = usage.cached_input_tokens.unwrap_or(0).min(input);
        let written = usage.cache_write_tokens.unwrap_or(0).min(input - cached);
        let plain = input - cached - written;
        let dollars = plain as f64 * self.input
            + cached as f64 * self.cache_read.unwrap_or(self.input)
            + written as f64 * self.cache_write.unwrap_or(self.input)
            + output as f64 * self.output;
        Some(dollars / 1e6)
    }
}

/// Prices by `provider/model`.
///
/// The table that is built in is small and has a date; prices change, so a program that bills should
/// load a newer list. A model that is in no table has no known cost, which is not the same as none.
///
/// ```
/// use ropewalk_core::{Pricing, Usage};
/// use ropewalk_providers::{Price, PriceTable};
///
/// let table = PriceTable::builtin().with("acme/large-1", Price::new(1.0, 4.0));
/// let usage = Usage::new(500_000, 250_000);
/// assert_eq!(table.cost("acme", "large-1", &usage), Some(1.5));
/// assert_eq!(table.cost("acme", "large-2", &usage), None);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PriceTable {
    date: String,
    models: BTreeMap<String, Price>,
    free: Vec<String>,
}

#[derive(Deserialize)]
struct Builtin {
    date: String,
    models: BTreeMap<String, Price>,
}

impl PriceTable {
    /// Creates an empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the table that is built in; [`date`](Self::date) says of when. Local models (`local`,
    /// `ollama`, `llamacpp`, `lmstudio`, `vllm`, `ropewalk`) cost nothing per call.
    #[must_use]
    pub fn builtin() -> Self {
        // A test parses it, so that this cannot be empty unnoticed.
        let builtin = serde_json::from_str::<Builtin>(include_str!("prices.json"));
        let (date, models) = builtin.map(|b| (b.date, b.models)).unwrap_or_default();
        let free = [
            "local", "ollama", "llamacpp", "lmstudio", "vllm", "ropewalk",
        ];
        Self {
            date,
            models,
            free: free.map(str::to_owned).to_vec(),
        }
    }

    /// Reads the JSON file that LiteLLM publishes (`model_prices_and_context_window.json`):
    /// dollars per single token under `input_cost_per_token` and so on, by model.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the file cannot be read, is no JSON object, or holds no
    /// price.
    pub fn from_litellm_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bad = |problem: String| {
            let message = format!("cannot use the price list {}: {problem}", path.display());
            Error::new(ErrorKind::Configuration, message)
        };
        let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
        Self::from_litellm_json(&text).map_err(|e| bad(e.message().to_owned()))
    }

    /// As [`from_litellm_file`](Self::from_litellm_file), from its text.
    ///
    /// # Errors
    /// As there.
    pub fn from_litellm_json(text: &str) -> Result<Self> {
        let bad = |problem: String| Error::new(ErrorKind::Configuration, problem);
        let list: serde_json::Map<String, Value> =
            serde_json::from_str(text).map_err(|e| bad(format!("it is no JSON object: {e}")))?;
        let mut table = Self::builtin();
        table.models.clear();
        table.date.clear();
        for (name, entry) in &list {
            let provider = entry
                .get("litellm_provider")
                .and_then(Value::as_str)
                .unwrap_or("");
            let provider = ours(provider);
            let Some(price) = litellm_price(entry) else {
                continue;
            };
            let name = match name.strip_prefix(provider) {
                Some(rest) if rest.starts_with('/') => name.clone(),
                _ => format!("{provider}/{name}"),
            };
            table.models.insert(name, price);
        }
        match table.models.is_empty() {
            true => Err(bad("it holds no price".into())),
            false => Ok(table),
        }
    }

    /// Returns the date of the built-in table, `YYYY-MM-DD`; empty for other tables.
    #[must_use]
    pub fn date(&self) -> &str {
        &self.date
    }

    /// Sets the price of `provider/model`.
    #[must_use]
    pub fn with(mut self, model: impl Into<String>, price: Price) -> Self {
        self.models.insert(model.into(), price);
        self
    }

    /// Counts the calls of a provider as free.
    #[must_use]
    pub fn with_free_provider(mut self, provider: impl Into<String>) -> Self {
        self.free.push(provider.into());
        self
    }

    /// Returns how many models have a price.
    #[must_use]
    pub fn len(&self) -> usize {
        self.models.len()
    }

    /// Returns whether no model has a price.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    /// Returns the price of a model. APIs answer with dated names (`gpt-4o-mini-2024-07-18`): a date
    /// at the end is left off when the whole name is not in the table.
    #[must_use]
    pub fn price(&self, provider: &str, model: &str) -> Option<&Price> {
        let find = |model: &str| self.models.get(&format!("{provider}/{model}"));
        find(model).or_else(|| find(without_date(model)?))
    }
}

impl Pricing for PriceTable {
    fn cost(&self, provider: &str, model: &str, usage: &Usage) -> Option<f64> {
        match self.price(provider, model) {
            Some(price) => price.cost(usage),
            None => self.free.iter().any(|f| f == provider).then_some(0.0),
        }
    }
}

/// Returns the name without `-YYYYMMDD` or `-YYYY-MM-DD`.
fn without_date(model: &str) -> Option<&str> {
    let date = |pattern: &str| {
        let (name, end) = model.split_at_checked(model.len().checked_sub(pattern.len())?)?;
        let fits = |(e, p): (char, char)| if p == '0' { e.is_ascii_digit() } else { e == p };
        let same = end.chars().zip(pattern.chars()).all(fits);
        (same && end.chars().count() == pattern.len() && !name.is_empty()).then_some(name)
    };
    date("-0000-00-00").or_else(|| date("-00000000"))
}

/// LiteLLM's names of providers that have another one here.
fn ours(provider: &str) -> &str {
    match provider {
        "cohere_chat" => "cohere",
        "together_ai" => "together",
        "fireworks_ai" => "fireworks",
        "bedrock_converse" => "bedrock",
        "vertex_ai-language-models" => "vertex",
        other => other,
    }
}

fn litellm_price(entry: &Value) -> Option<Price> {
    let million = |key: &str| Some(entry.get(key)?.as_f64()? * 1e6);
    let price = |suffix: &str| {
        // Where only the input of long prompts has another price, the output has the usual one.
        let output = million(&format!("output_cost_per_token{suffix}"));
        let output = output.or_else(|| million("output_cost_per_token"));
        Some(Price {
            input: million(&format!("input_cost_per_token{suffix}"))?,
            output: output.unwrap_or(0.0),
            cache_read: million(&format!("cache_read_input_token_cost{suffix}")),
            cache_write: million(&format!("cache_creation_input_token_cost{suffix}")),
            ..Price::default()
        })
    };
    let mut found = price("")?;
    for key in entry.as_object()?.keys() {
        let limit = key.strip_prefix("input_cost_per_token_above_");
        let limit = limit.and_then(|k| k.strip_suffix("k_tokens")?.parse::<u64>().ok());
        if let Some(limit) = limit {
            let tier = price(&format!("_above_{limit}k_tokens"))?;
            found.above.insert(limit.saturating_mul(1000), tier);
        }
    }
    found.window = entry.get("max_input_tokens").and_then(Value::as_u64);
    found.max_output = entry.get("max_output_tokens").and_then(Value::as_u64);
    found.sampling = entry
        .get("supports_sampling_params")
        .and_then(Value::as_bool);
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: u64, cached: u64, written: u64, output: u64) -> Usage {
        let mut usage = Usage::new(input, output);
        usage.cached_input_tokens = Some(cached);
        usage.cache_write_tokens = Some(written);
        usage
    }

    #[test]
    fn the_builtin_table_is_there_and_dated() {
        let table = PriceTable::builtin();
        assert!(table.len() > 60, "{}", table.len());
        assert_eq!(table.date().len(), 10);
        let mini = Usage::new(1_000_000, 1_000_000);
        let cost = table.cost("openai", "gpt-4o-mini", &mini);
        assert_eq!(cost, Some(0.75));
        assert_eq!(table.cost("openai", "gpt-4o-mini-2024-07-18", &mini), cost);
        assert_eq!(table.cost("openai", "gpt-4o-mini-new", &mini), None);
        assert_eq!(table.cost("local", "anything.gguf", &mini), Some(0.0));
    }

    #[test]
    fn inclusive_totals_are_taken_apart() {
        let price = Price::new(10.0, 20.0).with_cache(1.0, 12.0);
        let cost = price.cost(&usage(1000, 300, 200, 50)).unwrap() * 1e6;
        assert!((cost - (500.0 * 10.0 + 300.0 + 200.0 * 12.0 + 50.0 * 20.0)).abs() < 1e-6);
        assert_eq!(price.cost(&Usage::default()), None);
        let mut tiered = price;
        tiered.above.insert(999, Price::new(100.0, 0.0));
        let cost = tiered.cost(&usage(1000, 0, 0, 50)).unwrap();
        assert!((cost - 0.1).abs() < 1e-12, "{cost}");
    }

    #[test]
    fn reads_the_list_of_litellm() {
        let table = PriceTable::from_litellm_json(
            r#"{"sample_spec": {"mode": "chat"},
                "gpt-x": {"litellm_provider": "openai", "input_cost_per_token": 1e-6,
                          "output_cost_per_token": 2e-6, "input_cost_per_token_above_200k_tokens": 3e-6},
                "groq/a/b": {"litellm_provider": "groq", "input_cost_per_token": 1e-6}}"#,
        )
        .unwrap();
        assert_eq!(table.len(), 2);
        let close = |a: Option<f64>, b: f64| (a.unwrap() - b).abs() < 1e-9;
        assert!(close(
            table.cost("openai", "gpt-x", &Usage::new(1000, 1000)),
            0.003
        ));
        assert!(close(
            table.cost("openai", "gpt-x", &Usage::new(300_000, 100_000)),
            1.1
        ));
        assert!(close(
            table.cost("groq", "a/b", &Usage::new(1000, 1000)),
            0.001
        ));
        for bad in ["", "[]", "{}", r#"{"a": 1}"#] {
            let error = PriceTable::from_litellm_json(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{bad}");
        }
    }
}
