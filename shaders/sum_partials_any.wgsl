// Sums PARTS rows of LENGTH numbers, times SCALE, written from OFFSET on.
// Reads partials, writes LENGTH of the TOTAL elements of sums; the others stay as they are.
// Micro-batches after the first add to what is there.
// Dispatch: one invocation per sum, which takes the parts in their order.

override PARTS: u32;
override LENGTH: u32;
override OFFSET: u32;
override SCALE: f32;

@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let index = linear_index(global_id, group_count, 256u);
    if (index >= LENGTH) {
        return;
    }
    var sum = 0.0;
    for (var part = 0u; part < PARTS; part++) {
        sum += partials[part * LENGTH + index];
    }
    sum *= SCALE;
    if (step.accumulate != 0u) {
        sum += sums[OFFSET + index];
    }
    sums[OFFSET + index] = sum;
}
