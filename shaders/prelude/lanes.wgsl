// A sum over the invocations of a workgroup of 256, always in the same order.

var<workgroup> lane_sums: array<f32, 256>;

// The sum, in the first invocation. To be called by all of a workgroup, once.
fn tree_sum(local_index: u32, lane: f32) -> f32 {
    lane_sums[local_index] = lane;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local_index < half) {
            lane_sums[local_index] += lane_sums[local_index + half];
        }
    }
    return lane_sums[local_index];
}
