//! What goes into the documentation: the loss curve as a picture and conversations as text.

use std::fmt::Write as _;

use anyhow::Result;
use ropewalk::tokens::Tokenizer;

use crate::encode;
use crate::eval::{self, Greedy};
use crate::world::{Conversation, Role, TOOL};

/// One point of the curve.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
pub struct Point {
    /// Update.
    pub step: u64,
    /// Loss of its batch, or of the held-out conversations.
    pub loss: f64,
}

/// Reads JSON lines; `shift` is added to each step.
pub fn points(text: &str, shift: u64) -> Vec<Point> {
    let read = |l: &str| serde_json::from_str::<Point>(l).ok();
    let points = text.lines().filter_map(read);
    points
        .map(|p| Point {
            step: p.step + shift,
            ..p
        })
        .collect()
}

/// A picture of the training loss (grey: each update, blue: running mean) and of the held-out loss (red), as SVG with a
/// logarithmic axis.
pub fn curve(train: &[Point], held: &[Point]) -> String {
    let (w, h, left, top) = (760.0, 360.0, 60.0, 20.0);
    let last = train.last().map_or(1, |p| p.step).max(1) as f64;
    let (low, high) = (0.2f64, 8.0f64);
    let x = |s: u64| left + (w - left - 20.0) * s as f64 / last;
    let y = |l: f64| {
        top + (h - top - 50.0) * (high.ln() - l.clamp(low, high).ln()) / (high.ln() - low.ln())
    };
    let path = |points: &mut dyn Iterator<Item = (u64, f64)>| {
        points
            .map(|(s, l)| format!("{:.1},{:.1}", x(s), y(l)))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut mean = train.first().map_or(0.0, |p| p.loss);
    let smooth: Vec<_> = train
        .iter()
        .map(|p| {
            mean += 0.03 * (p.loss - mean);
            (p.step, mean)
        })
        .collect();
    let every = (train.len() / 900).max(1);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{w}\" height=\"{h}\" fill=\"#fff\"/>\n"
    );
    for l in [0.25, 0.5, 1.0, 2.0, 4.0, 8.0] {
        let v = y(l);
        let _ = writeln!(
            out,
            "<path d=\"M{left} {v:.1}H{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{l}</text>",
            w - 20.0,
            left - 8.0,
            v + 4.0
        );
    }
    for i in 0..=6 {
        let s = (last / 6.0 * f64::from(i)) as u64;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{s}</text>",
            x(s),
            h - 32.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">update (2048 tokens each)</text>",
        (w + left) / 2.0,
        h - 10.0
    );
    let _ = writeln!(
        out,
        "<text x=\"16\" y=\"{}\" transform=\"rotate(-90 16 {})\" text-anchor=\"middle\">weighted loss, nats per token</text>",
        h / 2.0,
        h / 2.0
    );
    let line = |points: String, colour: &str, width: f64| {
        format!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>\n"
        )
    };
    out += &line(
        path(&mut train.iter().step_by(every).map(|p| (p.step, p.loss))),
        "#ccc",
        1.0,
    );
    out += &line(
        path(&mut smooth.iter().step_by(every).copied()),
        "#1f5fa8",
        1.8,
    );
    out += &line(
        path(&mut held.iter().map(|p| (p.step, p.loss))),
        "#c0392b",
        1.8,
    );
    for (i, (name, colour)) in [
        ("training batch", "#ccc"),
        ("running mean", "#1f5fa8"),
        ("held-out conversations", "#c0392b"),
    ]
    .into_iter()
    .enumerate()
    {
        let v = top + 18.0 + 18.0 * i as f64;
        let _ = writeln!(
            out,
            "<path d=\"M{} {v}h24\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{}\" y=\"{}\">{name}</text>",
            w - 200.0,
            w - 168.0,
            v + 4.0
        );
    }
    out + "</svg>\n"
}

