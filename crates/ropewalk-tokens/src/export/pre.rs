//! Which pre-tokenizer the splitting rules of a `tokenizer.json` are.

use serde_json::Value;

use crate::error::Result;
use crate::pre::{GPT2_PATTERN, PreTokenizer};

/// Spellings of the same rule: what files write and what [`PreTokenizer::patterns`] holds.
///
/// Possessive quantifiers change no match here, because what follows them cannot match what they
/// took; `\s*[\r\n]` backtracks to the same newline as `\s*[\r\n]+`.
const SPELLINGS: &[(&str, &str)] = &[
    ("(?i:'s|'t|'re|'ve|'m|'ll|'d)", CONTRACTIONS),
    ("'(?i:[sdmt]|ll|ve|re)", CONTRACTIONS),
    ("'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])", CONTRACTIONS),
    (
        "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
        CONTRACTIONS,
    ),
    ("]?+", "]?"),
    ("]++", "]+"),
    (r"\p{L}++", r"\p{L}+"),
    (r"\s++$", r"\s+$"),
    (r"|\s*[\r\n]|", r"|\s*[\r\n]+|"),
    (r"\s+(?!\S)|\s", r"\s+(?!\S)|\s+"),
    (r"\s+(?!\S)|\s++", r"\s+(?!\S)|\s+"),
];
const CONTRACTIONS: &str = "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]";

/// Rules of Falcon that are no pattern of the family: punctuation by category, runs of digits.
const FALCON: [&[&str]; 2] = [
    &["punctuation", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    &["punctuation", GPT2, "[0-9][0-9][0-9]"],
];
const GPT2: &str = "gpt2";

/// Families by their first name, in the order in which they are tried.
const TRIED: &[PreTokenizer] = {
    use PreTokenizer as P;
    &[
        P::Llama3,
        P::Qwen2,
        P::Gpt2,
        P::StarCoder,
        P::Gpt4o,
        P::Tekken,
        P::Qwen35,
        P::DeepSeek3,
        P::DeepSeekLlm,
        P::DeepSeekCoder,
        P::SeedCoder,
        P::BailingMoe,
        P::ExaoneMoe,
        P::MiniCpm5,
        P::Bloom,
        P::Viking,
        P::Laguna,
        P::Youtu,
        P::Falcon,
        P::Default,
    ]
};

/// Returns the name of the pre-tokenizer (`tokenizer.ggml.pre`) with these rules.
pub(super) fn name(rules: &Value, ignore_merges: bool) -> Result<&'static str> {
    let mut steps = Vec::new();
    flatten(rules, &mut steps);
    if FALCON.iter().any(|known| steps == *known) {
        return Ok("falcon");
    }
    let known = |family: &&PreTokenizer| {
        let patterns = family.patterns().iter().map(|p| canonical(p));
        patterns.eq(steps.iter().cloned())
    };
    match TRIED.iter().find(known) {
        // Only files of Llama 3 take whole words before merges; GPT-4's rule is the same otherwise.
        Some(PreTokenizer::Llama3) if !ignore_merges => Ok("dbrx"),
        Some(family) => Ok(family.name()),
        None => PreTokenizer::from_name(&steps.join(" then ")).map(PreTokenizer::name),
    }
}

/// Appends the rules as patterns, or as words for what is no pattern.
fn flatten(rules: &Value, steps: &mut Vec<String>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = text(&rules["type"]);
    let step = match kind.as_str() {
        "Sequence" => {
            for rule in rules["pretokenizers"].as_array().into_iter().flatten() {
                flatten(rule, steps);
            }
            return;
        }
        "ByteLevel" if rules["use_regex"] == false => return,
        "ByteLevel" => GPT2.to_owned(),
        "Digits" if rules["individual_digits"] == true => r"\p{N}".to_owned(),
        "Digits" => r"\p{N}+".to_owned(),
        "Punctuation" if rules["behavior"] == "Contiguous" => "punctuation".to_owned(),
        "Split" => {
            let pattern = &rules["pattern"];
            let regex = pattern["Regex"].as_str().map(canonical);
            let regex = regex.unwrap_or_else(|| format!("the text {}", pattern["String"]));
            let invert = rules["invert"] == true;
            match (&rules["behavior"], invert) {
                (b, false) if b == "Isolated" => regex,
                // The patterns match every character, so nothing lies between to be removed.
                (b, true) if b == "Removed" => regex,
                (b, _) => format!("{regex} ({}, invert {invert})", text(b)),
            }
        }
        "" => "no splitting".to_owned(),
        other => other.to_owned(),
    };
    steps.push(step);
}

/// Rewrites a pattern in the spelling of [`PreTokenizer::patterns`].
fn canonical(pattern: &str) -> String {
    let mut out = pattern.to_owned();
    for (from, to) in SPELLINGS {
        if out.contains(from) && !(to.starts_with(from) && out.contains(to)) {
            out = out.replace(from, to);
        }
    }
    if out == GPT2_PATTERN {
        GPT2.to_owned()
    } else {
        out
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn split(regex: &str) -> Value {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]})
    }

    /// The rules as the families' own files write them.
    #[test]
    fn files_of_the_families_are_known() {
        let tail = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        let start = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|";
        let llama3 = split(&format!(r"{start}\p{{N}}{{1,3}}{tail}"));
        assert_eq!(name(&llama3, true).unwrap(), "llama-bpe");
        assert_eq!(name(&llama3, false).unwrap(), "dbrx");
        let qwen = split(&format!(r"{start}\p{{N}}{tail}"));
        assert_eq!(name(&qwen, false).unwrap(), "qwen2");
        let tiktoken = concat!(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*",
            r"|\s*[\r\n]|\s+(?!\S)|\s+"
        );
        assert_eq!(name(&split(tiktoken), false).unwrap(), "dbrx");
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
        assert_eq!(name(&byte_level, false).unwrap(), "gpt-2");
        let digits = json!({"type": "Digits", "individual_digits": true});
        let star = json!({"type": "Sequence", "pretokenizers": [digits, byte_level]});
        assert_eq!(name(&star, false).unwrap(), "starcoder");
        let falcon = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Punctuation", "behavior": "Contiguous"}, byte_level,
            {"type": "Digits", "individual_digits": false},
            {"type": "Split", "pattern": {"Regex": "[0-9][0-9][0-9]"}, "behavior": "Isolated", "invert": false},
        ]});
        assert_eq!(name(&falcon, false).unwrap(), "falcon");
    }

    #[test]
    fn every_family_is_found_by_its_own_patterns() {
        for family in TRIED {
            let rules: Vec<_> = family.patterns().iter().map(|p| split(p)).collect();
            let rules = json!({"type": "Sequence", "pretokenizers": rules});
            let found = name(&rules, true).unwrap();
            assert_eq!(
                PreTokenizer::from_name(found).unwrap().patterns().len(),
                family.patterns().len()
            );
            let same = PreTokenizer::from_name(found).unwrap() == *family;
            // Bailing's rule is Qwen's in another spelling.
            assert!(
                same || *family == PreTokenizer::BailingMoe,
                "{family:?} {found}"
            );
        }
    }

    #[test]
    fn unknown_rules_are_named() {
        let error = name(&split("[a-z]+"), false).unwrap_err().to_string();
        assert!(
            error.contains("`[a-z]+`") && error.contains("llama-bpe"),
            "{error}"
        );
        let error = name(&Value::Null, false).unwrap_err().to_string();
        assert!(error.contains("no splitting"), "{error}");
    }
}
