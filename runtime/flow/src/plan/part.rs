//! Parts of a plan: the flow into some of its stages, from other sources, into another end.

use anyhow::{Context as _, Result};
use async_channel::Receiver;

use super::{Plan, PlannedStage};
use crate::given::{Collect, Given};
use crate::item::Item;
use config::node::Node;
use config::suggest;

impl Plan {
    /// The stage of this name.
    ///
    /// # Errors
    /// If there is none; the message names those that are.
    pub fn find(&self, id: &str) -> Result<usize> {
        self.stages.iter().position(|stage| stage.id == id).with_context(|| {
            let known: Vec<&str> = self.stages.iter().map(|stage| &*stage.id).collect();
            let help = suggest::help(id, &known).map_or(String::new(), |help| format!("; {help}"));
            format!("the pipeline has no stage `{id}`{help}")
        })
    }

    /// Puts these items in the place of what a stage would put out. The stage reads nothing any
    /// more; what only it has read from goes with the next [`Plan::flow_into`].
    ///
    /// # Errors
    /// If there is no such stage, or it puts out nothing.
    pub fn give(&mut self, id: &str, items: Receiver<Item>) -> Result<()> {
        let at = self.find(id)?;
        let stage = &mut self.stages[at];
        let output = stage.output.clone();
        let output = output.with_context(|| format!("the stage `{id}` puts out nothing"))?;
        stage.config = Box::new(Given { output, items });
        stage.from.clear();
        stage.inputs.clear();
        Ok(())
    }

    /// These stages and everything that they read from, nothing else.
    ///
    /// # Errors
    /// If there is no stage of one of these names.
    pub fn flow_into(self, ids: &[&str]) -> Result<Self> {
        let mut kept = vec![false; self.stages.len()];
        for id in ids {
            kept[self.find(id)?] = true;
        }
        // Stages come after what they read.
        for at in (0..kept.len()).rev() {
            if kept[at] {
                self.stages[at].from.iter().for_each(|from| kept[*from] = true);
            }
        }
        let place = |old: usize| kept[..old].iter().filter(|kept| **kept).count();
        let stages = self.stages.into_iter().zip(&kept).filter(|(_, kept)| **kept);
        let stages = stages.map(|(stage, _)| PlannedStage {
            from: stage.from.iter().map(|from| place(*from)).collect(),
            ..stage
        });
        Ok(Self { stages: stages.collect(), ..self })
    }

    /// The flow into a stage with another end: a sink gathers this many images of what the stage
    /// puts out, or as many items where they hold none. The channel has them after the run.
    ///
    /// # Errors
    /// If there is no such stage, or it puts out nothing.
    pub fn collecting(self, id: &str, images: usize) -> Result<(Self, Receiver<Item>)> {
        let (collect, gathered) = Collect::new(images);
        Ok((self.ending(id, "collect", collect)?, gathered))
    }

    /// The flow into a stage, with a channel that has what the stage puts out while it runs.
    ///
    /// # Errors
    /// If there is no such stage, or it puts out nothing.
    pub fn passing_on(self, id: &str) -> Result<(Self, Receiver<Item>)> {
        let (collect, passed) = Collect::passing_on();
        Ok((self.ending(id, "collect", collect)?, passed))
    }

    /// The flow into a stage with nothing behind it: what it puts out is counted and dropped, and
    /// the flow ends after so many images.
    ///
    /// # Errors
    /// If there is no such stage, or it puts out nothing.
    pub fn counting(self, id: &str, images: usize) -> Result<Self> {
        self.ending(id, "count", Collect::dropping(images))
    }

