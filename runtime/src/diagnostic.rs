//! What is wrong with a pipeline, drawn into the text where it is wrong.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::config::escape::visible;
use crate::config::token::floor;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing can run.
    Error,
    /// It runs, but perhaps not as meant.
    Warning,
    /// It runs as meant, and does more than is written.
    Note,
}

/// A place in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, or what the text is if it is none.
    pub name: String,
    /// All of the text.
    pub text: Arc<str>,
    /// The bytes in question.
    pub span: Range<usize>,
}

/// One thing to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What was expected and found.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
    /// What to do next.
    pub help: Option<String>,
    /// What else matters.
    pub notes: Vec<String>,
}

impl Diagnostic {
    /// Something that should not go unnoticed.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// Something that is good to know.
    pub fn note(message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(message) }
    }

    /// Something that keeps the pipeline from running.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            place: None,
            help: None,
            notes: Vec::new(),
        }
    }

    /// Adds what to do next.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the place.
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// The diagnostic as people read it, without a newline at its end.
    pub fn render(&self, color: bool) -> String {
        /// Longer help does not fit beside the text that it is about.
        const LABEL_MAX: usize = 40;

        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let message = visible(&self.message);
        let help = self.help.as_deref().map(visible);
        let mut help = help.as_deref();
        let notes: Vec<_> = self.notes.iter().map(|note| visible(note)).collect();
        let mut group = match &self.place {
            None => Group::with_title(level.primary_title(&*message)),
            Some(place) => {
                let label = help.take_if(|help| help.len() <= LABEL_MAX);
                let (text, line, span) = excerpt(place);
                let annotation = AnnotationKind::Primary.span(span).label(label);
                let snippet =
                    Snippet::source(text).line_start(line).path(&place.name).annotation(annotation);
                level.primary_title(&*message).element(snippet)
            }
        };
        for note in &notes {
            group = group.element(Level::NOTE.no_name().message(&**note));
        }
        if let Some(help) = help {
            group = group.element(Level::HELP.message(help));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.decor_style(DecorStyle::Ascii).render(&[group])
    }
}

/// The lines of the place with their first line's number. A long line is cut around the place, for
/// which the columns are then those of the excerpt.
fn excerpt(place: &Place) -> (&str, usize, Range<usize>) {
    const LINE_MAX: usize = 400;
    let text = &place.text[..];
    let start = floor(text, place.span.start);
    let end = floor(text, place.span.end.clamp(start, text.len()));
    let line = text[..start].matches('\n').count() + 1;
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[end..].find('\n').map_or(text.len(), |at| end + at);
    if line_end - line_start <= LINE_MAX {
        return (&text[line_start..line_end], line, start - line_start..end - line_start);
    }
    let from = floor(text, start.saturating_sub(40).max(line_start));
    let to = floor(text, (start + 80).min(line_end));
    (&text[from..to], line, start - from..end.min(to) - from)
}

/// All diagnostics as people read them, and how many there are.
pub fn render(diagnostics: &[Diagnostic], color: bool) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{}\n", diagnostic.render(color));
    }
    let count = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let counts = [(count(Severity::Error), "error"), (count(Severity::Warning), "warning")];
    let parts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    if !parts.is_empty() {
        let _ = writeln!(text, "{}", parts.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, word: &str) -> Place {
        let start = text.find(word).expect("the word");
        Place { name: "p.yaml".into(), text: text.into(), span: start..start + word.len() }
    }

    #[test]
    fn the_place_is_drawn() {
        let diagnostic = Diagnostic {
            notes: vec!["crop takes u8[32, 32, 3] from read".to_owned()],
            ..Diagnostic::error("crop: cannot cut 40x40 out of 32x32")
        }
        .help("at most 32")
        .at(place("a: 1\nb:\n  size: 40 # x\n", "40"));
        let expected = "\
error: crop: cannot cut 40x40 out of 32x32
 --> p.yaml:3:9
  |
3 |   size: 40 # x
  |         ^^ at most 32
  |
  = crop takes u8[32, 32, 3] from read";
        assert_eq!(diagnostic.render(false), expected);
        let all = render(&[diagnostic.clone(), diagnostic], false);
        assert!(all.ends_with("\n\n2 errors\n"), "{all}");
    }

    #[test]
    fn a_long_line_is_cut() {
        let text = format!("{}é needle {}", "x, ".repeat(100_000), "y, ".repeat(100_000));
        let shown = Diagnostic::error("e").at(place(&text, "needle")).render(false);
        assert!(shown.contains("needle") && shown.len() < 1000, "{shown}");
        let end = Place { name: "p".into(), text: "é".into(), span: 2..9 };
        assert!(Diagnostic::error("e").at(end).render(false).contains("--> p:1:2"));
    }
}
