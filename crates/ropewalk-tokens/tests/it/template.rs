//! Chat templates against the reference, on small templates of our own and on real ones.

use crate::support::data;
use ropewalk_tokens::template::{
    ChatTemplate, DateTime, Error, ErrorKind, Limits, Rendered, TemplateInput, Value,
};
use std::path::{Path, PathBuf};

mod digest;
mod fuzz;
mod limits;

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn json(name: &str) -> Value {
    Value::from_json(&fixture(name)).unwrap()
}

fn entries(value: &Value) -> &[(String, Value)] {
    match value {
        Value::Object(entries) => entries,
        other => panic!("not an object: {other:?}"),
    }
}

fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        other => panic!("not a list: {other:?}"),
    }
}

/// What `make_templates.py` gives the reference for this conversation.
fn input(chat: &Value, generation: bool) -> TemplateInput {
    let messages = chat.get("messages").map_or(&[][..], list);
    let mut input = TemplateInput::new(messages.iter().cloned())
        .with_generation_prompt(generation)
        .with_special_token("bos_token", "<|bos|>")
        .with_special_token("eos_token", "<|eos|>")
        .with_now(DateTime::new(2026, 3, 5).unwrap().at(14, 7, 9).unwrap());
    input.tools = chat.get("tools").map(|tools| list(tools).to_vec());
    input.documents = chat
        .get("documents")
        .map(|documents| list(documents).to_vec());
    input.extra = chat
        .get("extra")
        .map_or_else(Vec::new, |extra| entries(extra).to_vec());
    input
}

fn render(source: &str, input: &TemplateInput) -> Result<String, Error> {
    ChatTemplate::new(source)?.render(input)
}

