//! Prints how fast each form of the convolution and dense kernels is at the sizes of the tutorial's
//! network, and in how many workgroups it runs. The first is the one that adapters take unasked:
//! `cargo run --release --example kernel_rates [IMAGES] [PART OF AN ADAPTER'S NAME]`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use compute::adapter::host::Cpu;
use compute::adapter::{Adapter, Lowering, Values, wgpu};
use compute::graph::{Graph, Node, Op, Phase, Role, Tensor, TensorId};
use compute::kernel::{Constants, Kernel, Step};
use compute::verify;
use shaders::{
    bias_backward, conv2d_backward_input, conv2d_backward_weights, conv2d_forward,
    dense_backward_input, dense_backward_weights, dense_forward,
};

/// Parts in which the gradients of biases are summed over the images: what `model` takes for
/// small gradients.
const BIAS_SPLITS: usize = 64;

/// How often a kernel is timed; the best counts.
const RUNS: usize = 5;

/// One use of a kernel, and its floating-point operations for an image.
struct Use {
    kernel: &'static Kernel,
    constants: Constants,
    operations: usize,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let images = arguments.next().map_or(Ok(128), |text| text.parse()).context("IMAGES")?;
    let wanted = arguments.next().unwrap_or_default().to_lowercase();
    let mut adapters: Vec<Box<dyn Adapter>> = vec![Box::new(Cpu::new(0)?)];
    for adapter in wgpu::enumerate() {
        adapters.push(Box::new(adapter));
    }
    for adapter in adapters {
        let info = adapter.info();
        if !format!("{} {}", info.name, info.backend).to_lowercase().contains(&wanted) {
            continue;
        }
        println!("{} ({}, {}), {images} images", info.name, info.backend, info.driver);
        let (mut first, mut best) = (Duration::ZERO, Duration::ZERO);
        for used in network() {
            println!("{} {}", used.kernel.name, used.constants);
            let mut times = Vec::new();
            for (name, kernel, variant) in verify::forms(adapter.as_ref(), used.kernel) {
                if variant.is_some_and(|variant| !(variant.applies)(&used.constants)) {
                    continue;
                }
                let time = best_time(adapter.as_ref(), kernel, &used.constants, images)?;
                times.push(time);
                let rate = (used.operations * images) as f64 / time.as_secs_f64() / 1e9;
                let milliseconds = 1e3 * time.as_secs_f64();
                let groups = variant.map_or(String::new(), |variant| {
                    let groups = (variant.workgroups)(&used.constants, images);
                    format!(", {} workgroups", groups.iter().product::<u32>())
                });
                println!("{rate:10.2} GFLOP/s {milliseconds:9.3} ms  {name}{groups}");
            }
            first += times.first().copied().unwrap_or_default();
            best += times.iter().min().copied().unwrap_or_default();
        }
        let rate = |time: Duration| images as f64 / time.as_secs_f64();
        println!("together {:.1} images/s, {:.1} in the best forms", rate(first), rate(best));
    }
    Ok(())
}

/// What one training step runs of these kernels.
fn network() -> Vec<Use> {
    let mut uses = Vec::new();
    // The gradients of the first convolution's weights are few numbers and summed in as many parts
    // as `model` ever takes; those of the second are 102,400, of which 16 parts fit the 2^21
    // numbers that it allows for parts.
    for (size, channels, splits) in [(24, 3, 64), (12, 64, 16)] {
        let (kernel, out_channels) = (5, 64);
        let constants = Constants::default()
            .with("IN_HEIGHT", size)
            .with("IN_WIDTH", size)
            .with("IN_CHANNELS", channels)
            .with("OUT_HEIGHT", size)
            .with("OUT_WIDTH", size)
            .with("OUT_CHANNELS", out_channels)
            .with("KERNEL_HEIGHT", kernel)
            .with("KERNEL_WIDTH", kernel)
            .with("STRIDE_Y", 1)
            .with("STRIDE_X", 1)
            .with("PAD_TOP", 2)
            .with("PAD_LEFT", 2)
            .with("SPLITS", splits);
        let operations = 2 * size * size * kernel * kernel * channels * out_channels;
        let mut add = |kernel| uses.push(Use { kernel, constants: constants.clone(), operations });
        add(&conv2d_forward::KERNEL);
        // The images themselves need no gradient.
        if channels != 3 {
            add(&conv2d_backward_input::KERNEL);
        }
        add(&conv2d_backward_weights::KERNEL);
        uses.push(bias(size * size, out_channels));
    }
    for (inputs, outputs) in [(2304, 384), (384, 192), (192, 10)] {
        let constants = Constants::default().with("INPUTS", inputs).with("OUTPUTS", outputs);
        for kernel in
            [&dense_forward::KERNEL, &dense_backward_input::KERNEL, &dense_backward_weights::KERNEL]
        {
            let operations = 2 * inputs * outputs;
            uses.push(Use { kernel, constants: constants.clone(), operations });
        }
        uses.push(bias(1, outputs));
    }
    uses
}

fn bias(positions: usize, channels: usize) -> Use {
    let constants = Constants::default()
        .with("POSITIONS", positions)
        .with("CHANNELS", channels)
        .with("SPLITS", BIAS_SPLITS);
    Use { kernel: &bias_backward::KERNEL, constants, operations: positions * channels }
}

fn best_time(
    adapter: &dyn Adapter,
    kernel: &'static Kernel,
    constants: &Constants,
    images: usize,
) -> Result<Duration> {
    let lengths = (kernel.lengths)(constants);
    let bindings = kernel.bindings.iter().zip(lengths);
    let tensors: Vec<Tensor> = bindings
        .map(|(binding, length)| Tensor {
            name: binding.name.to_owned(),
            dtype: binding.dtype,
            shape: vec![length],
            extent: binding.extent,
            role: Role::Activation,
        })
        .collect();
    let values: Vec<Vec<f32>> = tensors
        .iter()
        .map(|tensor| (0..tensor.len_for(images)).map(|i| (i % 251) as f32 / 251.0).collect())
        .collect();
    let op = Op {
        kernel,
        tensors: (0..tensors.len()).map(TensorId).collect(),
        constants: constants.clone(),
        layer: 0,
    };
    let graph = Graph { tensors, forward: vec![Node::Run(op)], ..Graph::default() };
    let forward = graph.whole(Phase::Forward);
    let mut replica = adapter.lower(&Arc::new(graph), &Lowering::of(images))?;
    for (id, values) in values.iter().enumerate() {
        replica.write(TensorId(id), Values::Real(values))?;
    }
    let step = Step::of(images);
    let mut best = Duration::MAX;
    // The first run also compiles.
    for _ in 0..=RUNS {
        replica.wait()?;
        let start = Instant::now();
        replica.run(std::slice::from_ref(&forward), &step)?;
        replica.wait()?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}
