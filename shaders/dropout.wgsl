// Dropout: in training, numbers become 0 at random and those that are kept are scaled; in scoring they
// are copied.
// Reads input and sample_ids (the low and the high word of each sample's index, then of its epoch),
// writes output; LENGTH elements per image in input and output.
// Dispatch: one invocation per four elements of an image, which share a block of random bits.
// The bits are those of Philox4x32-10, keyed by the run's seed and the layer, counted by the sample and
// the block: the same on every adapter.

override LENGTH: u32;
// Bits from which on an element is kept.
override THRESHOLD: u32;
override SCALE: f32;
override KEY_LOW: u32;
override KEY_HIGH: u32;

@group(0) @binding(0) var<storage, read> input: array<Element>;
@group(0) @binding(1) var<storage, read> sample_ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<Element>;

// The low and the high word of a product.
fn product(a: u32, b: u32) -> vec2u {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let one = (a & 0xffffu) * (b >> 16u);
    let other = (a >> 16u) * (b & 0xffffu);
    let middle = (low >> 16u) + (one & 0xffffu) + (other & 0xffffu);
    let high = (a >> 16u) * (b >> 16u) + (one >> 16u) + (other >> 16u) + (middle >> 16u);
    return vec2u(a * b, high);
}

fn philox(first: vec4u, first_key: vec2u) -> vec4u {
    var counter = first;
    var key = first_key;
    for (var round = 0u; round < 10u; round++) {
        let one = product(0xd2511f53u, counter.x);
        let other = product(0xcd9e8d57u, counter.z);
        counter = vec4u(other.y ^ counter.y ^ key.x, other.x, one.y ^ counter.w ^ key.y, one.x);
        key += vec2u(0x9e3779b9u, 0xbb67ae85u);
    }
    return counter;
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) global_id: vec3u, @builtin(num_workgroups) group_count: vec3u) {
    let blocks = (LENGTH + 3u) / 4u;
    let index = linear_index(global_id, group_count, 256u);
    let image = index / blocks;
    if (image >= step.images) {
        return;
    }
    let block = index % blocks;
    let sample = 4u * image;
    let last = (sample_ids[sample + 1u] & 0xffffu) | (sample_ids[sample + 3u] << 16u);
    let counter = vec4u(block, sample_ids[sample], sample_ids[sample + 2u], last);
    let bits = philox(counter, vec2u(KEY_LOW ^ step.seed, KEY_HIGH));
    for (var word = 0u; word < min(4u, LENGTH - 4u * block); word++) {
        // A factor of 0 does not hide what is no number.
        var factor = select(0.0, SCALE, bits[word] >= THRESHOLD);
        if (step.training == 0u) {
            factor = 1.0;
        }
        let element = image * LENGTH + 4u * block + word;
        output[element] = Element(factor * f32(input[element]));
    }
}
