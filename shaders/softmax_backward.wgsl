// The derivative of softmax: each share times what its gradient is above the row's mean, weighed by
// shares.
// Reads output and output_gradients, writes input_gradients; POSITIONS rows of CHANNELS numbers per
// image in all.
// Dispatch: one invocation per row.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override POSITIONS: u32;
override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> output: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;
@group(1) @binding(0) var<uniform> step: Step;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row = id.x + id.y * groups.x * 256u;
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
