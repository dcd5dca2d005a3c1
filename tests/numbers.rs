//! Numbers that 32 bits cannot hold: refused in every field of every kind, when a pipeline is checked.

mod common;

use std::fs;

use config::decode::Problems;
use config::node::{Node, Path};
use config::yaml::Document;
use flow::plan::{Plan, settings_schema};
use flow::stage::{Kind, RunSettings};
use serde_json::Value;

use common::{finish, runtime};

/// A field that takes numbers: the keys that lead to it, and the YAML of a body with a number in it.
struct Field {
    path: Vec<String>,
    yaml: String,
}

/// All fields of a schema that take a number, real or whole.
fn numeric(schema: &Value) -> Vec<Field> {
    let mut found = Vec::new();
    collect(schema, schema, &mut Vec::new(), &|inner| inner.to_owned(), 0, &mut found);
    found
}

fn collect(
    root: &Value,
    schema: &Value,
    path: &mut Vec<String>,
    around: &dyn Fn(&str) -> String,
    depth: usize,
    found: &mut Vec<Field>,
) {
    if depth > 12 {
        return;
    }
    if let Some(target) = schema["$ref"].as_str() {
        let target = root.pointer(target.trim_start_matches('#')).expect("a definition");
        return collect(root, target, path, around, depth + 1, found);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        of => of.as_str().into_iter().collect(),
    };
    // Where a name may stand, a number is one.
    let is_number = types.contains(&"number") || types.contains(&"integer");
    if is_number && !types.contains(&"string") {
        found.push(Field { path: path.clone(), yaml: around("NUMBER") });
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        for choice in schema[key].as_array().into_iter().flatten() {
            collect(root, choice, path, around, depth + 1, found);
        }
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        path.push(name.clone());
        let inside = |inner: &str| around(&format!("{{ {name}: {inner} }}"));
        collect(root, field, path, &inside, depth + 1, found);
        path.pop();
    }
    if types.contains(&"array") {
        let item = schema["prefixItems"].get(0).unwrap_or(&schema["items"]);
        let count = schema["minItems"].as_u64().unwrap_or(1).max(1);
        path.push("0".to_owned());
        let inside = |inner: &str| {
            let rest = ", 1".repeat(count as usize - 1);
            around(&format!("[{inner}{rest}]"))
        };
        collect(root, item, path, &inside, depth + 1, found);
        path.pop();
    }
}

/// Numbers that no field takes.
const NEVER: [&str; 7] = ["1e39", "-1e39", "1e308", "1e-39", "-1e-320", ".inf", ".nan"];

/// Whether something is said of the number at this place.
fn told(problems: &Problems, path: &[String], number: &str) -> bool {
    let found = format!("found `{number}`");
    problems.iter().any(|problem| problem.path.0 == *path && problem.message.contains(&found))
}

fn parse(kind: &Kind, yaml: &str) -> Problems {
    let document = Document::parse(&format!("body: {yaml}")).expect("YAML");
    let body = document.node().get("body").unwrap_or(&Node::Null);
    let mut problems = Problems::new();
    let _ = (kind.parse)(body, &Path::default(), &mut problems);
    problems
}

#[test]
fn no_field_takes_a_number_that_32_bits_cannot_hold() {
    let kinds = stages::kinds(&stages::Catalog::default());
    let mut count = 0;
    for kind in &kinds {
        for Field { path, yaml } in numeric(kind.schema.as_value()) {
            for number in NEVER {
                let problems = parse(kind, &yaml.replace("NUMBER", number));
                assert!(
                    told(&problems, &path, number),
                    "{} {yaml}, {number}: {problems:?}",
                    kind.name
                );
            }
            count += 1;
        }
        for part in &kind.parts {
            for Field { path, yaml } in numeric(part.schema.as_value()) {
                let path =
                    [&["layers".to_owned(), "0".to_owned(), part.name.to_owned()], &*path].concat();
                for number in NEVER {
                    let yaml = yaml.replace("NUMBER", number);
                    let problems =
                        parse(kind, &format!("{{ layers: [{{ {}: {yaml} }}] }}", part.name));
                    assert!(told(&problems, &path, number), "{yaml}: {problems:?}");
                }
                count += 1;
            }
        }
    }
    for Field { yaml, .. } in numeric(settings_schema().as_value()) {
        for number in NEVER {
            let yaml = yaml.replace("NUMBER", number);
            let text = format!(
                "{}stages: {{}}\n",
                yaml.trim_matches(['{', '}', ' ']).to_owned()
                    + &"}".repeat(yaml.matches('{').count() - 1)
                    + "\n"
            );
            let Err(errors) = Plan::load(&kinds, "p.yaml", &text, &[], &RunSettings::default())
            else {
                panic!("{text} is taken");
            };
            let found = format!("found `{number}`");
            assert!(
                errors.iter().any(|error| error.message.contains(&found)),
                "{text}: {errors:?}"
            );
        }
        count += 1;
    }
    // As many as there are, or the schema is not understood any more.
    assert!(count > 90, "{count} fields");
}

