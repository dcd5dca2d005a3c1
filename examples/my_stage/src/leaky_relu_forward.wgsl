// Leaky rectified linear units: negative numbers become small.
// Reads input, writes output; LENGTH elements per image in both.
// Dispatch: one invocation per element.

override LENGTH: u32;
override SLOPE: f32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read_write> output: array<Element>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= step.images * LENGTH) {
        return;
    }
    let x = f32(input[index]);
    output[index] = Element(select(x, SLOPE * x, x < 0.0));
}
