// The derivative of a dense layer by its input.
//
// Reads output_gradients and weights; writes input_gradients. All are taken four at once.
// Dispatch: one workgroup per (8 images, 32 inputs), in x and y.
// An invocation keeps 8 images x 4 inputs in registers, and sums over every eighth vector of
// outputs: with 8 such slices side by side, even a small batch makes many invocations. The slices
// meet in workgroup memory, in order. Slices are neighbours because rows of weights run along
// the outputs: so their loads are contiguous. Needs inputs and outputs in multiples of 4.
// Invocation (x, y): images 0 | .. | 7  x  inputs 4y | .. | 4y + 3, of vectors x | x + 8 | .. of outputs.

@group(0) @binding(0) var<storage, read> output_gradients: array<vec4<Element>>;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<vec4<Element>>;

// The sums of each slice, vector and image of the workgroup.
var<workgroup> slices: array<array<array<vec4f, 8>, 8>, 8>;

// The weights from 4 outputs (columns) back to 4 inputs.
fn fetch_weights(inputs: u32, outputs: u32) -> mat4x4f {
    let at = inputs * 4u * OUTPUT_VECTORS + outputs;
    return transpose(mat4x4f(
        weights[at],
        weights[at + OUTPUT_VECTORS],
        weights[at + 2u * OUTPUT_VECTORS],
        weights[at + 3u * OUTPUT_VECTORS],
    ));
}

// Where an image's row begins; images past the end read the last one and are not stored.
fn row(image: u32) -> u32 {
    return min(image, step.images - 1u) * OUTPUT_VECTORS;
}

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(local_invocation_id) local_id: vec3u) {
    let lane = local_id.y;
    let slice = local_id.x;
    let first = group_id.x * 8u;
    // Vectors past the end are computed from the last one and not stored.
    let vector = min(group_id.y * 8u + lane, INPUT_VECTORS - 1u);
    var sums0 = vec4f();
    var sums1 = vec4f();
    var sums2 = vec4f();
    var sums3 = vec4f();
    var sums4 = vec4f();
    var sums5 = vec4f();
    var sums6 = vec4f();
    var sums7 = vec4f();
    for (var at = slice; at < OUTPUT_VECTORS; at += 8u) {
        let w = fetch_weights(vector, at);
        sums0 = add_column(sums0, w, vec4f(output_gradients[row(first) + at]));
        sums1 = add_column(sums1, w, vec4f(output_gradients[row(first + 1u) + at]));
        sums2 = add_column(sums2, w, vec4f(output_gradients[row(first + 2u) + at]));
        sums3 = add_column(sums3, w, vec4f(output_gradients[row(first + 3u) + at]));
        sums4 = add_column(sums4, w, vec4f(output_gradients[row(first + 4u) + at]));
        sums5 = add_column(sums5, w, vec4f(output_gradients[row(first + 5u) + at]));
        sums6 = add_column(sums6, w, vec4f(output_gradients[row(first + 6u) + at]));
        sums7 = add_column(sums7, w, vec4f(output_gradients[row(first + 7u) + at]));
    }
    slices[slice][lane][0] = sums0;
    slices[slice][lane][1] = sums1;
    slices[slice][lane][2] = sums2;
    slices[slice][lane][3] = sums3;
    slices[slice][lane][4] = sums4;
    slices[slice][lane][5] = sums5;
    slices[slice][lane][6] = sums6;
    slices[slice][lane][7] = sums7;
    workgroupBarrier();
    // Each invocation adds up the slices of one vector of one image.
    let image = first + slice;
    let out = group_id.y * 8u + lane;
    if (image < step.images && out < INPUT_VECTORS) {
        var sum = vec4f();
        for (var i = 0u; i < 8u; i++) {
            sum += slices[i][lane][slice];
        }
        input_gradients[image * INPUT_VECTORS + out] = vec4<Element>(sum);
    }
}
