//! Prompt formats by the names that llama-cpp-python gives them.

use ropewalk_core::{Error, ErrorKind, Result};

/// The names that [`LlamaOptions::with_chat_format`](super::LlamaOptions::with_chat_format) takes. The
/// prompts are those the models were trained with (their `chat_template`s), which for `llama-2`,
/// `mistral-instruct`, `gemma` and `zephyr` is not in every space what llama-cpp-python writes.
pub const CHAT_FORMATS: [&str; 6] = [
    "chatml",
    "llama-2",
    "llama-3",
    "mistral-instruct",
    "gemma",
    "zephyr",
];

/// A format.
#[derive(Debug)]
pub(super) struct Format {
    pub(super) template: &'static str,
    /// Text that ends a reply where the vocabulary has no token for it.
    pub(super) stop: &'static [&'static str],
}

/// The token at the beginning, if the vocabulary has one.
macro_rules! bos {
    () => {
        "{% if bos_token is defined %}{{ bos_token }}{% endif %}"
    };
}

static CHATML: Format = Format {
    template: "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    stop: &["<|im_end|>"],
};

static LLAMA_2: Format = Format {
    template: concat!(
        "{% if messages[0]['role'] == 'system' %}\
         {% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}{% set rest = messages[1:] %}\
         {% else %}{% set system = '' %}{% set rest = messages %}{% endif %}\
         {% for m in rest %}{% if m['role'] == 'user' %}",
        bos!(),
        "{{ '[INST] ' + (system if loop.first else '') + m['content'] + ' [/INST]' }}\
         {% else %}{{ ' ' + m['content'] + ' </s>' }}{% endif %}{% endfor %}"
    ),
    stop: &["</s>"],
};

static LLAMA_3: Format = Format {
    template: concat!(
        bos!(),
        "{% for m in messages %}\
         {{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] + '<|eot_id|>' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
    ),
    stop: &["<|eot_id|>"],
};

static MISTRAL: Format = Format {
    template: concat!(
        bos!(),
        "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}\
         {% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}\
         {% for m in rest %}{% if m['role'] == 'user' %}\
         {{ '[INST] ' + (system if loop.first else '') + m['content'] + ' [/INST]' }}\
         {% else %}{{ ' ' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
    ),
    stop: &["</s>"],
};

static GEMMA: Format = Format {
    template: concat!(
        bos!(),
        "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}\
         {% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}\
         {% for m in rest %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n'\
          + (system if loop.first else '') + m['content'] + '<end_of_turn>\n' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    ),
    stop: &["<end_of_turn>"],
};

static ZEPHYR: Format = Format {
    template: "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '</s>\n' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    stop: &["</s>"],
};

/// Finds a format by its name.
pub(super) fn find(name: &str) -> Result<&'static Format> {
    let formats = [&CHATML, &LLAMA_2, &LLAMA_3, &MISTRAL, &GEMMA, &ZEPHYR];
    let mut named = CHAT_FORMATS.iter().zip(formats);
    let found = named.find(|(n, _)| **n == name).map(|(_, format)| format);
    found.ok_or_else(|| {
        let known = CHAT_FORMATS.join(", ");
        let message =
            format!("chat_format is `{name}`; use {known}, or none for the template of the model");
        Error::new(ErrorKind::Configuration, message).with_provider("local")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ropewalk_core::Message;
    use ropewalk_tokens::template::{ChatTemplate, TemplateInput};

    #[test]
    fn prompts_are_those_of_the_models() {
        let turns = [
            Message::system("Be brief."),
            Message::user("Hi"),
            Message::assistant("Hello."),
            Message::user("Bye"),
        ];
        let expected = [
            (
                "chatml",
                "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n\
                 <|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
            ),
            (
                "llama-2",
                "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello. </s><s>[INST] Bye [/INST]",
            ),
            (
                "llama-3",
                "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>\
                 <|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>\
                 <|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>\
                 <|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>\
                 <|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
            (
                "mistral-instruct",
                "<s>[INST] Be brief.\n\nHi [/INST] Hello.</s>[INST] Bye [/INST]",
            ),
            (
                "gemma",
                "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello.<end_of_turn>\n\
                 <start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
            ),
            (
                "zephyr",
                "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello.</s>\n<|user|>\nBye</s>\n<|assistant|>\n",
            ),
        ];
        assert_eq!(expected.map(|(name, _)| name), CHAT_FORMATS);
        for (name, want) in expected {
            let template = ChatTemplate::new(find(name).unwrap().template).unwrap();
            let input = TemplateInput::from_messages(&turns).with_generation_prompt(true);
            let plain = template.render(&input).unwrap();
            let input = input.with_special_token("bos_token", "<s>");
            assert_eq!(template.render(&input).unwrap(), want, "{name}");
            let bare = if name == "zephyr" || name == "chatml" {
                want.to_owned()
            } else {
                want.replace("<s>", "")
            };
            assert_eq!(plain, bare, "{name} without a beginning");
        }
        let error = find("alpaca").unwrap_err().to_string();
        assert!(
            error.contains("`alpaca`") && error.contains("chatml"),
            "{error}"
        );
    }
}
