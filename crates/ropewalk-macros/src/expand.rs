//! From a function to a tool.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, Ident, ItemFn, Lit, Pat, PatType, Result, ReturnType,
    Type, TypePath, TypeReference,
};

use crate::attribute::{self, Default_, Options, ParameterOptions};
use crate::{docs, paths};

pub(crate) fn tool(options: &Options, mut function: ItemFn) -> Result<TokenStream> {
    check(&function)?;
    let krate = options
        .krate
        .as_ref()
        .map_or_else(paths::tools, |path| quote!(#path));
    let private = quote!(#krate::__private);
    let ident = function.sig.ident.clone();
    let name = match &options.name {
        Some(name) => name.value(),
        None => attribute::name(&ident.unraw().to_string()).map_err(|problem| {
            let message = format!("{problem}; write #[tool(name = \"…\")]");
            Error::new(ident.span(), message)
        })?,
    };
    let description = match (&options.description, docs::description(&function.attrs)) {
        (Some(text), _) => text.value(),
        (None, Some(text)) => text,
        (None, None) => {
            let message = "a tool needs a doc comment: it is what the model is told about it (or \
                           write #[tool(description = \"…\")])";
            return Err(Error::new(ident.span(), message));
        }
    };

    let parameters = function.sig.inputs.iter_mut();
    let parameters = parameters
        .map(Parameter::take)
        .collect::<Result<Vec<_>>>()?;
    let fields = parameters.iter().filter_map(Parameter::field);
    let defaults = parameters.iter().filter_map(Parameter::default);
    let values = parameters.iter().map(|p| p.value(&private, &name));
    let fields: Vec<_> = fields.collect();
    let awaiting = function.sig.asyncness.is_some().then(|| quote!(.await));
    let effect = options.effect.as_ref().map(|variant| {
        quote! {
            fn effect(&self) -> #private::Effect {
                #private::Effect::#variant
            }
        }
    });
    let strict = options.strict;
    let trusted = options
        .trusted
        .then(|| quote!(.map(#private::ToolOutput::trusted)));
    let returned = match &function.sig.output {
        ReturnType::Default => ident.span(),
        ReturnType::Type(_, kind) => kind.span(),
    };
    let call = quote_spanned!(returned=> __probe.output().convert(__value)#trusted);
    let open = quote_spanned!(returned=> __probe.outcome().open(__returned)?);

    let visibility = &function.vis;
    let documents: Vec<&Attribute> = attributes(&function, "doc").collect();
    let conditions: Vec<&Attribute> = attributes(&function, "cfg").collect();
    let serde = format!("{private}::serde").replace(' ', "");
    let schemars = format!("{private}::schemars").replace(' ', "");
    let mut run = function.clone();
    run.sig.ident = Ident::new("run", ident.span());
    if documents.is_empty() {
        run.attrs.push(syn::parse_quote!(#[doc = #description]));
    }
    let unnamed = documents.is_empty().then(|| quote!(#[doc = #description]));

    let type_doc =
        format!("Type of the tool [`{ident}`](fn@{ident}); `run` is the function itself.");

    Ok(quote! {
        #(#conditions)*
        #(#documents)*
        #unnamed
        #visibility fn #ident() -> #ident {
            #ident {}
        }

        #(#conditions)*
        #[doc = #type_doc]
        #[allow(non_camel_case_types, reason = "named as the function is")]
        #[derive(
            ::core::fmt::Debug, ::core::clone::Clone, ::core::marker::Copy,
            ::core::default::Default,
        )]
        #visibility struct #ident {}

        #(#conditions)*
        impl #ident {
            #[allow(
                clippy::needless_pass_by_value, clippy::unused_async,
                reason = "its signature is what the model is told"
            )]
            #run
        }

        #(#conditions)*
        const _: () = {
            #(#defaults)*

            #[derive(#private::serde::Deserialize, #private::schemars::JsonSchema)]
            #[serde(crate = #serde, deny_unknown_fields)]
            #[schemars(crate = #schemars)]
            struct __Arguments {
                #(#fields,)*
            }

            #[#private::async_trait]
            impl #private::Tool for #ident {
                fn spec(&self) -> &#private::ToolSpec {
                    static SPEC: #private::LazyLock<#private::ToolSpec> =
                        #private::LazyLock::new(|| {
                            #private::spec::<__Arguments>(#name, #description, #strict)
                        });
                    &SPEC
                }

                #effect

                async fn call(
                    &self,
                    __text: &str,
                    __context: &#private::ToolContext,
                ) -> ::core::result::Result<#private::ToolOutput, #private::ToolError> {
                    #[allow(unused_imports, reason = "one of each three is used")]
                    use #private::{
                        GivesJson as _, GivesNothing as _, GivesOutput as _, ReturnsError as _,
                        ReturnsOwnError as _, ReturnsValue as _,
                    };
                    #[allow(unused_variables, reason = "a tool may have no arguments")]
                    let __arguments: __Arguments = #private::parse_arguments(__text)?;
                    let __returned = <#ident>::run(#(#values),*)#awaiting;
                    let __probe = #private::Probe::of(&__returned);
                    let __probe = &&&__probe;
                    let __value = #open;
                    let __probe = #private::Probe::of(&__value);
                    let __probe = &&&__probe;
                    #call
                }
            }
        };
    })
}

