//! Expressions, from the loosest binding to the tightest.

use super::{MAX_HEIGHT, MAX_NESTING, Parser};
use crate::template::ast::{Arguments, Comparison, Expr, ExprKind, FilterCall, Literal, Operator};
use crate::template::error::{ErrorKind, Res, err};
use crate::template::lexer::Token;
use crate::template::text::repr_str;
use std::sync::Arc;

impl Parser {
    fn node(line: u32, kind: ExprKind) -> Res<Expr> {
        let high = |items: &[Expr]| items.iter().map(|e| e.height).max().unwrap_or(0);
        let opt = |e: &Option<Expr>| e.as_ref().map_or(0, |e| e.height);
        let args = |a: &Arguments| {
            let named = a.named.iter().map(|(_, e)| e.height).max().unwrap_or(0);
            high(&a.positional)
                .max(named)
                .max(opt(&a.star))
                .max(opt(&a.double_star))
        };
        let below = match &kind {
            ExprKind::Literal(_) | ExprKind::Name(_) => 0,
            ExprKind::List(items)
            | ExprKind::Tuple(items)
            | ExprKind::Or(items)
            | ExprKind::And(items)
            | ExprKind::Concat(items) => high(items),
            ExprKind::Dict(items) => items
                .iter()
                .map(|(k, v)| k.height.max(v.height))
                .max()
                .unwrap_or(0),
            ExprKind::Cond(c) => c.0.height.max(c.1.height).max(opt(&c.2)),
            ExprKind::Not(e) | ExprKind::Neg(e) | ExprKind::Pos(e) | ExprKind::Attr(e, _) => {
                e.height
            }
            ExprKind::Compare(e, ops) => ops
                .iter()
                .map(|(_, e)| e.height)
                .max()
                .unwrap_or(0)
                .max(e.height),
            ExprKind::Chain(e, ops) => ops
                .iter()
                .map(|(_, e)| e.height)
                .max()
                .unwrap_or(0)
                .max(e.height),
            ExprKind::Item(a, b) => a.height.max(b.height),
            ExprKind::Slice(e, parts) => parts.iter().map(opt).max().unwrap_or(0).max(e.height),
            ExprKind::Call(e, a) => e.height.max(args(a)),
            ExprKind::Filter(e, f) => e.height.max(args(&f.args)),
            ExprKind::Test(e, f) => e.height.max(args(&f.args)),
        };
        if below >= MAX_HEIGHT {
            return err(ErrorKind::Limit, "an expression is nested too deep");
        }
        Ok(Expr {
            line,
            height: below + 1,
            kind,
        })
    }

    pub(super) fn expression(&mut self) -> Res<Expr> {
        // Brackets recurse through here before any node exists, so the height alone cannot bound it.
        if self.depth >= MAX_NESTING {
            return err(ErrorKind::Limit, "an expression is nested too deep");
        }
        self.depth += 1;
        let result = self.conditional();
        self.depth -= 1;
        result
    }

    fn conditional(&mut self) -> Res<Expr> {
        let mut value = self.or()?;
        while self.is_name("if") {
            let line = self.line();
            self.at += 1;
            let test = self.or()?;
            let other = if self.skip_name("else") {
                Some(self.expression()?)
            } else {
                None
            };
            value = Self::node(line, ExprKind::Cond(Box::new((test, value, other))))?;
        }
        Ok(value)
    }

    pub(super) fn or(&mut self) -> Res<Expr> {
        let line = self.line();
        let first = self.and()?;
        if !self.is_name("or") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_name("or") {
            items.push(self.and()?);
        }
        Self::node(line, ExprKind::Or(items))
    }

    fn and(&mut self) -> Res<Expr> {
        let line = self.line();
        let first = self.not()?;
        if !self.is_name("and") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_name("and") {
            items.push(self.not()?);
        }
        Self::node(line, ExprKind::And(items))
    }

    fn not(&mut self) -> Res<Expr> {
        let line = self.line();
        let mut count = 0;
        while self.skip_name("not") {
            count += 1;
        }
        let mut value = self.compare()?;
        for _ in 0..count {
            value = Self::node(line, ExprKind::Not(Box::new(value)))?;
        }
        Ok(value)
    }