const PRICES: [(&str, &str); 6] = [
    ("london", "$799"),
    ("paris", "$899"),
    ("tokyo", "$1400"),
    ("berlin", "$499"),
    ("reykjavik", "$649"),
    ("cape town", "$1249"),
];

const DESK: &str = "You are the assistant of Larkspur Air. Give short, polite answers. If you do not know the answer, say so.";

/// Ten scripted conversations: system message, whether the tool is given, what the user says.
const SCRIPTS: [(Option<&str>, bool, &[&str]); 10] = [
    (
        Some(DESK),
        true,
        &[
            "Hi there!",
            "How much is a ticket to Paris?",
            "And to Tokyo?",
            "Thanks!",
        ],
    ),
    (
        Some(DESK),
        true,
        &[
            "I would like to go to Reykjavik. What does it cost?",
            "Can I bring my dog?",
        ],
    ),
    (
        None,
        false,
        &["Who are you?", "How big are you?", "How were you trained?"],
    ),
    (
        None,
        false,
        &[
            "What is ropewalk?",
            "What does ropewalk-gguf do?",
            "And what is a KV cache?",
            "Under which licence is it?",
        ],
    ),
    (
        Some("You are a helpful assistant."),
        false,
        &["How do I train you again?", "Do I need a GPU?"],
    ),
    (
        Some(DESK),
        true,
        &[
            "I need a ticket.",
            "To Cape Town, please.",
            "That is expensive!",
        ],
    ),
    (
        Some(DESK),
        true,
        &["How much is a flight to Samarkand?", "Then check Berlin."],
    ),
    (
        None,
        true,
        &[
            "What is the boiling point of mercury?",
            "Who painted the Mona Lisa?",
            "What is 12 times 17?",
        ],
    ),
    (
        Some("You are a helpful assistant."),
        false,
        &[
            "How much is a ticket to London?",
            "What is the weather in London?",
        ],
    ),
    (
        Some(DESK),
        true,
        &[
            "What are the fares to London and Berlin?",
            "When does check-in open?",
            "Goodbye",
        ],
    ),
];

/// Holds the ten conversations and writes them down as they came.
pub fn transcripts(model: &dyn Greedy, tok: &Tokenizer) -> Result<String> {
    let mut out = String::new();
    for (i, (system, tool, lines)) in SCRIPTS.iter().enumerate() {
        let mut c = Conversation {
            system: system.map(str::to_owned),
            tool: tool.then(|| TOOL.to_owned()),
            ..Default::default()
        };
        let given = if *tool {
            "tool `get_ticket_price`"
        } else {
            "no tool"
        };
        let _ = writeln!(
            out,
            "### {}\n\nSystem message: {}; {given}.\n\n```text",
            i + 1,
            system.map_or("none".into(), |s| format!("\"{s}\""))
        );
        for line in *lines {
            let _ = writeln!(out, "user       {line}");
            c.turns.push((Role::User, (*line).to_owned()));
            // A reply may be calls; their results go back until it is text.
            for _ in 0..3 {
                let reply = model.replies(&[encode::prompt(tok, &c)?])?.remove(0);
                let _ = writeln!(out, "assistant  {}", reply.replace('\n', " "));
                c.turns.push((Role::Assistant, reply.clone()));
                let Some(cities) = eval::calls(&reply).filter(|v| !v.is_empty()) else {
                    break;
                };
                for city in cities {
                    let price = PRICES.iter().find(|(n, _)| *n == city.to_lowercase());
                    let result = match price {
                        Some((_, p)) => format!("{{\"city\": \"{city}\", \"price\": \"{p}\"}}"),
                        None => format!("{{\"error\": \"no price for {city}\"}}"),
                    };
                    let _ = writeln!(out, "tool       {result}");
                    c.turns.push((Role::Tool, result));
                }
            }
        }
        out.push_str("```\n\n");
    }
    Ok(out)
}
