// The derivative of batch normalisation's input where its statistics are given: the gradient scaled as
// the input was.
// Reads output_gradients, variance and scale, writes input_gradients.
// Dispatch: one invocation per element.

override POSITIONS: u32;
override CHANNELS: u32;
override EPSILON: f32;

@group(0) @binding(0) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(1) var<storage, read> variance: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> input_gradients: array<Element>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * POSITIONS * CHANNELS) {
        return;
    }
    let channel = index % CHANNELS;
    let factor = scale[channel] * inverseSqrt(variance[channel] + EPSILON);
    input_gradients[index] = Element(f32(output_gradients[index]) * factor);
}