#[test]
fn every_construct_renders_as_the_reference_does() {
    let fixture = json("template_features.json");
    let rows = list(fixture.get("features").unwrap());
    let inputs = list(fixture.get("inputs").unwrap());
    let mut wrong = Vec::new();
    for row in rows {
        let source = row.get("template").and_then(Value::as_str).unwrap();
        let Some(Value::Int(index)) = row.get("input") else {
            panic!("{source}: no input")
        };
        let chat = &inputs[*index as usize];
        let generation = chat.get("add_generation_prompt") == Some(&Value::Bool(true));
        let ours = match render(source, &input(chat, generation)) {
            Ok(text) => ("text", text),
            Err(e) => ("error", e.message().to_owned()),
        };
        let theirs = ["text", "error"]
            .into_iter()
            .find_map(|key| Some((key, row.get(key)?.as_str()?.to_owned())))
            .unwrap_or_else(|| panic!("{source}: no outcome"));
        if ours != theirs {
            let name = row.get("name").and_then(Value::as_str).unwrap();
            wrong.push(format!(
                "{name}: {source}\n  ours:   {ours:?}\n  theirs: {theirs:?}"
            ));
        }
    }
    assert!(rows.len() > 200, "the fixture has lost its rows");
    assert!(
        wrong.is_empty(),
        "{} of {} differ\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
}

#[test]
fn masks_equal_the_reference() {
    let fixture = json("template_features.json");
    let rows = list(fixture.get("masks").unwrap());
    assert!(!rows.is_empty());
    for row in rows {
        let source = row.get("template").and_then(Value::as_str).unwrap();
        let template = ChatTemplate::new(source).unwrap();
        let Rendered {
            text, assistant, ..
        } = template
            .render_with_mask(&input(row.get("input").unwrap(), false))
            .unwrap();
        assert_eq!(Some(text.as_str()), row.get("text").and_then(Value::as_str));
        let ours: Vec<&str> = assistant.iter().map(|span| &text[span.clone()]).collect();
        let theirs: Vec<&str> = list(row.get("assistant").unwrap())
            .iter()
            .filter_map(Value::as_str)
            .collect();
        assert_eq!(ours, theirs, "{source}");
    }
}

/// Compares every real template and conversation by hash.
///
/// With `ROPEWALK_TEMPLATE_DUMP` set to the folder that `make_templates.py --dump` wrote, a difference is shown with
/// both texts at the first place where they part.
#[test]
fn real_templates_render_as_the_reference_does() {
    let Some(folder) = data("templates") else {
        return;
    };
    let dump = std::env::var_os("ROPEWALK_TEMPLATE_DUMP").map(PathBuf::from);
    let chats = json("template_conversations.json");
    let golden = json("template_golden.json");
    let (mut equal, mut refused, mut limits, mut wrong) = (0, 0, 0, Vec::new());
    for (file, row) in entries(&golden) {
        let source = std::fs::read_to_string(folder.join(file)).unwrap();
        let template = ChatTemplate::new(&source);
        for (key, theirs) in entries(row) {
            let name = key.trim_end_matches('+');
            let input = input(chats.get(name).unwrap(), key.ends_with('+'));
            let ours = template
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|t| t.render(&input));
            let theirs = theirs.as_str().unwrap();
            let hash = match &ours {
                Ok(text) => digest::of(text),
                Err(e) => format!("!{}", digest::of(e.message())),
            };
            // Endless recursion has no message to equal.
            let endless = theirs == format!("!{}", digest::of("RecursionError"));
            if hash == theirs {
                equal += usize::from(ours.is_ok());
                refused += usize::from(ours.is_err());
            } else if endless && ours.as_ref().is_err_and(|e| e.kind() == ErrorKind::Limit) {
                limits += 1;
            } else {
                wrong.push(difference(file, key, &ours, dump.as_deref()));
            }
        }
    }
    let templates = entries(&golden).len();
    println!(
        "{templates} templates: {equal} renderings equal, {refused} refused by both with one message, \
         {limits} endless in both, {} different",
        wrong.len()
    );
    assert!(
        wrong.is_empty(),
        "{} differ\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn difference(file: &str, key: &str, ours: &Result<String, Error>, dump: Option<&Path>) -> String {
    let ours = match ours {
        Ok(text) => text.clone(),
        Err(e) => format!("!{}", e.message()),
    };
    let stem = file.trim_end_matches(".jinja");
    let Some(theirs) = dump.and_then(|d| std::fs::read_to_string(d.join(stem).join(key)).ok())
    else {
        return format!("{file} {key}: set ROPEWALK_TEMPLATE_DUMP to see the texts");
    };
    let at = ours
        .char_indices()
        .zip(theirs.chars())
        .find(|((_, a), b)| a != b);
    let at = at.map_or(ours.len().min(theirs.len()), |((i, _), _)| i);
    let show = |text: &str| -> String {
        let before = text[..at].chars().count().saturating_sub(30);
        text.chars().skip(before).take(110).collect()
    };
    format!(
        "{file} {key} at {at}:\n  ours:   {:?}\n  theirs: {:?}",
        show(&ours),
        show(&theirs)
    )
}

/// The chat strings quoted by the courses (`anchors.json`).
#[test]
fn quoted_chats_come_out() {
    let Some(folder) = data("templates") else {
        return;
    };
    let anchors = std::fs::read_to_string(folder.join("../anchors.json")).unwrap();
    let anchors = Value::from_json(&anchors).unwrap();
    let messages = list(anchors.get("chat_messages").unwrap());
    for (file, key, bos) in [
        (
            "meta-llama-Llama-3.1-8B-Instruct",
            "chat_llama3.1",
            "<|begin_of_text|>",
        ),
        ("microsoft-Phi-3.5-mini-instruct", "chat_phi3", "<s>"),
        ("Qwen-Qwen2.5-7B-Instruct", "chat_chatml_qwen2", ""),
    ] {
        let source = std::fs::read_to_string(folder.join(format!("{file}.jinja"))).unwrap();
        // No date is given: Llama 3.1 then prints the one it was trained with.
        let input = TemplateInput::new(messages.iter().cloned())
            .with_generation_prompt(true)
            .with_special_token("bos_token", bos)
            .with_special_token("eos_token", "<|endoftext|>");
        let text = render(&source, &input).unwrap();
        assert_eq!(
            Some(text.as_str()),
            anchors.get(key).and_then(Value::as_str),
            "{file}"
        );
    }
    let source = std::fs::read_to_string(folder.join("google-gemma-2-2b-it.jinja")).unwrap();
    let input =
        TemplateInput::new(messages.iter().cloned()).with_special_token("bos_token", "<bos>");
    let error = render(&source, &input).unwrap_err();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::Raised, "System role not supported")
    );
}

#[test]
fn says_what_a_template_supports() {
    let chatml = "{% if tools %}# Tools\n{{ tools | tojson }}\n{% endif %}\
        {% for m in messages %}<|im_start|>{{ m.role }}\n{% generation %}{{ m.content }}{% endgeneration %}\
        {% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}<|im_end|>\n{% endfor %}\
        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let support = ChatTemplate::new(chatml).unwrap().support();
    assert!(support.system && support.tools && support.tool_calls && support.tool_results);
    assert!(support.generation_prompt && support.mask && support.parallel_tool_calls);
    // As Llama 3.1 does.
    let single = format!(
        "{{% for m in messages %}}{{% if m.tool_calls and m.tool_calls | length != 1 %}}\
         {{{{ raise_exception('one call at once') }}}}{{% endif %}}{{% endfor %}}{chatml}"
    );
    let single = ChatTemplate::new(&single).unwrap().support();
    assert!(single.tool_calls && !single.parallel_tool_calls);
    assert!(!support.parts && !support.documents && !support.thinking_switch);
    let strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}\
        {{ messages[0].content }}";
    let template = ChatTemplate::new(strict).unwrap();
    assert!(!template.support().system && !template.support().generation_prompt);
    assert!(
        template.describe().contains("system messages: no"),
        "{}",
        template.describe()
    );
}

