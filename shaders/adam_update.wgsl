// Adam: moves each weight against the mean of its gradients over the root of their mean square.
// REST_1 and REST_2 are what the means forget in a step, 1 - beta; LOG_1 and LOG_2 are ln(beta).
// DECAY shrinks the weights beside that, at the same rate.
// Reads gradients, reads and writes means, squares and weights; LENGTH elements in each.
// Dispatch: one invocation per weight.

override LENGTH: u32;
override REST_1: f32;
override REST_2: f32;
override LOG_1: f32;
override LOG_2: f32;
override EPSILON: f32;
override DECAY: f32;

@group(0) @binding(0) var<storage, read> gradients: array<f32>;
@group(0) @binding(1) var<storage, read_write> means: array<f32>;
@group(0) @binding(2) var<storage, read_write> squares: array<f32>;
@group(0) @binding(3) var<storage, read_write> weights: array<f32>;

// 1 - exp(x) for x below 0. Where the exponential is almost 1 the difference has few digits left,
// so that close to 0 its series is summed instead.
fn one_minus_exp(x: f32) -> f32 {
    if (x < -1.0) {
        return 1.0 - exp(x);
    }
    var sum = 1.0;
    for (var term = 11u; term > 1u; term--) {
        sum = 1.0 + x / f32(term) * sum;
    }
    return -x * sum;
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= LENGTH) {
        return;
    }
    let gradient = gradients[index];
    let mean = means[index] + REST_1 * (gradient - means[index]);
    let square = squares[index] + REST_2 * (gradient * gradient - squares[index]);
    means[index] = mean;
    squares[index] = square;
    // Both began at 0: how far they have come tells what they would be without that.
    let steps = f32(step.step) + 1.0;
    let unbiased = mean / one_minus_exp(steps * LOG_1);
    let root = sqrt(square / one_minus_exp(steps * LOG_2));
    let weight = weights[index];
    let direction = unbiased / (root + EPSILON) + DECAY * weight;
    weights[index] = weight - step.learning_rate * direction;
}
