//! Beam search and expected values, against `generate` of transformers (`fixtures/make_beams.py`).

use std::path::Path;
use std::sync::Arc;

use futures_executor::block_on;
use ropewalk_core::{ChatModel, ChatRequest};
use ropewalk_gguf::Gguf;
use ropewalk_local::sample::{Candidates, LogitsProcessor, SamplerOptions};
use ropewalk_local::{
    Beam, BeamOptions, CacheType, EarlyStopping, ExpectedNumber, Finish, GenerateOptions,
    Generation, HeadRule, LoadOptions, LoadQuantize, LocalModel, Model, NumberOptions, beam_search,
    generate_n,
};
use serde_json::Value;

use crate::golden;

fn recorded() -> Value {
    serde_json::from_str(include_str!("../fixtures/beams.json")).unwrap()
}

fn ids(v: &Value) -> Vec<u32> {
    let list = v.as_array().unwrap().iter();
    list.map(|x| x.as_u64().unwrap() as u32).collect()
}

fn shipped() -> LocalModel {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data/ropewalk-tiny.gguf");
    let gguf = Gguf::open(path).unwrap();
    LocalModel::from_gguf(Arc::new(gguf), &LoadOptions::default()).unwrap()
}

/// The same in f32, so that logits are those of transformers but for the order of sums.
fn exact() -> LocalModel {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data/ropewalk-tiny.gguf");
    let rule = LoadQuantize::new("f32".parse().unwrap())
        .with_head(HeadRule::Same)
        .with_requantize(true);
    let options = LoadOptions::default()
        .with_cache(CacheType::F32)
        .with_quantize(rule);
    LocalModel::open_with(path, &options).unwrap()
}

/// A model with seeded weights in f32, its cache too.
fn tiny(name: &str) -> Model {
    let case = golden::cases()
        .into_iter()
        .find(|c| c.name == name)
        .unwrap();
    let options = LoadOptions::default().with_cache(CacheType::F32);
    Model::from_parts(
        case.model.spec.clone(),
        Arc::new(case.model.source()),
        &options,
    )
    .unwrap()
}

fn options(case: &Value) -> (GenerateOptions, BeamOptions) {
    let s = &case["settings"];
    let size = |key: &str, default: u64| s[key].as_u64().unwrap_or(default) as usize;
    let float = |key: &str| s[key].as_f64().unwrap_or(1.0) as f32;
    let mut sampler =
        SamplerOptions::greedy().with_no_repeat_ngram(size("no_repeat_ngram_size", 0));
    sampler.penalties.repetition = float("repetition_penalty");
    sampler.min_new_tokens = size("min_new_tokens", 0);
    let generate = GenerateOptions::greedy(case["new"].as_u64().unwrap() as usize)
        .with_stop_ids(ids(&case["stop"]))
        .with_sampler(sampler);
    let beams = BeamOptions::new(size("num_beams", 1))
        .with_length_penalty(float("length_penalty"))
        .with_return_sequences(size("num_return_sequences", 1))
        .with_early_stopping(match &s["early_stopping"] {
            Value::Bool(true) => EarlyStopping::WhenFull,
            Value::String(_) => EarlyStopping::Never,
            _ => EarlyStopping::Heuristic,
        });
    (generate, beams)
}

/// Asserts that a search finds what transformers found, with scores within `tolerance`.
fn check(model: &Model, case: &Value, tolerance: f64) {
    let (generate, beams) = options(case);
    let found = beam_search(model, &ids(&case["prompt"]), &generate, &beams).unwrap();
    let want = case["replies"].as_array().unwrap();
    assert_eq!(found.len(), want.len());
    for (beam, want) in found.iter().zip(want) {
        let mut reply = beam.ids();
        if let Finish::Stop(id) = beam.finish {
            reply.push(id);
        }
        assert_eq!(reply, ids(&want[0]), "{}", case["settings"]);
        let score = want[1].as_f64().unwrap();
        let off = (f64::from(beam.score) - score).abs();
        // A power below 0 multiplies the sum and its rounding.
        let power = -f64::from(beams.length_penalty);
        let tolerance = tolerance * (reply.len() as f64).powf(power).max(1.0);
        assert!(off <= tolerance, "{} instead of {score}", beam.score);
    }
}

#[test]
fn seeded_models_search_as_transformers_does() {
    let recorded = recorded();
    let (mut stopped, mut cases) = (0, 0);
    for of in recorded["models"].as_array().unwrap() {
        let model = tiny(of["name"].as_str().unwrap());
        for case in of["cases"].as_array().unwrap() {
            // f32 sums in another order move the sum of fourteen logarithms by some 1e-6.
            assert!(case["margin"].as_f64().unwrap() > 5e-5, "{case}");
            check(&model, case, 1e-4);
            let length = |reply: &Value| reply[0].as_array().unwrap().len() as u64;
            let replies = case["replies"].as_array().unwrap().iter();
            stopped += replies
                .filter(|r| Some(length(r)) < case["new"].as_u64())
                .count();
            cases += 1;
        }
    }
    assert!(
        cases == 40 && stopped >= 15,
        "{cases} cases, {stopped} ended early"
    );
}

