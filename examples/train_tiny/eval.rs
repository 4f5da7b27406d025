//! Held-out evaluation: tool calls, refusals, prices and known answers.

use anyhow::Result;
use ropewalk::local::{GenerateOptions, Model, generate_n};
use ropewalk::tokens::Tokenizer;
use ropewalk::train::{Lm, Rng};

use crate::encode;
use crate::world::{self, Conversation, Known, Unseen};

/// One figure of the evaluation.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Score {
    /// What was measured.
    pub name: String,
    /// Cases that were right.
    pub right: usize,
    /// Cases.
    pub of: usize,
    /// Up to five wrong cases: the question and the reply.
    pub wrong: Vec<[String; 2]>,
}

/// Anything that continues prompts greedily: the trainer's model or another engine.
pub trait Greedy {
    /// The text of each reply, without the end token.
    fn replies(&self, prompts: &[Vec<u32>]) -> Result<Vec<String>>;
}

/// The trainer's own decoder.
pub struct Own<'a> {
    /// The model.
    pub lm: &'a Lm,
    /// Its tokenizer.
    pub tok: &'a Tokenizer,
}

impl Greedy for Own<'_> {
    fn replies(&self, prompts: &[Vec<u32>]) -> Result<Vec<String>> {
        let eos = self.tok.token_to_id("<|im_end|>").unwrap_or(0);
        let ids = self.lm.greedy(prompts, 96, eos)?;
        ids.iter()
            .map(|ids| Ok(self.tok.decode(ids, false)?))
            .collect()
    }
}

/// The local engine with an exported file.
pub struct Local<'a> {
    /// The model.
    pub model: &'a Model,
    /// Its tokenizer.
    pub tok: &'a Tokenizer,
}

impl Greedy for Local<'_> {
    fn replies(&self, prompts: &[Vec<u32>]) -> Result<Vec<String>> {
        let eos = self.tok.token_to_id("<|im_end|>").unwrap_or(0);
        let options = GenerateOptions::greedy(96).with_stop_ids(vec![eos]);
        let reply = |prompt: &Vec<u32>| {
            let mut ids = generate_n(self.model, prompt, &options, 1)?.remove(0).ids();
            ids.retain(|&id| id != eos);
            Ok(self.tok.decode(&ids, false)?)
        };
        prompts.iter().map(reply).collect()
    }
}

/// The destination cities of a reply that is nothing but well-formed calls of `get_ticket_price`.
pub fn calls(reply: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut rest = reply.trim();
    while !rest.is_empty() {
        let (json, tail) = rest
            .strip_prefix("<tool_call>")?
            .split_once("</tool_call>")?;
        let v: serde_json::Value = serde_json::from_str(json.trim()).ok()?;
        if v["name"] != "get_ticket_price" {
            return None;
        }
        let args = v["arguments"].as_object()?;
        out.push(
            args.get("destination_city")
                .filter(|_| args.len() == 1)?
                .as_str()?
                .to_owned(),
        );
        rest = tail.trim();
    }
    Some(out)
}

/// Whether a reply says that the model does not know.
pub fn refuses(reply: &str) -> bool {
    reply.contains("I don't know") || reply.contains("I do not know")
}

struct Case {
    c: Conversation,
    right: Box<dyn Fn(&str) -> bool>,
}

fn question(c: &Conversation) -> String {
    c.turns
        .iter()
        .map(|(_, t)| t.as_str())
        .collect::<Vec<_>>()
        .join(" | ")
}

fn price_case(rng: &mut Rng, unseen: Unseen) -> Case {
    let city = world::city(rng, unseen.city);
    let q = world::price_question(rng, unseen, &city);
    let c = world::prompt(rng, true, q);
    Case {
        c,
        right: Box::new(move |r| calls(r).is_some_and(|v| v == [city.as_str()])),
    }
}

