//! Tokens to a tree (`jinja2/parser.py`, with the loop controls and generation extensions).

mod expr;

use super::ast::{Expr, ExprKind, Loop, Macro, Stmt, StmtKind, Target};
use super::error::{ErrorKind, Res, err};
use super::lexer::{Token, Tokens, tokens};
use super::text::repr_str;
use std::sync::Arc;

/// How high an expression and how deep a nest of statements may be.
const MAX_HEIGHT: u16 = 150;
const MAX_NESTING: usize = 60;

/// Parses a whole template.
pub(crate) fn parse(source: &str) -> Res<Vec<Stmt>> {
    let Tokens { all, failure } = tokens(source);
    let last = all.len() - 1;
    let mut parser = Parser {
        tokens: all,
        at: 0,
        ends: Vec::new(),
        tags: Vec::new(),
        depth: 0,
        uses: Vec::new(),
        loops: 0,
    };
    let result = parser.statements(None);
    let reached_end = parser.at >= last;
    match (result, failure) {
        (Ok(_), Some(failure)) => Err(failure),
        (Err(e), Some(failure)) if reached_end && e.kind() == ErrorKind::Syntax => Err(failure),
        (Err(e), _) => Err(Box::new(e.at(parser.line()))),
        (Ok(body), None) => Ok(body),
    }
}

