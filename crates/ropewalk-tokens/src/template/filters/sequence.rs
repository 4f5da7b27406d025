//! Filters on lists, dictionaries and generators.

use super::{
    apply as apply_filter, bind, empty, ignore_case, integer, is_generator, name_argument, path,
    step, walk,
};
use crate::template::ast::Operator;
use crate::template::error::{ErrorKind, Res, err, type_error};
use crate::template::interp::Args;
use crate::template::meter::{Meter, size};
use crate::template::ops;
use crate::template::predicates;
use crate::template::value::{Object, Val, ViewKind};
use std::cmp::Ordering;

pub(super) fn apply(name: &str, value: &Val, args: Args, m: &Meter) -> Res<Val> {
    match name {
        "list" => value.items(m).map(Val::list),
        "join" => join(value, args, m),
        "items" => items(value, m),
        "first" => Ok(value
            .first(m)?
            .unwrap_or_else(|| empty("No first item, sequence was empty."))),
        "last" => last(value, m),
        "reverse" => reverse(value, m),
        "map" => map(value, args, m),
        "select" => select(value, args, (false, true), m),
        "reject" => select(value, args, (false, false), m),
        "selectattr" => select(value, args, (true, true), m),
        "rejectattr" => select(value, args, (true, false), m),
        "sort" => sort(value, args, m),
        "dictsort" => dictsort(value, args, m),
        "unique" => unique(value, args, m),
        "min" => extreme(value, args, Ordering::Less, m),
        "max" => extreme(value, args, Ordering::Greater, m),
        "sum" => sum(value, args, m),
        "batch" => batch(value, args, m),
        "slice" => slice(value, args, m),
        "groupby" => groupby(value, args, m),
        _ => err(
            ErrorKind::Undefined,
            format!("No filter named '{name}' found."),
        ),
    }
}

fn join(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    let [sep, attribute] = bind("sync_do_join", ["d", "attribute"], args)?;
    let sep = sep.map_or_else(|| Ok("".into()), |s| s.text(m))?;
    let path = path(attribute.as_ref());
    let mut out = String::new();
    for (i, item) in value.items(m)?.iter().enumerate() {
        if i > 0 {
            m.push(&mut out, &sep)?;
        }
        walk(item, &path, None, m)?.write(&mut out, m)?;
    }
    Ok(out.into())
}

/// The reference yields pairs from a generator, so its complaint comes when they are taken.
fn items(value: &Val, m: &Meter) -> Res<Val> {
    Ok(match value {
        Val::Undefined(_) => Val::generator(Vec::new(), None),
        Val::Dict(dict) => {
            m.items(dict.entries().len())?;
            Val::generator(dict.view(ViewKind::Items), None)
        }
        _ => {
            let failure = crate::template::Error::new(
                ErrorKind::Type,
                "Can only get item pairs from a mapping.",
            );
            Val::generator(Vec::new(), Some(Box::new(failure)))
        }
    })
}

fn reversible(value: &Val, m: &Meter) -> Res<Vec<Val>> {
    let reversible = match value {
        Val::Object(object) => matches!(**object, Object::View(..) | Object::Range { .. }),
        _ => value.is_iterable(),
    };
    if !reversible {
        return type_error(format!("'{}' object is not reversible", value.type_name()));
    }
    let mut items = value.items(m)?;
    items.reverse();
    if let Val::Markup(_) = value {
        // Going backwards takes elements, and elements of markup are markup.
        items = items
            .iter()
            .map(|item| item.text(m).map(Val::Markup))
            .collect::<Res<_>>()?;
    }
    Ok(items)
}

fn last(value: &Val, m: &Meter) -> Res<Val> {
    let first = reversible(value, m)?.into_iter().next();
    Ok(first.unwrap_or_else(|| empty("No last item, sequence was empty.")))
}