fn check(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    if let Some(parameter) = signature.generics.params.first() {
        let message = "a tool cannot have generic parameters: its arguments need one schema";
        return Err(Error::new(parameter.span(), message));
    }
    if let Some(variadic) = &signature.variadic {
        return Err(Error::new(variadic.span(), "a tool cannot be variadic"));
    }
    if let syn::Safety::Unsafe(keyword) = &signature.safety {
        return Err(Error::new(
            keyword.span(),
            "a tool cannot be unsafe: a model calls it",
        ));
    }
    if let Some(receiver) = signature.receiver() {
        let message = "a method cannot be a tool; take what it needs as `#[tool(context)] x: &X`";
        return Err(Error::new(receiver.span(), message));
    }
    Ok(())
}

fn attributes<'a>(function: &'a ItemFn, name: &str) -> impl Iterator<Item = &'a Attribute> {
    let name = name.to_owned();
    function
        .attrs
        .iter()
        .filter(move |a| a.path().is_ident(&name))
}

/// A parameter of the function.
struct Parameter {
    ident: Ident,
    kind: Type,
    from: From,
}

/// Where its value comes from.
enum From {
    Context,
    Extensions,
    Arguments {
        options: ParameterOptions,
        attributes: Vec<Attribute>,
        description: Option<String>,
    },
}

impl Parameter {
    /// Reads a parameter and takes the attributes off it that only this macro understands.
    fn take(argument: &mut FnArg) -> Result<Self> {
        let FnArg::Typed(PatType { attrs, pat, ty, .. }) = argument else {
            return Err(Error::new(argument.span(), "a method cannot be a tool"));
        };
        let ident = match &**pat {
            Pat::Ident(pattern) if pattern.subpat.is_none() => pattern.ident.clone(),
            other => {
                let message = "a parameter of a tool must be a name: it is what the model writes";
                return Err(Error::new(other.span(), message));
            }
        };
        check_type(ty)?;
        let options = ParameterOptions::of(attrs)?;
        let taken = |a: &Attribute| {
            ["tool", "doc", "serde", "schemars"]
                .iter()
                .any(|name| a.path().is_ident(name))
        };
        let (taken, kept): (Vec<_>, Vec<_>) = std::mem::take(attrs).into_iter().partition(taken);
        *attrs = kept;
        let kind = (**ty).clone();
        let from = if options.context {
            if let Some(Default_::Value(_) | Default_::OfType) = options.default {
                let message = "a value of the context cannot have a default";
                return Err(Error::new(ident.span(), message));
            }
            From::Extensions
        } else if is_context(&kind) {
            From::Context
        } else {
            From::Arguments {
                options,
                description: docs::description(&taken),
                attributes: taken
                    .into_iter()
                    .filter(|a| a.path().is_ident("serde") || a.path().is_ident("schemars"))
                    .collect(),
            }
        };
        Ok(Self { ident, kind, from })
    }

