// A dense layer of any size: the product of images and weights, plus biases.
//
// Reads input, weights and biases; writes output.
// Dispatch: one invocation per element of the output, in one dimension folded into two.
// Untiled: neighbouring invocations load neighbouring weights and the same inputs. A turn of the
// loop takes 8 inputs: half a million before turns run out (CONTRIBUTING.md).

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> biases: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<Element>;

// Adds the product of an input and its weight, if there is such an input.
fn add_product(sum: f32, image: u32, to: u32, i: u32) -> f32 {
    if (i >= INPUTS) {
        return sum;
    }
    return fma(f32(input[image * INPUTS + i]), weights[i * OUTPUTS + to], sum);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 64u);
    let image = index / OUTPUTS;
    if (image >= step.images) {
        return;
    }
    let to = index % OUTPUTS;
    var sum = biases[to];
    for (var i = 0u; i < INPUTS; i += 8u) {
        sum = add_product(sum, image, to, i);
        sum = add_product(sum, image, to, i + 1u);
        sum = add_product(sum, image, to, i + 2u);
        sum = add_product(sum, image, to, i + 3u);
        sum = add_product(sum, image, to, i + 4u);
        sum = add_product(sum, image, to, i + 5u);
        sum = add_product(sum, image, to, i + 6u);
        sum = add_product(sum, image, to, i + 7u);
    }
    output[index] = Element(sum);
}
