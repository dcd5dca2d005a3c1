//! Where photos go into the flow that says how good weights are, and where scores come out.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};

use flow::item::{Block, Image, Item, Label, Sample, SampleId, Source};
use flow::photo::{self, Rules};
use flow::picture::Picture;
use flow::plan::Plan;
use flow::port::{ImageType, Port};

/// The ends of a flow that scores.
#[derive(Clone, Debug)]
pub struct Photos {
    /// The stage whose images photos take the place of.
    pub(crate) source: String,
    /// What its images are.
    pub image: ImageType,
    /// How it takes photos.
    pub rules: Rules,
    /// The stage that scores.
    pub(crate) score: String,
    /// How often each image is scored.
    pub(crate) views: usize,
}

impl Photos {
    /// Those of a plan.
    ///
    /// # Errors
    /// If the plan scores nothing, or photos cannot take the place of what it scores.
    pub fn of(plan: &Plan) -> Result<Self> {
        let score = &plan.stages[plan.scorer().context("the pipeline scores nothing")?];
        let views = score.inputs.iter().find_map(|input| match input {
            Port::Batches(image, _) => Some(image.views),
            _ => None,
        });
        // Back along the flow to where its images come from; its weights come from elsewhere.
        let edges = score.from.iter().zip(&score.inputs);
        let images = edges.filter(|(_, input)| !matches!(input, Port::Weights(_)));
        let mut waiting: Vec<usize> = images.map(|(from, _)| *from).collect();
        let mut sources = Vec::new();
        while let Some(at) = waiting.pop() {
            let stage = &plan.stages[at];
            match &stage.output {
                Some(Port::Samples(image)) if stage.from.is_empty() => sources.push((at, *image)),
                _ => waiting.extend(&stage.from),
            }
        }
        let [(source, image)] = sources[..] else {
            bail!(
                "the images of `{}` come from {} stages, and photos can take the place of one",
                score.id,
                sources.len()
            );
        };
        let channels = image.shape[2];
        ensure!(
            matches!(channels, 1 | 3),
            "the pipeline's images have {channels} channels, and photos have 3, or 1 in grey"
        );
        let source = &plan.stages[source];
        let (rules, source) = (source.config.photo_rules(), source.id.clone());
        Ok(Self { source, image, rules, score: score.id.clone(), views: views.unwrap_or(1) })
    }

    /// A pass over the pictures for each view.
    pub(crate) fn passes(&self, pictures: &[&Picture], classes: &[String]) -> Vec<Item> {
        let source = Arc::new(Source {
            description: "photos".to_owned(),
            epoch_images: pictures.len() as u64,
            split: "photos".to_owned(),
            classes: classes.to_vec(),
            stands_in_for: None,
            limit: None,
            in_a_row: None,
        });
        let images: Vec<Image> =
            pictures.iter().map(|picture| photo::as_image(&self.image, picture)).collect();
        let pass = |view: u64| {
            let samples = images.iter().enumerate().map(|(index, image)| Sample {
                id: SampleId { epoch: view, index: index as u64 },
                // It is not known; the loss, which needs it, is not looked at.
                label: Label::Class(0),
                image: image.clone(),
            });
            let samples = samples.collect();
            Item::Block(Block { source: Arc::clone(&source), samples, ends_epoch: true })
        };
        (0..self.views as u64).map(pass).collect()
    }
}
