//! A disk in memory, to see what becomes of files when one is full.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{RecordFile, Target};

/// A disk in memory with room for some bytes. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<Contents>>);

#[derive(Debug)]
struct Contents {
    bytes: Vec<u8>,
    room: usize,
}

impl Disk {
    /// An empty disk with room for so many bytes.
    pub fn new(room: usize) -> Self {
        Self(Arc::new(Mutex::new(Contents { bytes: Vec::new(), room })))
    }

    /// Has room for so many more bytes from now on.
    pub fn make_room(&self, bytes: usize) {
        self.contents().room = bytes;
    }

    /// What is on it.
    pub fn bytes(&self) -> Vec<u8> {
        self.contents().bytes.clone()
    }

    /// A file that is all of it.
    pub fn file(&self, name: &str) -> RecordFile {
        RecordFile::over(Path::new(name), Box::new(self.clone()), 0)
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut disk = self.contents();
        let taken = disk.room.min(bytes.len());
        if taken == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        disk.bytes.extend_from_slice(&bytes[..taken]);
        disk.room -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Target for Disk {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.contents().bytes.truncate(bytes as usize);
        Ok(())
    }
}
