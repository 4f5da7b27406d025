//! The stages of the sampler, against the processors of transformers (`fixtures/make_samplers.py`)
//! and the samplers of llama.cpp (`fixtures/make_llama_samplers.py`) on the same logits.

use std::path::Path;
use std::sync::Arc;

use ropewalk_gguf::Gguf;
use ropewalk_local::gguf_tokenizer;
use ropewalk_local::sample::{
    Dry, DynamicTemperature, LengthDecay, Sampler, SamplerOptions, Stage, Xtc,
};
use ropewalk_spec::testing::prompt;
use serde_json::Value;

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or(f64::NEG_INFINITY)
}

fn float(v: &Value) -> f32 {
    number(v) as f32
}

fn count(v: &Value) -> usize {
    v.as_u64().unwrap() as usize
}

fn list(v: &Value) -> &[Value] {
    v.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn ids(v: &Value) -> Vec<u32> {
    list(v).iter().map(|x| count(x) as u32).collect()
}

/// The logits of a seed, as the scripts say.
fn logits(kind: &str, seed: u64, vocab: usize) -> Vec<f32> {
    if kind == "ties" {
        let v = prompt(seed, vocab, 41);
        return v.iter().map(|&v| v as f32 / 4.0 - 5.0).collect();
    }
    let v = prompt(seed, vocab, 1_000_003);
    let x = |&v: &u32| (f64::from(v) / 65_536.0 - 7.5) as f32;
    let mut row: Vec<f32> = v.iter().map(x).collect();
    if kind == "masked" {
        row.iter_mut()
            .skip(3)
            .step_by(7)
            .for_each(|x| *x = f32::NEG_INFINITY);
    }
    row
}

/// The options of a case.
fn options(json: &Value, end_ids: &[u32]) -> SamplerOptions {
    let mut o = SamplerOptions::default()
        .with_temperature(1.0)
        .with_order(Stage::TRANSFORMERS);
    o.end_ids = end_ids.to_vec();
    for (key, v) in json.as_object().unwrap() {
        match key.as_str() {
            "temperature" => o.temperature = float(v),
            "top_k" => o.top_k = count(v),
            "top_p" => o.top_p = float(v),
            "min_p" => o.min_p = float(v),
            "typical_p" => o.typical_p = float(v),
            "top_n_sigma" => o.top_n_sigma = float(v),
            "top_h" => o.top_h = Some(float(v)),
            "epsilon_cutoff" => o.epsilon_cutoff = float(v),
            "eta_cutoff" => o.eta_cutoff = float(v),
            "xtc" => {
                let xtc = Xtc::new(float(&v[0]), float(&v[1])).with_min_keep(count(&v[2]));
                o.xtc = Some(xtc);
            }
            "dynamic" => {
                let dynamic = DynamicTemperature::new(float(&v[0])).with_exponent(float(&v[1]));
                o.dynamic_temperature = Some(dynamic);
            }
            "repetition" => o.penalties.repetition = float(v),
            "no_repeat_ngram" => o.no_repeat_ngram = count(v),
            "min_new_tokens" => o.min_new_tokens = count(v),
            "length_decay" => o.length_decay = Some(LengthDecay::new(count(&v[0]), float(&v[1]))),
            "begin_suppress" => o.begin_suppress = ids(v),
            "bad_words" => o.bad_words = list(v).iter().map(ids).collect(),
            "sequence_bias" => {
                let one = |pair: &Value| (ids(&pair[0]), float(&pair[1]));
                o.sequence_bias = list(v).iter().map(one).collect();
            }
            "logit_bias" => {
                let one = |pair: &Value| (count(&pair[0]) as u32, float(&pair[1]));
                o.logit_bias = list(v).iter().map(one).collect();
            }
            "forced" => {
                let one = |pair: &Value| (count(&pair[0]), count(&pair[1]) as u32);
                o.forced = list(v).iter().map(one).collect();
            }
            _ => panic!("{key}"),
        }
    }
    o
}

/// Asserts that the candidates and their probabilities are those of a case.
fn check(case: &Value, end_ids: &[u32]) {
    let place = format!(
        "{}, seed {}, {}",
        case["name"], case["seed"], case["options"]
    );
    let vocab = count(&case["vocab"]);
    let kind = case["kind"].as_str().unwrap_or("smooth");
    let row = logits(kind, count(&case["seed"]) as u64, vocab);
    let history = ids(&case["history"]);
    let mut sampler = Sampler::new(&options(&case["options"], end_ids))
        .unwrap()
        .after_prompt(case["prompt"].as_u64().unwrap_or(0) as usize);
    let candidates = sampler.candidates(&history, &row);
    let mut found = vec![None; vocab];
    let items = candidates.items().iter().zip(candidates.probabilities());
    for (c, p) in items.filter(|(c, _)| c.logit > f32::NEG_INFINITY) {
        found[c.id as usize] = Some(p);
    }
    let left = case["left"].as_str().unwrap();
    let bit = |i: usize| {
        let byte = u8::from_str_radix(&left[2 * (i / 8)..2 * (i / 8) + 2], 16).unwrap();
        byte >> (i % 8) & 1 == 1
    };
    let want: Vec<usize> = (0..vocab).filter(|&i| bit(i)).collect();
    let have: Vec<usize> = (0..vocab).filter(|&i| found[i].is_some()).collect();
    if case["cut"] == Value::Bool(true) {
        // Of the tokens that tie at the edge as many, if not the same.
        let edge = have.iter().map(|&i| row[i]).fold(f32::INFINITY, f32::min);
        let above = |set: &[usize]| {
            set.iter()
                .copied()
                .filter(|&i| row[i] > edge)
                .collect::<Vec<_>>()
        };
        assert_eq!(have.len(), want.len(), "{place}");
        assert_eq!(above(&have), above(&want), "{place}");
    } else {
        assert_eq!(have, want, "{place}");
    }
    for pair in list(&case["p"]) {
        let (id, p) = (count(&pair[0]), number(&pair[1]));
        let found = found[id].unwrap();
        // Scores are f32: rounding them moves probabilities by some 1e-7 of themselves.
        assert!(
            (found - p).abs() <= 1e-6,
            "{place}: id {id} has {found}, not {p}"
        );
    }
}

#[test]
fn processors_are_those_of_transformers() {
    let json: Value = serde_json::from_str(include_str!("../fixtures/samplers.json")).unwrap();
    let end_ids = ids(&json["end_ids"]);
    let cases = list(&json["cases"]);
    cases.iter().for_each(|case| check(case, &end_ids));
    assert!(cases.len() >= 430, "{}", cases.len());
}

#[test]
fn filters_are_those_of_llama_cpp() {
    let json: Value =
        serde_json::from_str(include_str!("../fixtures/llama_samplers.json")).unwrap();
    let cases = list(&json["filters"]);
    cases.iter().for_each(|case| check(case, &[]));
    assert_eq!(cases.len(), 52);
}

#[test]
fn dry_takes_off_what_llama_cpp_takes_off() {
    let json: Value =
        serde_json::from_str(include_str!("../fixtures/llama_samplers.json")).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data/ropewalk-tiny.gguf");
    let tokenizer = gguf_tokenizer(&Arc::new(Gguf::open(path).unwrap())).unwrap();
    let vocab = tokenizer.vocab_size();
    let mut penalised = 0;
    for case in list(&json["dry"]) {
        let texts: Vec<&str> = list(&case["breakers"])
            .iter()
            .map(|v| v.as_str().unwrap())
            .collect();
        let v = &case["dry"];
        let dry = Dry::new(float(&v[0]))
            .with_base(float(&v[1]))
            .with_allowed_length(count(&v[2]))
            .with_last_n(count(&v[3]))
            .with_breakers(Dry::breakers(&tokenizer, &texts).unwrap());
        let options = SamplerOptions::default()
            .with_temperature(1.0)
            .with_dry(dry);
        let history = ids(&case["history"]);
        let mut sampler = Sampler::new(&options).unwrap();
        let candidates = sampler.candidates(&history, &vec![0.0; vocab]);
        let off = candidates.items().iter().filter(|c| c.logit != 0.0);
        let off: Vec<(u32, f32)> = off.map(|c| (c.id, -c.logit)).collect();
        let want: Vec<(u32, f32)> = list(&case["off"])
            .iter()
            .map(|pair| (count(&pair[0]) as u32, float(&pair[1])))
            .collect();
        let same = |(a, b): (&(u32, f32), &(u32, f32))| {
            a.0 == b.0 && (a.1 - b.1).abs() <= 1e-6 * b.1.abs()
        };
        assert!(
            off.len() == want.len() && off.iter().zip(&want).all(same),
            "{v} {texts:?} after {history:?}: {off:?}, not {want:?}"
        );
        penalised += want.len();
    }
    assert!(penalised > 100, "{penalised}");
}

#[test]
fn xtc_acts_as_often_as_it_is_asked_to() {
    let row = logits("smooth", 3, 60);
    let options = SamplerOptions::default()
        .with_temperature(1.0)
        .with_seed(11);
    let all = Sampler::new(&options)
        .unwrap()
        .candidates(&[], &row)
        .items()
        .len();
    let mut sampler = Sampler::new(&options.with_xtc(Xtc::new(0.3, 0.01))).unwrap();
    let n = 20_000;
    let acted = (0..n)
        .filter(|_| sampler.candidates(&[], &row).items().len() < all)
        .count();
    let share = acted as f64 / f64::from(n);
    // Four standard deviations.
    assert!(
        (share - 0.3).abs() < 4.0 * (0.3 * 0.7 / f64::from(n)).sqrt(),
        "{share}"
    );
}

#[test]
fn options_without_their_stage_or_out_of_range_are_refused() {
    use ropewalk_local::sample::Mirostat;
    let base = SamplerOptions::default;
    let with = |change: &dyn Fn(&mut SamplerOptions)| {
        let mut o = base();
        change(&mut o);
        Sampler::new(&o).unwrap_err().to_string()
    };
    for (error, part) in [
        (
            with(&|o| {
                o.top_k = 5;
                o.order = vec![Stage::Temperature];
            }),
            "the order of stages is without TopK",
        ),
        (with(&|o| o.top_n_sigma = -1.0), "top_n_sigma is -1"),
        (with(&|o| o.top_h = Some(0.0)), "top_h is 0"),
        (with(&|o| o.epsilon_cutoff = 1.0), "epsilon_cutoff is 1"),
        (with(&|o| o.eta_cutoff = f32::NAN), "eta_cutoff is NaN"),
        (
            with(&|o| o.xtc = Some(Xtc::new(1.5, 0.1))),
            "xtc probability is 1.5",
        ),
        (
            with(&|o| o.xtc = Some(Xtc::new(0.5, 0.6))),
            "xtc threshold is 0.6",
        ),
        (
            with(&|o| o.dry = Some(Dry::new(-1.0))),
            "dry multiplier is -1",
        ),
        (
            with(&|o| o.dry = Some(Dry::new(1.0).with_base(0.5))),
            "dry base is 0.5",
        ),
        (
            with(&|o| o.mirostat = Some(Mirostat::v1().with_eta(0.0))),
            "mirostat eta is 0",
        ),
        (
            with(&|o| o.dynamic_temperature = Some(DynamicTemperature::new(0.5))),
            "temperature is 0",
        ),
        (
            with(&|o| o.length_decay = Some(LengthDecay::new(1, 0.0))),
            "length decay factor is 0",
        ),
        (
            with(&|o| o.sequence_bias = vec![(vec![], 1.0)]),
            "sequence bias",
        ),
        (with(&|o| o.bad_words = vec![vec![]]), "bad words"),
    ] {
        assert!(error.contains(part), "{error}");
    }
}
