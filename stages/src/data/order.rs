//! Whether images come class by class.

use std::collections::HashMap;
use std::hash::Hash;

/// The most images of one class in a row, if images come class by class: in far fewer rows than
/// chance would make of as many of each.
pub fn most_in_a_row<L: Copy + Eq + Hash>(labels: &[L]) -> Option<u64> {
    // Six standard deviations from what chance makes, for which there are two bounds; and a quarter
    // of it, as files may come in some order without being sorted.
    const DEVIATIONS: f64 = 6.0;
    const SHARE: f64 = 0.25;
    let images = labels.len() as f64;
    let mut counts: HashMap<L, u64> = HashMap::new();
    labels.iter().for_each(|label| *counts.entry(*label).or_default() += 1);
    let alike: f64 = counts.values().map(|count| (*count as f64 / images).powi(2)).sum();
    let expected = 1.0 + (images - 1.0) * (1.0 - alike);
    let rows: Vec<u64> = labels.chunk_by(PartialEq::eq).map(|row| row.len() as u64).collect();
    let found = rows.len() as f64;
    let deviation = (images.sqrt() / 2.0).min(expected.sqrt());
    let few = found < expected - DEVIATIONS * deviation && found < SHARE * expected;
    rows.into_iter().max().filter(|_| few)
}

#[cfg(test)]
mod tests {
    use base::random::Random;

    use super::*;

    #[test]
    fn images_that_come_class_by_class_are_told_from_those_that_do_not() {
        let sorted: Vec<u8> = (0..10).flat_map(|class| vec![class; 50]).collect();
        assert_eq!(most_in_a_row(&sorted), Some(50));
        let twice = [sorted.clone(), sorted.clone()].concat();
        assert_eq!(most_in_a_row(&twice), Some(50));
        let mut mixed = sorted.clone();
        Random::keyed(1, "order", 0, 0).shuffle(&mut mixed);
        assert_eq!(most_in_a_row(&mixed), None);
        let in_turn: Vec<u8> = (0..500).map(|image| (image % 10) as u8).collect();
        assert_eq!(most_in_a_row(&in_turn), None);
    }

    #[test]
    fn few_images_and_rare_classes_say_nothing() {
        assert_eq!(most_in_a_row::<u8>(&[]), None);
        assert_eq!(most_in_a_row(&[7_u8; 1000]), None);
        assert_eq!(most_in_a_row(&[0_u8, 0, 0, 1, 1, 1]), None);
        // One in a hundred, mixed: long rows of the others are to be expected.
        let mut rare: Vec<u8> = (0..10_000).map(|image| u8::from(image % 100 == 0)).collect();
        Random::keyed(1, "order", 0, 0).shuffle(&mut rare);
        assert_eq!(most_in_a_row(&rare), None);
        rare.sort_unstable();
        assert_eq!(most_in_a_row(&rare), Some(9_900));
    }
}
