//! What computes the steps of a run: one adapter or several.

use std::sync::Arc;

use anyhow::{Error, Result};

use super::{Lost, NoneLeft, OnLoss, Times, Towers};
use crate::batch::Batch;
use crate::graph::TensorId;
use crate::kernel::Step;
use crate::session::Session;
use crate::weights::Weights;

/// One adapter or several, with the weights.
pub enum Trainer {
    /// A single adapter, which does whole steps and keeps the weights.
    One(One),
    /// Several adapters.
    Several(Box<Towers>),
}

/// A single adapter.
pub struct One {
    session: Session,
    who: String,
    on_loss: OnLoss,
    step: u64,
}

impl Trainer {
    /// A single adapter, named `who` if it fails.
    pub fn one(session: Session, who: String, on_loss: OnLoss) -> Self {
        Self::One(One { session, who, on_loss, step: 0 })
    }

    /// Draws the first values of all weights and states.
    ///
    /// # Errors
    /// If an adapter fails.
    pub fn initialize(&mut self, seed: u64) -> Result<()> {
        match self {
            Self::One(one) => one.session.initialize(seed),
            Self::Several(towers) => towers.initialize(seed),
        }
    }

    /// Takes over the weights, averages and states of a run that goes on.
    ///
    /// # Errors
    /// If they are those of another model, or an adapter fails.
    pub fn load(&mut self, weights: &Weights) -> Result<()> {
        match self {
            Self::One(one) => one.session.load(weights),
            Self::Several(towers) => towers.load(weights),
        }
    }

    /// One step: loss, gradient, update. May return before it is done.
    ///
    /// # Errors
    /// [`NoneLeft`] if no adapter is left that knows the weights.
    pub fn train(&mut self, batch: &Arc<Batch>, step: &Step) -> Result<()> {
        match self {
            Self::One(one) => {
                one.step = u64::from(step.step);
                one.ask(|session| session.train(batch, step))
            }
            Self::Several(towers) => towers.train(batch, step),
        }
    }

    /// Asks the session that holds the weights; waits for it.
    ///
    /// # Errors
    /// [`NoneLeft`] if it is the only adapter and fails.
    pub fn ask<T>(&mut self, work: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
        match self {
            Self::One(one) => one.ask(work),
            Self::Several(towers) => towers.ask(work),
        }
    }

    /// The values of a tensor of the weights, the gradients or the losses.
    ///
    /// # Errors
    /// As [`Trainer::ask`].
    pub fn read(&mut self, tensor: TensorId) -> Result<Vec<f32>> {
        self.ask(|session| session.read(tensor))
    }

    /// What the steps of several towers took since the last call; `None` with one adapter.
    pub fn take_times(&mut self) -> Option<Times> {
        match self {
            Self::One(_) => None,
            Self::Several(towers) => Some(towers.take_times()),
        }
    }
}

impl One {
    fn ask<T>(&mut self, work: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
        work(&mut self.session).map_err(|error| match self.on_loss {
            OnLoss::Stop => error,
            OnLoss::Continue => {
                let (who, step) = (self.who.clone(), self.step);
                Error::new(NoneLeft(Lost { who, step, cause: format!("{error:#}") }))
            }
        })
    }
}
