// The derivative of leaky rectified linear units: less of the gradient passes where the input is
// negative.
// Reads input and output_gradients, writes input_gradients; LENGTH elements per image in all.
// Dispatch: one invocation per element.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override LENGTH: u32;
override SLOPE: f32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> output_gradients: array<Element>;
@group(0) @binding(2) var<storage, read_write> input_gradients: array<Element>;
@group(1) @binding(0) var<uniform> step: Step;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let at = id.x + id.y * groups.x * 256u;
    if (at >= step.images * LENGTH) {
        return;
    }
    let gradient = f32(output_gradients[at]);
    input_gradients[at] = Element(select(gradient, SLOPE * gradient, f32(input[at]) < 0.0));
}
