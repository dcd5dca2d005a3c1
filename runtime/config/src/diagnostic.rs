//! What is wrong with a pipeline, drawn into the text where it is wrong.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::escape::visible;
use crate::token::floor;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing can run.
    Error,
    /// It runs, but perhaps not as meant.
    Warning,
    /// It runs: something that a person may not have meant or may not know of, told in one line.
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
    /// What switches it off, if anything does.
    pub name: Option<&'static str>,
    /// What was expected and found.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
    /// Other places that belong to it, each with what is there.
    pub others: Vec<(Place, String)>,
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
            name: None,
            message: message.into(),
            place: None,
            others: Vec::new(),
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
            Severity::Note => return self.line(color),
        };
        let message = visible(&self.message);
        let titled = || {
            let title = level.clone().primary_title(&*message);
            if let Some(name) = self.name { title.id(name) } else { title }
        };
        let help = self.help.as_deref().map(visible);
        let mut help = help.as_deref();
        let notes: Vec<_> = self.notes.iter().map(|note| visible(note)).collect();
        let mut group = match &self.place {
            None => Group::with_title(titled()),
            Some(place) => {
                let label = help.take_if(|help| help.len() <= LABEL_MAX);
                let (text, line, span) = excerpt(place);
                let annotation = AnnotationKind::Primary.span(span).label(label);
                let snippet =
                    Snippet::source(text).line_start(line).path(&place.name).annotation(annotation);
                titled().element(snippet)
            }
        };
        for (place, label) in &self.others {
            let (text, line, span) = excerpt(place);
            let annotation = AnnotationKind::Context.span(span).label(label);
            let snippet =
                Snippet::source(text).line_start(line).path(&place.name).annotation(annotation);
            group = group.element(snippet);
        }
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

impl Diagnostic {
    /// All of it in one line.
    fn line(&self, color: bool) -> String {
        let name = self.name.map_or(String::new(), |name| format!("[{name}]"));
        let note = format!("note{name}");
        let note = if color { format!("\x1b[1m\x1b[92m{note}\x1b[0m") } else { note };
        let place = self.place.as_ref().map_or(String::new(), Place::in_words);
        let help = self.help.as_ref().map_or(String::new(), |help| format!("; {help}"));
        let text = format!("{}{help}", self.message);
        format!("{note}: {place}{}", visible(&text))
    }
}

impl Place {
    /// File, line and column, as a beginning of a line.
    fn in_words(&self) -> String {
        let before = &self.text[..floor(&self.text, self.span.start)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{line}:{column}: ", self.name)
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
        let gap = if diagnostic.severity == Severity::Note { "" } else { "\n" };
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{}{gap}", diagnostic.render(color));
    }
    let count = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    // Notes without names are there to be read and nothing to be mended.
    let is_remark = |d: &&Diagnostic| d.severity == Severity::Note && d.name.is_some();
    let counts = [
        (count(Severity::Error), "error"),
        (count(Severity::Warning), "warning"),
        (diagnostics.iter().filter(is_remark).count(), "note"),
    ];
    let parts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    if !parts.is_empty() {
        let mut names: Vec<&str> = diagnostics.iter().filter_map(|d| d.name).collect();
        names.sort_unstable();
        names.dedup();
        let allow = match &*names {
            [] => String::new(),
            names => format!(
                "; where that is meant, add `allow: [{}]` to the pipeline",
                names.join(", ")
            ),
        };
        let _ = writeln!(text, "{}{allow}", parts.join(", "));
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
    fn a_note_is_one_line_and_other_places_are_drawn_below_the_first() {
        let text = "a: 1\nb: 22\n";
        let note = Diagnostic {
            severity: Severity::Note,
            name: Some("odd"),
            ..Diagnostic::error("b: 22 is odd").help("write 2").at(place(text, "22"))
        };
        assert_eq!(note.render(false), "note[odd]: p.yaml:2:4: b: 22 is odd; write 2");
        let warning = Diagnostic {
            severity: Severity::Warning,
            name: Some("differs"),
            others: vec![(place(text, "1"), "the first".to_owned())],
            ..note.clone()
        };
        let expected = "\
warning[differs]: b: 22 is odd
 --> p.yaml:2:4
  |
2 | b: 22
  |    ^^ write 2
  |
 ::: p.yaml:1:4
  |
1 | a: 1
  |    - the first";
        assert_eq!(warning.render(false), expected);
        let all = render(&[warning, note], false);
        let end = "\n1 warning, 1 note; where that is meant, add `allow: [differs, odd]` to the pipeline\n";
        assert!(all.ends_with(end), "{all}");
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
