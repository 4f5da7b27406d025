//! Finds filters and tests that do not exist before the template runs.
//!
//! Jinja2 refuses them when it compiles, except under an `if`, where it waits until they are used
//! (`jinja2/compiler.py`, "soft frames"). Loops and the like make everything inside strict again.

use super::ast::{Arguments, Expr, ExprKind, FilterCall, Macro, Stmt, StmtKind, Target};
use super::error::{ErrorKind, Res, err};
use super::{filters, predicates};

pub(crate) fn check(body: &[Stmt]) -> Res<()> {
    statements(body, false)
}

fn statements(body: &[Stmt], soft: bool) -> Res<()> {
    body.iter()
        .try_for_each(|stmt| statement(stmt, soft).map_err(|e| Box::new(e.at(stmt.line))))
}

fn statement(stmt: &Stmt, soft: bool) -> Res<()> {
    match &stmt.kind {
        StmtKind::Text(_) | StmtKind::Break | StmtKind::Continue => Ok(()),
        StmtKind::Print(value) | StmtKind::Set(_, value) | StmtKind::Load(value) => {
            expr(value, soft)
        }
        StmtKind::If {
            branches,
            otherwise,
        } => {
            for (test, body) in branches {
                expr(test, true)?;
                statements(body, true)?;
            }
            statements(otherwise, true)
        }
        StmtKind::For(l) => {
            if names_loop(&l.target) || l.body.iter().chain(&l.otherwise).any(sets_loop) {
                return err(
                    ErrorKind::Syntax,
                    "Can't assign to special loop variable in for-loop target",
                );
            }
            expr(&l.iter, soft)?;
            optional(l.test.as_ref(), false)?;
            statements(&l.body, false)?;
            statements(&l.otherwise, false)
        }
        StmtKind::SetBlock { filters, body, .. } | StmtKind::Filter { filters, body } => {
            filters.iter().try_for_each(|f| filter(f, false))?;
            statements(body, false)
        }
        StmtKind::With { targets, body } => {
            targets
                .iter()
                .try_for_each(|(_, value)| expr(value, soft))?;
            statements(body, false)
        }
        StmtKind::Macro(m) => definition(m),
        StmtKind::Call { call, body } => {
            expr(call, soft)?;
            definition(body)
        }
        StmtKind::Generation(body) | StmtKind::Block(body) => statements(body, false),
    }
}

fn names_loop(target: &Target) -> bool {
    match target {
        Target::Name(name) => &**name == "loop",
        Target::Attr(..) => false,
        Target::Tuple(targets) => targets.iter().any(names_loop),
    }
}

/// Whether a statement, or one below it, assigns to `loop`. Inner loops are asked when their turn comes.
fn sets_loop(stmt: &Stmt) -> bool {
    match &stmt.kind {
        StmtKind::Set(target, _) | StmtKind::SetBlock { target, .. } => names_loop(target),
        StmtKind::If {
            branches,
            otherwise,
        } => branches
            .iter()
            .flat_map(|(_, body)| body)
            .chain(otherwise)
            .any(sets_loop),
        StmtKind::With { targets, body } => {
            targets.iter().any(|(target, _)| names_loop(target)) || body.iter().any(sets_loop)
        }
        _ => false,
    }
}

fn definition(m: &Macro) -> Res<()> {
    m.params
        .iter()
        .try_for_each(|(_, default)| optional(default.as_ref(), false))?;
    statements(&m.body, false)
}

fn optional(value: Option<&Expr>, soft: bool) -> Res<()> {
    value.map_or(Ok(()), |value| expr(value, soft))
}

fn arguments(args: &Arguments, soft: bool) -> Res<()> {
    args.positional.iter().try_for_each(|a| expr(a, soft))?;
    args.named.iter().try_for_each(|(_, a)| expr(a, soft))?;
    optional(args.star.as_ref(), soft)?;
    optional(args.double_star.as_ref(), soft)
}

fn filter(call: &FilterCall, soft: bool) -> Res<()> {
    if !soft && !filters::NAMES.contains(&&*call.name) {
        return err(
            ErrorKind::Syntax,
            format!("No filter named '{}'.", call.name),
        )
        .map_err(|e: Box<_>| Box::new(e.at(call.line)));
    }
    arguments(&call.args, soft)
}

fn expr(e: &Expr, soft: bool) -> Res<()> {
    match &e.kind {
        ExprKind::Literal(_) | ExprKind::Name(_) => Ok(()),
        ExprKind::List(items)
        | ExprKind::Tuple(items)
        | ExprKind::Or(items)
        | ExprKind::And(items)
        | ExprKind::Concat(items) => items.iter().try_for_each(|i| expr(i, soft)),
        ExprKind::Dict(entries) => entries.iter().try_for_each(|(k, v)| {
            expr(k, soft)?;
            expr(v, soft)
        }),
        ExprKind::Cond(parts) => {
            expr(&parts.0, true)?;
            expr(&parts.1, true)?;
            optional(parts.2.as_ref(), true)
        }
        ExprKind::Not(v) | ExprKind::Neg(v) | ExprKind::Pos(v) | ExprKind::Attr(v, _) => {
            expr(v, soft)
        }
        ExprKind::Compare(first, rest) => {
            expr(first, soft)?;
            rest.iter().try_for_each(|(_, v)| expr(v, soft))
        }
        ExprKind::Chain(first, rest) => {
            expr(first, soft)?;
            rest.iter().try_for_each(|(_, v)| expr(v, soft))
        }
        ExprKind::Item(object, key) => {
            expr(object, soft)?;
            expr(key, soft)
        }
        ExprKind::Slice(object, parts) => {
            expr(object, soft)?;
            parts.iter().try_for_each(|p| optional(p.as_ref(), soft))
        }
        ExprKind::Call(function, args) => {
            expr(function, soft)?;
            arguments(args, soft)
        }
        ExprKind::Filter(value, call) => {
            filter(call, soft)?;
            expr(value, soft)
        }
        ExprKind::Test(value, call) => {
            if !soft && !predicates::NAMES.contains(&&*call.name) {
                return err(ErrorKind::Syntax, format!("No test named '{}'.", call.name))
                    .map_err(|e: Box<_>| Box::new(e.at(call.line)));
            }
            arguments(&call.args, soft)?;
            expr(value, soft)
        }
    }
}
