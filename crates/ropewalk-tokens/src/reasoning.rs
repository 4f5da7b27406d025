//! What a model thinks before it answers.
//!
//! Reasoning models write their thoughts between tags at the beginning of an answer; some prompts end with the opening
//! tag. [`ReasoningTags::detect`] finds the tags of a chat template, [`ReasoningSplitter`] takes the answer apart while
//! it arrives:
//!
//! ```
//! use ropewalk_tokens::reasoning::{ReasoningSplitter, ReasoningTags, Thought};
//!
//! let tags = ReasoningTags::detect("{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' }}").unwrap();
//! let mut splitter = ReasoningSplitter::new(tags);
//! assert_eq!(splitter.push("<think>\nTwo and t"), [Thought::Reasoning("Two and t".to_owned())]);
//! assert_eq!(splitter.push("wo.\n</thi"), [Thought::Reasoning("wo.".to_owned())]);
//! assert_eq!(splitter.push("nk>\n\nFour"), [Thought::Text("Four".to_owned())]);
//! assert_eq!(splitter.finish(), []);
//! ```

/// What stands around the reasoning of a family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReasoningTags {
    open: &'static str,
    close: &'static str,
}

/// The tags of each family. The first row whose closing tag, or text of its own, a template holds counts.
const FAMILIES: &[(&str, ReasoningTags)] = &[
    ("</think>", ReasoningTags::THINK),
    ("[/THINK]", ReasoningTags::MISTRAL),
    ("<|channel>thought", ReasoningTags::GEMMA_4),
    ("</seed:think>", ReasoningTags::SEED),
];

impl ReasoningTags {
    /// `<think>` and `</think>`: Qwen 3, DeepSeek R1, Phi-4-reasoning, GLM and most others.
    pub const THINK: Self = Self {
        open: "<think>",
        close: "</think>",
    };
    /// `[THINK]` and `[/THINK]`: Magistral and Ministral.
    pub const MISTRAL: Self = Self {
        open: "[THINK]",
        close: "[/THINK]",
    };
    /// `<|channel>thought` and `<channel|>`: Gemma 4.
    pub const GEMMA_4: Self = Self {
        open: "<|channel>thought",
        close: "<channel|>",
    };
    /// `<seed:think>` and `</seed:think>`: Seed-OSS.
    pub const SEED: Self = Self {
        open: "<seed:think>",
        close: "</seed:think>",
    };

    /// Returns the tags that a chat template names, if it names any.
    pub fn detect(chat_template: &str) -> Option<Self> {
        FAMILIES
            .iter()
            .find(|(mark, _)| chat_template.contains(mark))
            .map(|&(_, tags)| tags)
    }

    /// Returns the opening tag.
    pub fn open(self) -> &'static str {
        self.open
    }

    /// Returns the closing tag.
    pub fn close(self) -> &'static str {
        self.close
    }

    /// Returns whether a prompt ends inside the reasoning: with the opening tag, possibly with white space after it.
    pub fn opened_by(self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.open)
    }

    /// Returns the texts that a decoder must show although they are special tokens of the vocabulary (see
    /// [`DecodeStream::showing`](crate::DecodeStream::showing)).
    pub fn marks(self) -> [&'static str; 2] {
        // A tag may begin with a token and go on as text.
        let open = match self.open.find('>') {
            Some(at) => &self.open[..=at],
            None => self.open,
        };
        [open, self.close]
    }
}

/// A part of an answer, in the order it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Thought {
    /// What the model thinks, without the tags and the white space beside them.
    Reasoning(String),
    /// The answer.
    Text(String),
}

