//! Pre-tokenizers: the rules that cut a text into words before byte-pair merges.

mod patterns;
mod scan;

use std::sync::OnceLock;

use crate::error::{Error, Result};
use patterns as p;
use scan::{CaseWords, Words};

/// A pre-tokenizer family: how a text is cut into words that byte-pair merges never cross.
///
/// One family serves several of llama.cpp's names (`tokenizer.ggml.pre`); [`PreTokenizer::from_name`]
/// knows them all. The patterns are those of the models' own `tokenizer.json`, as listed in
/// llama.cpp's `llama-vocab.cpp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PreTokenizer {
    /// llama.cpp's fallback for files that name no pre-tokenizer.
    Default,
    /// Llama 3 and the GPT-4 (`cl100k_base`) rule: up to three digits together.
    Llama3,
    /// Qwen 2, 2.5 and 3: as Llama 3, each digit alone.
    Qwen2,
    /// Qwen 3.5: as Qwen 2, combining marks count as letters.
    Qwen35,
    /// GPT-2, Phi-2, OLMo, MPT.
    Gpt2,
    /// StarCoder, SmolLM, Command-R, Refact: each digit alone, then GPT-2.
    StarCoder,
    /// DeepSeek LLM.
    DeepSeekLlm,
    /// DeepSeek Coder.
    DeepSeekCoder,
    /// DeepSeek V3 and R1.
    DeepSeek3,
    /// Falcon.
    Falcon,
    /// GPT-4o (`o200k_base`), Llama 4: words also end where a capital begins.
    Gpt4o,
    /// Mistral Nemo's Tekken: as GPT-4o without contractions, each digit alone.
    Tekken,
    /// Bloom, Poro, GPT-3 Finnish.
    Bloom,
    /// Viking: as Bloom, each digit alone.
    Viking,
    /// Seed Coder.
    SeedCoder,
    /// Ling and Bailing mixtures.
    BailingMoe,
    /// EXAONE mixtures: words joined by single spaces stay together.
    ExaoneMoe,
    /// MiniCPM 5: number groups first, then as Llama 3.
    MiniCpm5,
    /// Laguna: newline runs first, then as Qwen 2.
    Laguna,
    /// Youtu: East Asian scripts first, then as GPT-4o, each digit alone.
    Youtu,
    /// Gemma 4: spaces become `▁`, only newline runs are cut off.
    Gemma4,
}

/// Every known name and its family; the first name of a family is its canonical one.
const NAMES: &[(&str, PreTokenizer)] = {
    use PreTokenizer as P;
    &[
        ("default", P::Default),
        ("llama-bpe", P::Llama3),
        ("llama3", P::Llama3),
        ("llama-v3", P::Llama3),
        ("falcon3", P::Llama3),
        ("falcon-h1", P::Llama3),
        ("pixtral", P::Llama3),
        ("midm-2.0", P::Llama3),
        ("lfm2", P::Llama3),
        ("dbrx", P::Llama3),
        ("smaug-bpe", P::Llama3),
        ("glm4", P::Llama3),
        ("chatglm-bpe", P::Llama3),
        ("qwen2", P::Qwen2),
        ("deepseek-r1-qwen", P::Qwen2),
        ("megrez", P::Qwen2),
        ("kormo", P::Qwen2),
        ("f2llmv2", P::Qwen2),
        ("stablelm2", P::Qwen2),
        ("hunyuan", P::Qwen2),
        ("solar-open", P::Qwen2),
        ("grok-2", P::Qwen2),
        ("qwen35", P::Qwen35),
        ("gpt-2", P::Gpt2),
        ("phi-2", P::Gpt2),
        ("mpt", P::Gpt2),
        ("olmo", P::Gpt2),
        ("jais", P::Gpt2),
        ("gigachat", P::Gpt2),
        ("jina-es", P::Gpt2),
        ("jina-de", P::Gpt2),
        ("jina-v2-es", P::Gpt2),
        ("jina-v2-de", P::Gpt2),
        ("jina-v1-en", P::Gpt2),
        ("jina-v2-code", P::Gpt2),
        ("roberta-bpe", P::Gpt2),
        ("modern-bert", P::Gpt2),
        ("exaone4", P::Gpt2),
        ("trillion", P::Gpt2),
        ("granite-docling", P::Gpt2),
        ("mellum", P::Gpt2),
        ("a.x-4.0", P::Gpt2),
        ("starcoder", P::StarCoder),
        ("refact", P::StarCoder),
        ("command-r", P::StarCoder),
        ("smollm", P::StarCoder),
        ("codeshell", P::StarCoder),
        ("exaone", P::StarCoder),
        ("minerva-7b", P::StarCoder),
        ("mellum2", P::StarCoder),
        ("deepseek-llm", P::DeepSeekLlm),
        ("deepseek-coder", P::DeepSeekCoder),
        ("deepseek-v3", P::DeepSeek3),
        ("hunyuan-dense", P::DeepSeek3),
        ("joyai-llm", P::DeepSeek3),
        ("falcon", P::Falcon),
        ("gpt-4o", P::Gpt4o),
        ("llama4", P::Gpt4o),
        ("kanana2", P::Gpt4o),
        ("talkie", P::Gpt4o),
        ("minimax-m2", P::Gpt4o),
        ("tekken", P::Tekken),
        ("bloom", P::Bloom),
        ("poro-chat", P::Bloom),
        ("gpt3-finnish", P::Bloom),
        ("viking", P::Viking),
        ("seed-coder", P::SeedCoder),
        ("bailingmoe", P::BailingMoe),
        ("bailingmoe2", P::BailingMoe),
        ("llada-moe", P::BailingMoe),
        ("exaone-moe", P::ExaoneMoe),
        ("minicpm5", P::MiniCpm5),
        ("laguna", P::Laguna),
        ("youtu", P::Youtu),
        ("gemma4", P::Gemma4),
    ]
};

