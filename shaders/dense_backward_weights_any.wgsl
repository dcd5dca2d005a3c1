// The derivative of a dense layer of any size by its weights.
//
// Reads input and output_gradients; writes weight_gradients, or adds to them.
// Dispatch: one invocation per weight, the outputs fastest, in one dimension folded into two.
// Untiled: neighbouring invocations load neighbouring gradients and the same inputs.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override INPUTS: u32;
override OUTPUTS: u32;
// What a stored gradient of 1 is; not 1 where gradients have 16 bits and are scaled for them.
override GRADIENT_UNIT: f32 = 1.0;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read_write> weight_gradients: array<f32>;
@group(1) @binding(0) var<uniform> step: Step;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let number = id.x + id.y * groups.x * 64u;
    if (number >= INPUTS * OUTPUTS) {
        return;
    }
    var sum = 0.0;
    for (var image = 0u; image < step.images; image++) {
        let x = f32(input[image * INPUTS + number / OUTPUTS]);
        sum = fma(x, f32(output_gradients[image * OUTPUTS + number % OUTPUTS]), sum);
    }
    sum *= GRADIENT_UNIT;
    if (step.accumulate != 0u) {
        sum += weight_gradients[number];
    }
    weight_gradients[number] = sum;
}
