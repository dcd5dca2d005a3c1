// The sums of the squares of PARTS equal shares of the weights, for a decay term, or of gradients,
// for their norm.
// Reads weights, writes partials.
// Dispatch: one workgroup per part.

override LENGTH: u32;
override PARTS: u32;

@group(0) @binding(0) var<storage, read> weights: array<f32>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group_id: vec3u,
    @builtin(num_workgroups) group_count: vec3u,
    @builtin(local_invocation_index) local_index: u32,
) {
    let part = linear_group(group_id, group_count);
    let share = (LENGTH + PARTS - 1u) / PARTS;
    let end = min((part + 1u) * share, LENGTH);

    var sum = 0.0;
    for (var i = part * share + local_index; i < end; i += 256u) {
        let weight = weights[i];
        sum += weight * weight;
    }
    let total = tree_sum(local_index, sum);
    if (local_index == 0u && part < PARTS) {
        partials[part] = total;
    }
}
