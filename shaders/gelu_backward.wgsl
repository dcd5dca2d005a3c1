// The derivative of Gaussian error linear units: the share of normal numbers below the input, and the
// input times their density there.
// Reads input and output_gradients, writes input_gradients; LENGTH elements per image in all.
// Dispatch: one invocation per element.

override LENGTH: u32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;

// The share of normal numbers below x: half of erfc, which is t * e^(series of t - z^2) to a share of
// 1.2e-7 (Press et al., "Numerical Recipes", erfcc).
fn share_below(x: f32) -> f32 {
    let z = abs(x) * 0.70710678;
    let t = 1.0 / (1.0 + 0.5 * z);
    var series = -0.82215223 + t * 0.17087277;
    series = 1.48851587 + t * series;
    series = -1.13520398 + t * series;
    series = 0.27886807 + t * series;
    series = -0.18628806 + t * series;
    series = 0.09678418 + t * series;
    series = 0.37409196 + t * series;
    series = 1.00002368 + t * series;
    series = -1.26551223 + t * series;
    let beyond = 0.5 * t * exp(series - z * z);
    return select(1.0 - beyond, beyond, x < 0.0);
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * LENGTH) {
        return;
    }
    let x = f32(input[index]);
    let slope = share_below(x) + x * 0.39894228 * exp(-0.5 * x * x);
    input_gradients[index] = Element(slope * f32(output_gradients[index]));
}
