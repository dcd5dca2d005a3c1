//! The engine's own ends of a flow: a source of items that are given, and a sink that gathers.

use anyhow::Result;
use async_channel::{Receiver, Sender, bounded};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::channel::Ports;
use crate::item::Item;
use crate::port::Port;
use crate::stage::{Config, Context, Mismatch, Runner, Stage};

/// A channel that holds these items and ends with them.
pub fn items(items: Vec<Item>) -> Receiver<Item> {
    let (sender, receiver) = bounded(items.len().max(1));
    for item in items {
        // There is room for all, and the other end is here.
        let _ = sender.try_send(item);
    }
    receiver
}

/// Puts out what comes through a channel, and ends with it.
#[derive(Clone, Debug)]
pub struct Given {
    /// The type of the items.
    pub output: Port,
    /// Where they come from.
    pub items: Receiver<Item>,
}

impl Config for Given {
    fn check(&self, _: &[Port]) -> Result<Option<Port>, Mismatch> {
        Ok(Some(self.output.clone()))
    }

    fn build(&self, _: &Context<'_>) -> Result<Runner> {
        Ok(Runner::Stage(Box::new(self.clone())))
    }
}

impl Stage for Given {
    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
        async move {
            while let Ok(item) = self.items.recv().await {
                if ports.send(item).await.is_err() {
                    break;
                }
            }
            Ok(())
        }
        .boxed()
    }
}

/// Takes what comes in until it is enough, which ends the flow.
#[derive(Clone, Debug)]
pub struct Collect {
    images: usize,
    /// Where it goes; dropped if nowhere.
    items: Option<Sender<Item>>,
}

impl Collect {
    /// A sink for this many images, or as many items where they hold none; and the channel that
    /// has them after the run.
    pub fn new(images: usize) -> (Self, Receiver<Item>) {
        // Room for all: nobody takes anything out before the end.
        let (items, gathered) = bounded(images.max(1));
        (Self { images, items: Some(items) }, gathered)
    }

    /// A sink for this many images, or items, that keeps none.
    pub fn dropping(images: usize) -> Self {
        Self { images, items: None }
    }
}

impl Config for Collect {
    fn check(&self, _: &[Port]) -> Result<Option<Port>, Mismatch> {
        Ok(None)
    }

    fn build(&self, _: &Context<'_>) -> Result<Runner> {
        Ok(Runner::Stage(Box::new(self.clone())))
    }
}

impl Stage for Collect {
    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
        async move {
            let mut images = 0;
            while images < self.images
                && let Some(item) = ports.receive(0).await
            {
                images += item.images().max(1);
                if let Some(items) = &self.items
                    && items.send(item).await.is_err()
                {
                    break;
                }
            }
            Ok(())
        }
        .boxed()
    }
}
