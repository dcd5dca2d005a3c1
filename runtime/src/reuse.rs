//! Memory that goes back to where it came from.
//!
//! A batch takes more memory than allocators keep at hand: taken anew for each, its pages would come
//! from the system every time, which takes longer than filling them.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Lends vectors, whose memory comes back when they are dropped, wherever that is.
#[derive(Debug)]
pub struct Lender<T> {
    back: async_channel::Sender<Vec<T>>,
    free: async_channel::Receiver<Vec<T>>,
}

/// A vector that may be lent. A clone of it is not, and neither is one made of a `Vec`.
pub struct Lent<T> {
    values: Vec<T>,
    back: Option<async_channel::Sender<Vec<T>>>,
}

impl<T> Lender<T> {
    /// Keeps so many vectors at most that are not in use. Any number can be lent.
    ///
    /// # Panics
    /// If that is 0.
    pub fn new(most: usize) -> Self {
        let (back, free) = async_channel::bounded(most);
        Self { back, free }
    }

    /// An empty vector with room for so many.
    pub fn lend(&self, capacity: usize) -> Lent<T> {
        let mut values = self.free.try_recv().unwrap_or_default();
        values.clear();
        values.reserve_exact(capacity);
        Lent { values, back: Some(self.back.clone()) }
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        if let Some(back) = &self.back {
            // If there are enough already, or the lender is gone, it is freed.
            let _ = back.try_send(std::mem::take(&mut self.values));
        }
    }
}

impl<T> Default for Lent<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T> From<Vec<T>> for Lent<T> {
    fn from(values: Vec<T>) -> Self {
        Self { values, back: None }
    }
}

impl<T> FromIterator<T> for Lent<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        values.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T> Deref for Lent<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.values
    }
}

impl<T> DerefMut for Lent<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.values
    }
}

impl<T: Clone> Clone for Lent<T> {
    fn clone(&self) -> Self {
        self.values.clone().into()
    }
}

impl<T: fmt::Debug> fmt::Debug for Lent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.values.fmt(f)
    }
}

impl<T: PartialEq> PartialEq for Lent<T> {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl<T: PartialEq> PartialEq<Vec<T>> for Lent<T> {
    fn eq(&self, other: &Vec<T>) -> bool {
        self.values == *other
    }
}

impl<T: PartialEq, const N: usize> PartialEq<[T; N]> for Lent<T> {
    fn eq(&self, other: &[T; N]) -> bool {
        self.values == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_from_wherever_it_was_dropped() {
        let lender = Lender::new(1);
        let mut first = lender.lend(100);
        first.extend([1, 2, 3]);
        let place = first.as_ptr();
        let copy = first.clone();
        std::thread::spawn(move || drop(first)).join().expect("it is dropped");
        assert_eq!(copy, [1, 2, 3]);
        drop(copy);
        let again = lender.lend(100);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
        // While that one is in use, there is another; one of them is kept.
        let other = lender.lend(10);
        assert_ne!(other.as_ptr(), place);
        drop((again, other));
        assert_eq!(lender.free.len(), 1);
    }

    #[test]
    fn what_outlives_its_lender_is_freed() {
        let lender = Lender::<u8>::new(1);
        let lent = lender.lend(10);
        drop(lender);
        drop(lent);
    }
}
