//! `json.dumps` as the `tojson` filter of `transformers` calls it.

use super::error::{Res, type_error};
use super::filters::{bind, merge_sort};
use super::interp::Args;
use super::meter::{Meter, size};
use super::text::repr_float;
use super::value::Val;

struct Style<'a> {
    m: &'a Meter,
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort: bool,
}

/// `tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(crate) fn tojson(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    let [ascii, indent, separators, sort] = bind(
        "_cached_compile_jinja_template.<locals>.tojson",
        ["ensure_ascii", "indent", "separators", "sort_keys"],
        args,
    )?;
    let indent = match indent.as_ref() {
        None | Some(Val::None) => None,
        Some(Val::Str(text) | Val::Markup(text)) => Some(text.to_string()),
        Some(width) => match width.as_int() {
            Some(n) => Some(m.repeat(' ', size(n)?)?),
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
            let pair = pair.unpack(2, m)?;
            let [item, key] = &pair[..] else {
                return type_error("separators must be two texts");
            };
            (item.text(m)?.to_string(), key.text(m)?.to_string())
        }
    };
    let truth = |v: Option<Val>| v.is_some_and(|v| v.truth());
    let style = Style {
        m,
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

impl Style<'_> {
    fn write(&self, value: &Val, level: usize, out: &mut String) -> Res<()> {
        let m = self.m;
        m.charge(1)?;
        match value {
            Val::None => m.push(out, "null"),
            Val::Bool(b) => m.push(out, if *b { "true" } else { "false" }),
            Val::Int(i) => m.push(out, &i.to_string()),
            Val::Float(f) => m.push(out, &float(*f)),
            Val::Str(s) | Val::Markup(s) => self.string(s, out),
            Val::List(seq) | Val::Tuple(seq) => {
                if seq.items.is_empty() {
                    return m.push(out, "[]");
                }
                out.push('[');
                for (i, item) in seq.items.iter().enumerate() {
                    self.separate(i, level, out)?;
                    self.write(item, level + 1, out)?;
                }
                self.newline(level, out)?;
                m.push(out, "]")
            }
            Val::Dict(dict) => {
                let entries = dict.entries();
                if entries.is_empty() {
                    return m.push(out, "{}");
                }
                let order = if self.sort {
                    merge_sort(entries.len(), |a, b| {
                        let order = entries[b].0.order(&entries[a].0, "<", m)?;
                        Ok(order.is_some_and(std::cmp::Ordering::is_lt))
                    })?
                } else {
                    (0..entries.len()).collect()
                };
                out.push('{');
                for (i, at) in order.into_iter().enumerate() {
                    let (key, value) = &entries[at];
                    self.separate(i, level, out)?;
                    self.key(key, out)?;
                    m.push(out, &self.key)?;
                    self.write(value, level + 1, out)?;
                }
                self.newline(level, out)?;
                m.push(out, "}")
            }
            _ => type_error(format!(
                "Object of type {} is not JSON serializable",
                value.type_name()
            )),
        }
    }

    fn newline(&self, level: usize, out: &mut String) -> Res<()> {
        if let Some(indent) = &self.indent {
            out.push('\n');
            self.m.charge(level)?;
            for _ in 0..level {
                self.m.push(out, indent)?;
            }
        }
        Ok(())
    }

    fn separate(&self, at: usize, level: usize, out: &mut String) -> Res<()> {
        if at > 0 {
            self.m.push(out, &self.item)?;
        }
        self.newline(level + 1, out)
    }

    fn key(&self, key: &Val, out: &mut String) -> Res<()> {
        let text = match key {
            Val::Str(s) | Val::Markup(s) => return self.string(s, out),
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
        self.string(&text, out)
    }

    fn string(&self, text: &str, out: &mut String) -> Res<()> {
        // A character may become six.
        self.m.read(text)?;
        self.m.push(out, "\"")?;
        let before = out.len();
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
        self.m.charge((out.len() - before) / 16)?;
        self.m.push(out, "\"")
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
