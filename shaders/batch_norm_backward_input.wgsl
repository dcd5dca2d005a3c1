// The derivative of batch normalisation's input: the gradient less its mean, and less its mean along
// the normalised input, scaled as the input was.
// Reads input, output_gradients, mean, variance, scale and gradient_means as
// batch_norm_backward_weights writes them, writes input_gradients.
// Dispatch: one invocation per element.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override POSITIONS: u32;
override CHANNELS: u32;
override EPSILON: f32;
// What a gradient of 1 is stored as; not 1 where it has 16 bits and would be too small for them.
override GRADIENT_SCALE: f32 = 1.0;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> variance: array<f32>;
@group(0) @binding(4) var<storage, read> scale: array<f32>;
@group(0) @binding(5) var<storage, read> gradient_means: array<f32>;
@group(0) @binding(6) var<storage, read_write> input_gradients: array<Element>;
@group(1) @binding(0) var<uniform> step: Step;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let at = id.x + id.y * groups.x * 256u;
    if (at >= step.images * POSITIONS * CHANNELS) {
        return;
    }
    let channel = at % CHANNELS;
    let inverse = inverseSqrt(variance[channel] + EPSILON);
    let normal = (f32(input[at]) - mean[channel]) * inverse;
    let along = gradient_means[channel] + normal * gradient_means[CHANNELS + channel];
    let rest = f32(output_gradients[at]) - GRADIENT_SCALE * along;
    input_gradients[at] = Element(scale[channel] * inverse * rest);
}
