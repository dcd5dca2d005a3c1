//! `runtime list`: the kinds of stages, and what is remarked on pipelines.

use clap::Args;

use super::App;
use super::output::{Failure, indent, print, table};
use flow::stage::lints;

/// Lists the kinds of stages, what they may have inside them, and the names of warnings and notes.
#[derive(Debug, Args)]
#[command(after_help = "`runtime inspect KIND` shows the fields of one of them.")]
pub(super) struct Arguments {}

pub(super) fn list(app: &App, _: &Arguments) -> Result<(), Failure> {
    let line = |name: &str, about: &str| vec![name.to_owned(), about.to_owned()];
    let kinds: Vec<_> = app.kinds.iter().map(|kind| line(kind.name, kind.about)).collect();
    let mut text = format!("Stages:\n{}", indent(&table(&kinds), 2));
    for kind in app.kinds.iter().filter(|kind| !kind.parts.is_empty()) {
        let parts: Vec<_> = kind.parts.iter().map(|part| line(part.name, part.about)).collect();
        text += &format!("\nInside `{}`:\n{}", kind.name, indent(&table(&parts), 2));
    }
    let lints: Vec<_> = lints(&app.kinds).iter().map(|one| line(one.name, one.about)).collect();
    text += "\nWarnings and notes of `check` and `run`, which `allow: [NAME, ..]` in a pipeline \
             switches off:\n";
    text += &indent(&table(&lints), 2);
    print(&text)
}
