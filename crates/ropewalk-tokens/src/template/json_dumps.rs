//! `json.dumps` as the `tojson` filter of `transformers` calls it.

use super::error::{Res, type_error};
use super::filters::{bind, merge_sort};
use super::interp::Args;
use super::text::repr_float;
use super::value::Val;

struct Style {
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort: bool,
}

/// `tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(crate) fn tojson(value: &Val, args: Args) -> Res<Val> {
    let [ascii, indent, separators, sort] = bind(
        "_cached_compile_jinja_template.<locals>.tojson",
        ["ensure_ascii", "indent", "separators", "sort_keys"],
        args,
    )?;
    let indent = match indent.as_ref() {
        None | Some(Val::None) => None,
        Some(Val::Str(text) | Val::Markup(text)) => Some(text.to_string()),
        Some(width) => match width.as_int() {
            Some(n) => Some(" ".repeat(n.clamp(0, 1000) as usize)),
            None => {
                return type_error(format!(
                    "can't multiply sequence by non-int of type '{}'",
                    width.type_name()
                ));
            }
        },
    };
    let (item, key) = match separators {
        None | Some(Val::None) => (
            if indent.is_some() { "," } else { ", " }.to_owned(),
            ": ".to_owned(),
        ),
        Some(pair) => {
            let pair = pair.unpack(2)?;
            let [item, key] = &pair[..] else {
                return type_error("separators must be two texts");
            };
            (item.text().to_string(), key.text().to_string())
        }
    };
    let truth = |v: Option<Val>| v.is_some_and(|v| v.truth());
    let style = Style {
        ascii: truth(ascii),
        indent,
        item,
        key,
        sort: truth(sort),
    };
    let mut out = String::new();
    style.write(value, 0, &mut out)?;
    Ok(out.into())
}

impl Style {
    fn write(&self, value: &Val, level: usize, out: &mut String) -> Res<()> {
        match value {
            Val::None => out.push_str("null"),
            Val::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Val::Int(i) => out.push_str(&i.to_string()),
            Val::Float(f) => out.push_str(&float(*f)),
            Val::Str(s) | Val::Markup(s) => self.string(s, out),
            Val::List(seq) | Val::Tuple(seq) => {
                if seq.items.is_empty() {
                    out.push_str("[]");
                    return Ok(());
                }
                out.push('[');
                for (i, item) in seq.items.iter().enumerate() {
                    self.separate(i, level, out);
                    self.write(item, level + 1, out)?;
                }
                self.newline(level, out);
                out.push(']');
            }
            Val::Dict(dict) => {
                if dict.entries().is_empty() {
                    out.push_str("{}");
                    return Ok(());
                }
                let entries = dict.entries();
                let order = if self.sort {
                    merge_sort(entries.len(), |a, b| {
                        let order = entries[b].0.order(&entries[a].0, "<")?;
                        Ok(order.is_some_and(std::cmp::Ordering::is_lt))
                    })?
                } else {
                    (0..entries.len()).collect()
                };
                out.push('{');
                for (i, at) in order.into_iter().enumerate() {
                    let (key, value) = &entries[at];
                    self.separate(i, level, out);
                    self.key(key, out)?;
                    out.push_str(&self.key);
                    self.write(value, level + 1, out)?;
                }
                self.newline(level, out);
                out.push('}');
            }
            _ => {
                return type_error(format!(
                    "Object of type {} is not JSON serializable",
                    value.type_name()
                ));
            }
        }
        Ok(())
    }

    fn newline(&self, level: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            for _ in 0..level {
                out.push_str(indent);
            }
        }
    }

    fn separate(&self, at: usize, level: usize, out: &mut String) {
        if at > 0 {
            out.push_str(&self.item);
        }
        self.newline(level + 1, out);
    }

    fn key(&self, key: &Val, out: &mut String) -> Res<()> {
        let text = match key {
            Val::Str(s) | Val::Markup(s) => {
                self.string(s, out);
                return Ok(());
            }
            Val::None => "null".to_owned(),
            Val::Bool(b) => b.to_string(),
            Val::Int(i) => i.to_string(),
            Val::Float(f) => float(*f),
            _ => {
                return type_error(format!(
                    "keys must be str, int, float, bool or None, not {}",
                    key.type_name()
                ));
            }
        };
        self.string(&text, out);
        Ok(())
    }

    fn string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
                _ if self.ascii && !c.is_ascii() => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                _ => out.push(c),
            }
        }
        out.push('"');
    }
}

fn float(f: f64) -> String {
    if f.is_nan() {
        "NaN".to_owned()
    } else if f.is_infinite() {
        if f > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        repr_float(f)
    }
}
