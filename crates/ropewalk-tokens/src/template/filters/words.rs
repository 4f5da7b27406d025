//! Filters on text.

use super::{bind, escape, integer, soft};
use crate::template::error::{Res, type_error};
use crate::template::interp::Args;
use crate::template::meter::{Meter, size};
use crate::template::ops::like;
use crate::template::printf;
use crate::template::text::{escape_html, is_space, lines, parse_float};
use crate::template::value::{Dict, Val, ViewKind};

/// `str.strip` on either side; no characters means white space.
pub(crate) fn strip(
    value: &Val,
    chars: Option<&str>,
    left: bool,
    right: bool,
    m: &Meter,
) -> Res<Val> {
    let text = value.text(m)?;
    m.read(&text)?;
    // Every character may be looked for in all of the set.
    m.charge((text.len() / 16).saturating_mul(chars.map_or(0, str::len) / 16))?;
    let drop = |c: char| chars.map_or_else(|| is_space(c), |set| set.contains(c));
    let mut rest = &*text;
    if left {
        rest = rest.trim_start_matches(drop);
    }
    if right {
        rest = rest.trim_end_matches(drop);
    }
    if rest.len() == text.len() {
        soft(value, m)
    } else {
        Ok(like(value, rest.to_owned()))
    }
}

pub(super) fn title(value: &Val, m: &Meter) -> Res<String> {
    let text = value.text(m)?;
    m.read(&text)?;
    // Words start after any of these; a capital first, the rest in lower case.
    let separates = |c: char| is_space(c) || "-({[<".contains(c);
    let mut out = String::new();
    let mut start = true;
    for c in text.chars() {
        if separates(c) {
            start = true;
            out.push(c);
        } else if std::mem::take(&mut start) {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
    }
    Ok(out)
}

pub(super) fn replace(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    let [old, new, count] = bind("do_replace", ["old", "new", "count"], args)?;
    let (Some(old), Some(new)) = (old, new) else {
        return type_error("do_replace() missing 1 required positional argument: 'new'");
    };
    let count = integer(count.as_ref().filter(|c| !matches!(c, Val::None)), -1)?;
    let (text, old, new) = (value.text(m)?, old.text(m)?, new.text(m)?);
    m.read(&text)?;
    Ok(replaced(&text, &old, &new, count, m)?.into())
}

/// `str.replace`; a negative count means all.
pub(crate) fn replaced(text: &str, old: &str, new: &str, count: i128, m: &Meter) -> Res<String> {
    let count = if count < 0 {
        usize::MAX
    } else {
        usize::try_from(count).unwrap_or(usize::MAX)
    };
    if new.len() > old.len() {
        let found = text.matches(old).take(count).count();
        let grown = found.saturating_mul(new.len() - old.len());
        m.text(text.len().saturating_add(grown))?;
    }
    m.read(old)?;
    Ok(text.replacen(old, new, count))
}

pub(super) fn indent(value: &Val, args: Args, m: &Meter) -> Res<Val> {
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
            m.repeat(' ', size(integer(other.as_ref(), 4)?)?)?
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
    m.read(text)?;
    let text = format!("{text}\n");
    let mut out = String::new();
    for (i, line) in lines(&text, false).enumerate() {
        if i > 0 {
            m.push(&mut out, "\n")?;
            if blank || !line.is_empty() {
                m.push(&mut out, &indention)?;
            }
        } else if first.as_ref().is_some_and(Val::truth) {
            m.push(&mut out, &indention)?;
        }
        m.push(&mut out, line)?;
    }
    Ok(like(value, out))
}

pub(super) fn center(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    let [width] = bind("do_center", ["width"], args)?;
    let width = size(integer(width.as_ref(), 80)?)?;
    let text = value.text(m)?;
    m.read(&text)?;
    Ok(like(value, centered(&text, width, ' ', m)?))
}

/// `str.center`: an odd space goes left when the width is odd.
pub(crate) fn centered(text: &str, width: usize, fill: char, m: &Meter) -> Res<String> {
    let missing = width.saturating_sub(text.chars().count());
    let left = missing / 2 + (missing & width & 1);
    let (before, after) = (m.repeat(fill, left)?, m.repeat(fill, missing - left)?);
    Ok(format!("{before}{text}{after}"))
}

pub(super) fn truncate(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    let [length, killwords, end, leeway] = bind(
        "do_truncate",
        ["length", "killwords", "end", "leeway"],
        args,
    )?;
    let length = integer(length.as_ref(), 255)?.max(0);
    let end = end.map_or_else(|| Ok("...".into()), |e| e.text(m))?;
    m.read(&end)?;
    m.read(value.as_str().unwrap_or_default())?;
    let leeway = integer(leeway.as_ref().filter(|l| !matches!(l, Val::None)), 5)?;
    let count = value.length()?;
    let n = end.chars().count();
    if length < n as i128 {
        return type_error(format!("expected length >= {n}, got {length}"));
    }
    if leeway < 0 {
        return type_error(format!("expected leeway >= 0, got {leeway}"));
    }
    if count as i128 <= length.saturating_add(leeway) {
        return Ok(value.clone());
    }
    let mut kept: String = value
        .text(m)?
        .chars()
        .take(usize::try_from(length).unwrap_or(usize::MAX) - n)
        .collect();
    if !killwords.is_some_and(|k| k.truth())
        && let Some(space) = kept.rfind(' ')
    {
        kept.truncate(space);
    }
    Ok(like(value, kept + &end))
}

pub(super) fn wordwrap(value: &Val, args: Args, m: &Meter) -> Res<Val> {
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
    let width = usize::try_from(integer(width.as_ref(), 79)?.max(1)).unwrap_or(usize::MAX);
    let break_long = long.is_none_or(|l| l.truth());
    let wrap = wrap
        .filter(|w| !matches!(w, Val::None))
        .map_or_else(|| Ok("\n".into()), |w| w.text(m))?;
    let text = value.text(m)?;
    m.charge(text.len() / 4)?;
    let mut out = String::new();
    for (i, line) in lines(&text, false).enumerate() {
        if i > 0 {
            m.push(&mut out, &wrap)?;
        }
        for (i, row) in wrap_line(line, width, break_long).iter().enumerate() {
            if i > 0 {
                m.push(&mut out, &wrap)?;
            }
            m.push(&mut out, row)?;
        }
    }
    Ok(out.into())
}

/// Greedy filling; white space at the borders of a line is dropped.
fn wrap_line(line: &str, width: usize, break_long: bool) -> Vec<String> {
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
    rows
}

pub(super) fn wordcount(text: &str) -> usize {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|w| !w.is_empty())
        .count()
}

