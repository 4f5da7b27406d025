//! The tree of a parsed template.

use std::sync::Arc;

/// A statement and its line.
#[derive(Debug)]
pub(crate) struct Stmt {
    pub(crate) line: u32,
    pub(crate) kind: StmtKind,
}

#[derive(Debug)]
pub(crate) enum StmtKind {
    Text(Arc<str>),
    Print(Expr),
    If {
        branches: Vec<(Expr, Vec<Stmt>)>,
        otherwise: Vec<Stmt>,
    },
    For(Arc<Loop>),
    Set(Target, Expr),
    SetBlock {
        target: Target,
        filters: Vec<FilterCall>,
        body: Vec<Stmt>,
    },
    With {
        targets: Vec<(Target, Expr)>,
        body: Vec<Stmt>,
    },
    Macro(Arc<Macro>),
    Call {
        call: Expr,
        body: Arc<Macro>,
    },
    Filter {
        filters: Vec<FilterCall>,
        body: Vec<Stmt>,
    },
    Generation(Vec<Stmt>),
    Block(Vec<Stmt>),
    Break,
    Continue,
    /// `include`, `import`, `from` and `extends`: there is nothing to load from.
    Load(Expr),
}

#[derive(Debug)]
pub(crate) struct Loop {
    pub(crate) target: Target,
    pub(crate) iter: Expr,
    pub(crate) test: Option<Expr>,
    pub(crate) body: Vec<Stmt>,
    pub(crate) otherwise: Vec<Stmt>,
    pub(crate) recursive: bool,
}

#[derive(Debug)]
pub(crate) struct Macro {
    /// `None` for the body of a `call` block.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) params: Vec<(Arc<str>, Option<Expr>)>,
    pub(crate) body: Vec<Stmt>,
    /// Which of the implicit names the body uses.
    pub(crate) uses_caller: bool,
    pub(crate) uses_kwargs: bool,
    pub(crate) uses_varargs: bool,
}

#[derive(Debug)]
pub(crate) enum Target {
    Name(Arc<str>),
    Attr(Arc<str>, Arc<str>),
    Tuple(Vec<Self>),
}

/// An expression, its line and the height of its tree.
#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) line: u32,
    pub(crate) height: u16,
    pub(crate) kind: ExprKind,
}

#[derive(Debug)]
pub(crate) enum ExprKind {
    Literal(Literal),
    Name(Arc<str>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    /// Condition, value, other value.
    Cond(Box<(Expr, Expr, Option<Expr>)>),
    Or(Vec<Expr>),
    And(Vec<Expr>),
    Not(Box<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    /// Operators of one precedence, applied from the left.
    Chain(Box<Expr>, Vec<(Operator, Expr)>),
    Concat(Vec<Expr>),
    Neg(Box<Expr>),
    Pos(Box<Expr>),
    Attr(Box<Expr>, Arc<str>),
    Item(Box<Expr>, Box<Expr>),
    /// Object; start, stop, step.
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Call(Box<Expr>, Box<Arguments>),
    Filter(Box<Expr>, Box<FilterCall>),
    Test(Box<Expr>, Box<FilterCall>),
}

#[derive(Debug, Clone)]
pub(crate) enum Literal {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

#[derive(Debug, Default)]
pub(crate) struct Arguments {
    pub(crate) positional: Vec<Expr>,
    pub(crate) named: Vec<(Arc<str>, Expr)>,
    pub(crate) star: Option<Expr>,
    pub(crate) double_star: Option<Expr>,
}

/// A filter or test with its arguments.
#[derive(Debug)]
pub(crate) struct FilterCall {
    pub(crate) line: u32,
    pub(crate) name: Arc<str>,
    pub(crate) args: Arguments,
}
