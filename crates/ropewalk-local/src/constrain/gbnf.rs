//! GBNF, the grammar notation of llama.cpp, translated to the notation that is compiled.
//!
//! A sentence of GBNF is a sequence of characters. The compiler cuts texts into terminals first, each as long as it
//! can be, which is another language where one terminal begins another. So the translation has one terminal only,
//! where no rule contains itself, or one for every character.

mod parse;

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use super::grammar::check_rules;
use super::lark;
use crate::{Error, Result};
use parse::{Item, Rules};

const KIND: &str = "GBNF grammar";

/// Translates a grammar.
///
/// # Errors
/// [`Error::Grammar`] with line and column, [`Error::Unsatisfiable`], [`Error::GrammarSize`].
pub(super) fn to_lark(grammar: &str) -> Result<String> {
    let rules = parse::parse(grammar)?;
    check_rules(KIND, rules.len())?;
    for (name, rule) in &rules {
        if let Some(missing) = rule.names().find(|n| !rules.contains_key(*n)) {
            return Err(wrong(format!(
                "rule {name} uses {missing}, which is not defined"
            )));
        }
    }
    if !rules.contains_key("root") {
        return Err(wrong("it has no rule `root`".to_owned()));
    }
    ends(&rules)?;
    let order = needed(&rules);
    let numbers: HashMap<&str, usize> = order.iter().enumerate().map(|(i, n)| (*n, i)).collect();
    let terminals = !recursive(&rules, &order);
    let prefix = if terminals { "R" } else { "r" };
    let name = |rule: &str| format!("{prefix}{}", numbers.get(rule).copied().unwrap_or_default());
    let mut out = format!("start: {}\n", name("root"));
    // A terminal must match some text: one that may be empty is left out as a whole instead.
    if terminals && closure(&rules, Item::may_be_empty).contains("root") {
        out = format!("start: {}?\n", name("root"));
    }
    for rule in &order {
        let body = rules.get(*rule).map(|item| write(item, terminals, &name));
        let _written = writeln!(out, "{}: {}", name(rule), body.unwrap_or_default());
    }
    Ok(out)
}

fn wrong(reason: String) -> Error {
    Error::Grammar { kind: KIND, reason }
}

/// Returns the rules that `root` needs, itself first.
fn needed(rules: &Rules) -> Vec<&str> {
    let mut order = vec!["root"];
    let mut seen = HashSet::from(["root"]);
    let mut at = 0;
    while let Some(&name) = order.get(at) {
        at += 1;
        let names = rules.get(name).into_iter().flat_map(Item::names);
        order.extend(names.filter(|n| seen.insert(*n)));
    }
    order
}

/// Returns whether a rule contains itself: what is left when rules without needs are taken away.
fn recursive(rules: &Rules, order: &[&str]) -> bool {
    let mut left: HashSet<&str> = order.iter().copied().collect();
    loop {
        let before = left.len();
        let done: Vec<&str> = left
            .iter()
            .copied()
            .filter(|name| {
                let mut names = rules.get(*name).into_iter().flat_map(Item::names);
                !names.any(|n| left.contains(n))
            })
            .collect();
        for name in done {
            left.remove(name);
        }
        if left.len() == before {
            return !left.is_empty();
        }
    }
}

/// Refuses a grammar whose `root` never ends.
fn ends(rules: &Rules) -> Result<()> {
    if closure(rules, Item::ends).contains("root") {
        return Ok(());
    }
    Err(Error::Unsatisfiable {
        kind: KIND,
        reason: "`root` never ends: each of its alternatives contains one of its kind".to_owned(),
    })
}

/// Returns the rules of which `has` holds, given those that are known to have it.
fn closure(rules: &Rules, has: fn(&Item, &HashSet<&str>) -> bool) -> HashSet<&str> {
    let mut known: HashSet<&str> = HashSet::new();
    loop {
        let more: Vec<&str> = rules
            .iter()
            .filter(|(name, rule)| !known.contains(name.as_str()) && has(rule, &known))
            .map(|(name, _)| name.as_str())
            .collect();
        if more.is_empty() {
            return known;
        }
        known.extend(more);
    }
}

/// Writes an item; in a terminal neighbouring characters become one literal.
fn write(item: &Item, terminal: bool, name: &dyn Fn(&str) -> String) -> String {
    match item {
        Item::Char(c) => lark::literal(&c.to_string()),
        Item::Class(class) => format!("/{class}/"),
        Item::Rule(rule) => name(rule),
        Item::All(items) => {
            let mut parts: Vec<String> = Vec::new();
            let mut text = String::new();
            for item in items {
                if let (Item::Char(c), true) = (item, terminal) {
                    text.push(*c);
                    continue;
                }
                if !text.is_empty() {
                    parts.push(lark::literal(&std::mem::take(&mut text)));
                }
                parts.push(write(item, terminal, name));
            }
            if !text.is_empty() || parts.is_empty() {
                parts.push(lark::literal(&text));
            }
            format!("({})", parts.join(" "))
        }
        Item::Any(items) => {
            let parts: Vec<String> = items.iter().map(|i| write(i, terminal, name)).collect();
            format!("({})", parts.join(" | "))
        }
        Item::Repeat(item, least, most) => {
            let what = write(item, terminal, name);
            match (least, most) {
                (0, None) => format!("({what})*"),
                (1, None) => format!("({what})+"),
                (0, Some(1)) => format!("({what})?"),
                (least, Some(most)) => format!("({what}){{{least},{most}}}"),
                (least, None) => format!("(({what}){{{least}}} ({what})*)"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
