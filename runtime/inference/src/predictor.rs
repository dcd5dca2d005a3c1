//! A model that is ready to score pictures, as often as it is asked to.

use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Error, Result, anyhow};
use async_channel::{Receiver, Sender, bounded};

use base::stop::Stop;
use flow::event::{Event, Message};
use flow::item::{Item, Scores, Weights};
use flow::picture::Picture;
use flow::plan::Plan;

use crate::photos::Photos;
use crate::trained::evaluations;

/// A model that is ready to score pictures: the flow that evaluates it, on threads that wait for
/// pictures.
#[derive(Debug)]
pub struct Predictor {
    photos: Photos,
    classes: Vec<String>,
    model: Arc<Weights>,
    weights: Sender<Item>,
    images: Sender<Item>,
    scores: Receiver<Item>,
    stop: Stop,
    flow: Mutex<Flow>,
}

/// The threads that score.
#[derive(Debug)]
enum Flow {
    Running(JoinHandle<Result<()>>),
    /// With why, for whoever asks again.
    Ended(String),
}

impl Flow {
    /// Why it has ended: an error with all that caused it at the first call, and its text after that.
    fn end(&mut self) -> Error {
        match mem::replace(self, Self::Ended(String::new())) {
            Self::Running(thread) => {
                let error = match thread.join() {
                    Ok(Err(error)) => error,
                    Ok(Ok(())) => anyhow!("nothing more is to be scored"),
                    Err(_) => anyhow!("a stage of the model has panicked"),
                };
                *self = Self::Ended(format!("{error:#}"));
                error
            }
            Self::Ended(why) => {
                let error = anyhow!("the model has stopped: {why}");
                *self = Self::Ended(why);
                error
            }
        }
    }
}

impl Predictor {
    /// Starts the flow of a plan that evaluates these weights. `path` is their checkpoint, for
    /// errors; `warn` is told what stages warn of.
    ///
    /// # Errors
    /// If photos cannot take the place of what the plan evaluates. What goes wrong once the flow
    /// runs is told by [`Predictor::score`].
    pub fn new(
        plan: Plan,
        path: &Path,
        weights: Arc<Weights>,
        warn: impl Fn(&str) + Send + 'static,
    ) -> Result<Self> {
        let (weights_in, weights_out) = bounded(1);
        let mut plan = evaluations(plan, path, weights_out)?;
        let photos = Photos::of(&plan)?;
        // Room for a pass for each view: what is sent waits for nothing that is yet to be taken.
        let (images_in, images_out) = bounded(photos.views.max(1));
        plan.give(&photos.source, images_out)?;
        let (mut plan, scores) = plan.passing_on(&photos.score)?;
        // A pass stays one block: a stage that took in another one for each block that it puts out
        // would wait for pictures that nobody has.
        plan.settings.block_images = usize::MAX;
        let stop = Stop::default();
        let its = stop.clone();
        let run = move || {
            let observe = |message: Message| {
                if let Event::Warning(text) = &message.event {
                    warn(text);
                }
            };
            flow::run::run(&plan, its, observe).map(drop)
        };
        let flow = thread::Builder::new().name("predictor".to_owned()).spawn(run)?;
        Ok(Self {
            photos,
            classes: weights.source.classes.clone(),
            model: weights,
            weights: weights_in,
            images: images_in,
            scores,
            stop,
            flow: Mutex::new(Flow::Running(flow)),
        })
    }

    /// Where its pictures go in.
    pub fn photos(&self) -> &Photos {
        &self.photos
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The probabilities of each picture's classes, averaged over the views. The pictures have the
    /// height and width of [`Photos::image`].
    ///
    /// # Errors
    /// If the flow fails. It stays so.
    pub fn score(&self, pictures: &[&Picture]) -> Result<Vec<Vec<f64>>> {
        self.score_and(pictures, false)
    }

    /// The same, for the last time: the flow ends, whatever its stages wait for.
    ///
    /// # Errors
    /// If the flow fails.
    pub fn score_last(self, pictures: &[&Picture]) -> Result<Vec<Vec<f64>>> {
        self.score_and(pictures, true)
    }

    fn score_and(&self, pictures: &[&Picture], is_last: bool) -> Result<Vec<Vec<f64>>> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        let mut flow = self.flow.lock().unwrap_or_else(PoisonError::into_inner);
        match self.scored(pictures, is_last) {
            Some(shares) => Ok(shares),
            None => Err(flow.end()),
        }
    }

    /// The same; `None` if the flow has ended.
    fn scored(&self, pictures: &[&Picture], is_last: bool) -> Option<Vec<Vec<f64>>> {
        self.weights.send_blocking(Item::Weights(Arc::clone(&self.model))).ok()?;
        for pass in self.photos.passes(pictures, &self.classes) {
            self.images.send_blocking(pass).ok()?;
        }
        if is_last {
            self.images.close();
            self.weights.close();
        }
        let mut shares: Vec<Vec<f64>> = vec![Vec::new(); pictures.len()];
        let mut left = pictures.len() * self.photos.views;
        while left > 0 {
            let Item::Scores(scores) = self.scores.recv_blocking().ok()? else { continue };
            left = left.saturating_sub(scores.batch.ids.len());
            add(&mut shares, &scores);
        }
        let views = self.photos.views as f64;
        shares.iter_mut().flatten().for_each(|sum| *sum /= views);
        Some(shares)
    }
}

impl Drop for Predictor {
    fn drop(&mut self) {
        self.stop.stop();
        let flow = self.flow.get_mut().unwrap_or_else(PoisonError::into_inner);
        // What went wrong at the end cannot be told any more.
        if let Flow::Running(_) = flow {
            flow.end();
        }
    }
}

fn add(shares: &mut [Vec<f64>], scores: &Scores) {
    for (id, probabilities) in scores.batch.ids.iter().zip(scores.probabilities()) {
        let Some(sums) = shares.get_mut(id.index as usize) else { continue };
        sums.resize(probabilities.len(), 0.0);
        sums.iter_mut().zip(probabilities).for_each(|(sum, share)| *sum += share);
    }
}