#[test]
fn the_shipped_model_searches_as_transformers_does() {
    let model = exact();
    let recorded = recorded();
    let cases = recorded["shipped"].as_array().unwrap();
    for case in cases {
        assert!(case["margin"].as_f64().unwrap() > 5e-5, "{case}");
        check(model.model(), case, 1e-4);
    }
    assert_eq!(cases.len(), 20);
}

#[test]
fn one_beam_is_greedy_and_searches_end_with_the_context() {
    let model = tiny("llama3");
    let prompt = [3, 9, 27];
    let generate = GenerateOptions::greedy(12).with_logprobs(2);
    let mut cache = model.new_cache();
    let greedy = Generation::new(&model, &mut cache, &prompt, &generate).unwrap();
    let greedy: Vec<_> = greedy.map(Result::unwrap).collect();
    let beam: Beam = beam_search(&model, &prompt, &generate, &BeamOptions::new(1))
        .unwrap()
        .remove(0);
    assert_eq!(beam.tokens, greedy);
    let sum: f32 = greedy.iter().map(|t| t.logprob.unwrap()).sum();
    assert!((beam.score - sum / 12.0).abs() < 1e-5);

    let options = LoadOptions::default().with_context(8);
    let case = golden::cases()
        .into_iter()
        .find(|c| c.name == "llama3")
        .unwrap();
    let short = Model::from_parts(
        case.model.spec.clone(),
        Arc::new(case.model.source()),
        &options,
    )
    .unwrap();
    let endless = GenerateOptions::default().with_stop_ids([]);
    let found = beam_search(&short, &prompt, &endless, &BeamOptions::new(2)).unwrap();
    assert_eq!(
        (found[0].tokens.len(), found[0].finish),
        (6, Finish::Context)
    );
}

#[test]
fn what_a_search_cannot_do_is_refused() {
    let model = tiny("llama3");
    let search = |generate: &GenerateOptions, beams: BeamOptions| {
        beam_search(&model, &[1], generate, &beams)
            .unwrap_err()
            .to_string()
    };
    let greedy = GenerateOptions::greedy(4);
    let hot = greedy.clone().with_sampler(SamplerOptions::balanced());
    let filtered = greedy
        .clone()
        .with_sampler(SamplerOptions::greedy().with_top_k(3));
    for (error, part) in [
        (search(&greedy, BeamOptions::new(0)), "number of beams is 0"),
        (
            search(&greedy, BeamOptions::new(2).with_return_sequences(3)),
            "number of replies is 3",
        ),
        (
            search(&greedy, BeamOptions::new(2).with_length_penalty(f32::NAN)),
            "length penalty",
        ),
        (
            search(&GenerateOptions::greedy(0), BeamOptions::new(2)),
            "max_tokens is 0",
        ),
        (search(&hot, BeamOptions::new(2)), "sampler"),
        (search(&filtered, BeamOptions::new(2)), "sampler"),
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(beam_search(&model, &[], &greedy, &BeamOptions::new(2)).is_err());
}

/// Bans every odd id and counts how often it was asked.
#[derive(Debug, Default)]
struct Even(usize);

impl LogitsProcessor for Even {
    fn apply(&mut self, history: &[u32], candidates: &mut Candidates) {
        self.0 += 1;
        // A fresh stage for each reply.
        assert_eq!(history.len(), 2 + self.0 - 1);
        candidates.rescale(|c| {
            if c.id % 2 == 1 {
                c.logit = f32::NEG_INFINITY;
            }
        });
    }
}

#[test]
fn stages_of_ones_own_reach_every_reply() {
    let model = tiny("qwen2");
    let hot = SamplerOptions::default().with_temperature(2.0);
    let options = GenerateOptions::greedy(10)
        .with_stop_ids([])
        .with_sampler(hot)
        .with_stage(Even::default);
    for reply in generate_n(&model, &[1, 2], &options, 3).unwrap() {
        assert_eq!(reply.tokens.len(), 10);
        assert!(
            reply.ids().iter().all(|id| id % 2 == 0),
            "{:?}",
            reply.ids()
        );
    }
    let mut cache = model.new_cache();
    let mut tokens = Generation::new(&model, &mut cache, &[1, 2], &options).unwrap();
    assert!(tokens.all(|t| t.unwrap().id % 2 == 0));
}

/// Bans one id.
#[derive(Debug)]
struct Without(u32);

impl LogitsProcessor for Without {
    fn apply(&mut self, _: &[u32], candidates: &mut Candidates) {
        candidates.adjust(self.0, |x| *x = f32::NEG_INFINITY);
    }
}

#[test]
fn stages_of_ones_own_reach_chats() {
    let model = shipped();
    let mut request = ChatRequest::new().user("Hello!");
    request.options.logprobs = Some(0);
    let say = |model: &LocalModel| block_on(model.chat(&request)).unwrap();
    let free = say(&model);
    let first = free.logprobs[0].token.clone();
    let id = model.tokenizer().token_to_id(&first).unwrap();
    let held = say(&model.clone().with_stage(move || Without(id)));
    assert!(held.logprobs.iter().all(|token| token.token != first));
    assert_ne!(held.text(), free.text());
    // The model that it was made from stays as it is.
    assert_eq!(say(&model).text(), free.text());
}

#[test]
fn the_mean_of_the_best_numbers_is_that_of_python() {
    let model = exact();
    for case in recorded()["numbers"].as_array().unwrap() {
        let ids = ids(&case["ids"]);
        let logits = model
            .model()
            .forward(&mut model.model().new_cache(), &ids)
            .unwrap();
        let top = case["top"].as_u64().unwrap() as usize;
        let found = ExpectedNumber::of_next_token(&logits, model.tokenizer(), top);
        let Some(mean) = case["mean"].as_f64() else {
            assert_eq!(found, None);
            continue;
        };
        let found = found.unwrap();
        // 8-bit activations move probabilities by some percent.
        assert!(
            (found.value - mean).abs() < 0.03 * mean,
            "{} not {mean}",
            found.value
        );
        let mass = case["mass"].as_f64().unwrap();
        assert!(
            (found.mass - mass).abs() < 1e-4 * mass,
            "{} not {mass}",
            found.mass
        );
    }
}

/// Reads the number at the beginning of a text, and whether more text could change it.
fn leading(text: &str) -> Option<(String, bool)> {
    let text = text.trim_start();
    let whole = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(whole);
    if digits.is_empty() {
        return None;
    }
    let Some(after) = rest.strip_prefix('.') else {
        return Some((digits.to_owned(), rest.is_empty()));
    };
    let part = after
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(after.len());
    let number = format!("{digits}.{}", &after[..part]);
    Some((number, part == after.len()))
}

/// Sums over every sequence of at most `left` tokens that is more probable than 1e-4, one forward
/// pass per sequence, reading its text as a whole.
fn all_numbers(
    model: &LocalModel,
    (prompt, text, p): (&[u32], &str, f64),
    left: usize,
    out: &mut Vec<(f64, f64)>,
) {
    let logits = model
        .model()
        .forward(&mut model.model().new_cache(), prompt)
        .unwrap();
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|x| f64::from(x - best).exp()).sum();
    for (id, x) in (0u32..).zip(&logits) {
        let p = p * f64::from(x - best).exp() / total;
        let special = model.tokenizer().is_special(id);
        let bytes = model.tokenizer().decode_bytes(id).unwrap_or_default();
        let piece = if special {
            "<>".into()
        } else {
            String::from_utf8_lossy(&bytes)
        };
        let longer = format!("{text}{piece}");
        match leading(&longer) {
            Some((number, false)) => out.push((number.parse().unwrap(), p)),
            None if !longer.trim().is_empty() => {}
            _ if left > 1 && p >= 1e-4 => {
                all_numbers(
                    model,
                    (&[prompt, &[id]].concat(), &longer, p),
                    left - 1,
                    out,
                );
            }
            _ => {}
        }
    }
}