/// Takes reasoning and answer apart while they arrive.
///
/// Reasoning counts at the beginning of the answer only: a tag that a text mentions later is text. Without a closing tag
/// all that follows the opening one is reasoning. However the answer is cut into parts, both texts are the same.
#[derive(Debug, Clone)]
pub struct ReasoningSplitter {
    tags: ReasoningTags,
    state: State,
    /// What may be part of a tag, or white space beside one.
    held: String,
    /// Up to here `held` is white space.
    space: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the answer; nothing but white space has come.
    Start,
    /// After the opening tag, before the first thought. The tag may come once more where the prompt held it.
    Opened {
        again: bool,
    },
    Reasoning,
    /// After the closing tag, before the first text.
    Closed,
    Text,
}

impl ReasoningSplitter {
    /// Starts an answer.
    pub fn new(tags: ReasoningTags) -> Self {
        Self {
            tags,
            state: State::Start,
            held: String::new(),
            space: 0,
        }
    }

    /// Starts an answer to `prompt`, which may have opened the reasoning.
    pub fn after_prompt(tags: ReasoningTags, prompt: &str) -> Self {
        let mut splitter = Self::new(tags);
        if tags.opened_by(prompt) {
            splitter.state = State::Opened { again: true };
        }
        splitter
    }

    /// Takes the next part of the answer and returns what is now certain.
    pub fn push(&mut self, text: &str) -> Vec<Thought> {
        self.held.push_str(text);
        let mut thoughts = Vec::new();
        while self.step(&mut thoughts) {}
        thoughts
    }

    /// Ends the answer and returns what was held back.
    pub fn finish(&mut self) -> Vec<Thought> {
        let held = std::mem::take(&mut self.held);
        self.space = 0;
        let thought = match std::mem::replace(&mut self.state, State::Start) {
            State::Start | State::Text => Thought::Text(held),
            State::Opened { .. } | State::Reasoning => {
                Thought::Reasoning(held.trim_end().to_owned())
            }
            State::Closed => Thought::Text(held.trim_start().to_owned()),
        };
        let (Thought::Reasoning(text) | Thought::Text(text)) = &thought;
        if text.is_empty() {
            Vec::new()
        } else {
            vec![thought]
        }
    }

    /// Returns whether there is more to do.
    fn step(&mut self, thoughts: &mut Vec<Thought>) -> bool {
        match self.state {
            State::Start => self.open(State::Text),
            State::Opened { again: true } => self.open(State::Opened { again: false }),
            State::Opened { again: false } => self.skip_space(State::Reasoning),
            State::Closed => self.skip_space(State::Text),
            State::Reasoning => {
                let new = &self.held[self.space..];
                let found = new.find(self.tags.close);
                let end = found.unwrap_or_else(|| new.len() - overlap(new, self.tags.close));
                // White space may stand before the closing tag.
                let shown = new[..end].trim_end().len();
                let mut end = self.space + end;
                if shown > 0 {
                    let shown = self.space + shown;
                    thoughts.push(Thought::Reasoning(self.held[..shown].to_owned()));
                    self.held.drain(..shown);
                    end -= shown;
                }
                self.space = end;
                if found.is_some() {
                    self.held.drain(..end + self.tags.close.len());
                    (self.state, self.space) = (State::Closed, 0);
                }
                found.is_some()
            }
            State::Text => {
                if !self.held.is_empty() {
                    thoughts.push(Thought::Text(std::mem::take(&mut self.held)));
                }
                false
            }
        }
    }

    /// Looks for the opening tag after white space; without one goes on in `otherwise`.
    fn open(&mut self, otherwise: State) -> bool {
        let new = &self.held[self.space..];
        let text = new.trim_start();
        self.space += new.len() - text.len();
        if let Some(rest) = text.strip_prefix(self.tags.open) {
            self.held = rest.to_owned();
            self.state = State::Opened { again: false };
        } else if self.tags.open.starts_with(text) {
            return false;
        } else {
            self.state = otherwise;
        }
        self.space = 0;
        true
    }

    fn skip_space(&mut self, next: State) -> bool {
        let space = self.held.len() - self.held.trim_start().len();
        self.held.drain(..space);
        if self.held.is_empty() {
            return false;
        }
        self.state = next;
        true
    }
}

