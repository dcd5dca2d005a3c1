// The derivative of a dense layer of any size by its input.
//
// Reads output_gradients and weights; writes input_gradients.
// Dispatch: one invocation per element of the input, in one dimension folded into two.
// Untiled: neighbouring invocations load the same gradients and neighbouring rows of weights.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override INPUTS: u32;
override OUTPUTS: u32;

@group(0) @binding(0) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;
@group(1) @binding(0) var<uniform> step: Step;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let number = id.x + id.y * groups.x * 64u;
    let image = number / INPUTS;
    if (image >= step.images) {
        return;
    }
    let gradients_at = image * OUTPUTS;
    let weights_at = number % INPUTS * OUTPUTS;
    var sum = 0.0;
    for (var i = 0u; i < OUTPUTS; i++) {
        sum = fma(f32(output_gradients[gradients_at + i]), weights[weights_at + i], sum);
    }
    input_gradients[number] = Element(sum);
}
