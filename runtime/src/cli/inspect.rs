//! `runtime inspect`: one kind of stage, or one part of a stage.

use clap::Args;
use schemars::Schema;

use super::App;
use super::fields::fields;
use super::output::{Failure, indent, print};
use crate::config::suggest;

const EXAMPLES: &str = "\
Examples:
  runtime inspect cropper
  runtime inspect conv2d";

/// Shows the fields of a kind of stage, or of a layer, with types and defaults.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The kind, as `runtime list` shows it.
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
    if text.is_empty() {
        return Err(Failure::Usage {
            message: format!("there is no kind `{}`", arguments.kind),
            help: suggest::help(&arguments.kind, &known),
        });
    }
    print(&text)
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
    format!("{name} ({what})\n{about}\n\n{fields}\nExample:\n{}", indent(&example, 2))
}
