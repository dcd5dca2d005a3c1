//! Dropout.

use base::random::{ROUNDS, next_key, philox, products};
use compute::kernel::{
    Args, Binding, Case, Constants, Extent::PerImage, Kernel, linear_workgroups,
};

use crate::form::{WORKGROUP, only};
use crate::simd::{MOST_LANES, vectorized};

/// In training, makes numbers 0 at random and scales those that are kept; in scoring, copies.
///
/// An element is kept if its random bits are at least THRESHOLD. They are those that
/// [`base::random::Random::keyed`] gives for the run's seed, a purpose whose key is KEY_LOW and
/// KEY_HIGH, the sample's epoch and its index, one after the other for the elements of an image. So
/// neither batches nor adapters matter, and the backward pass draws them again: it is the same kernel.
///
/// Numbers are dropped by a factor of 0, which does not hide what is no number.
pub static KERNEL: Kernel = Kernel {
    name: "dropout",
    about: "In training, makes numbers 0 at random and scales the others.",
    bindings: &[
        Binding::read("input", PerImage),
        Binding::read("sample_ids", PerImage).of_indices(),
        Binding::write("output", PerImage),
    ],
    lengths: |c| vec![c.size("LENGTH"), 4, c.size("LENGTH")],
    terms: |_, _| 1,
    variants: &[only("dropout", include_str!("../dropout.wgsl"), |c, images| {
        linear_workgroups(images * c.size("LENGTH").div_ceil(4), WORKGROUP)
    })],
    cpu,
    reference,
    cases: || {
        let case = |images: usize, length, rate| {
            // Samples and epochs beyond 32 bits as well.
            let words = (1..=4 * images as u64).map(|at| at.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let ids = words.map(|word| f64::from((word >> 32) as u32)).collect();
            Case::new(images, constants(length, rate, [5, u32::MAX])).given("sample_ids", ids)
        };
        vec![
            case(1, 1, 0.5),
            case(3, 7, 0.9),
            case(2, 64, 0.0),
            case(5, 257, 0.25),
            case(33, 10, 0.999),
            // A dense layer's output, and a convolution's.
            case(7, 384, 0.5),
            case(2, 32 * 32 * 32, 0.1),
        ]
    },
};

/// The constants for this many elements, of which this share is dropped, by this key.
pub fn constants(length: usize, rate: f64, [low, high]: [u32; 2]) -> Constants {
    let threshold = (rate * 4_294_967_296.0).round().min(f64::from(u32::MAX));
    Constants::default()
        .with("LENGTH", length)
        .with_real("THRESHOLD", threshold)
        .with_real("SCALE", 1.0 / (1.0 - rate))
        .with_real("KEY_LOW", f64::from(low))
        .with_real("KEY_HIGH", f64::from(high))
}

/// Key and counter of an image's first four elements.
fn philox_of<T>(args: &Args<'_, T>, id: &[u32]) -> ([u32; 2], [u32; 4]) {
    let key = [
        args.constants.real("KEY_LOW") as u32 ^ args.step.seed,
        args.constants.real("KEY_HIGH") as u32,
    ];
    // The words of a sample's index, then those of its epoch.
    (key, [0, id[0], id[2], (id[1] & 0xFFFF) | id[3] << 16])
}

fn cpu(args: &mut Args<'_, f32>) {
    let length = args.size("LENGTH");
    let (input, output) = (args.read("input"), args.write("output"));
    if args.step.training == 0 {
        output.copy_from_slice(input);
        return;
    }
    let threshold = args.constants.real("THRESHOLD") as u32;
    let scale = args.constants.real("SCALE") as f32;
    let images = input.chunks_exact(length).zip(output.chunks_exact_mut(length));
    for (id, (input, output)) in args.read_index("sample_ids").chunks_exact(4).zip(images) {
        let (key, counter) = philox_of(args, id);
        drop_some(args.isa, key, counter, threshold, scale, input, output);
    }
}

/// Blocks of random bits that are drawn at once.
const BLOCKS: usize = MOST_LANES;

vectorized! {
    fn drop_some(
        key: [u32; 2],
        counter: [u32; 4],
        threshold: u32,
        scale: f32,
        input: &[f32],
        output: &mut [f32],
    ) {
        let chunks = input.chunks(4 * BLOCKS).zip(output.chunks_mut(4 * BLOCKS));
        for (number, (input, output)) in chunks.enumerate() {
            let factors = draw((number * BLOCKS) as u32, counter, key)
                .map(|bits| if bits >= threshold { scale } else { 0.0 });
            for ((output, input), factor) in output.iter_mut().zip(input).zip(factors) {
                *output = input * factor;
            }
        }
    }
}

/// The random bits of some blocks from the `first` on, in order: [`philox`], a lane for each block.
#[inline(always)]
fn draw(first: u32, counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4 * BLOCKS] {
    let mut words = counter.map(|word| [word; BLOCKS]);
    words[0] = std::array::from_fn(|block| first + block as u32);
    for round in 0..ROUNDS {
        if round > 0 {
            key = next_key(key);
        }
        let [first, second, third, fourth] = &mut words;
        let blocks = first.iter_mut().zip(second).zip(third).zip(fourth);
        for (((first, second), third), fourth) in blocks {
            let [low, high] = products(*first, *third);
            *first = (high >> 32) as u32 ^ *second ^ key[0];
            *second = high as u32;
            *third = (low >> 32) as u32 ^ *fourth ^ key[1];
            *fourth = low as u32;
        }
    }
    std::array::from_fn(|at| words[at % 4][at / 4])
}

fn reference(args: &mut Args<'_, f64>) {
    let (length, input) = (args.size("LENGTH"), args.read("input"));
    let output = args.write("output");
    for (image, id) in args.read_index("sample_ids").chunks_exact(4).enumerate() {
        if image >= args.images() {
            break;
        }
        let (key, counter) = philox_of(args, id);
        for element in 0..length {
            let block = [(element / 4) as u32, counter[1], counter[2], counter[3]];
            let bits = philox(block, key)[element % 4];
            let is_kept = f64::from(bits) >= args.constants.real("THRESHOLD");
            let factor = if is_kept { args.constants.real("SCALE") } else { 0.0 };
            let factor = if args.step.training == 0 { 1.0 } else { factor };
            output[image * length + element] = factor * input[image * length + element];
        }
    }
}

#[cfg(test)]
mod tests {
    use base::random::{Random, key_of};
    use compute::kernel::{Slot, Step};

    use super::*;

    fn dropped(step: &Step, rate: f64, ids: &[u32], length: usize) -> Vec<f32> {
        let constants = constants(length, rate, key_of("drop1"));
        let input = vec![1.0; ids.len() / 4 * length];
        let mut output = vec![-1.0; input.len()];
        let slots = [
            ("input", Slot::Read(&input[..])),
            ("sample_ids", Slot::ReadIndex(ids)),
            ("output", Slot::Write(&mut output[..])),
        ];
        cpu(&mut Args::new(&constants, step, slots));
        output
    }

    #[test]
    fn bits_are_those_of_the_layer_and_the_sample() {
        let step = Step { seed: 77, ..Step::of(1) };
        let (epoch, index) = (3 + (5 << 32), 9 + (2 << 32));
        let mut random = Random::keyed(77, "drop1", epoch, index);
        let expected: Vec<f32> =
            (0..101).map(|_| if random.bits() >= 1 << 30 { 4.0 / 3.0 } else { 0.0 }).collect();
        assert_eq!(dropped(&step, 0.25, &[9, 2, 3, 5], 101), expected);
    }

    #[test]
    fn as_many_are_dropped_as_asked_for_and_none_in_scoring() {
        let step = Step { seed: 1, ..Step::of(1) };
        for rate in [0.0, 0.1, 0.5, 0.9] {
            let kept = dropped(&step, rate, &[1, 0, 0, 0], 100_000);
            let share = kept.iter().filter(|value| **value == 0.0).count() as f64 / 1e5;
            assert!((share - rate).abs() < 0.01, "{share} of {rate}");
            let scored = dropped(&Step { training: 0, ..step }, rate, &[1, 0, 0, 0], 100);
            assert_eq!(scored, vec![1.0; 100]);
        }
    }
}