/// Returns how many bytes at the end of `text` begin `tag`.
fn overlap(text: &str, tag: &str) -> usize {
    (1..tag.len())
        .rev()
        .find(|&len| text.as_bytes().ends_with(&tag.as_bytes()[..len]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns reasoning and text of an answer that arrives in parts of this many characters.
    fn split(mut splitter: ReasoningSplitter, answer: &str, size: usize) -> (String, String) {
        let chars: Vec<char> = answer.chars().collect();
        let (mut reasoning, mut text) = (String::new(), String::new());
        let parts = chars
            .chunks(size)
            .map(|part| part.iter().collect::<String>());
        let mut thoughts: Vec<Thought> = parts.flat_map(|part| splitter.push(&part)).collect();
        thoughts.extend(splitter.finish());
        for thought in thoughts {
            match thought {
                Thought::Reasoning(part) => {
                    assert!(text.is_empty() && !part.is_empty());
                    reasoning += &part;
                }
                Thought::Text(part) => text += &part,
            }
        }
        (reasoning, text)
    }

    #[test]
    fn thoughts_and_answer_are_told_apart_however_they_are_cut() {
        let think = ReasoningTags::THINK;
        for (tags, prompt, answer, reasoning, text) in [
            (
                think,
                "",
                "<think>\nA b\n c\n</think>\n\nYes.\n",
                "A b\n c",
                "Yes.\n",
            ),
            (think, "", "\n<think>A</think>B", "A", "B"),
            (think, "", "<think>\n\n</think>\n\nB", "", "B"),
            (
                think,
                "",
                " No <think>x</think>",
                "",
                " No <think>x</think>",
            ),
            (think, "", "<thin", "", "<thin"),
            (think, "", "<think>A < b </thing", "A < b </thing", ""),
            (think, "", "<think>A</think>", "A", ""),
            (think, "", "", "", ""),
            (
                think,
                "user<think>\n",
                "A\n</think>\nB <think>",
                "A",
                "B <think>",
            ),
            (think, "user<think>\n", "<think>\nA</think>B", "A", "B"),
            (think, "user<think>\n\n</think>\n\n", "B", "", "B"),
            (think, "<think>", "<thin air", "<thin air", ""),
            (think, "<think>", "</think>B", "", "B"),
            (
                ReasoningTags::MISTRAL,
                "",
                "[THINK]é🦙[/THINK] B",
                "é🦙",
                "B",
            ),
            (
                ReasoningTags::GEMMA_4,
                "",
                "<|channel>thought\nA\n<channel|>B",
                "A",
                "B",
            ),
            (
                ReasoningTags::SEED,
                "",
                "<seed:think>A</seed:think>B",
                "A",
                "B",
            ),
        ] {
            for size in 1..=answer.chars().count().max(1) {
                let splitter = ReasoningSplitter::after_prompt(tags, prompt);
                let found = split(splitter, answer, size);
                assert_eq!(
                    found,
                    (reasoning.into(), text.into()),
                    "{answer:?} in {size}s"
                );
            }
        }
    }

    #[test]
    fn tags_are_found_in_templates() {
        for (template, tags) in [
            ("{{ '<think>' }}", None),
            ("{% if '</think>' in content %}", Some(ReasoningTags::THINK)),
            ("[THINK]…[/THINK]", Some(ReasoningTags::MISTRAL)),
            ("{{ '<|channel>thought\\n' }}", Some(ReasoningTags::GEMMA_4)),
            (
                "{%- set close = '</seed:think>' -%}",
                Some(ReasoningTags::SEED),
            ),
        ] {
            assert_eq!(ReasoningTags::detect(template), tags, "{template}");
        }
        assert_eq!(ReasoningTags::GEMMA_4.marks(), ["<|channel>", "<channel|>"]);
    }
}
