//! The page around the tokens.

use std::fmt::Write;

use serde_json::{Value, json};

use super::chart::chart;
use super::token::probability;
use super::{TokenView, ViewToken};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Writes text as HTML, in elements and in attributes with double quotes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // HTML has no other control characters.
            '\t' | '\n' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn percent(p: f64) -> String {
    match 100.0 * p {
        x if x >= 99.95 || x == 0.0 => format!("{x:.0} %"),
        x if x >= 0.1 => format!("{x:.1} %"),
        x => format!("{x:.0e} %"),
    }
}

/// What the script shows of a token.
fn data(view: &TokenView) -> String {
    let mut sum = 0.0;
    let token = |token: &ViewToken| {
        sum += f64::from(token.logprob);
        let top = token.top.iter().map(|(text, logprob)| {
            json!([
                text.visible(true),
                percent(probability(*logprob)),
                probability(*logprob),
                *text == token.text
            ])
        });
        let mut top: Vec<Value> = top.collect();
        if !token.top.iter().any(|(text, _)| *text == token.text) {
            let p = token.probability();
            top.push(json!([token.text.visible(true), percent(p), p, true]));
        }
        json!({
            "logprob": format!("{:.3}", token.logprob),
            "sum": format!("{sum:.3}"),
            "entropy": token.entropy().map(|bits| format!("{bits:.2}")),
            "top": top,
        })
    };
    let all: Vec<Value> = view.tokens.iter().map(token).collect();
    // Nothing in it may end the element.
    Value::from(all)
        .to_string()
        .replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

fn tokens(view: &TokenView) -> String {
    let mut out = String::new();
    for (i, token) in view.tokens.iter().enumerate() {
        let p = token.probability();
        let others = token.top.iter().filter(|(text, _)| *text != token.text);
        let others: Vec<String> = others
            .map(|(text, logprob)| {
                format!("{} {}", text.visible(true), percent(probability(*logprob)))
            })
            .collect();
        let mut title = percent(p);
        if !others.is_empty() {
            title = format!("{title}; else {}", others.join(", "));
        }
        let visible = token.text.visible(false);
        let label = token.text.visible(true);
        _ = write!(
            out,
            "<button type=\"button\"{} data-i=\"{i}\" tabindex=\"{}\" style=\"--p:{p:.4}\" \
             aria-label=\"{}, {}\" title=\"{}\">{}</button>",
            if p < 0.5 { " class=\"low\"" } else { "" },
            if i == 0 { 0 } else { -1 },
            escape(&label),
            percent(p),
            escape(&title),
            escape(&visible),
        );
        for _ in 0..token.text.line_ends() {
            out.push_str("<br>");
        }
    }
    out
}

pub(super) fn page(view: &TokenView) -> String {
    let heading = if view.title.is_empty() {
        "Tokens"
    } else {
        &view.title
    };
    let n = view.tokens.len();
    let known: Vec<f64> = view.tokens.iter().filter_map(ViewToken::entropy).collect();
    let mut facts = vec![("tokens", n.to_string())];
    if let Some(perplexity) = view.perplexity() {
        facts.push(("log-probability", format!("{:.3}", view.log_probability())));
        facts.push(("perplexity", format!("{perplexity:.3}")));
    }
    if !known.is_empty() {
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        facts.push(("mean entropy, at least", format!("{mean:.2} bits")));
    }
    let facts: String = facts
        .iter()
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>"))
        .collect();
    let prompt = if view.prompt.is_empty() {
        String::new()
    } else {
        format!(
            "<details open><summary>Prompt</summary><pre>{}</pre></details>",
            escape(&view.prompt)
        )
    };
    let body = if n == 0 {
        "<p>There are no log probabilities to show.</p>".to_owned()
    } else {
        format!(
            "<section aria-label=\"Tokens\" class=\"tokens\" role=\"toolbar\">{}</section>\
             <p class=\"scale\"><span>0 %</span><i></i><span>100 %</span><span class=\"hint\">Arrow keys go from token to token.</span></p>\
             <section class=\"detail\" id=\"detail\" aria-live=\"polite\"><p>Choose a token to see what might have come instead.</p></section>\
             <h2>Surprise and entropy in bits</h2>\
             <p class=\"legend\"><span class=\"bar\"></span>surprise of the token \
             <span class=\"line\"></span>entropy of the tokens shown, all others as one</p>\
             <div class=\"chart\">{}</div>",
            tokens(view),
            chart(view),
        )
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n<dl>{facts}</dl>\n{prompt}\n{body}\n</main>\n\
         <script type=\"application/json\" id=\"data\">{data}</script>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        title = escape(heading),
        data = data(view),
    )
}
