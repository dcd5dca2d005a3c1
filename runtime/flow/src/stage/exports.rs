//! What a stage does, in a form for other programs.

use anyhow::Result;

use crate::port::Port;

/// A stage that has a form for other programs.
pub trait Exports {
    /// Appends what this stage makes of images to an ONNX file: other images, or class scores.
    ///
    /// # Errors
    /// If it has no form in ONNX.
    fn onnx(&self, file: &mut onnx::Builder, images: &onnx::Value) -> Result<onnx::Value>;

    /// What is done to each image, as a sentence with its numbers, for people who do the same in
    /// another program: it goes into the metadata of ONNX files. `None` if that is nothing.
    fn in_words(&self, _inputs: &[Port]) -> Option<String> {
        None
    }
}