    fn ending(self, id: &str, kind: &'static str, end: Collect) -> Result<Self> {
        let mut plan = self.flow_into(&[id])?;
        let at = plan.find(id)?;
        let input = plan.stages[at].output.clone();
        let input = input.with_context(|| format!("the stage `{id}` puts out nothing"))?;
        plan.stages.push(PlannedStage {
            // No stage of a pipeline has such a name.
            id: format!("{id}:{kind}"),
            kind,
            config: Box::new(end),
            fields: Node::Null,
            from: vec![at],
            inputs: vec![input],
            output: None,
        });
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::given;
    use crate::item::{Block, Image, Label, Pixels, Sample, SampleId, Source};
    use crate::port::{ImageType, PixelType, Port};
    use crate::stage::{Config, Context as StageContext, Map, Mismatch, RunSettings, Runner};
    use base::random::Random;
    use base::stop::Stop;

    /// Cannot be built.
    #[derive(Debug)]
    struct Absent;

    impl Config for Absent {
        fn check(&self, _: &[Port]) -> Result<Option<Port>, Mismatch> {
            Ok(None)
        }

        fn build(&self, _: &StageContext<'_>) -> Result<Runner> {
            anyhow::bail!("it is not part of the flow")
        }
    }

    /// Doubles every value.
    #[derive(Debug)]
    struct Double;

    impl Config for Double {
        fn check(&self, _: &[Port]) -> Result<Option<Port>, Mismatch> {
            Ok(None)
        }

        fn build(&self, _: &StageContext<'_>) -> Result<Runner> {
            Ok(Runner::Map { map: Arc::new(Self), workers: 2 })
        }
    }

    impl Map for Double {
        fn map(&self, sample: &mut Sample, _: &mut Random) -> Result<()> {
            sample.image.as_f32().iter_mut().for_each(|value| *value *= 2.0);
            Ok(())
        }
    }

    fn images() -> Port {
        Port::Samples(ImageType {
            pixel: PixelType::F32,
            shape: [1, 1, 1],
            classes: 2,
            whole_epochs: true,
            views: 1,
        })
    }

    /// `train` reads `other` and `made`; `double` reads `read`, which is made of `made`; `end`
    /// reads both. What makes `read` and `train` cannot be built.
    fn plan() -> Plan {
        let stage = |id: &str, config: Box<dyn Config>, from: &[usize], puts_out: bool| {
            let output = puts_out.then(images);
            let inputs = vec![images(); from.len()];
            let (id, from) = (id.to_owned(), from.to_vec());
            PlannedStage { id, kind: "kind", config, fields: Node::Null, from, inputs, output }
        };
        Plan {
            settings: RunSettings { channel_blocks: 1, ..RunSettings::default() },
            stages: vec![
                stage("other", Box::new(Absent), &[], true),
                stage("made", Box::new(Absent), &[], true),
                stage("train", Box::new(Absent), &[0], true),
                stage("read", Box::new(Absent), &[1], true),
                stage("double", Box::new(Double), &[3], true),
                stage("end", Box::new(Absent), &[4, 2], false),
            ],
            trials: Vec::new(),
            top: Node::Null,
            document: Node::Null,
        }
    }

    fn block(value: f32) -> Item {
        let source = Source {
            description: String::new(),
            epoch_images: 2,
            split: String::new(),
            classes: Vec::new(),
            stands_in_for: None,
            limit: None,
            in_a_row: None,
        };
        let sample = |index| Sample {
            id: SampleId { epoch: 0, index },
            label: Label::Class(0),
            image: Image { shape: [1, 1, 1], pixels: Pixels::F32(vec![value + index as f32]) },
        };
        let samples = vec![sample(0), sample(1)];
        Item::Block(Block { source: Arc::new(source), samples, ends_epoch: true })
    }

    fn names(plan: &Plan) -> Vec<(&str, &[usize])> {
        plan.stages.iter().map(|stage| (&*stage.id, &*stage.from)).collect()
    }

    #[test]
    fn a_flow_is_what_leads_into_it() {
        let flow = plan().flow_into(&["double"]).expect("a flow");
        assert_eq!(names(&flow), [("made", &[][..]), ("read", &[0]), ("double", &[1])]);
        let both = plan().flow_into(&["train", "read"]).expect("a flow");
        let expected = [("other", &[][..]), ("made", &[]), ("train", &[0]), ("read", &[1])];
        assert_eq!(names(&both), expected);
        let wrong = plan().flow_into(&["doubel"]).expect_err("no such stage").to_string();
        assert_eq!(wrong, "the pipeline has no stage `doubel`; did you mean `double`?");
    }

    #[test]
    fn what_is_given_needs_nothing_before_it() {
        let mut plan = plan();
        plan.give("train", given::items(Vec::new())).expect("it puts out");
        let wrong = plan.give("end", given::items(Vec::new())).expect_err("it ends the flow");
        assert_eq!(wrong.to_string(), "the stage `end` puts out nothing");
        let flow = plan.flow_into(&["end"]).expect("a flow");
        let expected =
            [("made", &[][..]), ("train", &[]), ("read", &[0]), ("double", &[2]), ("end", &[3, 1])];
        assert_eq!(names(&flow), expected);
        assert!(flow.collecting("end", 1).is_err());
    }

    #[test]
    fn a_part_runs_by_itself_until_enough_is_gathered() {
        for (images, expected) in [(1, 1), (2, 1), (3, 2), (100, 20)] {
            let mut plan = plan();
            let blocks = (0..20).map(|value| block(value as f32)).collect();
            plan.give("read", given::items(blocks)).expect("it puts out");
            let (plan, gathered) = plan.collecting("double", images).expect("a flow");
            crate::run::run(&plan, Stop::default(), |_| {}).expect("it runs");
            let values: Vec<Vec<f32>> = std::iter::from_fn(|| gathered.try_recv().ok())
                .map(|item| match item {
                    Item::Block(mut block) => block.samples.remove(1).image.as_f32().clone(),
                    _ => panic!("not what was sent"),
                })
                .collect();
            let all: Vec<Vec<f32>> =
                (0..expected).map(|value| vec![2.0 * (value as f32 + 1.0)]).collect();
            assert_eq!(values, all, "{images} images");
        }
    }
}
