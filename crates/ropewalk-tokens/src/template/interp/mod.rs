//! Runs a parsed template.

mod call;
mod expr;

use super::ast::{Expr, ExprKind, FilterCall, Loop, Macro, Stmt, StmtKind, Target};
use super::date::DateTime;
use super::error::{Res, limit, type_error};
use super::meter::Meter;
use super::value::{Function, LoopVal, MacroVal, Object, Val};
use super::{Limits, filters, ops};
use std::cell::{Cell, OnceCell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// Names and values; what is not here is looked for outside.
pub(crate) struct Scope {
    vars: RefCell<Vec<(Arc<str>, Val)>>,
    parent: Option<Rc<Self>>,
}

impl Scope {
    pub(crate) fn new(parent: Option<Rc<Self>>) -> Rc<Self> {
        Rc::new(Self {
            vars: RefCell::default(),
            parent,
        })
    }

    fn get(&self, name: &str, m: &Meter) -> Res<Option<Val>> {
        let (mut scope, mut looked) = (self, 0);
        let found = loop {
            let vars = scope.vars.borrow();
            looked += vars.len();
            if let Some((_, value)) = vars.iter().find(|(n, _)| **n == *name) {
                break Some(value.clone());
            }
            match scope.parent.as_deref() {
                Some(parent) => scope = parent,
                None => break None,
            }
        };
        m.charge(looked / 16)?;
        Ok(found)
    }

    fn len(&self) -> usize {
        self.vars.borrow().len()
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
    meter: Meter,
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
            if let Val::Object(object) = namespace
                && let Object::Namespace { entries, .. } = &**object
            {
                drop(entries.take());
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
            meter: Meter::new(limits.steps),
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
    pub(crate) fn charge(&self, steps: usize) -> Res<()> {
        self.meter.charge(steps)
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
                let value = self.macro_value(definition, scope)?;
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
                let caller = self.macro_value(body, scope)?;
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
                let text = value.text(&self.meter)?;
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
            value = filters::apply(&filter.name, value, args, &self.meter)?;
        }
        Ok(value)
    }

    fn macro_value(&mut self, definition: &Arc<Macro>, scope: &Rc<Scope>) -> Res<Val> {
        if !self.captured.last().is_some_and(|s| Rc::ptr_eq(s, scope)) {
            self.charge(call::KEPT)?;
            self.captured.push(scope.clone());
        }
        Ok(Val::object(Object::Macro(MacroVal {
            definition: definition.clone(),
            scope: scope.clone(),
        })))
    }

    fn assign(&mut self, target: &Target, value: Val, scope: &Rc<Scope>) -> Res<()> {
        match target {
            Target::Name(name) => {
                self.charge(scope.len() / 16)?;
                scope.set(name, value);
            }
            Target::Attr(object, name) => {
                let object = scope.get(object, &self.meter)?.unwrap_or(Val::None);
                ops::set_attribute(&object, name, value, &self.meter)?;
                object.check_depth()?;
            }
            Target::Tuple(targets) => {
                let items = value.unpack(targets.len(), &self.meter)?;
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
        let (mut items, failure) = iterable.pending(&self.meter)?;
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
            depth: OnceCell::new(),
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
}
