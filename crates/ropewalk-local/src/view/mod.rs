//! A reply token by token, as one HTML page: probabilities, alternatives, perplexity.
//!
//! The page needs nothing but itself: no network, no library. It follows the light or dark scheme of
//! the reader, works with the keyboard (arrows go from token to token) and reads without JavaScript,
//! then with the alternatives as tooltips.
//!
//! ```
//! use ropewalk_core::{ChatResponse, Message, TokenLogprob};
//! use ropewalk_local::view::TokenView;
//!
//! // Any model that reports log probabilities will do, local or behind an API.
//! let reply = ChatResponse::new("local", "tiny", Message::assistant("Hi!")).with_logprobs(vec![
//!     TokenLogprob::new("Hi", -0.1).with_top(vec![("Hi".into(), -0.1), ("Hello".into(), -2.4)]),
//!     TokenLogprob::new("!", -0.7).with_top(vec![("!".into(), -0.7), (".".into(), -0.8)]),
//! ]);
//! let view = TokenView::from_response(&reply).with_prompt("Greet me.");
//! assert!((view.perplexity().unwrap() - 0.4f64.exp()).abs() < 1e-6);
//! let page = view.to_html();
//! assert!(page.starts_with("<!doctype html>") && page.contains("perplexity"));
//! ```

mod chart;
mod page;
mod token;

use ropewalk_core::ChatResponse;
use ropewalk_tokens::Tokenizer;

use crate::sample::Sampled;
pub use token::{TokenText, ViewToken};

/// Tokens and what else the page shows.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct TokenView {
    /// The heading, such as the name of the model.
    pub title: String,
    /// The text before the tokens.
    pub prompt: String,
    /// The tokens in order.
    pub tokens: Vec<ViewToken>,
}

impl TokenView {
    /// Returns a view of tokens.
    pub fn new(title: impl Into<String>, tokens: Vec<ViewToken>) -> Self {
        Self {
            title: title.into(),
            prompt: String::new(),
            tokens,
        }
    }

    /// Returns a view of a reply of any model; without tokens where it has no log probabilities.
    pub fn from_response(reply: &ChatResponse) -> Self {
        let tokens = reply.logprobs.iter().map(|token| {
            let top = token.top.iter();
            let top = top.map(|(text, p)| (TokenText::Text(text.clone()), *p));
            ViewToken::new(TokenText::Text(token.token.clone()), token.logprob)
                .with_top(top.collect())
        });
        Self::new(reply.model.clone(), tokens.collect())
    }

    /// Returns a view of generated tokens, whose bytes a tokenizer knows; those without log
    /// probabilities are left out.
    pub fn from_sampled<'a>(
        title: impl Into<String>,
        tokens: impl IntoIterator<Item = &'a Sampled>,
        tokenizer: &Tokenizer,
    ) -> Self {
        let text = |id: u32| {
            let bytes = tokenizer.decode_bytes(id);
            TokenText::from_bytes(&bytes.unwrap_or_default())
        };
        let token = |token: &Sampled| {
            let top = token.top.iter().map(|&(id, p)| (text(id), p));
            Some(ViewToken::new(text(token.id), token.logprob?).with_top(top.collect()))
        };
        Self::new(title, tokens.into_iter().filter_map(token).collect())
    }

    /// Sets the text before the tokens.
    #[must_use]
    pub fn with_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = prompt.into();
        self
    }

    /// Returns the sum of the log probabilities, in nats.
    pub fn log_probability(&self) -> f64 {
        self.tokens.iter().map(|t| f64::from(t.logprob)).sum()
    }

    /// Returns the exponential of the mean negative log probability; `None` without tokens.
    pub fn perplexity(&self) -> Option<f64> {
        let n = self.tokens.len();
        (n > 0).then(|| (-self.log_probability() / n as f64).exp())
    }

    /// Returns the page.
    pub fn to_html(&self) -> String {
        page::page(self)
    }
}
