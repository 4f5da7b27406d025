//! Runs a parsed template.

use super::ast::{
    Arguments, Expr, ExprKind, FilterCall, Literal, Loop, Macro, Operator, Stmt, StmtKind, Target,
};
use super::date::DateTime;
use super::error::{ErrorKind, Res, err, limit, type_error};
use super::value::{Dict, Function, LoopVal, MacroVal, Missing, Object, Val, range_length};
use super::{Limits, filters, methods, ops, predicates};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// Ranges longer than this are refused, as by the reference's sandbox.
const MAX_RANGE: usize = 100_000;

/// Names and values; what is not here is looked for outside.
pub(crate) struct Scope {
    vars: RefCell<Vec<(Arc<str>, Val)>>,
    parent: Option<Rc<Scope>>,
}

impl Scope {
    pub(crate) fn new(parent: Option<Rc<Self>>) -> Rc<Self> {
        Rc::new(Self {
            vars: RefCell::default(),
            parent,
        })
    }

    fn get(&self, name: &str) -> Option<Val> {
        let mut scope = self;
        loop {
            if let Some((_, value)) = scope.vars.borrow().iter().find(|(n, _)| **n == *name) {
                return Some(value.clone());
            }
            scope = scope.parent.as_deref()?;
        }
    }

    pub(crate) fn set(&self, name: &Arc<str>, value: Val) {
        let mut vars = self.vars.borrow_mut();
        match vars.iter_mut().find(|(n, _)| *n == *name) {
            Some(var) => var.1 = value,
            None => vars.push((name.clone(), value)),
        }
    }
}

/// Arguments of a call, evaluated.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) positional: Vec<Val>,
    pub(crate) named: Vec<(Arc<str>, Val)>,
}

/// Whether a loop goes on after a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub(crate) struct Interp {
    limits: Limits,
    steps: u64,
    depth: u32,
    out: String,
    /// Number of buffers around `out`, and the length of the outermost text when the first was opened.
    buffers: u32,
    outer_length: usize,
    pub(crate) spans: Vec<Range<usize>>,
    now: Option<DateTime>,
    root: Rc<Scope>,
    /// Scopes that macros hold on to, and namespaces: emptied at the end, because they may hold each other.
    captured: Vec<Rc<Scope>>,
    namespaces: Vec<Val>,
}

impl Drop for Interp {
    fn drop(&mut self) {
        for scope in &self.captured {
            drop(scope.vars.take());
        }
        for namespace in &self.namespaces {
            if let Val::Object(object) = namespace {
                if let Object::Namespace { entries, .. } = &**object {
                    drop(entries.take());
                }
            }
        }
    }
}

impl Interp {
    /// Prepares a run with these variables.
    pub(crate) fn new(
        variables: Vec<(Arc<str>, Val)>,
        now: Option<DateTime>,
        limits: Limits,
    ) -> Self {
        let globals = Scope::new(None);
        let mut functions = vec![
            ("range", Function::Range),
            ("dict", Function::Dict),
            ("namespace", Function::Namespace),
            ("cycler", Function::Cycler),
            ("joiner", Function::Joiner),
            ("raise_exception", Function::RaiseException),
        ];
        if now.is_some() {
            functions.push(("strftime_now", Function::StrftimeNow));
        }
        for (name, function) in functions {
            globals.set(&name.into(), Val::object(Object::Function(function)));
        }
        let context = Scope::new(Some(globals));
        for (name, value) in variables {
            context.set(&name, value);
        }
        let root = Scope::new(Some(context));
        Self {
            limits,
            steps: 0,
            depth: 0,
            out: String::new(),
            buffers: 0,
            outer_length: 0,
            spans: Vec::new(),
            now,
            captured: vec![root.clone()],
            root,
            namespaces: Vec::new(),
        }
    }

    /// Runs the template and returns its text.
    pub(crate) fn run(&mut self, body: &[Stmt]) -> Res<String> {
        let root = self.root.clone();
        self.body(body, &root)?;
        Ok(std::mem::take(&mut self.out))
    }