fn reverse(value: &Val, m: &Meter) -> Res<Val> {
    if let Some(text) = value.as_str() {
        m.read(text)?;
        return Ok(ops::like(value, text.chars().rev().collect()));
    }
    if is_generator(value) || matches!(value, Val::Undefined(_)) {
        let mut items = value.items(m)?;
        items.reverse();
        return Ok(Val::list(items));
    }
    if !value.is_iterable() {
        return type_error("argument must be iterable");
    }
    Ok(Val::iterator(
        reversible(value, m)?,
        None,
        "list_reverseiterator",
    ))
}

/// Applies `each` to the items in order and keeps the results up to the first failure.
fn lazily(value: &Val, m: &Meter, mut each: impl FnMut(Val, &mut Vec<Val>) -> Res<()>) -> Res<Val> {
    let mut out = Vec::new();
    let failure = match value.pending(m) {
        Ok((items, failure)) => items
            .into_iter()
            .find_map(|item| each(item, &mut out).err())
            .or(failure),
        Err(e) => Some(e),
    };
    match failure {
        Some(e) if e.kind() == ErrorKind::Limit => Err(e),
        failure => Ok(Val::generator(out, failure)),
    }
}

fn failing(message: impl Into<String>) -> Val {
    let failure = crate::template::Error::new(ErrorKind::Type, message);
    Val::generator(Vec::new(), Some(Box::new(failure)))
}

fn map(value: &Val, mut args: Args, m: &Meter) -> Res<Val> {
    if !value.truth() {
        return Ok(Val::generator(Vec::new(), None));
    }
    let attribute = args.named.iter().position(|(n, _)| &**n == "attribute");
    if let (true, Some(at)) = (args.positional.is_empty(), attribute) {
        let (_, attribute) = args.named.remove(at);
        let default = args.named.iter().position(|(n, _)| &**n == "default");
        let default = default.map(|at| args.named.remove(at).1);
        if let Some((name, _)) = args.named.first() {
            return Ok(failing(format!("Unexpected keyword argument '{name}'")));
        }
        let default = default.filter(|d| !matches!(d, Val::None));
        let path = path(Some(&attribute));
        return lazily(value, m, |item, out| {
            out.push(walk(&item, &path, default.as_ref(), m)?);
            Ok(())
        });
    }
    if args.positional.is_empty() {
        return Ok(failing("map requires a filter argument"));
    }
    let name = name_argument(&args.positional.remove(0), m)?;
    if !super::NAMES.contains(&&*name) {
        return Ok(failing(format!("No filter named '{name}'.")));
    }
    lazily(value, m, |item, out| {
        let again = Args {
            positional: args.positional.clone(),
            named: args.named.clone(),
        };
        out.push(apply_filter(&name, item, again, m)?);
        Ok(())
    })
}

fn select(value: &Val, mut args: Args, (by_attribute, keep): (bool, bool), m: &Meter) -> Res<Val> {
    if !value.truth() {
        return Ok(Val::generator(Vec::new(), None));
    }
    let mut path_to = Vec::new();
    if by_attribute {
        if args.positional.is_empty() {
            return Ok(failing("Missing parameter for attribute name"));
        }
        path_to = path(Some(&args.positional.remove(0)));
    }
    let test = if args.positional.is_empty() {
        None
    } else {
        let name = name_argument(&args.positional.remove(0), m)?;
        if !predicates::NAMES.contains(&&*name) {
            return Ok(failing(format!("No test named '{name}'.")));
        }
        Some(name)
    };
    lazily(value, m, |item, out| {
        let tested = walk(&item, &path_to, None, m)?;
        let passes = match &test {
            Some(name) => predicates::check(name, &tested, &args, m)?,
            None => tested.truth(),
        };
        if passes == keep {
            out.push(item);
        }
        Ok(())
    })
}

