//! The calculator against known values, a reference and garbage.

use futures_executor::block_on;
use proptest::prelude::*;
use ropewalk_core::testing::{self, ToolSuite};
use ropewalk_core::{Effect, Tool, ToolContext, ToolError, Trust};
use ropewalk_tools::builtin::Calculator;
use ropewalk_tools::builtin::calculator::{Number, evaluate};

#[test]
fn computes() {
    let cases = [
        ("1+2*3", "7"),
        ("(1+2)*3", "9"),
        ("2^3^2", "512"),
        ("2**10", "1024"),
        ("-2^2", "-4"),
        ("2^-1", "0.5"),
        ("(-2)^2", "4"),
        ("- -3", "3"),
        ("+5 - -5", "10"),
        ("0.1 + 0.2", "0.3"),
        ("19.99*3", "59.97"),
        ("1e3 + 1E-2", "1000.01"),
        ("7 % 4", "3"),
        ("-7 % 4", "-3"),
        ("7.5 % 2", "1.5"),
        ("10 / 4", "2.5"),
        ("1/3", "0.333333333333333"),
        ("1/3*3", "1"),
        ("12 ÷ 4 × 5 − 1", "14"),
        ("9007199254740993 + 0", "9007199254740993"),
        ("2^120 + 1", "1329227995784915872903807060280344577"),
        ("2^200", "1.60693804425899e60"),
        ("10^-9", "0.000000001"),
        ("sqrt(16)", "4"),
        ("sqrt(2.25)", "1.5"),
        ("sqrt(2)", "1.4142135623731"),
        ("sqrt(2)^2", "2"),
        ("SQRT(abs(-9))", "3"),
        ("min(3, 1, 2) + max(4; 7)", "8"),
        ("round(2.5)", "3"),
        ("round(-2.5)", "-3"),
        ("round(2.345, 2)", "2.35"),
        ("round(100*sqrt(2), 3)", "141.421"),
        ("round(1e30)", "1000000000000000000000000000000"),
        ("floor(-1.5) + ceil(1.2)", "0"),
        ("ln(e^2)", "2"),
        ("log10(1000) + log2(8)", "6"),
        ("exp(0)", "1"),
        ("cos(pi)", "-1"),
        ("sin(tau / 4)", "1"),
        ("round(tan(pi/4), 10)", "1"),
        ("0^0", "1"),
        ("-0.0", "0"),
        ("1.e2", "100"),
        (".5", "0.5"),
        ("2e", ""),
    ];
    for (expression, expected) in cases {
        let found = evaluate(expression).map(|v| v.to_string());
        match expected {
            "" => assert!(found.is_err(), "{expression} {found:?}"),
            _ => assert_eq!(found.as_deref(), Ok(expected), "{expression}"),
        }
    }
    assert_eq!(evaluate("6/3").unwrap().as_whole(), Some(2));
    assert!(evaluate("1/3").unwrap().is_exact() && !evaluate("pi").unwrap().is_exact());
}

#[test]
fn says_where_and_what() {
    let cases = [
        ("", "at character 1: the expression ends too early"),
        ("1 +", "at character 4: the expression ends too early"),
        ("1 / 0", "at character 3: division by zero"),
        ("5 % (1-1)", "at character 3: division by zero"),
        ("0^-1", "at character 2: division by zero"),
        (
            "1,299 * 2",
            "at character 2: unexpected `,`; write numbers without separators",
        ),
        ("(1 + 2", "at character 1: this parenthesis is never closed"),
        (
            "1 + 2)",
            "at character 6: unexpected `)`; no parenthesis is open",
        ),
        (
            "2(3)",
            "at character 2: unexpected `(`; is an operator missing?",
        ),
        (
            "2 pi",
            "at character 3: unexpected `p`; is an operator missing?",
        ),
        ("(* 2)", "at character 2: unexpected '*'"),
        ("max(, 2)", "at character 5: a number is missing before `,`"),
        (
            "1.2.3",
            "at character 4: unexpected `.`; is an operator missing?",
        ),
        (".", "at character 1: a number needs digits"),
        (
            "äö",
            "at character 1: unexpected `ä`; is an operator missing?",
        ),
        ("3 × ÷", "at character 5: unexpected '÷'"),
        (
            "sqrt(-1)",
            "at character 1: sqrt of a negative number is undefined",
        ),
        (
            "1 + ln(0)",
            "at character 5: ln of what is not above 0 is undefined",
        ),
        (
            "(-8)^(1/3)",
            "at character 5: a negative number has no real power with a broken exponent",
        ),
        ("10^400", "at character 3: the result is too large"),
        ("exp(1000)", "at character 1: the result is too large"),
        ("1e999", "at character 1: the result is too large"),
        (
            "log(2)",
            "at character 1: `log` is ambiguous; write ln, log10 or log2",
        ),
        ("sin(1, 2)", "at character 1: sin does not take 2 arguments"),
        (
            "round(1, 1.5)",
            "at character 1: the second argument of round is digits, 0 to 30",
        ),
        (
            "2 + cash",
            "at character 5: unknown name `cash`; there are pi, e, tau and sqrt",
        ),
        (
            "system(1)",
            "at character 1: unknown function `system`; there are sqrt",
        ),
    ];
    for (expression, expected) in cases {
        let error = evaluate(expression).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{expression}: {error}");
    }
}

