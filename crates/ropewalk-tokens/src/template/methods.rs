//! The methods of text, lists, dictionaries and loops that templates may call.

mod search;

use super::error::{ErrorKind, Res, err, type_error};
use super::filters::{bind, integer};
use super::filters::{centered, replaced, strip, striptags, unescape};
use super::interp::Args;
use super::meter::{Meter, size};
use super::ops::like;
use super::printf;
use super::text::{self, is_cased, is_printable, is_space};
use super::value::{Dict, Object, Val, ViewKind, all_equal};
use std::rc::Rc;

/// `receiver.name(args)`.
pub(crate) fn call(receiver: &Val, name: &'static str, args: Args, m: &Meter) -> Res<Val> {
    match receiver {
        Val::Str(_) | Val::Markup(_) => string(receiver, name, args, m),
        Val::Dict(dict) => dictionary(dict, name, args, m),
        Val::List(seq) | Val::Tuple(seq) => sequence(receiver, &seq.items, name, &args, m),
        Val::Object(object) => match &**object {
            Object::Loop(this) => match name {
                "cycle" if args.positional.is_empty() => type_error("no items for cycling given"),
                "cycle" => Ok(args.positional[this.index.get() % args.positional.len()].clone()),
                _ => {
                    let new = args.positional;
                    let mut last = this.changed.borrow_mut();
                    let same = match last.as_ref() {
                        Some(old) if old.len() == new.len() => all_equal(old, &new, m)?,
                        _ => false,
                    };
                    *last = Some(new);
                    Ok(Val::Bool(!same))
                }
            },
            Object::Cycler { items, at, .. } => {
                if name == "reset" {
                    at.set(0);
                    return Ok(Val::None);
                }
                let item = items[at.get() % items.len()].clone();
                at.set((at.get() + 1) % items.len());
                Ok(item)
            }
            Object::Range { .. } => sequence(receiver, &receiver.items(m)?, name, &args, m),
            _ => fromkeys(args, m),
        },
        Val::Float(f) if name == "is_integer" => Ok(Val::Bool(f.fract() == 0.0)),
        Val::Int(i) if name == "bit_length" => {
            Ok(Val::Int((128 - i.unsigned_abs().leading_zeros()).into()))
        }
        Val::Int(i) if name == "bit_count" => Ok(Val::Int(i.unsigned_abs().count_ones().into())),
        _ => unsupported(receiver, name),
    }
}

fn unsupported<T>(receiver: &Val, name: &str) -> Res<T> {
    err(
        ErrorKind::Type,
        format!(
            "the method '{name}' of '{}' is not available in chat templates",
            receiver.type_name()
        ),
    )
}

fn fromkeys(args: Args, m: &Meter) -> Res<Val> {
    let [keys, value] = bind("fromkeys", ["iterable", "value"], args)?;
    let mut dict = Dict::default();
    for key in keys.map_or_else(|| Ok(Vec::new()), |k| k.items(m))? {
        dict.insert(key, value.clone().unwrap_or(Val::None), m)?;
    }
    Ok(Val::dict(dict))
}

fn dictionary(dict: &Rc<Dict>, name: &str, args: Args, m: &Meter) -> Res<Val> {
    let view = |kind| Ok(Val::object(Object::View(kind, dict.clone())));
    match name {
        "get" => {
            if !args.named.is_empty() {
                return type_error("dict.get() takes no keyword arguments");
            }
            let mut given = args.positional.into_iter();
            let Some(key) = given.next() else {
                return type_error("get expected at least 1 argument, got 0");
            };
            let default = given.next().unwrap_or(Val::None);
            Ok(dict.get(&key, m)?.cloned().unwrap_or(default))
        }
        "items" => view(ViewKind::Items),
        "keys" => view(ViewKind::Keys),
        "values" => view(ViewKind::Values),
        "copy" => Ok(Val::Dict(dict.clone())),
        _ => fromkeys(args, m),
    }
}

fn sequence(receiver: &Val, items: &[Val], name: &str, args: &Args, m: &Meter) -> Res<Val> {
    if name == "copy" {
        m.items(items.len())?;
        return Ok(Val::list(items.to_vec()));
    }
    let Some(wanted) = args.positional.first() else {
        let kind = receiver.type_name();
        return type_error(if name == "index" {
            "index expected at least 1 argument, got 0".to_owned()
        } else {
            format!("{kind}.count() takes exactly one argument (0 given)")
        });
    };
    if name == "count" {
        let mut count = 0usize;
        for item in items {
            m.charge(1)?;
            count += usize::from(item.equals(wanted, m)?);
        }
        return Ok(Val::from(count));
    }
    let (start, stop) = bounds(items.len(), &args.positional[1..])?;
    match wanted.position_in(&items[start..stop.max(start)], m)? {
        Some(at) => Ok(Val::from(start + at)),
        None => type_error(match receiver {
            Val::Tuple(_) => "tuple.index(x): x not in tuple".to_owned(),
            _ => format!("{} is not in list", wanted.repr(m)?),
        }),
    }
}

