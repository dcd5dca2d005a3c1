//! The first images of CIFAR-10's training set, cropped and whitened.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};

const SIDE: usize = 32;
const CROP: usize = 24;
const CLASSES: usize = 10;

pub struct Images {
    /// [image, channel, row, column].
    pixels: Vec<f32>,
    /// One-hot, [image, class].
    labels: Vec<f32>,
}

impl Images {
    const PIXELS: usize = 3 * CROP * CROP;

    pub fn read(data: &Path, count: usize) -> io::Result<Self> {
        let path = data.join("cifar-10-batches-bin").join("data_batch_1.bin");
        let mut records = vec![0; count * (1 + 3 * SIDE * SIDE)];
        File::open(path)?.read_exact(&mut records)?;
        let mut images = Self { pixels: Vec::new(), labels: vec![0.0; count * CLASSES] };
        for (number, record) in records.chunks_exact(1 + 3 * SIDE * SIDE).enumerate() {
            images.labels[number * CLASSES + usize::from(record[0])] = 1.0;
            images.pixels.extend(whitened(&record[1..]));
        }
        Ok(images)
    }

    /// Some of them, and their labels.
    pub fn batch(&self, from: usize, count: usize, device: &Device) -> (Tensor<4>, Tensor<2>) {
        let pixels = self.pixels[from * Self::PIXELS..(from + count) * Self::PIXELS].to_vec();
        let labels = self.labels[from * CLASSES..(from + count) * CLASSES].to_vec();
        (
            Tensor::from_data(TensorData::new(pixels, [count, 3, CROP, CROP]), device),
            Tensor::from_data(TensorData::new(labels, [count, CLASSES]), device),
        )
    }
}

/// The middle of an image, with mean 0 and standard deviation 1.
fn whitened(image: &[u8]) -> Vec<f32> {
    const BORDER: usize = (SIDE - CROP) / 2;
    let rows = image.chunks_exact(SIDE).enumerate();
    let inside = rows.filter(|(row, _)| (BORDER..BORDER + CROP).contains(&(row % SIDE)));
    let cropped = inside.flat_map(|(_, row)| &row[BORDER..BORDER + CROP]);
    let values: Vec<f32> = cropped.map(|value| f32::from(*value)).collect();
    let count = values.len() as f32;
    let mean = values.iter().sum::<f32>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / count;
    let deviation = variance.sqrt().max(count.sqrt().recip());
    values.iter().map(|value| (value - mean) / deviation).collect()
}
