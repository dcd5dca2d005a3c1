//! Left becomes right.

/// Reverses each row of pixels, their channels staying in order.
pub fn rows<T: Copy>(values: &mut [T], width: usize, channels: usize) {
    for row in values.chunks_exact_mut(width * channels) {
        match channels {
            1 => row.reverse(),
            3 => row.as_chunks_mut::<3>().0.reverse(),
            _ => {
                row.reverse();
                row.chunks_exact_mut(channels).for_each(<[T]>::reverse);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_change_places_and_channels_do_not() {
        for channels in 1..=4 {
            let values: Vec<usize> = (0..2 * 5 * channels).collect();
            let mut mirrored = values.clone();
            rows(&mut mirrored, 5, channels);
            for (at, value) in mirrored.iter().enumerate() {
                let (pixel, channel) = (at / channels, at % channels);
                let from = pixel / 5 * 5 + 4 - pixel % 5;
                assert_eq!(*value, values[from * channels + channel]);
            }
        }
    }
}