    /// Counts work done: one step per node, and one per 16 bytes of text made.
    pub(crate) fn charge(&mut self, steps: usize) -> Res<()> {
        self.steps += steps as u64;
        if self.steps > self.limits.steps {
            return limit(format!(
                "the template took more than {} steps",
                self.limits.steps
            ));
        }
        Ok(())
    }

    fn enter(&mut self) -> Res<()> {
        self.depth += 1;
        if self.depth > self.limits.depth {
            return limit("maximum recursion depth exceeded");
        }
        self.charge(1)
    }

    fn write(&mut self, text: &str) -> Res<()> {
        self.charge(text.len() / 16)?;
        if self.out.len() + text.len() > self.limits.output {
            return limit(format!(
                "the template writes more than {} bytes",
                self.limits.output
            ));
        }
        self.out.push_str(text);
        Ok(())
    }

    // Statements

    /// Runs statements with a buffer of their own and returns its text.
    fn buffered(&mut self, body: &[Stmt], scope: &Rc<Scope>) -> Res<String> {
        let outer = std::mem::take(&mut self.out);
        if self.buffers == 0 {
            self.outer_length = outer.len();
        }
        self.buffers += 1;
        let result = self.body(body, scope);
        self.buffers -= 1;
        let text = std::mem::replace(&mut self.out, outer);
        result.map(|_| text)
    }

    fn body(&mut self, body: &[Stmt], scope: &Rc<Scope>) -> Res<Flow> {
        self.enter()?;
        let mut flow = Flow::Next;
        for stmt in body {
            flow = match self.statement(stmt, scope) {
                Ok(flow) => flow,
                Err(e) => return Err(Box::new(e.at(stmt.line))),
            };
            if flow != Flow::Next {
                break;
            }
        }
        self.depth -= 1;
        Ok(flow)
    }

    fn statement(&mut self, stmt: &Stmt, scope: &Rc<Scope>) -> Res<Flow> {
        match &stmt.kind {
            StmtKind::Text(text) => self.write(text)?,
            StmtKind::Print(value) => {
                let value = self.eval(value, scope)?;
                self.print(&value)?;
            }
            StmtKind::If {
                branches,
                otherwise,
            } => {
                for (test, body) in branches {
                    if self.eval(test, scope)?.truth() {
                        return self.body(body, scope);
                    }
                }
                return self.body(otherwise, scope);
            }
            StmtKind::For(l) => self.for_loop(l, scope)?,
            StmtKind::Set(target, value) => {
                let value = self.eval(value, scope)?;
                self.assign(target, value, scope)?;
            }
            StmtKind::With { targets, body } => return self.with(targets, body, scope),
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
            StmtKind::Macro(definition) => {
                let name = definition.name.clone();
                let value = self.macro_value(definition, scope);
                if let Some(name) = name {
                    scope.set(&name, value);
                }
            }
            _ => self.rare_statement(stmt, scope)?,
        }
        Ok(Flow::Next)
    }

    /// Statements that need buffers or scopes of their own, apart so that the common ones use less stack.
    fn rare_statement(&mut self, stmt: &Stmt, scope: &Rc<Scope>) -> Res<()> {
        let inner = Scope::new(Some(scope.clone()));
        match &stmt.kind {
            StmtKind::SetBlock {
                target,
                filters,
                body,
            } => {
                let text = self.buffered(body, &inner)?;
                let value = self.apply_filters(text.into(), filters, scope)?;
                self.assign(target, value, scope)
            }
            StmtKind::Filter { filters, body } => {
                let text = self.buffered(body, &inner)?;
                let value = self.apply_filters(text.into(), filters, scope)?;
                self.print(&value)
            }
            StmtKind::Block(body) => {
                let inner = Scope::new(Some(self.root.clone()));
                self.body(body, &inner).map(|_| ())
            }
            StmtKind::Generation(body) => {
                let start = if self.buffers == 0 {
                    self.out.len()
                } else {
                    self.outer_length
                };
                let text = self.buffered(body, &inner)?;
                self.spans.push(start..start + text.len());
                self.write(&text)
            }
            StmtKind::Call { call, body } => {
                let ExprKind::Call(function, arguments) = &call.kind else {
                    return type_error("expected call");
                };
                let caller = self.macro_value(body, scope);
                let function = self.eval(function, scope)?;
                let mut args = self.arguments(arguments, scope)?;
                args.named.push(("caller".into(), caller));
                let value = self.call(&function, args)?;
                self.print(&value)
            }
            StmtKind::Load(name) => {
                self.eval(name, scope)?;
                type_error("no loader for this environment specified")
            }
            _ => Ok(()),
        }
    }

