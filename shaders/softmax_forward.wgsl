// Softmax: shares that add up to 1, of each row of CHANNELS numbers.
// Reads input, writes output; POSITIONS rows per image in both.
// Dispatch: one invocation per row.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override POSITIONS: u32;
override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read_write> output: array<Element>;
@group(1) @binding(0) var<uniform> step: Step;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row = id.x + id.y * groups.x * 256u;
    if (row >= step.images * POSITIONS) {
        return;
    }
    let first = row * CHANNELS;
    let end = first + CHANNELS;
    // Relative to the largest nothing overflows, and the sum is at least 1.
    var largest = f32(input[first]);
    for (var i = first + 1u; i < end; i++) {
        largest = max(largest, f32(input[i]));
    }
    var sum = 0.0;
    for (var i = first; i < end; i++) {
        sum += exp(f32(input[i]) - largest);
    }
    for (var i = first; i < end; i++) {
        output[i] = Element(exp(f32(input[i]) - largest) / sum);
    }
}
