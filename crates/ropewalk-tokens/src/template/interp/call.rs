//! Calls: macros, methods and the functions that every template has.

use super::{Args, Interp, Scope};
use crate::template::ast::{Arguments, Expr, Loop};
use crate::template::error::{ErrorKind, Res, err, limit, type_error};
use crate::template::text::repr_str;
use crate::template::value::{Dict, Function, MacroVal, Object, Val, range_length};
use crate::template::{methods, ops};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// Steps for what is kept until the end of a rendering.
pub(super) const KEPT: usize = 64;

/// Ranges longer than this are refused, as by the reference's sandbox.
const MAX_RANGE: usize = 100_000;

impl Interp {
    pub(super) fn call_expr(
        &mut self,
        function: &Expr,
        arguments: &Arguments,
        scope: &Rc<Scope>,
    ) -> Res<Val> {
        let function = self.eval(function, scope)?;
        let args = self.arguments(arguments, scope)?;
        let value = self.call(&function, args)?.check_depth()?;
        self.charge_value(&value)?;
        Ok(value)
    }

    pub(super) fn call(&mut self, function: &Val, args: Args) -> Res<Val> {
        match function {
            Val::Undefined(u) => u.fail(),
            Val::Object(object) => match &**object {
                Object::Macro(m) => self.call_macro(m, args),
                Object::Method(receiver, name) => methods::call(receiver, name, args, &self.meter),
                Object::Function(function) => self.function(*function, args),
                Object::Joiner { sep, used } => Ok(if used.replace(true) {
                    sep.clone()
                } else {
                    "".into()
                }),
                Object::Loop(this) => {
                    let Some((l, scope)) = &this.recursion else {
                        return type_error(
                            "The loop must have the 'recursive' marker to be called recursively.",
                        );
                    };
                    let Some(iterable) = args.positional.first() else {
                        return type_error(
                            "LoopContext.__call__() missing 1 required positional argument: 'iterable'",
                        );
                    };
                    self.loop_again(l, scope, iterable, this.level + 1)
                }
                _ => not_callable(function),
            },
            _ => not_callable(function),
        }
    }

    pub(super) fn loop_again(
        &mut self,
        l: &Arc<Loop>,
        scope: &Rc<Scope>,
        iterable: &Val,
        level: usize,
    ) -> Res<Val> {
        let outer = std::mem::take(&mut self.out);
        if self.buffers == 0 {
            self.outer_length = outer.len();
        }
        self.buffers += 1;
        let result = self.repeat(l, iterable, scope, level);
        self.buffers -= 1;
        let text = std::mem::replace(&mut self.out, outer);
        result.map(|()| text.into())
    }

    pub(super) fn call_macro(&mut self, m: &MacroVal, mut args: Args) -> Res<Val> {
        let definition = m.definition.clone();
        let scope = Scope::new(Some(m.scope.clone()));
        let name = || {
            definition
                .name
                .as_deref()
                .map_or("None".to_owned(), repr_str)
        };
        let count = definition.params.len();
        let rest = args.positional.split_off(count.min(args.positional.len()));
        let given = args.positional.len();
        let mut explicit_caller = false;
        let mut missing = Vec::new();
        for (i, (param, default)) in definition.params.iter().enumerate() {
            explicit_caller |= &**param == "caller";
            if i < given {
                scope.set(param, args.positional[i].clone());
            } else if let Some(at) = args.named.iter().position(|(n, _)| n == param) {
                scope.set(param, args.named.remove(at).1);
            } else {
                missing.push((param, default));
            }
        }
        if definition.uses_caller && !explicit_caller {
            let given = args.named.iter().position(|(n, _)| &**n == "caller");
            let caller = given.map(|at| args.named.remove(at).1);
            let caller = caller.unwrap_or_else(|| Val::hint("No caller defined"));
            scope.set(&"caller".into(), caller);
        }
        if definition.uses_kwargs {
            let named = std::mem::take(&mut args.named);
            let dict = Dict::from_pairs(
                named.into_iter().map(|(n, v)| (Val::Str(n), v)),
                &self.meter,
            )?;
            scope.set(&"kwargs".into(), Val::dict(dict));
        } else if let Some((first, _)) = args.named.first() {
            if args.named.iter().any(|(n, _)| &**n == "caller") {
                return type_error(format!(
                    "macro {} was invoked with two values for the special caller argument. This is most likely a bug.",
                    name()
                ));
            }
            return type_error(format!(
                "macro {} takes no keyword argument {}",
                name(),
                repr_str(first)
            ));
        }
        if definition.uses_varargs {
            scope.set(&"varargs".into(), Val::tuple(rest));
        } else if !rest.is_empty() {
            return type_error(format!(
                "macro {} takes not more than {count} argument(s)",
                name()
            ));
        }
        for (param, default) in missing {
            let value = match default {
                Some(default) => self.eval(default, &scope)?,
                None => Val::hint(&format!("parameter '{param}' was not provided")),
            };
            scope.set(param, value);
        }
        self.buffered(&definition.body, &scope).map(Val::from)
    }