/// Sorts by key, keeping the order of equal keys.
///
/// Python reverses before and after sorting, which shows in what an impossible comparison complains about.
fn sorted<T>(mut rows: Vec<(Val, T)>, reverse: bool, m: &Meter) -> Res<Vec<(Val, T)>> {
    if reverse {
        rows.reverse();
    }
    let mut rows: Vec<Option<(Val, T)>> = rows.into_iter().map(Some).collect();
    let key = |at: usize| rows[at].as_ref().map_or(&Val::None, |(key, _)| key);
    let order = merge_sort(rows.len(), |a, b| {
        // Python asks whether the later item belongs before the earlier one.
        Ok(key(b).order(key(a), "<", m)?.is_some_and(Ordering::is_lt))
    })?;
    let mut rows: Vec<(Val, T)> = order.into_iter().filter_map(|at| rows[at].take()).collect();
    if reverse {
        rows.reverse();
    }
    Ok(rows)
}

/// The order of `count` items where `swaps(a, b)` says that the later `b` belongs before `a`.
///
/// `slice::sort_by` may panic on an order that is not total, and templates can compare what has none.
pub(crate) fn merge_sort(
    count: usize,
    mut swaps: impl FnMut(usize, usize) -> Res<bool>,
) -> Res<Vec<usize>> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut width = 1;
    while width < count {
        let mut merged = Vec::with_capacity(count);
        for start in (0..count).step_by(2 * width) {
            let middle = (start + width).min(count);
            let end = (start + 2 * width).min(count);
            let (mut a, mut b) = (start, middle);
            while a < middle && b < end {
                if swaps(order[a], order[b])? {
                    merged.push(order[b]);
                    b += 1;
                } else {
                    merged.push(order[a]);
                    a += 1;
                }
            }
            merged.extend_from_slice(&order[a..middle]);
            merged.extend_from_slice(&order[b..end]);
        }
        order = merged;
        width *= 2;
    }
    Ok(order)
}

fn flag(value: Option<Val>) -> bool {
    value.is_some_and(|v| v.truth())
}

fn sort(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    let [reverse, case, attribute] =
        bind("do_sort", ["reverse", "case_sensitive", "attribute"], args)?;
    let case = flag(case);
    let attributes: Vec<Vec<Val>> = match attribute.as_ref().and_then(Val::as_str) {
        Some(text) => text
            .split(',')
            .map(|a| a.split('.').map(step).collect())
            .collect(),
        None => vec![path(attribute.as_ref())],
    };
    let mut rows = Vec::new();
    for item in value.items(m)? {
        let mut key = Vec::new();
        for path in &attributes {
            let part = walk(&item, path, None, m)?;
            key.push(if case { part } else { ignore_case(part, m)? });
        }
        rows.push((Val::list(key), item));
    }
    let rows = sorted(rows, flag(reverse), m)?;
    Ok(Val::list(rows.into_iter().map(|(_, item)| item).collect()))
}

fn dictsort(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    let [case, by, reverse] = bind("do_dictsort", ["case_sensitive", "by", "reverse"], args)?;
    let position = match by.as_ref().map(|by| by.text(m)).transpose()?.as_deref() {
        None | Some("key") => 0,
        Some("value") => 1,
        _ => return type_error("You can only sort by either \"key\" or \"value\""),
    };
    let Val::Dict(dict) = value else {
        return match value {
            Val::Undefined(u) => u.fail(),
            _ => type_error(format!(
                "'{}' object has no attribute 'items'",
                value.type_name()
            )),
        };
    };
    let case = flag(case);
    m.items(dict.entries().len())?;
    let mut rows = Vec::new();
    for (key, value) in dict.entries() {
        let by = if position == 0 {
            key.clone()
        } else {
            value.clone()
        };
        let item = Val::tuple(vec![key.clone(), value.clone()]);
        rows.push((if case { by } else { ignore_case(by, m)? }, item));
    }
    let rows = sorted(rows, flag(reverse), m)?;
    Ok(Val::list(rows.into_iter().map(|(_, item)| item).collect()))
}

fn unique(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    let [case, attribute] = bind("sync_do_unique", ["case_sensitive", "attribute"], args)?;
    let (case, path) = (flag(case), path(attribute.as_ref()));
    let mut seen = std::collections::HashSet::new();
    lazily(value, m, |item, out| {
        let key = walk(&item, &path, None, m)?;
        let key = if case { key } else { ignore_case(key, m)? };
        if seen.insert(key.key(m)?) {
            out.push(item);
        }
        Ok(())
    })
}

