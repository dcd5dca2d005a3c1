//! A process by itself.

use super::Ranks;

/// The only process of its job: what it brings is what all have brought.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn host(&self) -> String {
        "this machine".to_owned()
    }

    fn open(&self, _: usize) {}

    fn meet(&self, _: &[usize], mine: [u64; 2]) -> Vec<[u64; 2]> {
        vec![mine]
    }

    fn gather(&self, _: usize, mine: &[u8], _: &[usize]) -> Vec<Vec<u8>> {
        vec![mine.to_vec()]
    }

    fn sum(&self, _: usize, _: &mut [f32]) {}

    fn finish(&self) {}
}
