//! Filters on text.

use super::{bind, escape, integer, soft};
use crate::template::error::{Res, type_error};
use crate::template::interp::Args;
use crate::template::ops::like;
use crate::template::printf;
use crate::template::text::{escape_html, is_space, lines, parse_float};
use crate::template::value::{Dict, Val, ViewKind};

/// `str.strip` on either side; no characters means white space.
pub(crate) fn strip(value: &Val, chars: Option<&str>, left: bool, right: bool) -> Val {
    let text = value.text();
    let drop = |c: char| chars.map_or_else(|| is_space(c), |set| set.contains(c));
    let mut rest = &*text;
    if left {
        rest = rest.trim_start_matches(drop);
    }
    if right {
        rest = rest.trim_end_matches(drop);
    }
    if rest.len() == text.len() {
        soft(value)
    } else {
        like(value, rest.to_owned())
    }
}

pub(super) fn title(value: &Val) -> String {
    // Words start after any of these; a capital first, the rest in lower case.
    let separates = |c: char| is_space(c) || "-({[<".contains(c);
    let mut out = String::new();
    let mut start = true;
    for c in value.text().chars() {
        if separates(c) {
            start = true;
            out.push(c);
        } else if std::mem::take(&mut start) {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out
}

pub(super) fn replace(value: &Val, args: Args) -> Res<Val> {
    let [old, new, count] = bind("do_replace", ["old", "new", "count"], args)?;
    let (Some(old), Some(new)) = (old, new) else {
        return type_error("do_replace() missing 1 required positional argument: 'new'");
    };
    let count = integer(count.as_ref().filter(|c| !matches!(c, Val::None)), -1)?;
    let text = value.text();
    Ok(replaced(&text, &old.text(), &new.text(), count).into())
}

/// `str.replace`; a negative count means all.
pub(crate) fn replaced(text: &str, old: &str, new: &str, count: i128) -> String {
    match usize::try_from(count) {
        Ok(count) => text.replacen(old, new, count),
        Err(_) => text.replace(old, new),
    }
}

pub(super) fn indent(value: &Val, args: Args) -> Res<Val> {
    let [width, first, blank] = bind("do_indent", ["width", "first", "blank"], args)?;
    let indention = match &width {
        Some(Val::Str(text) | Val::Markup(text)) => text.to_string(),
        other => {
            if other.as_ref().is_some_and(|w| w.as_int().is_none()) {
                let kind = other.as_ref().map_or("NoneType", Val::type_name);
                return type_error(format!(
                    "can't multiply sequence by non-int of type '{kind}'"
                ));
            }
            " ".repeat(integer(other.as_ref(), 4)?.clamp(0, 10_000) as usize)
        }
    };
    let Some(text) = value.as_str() else {
        // The reference adds a newline to the value first, which only text and markup can do.
        return match value {
            Val::Undefined(u) => u.fail(),
            Val::List(_) => type_error("'list' object has no attribute 'splitlines'"),
            Val::Tuple(_) => type_error("can only concatenate tuple (not \"str\") to tuple"),
            _ => type_error(format!(
                "unsupported operand type(s) for +=: '{}' and 'str'",
                value.type_name()
            )),
        };
    };
    let blank = blank.is_some_and(|b| b.truth());
    let text = format!("{text}\n");
    let mut out = String::new();
    for (i, line) in lines(&text, false).into_iter().enumerate() {
        if i > 0 {
            out.push('\n');
            if blank || !line.is_empty() {
                out.push_str(&indention);
            }
        } else if first.as_ref().is_some_and(Val::truth) {
            out.push_str(&indention);
        }
        out.push_str(line);
    }
    Ok(like(value, out))
}

pub(super) fn center(value: &Val, args: Args) -> Res<Val> {
    let [width] = bind("do_center", ["width"], args)?;
    let width = integer(width.as_ref(), 80)?.clamp(0, 1 << 20) as usize;
    Ok(like(value, centered(&value.text(), width, ' ')))
}

/// `str.center`: an odd space goes left when the width is odd.
pub(crate) fn centered(text: &str, width: usize, fill: char) -> String {
    let missing = width.saturating_sub(text.chars().count());
    let left = missing / 2 + (missing & width & 1);
    let pad = |n| std::iter::repeat_n(fill, n).collect::<String>();
    format!("{}{text}{}", pad(left), pad(missing - left))
}

pub(super) fn truncate(value: &Val, args: Args) -> Res<Val> {
    let [length, killwords, end, leeway] = bind(
        "do_truncate",
        ["length", "killwords", "end", "leeway"],
        args,
    )?;
    let length = integer(length.as_ref(), 255)?.max(0) as usize;
    let end = end.map_or("...".into(), |e| e.text());
    let leeway = integer(leeway.as_ref().filter(|l| !matches!(l, Val::None)), 5)?;
    let count = value.length()?;
    if length < end.chars().count() {
        let n = end.chars().count();
        return type_error(format!("expected length >= {n}, got {length}"));
    }
    if leeway < 0 {
        return type_error(format!("expected leeway >= 0, got {leeway}"));
    }
    if count as i128 <= length as i128 + leeway {
        return Ok(value.clone());
    }
    let mut kept: String = value
        .text()
        .chars()
        .take(length - end.chars().count())
        .collect();
    if !killwords.is_some_and(|k| k.truth())
        && let Some(space) = kept.rfind(' ')
    {
        kept.truncate(space);
    }
    Ok(like(value, kept + &end))
}

pub(super) fn wordwrap(value: &Val, args: Args) -> Res<Val> {
    let [width, long, wrap, _hyphens] = bind(
        "do_wordwrap",
        [
            "width",
            "break_long_words",
            "wrapstring",
            "break_on_hyphens",
        ],
        args,
    )?;
    let width = integer(width.as_ref(), 79)?.max(1) as usize;
    let break_long = long.is_none_or(|l| l.truth());
    let wrap = wrap
        .filter(|w| !matches!(w, Val::None))
        .map_or("\n".into(), |w| w.text());
    let text = value.text();
    let wrapped: Vec<String> = lines(&text, false)
        .into_iter()
        .map(|l| wrap_line(l, width, break_long, &wrap))
        .collect();
    Ok(wrapped.join(&wrap).into())
}

/// Greedy filling; white space at the borders of a line is dropped.
fn wrap_line(line: &str, width: usize, break_long: bool, wrap: &str) -> String {
    let mut rows: Vec<String> = Vec::new();
    let mut row = String::new();
    let mut room = width;
    for word in line.split_inclusive(' ') {
        let mut word = word;
        let mut size = word.trim_end().chars().count();
        if size > room && !row.is_empty() {
            rows.push(row.trim_end().to_owned());
            row.clear();
            room = width;
        }
        while break_long && size > room {
            let at = word.char_indices().nth(room).map_or(word.len(), |(i, _)| i);
            rows.push(word[..at].to_owned());
            word = &word[at..];
            size = word.trim_end().chars().count();
        }
        if row.is_empty() && size == 0 && !rows.is_empty() {
            continue;
        }
        row.push_str(word);
        room = room.saturating_sub(word.chars().count());
    }
    if !row.trim_end().is_empty() {
        rows.push(row.trim_end().to_owned());
    }
    rows.join(wrap)
}

pub(super) fn wordcount(text: &str) -> usize {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|w| !w.is_empty())
        .count()
}

/// Drops comments and tags, joins white space and resolves the five common entities.
pub(crate) fn striptags(text: &str) -> String {
    let mut kept = text.to_owned();
    for (open, close) in [("<!--", "-->"), ("<", ">")] {
        while let Some(start) = kept.find(open) {
            let Some(end) = kept[start..].find(close) else {
                break;
            };
            kept.replace_range(start..start + end + close.len(), "");
        }
    }
    let words: Vec<&str> = kept.split(is_space).filter(|w| !w.is_empty()).collect();
    unescape(&words.join(" "))
}

pub(crate) fn unescape(text: &str) -> String {
    let pairs = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&#34;", "\""),
        ("&quot;", "\""),
        ("&#39;", "'"),
    ];
    let mut out = text.to_owned();
    for (entity, c) in pairs {
        out = out.replace(entity, c);
    }
    out.replace("&amp;", "&")
}

