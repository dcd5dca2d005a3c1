// The sums of the squares of PARTS equal shares of the weights, for a decay term, or of gradients,
// for their norm.
// Reads weights, writes partials.
// Dispatch: one workgroup per part.

struct Step { images: u32, batch: u32, accumulate: u32, step: u32, learning_rate: f32, average_decay: f32, seed: u32, training: u32 }

override LENGTH: u32;
override PARTS: u32;

@group(0) @binding(0) var<storage, read> weights: array<f32>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) local: u32,
) {
    let part = group.x + group.y * groups.x;
    let share = (LENGTH + PARTS - 1u) / PARTS;
    let end = min((part + 1u) * share, LENGTH);

    var sum = 0.0;
    for (var i = part * share + local; i < end; i += 256u) {
        let weight = weights[i];
        sum += weight * weight;
    }
    sums[local] = sum;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            sums[local] += sums[local + half];
        }
    }
    if (local == 0u && part < PARTS) {
        partials[part] = sums[0];
    }
}
