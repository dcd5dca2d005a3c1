// The derivative of batch normalisation's input: the gradient less its mean, and less its mean along
// the normalised input, scaled as the input was.
// Reads input, output_gradients, mean, variance, scale and gradient_means as
// batch_norm_backward_weights writes them, writes input_gradients.
// Dispatch: one invocation per element.

override POSITIONS: u32;
override CHANNELS: u32;
override EPSILON: f32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read> variance: array<f32>;
@group(0) @binding(4) var<storage, read> scale: array<f32>;
@group(0) @binding(5) var<storage, read> gradient_means: array<f32>;
@group(0) @binding(6) var<storage, read_write> input_gradients: array<Element>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * POSITIONS * CHANNELS) {
        return;
    }
    let channel = index % CHANNELS;
    let inverse = inverseSqrt(variance[channel] + EPSILON);
    let normal = (f32(input[index]) - mean[channel]) * inverse;
    let along = gradient_means[channel] + normal * gradient_means[CHANNELS + channel];
    let rest = f32(output_gradients[index]) - GRADIENT_SCALE * along;
    input_gradients[index] = Element(scale[channel] * inverse * rest);
}