    fn with(&mut self, targets: &[(Target, Expr)], body: &[Stmt], scope: &Rc<Scope>) -> Res<Flow> {
        let inner = Scope::new(Some(scope.clone()));
        for (target, value) in targets {
            let value = self.eval(value, scope)?;
            self.assign(target, value, &inner)?;
        }
        self.body(body, &inner)
    }

    fn print(&mut self, value: &Val) -> Res<()> {
        match value.as_str() {
            Some(text) => self.write(text),
            None => {
                let text = value.text();
                self.write(&text)
            }
        }
    }

    fn apply_filters(
        &mut self,
        mut value: Val,
        filters: &[FilterCall],
        scope: &Rc<Scope>,
    ) -> Res<Val> {
        for filter in filters {
            let args = self.arguments(&filter.args, scope)?;
            value = filters::apply(self, &filter.name, value, args)?;
        }
        Ok(value)
    }

    fn macro_value(&mut self, definition: &Arc<Macro>, scope: &Rc<Scope>) -> Val {
        if !self.captured.iter().any(|s| Rc::ptr_eq(s, scope)) {
            self.captured.push(scope.clone());
        }
        Val::object(Object::Macro(MacroVal {
            definition: definition.clone(),
            scope: scope.clone(),
        }))
    }

    fn assign(&mut self, target: &Target, value: Val, scope: &Rc<Scope>) -> Res<()> {
        match target {
            Target::Name(name) => scope.set(name, value),
            Target::Attr(object, name) => {
                let object = scope.get(object).unwrap_or(Val::None);
                ops::set_attribute(&object, name, value)?;
                object.check_depth()?;
            }
            Target::Tuple(targets) => {
                if !value.is_iterable() {
                    return type_error(format!(
                        "cannot unpack non-iterable {} object",
                        value.type_name()
                    ));
                }
                let items = value.items()?;
                let expected = targets.len();
                if items.len() < expected {
                    return type_error(format!(
                        "not enough values to unpack (expected {expected}, got {})",
                        items.len()
                    ));
                }
                if items.len() > expected {
                    return type_error(format!("too many values to unpack (expected {expected})"));
                }
                for (target, value) in targets.iter().zip(items) {
                    self.assign(target, value, scope)?;
                }
            }
        }
        Ok(())
    }

    fn for_loop(&mut self, l: &Arc<Loop>, scope: &Rc<Scope>) -> Res<()> {
        let iterable = self.eval(&l.iter, scope)?;
        self.repeat(l, &iterable, scope, 0)
    }

