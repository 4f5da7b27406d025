//! No template and no input may panic, overflow the stack or run for ever.

use super::render;
use proptest::prelude::*;
use ropewalk_tokens::template::{ChatTemplate, DateTime, Limits, TemplateInput, Value};

/// Pieces of template language, so that random texts often parse.
const PIECES: &str = "
    {{ }} {% %} {# #} {%- -%} {{- -}} - + if elif else endif for in endfor set endset macro endmacro
    m ( ) [ ] { } , : | ~ * ** / // % == < >= = . ' \" a x messages loop role content tojson trim map
    join length select sort not and or is defined string none true 0 1 99 1.5 range namespace ns call
    endcall caller generation endgeneration break continue raw endraw with endwith filter endfilter
    upper items get split format strip é \\ indent safe recursive block endblock include print";

const ATOMS: &str = "
    x y z s messages messages[0] 1 -3 2.5 none true 'a<b' '' [] [1,'a'] (1,2) {} {'k':[1]} range(3)
    missing ('<'|safe) (s|map('upper')) namespace(a=1) s.split() d.items() 99999999999999999999";

const OPERATORS: &str = "+ - * / // % ** ~ == < >= in and or";

const ENDINGS: &str = "
    [0] [-1] [1:] [::-1] ['k'] .k .content () .items() |length |join |first |last |list |tojson |trim
    |sort |int |float |string |indent |upper |unique|list |reverse |map('string')|list |select|list
    |dictsort |batch(2)|list |slice(2)|list |sum |min |groupby('k') |default('d') |safe |escape
    |title |truncate(3) |wordwrap(2) |center(9) |round(1) |abs |urlencode |striptags |format(1)
    |filesizeformat |xmlattr .strip() .split('a') .rsplit() .replace('a','b') .format(1) .join('ab')
    .get('k') .title() .zfill(4) .find('a') .index(1) .count('a') .partition('a') .expandtabs(3)
    |tojson(indent=2) |int(0,16) |round(-2) |attr('k') |selectattr('k','in','ab')|list |wordcount";

fn words(text: &'static str) -> proptest::sample::Select<&'static str> {
    proptest::sample::select(text.split_whitespace().collect::<Vec<_>>())
}

/// Values that are small in memory and endless when printed or compared, and counts that no memory holds.
const HUGE: &str = "
    shared pairs table ns x (shared,shared) (pairs,1) {pairs:1} ('a'*1000) range(100000) 18446744073709551616
    99999999999999999999999999999999999999 9223372036854775807 -170141183460469231731687303715884105727";

const HUGE_ENDINGS: &str = "
    |string |tojson |tojson(indent='aaaaaaaaaaaaaaaaaaaa') |tojson(indent=99999999) |pprint |list|join |length
    |join(x) |map('string')|join |map('center',100000)|list|length |wordwrap(18446744073709551616) |center(99999999999)
    |truncate(18446744073709551616) |indent(99999999999) |indent(ns) |replace('',x) |replace('a','b'*1000)
    |batch(99999999999,'x')|list |slice(99999999999,'x')|list |round(-38) |round(99999999999) |sort |unique|list
    |groupby(0) |min |sum(start=[]) |urlencode |striptags |escape |forceescape |wordcount |xmlattr |first |last
    |reverse|list |string|length .ljust(99999999999) .zfill(99999999999) .expandtabs(99999999999) .split('a')
    .join(x) .replace('a',x) .splitlines() .count(shared) .index(shared) .get(pairs) [99999999999] [::99999999999]
    [::-99999999999] *99999999999 *1000 ~shared ==shared ==[shared] <shared |string==shared|string %shared
    |format(shared) .format(shared) in(shared) |default(shared) |attr('a') |dictsort |items|list";

const SHARED: &str = "
    {% set ns = namespace(a=[0], t=(0,), d={'k': 0}) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}
    {% set ns.t = (ns.t, ns.t) %}{% set ns.d = {'k': ns.d, 'l': ns.d} %}{% endfor %}
    {% set shared = ns.a %}{% set pairs = ns.t %}{% set table = ns.d %}";

fn huge() -> impl Strategy<Value = String> {
    words(HUGE)
        .prop_map(str::to_owned)
        .prop_recursive(3, 12, 2, |inner| {
            prop_oneof![
                (inner.clone(), words(OPERATORS), inner.clone())
                    .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
                (inner.clone(), words(HUGE_ENDINGS)).prop_map(|(a, end)| format!("({a}{end})")),
                (inner.clone(), inner).prop_map(|(a, b)| format!("[{a}, {b}]")),
            ]
        })
}

/// Expressions that always parse, over values of every kind.
fn expression() -> impl Strategy<Value = String> {
    words(ATOMS)
        .prop_map(str::to_owned)
        .prop_recursive(4, 24, 2, |inner| {
            prop_oneof![
                (inner.clone(), words(OPERATORS), inner.clone())
                    .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
                (inner.clone(), words(ENDINGS)).prop_map(|(a, end)| format!("({a}{end})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} if {b} else {a})")),
                (inner.clone(), inner).prop_map(|(a, b)| format!("[{a}, {{'k': {b}}}]")),
            ]
        })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::Float),
        ".{0,12}".prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            proptest::collection::vec(("[a-z_]{0,7}", inner), 0..3).prop_map(Value::Object),
        ]
    })
}

