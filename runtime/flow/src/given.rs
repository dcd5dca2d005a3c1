//! The engine's own ends of a flow: a source of items that are given, and a sink that gathers.

use std::pin::pin;

use anyhow::Result;
use async_channel::{Receiver, Sender, bounded};
use futures::FutureExt as _;
use futures::future::{self, BoxFuture, Either};

use crate::channel::Ports;
use crate::item::Item;
use crate::port::Port;
use crate::stage::{Config, Context, Mismatch, Runner, Stage};
use base::stop::Stop;

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

    fn build(&self, context: &Context<'_>) -> Result<Runner> {
        let (items, stop) = (self.items.clone(), context.stop.clone());
        Ok(Runner::Stage(Box::new(Giving { items, stop })))
    }
}

struct Giving {
    items: Receiver<Item>,
    /// Whoever has the other end may keep it when the run is to end.
    stop: Stop,
}

impl Stage for Giving {
    fn run<'a>(&'a mut self, ports: &'a mut Ports) -> BoxFuture<'a, Result<()>> {
        async move {
            while let Either::Left((Ok(item), _)) =
                future::select(pin!(self.items.recv()), pin!(self.stop.stopped())).await
            {
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

    /// A sink that passes on everything until nobody takes it any more, a few items ahead.
    pub fn passing_on() -> (Self, Receiver<Item>) {
        let (items, passed) = bounded(2);
        (Self { images: usize::MAX, items: Some(items) }, passed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Limit;
    use crate::plan::{Plan, PlannedStage};
    use crate::port::{ImageType, PixelType};
    use crate::run::run;
    use crate::stage::RunSettings;
    use config::node::Node;

    /// A flow of these items that nobody waits for the end of.
    fn endless(items: Receiver<Item>) -> Plan {
        let output = Port::Samples(ImageType {
            pixel: PixelType::U8,
            shape: [1, 1, 1],
            classes: 1,
            whole_epochs: true,
            views: 1,
        });
        let stage = |id: &str, config: Box<dyn Config>, from: Vec<usize>| PlannedStage {
            id: id.to_owned(),
            kind: "test",
            config,
            fields: Node::Null,
            from,
            inputs: Vec::new(),
            output: None,
        };
        Plan {
            settings: RunSettings {
                limit: Limit::default(),
                channel_blocks: 1,
                ..Default::default()
            },
            stages: vec![
                stage("given", Box::new(Given { output, items }), vec![]),
                stage("collect", Box::new(Collect::dropping(usize::MAX)), vec![0]),
            ],
            trials: Vec::new(),
            top: Node::Null,
            document: Node::Null,
        }
    }

    #[test]
    fn a_run_stops_though_its_items_may_still_come() {
        let (sender, items) = bounded(1);
        let plan = endless(items);
        let stop = Stop::default();
        let (done, ended) = std::sync::mpsc::channel();
        let its = stop.clone();
        std::thread::spawn(move || done.send(run(&plan, its, |_| {}).map(|o| o.interrupted).ok()));
        stop.stop();
        let ended = ended.recv_timeout(std::time::Duration::from_secs(60));
        assert_eq!(ended, Ok(Some(true)));
        drop(sender);
    }

    #[test]
    fn a_run_whose_observer_panics_is_stopped() {
        let (_sender, items) = bounded(1);
        let (plan, stop) = (endless(items), Stop::default());
        let its = stop.clone();
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run(&plan, its, |_| panic!("the observer's own"))
        }));
        assert!(ran.is_err() && stop.is_stopped());
    }
}
