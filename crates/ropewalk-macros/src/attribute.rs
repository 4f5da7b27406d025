//! The options of `#[tool]`, on functions and on parameters.

use proc_macro2::Ident;
use syn::meta::ParseNestedMeta;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Attribute, Expr, LitStr, Path, Result};

/// Options on the function.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    pub(crate) description: Option<LitStr>,
    /// Variant of `Effect`.
    pub(crate) effect: Option<Ident>,
    pub(crate) strict: bool,
    pub(crate) trusted: bool,
    pub(crate) krate: Option<Path>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        let parser = syn::meta::parser(|meta| options.option(&meta));
        parser.parse2(input.parse()?)?;
        Ok(options)
    }
}

impl Options {
    fn option(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let is = |name: &str| meta.path.is_ident(name);
        if is("name") {
            let written: LitStr = meta.value()?.parse()?;
            name(&written.value()).map_err(|problem| syn::Error::new(written.span(), problem))?;
            self.name = Some(written);
        } else if is("description") {
            self.description = Some(meta.value()?.parse()?);
        } else if is("effect") {
            self.effect = Some(effect(&meta.value()?.parse()?)?);
        } else if is("strict") {
            self.strict = true;
        } else if is("trusted") {
            self.trusted = true;
        } else if is("crate") {
            self.krate = Some(meta.value()?.call(Path::parse_mod_style)?);
        } else {
            return Err(meta.error(
                "unknown option; there are `name`, `description`, `effect`, `strict`, `trusted` \
                 and `crate`",
            ));
        }
        Ok(())
    }
}

/// Returns the name if every provider takes it.
pub(crate) fn name(text: &str) -> std::result::Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("the name of a tool is 1 to 64 letters, digits, `_` or `-`")
}

fn effect(name: &Ident) -> Result<Ident> {
    let variant = match name.to_string().as_str() {
        "read" => "Read",
        "write" => "Write",
        "external" => "External",
        "pay" => "Pay",
        _ => {
            let message = "the effect is one of `read`, `write`, `external` and `pay`";
            return Err(syn::Error::new(name.span(), message));
        }
    };
    Ok(Ident::new(variant, name.span()))
}

/// Options on a parameter.
#[derive(Default)]
pub(crate) struct ParameterOptions {
    pub(crate) context: bool,
    pub(crate) default: Option<Default_>,
}

/// `default` without and with a value.
pub(crate) enum Default_ {
    OfType,
    Value(Box<Expr>),
}

impl ParameterOptions {
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut options = Self::default();
        for attribute in attributes.iter().filter(|a| a.path().is_ident("tool")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("context") {
                    options.context = true;
                } else if meta.path.is_ident("default") {
                    options.default = Some(match meta.value() {
                        Ok(value) => Default_::Value(value.parse()?),
                        Err(_) => Default_::OfType,
                    });
                } else {
                    return Err(
                        meta.error("unknown option; parameters have `context` and `default`")
                    );
                }
                Ok(())
            })?;
        }
        Ok(options)
    }
}