/// `start` and `stop` of a search, as a slice takes them.
fn bounds(length: usize, args: &[Val]) -> Res<(usize, usize)> {
    let mut out = [0, length];
    for (bound, arg) in out.iter_mut().zip(args) {
        if let Val::None = arg {
            continue;
        }
        let Some(i) = arg.as_int() else {
            return type_error(
                "slice indices must be integers or None or have an __index__ method",
            );
        };
        let i = if i < 0 { i + length as i128 } else { i };
        *bound = i.clamp(0, length as i128) as usize;
    }
    Ok((out[0], out[1]))
}

fn string(receiver: &Val, name: &'static str, args: Args, m: &Meter) -> Res<Val> {
    let text = receiver.text(m)?;
    let s: &str = &text;
    match name {
        "startswith" | "endswith" => {}
        // Several passes over the text, or a text made of every character.
        "unescape" | "striptags" | "title" | "istitle" | "swapcase" => m.charge(s.len() / 2)?,
        _ => m.read(s)?,
    }
    let make = |text: String| Ok(like(receiver, text));
    let all = |test: fn(char) -> bool| Ok(Val::Bool(!s.is_empty() && s.chars().all(test)));
    match name {
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = bind(name, ["chars"], args)?;
            let chars = chars.filter(|c| !matches!(c, Val::None));
            let set = match &chars {
                None => None,
                Some(chars) => match chars.as_str() {
                    Some(set) => Some(set),
                    None => return type_error(format!("{name} arg must be None or str")),
                },
            };
            strip(receiver, set, name != "rstrip", name != "lstrip", m)
        }
        "split" | "rsplit" => split(receiver, s, args, name == "rsplit", m),
        "splitlines" => {
            let [keep] = bind("splitlines", ["keepends"], args)?;
            let mut rows = Vec::new();
            for line in text::lines(s, keep.is_some_and(|k| k.truth())) {
                m.charge(2)?;
                rows.push(like(receiver, line.to_owned()));
            }
            Ok(Val::list(rows))
        }
        "startswith" | "endswith" => search::affix(s, name, &args, m),
        "removeprefix" => {
            let affix = affix_argument(name, &args)?;
            make(s.strip_prefix(affix).unwrap_or(s).to_owned())
        }
        "removesuffix" => {
            let affix = affix_argument(name, &args)?;
            make(s.strip_suffix(affix).unwrap_or(s).to_owned())
        }
        "replace" => {
            let mut given = args.positional.iter();
            let (Some(old), Some(new)) = (given.next(), given.next()) else {
                let n = args.positional.len();
                return type_error(format!("replace expected at least 2 arguments, got {n}"));
            };
            let count = integer(given.next(), -1)?;
            let (old, new) = (
                part(old, "replace() argument 1")?,
                part(new, "replace() argument 2")?,
            );
            make(replaced(s, old, new, count, m)?)
        }
        "join" => join(receiver, s, &args, m),
        "format" => printf::str_format(receiver, &args, m),
        "format_map" => match args.positional.first() {
            Some(Val::Dict(dict)) => {
                m.items(dict.entries().len())?;
                let named = dict
                    .entries()
                    .iter()
                    .map(|(k, v)| Ok((k.text(m)?, v.clone())))
                    .collect::<Res<_>>()?;
                printf::str_format(
                    receiver,
                    &Args {
                        positional: Vec::new(),
                        named,
                    },
                    m,
                )
            }
            _ => type_error("format_map() takes exactly one argument (0 given)"),
        },
        "upper" => make(s.to_uppercase()),
        "lower" | "casefold" => make(s.to_lowercase()),
        "capitalize" => make(text::capitalize(s)),
        "title" => make(text::title(s)),
        "swapcase" => make(
            s.chars()
                .map(|c| {
                    if c.is_uppercase() {
                        c.to_lowercase().to_string()
                    } else {
                        c.to_uppercase().to_string()
                    }
                })
                .collect(),
        ),
        "count" | "find" | "rfind" | "index" | "rindex" => search::search(s, name, &args, m),
        "partition" | "rpartition" => {
            let Some(sep) = args.positional.first() else {
                return type_error(format!("str.{name}() takes exactly one argument (0 given)"));
            };
            let sep = part(sep, "must be str")?;
            if sep.is_empty() {
                return type_error("empty separator");
            }
            let found = if name == "partition" {
                s.find(sep)
            } else {
                s.rfind(sep)
            };
            let parts = match found {
                Some(at) => [&s[..at], sep, &s[at + sep.len()..]],
                None if name == "partition" => [s, "", ""],
                None => ["", "", s],
            };
            Ok(Val::tuple(
                parts.map(|p| like(receiver, p.to_owned())).to_vec(),
            ))
        }
        "center" | "ljust" | "rjust" => {
            let width = size(integer(args.positional.first(), 0)?)?;
            let fill = args.positional.get(1).map(|fill| fill.text(m));
            let fill = match fill.transpose()? {
                None => ' ',
                Some(fill) if fill.chars().take(2).count() == 1 => {
                    fill.chars().next().unwrap_or(' ')
                }
                Some(_) => {
                    return type_error("The fill character must be exactly one character long");
                }
            };
            let missing = width.saturating_sub(s.chars().count());
            if name == "center" {
                return make(centered(s, width, fill, m)?);
            }
            let pad = m.repeat(fill, missing)?;
            make(match name {
                "ljust" => format!("{s}{pad}"),
                _ => format!("{pad}{s}"),
            })
        }
        "zfill" => {
            let width = size(integer(args.positional.first(), 0)?)?;
            let zeros = m.repeat('0', width.saturating_sub(s.chars().count()))?;
            let (sign, digits) = s.split_at(usize::from(s.starts_with(['+', '-'])));
            make(format!("{sign}{zeros}{digits}"))
        }
        "expandtabs" => {
            let [tab] = bind("expandtabs", ["tabsize"], args)?;
            make(expandtabs(s, size(integer(tab.as_ref(), 8)?)?, m)?)
        }
        "isalnum" => all(char::is_alphanumeric),
        "isalpha" => all(char::is_alphabetic),
        "isascii" => Ok(Val::Bool(s.is_ascii())),
        "isdecimal" | "isdigit" | "isnumeric" => all(char::is_numeric),
        "isspace" => all(is_space),
        "isprintable" => Ok(Val::Bool(s.chars().all(is_printable))),
        "islower" => Ok(Val::Bool(is_cased(s, true))),
        "isupper" => Ok(Val::Bool(is_cased(s, false))),
        "istitle" => Ok(Val::Bool(
            s.chars().any(|c| c.is_uppercase() || c.is_lowercase()) && text::title(s) == s,
        )),
        "isidentifier" => Ok(Val::Bool(
            s.chars()
                .next()
                .is_some_and(|c| c.is_alphabetic() || c == '_')
                && s.chars().all(|c| c.is_alphanumeric() || c == '_'),
        )),
        "striptags" => Ok(striptags(s).into()),
        "unescape" => Ok(unescape(s).into()),
        _ => unsupported(receiver, name),
    }
}

