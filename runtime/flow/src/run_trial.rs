//! Runs a test of a pipeline's YAML.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use base::stop::Stop;

use crate::given;
use crate::item::{Block, Item, Label, Sample, SampleId, Source};
use crate::photo::{self, Rules};
use crate::plan::Plan;
use crate::port::Port;
use crate::run::run;
use crate::trial::{Input, Trial};

/// What is not as expected, a line each.
///
/// # Errors
/// If the image cannot be read, or does not get through the stages.
pub fn run_trial(trial: &Trial, plan: Plan) -> Result<Vec<String>> {
    let source = plan.image_source(&trial.stage)?;
    let sample = sample(trial, &plan, source)?;
    let id = plan.stages[source].id.clone();
    let mut plan = plan.flow_into(&[&trial.stage])?;
    plan.give(&id, given::items(vec![alone(sample)]))?;
    let (plan, gathered) = plan.collecting(&trial.stage, 1)?;
    run(&plan, Stop::default(), |_| {})?;
    match gathered.try_recv() {
        Ok(Item::Block(Block { samples, .. })) if samples.len() == 1 => {
            Ok(trial.differences(&samples[0].image))
        }
        _ => bail!("`{}` did not put out the image", trial.stage),
    }
}

fn sample(trial: &Trial, plan: &Plan, source: usize) -> Result<Sample> {
    let stage = &plan.stages[source];
    match &trial.image {
        Input::Drawing(number) => {
            let mut sample =
                stage.config.as_reads().and_then(|reads| reads.made_up(*number)).with_context(
                    || format!("`{}` reads what there are no drawings of", stage.id),
                )?;
            sample.id.epoch = trial.epoch;
            Ok(sample)
        }
        Input::File(file) => {
            let Some(Port::Samples(wanted)) = stage.output else {
                bail!("`{}` puts out no images", stage.id)
            };
            let [height, width, _] = wanted.shape;
            let path = plan.settings.folder.join(file);
            let rules = Rules { refuse_tiny: true, ..stage.config.photo_rules() };
            let picture = photo::load(&path, width, height, rules)
                .with_context(|| format!("cannot use {}", file.display()))?;
            Ok(Sample {
                id: SampleId { epoch: trial.epoch, index: 0 },
                label: Label::Class(0),
                image: photo::as_image(&wanted, &picture),
            })
        }
    }
}

/// An epoch of one image.
fn alone(sample: Sample) -> Item {
    let source = Source {
        description: "an image of a test".to_owned(),
        epoch_images: 1,
        split: String::new(),
        classes: Vec::new(),
        stands_in_for: None,
        limit: None,
        in_a_row: None,
    };
    Item::Block(Block { source: Arc::new(source), samples: vec![sample], ends_epoch: true })
}
