//! What the per-image stages expect of their inputs, with the same words for the same mistake.

use anyhow::{Result, bail};
use flow::item::{Block, Item};
use flow::port::{ImageType, Port};
use flow::stage::Mismatch;

/// The type of the images that come in, for a stage that takes images from exactly one stage.
///
/// # Errors
/// A [`Mismatch`] if nothing comes in, too much comes in, or no images come in.
pub fn one_samples(kind: &str, inputs: &[Port]) -> Result<ImageType, Mismatch> {
    match inputs {
        [Port::Samples(image)] => Ok(*image),
        [other] => Err(Mismatch::new(format!("{kind} takes images, but gets {other}"))
            .help("let `from` name a stage that puts out images, before any batcher")),
        [] => Err(Mismatch::new(format!("{kind} takes images, but nothing comes in"))
            .help("let `from` name the stage that the images come from")),
        several => Err(Mismatch::new(format!(
            "{kind} takes images from one stage, and `from` names {}",
            several.len()
        ))
        .help("let `from` name one of them")),
    }
}

/// The block in this item.
///
/// # Errors
/// If it is anything else, which a checked pipeline does not send.
pub fn block(item: Item) -> Result<Block> {
    match item {
        Item::Block(block) => Ok(block),
        _ => bail!("expected images, and something else came in over a checked edge"),
    }
}

#[cfg(test)]
mod tests {
    use flow::port::PixelType;

    use super::*;

    const IMAGES: ImageType = ImageType {
        pixel: PixelType::U8,
        shape: [32, 32, 3],
        classes: 10,
        whole_epochs: true,
        views: 1,
    };

    #[test]
    fn only_images_from_one_stage_are_taken() {
        let images = || Port::Samples(IMAGES);
        assert_eq!(one_samples("cropper", &[images()]), Ok(IMAGES));
        let message =
            |inputs: &[Port]| one_samples("cropper", inputs).expect_err("refused").message;
        assert_eq!(
            message(&[images(), images()]),
            "cropper takes images from one stage, and `from` names 2"
        );
        assert_eq!(
            message(&[Port::Batches(IMAGES, 128)]),
            "cropper takes images, but gets batches 128 x u8[32, 32, 3]"
        );
        assert_eq!(message(&[]), "cropper takes images, but nothing comes in");
    }
}
