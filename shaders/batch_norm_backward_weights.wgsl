// The derivative of batch normalisation's scale and offset, of the sums of a batch's parts, and these
// sums divided by the positions of the images at hand.
// Reads partials as batch_norm_backward_statistics writes them; writes scale_gradients and
// offset_gradients, added to what is there in micro-batches after the first, and gradient_means: those
// of the CHANNELS gradients, then those of the gradients times the normalised input.
// Dispatch: one invocation per channel, which takes the parts in their order.

override POSITIONS: u32;
override CHANNELS: u32;

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> scale_gradients: array<f32>;
@group(0) @binding(2) var<storage, read_write> offset_gradients: array<f32>;
@group(0) @binding(3) var<storage, read_write> gradient_means: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let channel = linear_index(global_id, group_count, 256u);
    if (channel >= CHANNELS) {
        return;
    }
    var sum = vec2f(0.0);
    for (var split = 0u; split < SPLITS; split++) {
        let part = split * 2u * CHANNELS + channel;
        sum += vec2f(partials[part], partials[part + CHANNELS]);
    }
    let means = sum / (f32(step.images) * f32(POSITIONS));
    gradient_means[channel] = means.x;
    gradient_means[CHANNELS + channel] = means.y;
    if (step.accumulate != 0u) {
        sum += vec2f(offset_gradients[channel], scale_gradients[channel]);
    }
    offset_gradients[channel] = sum.x;
    scale_gradients[channel] = sum.y;
}