fn extreme(value: &Val, args: Args, wanted: Ordering, m: &Meter) -> Res<Val> {
    let [case, attribute] = bind("do_min", ["case_sensitive", "attribute"], args)?;
    let (case, path) = (flag(case), path(attribute.as_ref()));
    let op = if wanted == Ordering::Less { "<" } else { ">" };
    let mut best: Option<(Val, Val)> = None;
    for item in value.items(m)? {
        let key = walk(&item, &path, None, m)?;
        let key = if case { key } else { ignore_case(key, m)? };
        let better = match &best {
            None => true,
            Some((best, _)) => key.order(best, op, m)? == Some(wanted),
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or_else(
        || empty("No aggregated item, sequence was empty."),
        |(_, item)| item,
    ))
}

fn sum(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    let [attribute, start] = bind("sync_do_sum", ["attribute", "start"], args)?;
    let path = path(attribute.as_ref());
    let mut total = start.unwrap_or(Val::Int(0));
    if total.as_str().is_some() {
        return type_error("sum() can't sum strings [use ''.join(seq) instead]");
    }
    for item in value.items(m)? {
        total = ops::binary(Operator::Add, &total, &walk(&item, &path, None, m)?, m)?;
    }
    Ok(total)
}

fn batch(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    let [count, fill] = bind("do_batch", ["linecount", "fill_with"], args)?;
    let count = integer(count.as_ref(), 0)?;
    let fill = fill.filter(|f| !matches!(f, Val::None));
    let mut rows = Vec::new();
    let mut row = Vec::new();
    for item in value.items(m)? {
        if row.len() as i128 == count {
            rows.push(Val::list(std::mem::take(&mut row)));
        }
        row.push(item);
    }
    if !row.is_empty() {
        if let Some(fill) = fill {
            let width = size(count)?;
            m.items(width)?;
            row.resize(width.max(row.len()), fill);
        }
        rows.push(Val::list(row));
    }
    Ok(Val::generator(rows, None))
}

fn slice(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    let [slices, fill] = bind("sync_do_slice", ["slices", "fill_with"], args)?;
    let slices = size(integer(slices.as_ref(), 0)?)?;
    m.items(slices)?;
    let fill = fill.filter(|f| !matches!(f, Val::None));
    let items = value.items(m)?;
    if slices == 0 {
        return Ok(failing("integer division or modulo by zero"));
    }
    let (each, extra) = (items.len() / slices, items.len() % slices);
    let mut rest = items.into_iter();
    let rows = (0..slices).map(|i| {
        let mut row: Vec<Val> = rest.by_ref().take(each + usize::from(i < extra)).collect();
        if i >= extra {
            row.extend(fill.clone());
        }
        Val::list(row)
    });
    Ok(Val::generator(rows.collect(), None))
}

fn groupby(value: &Val, args: Args, m: &Meter) -> Res<Val> {
    let [attribute, default, case] = bind(
        "sync_do_groupby",
        ["attribute", "default", "case_sensitive"],
        args,
    )?;
    let (path, case) = (path(attribute.as_ref()), flag(case));
    let default = default.filter(|d| !matches!(d, Val::None));
    let mut rows = Vec::new();
    for item in value.items(m)? {
        let key = walk(&item, &path, default.as_ref(), m)?;
        rows.push((if case { key } else { ignore_case(key, m)? }, item));
    }
    let mut groups: Vec<(Val, Val, Vec<Val>)> = Vec::new();
    for (key, item) in sorted(rows, false, m)? {
        match groups.last_mut() {
            Some((last, _, items)) if last.equals(&key, m)? => items.push(item),
            _ => {
                let shown = walk(&item, &path, default.as_ref(), m)?;
                groups.push((key, shown, vec![item]));
            }
        }
    }
    let groups = groups
        .into_iter()
        .map(|(_, shown, items)| Val::tuple(vec![shown, Val::list(items)]));
    Ok(Val::list(groups.collect()))
}
