//! Where a text lies in another.

use super::super::error::{Res, type_error};
use super::super::interp::Args;
use super::super::meter::Meter;
use super::super::value::Val;
use super::{bounds, part};

/// `startswith` and `endswith`.
pub(super) fn affix(s: &str, name: &str, args: &Args, m: &Meter) -> Res<Val> {
    let Some(wanted) = args.positional.first() else {
        return type_error(format!("{name}() takes at least 1 argument (0 given)"));
    };
    let (start, stop, window) = window(s, &args.positional[1..], m)?;
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
            m.charge(1)?;
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

/// The part of a text between `start` and `stop`, with those; it is empty when they are crossed.
fn window<'a>(s: &'a str, given: &[Val], m: &Meter) -> Res<(usize, usize, &'a str)> {
    if given.is_empty() {
        return Ok((0, s.len(), s));
    }
    m.read(s)?;
    let (start, stop) = bounds(s.chars().count(), given)?;
    let byte = |s: &str, i: usize| s.char_indices().nth(i).map_or(s.len(), |(at, _)| at);
    let part = &s[byte(s, start)..];
    let part = match stop.checked_sub(start) {
        Some(count) => &part[..byte(part, count)],
        None => "",
    };
    Ok((start, stop, part))
}

/// `count`, `find`, `rfind`, `index` and `rindex`, with positions in characters.
pub(super) fn search(s: &str, name: &str, args: &Args, m: &Meter) -> Res<Val> {
    let Some(wanted) = args.positional.first() else {
        return type_error(format!("{name}() takes at least 1 argument (0 given)"));
    };
    let wanted = part(wanted, "must be str")?;
    m.read(wanted)?;
    let (start, stop, window) = window(s, &args.positional[1..], m)?;
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
