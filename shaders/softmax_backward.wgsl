// The derivative of softmax: each share times what its gradient is above the row's mean, weighed by
// shares.
// Reads output and output_gradients, writes input_gradients; POSITIONS rows of CHANNELS numbers per
// image in all.
// Dispatch: one invocation per row.

override POSITIONS: u32;
override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> output: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let row = linear_index(global_id, group_count, 256u);
    if (row >= step.images * POSITIONS) {
        return;
    }
    let first = row * CHANNELS;
    let end = first + CHANNELS;
    var mean = 0.0;
    for (var i = first; i < end; i++) {
        mean += f32(output[i]) * f32(output_gradients[i]);
    }
    for (var i = first; i < end; i++) {
        input_gradients[i] = Element(f32(output[i]) * (f32(output_gradients[i]) - mean));
    }
}
