//! How far a download is, for people.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// What a download says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something that happened.
    Note(String),
    /// Bytes of a file that are there.
    Bytes {
        /// The file's name.
        file: String,
        /// Bytes that are there.
        have: u64,
        /// Bytes of the whole file, if the server said.
        of: Option<u64>,
    },
}

/// Shows it: as a bar on a terminal, else as a line from time to time.
#[derive(Default)]
pub struct Shown {
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
}

/// Time between two lines.
const PERIOD: Duration = Duration::from_secs(10);

impl Shown {
    /// Shows how far it is; what is worth a line goes to `line`.
    pub fn show(&mut self, progress: &Progress, mut line: impl FnMut(&str)) {
        match progress {
            Progress::Note(text) => {
                self.finish();
                line(text);
            }
            Progress::Bytes { file, have, of } if io::stderr().is_terminal() => {
                let bar = self.bar.get_or_insert_with(|| {
                    let bar = ProgressBar::new(0);
                    let style = ProgressStyle::with_template(
                        "{msg} {bytes}/{total_bytes} {bar:30} {bytes_per_sec} (left {eta_precise})",
                    );
                    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                    bar.with_position(*have).with_elapsed(Duration::ZERO)
                });
                bar.set_message(file.clone());
                bar.set_length(of.unwrap_or(*have));
                bar.set_position(*have);
                if *of == Some(*have) {
                    self.finish();
                }
            }
            Progress::Bytes { file, have, of } => {
                let last = *self.last_line.get_or_insert_with(Instant::now);
                if last.elapsed() >= PERIOD {
                    self.last_line = Some(Instant::now());
                    line(&format!("{file}: {}", share(*have, *of)));
                }
            }
        }
    }

    /// Takes the bar off the screen.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// `12.3 of 162.2 MiB`.
fn share(have: u64, of: Option<u64>) -> String {
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    match of {
        Some(of) => format!("{:.1} of {:.1} MiB", mebibytes(have), mebibytes(of)),
        None => format!("{:.1} MiB", mebibytes(have)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_in_mebibytes() {
        assert_eq!(share(1 << 19, Some(3 << 20)), "0.5 of 3.0 MiB");
        assert_eq!(share(1 << 20, None), "1.0 MiB");
    }

    #[test]
    fn lines_come_from_time_to_time() {
        let mut lines = Vec::new();
        let mut shown = Shown::default();
        let at = |have| Progress::Bytes { file: "a".to_owned(), have, of: None };
        shown.show(&at(1), |line| lines.push(line.to_owned()));
        shown.last_line = Instant::now().checked_sub(PERIOD);
        if !io::stderr().is_terminal() {
            shown.show(&at(1 << 20), |line| lines.push(line.to_owned()));
            assert_eq!(lines, ["a: 1.0 MiB"]);
        }
        shown.show(&Progress::Note("done".to_owned()), |line| lines.push(line.to_owned()));
        assert_eq!(lines.last().map(String::as_str), Some("done"));
    }
}