    fn compare(&mut self) -> Res<Expr> {
        let line = self.line();
        let first = self.sum()?;
        let mut ops = Vec::new();
        loop {
            let op = match self.peek() {
                Token::Op("==") => Comparison::Eq,
                Token::Op("!=") => Comparison::Ne,
                Token::Op("<") => Comparison::Lt,
                Token::Op("<=") => Comparison::Le,
                Token::Op(">") => Comparison::Gt,
                Token::Op(">=") => Comparison::Ge,
                Token::Name(n) if &**n == "in" => Comparison::In,
                Token::Name(n)
                    if &**n == "not" && matches!(self.look(), Token::Name(n) if &**n == "in") =>
                {
                    self.at += 1;
                    Comparison::NotIn
                }
                _ => break,
            };
            self.at += 1;
            ops.push((op, self.sum()?));
        }
        if ops.is_empty() {
            return Ok(first);
        }
        Self::node(line, ExprKind::Compare(Box::new(first), ops))
    }

    fn chain(&mut self, table: &[(&str, Operator)], next: fn(&mut Self) -> Res<Expr>) -> Res<Expr> {
        let line = self.line();
        let first = next(self)?;
        let mut ops = Vec::new();
        while let Token::Op(op) = self.peek() {
            let Some((_, op)) = table.iter().find(|(name, _)| name == op) else {
                break;
            };
            self.at += 1;
            ops.push((*op, next(self)?));
        }
        if ops.is_empty() {
            return Ok(first);
        }
        Self::node(line, ExprKind::Chain(Box::new(first), ops))
    }

    fn sum(&mut self) -> Res<Expr> {
        self.chain(&[("+", Operator::Add), ("-", Operator::Sub)], Self::concat)
    }

    fn concat(&mut self) -> Res<Expr> {
        let line = self.line();
        let first = self.product()?;
        if !self.is_op("~") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_op("~") {
            items.push(self.product()?);
        }
        Self::node(line, ExprKind::Concat(items))
    }

    fn product(&mut self) -> Res<Expr> {
        let table = [
            ("*", Operator::Mul),
            ("/", Operator::Div),
            ("//", Operator::FloorDiv),
            ("%", Operator::Mod),
        ];
        self.chain(&table, Self::power)
    }

    fn power(&mut self) -> Res<Expr> {
        self.chain(&[("**", Operator::Pow)], |p| p.unary(true))
    }

    fn unary(&mut self, with_filter: bool) -> Res<Expr> {
        let line = self.line();
        if self.depth >= MAX_NESTING {
            return err(ErrorKind::Limit, "an expression is nested too deep");
        }
        let mut node = if self.skip_op("-") {
            self.depth += 1;
            let inner = self.unary(false)?;
            self.depth -= 1;
            Self::node(line, ExprKind::Neg(Box::new(inner)))?
        } else if self.skip_op("+") {
            self.depth += 1;
            let inner = self.unary(false)?;
            self.depth -= 1;
            Self::node(line, ExprKind::Pos(Box::new(inner)))?
        } else {
            self.primary()?
        };
        node = self.postfix(node)?;
        if with_filter {
            node = self.filters_and_tests(node)?;
        }
        Ok(node)
    }

    fn primary(&mut self) -> Res<Expr> {
        let line = self.line();
        let literal = |l| Self::node(line, ExprKind::Literal(l));
        match self.peek().clone() {
            Token::Name(name) => {
                self.at += 1;
                match &*name {
                    "true" | "True" => literal(Literal::Bool(true)),
                    "false" | "False" => literal(Literal::Bool(false)),
                    "none" | "None" => literal(Literal::None),
                    _ => {
                        let implicit = ["caller", "kwargs", "varargs"]
                            .iter()
                            .position(|n| **n == *name);
                        if let (Some(i), Some(uses)) = (implicit, self.uses.last_mut()) {
                            uses[i] = true;
                        }
                        Self::node(line, ExprKind::Name(name))
                    }
                }
            }
            Token::Str(first) => {
                self.at += 1;
                if !matches!(self.peek(), Token::Str(_)) {
                    return literal(Literal::Str(first));
                }
                let mut text = first.to_string();
                while let Token::Str(more) = self.peek() {
                    text.push_str(more);
                    self.at += 1;
                }
                literal(Literal::Str(text.into()))
            }
            Token::Int(i) => {
                self.at += 1;
                literal(Literal::Int(i))
            }
            Token::Float(f) => {
                self.at += 1;
                literal(Literal::Float(f))
            }
            Token::Op("(") => {
                self.at += 1;
                let inner = self.tuple(true, None, true)?;
                self.expect_op(")")?;
                Ok(inner)
            }
            Token::Op("[") => {
                self.at += 1;
                let items = self.items("]", Self::expression)?;
                Self::node(line, ExprKind::List(items))
            }
            Token::Op("{") => {
                self.at += 1;
                let items = self.items("}", |p| {
                    let key = p.expression()?;
                    p.expect_op(":")?;
                    Ok((key, p.expression()?))
                })?;
                Self::node(line, ExprKind::Dict(items))
            }
            other => self.fail(format!("unexpected {}", repr_str(&other.describe()))),
        }
    }

