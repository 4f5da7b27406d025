use super::*;

const FAMILIES: [PreTokenizer; 21] = [
    PreTokenizer::Default,
    PreTokenizer::Llama3,
    PreTokenizer::Qwen2,
    PreTokenizer::Qwen35,
    PreTokenizer::Gpt2,
    PreTokenizer::StarCoder,
    PreTokenizer::DeepSeekLlm,
    PreTokenizer::DeepSeekCoder,
    PreTokenizer::DeepSeek3,
    PreTokenizer::Falcon,
    PreTokenizer::Gpt4o,
    PreTokenizer::Tekken,
    PreTokenizer::Bloom,
    PreTokenizer::Viking,
    PreTokenizer::SeedCoder,
    PreTokenizer::BailingMoe,
    PreTokenizer::ExaoneMoe,
    PreTokenizer::MiniCpm5,
    PreTokenizer::Laguna,
    PreTokenizer::Youtu,
    PreTokenizer::Gemma4,
];

fn regexes(family: PreTokenizer) -> &'static [fancy_regex::Regex] {
    static REGEXES: OnceLock<Vec<Vec<fancy_regex::Regex>>> = OnceLock::new();
    let compile = |pattern: &&str| fancy_regex::Regex::new(pattern).unwrap();
    let all = REGEXES.get_or_init(|| {
        FAMILIES
            .map(|family| family.patterns().iter().map(compile).collect())
            .into()
    });
    &all[family as usize]
}

/// The patterns run by the regex engine, without any scanner.
fn by_patterns<'t>(family: PreTokenizer, text: &'t str) -> Vec<&'t str> {
    let mut pieces = vec![text];
    for regex in regexes(family) {
        let mut next: Vec<&'t str> = Vec::new();
        for piece in pieces {
            let mut start = 0;
            for found in regex.find_iter(piece) {
                let found = found.unwrap();
                next.extend([&piece[start..found.start()], found.as_str()]);
                start = found.end();
            }
            next.push(&piece[start..]);
        }
        pieces = next.into_iter().filter(|piece| !piece.is_empty()).collect();
    }
    pieces
}

#[test]
fn every_pattern_compiles_and_every_name_is_found() {
    for family in FAMILIES {
        for pattern in family.patterns() {
            fancy_regex::Regex::new(pattern).unwrap();
        }
        assert_eq!(PreTokenizer::from_name(family.name()).unwrap(), family);
    }
    let error = PreTokenizer::from_name("qwen99").unwrap_err().to_string();
    assert!(
        error.contains("`qwen99`") && error.contains("llama-bpe"),
        "{error}"
    );
}

#[test]
fn words_of_a_sentence() {
    let text = "I'LL pay $1234, don't\n\n  worry";
    assert_eq!(
        PreTokenizer::Llama3.split(text),
        [
            "I", "'LL", " pay", " $", "123", "4", ",", " don", "'t", "\n\n", " ", " worry"
        ]
    );
    assert_eq!(
        PreTokenizer::Gpt2.split(text),
        [
            "I", "'", "LL", " pay", " $", "1234", ",", " don", "'t", "\n\n ", " worry"
        ]
    );
    assert_eq!(PreTokenizer::Gpt4o.split("HTTPServer's"), ["HTTPServer's"]);
    assert_eq!(
        PreTokenizer::Gpt4o.split("camelCase URL"),
        ["camel", "Case", " URL"]
    );
}

proptest::proptest! {
    #[test]
    fn scanners_agree_with_their_patterns(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "a", "B", "é", "É", "ǅ", "ʰ", "字", "कि", "\u{301}", "7", "12", "½", "Ⅷ", " ", "  ", "\t",
                "\n", "\r\n", "\u{a0}", "\u{3000}", "'", "'s", "'RE", "'Ll", "!", "...", "/", "$", "🦙",
                "\u{200d}", "_", "\0",
            ]),
            0..24,
        )
    ) {
        let text = parts.concat();
        for family in FAMILIES {
            let words = family.split(&text);
            proptest::prop_assert_eq!(words.concat(), text.clone());
            proptest::prop_assert_eq!(words, by_patterns(family, &text), "{:?} of {:?}", family, text);
        }
    }
}
