//! Looks at all photos at the start, on all processors.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Error, Result, bail};
use base::memory;

use super::listed::File;
use super::{Damaged, Images};
use crate::data::{content, thousands, zeros};

/// What became of all photos.
pub(super) struct Survey {
    /// All pixels, one image after the other, zeros where a file could not be decoded; if they are
    /// kept.
    pub(super) pixels: Option<Vec<u8>>,
    /// What was seen of each.
    pub(super) seen: Vec<Seen>,
    /// What was wrong with which files, in their order.
    pub(super) wrong: Vec<(usize, Error)>,
}

/// What there is to know of a photo without its pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// [`content`] of the photo before it was scaled.
    pub(super) original: u64,
    /// [`content`] of what it was scaled to; 0 where pixels are kept, from which it is computed.
    pub(super) read: u64,
    /// The CRC-32C of that; 0 where pixels are kept.
    pub(super) crc32c: u32,
}

/// Photos that one thread decodes.
struct Share<'a> {
    /// The number of the first.
    first: usize,
    files: &'a [File],
    pixels: Option<&'a mut [u8]>,
    seen: &'a mut [Seen],
}

impl Images {
    /// Room for the pixels of so many photos, if they are to be kept.
    fn room(&self, photos: usize, size: usize) -> Result<Option<Vec<u8>>> {
        let bytes = photos.checked_mul(size);
        let fits = |bytes: usize| memory::available().is_none_or(|free| bytes as u64 <= free / 2);
        let wanted = self.cache.unwrap_or_else(|| bytes.is_some_and(fits));
        if !wanted {
            return Ok(None);
        }
        match bytes.map(zeros) {
            Some(Ok(room)) => Ok(Some(room)),
            _ if self.cache.is_none() => Ok(None),
            _ => bail!(
                "{} images of {size} bytes do not fit into memory: make `size_px` smaller, or \
                 write `cache: false`, which decodes them each time they are used",
                thousands(photos as u64)
            ),
        }
    }

    /// Decodes every photo once.
    ///
    /// # Errors
    /// If `cache: true` asks for more memory than there is, or no thread can be started.
    pub(super) fn survey(&self, files: &[File]) -> Result<Survey> {
        let size: usize = self.shape().iter().product();
        let mut pixels = self.room(files.len(), size)?;
        let mut seen = vec![Seen::default(); files.len()];
        let threads = thread::available_parallelism().map_or(1, usize::from);
        // Photos differ in size: short shares are taken in turn.
        let share = files.len().div_ceil(16 * threads).max(1);
        let mut of_shares = pixels.as_mut().map(|pixels| pixels.chunks_mut(share * size));
        let parts = files.chunks(share).zip(seen.chunks_mut(share)).enumerate();
        let shares: Vec<_> = parts
            .map(|(number, (files, seen))| {
                let pixels = of_shares.as_mut().and_then(Iterator::next);
                Share { first: number * share, files, pixels, seen }
            })
            .collect();
        let wrong = self.decode_all(shares, threads)?;
        Ok(Survey { pixels, seen, wrong })
    }

    /// Decodes all shares, on this many threads; gives what was wrong with which files, in their
    /// order.
    fn decode_all(&self, shares: Vec<Share<'_>>, threads: usize) -> Result<Vec<(usize, Error)>> {
        let stopped = AtomicUsize::new(usize::MAX);
        let count = shares.len();
        let shares = Mutex::new(shares.into_iter());
        let mut wrong = thread::scope(|scope| -> Result<Vec<(usize, Error)>> {
            let work = || {
                let mut wrong = Vec::new();
                loop {
                    let next = shares.lock().map(|mut shares| shares.next());
                    let Ok(Some(share)) = next else { return wrong };
                    wrong.extend(self.decode_share(share, &stopped));
                }
            };
            let mut workers = Vec::new();
            for _ in 0..threads.min(count) {
                let worker = thread::Builder::new().spawn_scoped(scope, work);
                // Those that are at work already need not end it.
                let worker = worker.inspect_err(|_| stopped.store(0, Ordering::Relaxed));
                workers.push(worker.context("could not start a thread")?);
            }
            let joined = workers.into_iter().map(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            Ok(joined.flatten().collect())
        })?;
        wrong.sort_by_key(|(at, _)| *at);
        Ok(wrong)
    }

    fn decode_share(&self, share: Share<'_>, stopped: &AtomicUsize) -> Vec<(usize, Error)> {
        let Share { first, files, mut pixels, seen } = share;
        let [height, width, channels] = self.shape();
        let size = height * width * channels;
        let mut scratch = if pixels.is_none() { vec![0; size] } else { Vec::new() };
        let mut wrong = Vec::new();
        for (number, (file, seen)) in files.iter().zip(seen).enumerate() {
            let at = first + number;
            // Those before the first that is wrong are read, so that it is the first.
            if stopped.load(Ordering::Relaxed) < at {
                break;
            }
            let to = match &mut pixels {
                Some(pixels) => &mut pixels[number * size..(number + 1) * size],
                None => scratch.as_mut_slice(),
            };
            match self.decode(&file.path, to) {
                Ok(original) => {
                    seen.original = original;
                    if pixels.is_none() {
                        seen.read = content(&scratch, height, width);
                        seen.crc32c = crc32c::crc32c(&scratch);
                    }
                }
                Err(error) => {
                    wrong.push((at, error));
                    if self.damaged == Damaged::Stop {
                        stopped.fetch_min(at, Ordering::Relaxed);
                    }
                }
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_are_kept_if_that_is_asked_for_or_there_is_room() {
        let room = |cache, photos, size| Images { cache, ..Images::default() }.room(photos, size);
        let bytes = |room: Result<Option<Vec<u8>>>| room.expect("no error").map(|room| room.len());
        for cache in [None, Some(true)] {
            assert_eq!(bytes(room(cache, 3, 12)), Some(36));
        }
        assert_eq!(bytes(room(Some(false), 3, 12)), None);
        for photos in [usize::MAX / 16, usize::MAX] {
            assert_eq!(bytes(room(None, photos, 12)), None, "more than any memory has");
            let told = room(Some(true), photos, 12).expect_err("it was asked for").to_string();
            assert!(told.contains("do not fit into memory") && told.contains("`cache: false`"));
        }
    }
}
