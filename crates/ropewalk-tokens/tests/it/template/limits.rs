//! Templates pay for what they do before it is done.

use super::render;
use ropewalk_tokens::template::{ChatTemplate, ErrorKind, Limits, TemplateInput};

/// Renders with few steps, after making values whose parts are shared: 2^60 items in some 500 steps.
fn stops(expression: &str) {
    let source = format!(
        "{{% set ns = namespace(a=[0], b=[0], t=(0,), u=(0,), d={{'k': 0}}) %}}{{% for i in range(60) %}}\
         {{% set ns.a = [ns.a, ns.a] %}}{{% set ns.b = [ns.b, ns.b] %}}{{% set ns.t = (ns.t, ns.t) %}}\
         {{% set ns.u = (ns.u, ns.u) %}}{{% set ns.d = {{'k': ns.d, 'l': ns.d}} %}}{{% endfor %}}\
         {{% set text = 'a' * 100000 %}}{{{{ {expression} }}}}"
    );
    let mut limits = Limits::default();
    limits.steps = 200_000;
    let template = ChatTemplate::new(source).unwrap().with_limits(limits);
    let Err(error) = template.render(&TemplateInput::default()) else {
        panic!("{expression} is rendered");
    };
    assert_eq!(error.kind(), ErrorKind::Limit, "{expression}: {error}");
}

#[test]
fn shared_values_are_never_written_out() {
    for expression in [
        "ns.a",
        "ns",
        "ns.d",
        "ns.a ~ ''",
        "ns.a | string",
        "ns.a | tojson",
        "ns.d | tojson(indent=2, sort_keys=true)",
        "ns.a | pprint",
        "[ns.a] | join",
        "[ns.a, 1] | map('string') | list",
        "ns.a | upper",
        "ns.a | trim",
        "ns.a | replace('a', 'b')",
        "ns.a | urlencode",
        "ns.a | escape",
        "ns.a | safe",
        "ns.a is lower",
        "ns.a is filter",
        "'%s' % (ns.a,)",
        "'%r' % [ns.a]",
        "'{}'.format(ns.a)",
        "'{0!r}'.format(ns.a)",
        "'%s' | format(ns.a)",
        "raise_exception(ns.a)",
        "{}[ns.a]",
        "ns.d.items()",
    ] {
        stops(expression);
    }
}

#[test]
fn shared_values_are_never_compared_in_full() {
    for expression in [
        "ns.a == ns.b",
        "ns.a != ns.b",
        "ns.t < ns.u",
        "ns.a in [ns.b]",
        "ns.a is eq(ns.b)",
        "{ns.t: 1}",
        "{}.get(ns.t)",
        "{'a': 1}[ns.t]",
        "ns.t in {}",
        "[ns.t, ns.u] | unique | list",
        "[ns.t, ns.u] | sort",
        "[ns.t, ns.u] | min",
        "[[ns.t], [ns.u]] | groupby(0)",
        "[ns.a].index(ns.b)",
        "[ns.a].count(ns.b)",
        "dict([[ns.t, 1]])",
    ] {
        stops(expression);
    }
}

