//! Memory that begins where a cache line does.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the widest vectors. A vector that lies in one line is read at
/// twice the rate of one that lies in two.
const LINE: usize = 64;

/// A slice on the heap whose first element begins a cache line.
#[derive(Debug)]
pub struct Aligned<T> {
    /// Never grows, so that it never moves.
    values: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// This many zeros.
    pub fn zeros(len: usize) -> Self {
        let spare = LINE / size_of::<T>();
        let values = vec![T::default(); if len == 0 { 0 } else { len + spare }];
        let start = if len == 0 { 0 } else { values.as_ptr().align_offset(LINE).min(spare) };
        Self { values, start, len }
    }
}

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Self { values: Vec::new(), start: 0, len: 0 }
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values[self.start..][..self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_element_begins_a_line() {
        for len in [0, 1, 15, 16, 1000, 1 << 20] {
            let numbers = Aligned::<f32>::zeros(len);
            assert_eq!(numbers.len(), len);
            assert!(len == 0 || numbers.as_ptr().addr().is_multiple_of(LINE));
            let numbers = Aligned::<f64>::zeros(len);
            assert!(len == 0 || numbers.as_ptr().addr().is_multiple_of(LINE));
        }
    }
}
