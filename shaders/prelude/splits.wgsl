// The parts into which images are split for sums over them: the last may have fewer, or none.

override SPLITS: u32;

// Images from `begin` to before `end`.
struct Images { begin: u32, end: u32 }

// The images of a split, of so many in all.
fn images_of(split: u32, images: u32) -> Images {
    let split_images = (images + SPLITS - 1u) / SPLITS;
    return Images(min(split * split_images, images), min((split + 1u) * split_images, images));
}
