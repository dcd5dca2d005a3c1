// Softmax: shares that add up to 1, of each row of CHANNELS numbers.
// Reads input, writes output; POSITIONS rows per image in both.
// Dispatch: one invocation per row.

override POSITIONS: u32;
override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read_write> output: array<Element>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let row = linear_index(global_id, group_count, 256u);
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
