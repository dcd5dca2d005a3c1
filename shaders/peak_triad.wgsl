// Streams through memory, as fast as the adapter can: output = left + FACTOR * right.
// Reads left and right, writes output; VECTORS of 4 elements per image in all.
// Dispatch: one invocation per vector.
alias Element = f32;

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override VECTORS: u32;

@group(0) @binding(0) var<storage, read> left: array<vec4<Element>>;
@group(0) @binding(1) var<storage, read> right: array<vec4<Element>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<Element>>;
@group(1) @binding(0) var<uniform> step: Step;

const FACTOR = 3.0;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let at = id.x + id.y * groups.x * 256u;
    if (at >= step.images * VECTORS) {
        return;
    }
    output[at] = vec4<Element>(vec4<f32>(left[at]) + FACTOR * vec4<f32>(right[at]));
}
