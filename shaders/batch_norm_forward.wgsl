// Batch normalisation with given statistics: takes the mean away, divides by the deviation, scales and
// shifts, each channel by its own.
// Reads input, mean, variance, scale and offset, writes output.
// Dispatch: one invocation per element.

override POSITIONS: u32;
override CHANNELS: u32;
override EPSILON: f32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> mean: array<f32>;
@group(0) @binding(2) var<storage, read> variance: array<f32>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read> offset: array<f32>;
@group(0) @binding(5) var<storage, read_write> output: array<Element>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * POSITIONS * CHANNELS) {
        return;
    }
    let channel = index % CHANNELS;
    let factor = scale[channel] * inverseSqrt(variance[channel] + EPSILON);
    output[index] = Element((f32(input[index]) - mean[channel]) * factor + offset[channel]);
}
