//! Reads typed values out of a [`Node`], collecting every problem.

mod fault;
mod neutral;
mod reader;

use serde::de::DeserializeOwned;

use self::fault::{Fault, What};
use self::reader::{Patches, Reader, TEXT};
use super::node::{Node, Path, short};
use super::suggest;

/// Something wrong in the configuration, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The place.
    pub path: Path,
    /// Whether the key is to blame and not its value.
    pub on_key: bool,
    /// What was expected and found.
    pub message: String,
    /// What to do next.
    pub help: Option<String>,
}

/// All that is wrong.
pub type Problems = Vec<Problem>;

/// More problems of one body are not looked for: each costs one more reading.
const PROBLEMS_MAX: usize = 32;

/// Reads a `T`, or adds everything that is wrong to `problems`.
///
/// Serde stops at the first fault. So what is at fault is dropped, or read as if it were some
/// harmless value, and the whole is read again until nothing new is found, or enough.
pub fn decode<T: DeserializeOwned>(node: &Node, path: &Path, problems: &mut Problems) -> Option<T> {
    let mut patches = Patches::default();
    loop {
        match T::deserialize(Reader::new(node, &[], &patches)) {
            Ok(value) if patches.is_empty() => return Some(value),
            Ok(_) => return None,
            Err(fault) => {
                let more = patch(&fault, &mut patches);
                // A fault in a place that was already patched follows from another one.
                if more || patches.is_empty() {
                    problems.push(problem(&fault, path));
                }
                if !more || patches.len() == PROBLEMS_MAX {
                    return None;
                }
            }
        }
    }
}

/// Makes the next reading get past this fault. `false` if it could not.
fn patch(fault: &Fault, patches: &mut Patches) -> bool {
    let mut at = fault.path().to_vec();
    match &*fault.what {
        What::UnknownField { .. } => return patches.dropped.insert(at),
        What::MissingField(field) => at.push((*field).to_owned()),
        What::UnknownVariant { .. } if fault.on_key => {
            at.pop();
        }
        _ => {}
    }
    // Nothing can stand in for the whole.
    !at.is_empty() && patches.neutral.insert(at)
}

/// The fault as people read it.
fn problem(fault: &Fault, base: &Path) -> Problem {
    let relative = fault.path();
    let subject =
        if relative.is_empty() { String::new() } else { format!(" for `{}`", relative.join(".")) };
    let mut path = base.clone();
    path.0.extend_from_slice(relative);
    let mut on_key = fault.on_key;
    let (message, help) = match &*fault.what {
        What::UnknownField { name, known } => {
            (format!("there is no field `{}`", short(name)), suggest::help(name, known))
        }
        What::UnknownVariant { name, known } => {
            let field = if fault.on_key { &relative[..relative.len() - 1] } else { relative };
            let subject = if field.is_empty() {
                String::new()
            } else {
                format!(" for `{}`", field.join("."))
            };
            (format!("there is no `{}`{subject}", short(name)), suggest::help(name, known))
        }
        What::MissingField(field) => {
            // The fields that are there are not to blame: point at the name they belong to.
            on_key = true;
            (format!("the field `{field}` is missing"), None)
        }
        What::Type { expected, found } => {
            let nothing = expected == TEXT && found == "nothing";
            let help = nothing.then(|| {
                "`~`, `null` and a place left empty are nothing in YAML; a name is put in quotes"
                    .to_owned()
            });
            (format!("expected {expected}{subject}, found {found}"), help)
        }
        What::Other(message) if relative.is_empty() => (message.clone(), None),
        What::Other(message) => (format!("`{}`: {message}", relative.join(".")), None),
    };
    Problem { path, on_key, message, help }
}

#[cfg(test)]
mod tests;
