//! The values a template computes with, and what Python calls and prints them.

mod compare;
mod dict;
mod items;
mod repr;

pub(crate) use compare::all_equal;
pub(crate) use dict::{Dict, Key};
pub(crate) use items::range_length;

use super::ast::{Loop, Macro};
use super::error::{ErrorKind, Res, err, limit};
use super::interp::Scope;
use super::json;
use super::meter::Meter;
use super::text::repr_str;
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// Nesting of lists and dictionaries that a template may build.
pub(crate) const MAX_DEPTH: u32 = 200;

#[derive(Clone)]
pub(crate) enum Val {
    Undefined(Rc<Missing>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    /// Text that `safe` or `escape` made: adding plain text to it escapes that text.
    Markup(Arc<str>),
    List(Rc<Seq>),
    Tuple(Rc<Seq>),
    Dict(Rc<Dict>),
    Object(Rc<Object>),
}

/// Items and the nesting below them.
pub(crate) struct Seq {
    pub(crate) items: Vec<Val>,
    depth: u32,
}

/// Why a value is not there; the text of the error that using it raises.
pub(crate) enum Missing {
    Name(Arc<str>),
    /// The type of the object and the attribute.
    Attr(&'static str, Arc<str>),
    Element(&'static str, String),
    Hint(String),
    Unsafe(String),
}

impl Missing {
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Name(name) => format!("{} is undefined", repr_str(name)),
            Self::Attr(object, name) => {
                format!("{} has no attribute {}", repr_str(object), repr_str(name))
            }
            Self::Element(object, key) => format!("{object} has no element {key}"),
            Self::Hint(text) | Self::Unsafe(text) => text.clone(),
        }
    }

    pub(crate) fn fail<T>(&self) -> Res<T> {
        let kind = if matches!(self, Self::Unsafe(_)) {
            ErrorKind::Security
        } else {
            ErrorKind::Undefined
        };
        err(kind, self.message())
    }
}

/// Values that are neither plain data nor text.
pub(crate) enum Object {
    View(ViewKind, Rc<Dict>),
    Range {
        start: i64,
        stop: i64,
        step: i64,
    },
    /// A generator: its items can be taken once; an error comes where its item would be.
    Iter(RefCell<Pending>, &'static str, u32),
    Namespace {
        entries: RefCell<Vec<(Arc<str>, Val)>>,
        depth: Cell<u32>,
    },
    Function(Function),
    Method(Val, &'static str),
    Macro(MacroVal),
    Loop(LoopVal),
    Cycler {
        items: Vec<Val>,
        at: Cell<usize>,
        depth: u32,
    },
    Joiner {
        sep: Val,
        used: Cell<bool>,
    },
}

#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) items: VecDeque<Val>,
    pub(crate) failure: Option<Box<super::Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ViewKind {
    Keys,
    Values,
    Items,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    RaiseException,
    StrftimeNow,
}

pub(crate) struct MacroVal {
    pub(crate) definition: Arc<Macro>,
    pub(crate) scope: Rc<Scope>,
}

pub(crate) struct LoopVal {
    pub(crate) items: Vec<Val>,
    /// The nesting below the items, once it was asked for.
    pub(crate) depth: OnceCell<u32>,
    pub(crate) index: Cell<usize>,
    pub(crate) level: usize,
    pub(crate) changed: RefCell<Option<Vec<Val>>>,
    /// The loop statement and where it stands, for `recursive` loops.
    pub(crate) recursion: Option<(Arc<Loop>, Rc<Scope>)>,
}

impl From<&str> for Val {
    fn from(s: &str) -> Self {
        Self::Str(s.into())
    }
}

impl From<String> for Val {
    fn from(s: String) -> Self {
        Self::Str(s.into())
    }
}

impl From<bool> for Val {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

impl From<usize> for Val {
    fn from(n: usize) -> Self {
        Self::Int(n as i128)
    }
}

impl Val {
    pub(crate) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(Seq::new(items)))
    }

    pub(crate) fn tuple(items: Vec<Self>) -> Self {
        Self::Tuple(Rc::new(Seq::new(items)))
    }

    pub(crate) fn dict(dict: Dict) -> Self {
        Self::Dict(Rc::new(dict))
    }

    pub(crate) fn object(object: Object) -> Self {
        Self::Object(Rc::new(object))
    }

    pub(crate) fn generator(items: Vec<Self>, failure: Option<Box<super::Error>>) -> Self {
        Self::iterator(items, failure, "generator")
    }

    pub(crate) fn iterator(
        items: Vec<Self>,
        failure: Option<Box<super::Error>>,
        name: &'static str,
    ) -> Self {
        let depth = deepest(&items);
        let pending = Pending {
            items: items.into(),
            failure,
        };
        Self::object(Object::Iter(RefCell::new(pending), name, depth))
    }

    pub(crate) fn missing(missing: Missing) -> Self {
        Self::Undefined(Rc::new(missing))
    }

    pub(crate) fn hint(text: &str) -> Self {
        Self::missing(Missing::Hint(text.to_owned()))
    }

    /// Converts caller's data; deeper nesting than 128 levels is an error.
    pub(crate) fn from_json(value: &json::Value, depth: usize) -> Res<Self> {
        let m = &Meter::unlimited();
        if depth > json::MAX_DEPTH {
            return err(ErrorKind::Input, "the input is nested too deep");
        }
        Ok(match value {
            json::Value::Null => Self::None,
            json::Value::Bool(b) => Self::Bool(*b),
            json::Value::Int(i) => Self::Int(*i),
            json::Value::Float(f) => Self::Float(*f),
            json::Value::String(s) => s.as_str().into(),
            json::Value::Array(items) => {
                let items: Res<_> = items
                    .iter()
                    .map(|v| Self::from_json(v, depth + 1))
                    .collect();
                Self::list(items?)
            }
            json::Value::Object(entries) => {
                let mut dict = Dict::default();
                for (key, value) in entries {
                    dict.insert(key.as_str().into(), Self::from_json(value, depth + 1)?, m)?;
                }
                Self::dict(dict)
            }
        })
    }

    /// How deep lists, dictionaries and the like nest in this value.
    pub(crate) fn depth(&self) -> u32 {
        match self {
            Self::List(seq) | Self::Tuple(seq) => seq.depth + 1,
            Self::Dict(dict) => dict.depth + 1,
            Self::Object(object) => match &**object {
                Object::View(_, dict) => dict.depth + 2,
                Object::Iter(_, _, depth) | Object::Cycler { depth, .. } => depth + 1,
                Object::Namespace { depth, .. } => depth.get() + 1,
                Object::Method(receiver, _) => receiver.depth() + 1,
                Object::Joiner { sep, .. } => sep.depth() + 1,
                Object::Loop(l) => *l.depth.get_or_init(|| deepest(&l.items)) + 1,
                _ => 1,
            },
            _ => 0,
        }
    }

    pub(crate) fn check_depth(self) -> Res<Self> {
        if self.depth() > MAX_DEPTH {
            return limit("the template nests values too deep");
        }
        Ok(self)
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(s) | Self::Markup(s) => Some(s),
            _ => None,
        }
    }

