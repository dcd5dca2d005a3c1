// The derivative of a dense layer by its weights.
//
// Reads input and output_gradients; writes weight_gradients, or adds to them. All are taken four
// at once.
// Dispatch: one invocation per (8 inputs, 8 outputs), the outputs fastest, in one dimension folded
// into two.
// An invocation keeps 8 x 8 sums in registers and goes through the images in order. Its outputs
// are two vectors half a row apart, so that neighbouring invocations load neighbouring gradients
// and store neighbouring sums; they load the same inputs. Needs inputs and outputs in multiples
// of 4.
// An invocation: inputs i | .. | i + 7  x  outputs o | .. | o + 3, and as many half a row on.

@group(0) @binding(0) var<storage, read> input: array<vec4<Element>>;
@group(0) @binding(1) var<storage, read> output_gradients: array<vec4<Element>>;
@group(0) @binding(2) var<storage, read_write> weight_gradients: array<vec4f>;

override OUTPUT_TILES: u32 = (OUTPUT_VECTORS + 1u) / 2u;

fn store_row(at: u32, sums: vec4f) {
    var total = GRADIENT_UNIT * sums;
    if (step.accumulate != 0u) {
        total += weight_gradients[at];
    }
    weight_gradients[at] = total;
}

fn store(inputs: u32, outputs: u32, sums: mat4x4f) {
    if (inputs >= INPUT_VECTORS || outputs >= OUTPUT_VECTORS) {
        return;
    }
    let at = inputs * 4u * OUTPUT_VECTORS + outputs;
    store_row(at, sums[0]);
    store_row(at + OUTPUT_VECTORS, sums[1]);
    store_row(at + 2u * OUTPUT_VECTORS, sums[2]);
    store_row(at + 3u * OUTPUT_VECTORS, sums[3]);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 64u);
    let inputs = index / OUTPUT_TILES * 2u;
    let outputs = index % OUTPUT_TILES;
    if (inputs >= INPUT_VECTORS) {
        return;
    }
    // A second vector past the end is computed from the last one and not stored.
    let next_inputs = min(inputs + 1u, INPUT_VECTORS - 1u);
    let next_outputs = min(outputs + OUTPUT_TILES, OUTPUT_VECTORS - 1u);
    var sums00 = mat4x4f();
    var sums01 = mat4x4f();
    var sums10 = mat4x4f();
    var sums11 = mat4x4f();
    for (var image = 0u; image < step.images; image++) {
        let x0 = vec4f(input[image * INPUT_VECTORS + inputs]);
        let x1 = vec4f(input[image * INPUT_VECTORS + next_inputs]);
        let g0 = vec4f(output_gradients[image * OUTPUT_VECTORS + outputs]);
        let g1 = vec4f(output_gradients[image * OUTPUT_VECTORS + next_outputs]);
        sums00 = add_outer(sums00, x0, g0);
        sums01 = add_outer(sums01, x0, g1);
        sums10 = add_outer(sums10, x1, g0);
        sums11 = add_outer(sums11, x1, g1);
    }
    store(inputs, outputs, sums00);
    store(inputs, outputs + OUTPUT_TILES, sums01);
    store(inputs + 1u, outputs, sums10);
    store(inputs + 1u, outputs + OUTPUT_TILES, sums11);
}