/// The pattern that `ByteLevel` of the `tokenizers` library applies by itself.
pub(crate) const GPT2_PATTERN: &str = p::GPT2;

/// One pass over a piece of text.
enum Stage {
    Words(Words),
    CaseWords(CaseWords),
    Gpt2,
    /// Number characters in groups of at most so many.
    Digits(usize),
    /// ASCII digits in threes from the left.
    DigitTriples,
    /// Newline runs apart from everything else.
    Lines,
    /// Matches of a pattern without look-around apart from what lies between them.
    Pattern(fancy_regex::Regex),
}

impl PreTokenizer {
    /// Returns the family of a llama.cpp name (`tokenizer.ggml.pre`), such as `qwen2` or `llama-bpe`.
    ///
    /// # Errors
    /// [`Error::UnknownPreTokenizer`] with all known names: a wrong rule would give wrong ids silently.
    pub fn from_name(name: &str) -> Result<Self> {
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|&(_, family)| family)
            .ok_or_else(|| Error::UnknownPreTokenizer {
                name: name.to_owned(),
                known: NAMES
                    .iter()
                    .map(|(known, _)| *known)
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// Returns the canonical name of the family, which llama.cpp accepts.
    pub fn name(self) -> &'static str {
        NAMES
            .iter()
            .find(|(_, family)| *family == self)
            .map_or("default", |&(name, _)| name)
    }

    /// Returns the patterns of the family, to be applied one after the other: matches are pieces of
    /// their own, and so is what lies between them.
    pub fn patterns(self) -> &'static [&'static str] {
        match self {
            Self::Default => &[p::DEFAULT_PUNCT, p::GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
            Self::Llama3 => &[p::LLAMA3],
            Self::Qwen2 => &[p::QWEN2],
            Self::Qwen35 => &[p::QWEN35],
            Self::Gpt2 => &[p::GPT2],
            Self::StarCoder => &[r"\p{N}", p::GPT2],
            Self::DeepSeekLlm => p::DEEPSEEK_LLM,
            Self::DeepSeekCoder => p::DEEPSEEK_CODER,
            Self::DeepSeek3 => p::DEEPSEEK3,
            Self::Falcon => &[p::FALCON_PUNCT, p::GPT2, "[0-9][0-9][0-9]"],
            Self::Gpt4o => &[p::GPT4O],
            Self::Tekken => &[p::TEKKEN],
            Self::Bloom => &[p::BLOOM],
            Self::Viking => &[p::BLOOM, r"\p{N}"],
            Self::SeedCoder => &[p::SEED_CODER],
            Self::BailingMoe => &[p::BAILING_MOE],
            Self::ExaoneMoe => &[p::EXAONE_MOE],
            Self::MiniCpm5 => &[r"\p{N}{1,3}", p::LLAMA3],
            Self::Laguna => &[p::LINES, p::QWEN2],
            Self::Youtu => &[p::YOUTU_SCRIPTS, p::YOUTU_WORDS],
            Self::Gemma4 => &[p::LINES],
        }
    }

    /// Cuts `text` into words, in order; together they are the whole text.
    pub fn split(self, text: &str) -> Vec<&str> {
        let mut words = Vec::with_capacity(text.len() / 4);
        self.for_each(text, &mut |word| words.push(word));
        words
    }

    /// Calls `emit` for each word of `text`.
    pub(crate) fn for_each<'t>(self, text: &'t str, emit: &mut dyn FnMut(&'t str)) {
        run(self.stages(), text, emit);
    }

    fn stages(self) -> &'static [Stage] {
        const FAMILIES: usize = PreTokenizer::Gemma4 as usize + 1;
        static STAGES: [OnceLock<Vec<Stage>>; FAMILIES] = [const { OnceLock::new() }; FAMILIES];
        STAGES[self as usize].get_or_init(|| self.build())
    }