    /// The integer this is, counting booleans.
    pub(crate) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Bool(b) => Some((*b).into()),
            Self::Int(i) => Some(*i),
            _ => None,
        }
    }

    /// The number this is, counting booleans.
    pub(crate) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(f) => Some(*f),
            _ => self.as_int().map(|i| i as f64),
        }
    }

    /// `type(value).__name__`.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::Markup(_) => "Markup",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Object(object) => match &**object {
                Object::View(ViewKind::Keys, _) => "dict_keys",
                Object::View(ViewKind::Values, _) => "dict_values",
                Object::View(ViewKind::Items, _) => "dict_items",
                Object::Range { .. } => "range",
                Object::Iter(_, name, _) => name,
                Object::Namespace { .. } => "TemplateNamespace",
                Object::Function(Function::Dict) => "TemplateDict",
                Object::Function(Function::Namespace | Function::Cycler | Function::Joiner) => {
                    "type"
                }
                Object::Function(_) => "function",
                Object::Method(Self::Object(_), _) => "method",
                Object::Method(..) => "builtin_function_or_method",
                Object::Macro(_) => "Macro",
                Object::Loop(_) => "LoopContext",
                Object::Cycler { .. } => "Cycler",
                Object::Joiner { .. } => "Joiner",
            },
        }
    }

    /// What Jinja2 calls the object in messages about missing attributes.
    pub(crate) fn described(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Undefined(_) => "jinja2.runtime.Undefined object",
            Self::Bool(_) => "bool object",
            Self::Int(_) => "int object",
            Self::Float(_) => "float object",
            Self::Str(_) => "str object",
            Self::Markup(_) => "markupsafe.Markup object",
            Self::List(_) => "list object",
            Self::Tuple(_) => "tuple object",
            Self::Dict(_) => "dict object",
            Self::Object(object) => match &**object {
                Object::View(ViewKind::Keys, _) => "dict_keys object",
                Object::View(ViewKind::Values, _) => "dict_values object",
                Object::View(ViewKind::Items, _) => "dict_items object",
                Object::Range { .. } => "range object",
                Object::Iter(_, "list_reverseiterator", _) => "list_reverseiterator object",
                Object::Iter(..) => "generator object",
                Object::Namespace { .. } => {
                    "transformers.utils.chat_template_utils.TemplateNamespace object"
                }
                Object::Function(Function::Dict) => {
                    "transformers.utils.chat_template_utils.TemplateDict object"
                }
                Object::Function(Function::Namespace | Function::Cycler | Function::Joiner) => {
                    "type object"
                }
                Object::Function(_) => "function object",
                Object::Method(Self::Object(_), _) => "method object",
                Object::Method(..) => "builtin_function_or_method object",
                Object::Macro(_) => "jinja2.runtime.Macro object",
                Object::Loop(_) => "jinja2.runtime.LoopContext object",
                Object::Cycler { .. } => "jinja2.utils.Cycler object",
                Object::Joiner { .. } => "jinja2.utils.Joiner object",
            },
        }
    }

    /// `bool(value)`.
    pub(crate) fn truth(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(b) => *b,
            Self::Int(i) => *i != 0,
            Self::Float(f) => *f != 0.0,
            Self::Str(s) | Self::Markup(s) => !s.is_empty(),
            Self::List(seq) | Self::Tuple(seq) => !seq.items.is_empty(),
            Self::Dict(dict) => !dict.entries.is_empty(),
            Self::Object(object) => match &**object {
                Object::View(_, dict) => !dict.entries.is_empty(),
                Object::Range { start, stop, step } => range_length(*start, *stop, *step) > 0,
                Object::Loop(l) => !l.items.is_empty(),
                _ => true,
            },
        }
    }
}

impl Seq {
    fn new(items: Vec<Val>) -> Self {
        let depth = deepest(&items);
        Self { items, depth }
    }
}

fn deepest(items: &[Val]) -> u32 {
    items.iter().map(Val::depth).max().unwrap_or(0)
}