fn input(x: Value, y: Value) -> TemplateInput {
    let message = Value::object([("role", Value::from("user")), ("content", x.clone())]);
    TemplateInput::new([message, Value::object([("role", y.clone())])])
        .with_extra("x", x)
        .with_extra("y", y)
        .with_extra("s", "aé <b>")
        .with_extra("d", Value::object([("k", Value::Int(1))]))
}

fn try_it(source: &str, input: &TemplateInput) {
    let mut limits = Limits::default();
    limits.steps = 20_000;
    let Ok(template) = ChatTemplate::new(source) else {
        return;
    };
    if let Ok(rendered) = template.with_limits(limits).render_with_mask(input) {
        for span in rendered.assistant {
            assert!(rendered.text.is_char_boundary(span.start), "{source}");
        }
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: ProptestConfig::default().cases.max(1000),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_text_is_safe(source in ".{0,80}", x in value()) {
        try_it(&source, &input(x, Value::Null));
    }

    #[test]
    fn any_pieces_are_safe(picked in proptest::collection::vec(words(PIECES), 0..40), x in value()) {
        try_it(&picked.join(" "), &input(x.clone(), x.clone()));
        try_it(&picked.concat(), &input(x, Value::Null));
    }

    #[test]
    fn any_expression_is_safe(e in expression(), x in value(), y in value()) {
        let source = format!(
            "{{% for i in [1, 2] %}}{{{{ {e} }}}}{{% generation %}}é{{% endgeneration %}}{{% endfor %}}"
        );
        try_it(&source, &input(x, y));
    }

    #[test]
    fn shared_and_huge_values_are_safe(e in huge()) {
        let input = TemplateInput::default().with_extra("x", "a<b>&\n\t aé");
        try_it(&format!("{SHARED}{{{{ {e} }}}}"), &input);
    }

    #[test]
    fn any_json_survives(x in value()) {
        let dump = |x: Value| render("{{ x | tojson }}", &TemplateInput::default().with_extra("x", x));
        let text = dump(x).unwrap();
        prop_assert_eq!(dump(Value::from_json(&text).unwrap()).unwrap(), text);
    }

    #[test]
    fn any_format_is_safe(format in "[ -~é]{0,20}", value in value()) {
        let input = TemplateInput::default()
            .with_extra("f", format.as_str())
            .with_extra("v", value)
            .with_now(DateTime::new(2026, 3, 5).unwrap());
        for source in ["{{ f % v }}", "{{ f.format(v, a=v) }}", "{{ f | format(v) }}", "{{ strftime_now(f) }}"] {
            try_it(source, &input);
        }
    }
}