#[test]
fn numbers_of_several_tokens_are_summed_over_all_spellings() {
    let model = shipped();
    let text = "A return ticket to London is $";
    let prompt = model.tokenizer().encode(text, true).unwrap();
    let mut want = Vec::new();
    all_numbers(&model, (&prompt, "", 1.0), 5, &mut want);
    let options = NumberOptions::new()
        .with_max_tokens(5)
        .with_least(1e-4)
        .with_beams(1_000);
    let found = model.expected_number(text, &options).unwrap().unwrap();
    assert!(
        found.mass > 0.5 && found.mass <= 1.0 + 1e-9 && found.open < 0.2,
        "{found:?}"
    );
    let mass: f64 = want.iter().map(|n| n.1).sum();
    assert!(
        (found.mass - mass).abs() < 1e-4,
        "{} not {mass}",
        found.mass
    );
    for (value, p) in &found.numbers {
        let seen: f64 = want.iter().filter(|n| n.0 == *value).map(|n| n.1).sum();
        assert!((p - seen).abs() < 1e-4, "{value}: {p}, not {seen}");
    }
    assert!(found.numbers.len() > 5, "{found:?}");
    let mean: f64 = found.numbers.iter().map(|(x, p)| x * p).sum::<f64>() / found.mass;
    assert!((found.value - mean).abs() < 1e-9 * mean.abs());
    let square: f64 = found
        .numbers
        .iter()
        .map(|(x, p)| (x - mean).powi(2) * p)
        .sum();
    assert!((found.deviation - (square / found.mass).sqrt()).abs() < 1e-6);
    // One token alone, and limits of nothing.
    let one = model
        .expected_number(text, &NumberOptions::new().with_max_tokens(1))
        .unwrap();
    assert!(one.is_none_or(|one| one.mass < found.mass));
    assert!(
        model
            .expected_number(text, &NumberOptions::new().with_beams(0))
            .is_err()
    );
}
