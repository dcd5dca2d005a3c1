//! Values from the command line, `--set stages.batch.batcher.size=64`, in place of the file's.

use std::sync::Arc;

use super::top;
use crate::config::node::{Node, Path, short};
use crate::config::suggest;
use crate::config::yaml::Document;
use crate::diagnostic::{Diagnostic, Place};

/// One value from the command line.
#[derive(Clone, Debug)]
pub(super) struct Override {
    /// What it replaces.
    pub(super) path: Path,
    /// The flag as it was given.
    flag: Arc<str>,
    value_start: usize,
}

const FLAG: &str = "--set ";

/// Whether this is one of the settings beside the stages, all of which may be left out of a file.
fn is_setting(name: &str) -> bool {
    top::schema().get("properties").is_some_and(|properties| properties.get(name).is_some())
}

/// Keys that the file itself has to have: `stages`, a stage and its kind. Further in, what is not
/// written may be a default.
const WRITTEN_DEPTH: usize = 3;

impl Override {
    fn new(path: &str, value: &str) -> Self {
        Self {
            path: Path(path.split('.').map(str::to_owned).collect()),
            flag: format!("{FLAG}{path}={value}").into(),
            value_start: FLAG.len() + path.len() + 1,
        }
    }

    /// The place of the value in the flag.
    pub(super) fn value(&self) -> Place {
        let end = self.flag.len();
        self.place(self.value_start.min(end), end)
    }

    /// The place of the path's last part in the flag.
    pub(super) fn key(&self) -> Place {
        let last = self.path.0.last().map_or(0, String::len);
        let end = self.value_start - 1;
        self.place(end - last, end)
    }

    fn place(&self, start: usize, end: usize) -> Place {
        Place { name: "command line".to_owned(), text: Arc::clone(&self.flag), span: start..end }
    }

    /// The place of one part of the path in the flag.
    fn part(&self, number: usize) -> Place {
        let before: usize = self.path.0[..number].iter().map(|part| part.len() + 1).sum();
        let start = FLAG.len() + before;
        self.place(start, start + self.path.0[number].len())
    }
}

/// Puts the values into the document.
pub(super) fn apply(
    node: &mut Node,
    overrides: &[(String, String)],
) -> Result<Vec<Override>, Vec<Diagnostic>> {
    let mut applied = Vec::new();
    let mut diagnostics = Vec::new();
    for (path, value) in overrides {
        let change = Override::new(path, value);
        let result = read(&change, value).and_then(|value| put(node, &change, value));
        match result {
            Ok(()) => applied.push(change),
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    if diagnostics.is_empty() { Ok(applied) } else { Err(diagnostics) }
}

fn read(change: &Override, value: &str) -> Result<Node, Box<Diagnostic>> {
    if value.trim().is_empty() {
        return Ok(Node::Null);
    }
    // A lone `~` is a value here, while as a whole file it is nothing: so read it inside a list.
    match Document::parse(&format!("- {value}")).as_ref().map(Document::node) {
        Ok(Node::List(items)) if items.len() == 1 => Ok(items[0].clone()),
        Ok(_) => refuse("the value is more than one YAML value", change.value()),
        Err(unreadable) => {
            // What follows counts lines and columns in a text that nobody sees.
            let message = unreadable.message.split(", while").next().unwrap_or_default();
            refuse(message, change.value())
        }
    }
}

fn refuse<T>(message: &str, place: Place) -> Result<T, Box<Diagnostic>> {
    Err(Box::new(Diagnostic::error(message).at(place)))
}

fn put(mut node: &mut Node, change: &Override, value: Node) -> Result<(), Box<Diagnostic>> {
    let parts = &change.path.0;
    let mut value = Some(value);
    for (number, part) in parts.iter().enumerate() {
        let is_last = number + 1 == parts.len();
        if *node == Node::Null {
            *node = Node::Map(Vec::new());
        }
        let found = match node {
            Node::Map(entries) => {
                let position = entries.iter().position(|(key, _)| key == part);
                let position = match position {
                    Some(position) => position,
                    // Whoever reads the fields knows better which there are.
                    None if is_last || number >= WRITTEN_DEPTH || is_setting(&parts[0]) => {
                        entries.push((part.clone(), Node::Null));
                        entries.len() - 1
                    }
                    None => {
                        let known: Vec<&str> = entries.iter().map(|(key, _)| &**key).collect();
                        return Err(Box::new(unknown(change, number, &known)));
                    }
                };
                &mut entries[position].1
            }
            Node::List(items) => {
                let count = items.len();
                let position = part.parse().unwrap_or(usize::MAX);
                items.get_mut(position).ok_or_else(|| {
                    let help = format!("the list has elements 0 to {}", count.max(1) - 1);
                    let message = format!("there is no element `{}`", short(part));
                    Box::new(Diagnostic::error(message).at(change.part(number)).help(help))
                })?
            }
            plain => {
                let message = format!("{} has no fields", plain.describe());
                return refuse(&message, change.part(number));
            }
        };
        if let Some(value) = value.take_if(|_| is_last) {
            *found = value;
            return Ok(());
        }
        node = found;
    }
    Ok(())
}

fn unknown(change: &Override, number: usize, known: &[&str]) -> Diagnostic {
    let part = &change.path.0[number];
    let around = Path(change.path.0[..number].to_vec());
    let message = if number == 0 {
        format!("the pipeline has no `{}`", short(part))
    } else {
        format!("`{around}` has no `{}`", short(part))
    };
    let mut diagnostic = Diagnostic::error(message).at(change.part(number));
    diagnostic.help = suggest::help(part, known);
    diagnostic
}
