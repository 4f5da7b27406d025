//! Expressions.

use super::{Args, Interp, Scope};
use crate::template::ast::{Arguments, Comparison, Expr, ExprKind, FilterCall, Literal, Operator};
use crate::template::error::{Res, type_error};
use crate::template::value::{Dict, Missing, Val};
use crate::template::{filters, ops, predicates};
use std::rc::Rc;

impl Interp {
    pub(crate) fn eval(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Res<Val> {
        self.enter()?;
        let result = match &expr.kind {
            ExprKind::Name(name) => scope
                .get(name, &self.meter)
                .map(|found| found.unwrap_or_else(|| Val::missing(Missing::Name(name.clone())))),
            ExprKind::Literal(literal) => Ok(match literal {
                Literal::None => Val::None,
                Literal::Bool(b) => Val::Bool(*b),
                Literal::Int(i) => Val::Int(*i),
                Literal::Float(f) => Val::Float(*f),
                Literal::Str(s) => Val::Str(s.clone()),
            }),
            ExprKind::Attr(object, name) => self
                .eval(object, scope)
                .and_then(|object| ops::get_attribute(&object, name, &self.meter)),
            ExprKind::Item(object, key) => self.item(object, key, scope),
            ExprKind::Not(value) => self.eval(value, scope).map(|v| Val::Bool(!v.truth())),
            ExprKind::Or(items) => self.logic(items, scope, true),
            ExprKind::And(items) => self.logic(items, scope, false),
            ExprKind::Compare(first, rest) => self.comparison(first, rest, scope),
            ExprKind::Chain(first, rest) => self.chain(first, rest, scope),
            ExprKind::Concat(items) => self.concat(items, scope),
            ExprKind::Call(function, arguments) => self.call_expr(function, arguments, scope),
            ExprKind::Filter(value, filter) => self.filter(value, filter, scope),
            ExprKind::Test(value, test) => self.test(value, test, scope),
            ExprKind::Cond(parts) => self.conditional(expr.line, parts, scope),
            _ => self.rare_expr(expr, scope),
        };
        self.depth -= 1;
        result.map_err(|e| Box::new(e.at(expr.line)))
    }

    pub(super) fn item(&mut self, object: &Expr, key: &Expr, scope: &Rc<Scope>) -> Res<Val> {
        let object = self.eval(object, scope)?;
        let key = self.eval(key, scope)?;
        ops::get_element(&object, &key, &self.meter)
    }

    pub(super) fn logic(&mut self, items: &[Expr], scope: &Rc<Scope>, stop: bool) -> Res<Val> {
        let mut value = Val::None;
        for item in items {
            value = self.eval(item, scope)?;
            if value.truth() == stop {
                break;
            }
        }
        Ok(value)
    }

    pub(super) fn comparison(
        &mut self,
        first: &Expr,
        rest: &[(Comparison, Expr)],
        scope: &Rc<Scope>,
    ) -> Res<Val> {
        let mut left = self.eval(first, scope)?;
        for (op, right) in rest {
            let right = self.eval(right, scope)?;
            if !ops::compare(*op, &left, &right, &self.meter)? {
                return Ok(Val::Bool(false));
            }
            left = right;
        }
        Ok(Val::Bool(true))
    }

    pub(super) fn chain(
        &mut self,
        first: &Expr,
        rest: &[(Operator, Expr)],
        scope: &Rc<Scope>,
    ) -> Res<Val> {
        let mut left = self.eval(first, scope)?;
        for (op, right) in rest {
            let right = self.eval(right, scope)?;
            left = ops::binary(*op, &left, &right, &self.meter)?;
        }
        Ok(left)
    }

    pub(super) fn charge_value(&self, value: &Val) -> Res<()> {
        match value {
            Val::Str(s) | Val::Markup(s) => self.charge(s.len() / 16),
            Val::List(seq) | Val::Tuple(seq) => self.charge(seq.items.len()),
            Val::Dict(dict) => self.charge(dict.entries().len()),
            _ => Ok(()),
        }
    }

    pub(super) fn concat(&mut self, items: &[Expr], scope: &Rc<Scope>) -> Res<Val> {
        let mut text = String::new();
        for item in items {
            self.eval(item, scope)?.write(&mut text, &self.meter)?;
        }
        Ok(text.into())
    }

    pub(super) fn conditional(
        &mut self,
        line: u32,
        parts: &(Expr, Expr, Option<Expr>),
        scope: &Rc<Scope>,
    ) -> Res<Val> {
        let (test, value, other) = parts;
        if self.eval(test, scope)?.truth() {
            return self.eval(value, scope);
        }
        match other {
            Some(other) => self.eval(other, scope),
            None => Ok(Val::hint(&format!(
                "the inline if-expression on line {line} evaluated to false and no else section was defined."
            ))),
        }
    }

    pub(super) fn rare_expr(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Res<Val> {
        match &expr.kind {
            ExprKind::List(items) => Val::list(self.all(items, scope)?).check_depth(),
            ExprKind::Tuple(items) => Val::tuple(self.all(items, scope)?).check_depth(),
            ExprKind::Dict(entries) => {
                let mut dict = Dict::default();
                for (key, value) in entries {
                    let key = self.eval(key, scope)?;
                    let value = self.eval(value, scope)?;
                    dict.insert(key, value, &self.meter)?;
                }
                Val::dict(dict).check_depth()
            }
            ExprKind::Neg(value) => ops::negate(&self.eval(value, scope)?, true),
            ExprKind::Pos(value) => ops::negate(&self.eval(value, scope)?, false),
            ExprKind::Slice(object, parts) => {
                let object = self.eval(object, scope)?;
                let mut bounds = [Val::None, Val::None, Val::None];
                for (bound, part) in bounds.iter_mut().zip(parts.iter()) {
                    if let Some(part) = part {
                        *bound = self.eval(part, scope)?;
                    }
                }
                let value = ops::slice(&object, &bounds, &self.meter)?;
                self.charge_value(&value)?;
                Ok(value)
            }
            _ => type_error("internal error: an expression without meaning"),
        }
    }

    pub(super) fn all(&mut self, items: &[Expr], scope: &Rc<Scope>) -> Res<Vec<Val>> {
        items.iter().map(|item| self.eval(item, scope)).collect()
    }

    pub(super) fn filter(
        &mut self,
        value: &Expr,
        filter: &FilterCall,
        scope: &Rc<Scope>,
    ) -> Res<Val> {
        let value = self.eval(value, scope)?;
        let args = self.arguments(&filter.args, scope)?;
        let result = filters::apply(&filter.name, value, args, &self.meter)?.check_depth()?;
        self.charge_value(&result)?;
        Ok(result)
    }

    pub(super) fn test(&mut self, value: &Expr, test: &FilterCall, scope: &Rc<Scope>) -> Res<Val> {
        let value = self.eval(value, scope)?;
        let args = self.arguments(&test.args, scope)?;
        predicates::check(&test.name, &value, &args, &self.meter).map(Val::Bool)
    }

    pub(super) fn arguments(&mut self, arguments: &Arguments, scope: &Rc<Scope>) -> Res<Args> {
        let mut args = Args {
            positional: self.all(&arguments.positional, scope)?,
            named: Vec::new(),
        };
        for (name, value) in &arguments.named {
            args.named.push((name.clone(), self.eval(value, scope)?));
        }
        if let Some(star) = &arguments.star {
            let star = self.eval(star, scope)?;
            if !star.is_iterable() {
                return type_error(format!(
                    "jinja2.sandbox.SandboxedEnvironment.call() argument after * must be an iterable, not {}",
                    star.type_name()
                ));
            }
            args.positional.extend(star.items(&self.meter)?);
        }
        if let Some(star) = &arguments.double_star {
            match self.eval(star, scope)? {
                Val::Dict(dict) => {
                    self.meter.items(dict.entries().len())?;
                    for (key, value) in dict.entries() {
                        let Val::Str(name) = key else {
                            return type_error("keywords must be strings");
                        };
                        args.named.push((name.clone(), value.clone()));
                    }
                }
                other => {
                    return type_error(format!(
                        "jinja2.sandbox.SandboxedEnvironment.call() argument after ** must be a mapping, not {}",
                        other.type_name()
                    ));
                }
            }
        }
        Ok(args)
    }
}
