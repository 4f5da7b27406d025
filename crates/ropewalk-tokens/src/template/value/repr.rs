//! What Python prints for a value.

use super::{MAX_DEPTH, Object, Val};
use crate::template::text::{repr_float, repr_str};
use std::sync::Arc;

impl Val {
    /// `str(value)`, into `out`.
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Undefined(_) => {}
            Self::Str(s) | Self::Markup(s) => out.push_str(s),
            _ => self.write_repr(out, 0),
        }
    }

    /// `str(value)`.
    pub(crate) fn text(&self) -> Arc<str> {
        if let Self::Str(s) | Self::Markup(s) = self {
            return s.clone();
        }
        let mut out = String::new();
        self.write(&mut out);
        out.into()
    }

    /// `repr(value)`.
    pub(crate) fn repr(&self) -> String {
        let mut out = String::new();
        self.write_repr(&mut out, 0);
        out
    }

    fn write_repr(&self, out: &mut String, level: u32) {
        // Namespaces can be chained deeper than their recorded depth says.
        if level > 2 * MAX_DEPTH {
            out.push_str("...");
            return;
        }
        match self {
            Self::Undefined(_) => out.push_str("Undefined"),
            Self::None => out.push_str("None"),
            Self::Bool(b) => out.push_str(if *b { "True" } else { "False" }),
            Self::Int(i) => out.push_str(&i.to_string()),
            Self::Float(f) => out.push_str(&repr_float(*f)),
            Self::Str(s) => out.push_str(&repr_str(s)),
            Self::Markup(s) => {
                out.push_str("Markup(");
                out.push_str(&repr_str(s));
                out.push(')');
            }
            Self::List(seq) => write_items(out, level, "[", &seq.items, "]"),
            Self::Tuple(seq) if seq.items.len() == 1 => {
                write_items(out, level, "(", &seq.items, ",)");
            }
            Self::Tuple(seq) => write_items(out, level, "(", &seq.items, ")"),
            Self::Dict(dict) => write_dict(out, level, &dict.entries),
            Self::Object(object) => object.write_repr(self, out, level),
        }
    }
}

fn write_items(out: &mut String, level: u32, open: &str, items: &[Val], close: &str) {
    out.push_str(open);
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        item.write_repr(out, level + 1);
    }
    out.push_str(close);
}

fn write_dict(out: &mut String, level: u32, entries: &[(Val, Val)]) {
    out.push('{');
    for (i, (key, value)) in entries.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        key.write_repr(out, level + 1);
        out.push_str(": ");
        value.write_repr(out, level + 1);
    }
    out.push('}');
}

impl Object {
    fn write_repr(&self, value: &Val, out: &mut String, level: u32) {
        match self {
            Self::View(kind, dict) => {
                out.push_str(value.type_name());
                write_items(out, level, "([", &dict.view(*kind), "])");
            }
            Self::Range {
                start,
                stop,
                step: 1,
            } => out.push_str(&format!("range({start}, {stop})")),
            Self::Range { start, stop, step } => {
                out.push_str(&format!("range({start}, {stop}, {step})"));
            }
            Self::Namespace { entries, .. } => {
                out.push_str("<Namespace {");
                match entries.try_borrow_mut() {
                    Ok(entries) => {
                        for (i, (name, value)) in entries.iter().enumerate() {
                            if i > 0 {
                                out.push_str(", ");
                            }
                            out.push_str(&repr_str(name));
                            out.push_str(": ");
                            value.write_repr(out, level + 1);
                        }
                    }
                    // The namespace holds itself.
                    Err(_) => out.push_str("..."),
                }
                out.push_str("}>");
            }
            Self::Macro(m) => match &m.definition.name {
                Some(name) => out.push_str(&format!("<Macro {}>", repr_str(name))),
                None => out.push_str("<Macro anonymous>"),
            },
            Self::Loop(l) => {
                out.push_str(&format!(
                    "<LoopContext {}/{}>",
                    l.index.get() + 1,
                    l.items.len()
                ));
            }
            // Python prints an address here; there is none to match.
            Self::Iter(..)
            | Self::Method(..)
            | Self::Function(_)
            | Self::Cycler { .. }
            | Self::Joiner { .. } => {
                out.push_str(&format!("<{} object>", value.type_name()));
            }
        }
    }
}
