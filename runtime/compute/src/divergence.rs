//! A run whose numbers have gone bad, and where they went bad first.

use std::fmt;

use anyhow::Result;

use crate::batch::Batch;
use crate::kernel::Step;
use crate::session::Session;

/// Training has diverged: a number is not finite, or the loss has blown up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diverged {
    /// The step in which it was so first, as far as is known.
    pub step: u64,
    /// What was found.
    pub found: String,
    /// Whether its loss was bad already, and so the weights that it began with: no learning rate
    /// helps them.
    pub began_bad: bool,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "training has diverged at step {}: {}", self.step, self.found)
    }
}

impl std::error::Error for Diverged {}

/// How much a layer's output has to grow to be called bad though it is finite.
const GROWTH: f32 = 100.0;

/// Looks for the place where the numbers of a step go bad, while the steps before it are done
/// again from a state that was good.
#[derive(Debug)]
pub struct Diagnosis {
    step: u64,
    usual: Option<Vec<f32>>,
}

impl Diagnosis {
    /// To look at this step.
    pub fn new(step: u64) -> Self {
        Self { step, usual: None }
    }

    /// What went wrong in this step, if it is the one. Every tensor of the session's graph must be
    /// [observed](crate::graph::Graph::observed).
    ///
    /// # Errors
    /// If the adapter fails.
    pub fn look(
        &mut self,
        session: &mut Session,
        batch: &Batch,
        step: &Step,
    ) -> Result<Option<String>> {
        let at = u64::from(step.step);
        if at >= self.step {
            let now = magnitudes(session, batch, step)?;
            let found = match (session.locate(batch, step)?, &self.usual) {
                (Some(found), _) => found,
                (None, Some(usual)) => grown(usual, &now),
                (None, None) => "all its numbers are finite".to_owned(),
            };
            return Ok(Some(format!("in step {at}, {found}")));
        }
        if self.usual.is_none() {
            self.usual =
                Some(magnitudes(session, batch, step)?.into_iter().map(|(_, m)| m).collect());
        }
        Ok(None)
    }
}

/// Of each layer, its name and the largest magnitude of its output.
fn magnitudes(session: &mut Session, batch: &Batch, step: &Step) -> Result<Vec<(String, f32)>> {
    let mut largest: Vec<(String, f32)> = Vec::new();
    session.activations(batch, step, |layer, values| {
        let here = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        match largest.iter_mut().find(|(known, _)| known == layer) {
            Some((_, most)) => *most = most.max(here),
            None => largest.push((layer.to_owned(), here)),
        }
    })?;
    Ok(largest)
}

/// The first layer whose output is far beyond what it was, or the one that grew the most.
fn grown(usual: &[f32], now: &[(String, f32)]) -> String {
    let growth = |at: usize| now[at].1 / usual[at].max(f32::MIN_POSITIVE);
    let layers = 0..now.len().min(usual.len());
    let first = layers.clone().find(|at| growth(*at) > GROWTH);
    let most = layers.max_by(|a, b| growth(*a).total_cmp(&growth(*b)));
    match first.or(most) {
        Some(at) => format!(
            "all numbers are finite; the first layer whose output has grown out of bounds is {}: \
             its largest magnitude is {:e} and was {:e}",
            now[at].0, now[at].1, usual[at]
        ),
        None => "all numbers are finite".to_owned(),
    }
}
