//! What is said of a pipeline that can run but may not do what was meant. Each remark has a name,
//! and a pipeline that means it names it in `allow`.

use crate::port::Port;
use crate::settings::RunSettings;
use config::diagnostic::Severity;
use config::mismatch::Mismatch;

/// A remark that stages or the engine make.
#[derive(Debug, PartialEq, Eq)]
pub struct Lint {
    /// What `allow` calls it.
    pub name: &'static str,
    /// A warning, or a note of one line.
    pub severity: Severity,
    /// When it is made: one sentence.
    pub about: &'static str,
}

/// Settings that change nothing.
pub static NO_EFFECT: Lint =
    Lint { name: "no_effect", severity: Severity::Warning, about: "A setting changes nothing." };

/// The same where it takes other stages to see it.
pub static CANCELLED: Lint = Lint {
    name: "cancelled",
    severity: Severity::Note,
    about: "A later stage takes out exactly what a setting adds.",
};

/// Training and evaluation see other images.
pub static FLOWS_DIFFER: Lint = Lint {
    name: "flows_differ",
    severity: Severity::Warning,
    about: "Images to evaluate on are prepared otherwise than those to train on.",
};

/// An evaluation of which no two are alike.
pub static RANDOM_EVALUATION: Lint = Lint {
    name: "random_evaluation",
    severity: Severity::Warning,
    about: "Images to evaluate on are changed at random.",
};

/// Those of the engine.
pub(crate) static ENGINE: [&Lint; 4] = [&NO_EFFECT, &CANCELLED, &FLOWS_DIFFER, &RANDOM_EVALUATION];

/// A remark on one stage, at the place in its fields where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Which one.
    pub lint: &'static Lint,
    /// What is said, and where.
    pub what: Mismatch,
}

impl Lint {
    /// This remark on something in a stage.
    pub fn note(&'static self, what: Mismatch) -> Note {
        Note { lint: self, what }
    }

    /// Whether a run has switched it off.
    pub fn is_allowed(&self, run: &RunSettings) -> bool {
        run.allow.iter().any(|name| name == self.name)
    }
}

/// What a stage may know of the pipeline around it when it is asked for its notes.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// What comes in.
    pub inputs: &'a [Port],
    /// What is put out.
    pub output: Option<&'a Port>,
    /// Whether the values of the images that come in have the range of the data, 0 to 255.
    pub unscaled: bool,
    /// The run's settings.
    pub run: &'a RunSettings,
}
