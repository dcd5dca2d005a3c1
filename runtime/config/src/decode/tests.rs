use std::num::NonZeroUsize;

use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Shape {
    Square,
    Circle(f32),
    Box { width: u8, height: u8 },
}

fn two() -> usize {
    2
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Inner {
    a: usize,
    b: bool,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Outer {
    #[serde(default = "two")]
    count: usize,
    rate: f32,
    name: Option<String>,
    shape: Shape,
    size: Option<[usize; 2]>,
    #[serde(default)]
    inner: Vec<Inner>,
    above: Option<NonZeroUsize>,
}

fn node(json: &serde_json::Value) -> Node {
    use serde_json::Value;
    match json {
        Value::Null => Node::Null,
        Value::Bool(value) => Node::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Node::Int(value),
            (None, Some(value)) => Node::UInt(value),
            _ => Node::Float(number.as_f64().expect("a number")),
        },
        Value::String(text) => Node::Text(text.clone()),
        Value::Array(items) => Node::List(items.iter().map(node).collect()),
        Value::Object(entries) => {
            Node::Map(entries.iter().map(|(key, value)| (key.clone(), node(value))).collect())
        }
    }
}

fn read(json: &serde_json::Value) -> Result<Outer, Vec<String>> {
    let mut problems = Problems::new();
    let base = Path(vec!["x".to_owned()]);
    let value = decode::<Outer>(&node(json), &base, &mut problems);
    value.ok_or_else(|| {
        problems
            .into_iter()
            .map(|p| {
                let key = if p.on_key { " (key)" } else { "" };
                let help = p.help.map(|help| format!("; {help}")).unwrap_or_default();
                format!("{}{key}: {}{help}", p.path, p.message)
            })
            .collect()
    })
}

use serde_json::json;

#[test]
fn values_and_defaults_are_read() {
    let outer = read(&json!({
        "rate": 1, "shape": "square", "size": [3, 4], "inner": [{"a": 1, "b": true}], "above": null,
    }));
    let expected = Outer {
        count: 2,
        rate: 1.0,
        name: None,
        shape: Shape::Square,
        size: Some([3, 4]),
        inner: vec![Inner { a: 1, b: true }],
        above: None,
    };
    assert_eq!(outer, Ok(expected));
}

#[test]
fn enums_are_read_by_text_and_by_key() {
    let shape = |json| read(&json!({"rate": 1, "shape": json})).map(|outer| outer.shape);
    assert_eq!(shape(json!({"square": null})), Ok(Shape::Square));
    assert_eq!(shape(json!({"square": {}})), Ok(Shape::Square));
    assert_eq!(shape(json!({"circle": 2.5})), Ok(Shape::Circle(2.5)));
    assert_eq!(
        shape(json!({"box": {"width": 1, "height": 2}})),
        Ok(Shape::Box { width: 1, height: 2 })
    );
    assert_eq!(
        shape(json!("sqare")),
        Err(vec!["x.shape: there is no `sqare` for `shape`; did you mean `square`?".to_owned()])
    );
    assert_eq!(
        shape(json!({"line": 1})),
        Err(vec![
            "x.shape.line (key): there is no `line` for `shape`; \
             known are `square`, `circle`, `box`"
                .to_owned()
        ])
    );
    assert_eq!(
        shape(json!({"box": {"width": 256}})),
        Err(vec![
            "x.shape.box.width: expected a whole number from 0 to 255 for `shape.box.width`, \
             found `256`"
                .to_owned(),
            "x.shape.box (key): the field `height` is missing".to_owned(),
        ])
    );
    assert_eq!(
        shape(json!({"square": 3})),
        Err(vec!["x.shape.square: expected no fields for `shape.square`, found `3`".to_owned()])
    );
    assert_eq!(
        shape(json!([])),
        Err(vec![
            "x.shape: expected one of `square`, `circle`, `box` for `shape`, found a list"
                .to_owned()
        ])
    );
}

#[test]
fn all_problems_are_found_at_once() {
    let found = read(&json!({
        "count": 3.5, "name": [], "szie": 1, "size": [1],
        "inner": [{"a": -1, "b": "no"}, {"a": 1, "c": 2}], "above": 0,
    }))
    .expect_err("it is all wrong");
    let expected = [
        "x.count: expected a whole number for `count`, found `3.5`",
        "x.name: expected text for `name`, found a list",
        "x.szie (key): there is no field `szie`; did you mean `size`?",
        "x.size: expected a list of 2 for `size`, found a list of 1",
        "x.inner.0.a: expected a whole number, 0 or above for `inner.0.a`, found `-1`",
        "x.inner.0.b: expected `true` or `false` for `inner.0.b`, found \"no\"",
        "x.inner.1.c (key): there is no field `c`; did you mean `a`?",
        "x.inner.1 (key): the field `b` is missing",
        "x.above: expected a whole number above 0 for `above`, found `0`",
        "x (key): the field `rate` is missing",
        "x (key): the field `shape` is missing",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_body_of_another_type_is_told_once() {
    assert_eq!(
        read(&json!([1])),
        Err(vec!["x: expected a map of fields, found a list".to_owned()])
    );
    assert_eq!(
        read(&json!({"rate": f64::MAX, "shape": "square"})),
        Err(vec![format!(
            "x.rate: expected a number that 32 bits can hold, 0 or from 1.2e-38 to 3.4e38 in size \
             for `rate`, found `{}`",
            f64::MAX
        )])
    );
}

#[test]
fn not_a_number_is_no_number() {
    let mut problems = Problems::new();
    assert_eq!(decode::<f64>(&Node::Float(f64::NAN), &Path::default(), &mut problems), None);
    assert_eq!(problems[0].message, "expected a number, found `NaN`");
}

fn of_text<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let node = match crate::yaml::Document::parse(&format!("- {text}")) {
        Ok(document) => match document.node() {
            Node::List(items) => items[0].clone(),
            other => panic!("{other:?}"),
        },
        Err(error) => return Err(error.message),
    };
    let mut problems = Problems::new();
    decode(&node, &Path::default(), &mut problems).ok_or_else(|| {
        let Problem { message, help, .. } = problems.remove(0);
        format!("{message}; {}", help.unwrap_or_default())
    })
}

#[test]
fn a_whole_number_may_be_written_as_any_number() {
    for (text, expected) in
        [("1e3", 1000), ("16.0", 16), ("1.5e3", 1500), ("+7", 7), ("0x10", 16), ("12.50E+2", 1250)]
    {
        assert_eq!(of_text::<u64>(text), Ok(expected), "{text}");
        assert_eq!(of_text::<f64>(text), Ok(expected as f64), "{text}");
    }
    assert_eq!(of_text::<u64>("9007199254740993.0"), Ok(9_007_199_254_740_993));
    assert_eq!(of_text::<u64>("1.8446744073709551615e19"), Ok(u64::MAX));
    for text in ["1.50", "15e-1", "1.8446744073709551616e19", ".inf", "1e300"] {
        let told = of_text::<u64>(text).expect_err(text);
        assert_eq!(told, format!("expected a whole number, found `{text}`; "));
    }
    let told = of_text::<u8>("1e3").expect_err("too large");
    assert_eq!(told, "expected a whole number from 0 to 255, found `1e3`; ");
}

#[test]
fn text_is_taken_as_it_is_written() {
    let names = "[0x10, 0o17, +1, -1, 1e3, 010, 1.50, True, no, 1_000, 2024-01-02, .inf, 7]";
    let expected: Vec<&str> = names.trim_matches(['[', ']']).split(", ").collect();
    let expected = expected.into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(of_text::<Vec<String>>(names), Ok(expected));
    for text in ["[a, ~]", "[a, null]"] {
        let told = of_text::<Vec<String>>(text).expect_err(text);
        assert!(told.starts_with("expected text for `1`, found nothing; `~`, `null`"), "{told}");
    }
    assert_eq!(of_text::<Option<String>>("~"), Ok(None));
}

#[test]
fn numbers_fit_32_bits() {
    for text in ["1e39", "-1e308", "1e-39", "-1e-320", "3.5e38"] {
        let expected = format!("found `{text}`; ");
        for told in [
            of_text::<f64>(text).expect_err(text),
            of_text::<f32>(text).expect_err(text),
            of_text::<serde_json::Value>(text).expect_err(text),
        ] {
            assert!(told.starts_with("expected a number that 32 bits can hold"), "{told}");
            assert!(told.ends_with(&expected), "{told}");
        }
    }
    for (text, value) in [("3e38", 3e38), ("-1.2e-38", -1.2e-38), ("-0.0", 0.0), ("0e9", 0.0)] {
        assert_eq!(of_text::<f64>(text), Ok(value));
    }
}
