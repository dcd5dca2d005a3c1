// The mean squared distance of each channel from its mean, of a batch's parts.
// Reads partials as batch_norm_statistics writes them, and mean, which may be that of more images than
// these; writes CHANNELS numbers to variance.
// Dispatch: one invocation per channel, which takes the parts in their order.

override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read> mean: array<f32>;
@group(0) @binding(2) var<storage, read_write> variance: array<f32>;

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
        let apart = partials[part + 1u + channel] - mean[channel];
        positions += partials[part];
        sum += partials[part + 1u + CHANNELS + channel] + partials[part] * apart * apart;
    }
    variance[channel] = sum / positions;
}
