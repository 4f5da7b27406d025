//! From messages to token ids.

use ropewalk_core::{ChatRequest, Effort, Error, ErrorKind, Result, ToolChoice};
use ropewalk_tokens::template::TemplateInput;

use super::{Inner, PROVIDER};

impl Inner {
    pub(super) fn render(&self, request: &ChatRequest) -> Result<String> {
        let template = self.template.as_ref().ok_or_else(|| {
            Error::from(crate::Error::NoTemplate {
                model: self.name.clone(),
            })
        })?;
        let mut input =
            TemplateInput::from_messages(&request.messages).with_generation_prompt(true);
        for (name, token) in [
            ("bos_token", self.tokenizer.bos_token()),
            ("eos_token", self.tokenizer.eos_token()),
        ] {
            if let Some(token) = token {
                input = input.with_special_token(name, token);
            }
        }
        if !request.tools.is_empty() && request.tool_choice != ToolChoice::None {
            input = input.with_tool_specs(&request.tools);
        }
        if let Some(effort) = request.options.reasoning.filter(|_| self.thinking_switch()) {
            input = input.with_extra("enable_thinking", effort != Effort::Off);
        }
        if let Some(now) = self.now {
            input = input.with_now(now);
        }
        template.chat.render(&input).map_err(|e| {
            let message = format!("the chat template refused the messages: {e}");
            Error::new(ErrorKind::InvalidRequest, message)
                .with_provider(PROVIDER)
                .with_source(e)
        })
    }

    /// Returns whether the template can switch reasoning on and off.
    pub(super) fn thinking_switch(&self) -> bool {
        let template = self.template.as_ref();
        template.is_some_and(|t| t.support().thinking_switch)
    }

    pub(super) fn encode(&self, prompt: &str) -> Result<Vec<u32>> {
        // Templates write the beginning-of-text token themselves.
        self.tokenizer.encode(prompt, false).map_err(|e| {
            Error::new(ErrorKind::Inference, "the prompt cannot be tokenized")
                .with_provider(PROVIDER)
                .with_source(e)
        })
    }
}