    fn repeat(
        &mut self,
        l: &Arc<Loop>,
        iterable: &Val,
        scope: &Rc<Scope>,
        level: usize,
    ) -> Res<()> {
        let (mut items, failure) = iterable.pending()?;
        self.charge(items.len())?;
        if let Some(test) = &l.test {
            let mut kept = Vec::new();
            for item in items {
                let inner = Scope::new(Some(scope.clone()));
                self.assign(&l.target, item.clone(), &inner)?;
                if self.eval(test, &inner)?.truth() {
                    kept.push(item);
                }
            }
            items = kept;
        }
        let count = items.len();
        let recursion = l.recursive.then(|| (l.clone(), scope.clone()));
        let state = Rc::new(Object::Loop(LoopVal {
            items,
            index: Cell::new(0),
            level,
            changed: RefCell::default(),
            recursion,
        }));
        let loop_name: Arc<str> = "loop".into();
        let mut inner = Scope::new(Some(scope.clone()));
        // As in the reference, an iteration cut short by `continue` does not count for `else`.
        let mut finished = false;
        for index in 0..count {
            if Rc::strong_count(&inner) == 1 {
                inner.vars.borrow_mut().clear();
            } else {
                inner = Scope::new(Some(scope.clone()));
            }
            let Object::Loop(this) = &*state else { break };
            this.index.set(index);
            inner.set(&loop_name, Val::Object(state.clone()));
            self.assign(&l.target, this.items[index].clone(), &inner)?;
            match self.body(&l.body, &inner)? {
                Flow::Next => finished = true,
                Flow::Continue => {}
                Flow::Break => break,
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        if !finished && !l.otherwise.is_empty() {
            self.body(&l.otherwise, &Scope::new(Some(scope.clone())))?;
        }
        Ok(())
    }

    // Expressions

    pub(crate) fn eval(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Res<Val> {
        self.enter()?;
        let result = match &expr.kind {
            ExprKind::Name(name) => Ok(scope
                .get(name)
                .unwrap_or_else(|| Val::missing(Missing::Name(name.clone())))),
            ExprKind::Literal(literal) => Ok(match literal {
                Literal::None => Val::None,
                Literal::Bool(b) => Val::Bool(*b),
                Literal::Int(i) => Val::Int(*i),
                Literal::Float(f) => Val::Float(*f),
                Literal::Str(s) => Val::Str(s.clone()),
            }),
            ExprKind::Attr(object, name) => self
                .eval(object, scope)
                .and_then(|object| ops::get_attribute(&object, name)),
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

    fn item(&mut self, object: &Expr, key: &Expr, scope: &Rc<Scope>) -> Res<Val> {
        let object = self.eval(object, scope)?;
        let key = self.eval(key, scope)?;
        ops::get_element(&object, &key)
    }

    fn logic(&mut self, items: &[Expr], scope: &Rc<Scope>, stop: bool) -> Res<Val> {
        let mut value = Val::None;
        for item in items {
            value = self.eval(item, scope)?;
            if value.truth() == stop {
                break;
            }
        }
        Ok(value)
    }

    fn comparison(
        &mut self,
        first: &Expr,
        rest: &[(super::ast::Comparison, Expr)],
        scope: &Rc<Scope>,
    ) -> Res<Val> {
        let mut left = self.eval(first, scope)?;
        for (op, right) in rest {
            let right = self.eval(right, scope)?;
            if !ops::compare(*op, &left, &right)? {
                return Ok(Val::Bool(false));
            }
            left = right;
        }
        Ok(Val::Bool(true))
    }

    fn chain(&mut self, first: &Expr, rest: &[(Operator, Expr)], scope: &Rc<Scope>) -> Res<Val> {
        let mut left = self.eval(first, scope)?;
        for (op, right) in rest {
            let right = self.eval(right, scope)?;
            left = ops::binary(*op, &left, &right)?;
            self.charge_value(&left)?;
        }
        Ok(left)
    }

    fn charge_value(&mut self, value: &Val) -> Res<()> {
        match value {
            Val::Str(s) | Val::Markup(s) => self.charge(s.len() / 16),
            Val::List(seq) | Val::Tuple(seq) => self.charge(seq.items.len()),
            Val::Dict(dict) => self.charge(dict.entries().len()),
            _ => Ok(()),
        }
    }

    fn concat(&mut self, items: &[Expr], scope: &Rc<Scope>) -> Res<Val> {
        let mut text = String::new();
        for item in items {
            self.eval(item, scope)?.write(&mut text);
            self.charge(text.len() / 16)?;
        }
        Ok(text.into())
    }

    fn conditional(
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

    fn rare_expr(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Res<Val> {
        match &expr.kind {
            ExprKind::List(items) => Val::list(self.all(items, scope)?).check_depth(),
            ExprKind::Tuple(items) => Val::tuple(self.all(items, scope)?).check_depth(),
            ExprKind::Dict(entries) => {
                let mut dict = Dict::default();
                for (key, value) in entries {
                    let key = self.eval(key, scope)?;
                    dict.insert(key, self.eval(value, scope)?)?;
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
                let value = ops::slice(&object, &bounds)?;
                self.charge_value(&value)?;
                Ok(value)
            }
            _ => type_error("internal error: an expression without meaning"),
        }
    }

    fn all(&mut self, items: &[Expr], scope: &Rc<Scope>) -> Res<Vec<Val>> {
        items.iter().map(|item| self.eval(item, scope)).collect()
    }

    fn filter(&mut self, value: &Expr, filter: &FilterCall, scope: &Rc<Scope>) -> Res<Val> {
        let value = self.eval(value, scope)?;
        let args = self.arguments(&filter.args, scope)?;
        let result = filters::apply(self, &filter.name, value, args)?.check_depth()?;
        self.charge_value(&result)?;
        Ok(result)
    }

    fn test(&mut self, value: &Expr, test: &FilterCall, scope: &Rc<Scope>) -> Res<Val> {
        let value = self.eval(value, scope)?;
        let args = self.arguments(&test.args, scope)?;
        predicates::check(&test.name, &value, &args).map(Val::Bool)
    }

    fn arguments(&mut self, arguments: &Arguments, scope: &Rc<Scope>) -> Res<Args> {
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
            args.positional.extend(star.items()?);
        }
        if let Some(star) = &arguments.double_star {
            match self.eval(star, scope)? {
                Val::Dict(dict) => {
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

    fn call_expr(&mut self, function: &Expr, arguments: &Arguments, scope: &Rc<Scope>) -> Res<Val> {
        let function = self.eval(function, scope)?;
        let args = self.arguments(arguments, scope)?;
        let value = self.call(&function, args)?.check_depth()?;
        self.charge_value(&value)?;
        Ok(value)
    }

    fn call(&mut self, function: &Val, args: Args) -> Res<Val> {
        match function {
            Val::Undefined(u) => u.fail(),
            Val::Object(object) => match &**object {
                Object::Macro(m) => self.call_macro(m, args),
                Object::Method(receiver, name) => methods::call(receiver, name, args),
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

    fn loop_again(
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

    fn call_macro(&mut self, m: &MacroVal, mut args: Args) -> Res<Val> {
        let definition = m.definition.clone();
        let scope = Scope::new(Some(m.scope.clone()));
        let name = || {
            definition
                .name
                .as_deref()
                .map_or("None".to_owned(), super::text::repr_str)
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
            let dict = Dict::from_pairs(named.into_iter().map(|(n, v)| (Val::Str(n), v)))?;
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
                super::text::repr_str(first)
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

    fn function(&mut self, function: Function, args: Args) -> Res<Val> {
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
                    Some(message) => err(ErrorKind::Raised, &*message.text()),
                    None => type_error(
                        "_cached_compile_jinja_template.<locals>.raise_exception() missing 1 required positional argument: 'message'",
                    ),
                }
            }
            Function::StrftimeNow => match (first.and_then(Val::as_str), self.now) {
                (Some(format), Some(now)) => Ok(now.format(format).into()),
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
                    Some(value) => ops::to_dict(value)?,
                    None => Dict::default(),
                };
                for (name, value) in args.named {
                    dict.insert(Val::Str(name), value)?;
                }
                Ok(Val::dict(dict))
            }
            Function::Namespace => {
                let mut dict = match first {
                    Some(value) => ops::to_dict(value)?,
                    None => Dict::default(),
                };
                for (name, value) in args.named {
                    dict.insert(Val::Str(name), value)?;
                }
                let mut entries = Vec::new();
                for (key, value) in dict.entries() {
                    let name = key.text();
                    ops::check_name(&name)?;
                    entries.push((name, value.clone()));
                }
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