    pub(super) fn function(&mut self, function: Function, args: Args) -> Res<Val> {
        let first = args.positional.first();
        match function {
            Function::RaiseException => {
                let message = first.cloned().or_else(|| {
                    args.named
                        .iter()
                        .find(|(n, _)| &**n == "message")
                        .map(|(_, v)| v.clone())
                });
                match message {
                    Some(message) => err(ErrorKind::Raised, &*message.text(&self.meter)?),
                    None => type_error(
                        "_cached_compile_jinja_template.<locals>.raise_exception() missing 1 required positional argument: 'message'",
                    ),
                }
            }
            Function::StrftimeNow => match (first.and_then(Val::as_str), self.now) {
                (Some(format), Some(now)) => {
                    // A code of two letters may become a date of 24, one of five be 255 wide.
                    self.meter.text(format.len().saturating_mul(64))?;
                    Ok(now.format(format).into())
                }
                _ if first.is_none() => type_error(
                    "_cached_compile_jinja_template.<locals>.strftime_now() missing 1 required positional argument: 'format'",
                ),
                _ => type_error(format!(
                    "strftime() argument 1 must be str, not {}",
                    first.map_or("NoneType", Val::type_name)
                )),
            },
            Function::Range => range(&args.positional),
            Function::Dict => {
                let mut dict = match first {
                    Some(value) => ops::to_dict(value, &self.meter)?,
                    None => Dict::default(),
                };
                for (name, value) in args.named {
                    dict.insert(Val::Str(name), value, &self.meter)?;
                }
                Ok(Val::dict(dict))
            }
            Function::Namespace => {
                let mut dict = match first {
                    Some(value) => ops::to_dict(value, &self.meter)?,
                    None => Dict::default(),
                };
                for (name, value) in args.named {
                    dict.insert(Val::Str(name), value, &self.meter)?;
                }
                let mut entries = Vec::new();
                for (key, value) in dict.entries() {
                    let name = key.text(&self.meter)?;
                    ops::check_name(&name)?;
                    entries.push((name, value.clone()));
                }
                self.charge(KEPT)?;
                let namespace = ops::namespace(entries);
                self.namespaces.push(namespace.clone());
                Ok(namespace)
            }
            Function::Cycler => {
                if args.positional.is_empty() {
                    return type_error("at least one item has to be provided");
                }
                let depth = args.positional.iter().map(Val::depth).max().unwrap_or(0);
                Ok(Val::object(Object::Cycler {
                    items: args.positional,
                    at: Cell::new(0),
                    depth,
                }))
            }
            Function::Joiner => {
                let named = args
                    .named
                    .into_iter()
                    .find(|(n, _)| &**n == "sep")
                    .map(|(_, v)| v);
                let sep = first.cloned().or(named).unwrap_or_else(|| ", ".into());
                Ok(Val::object(Object::Joiner {
                    sep,
                    used: Cell::new(false),
                }))
            }
        }
    }
}

fn not_callable<T>(value: &Val) -> Res<T> {
    type_error(format!("'{}' object is not callable", value.type_name()))
}

fn range(args: &[Val]) -> Res<Val> {
    let mut numbers = Vec::new();
    for arg in args {
        if let Val::Undefined(_) = arg {
            return type_error("'Undefined' object cannot be interpreted as an integer");
        }
        match arg.as_int().map(i64::try_from) {
            Some(Ok(n)) => numbers.push(n),
            Some(Err(_)) => return limit("a range bound is too large"),
            None => {
                return type_error(format!(
                    "'{}' object cannot be interpreted as an integer",
                    arg.type_name()
                ));
            }
        }
    }
    let (start, stop, step) = match numbers[..] {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] => (start, stop, step),
        [] => return type_error("range expected at least 1 argument, got 0"),
        _ => {
            return type_error(format!(
                "range expected at most 3 arguments, got {}",
                numbers.len()
            ));
        }
    };
    if step == 0 {
        return type_error("range() arg 3 must not be zero");
    }
    if range_length(start, stop, step) > MAX_RANGE {
        return type_error(format!(
            "Range too big. The sandbox blocks ranges larger than MAX_RANGE ({MAX_RANGE})."
        ));
    }
    Ok(Val::object(Object::Range { start, stop, step }))
}
