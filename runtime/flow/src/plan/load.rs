//! From a pipeline's text to a plan, or to everything that is wrong with it, placed in the text.

use std::ops::Range;
use std::sync::Arc;

use super::Plan;
use super::check::check;
use super::finding::{Checked, Finding};
use super::overrides::{self, Applied, Override};
use crate::stage::{Kind, RunSettings};
use config::decode::Problem;
use config::diagnostic::{Diagnostic, Place, Severity};
use config::escape;
use config::node::Path;
use config::yaml::{Document, Unreadable};

/// More are not shown: whoever has that many has made one mistake, and finding places takes time.
const SHOWN_MAX: usize = 50;

impl Plan {
    /// Reads and checks a pipeline. `overrides` are paths into it, such as
    /// `stages.batch.batcher.size`, with the YAML that replaces what is there; `base` holds what
    /// the command line says about the run.
    ///
    /// Gives the plan with warnings and notes, or everything that is wrong, in the order of the file.
    pub fn load(
        kinds: &[Kind],
        file_name: &str,
        text: &str,
        overrides: &[(String, String)],
        base: &RunSettings,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let document = Document::parse(text)
            .map_err(|unreadable| vec![refused(file_name, text, unreadable)])?;
        let Applied { node, changes, told } = overrides::apply(&document, overrides)?;
        let checked = check(kinds, &node, base);
        // What is told of the file alone as well, is not the command line's fault.
        let nothing_told =
            checked.errors.is_empty() && checked.warnings.is_empty() && checked.notes.is_empty();
        let alone = if changes.is_empty() || nothing_told {
            Checked::default()
        } else {
            check(kinds, document.node(), base)
        };
        let text: Arc<str> = document.text().into();
        let place = Placing { file_name, text, document: &document, changes: &changes };
        match checked.plan {
            Some(plan) => {
                let mut diagnostics = told;
                diagnostics.extend(place.escapes());
                diagnostics.extend(place.all(Severity::Warning, checked.warnings, &alone.warnings));
                diagnostics.extend(place.all(Severity::Note, checked.notes, &alone.notes));
                Ok((plan, diagnostics))
            }
            None => {
                let mut diagnostics = told;
                diagnostics.extend(place.escapes());
                diagnostics.extend(place.all(Severity::Error, checked.errors, &alone.errors));
                Err(diagnostics)
            }
        }
    }
}

fn refused(file_name: &str, text: &str, unreadable: Unreadable) -> Diagnostic {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let place =
        unreadable.span.map(|span| Place { name: file_name.to_owned(), text: text.into(), span });
    let message = match place {
        Some(_) => unreadable.message,
        None => format!("{file_name}: {}", unreadable.message),
    };
    Diagnostic { place, help: unreadable.help, ..Diagnostic::error(message) }
}

/// Finds the places of findings.
struct Placing<'a> {
    file_name: &'a str,
    text: Arc<str>,
    document: &'a Document,
    changes: &'a [Override],
}

impl Placing<'_> {
    /// Text with control characters, which nobody means: warnings, at most one a place.
    fn escapes(&self) -> Vec<Diagnostic> {
        let warning = |(span, what): (Range<usize>, String)| {
            let place =
                Place { name: self.file_name.to_owned(), text: Arc::clone(&self.text), span };
            Diagnostic::warning(format!("this text holds {what}")).at(place).help(escape::HELP)
        };
        self.document.escapes().into_iter().take(SHOWN_MAX).map(warning).collect()
    }

    fn all(
        &self,
        severity: Severity,
        findings: Vec<Finding>,
        alone: &[Finding],
    ) -> Vec<Diagnostic> {
        // In the order of the file; the command line comes behind it.
        let mut sorted: Vec<_> = findings
            .into_iter()
            .map(|finding| {
                let blame = self.blame(&finding, alone);
                let order = self.document.order(&finding.problem.path);
                ((blame.is_some(), order), blame, finding)
            })
            .collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let hidden = sorted.len().saturating_sub(SHOWN_MAX);
        sorted.truncate(SHOWN_MAX);
        let mut diagnostics: Vec<Diagnostic> = sorted
            .into_iter()
            .map(|(_, blame, finding)| {
                let place = blame.or_else(|| self.in_file(&finding.problem));
                let others = finding.others.iter();
                let others = others.filter_map(|at| Some((self.in_file(at)?, at.message.clone())));
                let others = others.collect();
                let message = match place {
                    Some(_) => finding.problem.message,
                    None => format!("{}: {}", self.file_name, finding.problem.message),
                };
                let help = finding.problem.help;
                let name = finding.lint.map(|lint| lint.name);
                let notes = finding.notes;
                Diagnostic { severity, name, message, place, others, help, notes }
            })
            .collect();
        if hidden > 0 {
            let message = format!("{hidden} more are not shown");
            diagnostics.push(Diagnostic { severity, ..Diagnostic::error(message) });
        }
        diagnostics
    }

    fn in_file(&self, problem: &Problem) -> Option<Place> {
        let span = self.document.locate(&problem.path, problem.on_key);
        let span = span.or_else(|| problem.path.0.is_empty().then_some(0..0))?;
        Some(Place { name: self.file_name.to_owned(), text: Arc::clone(&self.text), span })
    }

    /// The place on the command line, if it is to blame.
    fn blame(&self, finding: &Finding, alone: &[Finding]) -> Option<Place> {
        let problem = &finding.problem;
        let holds = |change: &&Override| {
            let mut places = change.also.iter().chain([&change.path]);
            places.any(|place| problem.path.0.starts_with(&place.0))
        };
        if let Some(change) = self.changes.iter().rfind(holds) {
            let is_key = problem.on_key && problem.path == change.path;
            return Some(if is_key { change.key() } else { change.value() });
        }
        if self.changes.is_empty() || alone.contains(finding) {
            return None;
        }
        let shared = |change: &&Override| common(&change.path, &problem.path);
        self.changes.iter().max_by_key(shared).map(Override::value)
    }
}

/// How many keys two paths share from their beginning.
fn common(a: &Path, b: &Path) -> usize {
    a.0.iter().zip(&b.0).take_while(|(a, b)| a == b).count()
}
