//! Checks of training data before it is uploaded.

use ropewalk_core::{Error, Result};
use serde_json::Value;

/// What the lines of training data hold.
///
/// Source: OpenAI's guide to fine-tuning, "Formatting your data" and "Preference format".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TrainingFormat {
    /// `{"messages": […]}`, the last message of the assistant.
    #[default]
    Chat,
    /// `{"input": {"messages": […]}, "preferred_output": […], "non_preferred_output": […]}`.
    Preference,
    /// `{"prompt": "…", "completion": "…"}`, for base models.
    Completion,
    /// `{"messages": […]}` with any fields for the grader beside it.
    Reinforcement,
}

/// What checked data holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TrainingSummary {
    /// Lines with an example.
    pub examples: usize,
    /// Bytes in all.
    pub bytes: usize,
}

/// Checks training data line by line: JSON, one example per line, messages with known roles and
/// something in them. Empty lines are passed over.
///
/// ```
/// use ropewalk_providers::resources::{TrainingFormat, check_training_data};
///
/// let data = br#"{"messages": [{"role": "user", "content": "hi"}]}"#;
/// let error = check_training_data(data, TrainingFormat::Chat).unwrap_err();
/// assert!(error.message().starts_with("line 1: the last message"));
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidRequest`](ropewalk_core::ErrorKind::InvalidRequest) that names the first bad
/// line, or says that there is no example.
pub fn check_training_data(data: &[u8], format: TrainingFormat) -> Result<TrainingSummary> {
    let mut examples = 0;
    for (number, line) in (1..).zip(data.split(|b| *b == b'\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let checked = match serde_json::from_slice(line) {
            Ok(example) => check(&example, format),
            Err(e) => Err(format!("is no JSON ({e})")),
        };
        checked.map_err(|m| Error::invalid_request(format!("line {number}: {m}")))?;
        examples += 1;
    }
    if examples == 0 {
        return Err(Error::invalid_request("there is no example in the data"));
    }
    Ok(TrainingSummary {
        examples,
        bytes: data.len(),
    })
}

fn check(example: &Value, format: TrainingFormat) -> Result<(), String> {
    if !example.is_object() {
        return Err("is no JSON object".into());
    }
    match format {
        TrainingFormat::Chat => match messages(example.get("messages"), "messages")? {
            "assistant" => Ok(()),
            role => Err(format!(
                "the last message is of the {role}, and there is nothing to learn: it must be of the assistant"
            )),
        },
        TrainingFormat::Reinforcement => messages(example.get("messages"), "messages").map(|_| ()),
        TrainingFormat::Preference => {
            messages(example.pointer("/input/messages"), "input.messages")?;
            for side in ["preferred_output", "non_preferred_output"] {
                messages(example.get(side), side)?;
            }
            Ok(())
        }
        TrainingFormat::Completion => {
            let is_text = |name: &str| example.get(name).is_some_and(Value::is_string);
            if is_text("prompt") && is_text("completion") {
                Ok(())
            } else {
                Err("wants the texts prompt and completion".into())
            }
        }
    }
}

/// Checks a list of messages and returns the role of the last.
fn messages<'v>(list: Option<&'v Value>, name: &str) -> Result<&'v str, String> {
    let list = list.and_then(Value::as_array);
    let list = list.ok_or_else(|| format!("there is no list {name}"))?;
    let mut last = None;
    for (i, message) in list.iter().enumerate() {
        let role = message
            .get("role")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if ![
            "system",
            "developer",
            "user",
            "assistant",
            "tool",
            "function",
        ]
        .contains(&role)
        {
            return Err(format!("{name}[{i}] has no known role"));
        }
        let says = match message.get("content") {
            Some(Value::String(text)) => !text.is_empty() || role != "assistant",
            Some(Value::Array(parts)) => !parts.is_empty(),
            _ => false,
        };
        let calls = message.get("tool_calls").or(message.get("function_call"));
        if !says && calls.is_none_or(Value::is_null) {
            return Err(format!("{name}[{i}] has no content"));
        }
        last = Some(role);
    }
    last.ok_or_else(|| format!("{name} is empty"))
}
