//! Memory that work on several threads shares: what does not fit at the moment waits.

use std::sync::{Condvar, Mutex, PoisonError};

/// So many bytes, to be taken and given back.
#[derive(Debug)]
pub(crate) struct Room {
    all: u64,
    taken: Mutex<u64>,
    given_back: Condvar,
}

/// Bytes that are taken; dropping gives them back.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Room {
    /// Room for so many bytes.
    pub(crate) const fn new(bytes: u64) -> Self {
        Self { all: bytes, taken: Mutex::new(0), given_back: Condvar::new() }
    }

    /// Takes bytes, and waits until there is room for them. What is larger than all of the room has
    /// it to itself.
    pub(crate) fn take(&self, bytes: u64) -> Taken<'_> {
        let bytes = bytes.min(self.all);
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut u64| *taken + bytes > self.all;
        let waited = self.given_back.wait_while(taken, full);
        *waited.unwrap_or_else(PoisonError::into_inner) += bytes;
        Taken { room: self, bytes }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.room.taken.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.room.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let room = Room::new(100);
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for bytes in [60, 50, 30, 1_000, 100, 10, 40, 70] {
                let (room, now, most) = (&room, &now, &most);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let _taken = room.take(bytes);
                        let bytes = bytes.min(100);
                        most.fetch_max(
                            now.fetch_add(bytes, Ordering::SeqCst) + bytes,
                            Ordering::SeqCst,
                        );
                        thread::yield_now();
                        now.fetch_sub(bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 100);
        assert_eq!(room.taken.into_inner().expect("no panic"), 0);
    }
}