    fn build(self) -> Vec<Stage> {
        self.patterns()
            .iter()
            .filter_map(|pattern| Stage::of_pattern(pattern))
            .collect()
    }
}

impl Stage {
    fn of_pattern(pattern: &str) -> Option<Self> {
        let words = Words::CL100K;
        let cased = |max_digits, contractions| {
            Self::CaseWords(CaseWords {
                max_digits,
                contractions,
            })
        };
        Some(match pattern {
            p::GPT2 => Self::Gpt2,
            p::LLAMA3 => Self::Words(Words {
                max_digits: 3,
                ..words
            }),
            // `\s*[\r\n]` backtracks to the same newline as `\s*[\r\n]+`, so Bailing's rule is Qwen's.
            p::QWEN2 | p::BAILING_MOE => Self::Words(words),
            p::QWEN35 => Self::Words(Words {
                marks: true,
                ..words
            }),
            p::SEED_CODER => Self::Words(Words {
                punct_newlines: false,
                ..words
            }),
            p::GPT4O => cased(3, true),
            p::YOUTU_WORDS => cased(1, true),
            p::TEKKEN => cased(1, false),
            p::LINES => Self::Lines,
            r"\p{N}" => Self::Digits(1),
            r"\p{N}{1,3}" => Self::Digits(3),
            "[0-9][0-9][0-9]" => Self::DigitTriples,
            // The patterns are constants that a test compiles, so none is lost here.
            _ => Self::Pattern(fancy_regex::Regex::new(pattern).ok()?),
        })
    }

    /// Returns the end of the piece of `text` that starts at byte `start`.
    fn next(&self, text: &str, start: usize) -> usize {
        match self {
            Self::Words(rules) => rules.next(text, start),
            Self::CaseWords(rules) => rules.next(text, start),
            Self::Gpt2 => scan::gpt2(text, start),
            Self::Digits(max) => scan::digits(text, start, *max),
            Self::DigitTriples => scan::ascii_triples(text, start),
            Self::Lines => scan::lines(text, start),
            // An error is the backtracking limit; the rest is then one piece.
            Self::Pattern(regex) => match regex.find_from_pos(text, start) {
                Ok(Some(found)) if found.start() > start => found.start(),
                Ok(Some(found)) if found.end() > start => found.end(),
                _ => text.len(),
            },
        }
    }
}

fn run<'t>(stages: &[Stage], text: &'t str, emit: &mut dyn FnMut(&'t str)) {
    let Some((stage, rest)) = stages.split_first() else {
        return emit(text);
    };
    let mut start = 0;
    while start < text.len() {
        let end = stage.next(text, start);
        debug_assert!(end > start && text.is_char_boundary(end));
        if rest.is_empty() {
            emit(&text[start..end]);
        } else {
            run(rest, &text[start..end], emit);
        }
        start = end;
    }
}

#[cfg(test)]
mod tests;
