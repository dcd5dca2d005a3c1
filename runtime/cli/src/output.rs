//! What the command prints, and what its exit status says.

use std::error::Error;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use compute::adapter::select::NoSuchAdapter;
use compute::towers::NoneLeft;
use config::diagnostic::{self, Diagnostic};
use config::escape::visible;
use fetch::Interrupted;
use record::run_folder::Taken;

/// Why a verb did not end well.
#[derive(Debug)]
pub(super) enum Failure {
    /// The pipeline is wrong.
    Pipeline(Vec<Diagnostic>),
    /// The command line is.
    Usage { message: String, help: Option<String> },
    /// The run failed.
    Run(anyhow::Error),
    /// The run failed as no adapter was left; where it is kept, if it is.
    Lost { lost: NoneLeft, run: Option<PathBuf> },
    /// The run was asked to stop.
    Interrupted,
    /// Standard output cannot be written to.
    Output(io::Error),
    /// Another process of the job has failed, of which the first one tells this.
    Told { text: Option<String>, status: u8 },
}

impl Failure {
    /// What became of a run: an adapter that is not there is a mistake of the command line.
    pub(super) fn of_run(error: anyhow::Error) -> Self {
        if error.chain().any(<dyn Error>::is::<NoSuchAdapter>) {
            return Self::Usage { message: format!("{error:#}"), help: None };
        }
        if error.chain().any(<dyn Error>::is::<Interrupted>) {
            return Self::Interrupted;
        }
        if let Some(taken) = error.downcast_ref::<Taken>() {
            return Self::taken(taken);
        }
        Self::Run(error)
    }

    /// The name of a run that there is already.
    pub(super) fn taken(taken: &Taken) -> Self {
        Self::Usage { message: taken.to_string(), help: Some(taken.help()) }
    }

    /// Tells it, and gives the exit status.
    pub(super) fn report(self) -> ExitCode {
        if let Some(text) = self.text(color()) {
            complain(&text);
        }
        ExitCode::from(self.status())
    }

    /// What there is to say of it.
    pub(super) fn text(&self, color: bool) -> Option<String> {
        match self {
            Self::Pipeline(diagnostics) => Some(diagnostic::render(diagnostics, color)),
            Self::Usage { message, help } => {
                let help = help.clone();
                let diagnostic = Diagnostic { help, ..Diagnostic::error(message.clone()) };
                Some(format!("{}\n", diagnostic.render(color)))
            }
            Self::Run(error) => Some(describe(error.chain().map(ToString::to_string))),
            Self::Lost { lost, run } => {
                let left = run.as_ref().map(|run| {
                    format!(
                        "no adapter is left.\nOnce there is one again, go on with `runtime run \
                         --resume {}`",
                        run.display()
                    )
                });
                Some(describe(left.into_iter().chain([lost.to_string()])))
            }
            Self::Interrupted => None,
            // Whoever read the output has seen enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => None,
            Self::Output(error) => Some(format!("error: could not write the output: {error}\n")),
            Self::Told { text, .. } => text.clone(),
        }
    }

    pub(super) fn status(&self) -> u8 {
        match self {
            Self::Pipeline(_) | Self::Usage { .. } => 2,
            Self::Run(_) | Self::Lost { .. } => 1,
            Self::Interrupted => 130,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => 1,
            Self::Told { status, .. } => *status,
        }
    }
}

/// An error with what led to it, one line each.
fn describe(chain: impl Iterator<Item = String>) -> String {
    let line = |(at, what): (usize, String)| match at {
        0 => format!("error: {}\n", visible(&what)),
        _ => format!("  because: {}\n", visible(&what)),
    };
    chain.enumerate().map(line).collect()
}

/// Writes to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}

/// Writes diagnostics to standard error.
pub(super) fn tell(diagnostics: &[Diagnostic]) {
    complain(&diagnostic::render(diagnostics, color()));
}

/// Writes to standard error, whose colors a console of Windows may need to have translated.
pub(super) fn complain(text: &str) {
    // If standard error is closed, nobody is left to be told.
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

fn color() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !unwanted
}

/// Columns as wide as their widest cell, two blanks between them.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Moves every line to the right.
pub(super) fn indent(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}", "").trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn causes_are_told_below_the_error() {
        let error = anyhow::anyhow!("no such file").context("reader").context("stage read");
        assert_eq!(
            describe(error.chain().map(ToString::to_string)),
            "error: stage read\n  because: reader\n  because: no such file\n"
        );
        let plain: anyhow::Result<()> = Err(anyhow::anyhow!("x"));
        assert!(plain.context("y").is_err());
    }

    #[test]
    fn tables_line_up() {
        let rows = [vec!["a".to_owned(), "bb".into()], vec!["ccc".into(), "d".into()]];
        assert_eq!(table(&rows), "a    bb\nccc  d\n");
        assert_eq!(indent("a\n\nb", 2), "  a\n\n  b\n");
    }
}
