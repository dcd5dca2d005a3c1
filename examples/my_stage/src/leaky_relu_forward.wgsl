// Leaky rectified linear units: negative numbers become small.
// Reads input, writes output; LENGTH elements per image in both.
// Dispatch: one invocation per element.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override LENGTH: u32;
override SLOPE: f32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read_write> output: array<Element>;
@group(1) @binding(0) var<uniform> step: Step;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let at = id.x + id.y * groups.x * 256u;
    if (at >= step.images * LENGTH) {
        return;
    }
    let x = f32(input[at]);
    output[at] = Element(select(x, SLOPE * x, x < 0.0));
}
