// Moves the running statistics towards those of a batch by MOMENTUM, the variance corrected for being
// taken about the batch's own mean.
// Reads mean and variance, reads and writes running_mean and running_variance; CHANNELS numbers each.
// Dispatch: one invocation per channel.

override POSITIONS: u32;
override CHANNELS: u32;
override MOMENTUM: f32;
// 1: the statistics are those of the whole batch; 0: of the images at hand.
override SYNC: u32;

@group(0) @binding(0) var<storage, read> mean: array<f32>;
@group(0) @binding(1) var<storage, read> variance: array<f32>;
@group(0) @binding(2) var<storage, read_write> running_mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> running_variance: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let channel = linear_index(global_id, group_count, 256u);
    if (channel >= CHANNELS) {
        return;
    }
    let positions = f32(select(step.images, step.batch, SYNC == 1u)) * f32(POSITIONS);
    let corrected = variance[channel] * (positions / max(positions - 1.0, 1.0));
    running_mean[channel] += MOMENTUM * (mean[channel] - running_mean[channel]);
    running_variance[channel] += MOMENTUM * (corrected - running_variance[channel]);
}
