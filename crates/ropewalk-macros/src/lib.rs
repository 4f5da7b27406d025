//! The `#[tool]` attribute of ropewalk; use it through `ropewalk-tools` or `ropewalk`, where it is
//! documented with examples that run.

mod attribute;
mod docs;
mod expand;
mod paths;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Makes a tool of a function.
///
/// It is passed by its name, `ToolSet::new().with(get_weather)?`, and stays callable as
/// `get_weather::run(…)`. In its place stand a type of that name, which implements `Tool`, and a
/// function `get_weather()` that returns it.
///
/// - Its doc comment, up to the first heading, is the description; lines of a paragraph are joined.
/// - Its parameters are the arguments. Doc comments on them become descriptions, `Option`s are not
///   required, and references (`&str`, `&[T]`, `&T`) borrow from what was parsed. Types implement
///   serde's `Deserialize` and schemars' `JsonSchema`. Arguments that are not parameters are refused.
/// - A parameter of type `&ToolContext` gets the context of the call, and one marked
///   `#[tool(context)]` the value of its type in the context's extensions (`&Db` borrowed, `Db`
///   cloned); the model sees neither. A value that is missing ends the run and names its type.
/// - It returns text, `ToolOutput`, `()`, anything that implements serde's `Serialize`, or a
///   `Result` of these. `ToolError`s go on as they are; of any other error the model is told the
///   text.
///
/// | option | meaning | default |
/// | --- | --- | --- |
/// | `name = "…"` | name the model calls it by | name of the function |
/// | `description = "…"` | what the model is told | the doc comment |
/// | `effect = read` | `read`, `write`, `external` or `pay`: what a call may change | not known |
/// | `strict` | the provider must enforce the schema | off |
/// | `trusted` | results are the application's own and may steer the model | off |
/// | `crate = path` | where `ropewalk-tools` is | found by the caller's Cargo.toml |
///
/// | on a parameter | meaning |
/// | --- | --- |
/// | `#[tool(context)]` | taken from the context's extensions |
/// | `#[tool(default)]`, `#[tool(default = 3)]` | not required, with this value |
/// | `#[serde(…)]`, `#[schemars(…)]` | passed on to the field of the arguments |
#[proc_macro_attribute]
pub fn tool(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(attribute as attribute::Options);
    let function = parse_macro_input!(item as syn::ItemFn);
    expand::tool(&options, function)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