#[test]
fn check_refuses_what_would_diverge_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipeline = "
steps: 1
adapter: cpu
stages:
  read: { reader: { format: { synthetic: { train: 32 } }, split: train } }
  distort: { from: read, distorter: {} }
  colour: { from: distort, color_jitter: {} }
  cover: { from: colour, cutout: { size_px: 4, fill: 0 } }
  scale: { from: cover, normalizer: { mean: 127, deviation: 64 } }
  batch: { from: scale, batcher: { size: 8 } }
  net:
    from: batch
    model:
      layers:
        - conv2d: { channels: 4, kernel: 3, weights: { truncated_normal: 0.1 } }
        - batch_norm: {}
        - group_norm: { groups: 2 }
        - dense: { units: 10, weight_decay: 0.001 }
        - softmax_cross_entropy: {}
  train: { from: net, reducer: { optimizer: { adam: {} }, learning_rate: 0.001 } }
";
    fs::write(folder.path().join("p.yaml"), pipeline).expect("written");
    let check = |set: &str| {
        let ran = finish(runtime(folder.path(), &["check", "p.yaml", "--set", set]));
        (ran.status, ran.told)
    };
    assert_eq!(check("steps=1").0, Some(0));
    let layers = "stages.net.model.layers";
    for set in [
        format!("{layers}.0.conv2d.biases.constant=1e39"),
        format!("{layers}.0.conv2d.weights.truncated_normal=1e308"),
        format!("{layers}.0.conv2d.weights.truncated_normal=1e-320"),
        format!("{layers}.0.conv2d.weight_decay=1e39"),
        format!("{layers}.1.batch_norm.epsilon=1e-50"),
        format!("{layers}.1.batch_norm.momentum=.nan"),
        format!("{layers}.2.group_norm.epsilon=1e-50"),
        format!("{layers}.2.group_norm.weight_decay=1e-46"),
        format!("{layers}.3.dense.weight_decay=1e-46"),
        "stages.distort.distorter.contrast.upper=1e308".to_owned(),
        "stages.distort.distorter.brightness.max_delta=1e308".to_owned(),
        "stages.colour.color_jitter.saturation.upper=1e39".to_owned(),
        "stages.cover.cutout.fill=1e39".to_owned(),
        "stages.scale.normalizer.mean=1e308".to_owned(),
        "stages.scale.normalizer.mean=[1, 1, -1e39]".to_owned(),
        "stages.scale.normalizer.deviation=1e308".to_owned(),
        "stages.scale.normalizer.deviation=1e-310".to_owned(),
        "stages.train.reducer.optimizer.adam.epsilon=1e-60".to_owned(),
        "stages.train.reducer.learning_rate=1e308".to_owned(),
        "stages.train.reducer.learning_rate=1e-300".to_owned(),
    ] {
        let (status, told) = check(&set);
        assert_eq!(status, Some(2), "{set}: {told}");
        let is_number =
            told.contains("a number that 32 bits can hold") || told.contains("a number for");
        assert!(is_number && told.contains("command line:1:"), "{set}: {told}");
    }
    // Each fits, and what becomes of both does not.
    fs::write(
        folder.path().join("p.yaml"),
        pipeline.replace("mean: 127, deviation: 64", "mean: 1e30, deviation: 1e-30"),
    )
    .expect("written");
    let (status, told) = check("steps=1");
    assert_eq!(status, Some(2), "{told}");
    assert!(told.contains("is beyond what 32 bits hold"), "{told}");
}