#[test]
fn limits_hold() {
    let nested = |n: usize| format!("{}1{}", "(".repeat(n), ")".repeat(n));
    assert!(evaluate(&nested(100)).is_ok());
    for deep in [
        nested(101),
        "-".repeat(500) + "1",
        "2^".repeat(300) + "1",
        "abs(".repeat(400),
    ] {
        let error = evaluate(&deep).unwrap_err();
        assert_eq!(error.problem, "the expression is nested deeper than 100");
    }
    let error = evaluate(&"1+".repeat(1_000_000)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "at character 1: the expression has 2000000 bytes; at most 2000 are read"
    );
    let many = format!("max({}1)", "1,".repeat(500));
    assert_eq!(
        evaluate(&many).unwrap_err().problem,
        "more than 200 arguments"
    );
}

#[test]
fn is_a_tool() {
    let tool = Calculator::new();
    let suite = ToolSuite::new(r#"{"expression": "1 + 1"}"#);
    block_on(testing::tool(&tool, &suite))
        .into_result()
        .unwrap();
    assert_eq!(
        (tool.spec().name.as_str(), tool.effect()),
        ("calculator", Effect::Read)
    );
    let call = |arguments: &str| block_on(tool.call(arguments, &ToolContext::default()));
    let output = call(r#"{"expression": "2^0.5"}"#).unwrap();
    assert_eq!(output.content[0].as_text(), Some("1.4142135623731"));
    assert_eq!(output.structured.unwrap()["value"], 2_f64.sqrt());
    assert_eq!(output.trust, Trust::Trusted);
    let error = call(r#"{"expression": "1/0"}"#).unwrap_err();
    assert_eq!(error.to_string(), "at character 2: division by zero");
    assert!(matches!(
        call("{}").unwrap_err(),
        ToolError::InvalidArguments(_)
    ));
    assert!(matches!(
        call(r#"{"expr": "1"}"#).unwrap_err(),
        ToolError::InvalidArguments(_)
    ));
}

/// An expression and what it is, by another way of computing.
#[derive(Debug, Clone)]
struct Case {
    text: String,
    /// `None` when something overflows or divides by 0 on the way.
    exact: Option<i128>,
    float: f64,
    /// The largest magnitude on the way, which bounds what cancellation can do.
    size: f64,
}

fn whole() -> impl Strategy<Value = Case> {
    let leaf = (0_i64..100_000).prop_map(|n| Case {
        text: n.to_string(),
        exact: Some(i128::from(n)),
        float: n as f64,
        size: n as f64,
    });
    leaf.prop_recursive(6, 64, 2, |inner| {
        let pair = (inner.clone(), inner.clone(), 0..5_usize);
        let binary = pair.prop_map(|(a, b, operator)| {
            let exact = a.exact.zip(b.exact).and_then(|(x, y)| match operator {
                0 => x.checked_add(y),
                1 => x.checked_sub(y),
                2 => x.checked_mul(y),
                3 => x.checked_rem(y),
                _ => Some(x.max(y)),
            });
            let text = match operator {
                4 => format!("max({}, {})", a.text, b.text),
                n => format!("({} {} {})", a.text, ["+", "-", "*", "%"][n], b.text),
            };
            Case { text, exact, ..a }
        });
        let negated = inner.prop_map(|a| Case {
            text: format!("-({})", a.text),
            exact: a.exact.and_then(i128::checked_neg),
            ..a
        });
        prop_oneof![4 => binary, 1 => negated]
    })
}

fn real() -> impl Strategy<Value = Case> {
    let leaf = (0..1_000_000_i64, 0..5_i32).prop_map(|(n, digits)| {
        let float = n as f64 / 10_f64.powi(digits);
        Case {
            text: format!("{n}e-{digits}"),
            exact: None,
            float,
            size: float,
        }
    });
    leaf.prop_recursive(5, 40, 2, |inner| {
        let pair = (inner.clone(), inner.clone(), 0..4_usize);
        let binary = pair.prop_map(|(a, b, operator)| {
            let float = match operator {
                0 => a.float + b.float,
                1 => a.float - b.float,
                2 => a.float * b.float,
                _ => a.float / b.float,
            };
            // A product or quotient carries the error of each side times the other.
            let size = match operator {
                2 => a.size * b.size,
                3 => a.size / b.float.abs() * (b.size / b.float.abs()).max(1.0),
                _ => a.size.max(b.size),
            };
            let operator = ["+", "-", "*", "/"][operator];
            let text = format!("({}{operator}{})", a.text, b.text);
            Case {
                text,
                exact: None,
                float,
                size: size.max(float.abs()),
            }
        });
        let unary = (inner, 0..3_usize).prop_map(|(a, function)| {
            let float = match function {
                0 => a.float.abs(),
                1 => a.float.sin(),
                _ => a.float.abs().sqrt(),
            };
            let text = match function {
                0 => format!("abs({})", a.text),
                1 => format!("sin({})", a.text),
                _ => format!("sqrt(abs({}))", a.text),
            };
            // The root of what cancellation left of nothing is larger than it.
            let size = if function == 2 {
                a.size.max(1e8 * a.size.sqrt())
            } else {
                a.size
            };
            Case {
                text,
                exact: None,
                float,
                size: size.max(1.0),
            }
        });
        prop_oneof![3 => binary, 1 => unary]
    })
}

proptest! {
    #[test]
    fn agrees_with_whole_numbers(case in whole()) {
        if let Some(expected) = case.exact {
            prop_assert_eq!(evaluate(&case.text).map(Number::as_whole), Ok(Some(expected)));
        }
    }

    #[test]
    fn agrees_with_floats(case in real()) {
        match evaluate(&case.text) {
            Ok(value) if case.size.is_finite() => {
                let difference = (value.as_f64() - case.float).abs();
                prop_assert!(difference <= 1e-9 * case.size.max(1e-3), "{} {}: {}", value, case.float, case.text);
            }
            Ok(_) => {}
            // Exactly, a divisor may be 0 where floats leave a remnant.
            Err(error) => prop_assert_eq!(error.problem, "division by zero"),
        }
    }

    #[test]
    fn never_panics(text in "[0-9a-z+*/%^().,;:eE× −-]{0,60}|\\PC{0,40}") {
        if let Ok(value) = evaluate(&text) {
            prop_assert!(value.as_f64().is_finite());
        }
    }

    #[test]
    fn functions_never_panic(
        name in prop::sample::select(vec!["sqrt", "abs", "min", "max", "round", "floor", "ceil", "ln", "log10", "exp", "tan", ""]),
        a in any::<i128>(),
        b in any::<i128>(),
        c in any::<f64>(),
    ) {
        let mut texts = Vec::new();
        for operator in ["+", "-", "*", "/", "%", "^", ","] {
            texts.push(format!("{name}({a}{operator}{b})"));
            texts.push(format!("{name}({c:e}{operator}{a})"));
            texts.push(format!("{name}({a}e-30{operator}{b}e-20)"));
        }
        for text in texts {
            if let Ok(value) = evaluate(&text) {
                prop_assert!(value.as_f64().is_finite(), "{}", text);
            }
        }
    }

    #[test]
    fn what_is_written_is_read_again(n in any::<i64>(), digits in 0..15_i32) {
        let value = evaluate(&format!("{n}e-{digits}")).unwrap();
        prop_assert!(value.is_exact());
        prop_assert_eq!(evaluate(&value.to_string()).unwrap(), value);
    }
}
