//! What a stage is asked that reads a data set.

use super::Config;
use crate::item::Sample;
use crate::photo;
use crate::settings::RunSettings;
use config::mismatch::Mismatch;

/// A stage that reads a data set.
pub trait Reads {
    /// An image such as this stage puts out, made up without opening anything, another one for each
    /// number: what tests in the YAML begin with. Only what begins a flow may have some.
    fn made_up(&self, _number: u64) -> Option<Sample> {
        None
    }

    /// How photos are taken that come in place of the images that this stage reads, as `runtime
    /// predict` and tests in the YAML have them.
    fn photo_rules(&self) -> photo::Rules {
        photo::Rules::default()
    }

    /// Fields that came later, each with the value in YAML that stands for what was done before it
    /// was there: what a run is to go on with that began without it.
    fn meant_before(&self) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    /// What is wrong with this stage beside another of the same pipeline; each is asked about each
    /// other. A stage knows others of its own kind by asking the config what it is. What is said of
    /// the run tells which places fields mean.
    ///
    /// # Errors
    /// If the two together do what nobody can want.
    fn check_beside(&self, _other: &dyn Config, _run: &RunSettings) -> Result<(), Mismatch> {
        Ok(())
    }
}