    /// Returns the field of the arguments.
    fn field(&self) -> Option<TokenStream> {
        let From::Arguments {
            options,
            attributes,
            description,
        } = &self.from
        else {
            return None;
        };
        let (ident, kind) = (&self.ident, owned(&self.kind));
        let document = description.as_ref().map(|text| quote!(#[doc = #text]));
        let default = options.default.as_ref().map(|default| match default {
            Default_::OfType => quote!(#[serde(default)]),
            Default_::Value(_) => {
                let path = self.default_name().to_string();
                quote!(#[serde(default = #path)])
            }
        });
        Some(quote!(#document #default #(#attributes)* #ident: #kind))
    }

    fn default_name(&self) -> Ident {
        format_ident!("__default_{}", self.ident.unraw())
    }

    /// Returns the function that makes its default.
    fn default(&self) -> Option<TokenStream> {
        let From::Arguments { options, .. } = &self.from else {
            return None;
        };
        let Some(Default_::Value(value)) = &options.default else {
            return None;
        };
        let name = self.default_name();
        let kind = owned(&self.kind);
        let is_text = matches!(
            &**value,
            Expr::Lit(ExprLit {
                lit: Lit::Str(_),
                ..
            })
        );
        let value = if is_text {
            quote!(::core::convert::Into::into(#value))
        } else {
            quote!(#value)
        };
        Some(quote!(fn #name() -> #kind { #value }))
    }

    /// Returns what is passed to the function.
    fn value(&self, private: &TokenStream, tool: &str) -> TokenStream {
        let ident = &self.ident;
        match (&self.from, &self.kind) {
            (From::Context, _) => quote!(__context),
            (From::Extensions, Type::Reference(TypeReference { elem, .. })) => {
                quote_spanned!(elem.span()=> #private::extension::<#elem>(#tool, __context)?)
            }
            (From::Extensions, kind) => quote_spanned! {kind.span()=>
                ::core::clone::Clone::clone(#private::extension::<#kind>(#tool, __context)?)
            },
            (From::Arguments { .. }, Type::Reference(_)) => quote!(&__arguments.#ident),
            (From::Arguments { .. }, _) => quote!(__arguments.#ident),
        }
    }
}

fn check_type(kind: &Type) -> Result<()> {
    let message = match kind {
        Type::Reference(TypeReference {
            mutability: Some(_),
            ..
        }) => "a tool cannot change its parameters for the caller; take a value or a `&`",
        Type::ImplTrait(_) => {
            "a parameter of a tool needs a type of its own: its schema is told to the model"
        }
        _ => return Ok(()),
    };
    Err(Error::new(kind.span(), message))
}

/// Returns whether a type is `&ToolContext`, however it is spelled.
fn is_context(kind: &Type) -> bool {
    let Type::Reference(TypeReference {
        elem,
        mutability: None,
        ..
    }) = kind
    else {
        return false;
    };
    let Type::Path(TypePath { path, .. }) = &**elem else {
        return false;
    };
    path.segments
        .last()
        .is_some_and(|s| s.ident == "ToolContext")
}

/// Returns the type of the field that a parameter of this type is passed from.
fn owned(kind: &Type) -> TokenStream {
    let Type::Reference(TypeReference { elem, .. }) = kind else {
        return quote!(#kind);
    };
    match &**elem {
        Type::Slice(slice) => {
            let item = &slice.elem;
            quote!(::std::vec::Vec<#item>)
        }
        Type::Path(TypePath { path, .. }) if path.is_ident("str") => quote!(::std::string::String),
        other => quote!(#other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(options: &str, function: &str) -> Result<String> {
        let options = syn::parse_str(options)?;
        tool(&options, syn::parse_str(function)?).map(|tokens| tokens.to_string())
    }

    #[test]
    fn says_what_is_wrong() {
        let cases = [
            ("", "fn f() {}", "a tool needs a doc comment"),
            (
                "",
                "/// # Errors\n/// Never.\nfn f() {}",
                "a tool needs a doc comment",
            ),
            (
                "",
                "/// F.\nfn f<T>(x: T) {}",
                "cannot have generic parameters",
            ),
            ("", "/// F.\nfn f(&self) {}", "a method cannot be a tool"),
            ("", "/// F.\nunsafe fn f() {}", "cannot be unsafe"),
            ("", "/// F.\nfn f((a, b): (u8, u8)) {}", "must be a name"),
            ("", "/// F.\nfn f(x: &mut u8) {}", "take a value or a `&`"),
            (
                "",
                "/// F.\nfn f(x: impl Into<u8>) {}",
                "needs a type of its own",
            ),
            (
                "",
                "/// F.\nfn f(#[tool(hidden)] x: u8) {}",
                "parameters have `context` and `default`",
            ),
            (
                "",
                "/// F.\nfn f(#[tool(context, default)] x: u8) {}",
                "cannot have a default",
            ),
            (
                "name = \"a b\"",
                "/// F.\nfn f() {}",
                "1 to 64 letters, digits",
            ),
            ("", "/// F.\nfn größe() {}", "write #[tool(name = "),
            (
                "effect = delete",
                "/// F.\nfn f() {}",
                "`read`, `write`, `external` and `pay`",
            ),
            (
                "retries = 3",
                "/// F.\nfn f() {}",
                "there are `name`, `description`",
            ),
            ("strict trusted", "/// F.\nfn f() {}", "expected `,`"),
        ];
        for (options, function, expected) in cases {
            let error = expand(options, function).unwrap_err().to_string();
            assert!(error.contains(expected), "{function}: {error}");
        }
    }

    #[test]
    fn uses_the_path_it_is_given() {
        let tokens = expand("crate = my::tools, description = \"F\"", "fn f() {}").unwrap();
        assert!(
            tokens.contains("my :: tools :: __private :: Tool for f"),
            "{tokens}"
        );
        assert!(
            tokens.contains("\"my::tools::__private::serde\""),
            "{tokens}"
        );
    }
}
