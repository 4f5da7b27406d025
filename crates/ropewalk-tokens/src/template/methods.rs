//! The methods of text, lists, dictionaries and loops that templates may call.

use super::error::{ErrorKind, Res, err, type_error};
use super::filters::{bind, integer};
use super::filters::{centered, replaced, strip, striptags, unescape};
use super::interp::Args;
use super::ops::like;
use super::printf;
use super::text::{self, is_cased, is_printable, is_space};
use super::value::{Dict, Object, Val, ViewKind};
use std::rc::Rc;

/// `receiver.name(args)`.
pub(crate) fn call(receiver: &Val, name: &'static str, args: Args) -> Res<Val> {
    match receiver {
        Val::Str(_) | Val::Markup(_) => string(receiver, name, args),
        Val::Dict(dict) => dictionary(dict, name, args),
        Val::List(seq) | Val::Tuple(seq) => sequence(receiver, &seq.items, name, &args),
        Val::Object(object) => match &**object {
            Object::Loop(this) => match name {
                "cycle" if args.positional.is_empty() => type_error("no items for cycling given"),
                "cycle" => Ok(args.positional[this.index.get() % args.positional.len()].clone()),
                _ => {
                    let new = args.positional;
                    let mut last = this.changed.borrow_mut();
                    let same = last.as_ref().is_some_and(|old| {
                        old.len() == new.len() && old.iter().zip(&new).all(|(a, b)| a.equals(b))
                    });
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
            Object::Range { .. } => sequence(receiver, &receiver.items()?, name, &args),
            _ => fromkeys(args),
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

fn fromkeys(args: Args) -> Res<Val> {
    let [keys, value] = bind("fromkeys", ["iterable", "value"], args)?;
    let mut dict = Dict::default();
    for key in keys.map_or_else(|| Ok(Vec::new()), |k| k.items())? {
        dict.insert(key, value.clone().unwrap_or(Val::None))?;
    }
    Ok(Val::dict(dict))
}

fn dictionary(dict: &Rc<Dict>, name: &str, args: Args) -> Res<Val> {
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
            Ok(dict.get(&key)?.cloned().unwrap_or(default))
        }
        "items" => view(ViewKind::Items),
        "keys" => view(ViewKind::Keys),
        "values" => view(ViewKind::Values),
        "copy" => Ok(Val::Dict(dict.clone())),
        _ => fromkeys(args),
    }
}

fn sequence(receiver: &Val, items: &[Val], name: &str, args: &Args) -> Res<Val> {
    if name == "copy" {
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
        return Ok(Val::from(
            items.iter().filter(|item| item.equals(wanted)).count(),
        ));
    }
    let (start, stop) = bounds(items.len(), &args.positional[1..])?;
    match items[start..stop.max(start)]
        .iter()
        .position(|item| item.equals(wanted))
    {
        Some(at) => Ok(Val::from(start + at)),
        None => type_error(match receiver {
            Val::Tuple(_) => "tuple.index(x): x not in tuple".to_owned(),
            _ => format!("{} is not in list", wanted.repr()),
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

fn string(receiver: &Val, name: &'static str, args: Args) -> Res<Val> {
    let text = receiver.text();
    let s: &str = &text;
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
            Ok(strip(receiver, set, name != "rstrip", name != "lstrip"))
        }
        "split" | "rsplit" => split(receiver, s, args, name == "rsplit"),
        "splitlines" => {
            let [keep] = bind("splitlines", ["keepends"], args)?;
            let rows = text::lines(s, keep.is_some_and(|k| k.truth()));
            Ok(Val::list(
                rows.into_iter()
                    .map(|l| like(receiver, l.to_owned()))
                    .collect(),
            ))
        }
        "startswith" | "endswith" => affix(s, name, &args),
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
            make(replaced(s, old, new, count))
        }
        "join" => join(receiver, s, &args),
        "format" => printf::str_format(receiver, &args),
        "format_map" => match args.positional.first() {
            Some(Val::Dict(dict)) => {
                let named = dict
                    .entries()
                    .iter()
                    .map(|(k, v)| (k.text(), v.clone()))
                    .collect();
                printf::str_format(
                    receiver,
                    &Args {
                        positional: Vec::new(),
                        named,
                    },
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
        "count" | "find" | "rfind" | "index" | "rindex" => search(s, name, &args),
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
            let width = integer(args.positional.first(), 0)?.clamp(0, 1 << 20) as usize;
            let fill = match args.positional.get(1).map(Val::text) {
                None => ' ',
                Some(fill) if fill.chars().count() == 1 => fill.chars().next().unwrap_or(' '),
                Some(_) => {
                    return type_error("The fill character must be exactly one character long");
                }
            };
            let missing = width.saturating_sub(s.chars().count());
            let pad: String = std::iter::repeat_n(fill, missing).collect();
            make(match name {
                "center" => centered(s, width, fill),
                "ljust" => format!("{s}{pad}"),
                _ => format!("{pad}{s}"),
            })
        }
        "zfill" => {
            let width = integer(args.positional.first(), 0)?.clamp(0, 1 << 20) as usize;
            let zeros = "0".repeat(width.saturating_sub(s.chars().count()));
            let (sign, digits) = s.split_at(usize::from(s.starts_with(['+', '-'])));
            make(format!("{sign}{zeros}{digits}"))
        }
        "expandtabs" => {
            let [size] = bind("expandtabs", ["tabsize"], args)?;
            make(expandtabs(
                s,
                integer(size.as_ref(), 8)?.clamp(0, 1000) as usize,
            ))
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

fn affix(s: &str, name: &str, args: &Args) -> Res<Val> {
    let Some(wanted) = args.positional.first() else {
        return type_error(format!("{name}() takes at least 1 argument (0 given)"));
    };
    let chars: Vec<(usize, char)> = s.char_indices().collect();
    let (start, stop) = bounds(chars.len(), &args.positional[1..])?;
    let byte = |i: usize| chars.get(i).map_or(s.len(), |(at, _)| *at);
    let window = if start <= stop {
        &s[byte(start)..byte(stop)]
    } else {
        ""
    };
    let matches = |affix: &str| {
        start <= stop
            && if name == "startswith" {
                window.starts_with(affix)
            } else {
                window.ends_with(affix)
            }
    };
    if let Val::Tuple(options) = wanted {
        for option in &options.items {
            let Some(affix) = option.as_str() else {
                return type_error(format!(
                    "tuple for {name} must only contain str, not {}",
                    option.type_name()
                ));
            };
            if matches(affix) {
                return Ok(Val::Bool(true));
            }
        }
        return Ok(Val::Bool(false));
    }
    match wanted.as_str() {
        Some(affix) => Ok(Val::Bool(matches(affix))),
        None => type_error(format!(
            "{name} first arg must be str or a tuple of str, not {}",
            wanted.type_name()
        )),
    }
}

fn split(receiver: &Val, s: &str, args: Args, from_right: bool) -> Res<Val> {
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
                parts.extend(s.rsplitn(pieces, &*sep));
                parts.reverse();
            } else {
                parts.extend(s.splitn(pieces, &*sep));
            }
        }
        None if from_right => {
            let mut rest = s.trim_end_matches(is_space);
            while !rest.is_empty() {
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

fn join(receiver: &Val, s: &str, args: &Args) -> Res<Val> {
    let Some(items) = args.positional.first() else {
        return type_error("str.join() takes exactly one argument (0 given)");
    };
    if !items.is_iterable() {
        return type_error("can only join an iterable");
    }
    let mut out = String::new();
    for (i, item) in items.items()?.iter().enumerate() {
        if i > 0 {
            out.push_str(s);
        }
        if let Val::Markup(_) = receiver {
            out.push_str(&super::filters::escape(item).text());
            continue;
        }
        match item.as_str() {
            Some(text) => out.push_str(text),
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

/// `count`, `find`, `rfind`, `index` and `rindex`, with positions in characters.
fn search(s: &str, name: &str, args: &Args) -> Res<Val> {
    let Some(wanted) = args.positional.first() else {
        return type_error(format!("{name}() takes at least 1 argument (0 given)"));
    };
    let wanted = part(wanted, "must be str")?;
    let offsets: Vec<usize> = s.char_indices().map(|(i, _)| i).chain([s.len()]).collect();
    let (start, stop) = bounds(offsets.len() - 1, &args.positional[1..])?;
    let window = if start <= stop {
        &s[offsets[start]..offsets[stop]]
    } else {
        ""
    };
    if name == "count" {
        let n = if wanted.is_empty() {
            if start <= stop {
                window.chars().count() + 1
            } else {
                0
            }
        } else {
            window.matches(wanted).count()
        };
        return Ok(Val::from(n));
    }
    let found = if name.starts_with('r') {
        window.rfind(wanted)
    } else {
        window.find(wanted)
    };
    match found.filter(|_| start <= stop) {
        Some(at) => Ok(Val::from(start + window[..at].chars().count())),
        None if name.ends_with("find") => Ok(Val::Int(-1)),
        None => type_error("substring not found"),
    }
}

fn expandtabs(s: &str, size: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for c in s.chars() {
        match c {
            '\t' => {
                let n = if size == 0 { 0 } else { size - column % size };
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
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(receiver: &str, name: &'static str, args: &[&str]) -> String {
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
        ) {
            Ok(value) => value.repr(),
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
