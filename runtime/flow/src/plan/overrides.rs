//! Values from the command line, `--set stages.batch.batcher.size=64`, in place of the file's.

use std::sync::Arc;

use super::top;
use config::diagnostic::{Diagnostic, Place};
use config::node::{Node, Path, short};
use config::yaml::Document;
use config::{escape, suggest};

/// One value from the command line.
#[derive(Clone, Debug)]
pub(super) struct Override {
    /// What it replaces.
    pub(super) path: Path,
    /// Other places that it changes, as they are the same value.
    pub(super) also: Vec<Path>,
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
            also: Vec::new(),
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
        let number = number.min(self.path.0.len() - 1);
        let before: usize = self.path.0[..number].iter().map(|part| part.len() + 1).sum();
        let start = FLAG.len() + before;
        self.place(start, start + self.path.0[number].len())
    }
}

/// A pipeline with values from the command line.
pub(super) struct Applied {
    pub(super) node: Node,
    pub(super) changes: Vec<Override>,
    /// What a person should know of them.
    pub(super) told: Vec<Diagnostic>,
}

/// Puts the values into what the document says.
///
/// A value that stands in several places, behind an anchor, is changed in all of them, except where
/// another value of the command line goes.
pub(super) fn apply(
    document: &Document,
    overrides: &[(String, String)],
) -> Result<Applied, Vec<Diagnostic>> {
    let mut changes = Vec::new();
    let mut told = Vec::new();
    let mut diagnostics = Vec::new();
    for (path, value) in overrides {
        let change = Override::new(path, value);
        match read(&change, value) {
            Ok((value, warning)) => {
                told.extend(warning);
                changes.push((change, value));
            }
            Err(diagnostic) => diagnostics.push(*diagnostic),
        }
    }
    let named: Vec<Path> = changes.iter().map(|(change, _)| change.path.clone()).collect();
    for (change, _) in &mut changes {
        let reach = document.reach(&change.path);
        let is_free = |place: &Path| {
            !named.iter().any(|named| *named != change.path && place.0.starts_with(&named.0))
        };
        let (mut also, mut left) = (reach.also, reach.left);
        also.retain(is_free);
        left.retain(is_free);
        told.extend(note(change, &also, &left, reach.anchor));
        change.also = also;
    }
    let mut node = document.node().clone();
    let mut elsewhere = Vec::new();
    for (change, value) in &changes {
        for place in &change.also {
            let result = put(&mut node, change, place, value.clone());
            elsewhere.extend(result.err().map(|diagnostic| *diagnostic));
        }
    }
    // What is named comes last, so that it holds.
    for (change, value) in &changes {
        let result = put(&mut node, change, &change.path, value.clone());
        diagnostics.extend(result.err().map(|diagnostic| *diagnostic));
    }
    // The places of one value have the same faults: told once.
    if diagnostics.is_empty() {
        diagnostics = elsewhere;
    }
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    let changes = changes.into_iter().map(|(change, _)| change).collect();
    Ok(Applied { node, changes, told })
}

/// Says what else a value changes, or does not.
fn note(
    change: &Override,
    also: &[Path],
    left: &[Path],
    anchor: Option<(String, usize)>,
) -> Option<Diagnostic> {
    let flag = format!("`{FLAG}{}`", change.path);
    let same = if also.len() + left.len() > 1 { "are the same value" } else { "is the same value" };
    let anchor = anchor.map_or(String::new(), |(name, line)| format!(" (`&{name}`, line {line})"));
    let message = match (also, left) {
        ([], []) => return None,
        ([], left) => format!("{flag} leaves {} as it is, which {same}{anchor}", list(left)),
        (also, _) => format!("{flag} also changes {}, which {same}{anchor}", list(also)),
    };
    Some(Diagnostic::note(message))
}

fn list(places: &[Path]) -> String {
    const SHOWN_MAX: usize = 4;
    let shown: Vec<String> =
        places.iter().take(SHOWN_MAX).map(|place| format!("`{place}`")).collect();
    let more = places.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &more
}

/// The value, and a warning if it holds a control character.
fn read(change: &Override, value: &str) -> Result<(Node, Option<Diagnostic>), Box<Diagnostic>> {
    if value.trim().is_empty() {
        return Ok((Node::Null, None));
    }
    // A lone `~` is a value here, while as a whole file it is nothing: so read it inside a list.
    let document = match Document::parse(&format!("- {value}")) {
        Ok(document) => document,
        Err(unreadable) => {
            // What follows counts lines and columns in a text that nobody sees.
            let message = unreadable.message.split(", while").next().unwrap_or_default();
            let diagnostic = Diagnostic::error(message).at(change.value());
            return Err(Box::new(Diagnostic { help: unreadable.help, ..diagnostic }));
        }
    };
    let warning = document.escapes().into_iter().next().map(|(_, what)| {
        let message = format!("the value of `{FLAG}{}` holds {what}", change.path);
        Diagnostic::warning(message).at(change.value()).help(escape::HELP)
    });
    match document.node() {
        Node::List(items) if items.len() == 1 => Ok((items[0].clone(), warning)),
        _ => refuse("the value is more than one YAML value", change.value()),
    }
}

fn refuse<T>(message: &str, place: Place) -> Result<T, Box<Diagnostic>> {
    Err(Box::new(Diagnostic::error(message).at(place)))
}

/// Puts a value at a place, which is the change's own or one like it.
fn put(
    mut node: &mut Node,
    change: &Override,
    place: &Path,
    value: Node,
) -> Result<(), Box<Diagnostic>> {
    let parts = &place.0;
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
    let number = number.min(change.path.0.len() - 1);
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