#[test]
fn continues_the_last_message() {
    let source = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</s>{% endfor %}";
    let messages =
        r#"[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b c "}]"#;
    let go_on = TemplateInput::from_json(messages)
        .unwrap()
        .with_continue_final_message(true);
    assert_eq!(render(source, &go_on).unwrap(), "<user>a</s><assistant>b c");
    let keeps = source.replace(" | trim", "");
    assert_eq!(
        render(&keeps, &go_on).unwrap(),
        "<user>a</s><assistant>b c "
    );
    let drops = "{{ messages[0].content }}";
    assert_eq!(render(drops, &go_on).unwrap_err().kind(), ErrorKind::Input);
    let empty = TemplateInput::default().with_continue_final_message(true);
    assert_eq!(render(source, &empty).unwrap_err().kind(), ErrorKind::Input);
}

#[test]
fn has_no_date_unless_given_one() {
    let source =
        "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}none{% endif %}";
    assert_eq!(render(source, &TemplateInput::default()).unwrap(), "none");
    let dated = TemplateInput::default().with_now(DateTime::new(2020, 1, 2).unwrap());
    assert_eq!(render(source, &dated).unwrap(), "2020");
    let error = render("{{ strftime_now('%Y') }}", &TemplateInput::default()).unwrap_err();
    assert_eq!(error.message(), "'strftime_now' is undefined");
}

#[test]
fn errors_name_their_line() {
    for (source, line, shown) in [
        (
            "a\n{% if %}",
            2,
            "syntax error in chat template line 2: Expected an expression, got 'end of statement block'",
        ),
        (
            "a\n\n{{ none + 1 }}",
            3,
            "type error in chat template line 3: unsupported operand type(s) for +: 'NoneType' and 'int'",
        ),
        (
            "{% if true %}\n{{ raise_exception('no, thanks') }}\n{% endif %}",
            2,
            "refused in chat template line 2: no, thanks",
        ),
    ] {
        let error = render(source, &TemplateInput::default()).unwrap_err();
        assert_eq!((error.line(), error.to_string().as_str()), (line, shown));
    }
}

#[test]
fn bad_input_is_an_error() {
    for input in [
        TemplateInput::new(["text"]),
        TemplateInput::default().with_tools(["text"]),
        TemplateInput::default().with_documents([1_i64]),
    ] {
        assert_eq!(render("x", &input).unwrap_err().kind(), ErrorKind::Input);
    }
    let mut deep = Value::Null;
    for _ in 0..1000 {
        deep = Value::Array(vec![deep]);
    }
    let input = TemplateInput::default().with_extra("deep", deep);
    assert_eq!(
        render("{{ deep }}", &input).unwrap_err().kind(),
        ErrorKind::Input
    );
}

/// Templates that would run for ever, fill the memory or overflow the stack stop with an error.
#[test]
fn hostile_templates_stop() {
    let nested_calls = format!("{{{{ {}x{} }}}}", "(".repeat(5000), ")".repeat(5000));
    let nested_ifs = "{% if true %}".repeat(5000);
    let minus = format!("{{{{ {}1 }}}}", "-".repeat(5000));
    let dots = format!("{{{{ x{} }}}}", ".a".repeat(5000));
    let brackets = format!("{{{{ {}{} }}}}", "[".repeat(5000), "]".repeat(5000));
    for source in [
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(x) %}{{ [[[m([x])]]] | join(m(x)) }}{% endmacro %}{{ m(1) }}",
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{{ 'a' * 10000000000 }}",
        "{{ [1] * 10000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%99999999d' % 1 }}",
        "{{ '{:>99999999}'.format(1) }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% for i in range(99999) %}{{ 'a' * 100000 }}{% endfor %}",
        "{% set l = [1] * 100000 %}{% for i in range(99999) %}{% set x = l + l %}{% endfor %}",
        "{% set l = ['a'] * 100000 %}{% for i in range(99999) %}{{ l | join | length }}{% endfor %}",
        &nested_calls,
        &nested_ifs,
        &minus,
        &dots,
        &brackets,
    ] {
        let shown: String = source.chars().take(80).collect();
        let error = render(source, &TemplateInput::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{shown}: {error}");
    }
}

#[test]
fn cycles_end() {
    let source = "{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}{{ a }}";
    let text = render(source, &TemplateInput::default()).unwrap();
    assert!(text.contains("..."), "{text}");
}

#[test]
fn limits_can_be_set() {
    let mut limits = Limits::default();
    limits.output = 10;
    let template = ChatTemplate::new("{{ 'a' * 11 }}").unwrap();
    assert!(template.render(&TemplateInput::default()).is_ok());
    let error = template
        .with_limits(limits)
        .render(&TemplateInput::default())
        .unwrap_err();
    assert_eq!(error.message(), "the template writes more than 10 bytes");
}
