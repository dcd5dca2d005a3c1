//! A model that trains: it checks each batch and hands it to the owner of the weights.

use anyhow::{Result, anyhow, bail};
use flow::channel::Ports;
use flow::item::{Batch, GradientTask, Item, Label};
use flow::stage::Stage;
use futures::FutureExt as _;
use futures::future::BoxFuture;

/// Describes gradients; whoever owns the weights computes them, so that a batch can be cut over
/// several adapters, or redone on another, without coming back here.
#[derive(Debug)]
pub struct Train {
    classes: usize,
}

impl Train {
    /// For labels of this many classes.
    pub fn new(classes: usize) -> Self {
        Self { classes }
    }
}

impl Stage for Train {
    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
        async move {
            while let Some(item) = ports.receive(0).await {
                let Item::Batch(batch) = item else { bail!("it takes batches only") };
                check_labels(&batch, self.classes)?;
                if ports.send(Item::GradientTask(GradientTask { batch })).await.is_err() {
                    break;
                }
            }
            Ok(())
        }
        .boxed()
    }
}

/// Refuses a batch with a label that is none of the classes, or has another number of them.
pub(crate) fn check_labels(batch: &Batch, classes: usize) -> Result<()> {
    for (label, id) in batch.labels.iter().zip(&batch.ids) {
        check_label(label, classes).map_err(|wrong| {
            anyhow!("image {} of {}: {wrong}", id.index, batch.source.description)
        })?;
    }
    Ok(())
}

fn check_label(label: &Label, classes: usize) -> Result<(), String> {
    match label {
        Label::Class(class) if *class as usize >= classes => {
            Err(format!("its label is {class}, and the classes are 0 to {}", classes - 1))
        }
        Label::Distribution(shares) if shares.len() != classes => {
            Err(format!("its label has {} classes instead of {classes}", shares.len()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_out_of_range_are_refused() {
        assert!(check_label(&Label::Class(9), 10).is_ok());
        assert!(check_label(&Label::Class(10), 10).is_err());
        assert!(check_label(&Label::Distribution([0.5, 0.5].into()), 2).is_ok());
        assert!(check_label(&Label::Distribution([0.5, 0.5].into()), 3).is_err());
    }
}
