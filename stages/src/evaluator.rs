//! Counts how often the right class is among the highest scores.

mod tally;

use anyhow::{Result, bail};
use flow::channel::Ports;
use flow::event::{Event, Events};
use flow::item::Item;
use flow::port::Port;
use flow::stage::{Config, Context, Kind, Mismatch, Runner, Stage};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use tally::Tally;

use crate::Catalog;

/// Takes scores of one epoch of images after the other and says `precision @ 1`, which is
/// accuracy, for each, and what there is to know beside it. Every image counts exactly once.
///
/// Images in several views are counted after the last: the softmax probabilities of an image's
/// views are averaged, the highest of these is what the image is taken for, and the loss is the
/// cross-entropy of these averages.
///
/// Of equal scores, or probabilities, the class with the lower number counts as the higher: a model
/// whose scores are all alike is right for the first k classes. An image with a score that is no finite number is wrong for every k.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluator {
    /// An image is right for precision @ k if its class is among the k highest scores. More than
    /// there are classes is taken for all of them.
    #[schemars(range(min = 1))]
    pub k: usize,
    /// How many mistakes are shown, those made with the greatest confidence.
    #[schemars(range(max = 1000))]
    pub mistakes: usize,
}

/// Each is kept with its image, and nobody looks at so many.
const MOST_MISTAKES: usize = 1000;

impl Default for Evaluator {
    fn default() -> Self {
        Self { k: 5, mistakes: 12 }
    }
}

/// The kind.
pub fn kind(_: &Catalog) -> Kind {
    Kind::of::<Evaluator>(
        "evaluator",
        "Says precision @ 1 (accuracy) and @ k, loss, confusions and worst mistakes of a model's \
         scores, each image counted once.",
        "{ k: 5, mistakes: 12 }",
    )
}

impl Config for Evaluator {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let [Port::Scores(_)] = inputs else {
            return Err(Mismatch::new("an evaluator takes the scores of one model")
                .help("`from:` a model that reads batches and weights"));
        };
        let mut wrong = Vec::new();
        if self.k == 0 {
            wrong.push(
                Mismatch::field("k", "no image is right among the 0 highest scores")
                    .help("at least 1"),
            );
        }
        if self.mistakes > MOST_MISTAKES {
            let message = format!("nobody looks at {} mistakes", self.mistakes);
            wrong.push(
                Mismatch::field("mistakes", message).help(format!("at most {MOST_MISTAKES}")),
            );
        }
        Mismatch::all(wrong)?;
        Ok(None)
    }

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        let (stage, config) = (context.stage.to_owned(), self.clone());
        Ok(Runner::Stage(Box::new(Evaluate { stage, config, events: context.events.clone() })))
    }
}

#[derive(Debug)]
struct Evaluate {
    stage: String,
    config: Evaluator,
    events: Events,
}

impl Stage for Evaluate {
    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
        async move {
            let mut tally = Tally::default();
            while let Some(item) = ports.receive(0).await {
                let Item::Scores(scores) = item else { bail!("it takes scores only") };
                tally.add(&scores, self.config.mistakes)?;
                if scores.batch.ends_epoch && tally.end_view(&scores)? {
                    let tally = std::mem::take(&mut tally);
                    let report = tally.report(&self.stage, self.config.k, &scores);
                    self.events.emit(Event::Evaluation(report));
                }
            }
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_count_nothing_or_too_much_are_refused() {
        let check = |k, mistakes| Evaluator { k, mistakes }.check(&[Port::Scores(10)]);
        assert!(check(1, 0).is_ok() && check(50, 1000).is_ok());
        let wrong = check(0, 1001).expect_err("refused");
        assert_eq!(
            (wrong.field, wrong.also[0].field.clone()),
            (vec!["k".to_owned()], vec!["mistakes".to_owned()])
        );
    }
}
