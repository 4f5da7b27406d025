//! An arbitrary chat template: an error, or a prompt within the limits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ropewalk_tokens::template::{ChatTemplate, TemplateInput};

const MESSAGES: &str = r#"[{"role":"system","content":"s"},{"role":"user","content":"u"},
{"role":"assistant","content":"a","tool_calls":[]},{"role":"user","content":"\u00e9"}]"#;

fuzz_target!(|source: &str| {
    let Ok(template) = ChatTemplate::new(source) else { return };
    let input = TemplateInput::from_json(MESSAGES).expect("messages of our own");
    let _ = (template.render(&input), template.support(), template.describe());
});
