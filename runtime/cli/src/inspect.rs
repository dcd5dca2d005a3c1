//! `runtime inspect`: one kind of stage, or one part of a stage.

use clap::Args;
use schemars::Schema;

use super::App;
use super::fields::{fields, fields_of, paragraphs};
use super::nested::{self, Nested};
use super::output::{Failure, indent, print};
use config::suggest;

const EXAMPLES: &str = "\
Examples:
  runtime inspect cropper
  runtime inspect conv2d
  runtime inspect piecewise";

/// Shows what a kind of stage, a layer, a schedule, an optimiser or a format does, and its fields with
/// types and defaults.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The kind, as `runtime list` shows it, or what stands inside of one: `piecewise`, `adam`.
    kind: String,
}

pub(super) fn inspect(app: &App, arguments: &Arguments) -> Result<(), Failure> {
    let mut text = String::new();
    let mut known = Vec::new();
    for kind in &app.kinds {
        known.push(kind.name);
        if kind.name == arguments.kind {
            let parts: Vec<&str> = kind.parts.iter().map(|part| part.name).collect();
            text += &describe("a stage", kind.name, kind.about, kind.example, &kind.schema);
            if !parts.is_empty() {
                text += &format!("\nInside it: {}\n", suggest::list(&parts));
            }
        }
        for part in &kind.parts {
            known.push(part.name);
            if part.name == arguments.kind {
                let what = format!("inside `{}`", kind.name);
                text += &describe(&what, part.name, part.about, part.example, &part.schema);
                if let Some(beside) = &kind.beside_parts {
                    let beside = indent(&fields(beside.as_value()), 2);
                    text += &format!("\nBeside `{}`, in the same map:\n{beside}", part.name);
                }
            }
        }
    }
    let inside = nested::all(&app.kinds);
    if text.is_empty() {
        let found = inside.iter().filter(|nested| nested.name == arguments.kind);
        text = found.map(part).collect::<Vec<_>>().join("\n");
    }
    known.extend(inside.iter().map(|nested| nested.name));
    known.sort_unstable();
    known.dedup();
    if text.is_empty() {
        return Err(Failure::Usage {
            message: format!("there is no kind `{}`", arguments.kind),
            help: suggest::nearest(&arguments.kind, &known)
                .map(|near| format!("did you mean `{near}`?"))
                .or_else(|| Some("`runtime list` shows the kinds of stages and layers".to_owned())),
        });
    }
    print(&text)
}

/// Something inside of a kind.
fn part(nested: &Nested<'_>) -> String {
    let places: Vec<String> = nested.places.iter().map(|place| format!("`{place}`")).collect();
    let fields = fields_of(nested.root, nested.body);
    let fields = match fields.as_str() {
        "" => String::new(),
        fields => format!("\nFields:\n{}", indent(fields, 2)),
    };
    let (name, what, about) = (nested.name, &nested.what, nested.about());
    format!("{name} ({what}), inside {}\n{about}{fields}", places.join(", "))
}

fn describe(what: &str, name: &str, about: &str, example: &str, schema: &Schema) -> String {
    let fields = fields(schema.as_value());
    let fields = if fields.is_empty() {
        "It has no fields.\n".to_owned()
    } else {
        format!("Fields:\n{}", indent(&fields, 2))
    };
    let example = if example.contains('\n') {
        format!("{name}:\n{}", indent(example, 2))
    } else if example.is_empty() {
        format!("{name}: {{}}\n")
    } else {
        format!("{name}: {example}\n")
    };
    let more: String = paragraphs(schema.as_value())
        .iter()
        .filter(|paragraph| paragraph.trim() != about)
        .map(|paragraph| format!("\n{paragraph}"))
        .collect();
    format!("{name} ({what})\n{about}\n{more}\n{fields}\nExample:\n{}", indent(&example, 2))
}