/// Namespaces may be filled after they were put into one another, so that no count kept with them is right.
#[test]
fn namespaces_that_share_namespaces_stop() {
    let names: Vec<String> = (0..40).map(|i| format!("n{i}")).collect();
    let mut source = String::new();
    for name in &names {
        source += &format!("{{% set {name} = namespace() %}}");
    }
    for pair in names.windows(2).rev() {
        source += &format!("{{% set {1}.x = [{0}, {0}] %}}", pair[0], pair[1]);
    }
    source += "{{ n39 }}";
    let error = render(&source, &TemplateInput::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
}

#[test]
fn results_are_paid_for_before_they_are_made() {
    for expression in [
        "text | replace('a', text)",
        "text.replace('', text)",
        "range(100000) | join(text)",
        "text.join(range(100000) | map('string'))",
        "('a\n' * 10000) | indent(text)",
        "'a\nb' | indent(99999999999)",
        "range(100000) | list | tojson(indent=text)",
        "[1] | tojson(indent=99999999999)",
        "range(1000) | list | tojson(separators=(text, text))",
        "('a b ' * 100) | wordwrap(1, wrapstring=text)",
        "text | wordwrap(1, wrapstring=text)",
        "'a' | center(10000000)",
        "range(1000) | map('center', 100000) | list | length",
        "'a'.center(10000000)",
        "'a'.ljust(10000000)",
        "'a'.zfill(10000000)",
        "'a\t'.expandtabs(10000000)",
        "('a\t' * 1000).expandtabs(10000)",
        "'%s' % (text * 100)",
        "('{0}' * 1000).format(text)",
        "text * 100",
        "[1] * 1000000",
        "text | list | length",
        "[1] | batch(10000000, 0) | list | length",
        "[1] | slice(10000000) | list | length",
        "(text * 20).split('a') | length",
        "([text] * 1000) | map('length') | list",
        "([text] * 1000) | map('trim') | list",
        "([text] * 1000) | map('int') | list",
        "([text ~ 'b'] * 1000) | select('eq', text ~ 'c') | list",
        "([text] * 1000) | select('in', text) | list",
        "([text] * 1000) | select('lower') | list",
        "([text] * 1000) | sort | length",
        "([text] * 1000) | unique | list",
    ] {
        stops(expression);
    }
}

#[test]
fn huge_counts_mean_what_they_say() {
    for (expression, expected) in [
        ("'abc' | wordwrap(18446744073709551616)", "abc"),
        ("'abc' | wordwrap(-18446744073709551616)", "a\nb\nc"),
        ("'abc' | truncate(18446744073709551616)", "abc"),
        ("'abc' | truncate(18446744073709551618, leeway=0)", "abc"),
        ("'aaa'.replace('a', 'b', 18446744073709551617)", "bbb"),
        ("'abc'[18446744073709551616:]", ""),
        ("'abc'[::-18446744073709551617]", "c"),
        ("'abcd'[::2] ~ 'abcd'[-1:0:-2] ~ 'abcd'[3:1]", "acdb"),
        ("'añc'[-2] ~ 'añc'[1] ~ ('añc'[5] is defined)", "ññFalse"),
        ("'a,a'.split(',', 18446744073709551616)", "['a', 'a']"),
        (
            "99999999999999999999999999999999999999 | round(-38)",
            "100000000000000000000000000000000000000",
        ),
        (
            "-99999999999999999999999999999999999999 | round(-38)",
            "-100000000000000000000000000000000000000",
        ),
        ("50000000000000000000000000000000000000 | round(-38)", "0"),
        ("99999999999999999999999999999999999999 | round(-39)", "0"),
        ("15 | round(-1) ~ 25 | round(-1)", "2020"),
    ] {
        let source = format!("{{{{ {expression} }}}}");
        let text = render(&source, &TemplateInput::default());
        assert_eq!(text.as_deref(), Ok(expected), "{expression}");
    }
    for expression in [
        "'%*d' % (18446744073709551616, 1)",
        "'%.*f' % (18446744073709551616, 1)",
        "'%18446744073709551616d' % 1",
        "'a'.ljust(18446744073709551616)",
        "'' * 18446744073709551616 ~ 'a' * 18446744073709551616",
        "[1] | batch(1) | list ~ ([1] * 18446744073709551616)",
    ] {
        let source = format!("{{{{ {expression} }}}}");
        let error = render(&source, &TemplateInput::default()).expect_err(expression);
        assert_eq!(error.kind(), ErrorKind::Limit, "{expression}: {error}");
    }
}

/// Tags and comments are taken out as `markupsafe` does, in one pass.
#[test]
fn stripping_tags_takes_one_pass() {
    for (text, expected) in [
        ("a<b>c</b> <!-- <x> --> d", "ac d"),
        ("<<!-- -->!-- x -->y", "y"),
        ("a<!-->b-->c", "ab-->c"),
        ("a<!--->b", "ab"),
        ("a<!-- b", "a<!-- b"),
        ("a<b", "a<b"),
        ("<!-- 1 --><!-- 2 -->-->", "-->"),
    ] {
        let input = TemplateInput::default().with_extra("x", text);
        assert_eq!(
            render("{{ x | striptags }}", &input).as_deref(),
            Ok(expected),
            "{text}"
        );
    }
    for unit in ["<b>", "<!---->", "<", "<!--", "-"] {
        let input = TemplateInput::default().with_extra("x", unit.repeat((1 << 20) / unit.len()));
        assert!(
            render("{{ x | striptags | length }}", &input).is_ok(),
            "{unit}"
        );
    }
}

#[test]
fn long_literals_and_formats_are_read_in_linear_time() {
    let pieces = "'aaaaaaaaaaaaaaaa' ".repeat(100_000);
    let text = render(&format!("{{{{ {pieces} }}}}"), &TemplateInput::default()).unwrap();
    assert_eq!(text.len(), 1_600_000);
    let source = "{{ ('{0:' ~ '0' * 500000 ~ 'd}').format(1) ~ ('%%' * 500000 % {}) | length }}";
    assert_eq!(
        render(source, &TemplateInput::default()).unwrap(),
        "1500000"
    );
}

#[test]
fn names_are_looked_through_at_a_price() {
    let sets: String = (0..5000).map(|i| format!("{{% set a{i} = 1 %}}")).collect();
    let source = format!("{sets}{{% for i in range(5000) %}}{{{{ a0 ~ i }}}}{{% endfor %}}");
    let mut limits = Limits::default();
    limits.steps = 1_000_000;
    let template = ChatTemplate::new(source).unwrap().with_limits(limits);
    let error = template.render(&TemplateInput::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
}

/// Namespaces and the scopes of macros live until the end, so they cost more than the step that makes one.
#[test]
fn what_is_kept_to_the_end_has_its_price() {
    for source in [
        "{% for i in range(10000) %}{% set x = namespace(a=1) %}{% endfor %}",
        "{% for i in range(10000) %}{% macro m() %}{% endmacro %}{% endfor %}",
        "{% for i in range(10000) %}{% set x = 0.1 | round(300) %}{% endfor %}",
    ] {
        let mut limits = Limits::default();
        limits.steps = 300_000;
        let template = ChatTemplate::new(source).unwrap().with_limits(limits);
        let error = template.render(&TemplateInput::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{source}");
    }
}

/// Defining macros in a loop and asking for `loop` in lists costs as much in every round.
#[test]
fn loops_do_not_slow_down() {
    let source = "{% for i in range(100000) %}{% macro m() %}{% endmacro %}{% set x = [loop] %}{% endfor %}ok";
    assert_eq!(render(source, &TemplateInput::default()).unwrap(), "ok");
}
