//! Calls written in Python.

use std::collections::HashSet;

use super::body::{Problem, Written};
use super::literal::{Reader, string};

/// Reads one call, several statements, or a list of calls.
pub(super) fn calls(text: &str) -> Result<Vec<Written>, Problem> {
    let mut reader = Reader::python(text);
    let mut calls = Vec::new();
    let list = reader.take('[');
    loop {
        reader.skip_space();
        if list && reader.take(']') {
            break;
        }
        if !list && reader.rest.is_empty() {
            break;
        }
        calls.push(call(&mut reader)?);
        if list {
            if !reader.take(',') {
                reader.expect(']').map_err(Problem::malformed)?;
                break;
            }
        } else {
            while reader.take(';') {}
        }
    }
    reader.skip_space();
    if !reader.rest.is_empty() {
        let problem = format!("{} follows the list of calls", reader.next());
        return Err(Problem::malformed(problem));
    }
    Ok(calls)
}

fn call(reader: &mut Reader<'_>) -> Result<Written, Problem> {
    let name = dotted(reader);
    if name.is_empty() {
        let problem = format!("expected the name of a tool but found {}", reader.next());
        return Err(Problem::malformed(problem));
    }
    reader.expect('(').map_err(Problem::malformed)?;
    // Gemma prints what a tool returns.
    if name == "print" {
        let before = reader.rest;
        let inner = dotted(reader);
        if !inner.is_empty() && reader.take('(') {
            let call = arguments(reader, &inner)?;
            reader.expect(')').map_err(Problem::malformed)?;
            return Ok(call);
        }
        reader.rest = before;
    }
    arguments(reader, &name)
}

/// Reads what follows the opening parenthesis of a call.
fn arguments(reader: &mut Reader<'_>, name: &str) -> Result<Written, Problem> {
    let mut arguments = String::from("{");
    let mut names = HashSet::new();
    while !reader.take(')') {
        if !names.is_empty() {
            reader.expect(',').map_err(Problem::malformed)?;
            if reader.take(')') {
                break;
            }
            arguments.push(',');
        }
        let argument = reader.name();
        if argument.is_empty() || !reader.take('=') {
            let problem = format!("argument {} of `{name}` has no name", names.len() + 1);
            return Err(Problem::no_call(problem));
        }
        if !names.insert(argument) {
            let problem = format!("argument `{argument}` of `{name}` occurs twice");
            return Err(Problem::malformed(problem));
        }
        string(&mut arguments, argument);
        arguments.push(':');
        reader
            .value(&mut arguments)
            .map_err(|e| Problem::malformed(format!("argument `{argument}` of `{name}`: {e}")))?;
    }
    arguments.push('}');
    // Built-in tools of Llama are methods.
    Ok(Written::new(
        name.strip_suffix(".call").unwrap_or(name),
        arguments,
    ))
}

fn dotted(reader: &mut Reader<'_>) -> String {
    let mut name = reader.name().to_owned();
    while !name.is_empty() && reader.rest.starts_with(['.', '-']) {
        let (sign, rest) = reader.rest.split_at(1);
        reader.rest = rest;
        name.push_str(sign);
        name.push_str(reader.name());
    }
    name
}
