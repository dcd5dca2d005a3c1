//! Memory that goes back to where it came from.
//!
//! A batch takes more memory than allocators keep at hand: taken anew for each, its pages would come
//! from the system every time, which takes longer than filling them.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Lends vectors, whose memory comes back when they are dropped, wherever that is.
#[derive(Debug)]
pub struct Lender<T> {
    free: Arc<Free<T>>,
}

/// A vector that may be lent. A clone of it is not, and neither is one made of a `Vec`.
pub struct Lent<T> {
    values: Vec<T>,
    back: Option<Weak<Free<T>>>,
}

#[derive(Debug)]
struct Free<T> {
    /// The last to come back goes first: it may still be in a cache.
    vectors: Mutex<Vec<Vec<T>>>,
    most: usize,
}

impl<T> Free<T> {
    fn vectors(&self) -> MutexGuard<'_, Vec<Vec<T>>> {
        self.vectors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Lender<T> {
    /// Keeps so many vectors at most that are not in use. Any number can be lent.
    pub fn new(most: usize) -> Self {
        let vectors = Mutex::new(Vec::with_capacity(most));
        Self { free: Arc::new(Free { vectors, most }) }
    }

    /// An empty vector with room for so many.
    pub fn lend(&self, capacity: usize) -> Lent<T> {
        let mut values = self.free.vectors().pop().unwrap_or_default();
        values.clear();
        values.reserve_exact(capacity);
        Lent { values, back: Some(Arc::downgrade(&self.free)) }
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        let Some(free) = self.back.as_ref().and_then(Weak::upgrade) else { return };
        let mut vectors = free.vectors();
        if vectors.len() < free.most {
            vectors.push(std::mem::take(&mut self.values));
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
        assert_eq!(lender.free.vectors().len(), 1);
    }

    #[test]
    fn what_outlives_its_lender_is_freed() {
        let lender = Lender::<u8>::new(1);
        let lent = lender.lend(10);
        drop(lender);
        drop(lent);
    }
}
