//! The network of TensorFlow's CIFAR-10 tutorial, for tests and `selftest`, which have no YAML.

use std::sync::Arc;

use super::compile::ListedLayer;
use super::initializer::Initializer::{self, Constant, TruncatedNormal};
use super::layer::Layer;
use super::layers::conv2d::Conv2d;
use super::layers::dense::Dense;
use super::layers::local_response_norm::LocalResponseNorm;
use super::layers::max_pool::MaxPool;
use super::layers::relu::Relu;
use super::layers::softmax_cross_entropy::SoftmaxCrossEntropy;
use super::window::Padding;
use crate::extent::Extent;

/// The layers, the convolutions' weights drawn with this standard deviation: 0.05 in the
/// tutorial's later version, 0.0001 in that of 2015.
pub fn layers(deviation: f64) -> Vec<ListedLayer> {
    let conv = |biases| Conv2d {
        channels: 64,
        kernel: Extent::square(5),
        stride: Extent::square(1),
        padding: Padding::Same,
        weights: TruncatedNormal(deviation),
        biases: Constant(biases),
        weight_decay: 0.0,
    };
    let pool =
        MaxPool { kernel: Extent::square(3), stride: Extent::square(2), padding: Padding::Same };
    let norm = LocalResponseNorm { radius: 4, bias: 1.0, alpha: 0.001 / 9.0, beta: 0.75 };
    let dense = |units, weights: Initializer, biases, weight_decay| Dense {
        units,
        weights,
        biases: Constant(biases),
        weight_decay,
    };
    vec![
        listed("conv1", "conv2d", conv(0.0)),
        listed("relu1", "relu", Relu {}),
        listed("pool1", "max_pool", pool.clone()),
        listed("norm1", "local_response_norm", norm.clone()),
        listed("conv2", "conv2d", conv(0.1)),
        listed("relu2", "relu", Relu {}),
        listed("norm2", "local_response_norm", norm),
        listed("pool2", "max_pool", pool),
        listed("local3", "dense", dense(384, TruncatedNormal(0.04), 0.1, 0.004)),
        listed("relu3", "relu", Relu {}),
        listed("local4", "dense", dense(192, TruncatedNormal(0.04), 0.1, 0.004)),
        listed("relu4", "relu", Relu {}),
        listed("softmax_linear", "dense", dense(10, TruncatedNormal(1.0 / 192.0), 0.0, 0.0)),
        listed("loss", "softmax_cross_entropy", SoftmaxCrossEntropy::default()),
    ]
}

fn listed(name: &str, kind: &'static str, layer: impl Layer) -> ListedLayer {
    ListedLayer { name: Some(name.to_owned()), ..ListedLayer::of(kind, Arc::new(layer)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::compile::compile;

    #[test]
    fn the_tutorials_network_has_its_published_size() {
        let graph = compile(&layers(0.05), [24, 24, 3], 10).expect("a valid model");
        assert_eq!(graph.parameter_count(), 1_068_298);
        assert_eq!(graph.multiply_adds(), 18_470_784);
        let shapes: Vec<&[usize]> = graph.layers.iter().map(|l| l.output.as_slice()).collect();
        assert_eq!(shapes[2], [12, 12, 64]);
        assert_eq!(shapes[7], [6, 6, 64]);
    }
}