/// Drops comments and tags, joins white space and resolves the five common entities.
pub(crate) fn striptags(text: &str) -> String {
    let kept = without_tags(&without_comments(text));
    let words: Vec<&str> = kept.split(is_space).filter(|w| !w.is_empty()).collect();
    unescape(&words.join(" "))
}

/// Without comments, where what stood around one may make up the next.
fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dash) = rest.find('-') {
        kept.push_str(&rest[..=dash]);
        rest = &rest[dash + 1..];
        if !kept.ends_with("<!--") {
            continue;
        }
        // The dashes of the beginning may belong to the end: `<!-->` is a comment.
        let end = if rest.starts_with('>') {
            Some(1)
        } else if rest.starts_with("->") {
            Some(2)
        } else {
            rest.find("-->").map(|at| at + 3)
        };
        let Some(end) = end else { break };
        kept.truncate(kept.len() - 4);
        rest = &rest[end..];
    }
    kept + rest
}

fn without_tags(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let Some(end) = rest[start..].find('>') else {
            break;
        };
        kept.push_str(&rest[..start]);
        rest = &rest[start + end + 1..];
    }
    kept + rest
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

pub(super) fn urlencode(value: &Val, m: &Meter) -> Res<Val> {
    let pairs = match value {
        Val::Dict(dict) => {
            m.items(dict.entries().len())?;
            dict.view(ViewKind::Items)
        }
        _ if value.as_str().is_some() || !value.is_iterable() => {
            return Ok(quoted(&value.text(m)?, b"/", m)?.into());
        }
        _ => value.items(m)?,
    };
    let quote = |v: &Val| Ok(quoted(&v.text(m)?, b"", m)?.replace("%20", "+"));
    let mut parts = Vec::new();
    for pair in pairs {
        let pair: Vec<String> = pair.unpack(2, m)?.iter().map(quote).collect::<Res<_>>()?;
        parts.push(pair.join("="));
    }
    Ok(parts.join("&").into())
}

fn quoted(text: &str, safe: &[u8], m: &Meter) -> Res<String> {
    m.text(text.len().saturating_mul(3))?;
    let mut out = String::new();
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"_.-~".contains(&b) || safe.contains(&b) {
            out.push(b.into());
        } else {
            out.push('%');
            for digit in [b >> 4, b & 15] {
                out.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    Ok(out)
}

pub(super) fn xmlattr(value: &Val, args: Args, m: &Meter) -> Res<Val> {
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
        m.charge(1)?;
        let name = key.text(m)?;
        if name.contains(|c: char| c.is_ascii_whitespace() || "/>=".contains(c)) {
            return type_error(format!(
                "Invalid character in attribute name: {}",
                key.repr(m)?
            ));
        }
        parts.push(format!(
            "{}=\"{}\"",
            escape_html(&name, m)?,
            escape(value, m)?.text(m)?
        ));
    }
    let mut out = parts.join(" ");
    if autospace.is_none_or(|a| a.truth()) && !out.is_empty() {
        out.insert(0, ' ');
    }
    Ok(out.into())
}

pub(super) fn format(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    if !args.positional.is_empty() && !args.named.is_empty() {
        return type_error("can't handle positional and keyword arguments at the same time");
    }
    let arguments = if args.named.is_empty() {
        Val::tuple(args.positional)
    } else {
        let pairs = args.named.into_iter().map(|(n, v)| (Val::Str(n), v));
        Val::dict(Dict::from_pairs(pairs, m)?)
    };
    let markup = matches!(value, Val::Markup(_));
    let text = printf::printf(&value.text(m)?, &arguments, markup, m)?;
    Ok(like(value, text))
}

pub(super) fn filesizeformat(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    let [binary] = bind("do_filesizeformat", ["binary"], args)?;
    if let Val::Undefined(u) = value {
        return u.fail();
    }
    let Some(bytes) = value.as_float().or_else(|| parse_float(value.as_str()?)) else {
        return type_error(match value.as_str() {
            Some(_) => format!("could not convert string to float: {}", value.repr(m)?),
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
