//! The tutorial's network, and a step of training.

use burn::nn::{LocalResponseNorm, LocalResponseNormConfig};
use burn::tensor::activation::relu;
use burn::tensor::loss::cross_entropy_with_logits;
use burn::tensor::module::{conv2d, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Gradients, Tensor, TensorData};

const LEARNING_RATE: f32 = 0.1;
const WEIGHT_DECAY: f32 = 0.004;
const AVERAGE_DECAY: f32 = 0.9999;
const CHANNELS: usize = 64;

/// Local response normalisation over 9 channels.
pub enum Lrn {
    /// As Burn has it.
    Builtin(LocalResponseNorm),
    /// The sums of squares by a 1x1 convolution with a band matrix.
    Band(Tensor<4>),
}

impl Lrn {
    pub fn builtin() -> Self {
        let config = LocalResponseNormConfig::new(9).with_alpha(0.001).with_beta(0.75).with_k(1.0);
        Self::Builtin(config.init())
    }

    pub fn band(device: &Device) -> Self {
        let near = |at: usize| (at / CHANNELS).abs_diff(at % CHANNELS) <= 4;
        let band: Vec<f32> = (0..CHANNELS * CHANNELS).map(|at| f32::from(near(at))).collect();
        let shape = [CHANNELS, CHANNELS, 1, 1];
        Self::Band(Tensor::from_data(TensorData::new(band, shape), device))
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Builtin(module) => module.forward(x),
            Self::Band(band) => {
                let options = ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
                let sums = conv2d(x.clone().square(), band.clone(), None, options);
                x / sums.mul_scalar(0.001 / 9.0).add_scalar(1.0).powf_scalar(0.75)
            }
        }
    }
}

/// A weight with its moving average, which no gradient reaches.
struct Weight<const D: usize> {
    value: Tensor<D>,
    average: Tensor<D>,
}

impl<const D: usize> Weight<D> {
    fn new(values: Vec<f32>, shape: [usize; D], device: &Device) -> Self {
        let value = Tensor::from_data(TensorData::new(values, shape), device).require_grad();
        Self { average: value.clone().inner(), value }
    }

    fn read(&self) -> Tensor<D> {
        self.value.clone()
    }

    fn update(&mut self, gradients: &mut Gradients) {
        let gradient = self.value.grad_remove(gradients).expect("every weight is used");
        let value = self.value.clone().inner() - gradient.mul_scalar(LEARNING_RATE);
        self.average = self.average.clone().mul_scalar(AVERAGE_DECAY)
            + value.clone().mul_scalar(1.0 - AVERAGE_DECAY);
        self.value = Tensor::from_inner(value).require_grad();
    }
}

/// Weights and biases of a layer; `D` dimensions and `B`.
struct Layer<const D: usize, const B: usize> {
    weights: Weight<D>,
    biases: Weight<B>,
}

impl<const D: usize, const B: usize> Layer<D, B> {
    fn new(
        shape: [usize; D],
        deviation: f32,
        biases: ([usize; B], f32),
        random: &mut Random,
        device: &Device,
    ) -> Self {
        let count = shape.iter().product();
        let weights = (0..count).map(|_| deviation * random.truncated_normal()).collect();
        let (bias_shape, bias) = biases;
        let biases = vec![bias; bias_shape.iter().product()];
        Self {
            weights: Weight::new(weights, shape, device),
            biases: Weight::new(biases, bias_shape, device),
        }
    }

    fn update(&mut self, gradients: &mut Gradients) {
        self.weights.update(gradients);
        self.biases.update(gradients);
    }

    fn parameters(&self) -> usize {
        self.weights.value.dims().iter().product::<usize>()
            + self.biases.value.dims().iter().product::<usize>()
    }
}

impl Layer<4, 1> {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new([1, 1], [2, 2], [1, 1], 1);
        relu(conv2d(x, self.weights.read(), Some(self.biases.read()), options))
    }
}

impl Layer<2, 2> {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weights.read()) + self.biases.read()
    }
}

pub struct Network {
    lrn: Lrn,
    conv1: Layer<4, 1>,
    conv2: Layer<4, 1>,
    local3: Layer<2, 2>,
    local4: Layer<2, 2>,
    softmax_linear: Layer<2, 2>,
}

impl Network {
    pub fn new(lrn: Lrn, device: &Device) -> Self {
        let random = &mut Random(0x9E37_79B9_7F4A_7C15);
        Self {
            lrn,
            conv1: Layer::new([CHANNELS, 3, 5, 5], 0.05, ([CHANNELS], 0.0), random, device),
            conv2: Layer::new([CHANNELS, CHANNELS, 5, 5], 0.05, ([CHANNELS], 0.1), random, device),
            local3: Layer::new([2304, 384], 0.04, ([1, 384], 0.1), random, device),
            local4: Layer::new([384, 192], 0.04, ([1, 192], 0.1), random, device),
            softmax_linear: Layer::new([192, 10], 1.0 / 192.0, ([1, 10], 0.0), random, device),
        }
    }

    pub fn parameters(&self) -> usize {
        self.conv1.parameters()
            + self.conv2.parameters()
            + self.local3.parameters()
            + self.local4.parameters()
            + self.softmax_linear.parameters()
    }

    fn logits(&self, images: Tensor<4>) -> Tensor<2> {
        let count = images.dims()[0];
        let x = self.lrn.forward(pool(self.conv1.forward(images)));
        let x = pool(self.lrn.forward(self.conv2.forward(x)));
        let x: Tensor<2> = x.reshape([count, 2304]);
        let x = relu(self.local3.forward(x));
        let x = relu(self.local4.forward(x));
        self.softmax_linear.forward(x)
    }

    /// Forward, backward, update and averages; the loss, on the host.
    pub fn train(&mut self, images: Tensor<4>, labels: Tensor<2>) -> f32 {
        let entropy = cross_entropy_with_logits(self.logits(images), labels);
        let decayed = [self.local3.weights.read(), self.local4.weights.read()];
        let [first, second] = decayed.map(|weights| weights.square().sum());
        let loss = entropy + (first + second).mul_scalar(0.5 * WEIGHT_DECAY);
        let gradients = &mut loss.backward();
        self.conv1.update(gradients);
        self.conv2.update(gradients);
        self.local3.update(gradients);
        self.local4.update(gradients);
        self.softmax_linear.update(gradients);
        loss.inner().into_scalar::<f32>()
    }
}

/// As TensorFlow's SAME at these sizes: nothing before, one after.
fn pool(x: Tensor<4>) -> Tensor<4> {
    let options = MaxPoolOptions::new([3, 3]).with_stride([2, 2]);
    max_pool2d(x, options.with_padding_pairs([(0, 1), (0, 1)]))
}

/// Xorshift; which numbers come out does not matter here.
struct Random(u64);

impl Random {
    /// Between 0 and 1, neither of them.
    fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 41) as f32 + 0.5) / (1u32 << 23) as f32
    }

    /// With standard deviation 1, drawn again beyond twice that.
    fn truncated_normal(&mut self) -> f32 {
        loop {
            let radius = (-2.0 * self.uniform().ln()).sqrt();
            let value = radius * (std::f32::consts::TAU * self.uniform()).cos();
            if value.abs() <= 2.0 {
                return value;
            }
        }
    }
}