pub(super) fn urlencode(value: &Val) -> Res<Val> {
    let pairs = match value {
        Val::Dict(dict) => dict.view(ViewKind::Items),
        _ if value.as_str().is_some() || !value.is_iterable() => {
            return Ok(quoted(&value.text(), b"/").into());
        }
        _ => value.items()?,
    };
    let quote = |v: &Val| quoted(&v.text(), b"").replace("%20", "+");
    let mut parts = Vec::new();
    for pair in pairs {
        let pair: Vec<String> = pair.unpack(2)?.iter().map(quote).collect();
        parts.push(pair.join("="));
    }
    Ok(parts.join("&").into())
}

fn quoted(text: &str, safe: &[u8]) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"_.-~".contains(&b) || safe.contains(&b) {
            out.push(b.into());
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

pub(super) fn xmlattr(value: &Val, args: Args) -> Res<Val> {
    let [autospace] = bind("do_xmlattr", ["autospace"], args)?;
    if let Val::Undefined(u) = value {
        return u.fail();
    }
    let Val::Dict(dict) = value else {
        return type_error(format!(
            "'{}' object has no attribute 'items'",
            value.type_name()
        ));
    };
    let mut parts = Vec::new();
    for (key, value) in dict.entries() {
        if matches!(value, Val::None | Val::Undefined(_)) {
            continue;
        }
        let name = key.text();
        if name.contains(|c: char| c.is_ascii_whitespace() || "/>=".contains(c)) {
            return type_error(format!(
                "Invalid character in attribute name: {}",
                key.repr()
            ));
        }
        parts.push(format!(
            "{}=\"{}\"",
            escape_html(&name),
            escape(value).text()
        ));
    }
    let mut out = parts.join(" ");
    if autospace.is_none_or(|a| a.truth()) && !out.is_empty() {
        out.insert(0, ' ');
    }
    Ok(out.into())
}

pub(super) fn format(value: &Val, args: Args) -> Res<Val> {
    if !args.positional.is_empty() && !args.named.is_empty() {
        return type_error("can't handle positional and keyword arguments at the same time");
    }
    let arguments = if args.named.is_empty() {
        Val::tuple(args.positional)
    } else {
        Val::dict(Dict::from_pairs(
            args.named.into_iter().map(|(n, v)| (Val::Str(n), v)),
        )?)
    };
    Ok(like(
        value,
        printf::printf(&value.text(), &arguments, matches!(value, Val::Markup(_)))?,
    ))
}

pub(super) fn filesizeformat(value: &Val, args: Args) -> Res<Val> {
    let [binary] = bind("do_filesizeformat", ["binary"], args)?;
    if let Val::Undefined(u) = value {
        return u.fail();
    }
    let Some(bytes) = value.as_float().or_else(|| parse_float(value.as_str()?)) else {
        return type_error(match value.as_str() {
            Some(_) => format!("could not convert string to float: {}", value.repr()),
            None => format!(
                "float() argument must be a string or a real number, not '{}'",
                value.type_name()
            ),
        });
    };
    let (base, suffix) = if binary.is_some_and(|b| b.truth()) {
        (1024f64, "iB")
    } else {
        (1000f64, "B")
    };
    if bytes == 1.0 {
        return Ok("1 Byte".into());
    }
    if bytes < base {
        return Ok(format!("{} Bytes", bytes.trunc()).into());
    }
    let prefixes = if suffix == "B" {
        "kMGTPEZY"
    } else {
        "KMGTPEZY"
    };
    let mut text = String::new();
    for (i, prefix) in prefixes.chars().enumerate() {
        let unit = base.powi(i as i32 + 2);
        text = format!("{:.1} {prefix}{suffix}", base * bytes / unit);
        if bytes < unit {
            break;
        }
    }
    Ok(text.into())
}
