// The mean of each channel over a batch, of the means of its parts.
// Reads partials as batch_norm_statistics writes them, writes CHANNELS numbers to mean.
// Dispatch: one invocation per channel, which takes the parts in their order.

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override CHANNELS: u32;
override SPLITS: u32;

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> mean: array<f32>;
@group(1) @binding(0) var<uniform> step: Step;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let channel = id.x + id.y * groups.x * 256u;
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