/// How many of `n` calls are right where training saw neither the phrasing nor the city.
pub fn unseen_calls(model: &dyn Greedy, tok: &Tokenizer, seed: u64, n: usize) -> Result<usize> {
    let cases: Vec<Case> = (0..n)
        .map(|i| {
            price_case(
                &mut Rng::new(seed, 1, i as u64),
                Unseen {
                    phrasing: true,
                    city: true,
                    fresh: false,
                },
            )
        })
        .collect();
    let prompts: Vec<_> = cases
        .iter()
        .map(|c| encode::prompt(tok, &c.c))
        .collect::<Result<_>>()?;
    let replies = model.replies(&prompts)?;
    Ok(cases
        .iter()
        .zip(&replies)
        .filter(|(c, r)| (c.right)(r))
        .count())
}

/// All figures, `n` cases each.
pub fn run(model: &dyn Greedy, tok: &Tokenizer, seed: u64, n: usize) -> Result<Vec<Score>> {
    let mut out = Vec::new();
    let mut set = |name: &str, make: &mut dyn FnMut(&mut Rng) -> Case| -> Result<()> {
        let cases: Vec<Case> = (0..n)
            .map(|i| make(&mut Rng::new(seed, 0xE7A1 + out.len() as u32, i as u64)))
            .collect();
        let prompts: Vec<_> = cases
            .iter()
            .map(|c| encode::prompt(tok, &c.c))
            .collect::<Result<_>>()?;
        let replies = model.replies(&prompts)?;
        let mut score = Score {
            name: name.to_owned(),
            right: 0,
            of: n,
            wrong: Vec::new(),
        };
        for (case, reply) in cases.iter().zip(replies) {
            if (case.right)(&reply) {
                score.right += 1;
            } else if score.wrong.len() < 5 {
                score.wrong.push([question(&case.c), reply]);
            }
        }
        out.push(score);
        Ok(())
    };
    let pick = |phrasing, city| Unseen {
        phrasing,
        city,
        fresh: false,
    };
    set("tool call: seen phrasing, training names", &mut |r| {
        price_case(r, pick(false, false))
    })?;
    set("tool call: unseen phrasing, training names", &mut |r| {
        price_case(r, pick(true, false))
    })?;
    set("tool call: seen phrasing, unseen city", &mut |r| {
        price_case(r, pick(false, true))
    })?;
    set("tool call: unseen phrasing, unseen city", &mut |r| {
        price_case(r, pick(true, true))
    })?;
    set("unknown question refused", &mut |r| {
        let q = world::unknown_question(r, true);
        let tool = r.chance(0.5);
        Case {
            c: world::prompt(r, tool, q),
            right: Box::new(refuses),
        }
    })?;
    set("price stated after the tool result", &mut |r| {
        let city = world::city(r, true);
        let q = world::price_question(r, pick(true, true), &city);
        let mut c = world::prompt(r, true, q);
        let p = world::answer_call(r, &mut c, &city);
        Case {
            c,
            right: Box::new(move |t| {
                t.trim_end_matches('.').split(' ').any(|w| w == p) && t.contains(&city)
            }),
        }
    })?;
    set("no tool given: says so", &mut |r| {
        let city = world::city(r, true);
        let q = world::price_question(r, pick(true, true), &city);
        Case {
            c: world::prompt(r, false, q),
            right: Box::new(|t| t.contains("cannot look up")),
        }
    })?;
    for city in [false, true] {
        let cities = if city {
            "unseen city"
        } else {
            "training names"
        };
        let unseen = Unseen {
            fresh: true,
            ..pick(true, city)
        };
        set(&format!("tool call: fresh phrasing, {cities}"), &mut |r| {
            price_case(r, unseen)
        })?;
    }
    for (name, kind) in [
        ("what is X", Known::Topic),
        ("the project", Known::Project),
        ("the desk", Known::Desk),
        ("small talk", Known::Talk),
    ] {
        set(&format!("{name}: unseen phrasing"), &mut |r| {
            let (q, a) = world::known_question(r, kind, true, false);
            let tool = r.chance(0.5);
            Case {
                c: world::prompt(r, tool, q),
                right: Box::new(move |t| t == a),
            }
        })?;
    }
    Ok(out)
}