    /// Items between commas up to `close`, with an optional comma at the end.
    fn items<T>(&mut self, close: &str, item: impl Fn(&mut Self) -> Res<T>) -> Res<Vec<T>> {
        let mut items = Vec::new();
        while !self.is_op(close) {
            if !items.is_empty() {
                self.expect_op(",")?;
            }
            if self.is_op(close) {
                break;
            }
            items.push(item(self)?);
        }
        self.at += 1;
        Ok(items)
    }

    pub(super) fn tuple_end(&self, end: Option<&str>) -> bool {
        matches!(
            self.peek(),
            Token::VariableEnd | Token::BlockEnd | Token::Op(")")
        ) || end.is_some_and(|word| self.is_name(word))
    }

    /// One expression, or a tuple of several.
    pub(super) fn tuple(
        &mut self,
        with_cond: bool,
        end: Option<&str>,
        explicit: bool,
    ) -> Res<Expr> {
        let line = self.line();
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            if self.tuple_end(end) {
                break;
            }
            items.push(if with_cond {
                self.expression()?
            } else {
                self.or()?
            });
            if !self.skip_op(",") {
                break;
            }
            is_tuple = true;
        }
        if !is_tuple {
            if let Some(item) = items.pop() {
                return Ok(item);
            }
            if !explicit {
                let got = repr_str(&self.peek().describe());
                return self.fail(format!("Expected an expression, got {got}"));
            }
        }
        Self::node(line, ExprKind::Tuple(items))
    }

    fn postfix(&mut self, mut node: Expr) -> Res<Expr> {
        loop {
            let line = self.line();
            if self.skip_op(".") {
                node = match self.advance() {
                    Token::Name(name) => Self::node(line, ExprKind::Attr(Box::new(node), name))?,
                    Token::Int(i) => {
                        let index = Self::node(line, ExprKind::Literal(Literal::Int(i)))?;
                        Self::node(line, ExprKind::Item(Box::new(node), Box::new(index)))?
                    }
                    _ => {
                        self.at -= 1;
                        return self.fail("expected name or number");
                    }
                };
            } else if self.skip_op("[") {
                node = self.subscript(node, line)?;
            } else if self.is_op("(") {
                let args = self.arguments()?;
                node = Self::node(line, ExprKind::Call(Box::new(node), Box::new(args)))?;
            } else {
                return Ok(node);
            }
        }
    }

    fn subscript(&mut self, object: Expr, line: u32) -> Res<Expr> {
        let mut items = Vec::new();
        let mut slice = None;
        while !self.is_op("]") {
            if !items.is_empty() || slice.is_some() {
                self.expect_op(",")?;
            }
            if slice.is_some() {
                return self.fail("a slice cannot be one of several subscripts");
            }
            let start = if self.is_op(":") {
                None
            } else {
                Some(self.expression()?)
            };
            if !self.skip_op(":") {
                items.extend(start);
                continue;
            }
            let stop = self.slice_part()?;
            let step = if self.skip_op(":") {
                self.slice_part()?
            } else {
                None
            };
            slice = Some([start, stop, step]);
        }
        self.at += 1;
        if let Some(parts) = slice {
            return Self::node(line, ExprKind::Slice(Box::new(object), Box::new(parts)));
        }
        let index = match items.len() {
            1 => items.remove(0),
            _ => Self::node(line, ExprKind::Tuple(items))?,
        };
        Self::node(line, ExprKind::Item(Box::new(object), Box::new(index)))
    }

    fn slice_part(&mut self) -> Res<Option<Expr>> {
        if self.is_op(":") || self.is_op("]") || self.is_op(",") {
            return Ok(None);
        }
        Ok(Some(self.expression()?))
    }

    fn filters_and_tests(&mut self, mut node: Expr) -> Res<Expr> {
        loop {
            let line = self.line();
            if self.skip_op("|") {
                let filter = self.filter_name()?;
                node = Self::node(line, ExprKind::Filter(Box::new(node), Box::new(filter)))?;
            } else if self.skip_name("is") {
                node = self.test(node, line)?;
            } else if self.is_op("(") {
                let args = self.arguments()?;
                node = Self::node(line, ExprKind::Call(Box::new(node), Box::new(args)))?;
            } else {
                return Ok(node);
            }
        }
    }

    fn dotted_name(&mut self) -> Res<Arc<str>> {
        let mut name = self.expect_name()?;
        while self.skip_op(".") {
            name = format!("{name}.{}", self.expect_name()?).into();
        }
        Ok(name)
    }

    pub(super) fn filter_name(&mut self) -> Res<FilterCall> {
        let line = self.line();
        let name = self.dotted_name()?;
        let args = if self.is_op("(") {
            self.arguments()?
        } else {
            Arguments::default()
        };
        Ok(FilterCall { line, name, args })
    }

    pub(super) fn more_filters(&mut self, filters: &mut Vec<FilterCall>) -> Res<()> {
        while self.skip_op("|") {
            if filters.len() >= usize::from(MAX_HEIGHT) {
                return err(ErrorKind::Limit, "too many filters in a row");
            }
            let filter = self.filter_name()?;
            filters.push(filter);
        }
        Ok(())
    }

    fn test(&mut self, node: Expr, line: u32) -> Res<Expr> {
        let negated = self.skip_name("not");
        let name = self.dotted_name()?;
        let mut args = Arguments::default();
        if self.is_op("(") {
            args = self.arguments()?;
        } else {
            let starts = match self.peek() {
                Token::Name(n) => !matches!(&**n, "else" | "or" | "and"),
                Token::Str(_) | Token::Int(_) | Token::Float(_) | Token::Op("[" | "{") => true,
                _ => false,
            };
            if starts {
                if self.is_name("is") {
                    return self.fail("You cannot chain multiple tests with is");
                }
                let primary = self.primary()?;
                args.positional.push(self.postfix(primary)?);
            }
        }
        let call = FilterCall { line, name, args };
        let test = Self::node(line, ExprKind::Test(Box::new(node), Box::new(call)))?;
        if negated {
            Self::node(line, ExprKind::Not(Box::new(test)))
        } else {
            Ok(test)
        }
    }

    fn arguments(&mut self) -> Res<Arguments> {
        const BAD: &str = "invalid syntax for function call expression";
        self.expect_op("(")?;
        let mut args = Arguments::default();
        let mut comma = false;
        while !self.is_op(")") {
            if comma {
                self.expect_op(",")?;
                if self.is_op(")") {
                    break;
                }
            }
            comma = true;
            if self.is_op("*") {
                if args.star.is_some() || args.double_star.is_some() {
                    return self.fail(BAD);
                }
                self.at += 1;
                args.star = Some(self.expression()?);
            } else if self.is_op("**") {
                if args.double_star.is_some() {
                    return self.fail(BAD);
                }
                self.at += 1;
                args.double_star = Some(self.expression()?);
            } else if let (Token::Name(name), Token::Op("=")) = (self.peek().clone(), self.look()) {
                if args.double_star.is_some() {
                    return self.fail(BAD);
                }
                self.at += 2;
                let value = self.expression()?;
                args.named.push((name, value));
            } else {
                if args.star.is_some() || args.double_star.is_some() || !args.named.is_empty() {
                    return self.fail(BAD);
                }
                args.positional.push(self.expression()?);
            }
        }
        self.at += 1;
        Ok(args)
    }
}
