//! A layer, and its two kernels: each in WGSL for GPUs, in Rust for the `cpu` adapter, and as plain
//! 64-bit arithmetic that both are held against by `selftest`.

use gradflow::extend::graph::{GraphBuilder, TensorId};
use gradflow::extend::kernel::Extent::PerImage;
use gradflow::extend::kernel::{
    Args, Binding, Case, Constants, Kernel, Variant, linear_workgroups,
};
use gradflow::extend::layer::{Layer, LayerKind, one_input};
use gradflow::extend::shaders::wgsl;
use gradflow::extend::stage::Mismatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `x` where it is positive, `slope * x` elsewhere; any shape.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LeakyRelu {
    /// What negative values are multiplied by: from 0 to below 1.
    pub slope: f64,
}

impl Default for LeakyRelu {
    fn default() -> Self {
        Self { slope: 0.01 }
    }
}

/// The kind of this layer.
pub fn kind() -> LayerKind {
    LayerKind::of::<LeakyRelu>("leaky_relu", "Makes negative values small.", "{ slope: 0.01 }")
}

impl Layer for LeakyRelu {
    /// Names the kernels of the forward and the backward pass, and the tensors between.
    fn lower(&self, graph: &mut GraphBuilder, inputs: &[TensorId]) -> Result<TensorId, Mismatch> {
        let x = one_input(inputs)?;
        if !(0.0..1.0).contains(&self.slope) {
            let message = format!("expected a slope from 0 to below 1, found {}", self.slope);
            return Err(Mismatch::field("slope", message).help("0.01 is usual"));
        }
        let shape = graph.shape(x).to_vec();
        let length = shape.iter().product();
        let constants = Constants::default().with("LENGTH", length).with_real("SLOPE", self.slope);
        let y = graph.activation(&shape);
        graph.forward(&FORWARD, &[x, y], constants.clone());
        // Where no layer before this one is trained, nobody has a use for gradients.
        if let (Some(dy), Some(dx)) = (graph.gradient_of(y), graph.gradient_for(x)) {
            graph.backward(&BACKWARD, &[x, dy, dx], constants);
        }
        Ok(y)
    }
}

/// The kernels, for the list in `main`.
pub static KERNELS: [&Kernel; 2] = [&FORWARD, &BACKWARD];

static FORWARD: Kernel = Kernel {
    name: "leaky_relu_forward",
    about: "Makes negative numbers small.",
    bindings: &[Binding::read("input", PerImage), Binding::write("output", PerImage)],
    lengths: |c| vec![c.size("LENGTH"); 2],
    terms: |_, _| 1,
    variants: &[variant(
        "leaky_relu_forward",
        wgsl!([ELEMENT, STEP, LINEAR], "leaky_relu_forward.wgsl"),
    )],
    cpu: |args| {
        let slope = args.constants.real("SLOPE") as f32;
        for (output, input) in args.write("output").iter_mut().zip(args.read("input")) {
            *output = if *input < 0.0 { slope * input } else { *input };
        }
    },
    reference: |args| {
        let slope = args.constants.real("SLOPE");
        for (output, input) in args.write("output").iter_mut().zip(args.read("input")) {
            *output = input.max(slope * input);
        }
    },
    cases,
};

static BACKWARD: Kernel = Kernel {
    name: "leaky_relu_backward",
    about: "Passes the gradient on, less of it where the input was negative.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("output_gradients", PerImage),
        Binding::write("input_gradients", PerImage),
    ],
    lengths: |c| vec![c.size("LENGTH"); 3],
    terms: |_, _| 1,
    variants: &[variant(
        "leaky_relu_backward",
        wgsl!([ELEMENT, STEP, LINEAR], "leaky_relu_backward.wgsl"),
    )],
    cpu: |args| {
        let slope = args.constants.real("SLOPE") as f32;
        let (input, from) = (args.read("input"), args.read("output_gradients"));
        let to = args.write("input_gradients");
        for ((to, from), input) in to.iter_mut().zip(from).zip(input) {
            *to = if *input < 0.0 { slope * from } else { *from };
        }
    },
    reference: |args: &mut Args<'_, f64>| {
        let slope = args.constants.real("SLOPE");
        let (input, from) = (args.read("input"), args.read("output_gradients"));
        let to = args.write("input_gradients");
        for at in 0..to.len() {
            let factor = if input[at] < 0.0 { slope } else { 1.0 };
            to[at] = factor * from[at];
        }
    },
    cases,
};

/// The only WGSL form of a kernel, an invocation for each element.
const fn variant(name: &'static str, wgsl: &'static str) -> Variant {
    let workgroups =
        |c: &Constants, images: usize| linear_workgroups(images * c.size("LENGTH"), 256);
    Variant { name, wgsl, tuning: &[], applies: |_| true, workgroups }
}

/// What `selftest` tries: odd numbers of elements, and more than one workgroup.
fn cases() -> Vec<Case> {
    let case = |(images, length)| {
        Case::new(images, Constants::default().with("LENGTH", length).with_real("SLOPE", 0.125))
    };
    [(1, 1), (3, 7), (1, 256), (7, 257)].map(case).to_vec()
}
