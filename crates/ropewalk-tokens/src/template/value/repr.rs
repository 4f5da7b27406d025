//! What Python prints for a value.

use super::{MAX_DEPTH, Object, Val};
use crate::template::error::Res;
use crate::template::meter::Meter;
use crate::template::text::{repr_float, repr_str};
use std::sync::Arc;

impl Val {
    /// `str(value)`, into `out`.
    pub(crate) fn write(&self, out: &mut String, m: &Meter) -> Res<()> {
        match self {
            Self::Undefined(_) => Ok(()),
            Self::Str(s) | Self::Markup(s) => m.push(out, s),
            _ => self.write_repr(out, 0, m),
        }
    }

    /// `str(value)`.
    pub(crate) fn text(&self, m: &Meter) -> Res<Arc<str>> {
        if let Self::Str(s) | Self::Markup(s) = self {
            return Ok(s.clone());
        }
        let mut out = String::new();
        self.write(&mut out, m)?;
        Ok(out.into())
    }

    /// `repr(value)`.
    pub(crate) fn repr(&self, m: &Meter) -> Res<String> {
        let mut out = String::new();
        self.write_repr(&mut out, 0, m)?;
        Ok(out)
    }

    fn write_repr(&self, out: &mut String, level: u32, m: &Meter) -> Res<()> {
        m.charge(1)?;
        // Namespaces can be chained deeper than their recorded depth says.
        if level > 2 * MAX_DEPTH {
            return m.push(out, "...");
        }
        match self {
            Self::Undefined(_) => m.push(out, "Undefined"),
            Self::None => m.push(out, "None"),
            Self::Bool(b) => m.push(out, if *b { "True" } else { "False" }),
            Self::Int(i) => m.push(out, &i.to_string()),
            Self::Float(f) => m.push(out, &repr_float(*f)),
            Self::Str(s) => write_str(out, s, m),
            Self::Markup(s) => {
                out.push_str("Markup(");
                write_str(out, s, m)?;
                m.push(out, ")")
            }
            Self::List(seq) => write_items(out, level, "[", &seq.items, "]", m),
            Self::Tuple(seq) if seq.items.len() == 1 => {
                write_items(out, level, "(", &seq.items, ",)", m)
            }
            Self::Tuple(seq) => write_items(out, level, "(", &seq.items, ")", m),
            Self::Dict(dict) => write_dict(out, level, &dict.entries, m),
            Self::Object(object) => object.write_repr(self, out, level, m),
        }
    }
}

fn write_str(out: &mut String, text: &str, m: &Meter) -> Res<()> {
    m.read(text)?;
    m.push(out, &repr_str(text))
}

fn write_items(
    out: &mut String,
    level: u32,
    open: &str,
    items: &[Val],
    close: &str,
    m: &Meter,
) -> Res<()> {
    out.push_str(open);
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        item.write_repr(out, level + 1, m)?;
    }
    m.push(out, close)
}

fn write_dict(out: &mut String, level: u32, entries: &[(Val, Val)], m: &Meter) -> Res<()> {
    out.push('{');
    for (i, (key, value)) in entries.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        key.write_repr(out, level + 1, m)?;
        out.push_str(": ");
        value.write_repr(out, level + 1, m)?;
    }
    m.push(out, "}")
}

impl Object {
    fn write_repr(&self, value: &Val, out: &mut String, level: u32, m: &Meter) -> Res<()> {
        match self {
            Self::View(kind, dict) => {
                m.items(dict.entries.len())?;
                out.push_str(value.type_name());
                write_items(out, level, "([", &dict.view(*kind), "])", m)
            }
            Self::Range {
                start,
                stop,
                step: 1,
            } => m.push(out, &format!("range({start}, {stop})")),
            Self::Range { start, stop, step } => {
                m.push(out, &format!("range({start}, {stop}, {step})"))
            }
            Self::Namespace { entries, .. } => {
                out.push_str("<Namespace {");
                match entries.try_borrow_mut() {
                    Ok(entries) => {
                        for (i, (name, value)) in entries.iter().enumerate() {
                            if i > 0 {
                                out.push_str(", ");
                            }
                            write_str(out, name, m)?;
                            out.push_str(": ");
                            value.write_repr(out, level + 1, m)?;
                        }
                    }
                    // The namespace holds itself.
                    Err(_) => out.push_str("..."),
                }
                m.push(out, "}>")
            }
            Self::Macro(macro_) => match &macro_.definition.name {
                Some(name) => m.push(out, &format!("<Macro {}>", repr_str(name))),
                None => m.push(out, "<Macro anonymous>"),
            },
            Self::Loop(l) => m.push(
                out,
                &format!("<LoopContext {}/{}>", l.index.get() + 1, l.items.len()),
            ),
            // Python prints an address here; there is none to match.
            Self::Iter(..)
            | Self::Method(..)
            | Self::Function(_)
            | Self::Cycler { .. }
            | Self::Joiner { .. } => m.push(out, &format!("<{} object>", value.type_name())),
        }
    }
}
