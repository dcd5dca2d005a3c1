// The mean of each channel over a batch, of the means of its parts.
// Reads partials as batch_norm_statistics writes them, writes CHANNELS numbers to mean.
// Dispatch: one invocation per channel, which takes the parts in their order.

override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> mean: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let channel = linear_index(global_id, group_count, 256u);
    if (channel >= CHANNELS) {
        return;
    }
    var sum = 0.0;
    var positions = 0.0;
    for (var split = 0u; split < SPLITS; split++) {
        let part = split * (1u + 2u * CHANNELS);
        positions += partials[part];
        sum += partials[part] * partials[part + 1u + channel];
    }
    mean[channel] = sum / positions;
}
