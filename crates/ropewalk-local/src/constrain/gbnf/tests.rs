use super::to_lark;
use crate::Error;

fn problem(grammar: &str) -> String {
    to_lark(grammar).unwrap_err().to_string()
}

#[test]
fn a_grammar_without_recursion_is_one_terminal() {
    let found =
        to_lark("root ::= \"ab\" [a-c\\n]{2,3} tail? # end\ntail ::= \"x\" | \"y\"\n").unwrap();
    assert_eq!(
        found,
        "start: R0\n\
         R0: (\"ab\" (/[\\u{61}-\\u{63}\\u{A}]/){2,3} (R1)?)\n\
         R1: (\"x\" | \"y\")\n"
            .replace("(\"ab\"", "((\"ab\")")
    );
    assert!(
        to_lark("root ::= \"a\"*")
            .unwrap()
            .starts_with("start: R0?\n")
    );
}

#[test]
fn a_recursive_grammar_has_one_terminal_for_each_character() {
    let found = to_lark("root ::= \"ab\" root | unused-not\nunused-not ::= [^\"]\nother ::= \"z\"")
        .unwrap();
    assert_eq!(
        found,
        "start: r0\nr0: (((\"a\" \"b\") r0) | r1)\nr1: /[^\\u{22}]/\n"
    );
}

#[test]
fn errors_name_line_and_column() {
    for (grammar, expected) in [
        ("root = \"a\"", "line 1, column 6: `::=` is missing"),
        (
            "root ::= \"a\nb ::= \"c\"",
            "line 1, column 12: the closing `\"` is missing",
        ),
        ("root ::= [a\n", "column 12: the closing `]` is missing"),
        ("root ::= (\"a\" | \"b\"\n", "`)` is missing"),
        (
            "root ::= \"a\"\n  ::= b",
            "line 2, column 3: the name of a rule is missing",
        ),
        ("root ::= \"\\q\"", "unknown escape"),
        ("root ::= \"\\uD800\"", "4 hexadecimal digits"),
        ("root ::= [z-a]", "ends below its beginning"),
        ("root ::= \"a\"{3,2}", "ends below its beginning"),
        ("root ::= []", "matches nothing"),
        ("root ::= <[7]>", "token literals"),
        ("root ::= $", "begins no part"),
        ("root ::= \"a\" root ::= \"b\"", "line 1, column 19"),
        ("a ::= \"b\"", "no rule `root`"),
        ("root ::= b", "rule root uses b"),
        ("root ::= \"a\"\nroot ::= \"b\"", "defined twice"),
    ] {
        let found = problem(grammar);
        assert!(found.contains(expected), "{grammar:?}: {found}");
    }
}

#[test]
fn what_never_ends_and_what_is_too_large_have_errors_of_their_own() {
    let endless = to_lark("root ::= \"a\" root | \"b\" c\nc ::= root \"d\"");
    assert!(matches!(endless, Err(Error::Unsatisfiable { .. })));
    assert!(to_lark("root ::= \"a\" root | \"\"").is_ok());
    let large = to_lark("root ::= \"a\"{1,100000}");
    assert!(matches!(large, Err(Error::GrammarSize { .. })));
    let many: String = (0..3_000).map(|i| format!("r{i} ::= \"a\"\n")).collect();
    let many = to_lark(&format!("root ::= r1\n{many}"));
    assert!(matches!(many, Err(Error::GrammarSize { .. })));
}