struct Parser {
    tokens: Vec<(Token, u32)>,
    at: usize,
    /// The tags that each open block waits for, innermost last.
    ends: Vec<&'static [&'static str]>,
    tags: Vec<Arc<str>>,
    depth: usize,
    /// Names that the macros being parsed read, innermost last.
    uses: Vec<[bool; 3]>,
    loops: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    fn look(&self) -> &Token {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].0
    }

    fn line(&self) -> u32 {
        self.tokens[self.at.min(self.tokens.len() - 1)].1
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn fail<T>(&self, message: impl Into<String>) -> Res<T> {
        err(ErrorKind::Syntax, message).map_err(|e: Box<_>| Box::new(e.at(self.line())))
    }

    fn is_name(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Name(n) if &**n == word)
    }

    fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Token::Op(o) if *o == op)
    }

    fn skip_name(&mut self, word: &str) -> bool {
        let found = self.is_name(word);
        self.at += usize::from(found);
        found
    }

    fn skip_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        self.at += usize::from(found);
        found
    }

    fn expected<T>(&self, what: &str) -> Res<T> {
        if *self.peek() == Token::End {
            return self.fail(format!("unexpected end of template, expected '{what}'."));
        }
        let got = repr_str(&self.peek().describe());
        self.fail(format!("expected token '{what}', got {got}"))
    }

    fn expect_op(&mut self, op: &str) -> Res<()> {
        if self.skip_op(op) {
            Ok(())
        } else {
            self.expected(op)
        }
    }

    fn expect_word(&mut self, word: &str) -> Res<()> {
        if self.skip_name(word) {
            Ok(())
        } else {
            self.expected(word)
        }
    }

    fn expect_name(&mut self) -> Res<Arc<str>> {
        match self.peek() {
            Token::Name(name) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => self.expected("name"),
        }
    }

    fn expect_block_end(&mut self) -> Res<()> {
        if *self.peek() != Token::BlockEnd {
            return self.expected("end of statement block");
        }
        self.at += 1;
        Ok(())
    }

    // Statements

    /// Reads until one of `ends` (left in place, after its `{%`), or to the end of the template.
    fn statements(&mut self, ends: Option<&'static [&'static str]>) -> Res<Vec<Stmt>> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            match self.advance() {
                Token::Data(text) => body.push(Stmt {
                    line,
                    kind: StmtKind::Text(text),
                }),
                Token::VariableBegin => {
                    let value = self.tuple(true, None, false)?;
                    if *self.peek() != Token::VariableEnd {
                        return self.expected("end of print statement");
                    }
                    self.at += 1;
                    body.push(Stmt {
                        line,
                        kind: StmtKind::Print(value),
                    });
                }
                Token::BlockBegin => {
                    if ends.is_some_and(|ends| ends.iter().any(|end| self.is_name(end))) {
                        return Ok(body);
                    }
                    self.statement(&mut body)?;
                    self.expect_block_end()?;
                }
                Token::End => {
                    self.at -= 1;
                    return match ends {
                        None => Ok(body),
                        Some(_) => self.unknown(None),
                    };
                }
                _ => return self.fail("internal parsing error"),
            }
        }
    }

    /// The body of a block: up to its end tag, which is consumed when `drop` (the `%}` after it is not).
    fn block(&mut self, ends: &'static [&'static str], drop: bool) -> Res<Vec<Stmt>> {
        if self.depth >= MAX_NESTING {
            return err(ErrorKind::Limit, "statements are nested too deep");
        }
        self.skip_op(":");
        self.expect_block_end()?;
        self.depth += 1;
        self.ends.push(ends);
        let body = self.statements(Some(ends))?;
        self.ends.pop();
        self.depth -= 1;
        self.at += usize::from(drop);
        Ok(body)
    }

    fn unknown<T>(&self, name: Option<&str>) -> Res<T> {
        let mut message = match name {
            None => "Unexpected end of template.".to_owned(),
            Some(name) => format!("Encountered unknown tag {}.", repr_str(name)),
        };
        if let Some(last) = self.ends.last() {
            let looking: Vec<String> = last.iter().map(|e| repr_str(e)).collect();
            let looking = looking.join(" or ");
            if name.is_some_and(|n| self.ends.iter().any(|ends| ends.contains(&n))) {
                message += &format!(
                    " You probably made a nesting mistake. Jinja is expecting this tag, but currently looking for {looking}."
                );
            } else {
                message += &format!(" Jinja was looking for the following tags: {looking}.");
            }
        }
        if let Some(tag) = self.tags.last() {
            message += &format!(
                " The innermost block that needs to be closed is {}.",
                repr_str(tag)
            );
        }
        self.fail(message)
    }

    fn statement(&mut self, body: &mut Vec<Stmt>) -> Res<()> {
        let line = self.line();
        let Token::Name(tag) = self.peek().clone() else {
            return self.fail("tag name expected");
        };
        self.tags.push(tag.clone());
        self.at += 1;
        let kind = match &*tag {
            "for" => self.parse_for()?,
            "if" => self.parse_if()?,
            "set" => self.parse_set()?,
            "with" => self.parse_with()?,
            "macro" => self.parse_macro()?,
            "call" => self.parse_call_block()?,
            "filter" => {
                let mut filters = vec![self.filter_name()?];
                self.more_filters(&mut filters)?;
                StmtKind::Filter {
                    filters,
                    body: self.block(&["endfilter"], true)?,
                }
            }
            "generation" => StmtKind::Generation(self.block(&["endgeneration"], true)?),
            "autoescape" => {
                self.expression()?;
                StmtKind::With {
                    targets: Vec::new(),
                    body: self.block(&["endautoescape"], true)?,
                }
            }
            "block" => self.parse_block()?,
            "print" => {
                while *self.peek() != Token::BlockEnd {
                    let value = self.expression()?;
                    body.push(Stmt {
                        line,
                        kind: StmtKind::Print(value),
                    });
                    if *self.peek() != Token::BlockEnd {
                        self.expect_op(",")?;
                    }
                }
                self.tags.pop();
                return Ok(());
            }
            "break" | "continue" => {
                if self.loops == 0 {
                    let what = if &*tag == "break" {
                        "'break' outside loop"
                    } else {
                        "'continue' not properly in loop"
                    };
                    return self.fail(what);
                }
                if &*tag == "break" {
                    StmtKind::Break
                } else {
                    StmtKind::Continue
                }
            }
            "extends" | "include" | "import" | "from" => {
                let name = self.expression()?;
                while !matches!(self.peek(), Token::BlockEnd | Token::End) {
                    self.at += 1;
                }
                StmtKind::Load(name)
            }
            _ => {
                self.tags.pop();
                self.at -= 1;
                return self.unknown(Some(&tag));
            }
        };
        self.tags.pop();
        body.push(Stmt { line, kind });
        Ok(())
    }

    fn parse_for(&mut self) -> Res<StmtKind> {
        let target = self.target(Some("in"), true, false)?;
        self.expect_word("in")?;
        let iter = self.tuple(false, Some("recursive"), false)?;
        let test = if self.skip_name("if") {
            Some(self.expression()?)
        } else {
            None
        };
        let recursive = self.skip_name("recursive");
        self.loops += 1;
        let body = self.block(&["endfor", "else"], false)?;
        self.loops -= 1;
        let otherwise = if self.skip_name("else") {
            self.block(&["endfor"], true)?
        } else {
            self.at += 1;
            Vec::new()
        };
        Ok(StmtKind::For(Arc::new(Loop {
            target,
            iter,
            test,
            body,
            otherwise,
            recursive,
        })))
    }

    fn parse_if(&mut self) -> Res<StmtKind> {
        let mut branches = Vec::new();
        loop {
            let test = self.tuple(false, None, false)?;
            let body = self.block(&["elif", "else", "endif"], false)?;
            branches.push((test, body));
            if self.skip_name("elif") {
                continue;
            }
            let otherwise = if self.skip_name("else") {
                self.block(&["endif"], true)?
            } else {
                self.at += 1;
                Vec::new()
            };
            return Ok(StmtKind::If {
                branches,
                otherwise,
            });
        }
    }

    fn parse_set(&mut self) -> Res<StmtKind> {
        let target = self.target(None, true, true)?;
        if self.skip_op("=") {
            return Ok(StmtKind::Set(target, self.tuple(true, None, false)?));
        }
        let mut filters = Vec::new();
        self.more_filters(&mut filters)?;
        let body = self.block(&["endset"], true)?;
        Ok(StmtKind::SetBlock {
            target,
            filters,
            body,
        })
    }

    fn parse_with(&mut self) -> Res<StmtKind> {
        let mut targets = Vec::new();
        while *self.peek() != Token::BlockEnd {
            if !targets.is_empty() {
                self.expect_op(",")?;
            }
            let target = self.target(None, true, false)?;
            self.expect_op("=")?;
            targets.push((target, self.expression()?));
        }
        Ok(StmtKind::With {
            targets,
            body: self.block(&["endwith"], true)?,
        })
    }

    fn parse_block(&mut self) -> Res<StmtKind> {
        let name = self.expect_name()?;
        self.skip_name("scoped");
        self.skip_name("required");
        if self.is_op("-") {
            return self.fail(
                "Block names in Jinja have to be valid Python identifiers and may not contain hyphens, use an underscore instead.",
            );
        }
        let loops = std::mem::take(&mut self.loops);
        let body = self.block(&["endblock"], true)?;
        self.loops = loops;
        self.skip_name(&name);
        Ok(StmtKind::Block(body))
    }

    fn parse_macro(&mut self) -> Res<StmtKind> {
        let name = self.name_target()?;
        let params = self.signature()?;
        Ok(StmtKind::Macro(self.macro_body(
            Some(name),
            params,
            &["endmacro"],
        )?))
    }

    fn parse_call_block(&mut self) -> Res<StmtKind> {
        let params = if self.is_op("(") {
            self.signature()?
        } else {
            Vec::new()
        };
        let call = self.expression()?;
        if !matches!(call.kind, ExprKind::Call(..)) {
            return self.fail("expected call");
        }
        let body = self.macro_body(None, params, &["endcall"])?;
        Ok(StmtKind::Call { call, body })
    }

    fn macro_body(
        &mut self,
        name: Option<Arc<str>>,
        params: Vec<(Arc<str>, Option<Expr>)>,
        ends: &'static [&'static str],
    ) -> Res<Arc<Macro>> {
        self.uses.push([false; 3]);
        let loops = std::mem::take(&mut self.loops);
        let body = self.block(ends, true)?;
        self.loops = loops;
        let [uses_caller, mut uses_kwargs, mut uses_varargs] = self.uses.pop().unwrap_or_default();
        if let Some(outer) = self.uses.last_mut() {
            outer[0] |= uses_caller;
            outer[1] |= uses_kwargs;
            outer[2] |= uses_varargs;
        }
        for (param, default) in &params {
            match &**param {
                "caller" if uses_caller && default.is_none() => {
                    return self.fail(
                        "When defining macros or call blocks the special \"caller\" argument must be omitted or be given a default.",
                    );
                }
                "kwargs" => uses_kwargs = false,
                "varargs" => uses_varargs = false,
                _ => {}
            }
        }
        Ok(Arc::new(Macro {
            name,
            params,
            body,
            uses_caller,
            uses_kwargs,
            uses_varargs,
        }))
    }

    fn signature(&mut self) -> Res<Vec<(Arc<str>, Option<Expr>)>> {
        let mut params: Vec<(Arc<str>, Option<Expr>)> = Vec::new();
        self.expect_op("(")?;
        while !self.is_op(")") {
            if !params.is_empty() {
                self.expect_op(",")?;
            }
            let name = self.name_target()?;
            let default = if self.skip_op("=") {
                Some(self.expression()?)
            } else {
                if params.last().is_some_and(|(_, d)| d.is_some()) {
                    return self.fail("non-default argument follows default argument");
                }
                None
            };
            params.push((name, default));
        }
        self.at += 1;
        Ok(params)
    }

    // Targets of assignments

    fn name_target(&mut self) -> Res<Arc<str>> {
        let name = self.expect_name()?;
        self.assignable(&name)?;
        Ok(name)
    }

    fn assignable(&self, name: &str) -> Res<()> {
        if matches!(name, "true" | "false" | "none" | "True" | "False" | "None") {
            return self.fail("can't assign to 'const'");
        }
        Ok(())
    }

    fn target(&mut self, end: Option<&str>, with_tuple: bool, with_namespace: bool) -> Res<Target> {
        let mut targets = Vec::new();
        let mut is_tuple = false;
        loop {
            if self.tuple_end(end) || (is_tuple && self.is_op("=")) {
                break;
            }
            if targets.len() > 1000 {
                return err(ErrorKind::Limit, "too many targets");
            }
            targets.push(self.one_target(with_namespace)?);
            if !with_tuple || !self.skip_op(",") {
                break;
            }
            is_tuple = true;
        }
        if is_tuple {
            return Ok(Target::Tuple(targets));
        }
        match targets.pop() {
            Some(target) => Ok(target),
            None => {
                let got = repr_str(&self.peek().describe());
                self.fail(format!("Expected an expression, got {got}"))
            }
        }
    }

    fn one_target(&mut self, with_namespace: bool) -> Res<Target> {
        if self.skip_op("(") {
            if self.depth >= MAX_NESTING {
                return err(ErrorKind::Limit, "targets are nested too deep");
            }
            self.depth += 1;
            let inner = self.target(None, true, with_namespace)?;
            self.depth -= 1;
            self.expect_op(")")?;
            return Ok(inner);
        }
        match self.peek().clone() {
            Token::Name(name) => {
                self.at += 1;
                if with_namespace && self.skip_op(".") {
                    return Ok(Target::Attr(name, self.expect_name()?));
                }
                self.assignable(&name)?;
                Ok(Target::Name(name))
            }
            Token::Str(_) | Token::Int(_) | Token::Float(_) => self.fail("can't assign to 'const'"),
            Token::Op("[") => self.fail("can't assign to 'list'"),
            Token::Op("{") => self.fail("can't assign to 'dict'"),
            other => self.fail(format!("unexpected {}", repr_str(&other.describe()))),
        }
    }
}
