//! The types of edges: checked through the whole pipeline before anything opens.

use std::fmt;
use std::sync::Arc;

use compute::graph::Graph;

/// The element type of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelType {
    /// Bytes, 0 to 255.
    U8,
    /// 32-bit reals.
    F32,
}

/// The type of images that cross an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageType {
    /// The element type.
    pub pixel: PixelType,
    /// Height, width, channels.
    pub shape: [usize; 3],
    /// The number of classes of the labels.
    pub classes: usize,
    /// Whether each image comes exactly once per epoch and the end of each epoch is marked, as an
    /// evaluation needs it.
    pub whole_epochs: bool,
    /// Epochs that make one evaluation: each shows every image in another view. 1 normally.
    pub views: usize,
}

impl fmt::Display for ImageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pixel = match self.pixel {
            PixelType::U8 => "u8",
            PixelType::F32 => "f32",
        };
        let [height, width, channels] = self.shape;
        write!(f, "{pixel}[{height}, {width}, {channels}]")?;
        if self.views > 1 { write!(f, " in {} views", self.views) } else { Ok(()) }
    }
}

/// The type of what a stage puts out.
#[derive(Clone, Debug)]
pub enum Port {
    /// Images, one by one, in blocks.
    Samples(ImageType),
    /// Images for one step, this many of them.
    Batches(ImageType, usize),
    /// Gradients of this model, on batches of this many images.
    Gradients(Arc<Graph>, usize),
    /// Weights of this model.
    Weights(Arc<Graph>),
    /// Scores of this many classes.
    Scores(usize),
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Samples(image) => write!(f, "images {image}"),
            Self::Batches(image, size) => write!(f, "batches {size} x {image}"),
            Self::Gradients(graph, batch) => {
                write!(f, "gradients of {} numbers, batch {batch}", graph.parameter_count())
            }
            Self::Weights(graph) => {
                let numbers = graph.parameter_count() + graph.frozen_count();
                write!(f, "weights, {numbers} numbers")
            }
            Self::Scores(classes) => write!(f, "scores of {classes} classes"),
        }
    }
}
