// The derivative of batch normalisation's input where its statistics are given: the gradient scaled as
// the input was.
// Reads output_gradients, variance and scale, writes input_gradients.
// Dispatch: one invocation per element.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override POSITIONS: u32;
override CHANNELS: u32;
override EPSILON: f32;

@group(0) @binding(0) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(1) var<storage, read> variance: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> input_gradients: array<Element>;
@group(1) @binding(0) var<uniform> step: Step;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let at = id.x + id.y * groups.x * 256u;
    if (at >= step.images * POSITIONS * CHANNELS) {
        return;
    }
    let channel = at % CHANNELS;
    let factor = scale[channel] * inverseSqrt(variance[channel] + EPSILON);
    input_gradients[at] = Element(f32(output_gradients[at]) * factor);
}
