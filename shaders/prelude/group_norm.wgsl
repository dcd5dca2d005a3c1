// Group normalisation: how channels are cut into groups, what is known of a group, and sums over a
// workgroup of 256, always in the same order.

override GROUPS: u32;
override GROUP_CHANNELS: u32;

// Numbers from one position to the next.
override ALL_CHANNELS: u32 = GROUPS * GROUP_CHANNELS;

// The first number of a group of an image, the mean distance from it, and one over the deviation. By
// distances from a number of the group, nothing is lost where the mean is large beside the deviation.
struct Statistics { origin: f32, mean: f32, inverse: f32 }

var<workgroup> lane_sums: array<f32, 256>;

// How far a number of a group lies from its first; they are counted position by position.
fn group_offset(number: u32) -> u32 {
    return number / GROUP_CHANNELS * ALL_CHANNELS + number % GROUP_CHANNELS;
}

// The sum over the invocations, in each of them. To be called by all of a workgroup.
fn sum_of_all(local_index: u32, lane: f32) -> f32 {
    // Some may still read the sum before.
    workgroupBarrier();
    lane_sums[local_index] = lane;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local_index < half) {
            lane_sums[local_index] += lane_sums[local_index + half];
        }
    }
    workgroupBarrier();
    return lane_sums[0];
}