fn part<'a>(value: &'a Val, what: &str) -> Res<&'a str> {
    match (value.as_str(), value) {
        (Some(text), _) => Ok(text),
        (None, Val::Undefined(u)) => u.fail(),
        _ if what == "must be str" => type_error(format!("must be str, not {}", value.type_name())),
        _ => type_error(format!("{what} must be str, not {}", value.type_name())),
    }
}

fn affix_argument<'a>(name: &str, args: &'a Args) -> Res<&'a str> {
    match args.positional.first() {
        Some(value) => part(value, &format!("{name}() argument")),
        None => type_error(format!("str.{name}() takes exactly one argument (0 given)")),
    }
}

fn split(receiver: &Val, s: &str, args: Args, from_right: bool, m: &Meter) -> Res<Val> {
    let [sep, max] = bind("split", ["sep", "maxsplit"], args)?;
    let max = usize::try_from(integer(max.as_ref(), -1)?).unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = Vec::new();
    match sep.filter(|sep| !matches!(sep, Val::None)) {
        Some(sep) => {
            let sep = part(&sep, "must be str")?.to_owned();
            if sep.is_empty() {
                return type_error("empty separator");
            }
            let pieces = max.saturating_add(1);
            if from_right {
                for part in s.rsplitn(pieces, &*sep) {
                    m.charge(2)?;
                    parts.push(part);
                }
                parts.reverse();
            } else {
                for part in s.splitn(pieces, &*sep) {
                    m.charge(2)?;
                    parts.push(part);
                }
            }
        }
        None if from_right => {
            let mut rest = s.trim_end_matches(is_space);
            while !rest.is_empty() {
                m.charge(2)?;
                let at = if parts.len() < max {
                    rest.rfind(is_space)
                } else {
                    None
                };
                let cut = at.map_or(0, |i| {
                    i + rest[i..].chars().next().map_or(1, char::len_utf8)
                });
                parts.push(&rest[cut..]);
                rest = rest[..cut].trim_end_matches(is_space);
            }
            parts.reverse();
        }
        None => {
            let mut rest = s.trim_start_matches(is_space);
            while !rest.is_empty() {
                m.charge(2)?;
                let end = if parts.len() < max {
                    rest.find(is_space)
                } else {
                    None
                };
                let end = end.unwrap_or(rest.len());
                parts.push(&rest[..end]);
                rest = rest[end..].trim_start_matches(is_space);
            }
        }
    }
    Ok(Val::list(
        parts
            .into_iter()
            .map(|p| like(receiver, p.to_owned()))
            .collect(),
    ))
}

fn join(receiver: &Val, s: &str, args: &Args, m: &Meter) -> Res<Val> {
    let Some(items) = args.positional.first() else {
        return type_error("str.join() takes exactly one argument (0 given)");
    };
    if !items.is_iterable() {
        return type_error("can only join an iterable");
    }
    let mut out = String::new();
    for (i, item) in items.items(m)?.iter().enumerate() {
        if i > 0 {
            m.push(&mut out, s)?;
        }
        if let Val::Markup(_) = receiver {
            super::filters::escape(item, m)?.write(&mut out, m)?;
            continue;
        }
        match item.as_str() {
            Some(text) => m.push(&mut out, text)?,
            None => {
                return type_error(format!(
                    "sequence item {i}: expected str instance, {} found",
                    item.type_name()
                ));
            }
        }
    }
    Ok(like(receiver, out))
}

fn expandtabs(s: &str, tab: usize, m: &Meter) -> Res<String> {
    let mut out = String::new();
    let mut column = 0;
    for c in s.chars() {
        match c {
            '\t' => {
                let n = if tab == 0 { 0 } else { tab - column % tab };
                size(out.len().saturating_add(n) as i128)?;
                m.charge(n / 16)?;
                out.extend(std::iter::repeat_n(' ', n));
                column += n;
            }
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            _ => {
                out.push(c);
                column += 1;
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(receiver: &str, name: &'static str, args: &[&str]) -> String {
        let m = &Meter::unlimited();
        let positional = args
            .iter()
            .map(|a| super::super::filters::step(a))
            .collect();
        match call(
            &receiver.into(),
            name,
            Args {
                positional,
                named: Vec::new(),
            },
            m,
        ) {
            Ok(value) => value.repr(m).unwrap(),
            Err(e) => e.message().to_owned(),
        }
    }

    #[test]
    fn text_has_its_methods() {
        for (receiver, name, args, expected) in [
            (" a  b c ", "split", &[][..], "['a', 'b', 'c']"),
            (" a  b c ", "rsplit", &[], "['a', 'b', 'c']"),
            ("a,b,,c", "split", &[",", "2"], "['a', 'b', ',c']"),
            ("a,b,,c", "rsplit", &[",", "1"], "['a,b,', 'c']"),
            ("abc", "split", &[""], "empty separator"),
            ("héllo", "find", &["l"], "2"),
            ("héllo", "rindex", &["l", "0", "3"], "2"),
            ("héllo", "index", &["x"], "substring not found"),
            ("aaa", "count", &["a", "1"], "2"),
            ("a=b=c", "partition", &["="], "('a', '=', 'b=c')"),
            ("-5", "zfill", &["4"], "'-005'"),
            ("ab", "center", &["5", "*"], "'**ab*'"),
            ("a\tb", "expandtabs", &["4"], "'a   b'"),
            ("xxabx", "strip", &["x"], "'ab'"),
            ("ab", "startswith", &["b", "1"], "True"),
            (
                "ab",
                "encode",
                &[],
                "the method 'encode' of 'str' is not available in chat templates",
            ),
        ] {
            assert_eq!(
                say(receiver, name, args),
                expected,
                "{receiver:?}.{name}{args:?}"
            );
        }
    }
}
