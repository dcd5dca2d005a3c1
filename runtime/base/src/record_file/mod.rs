//! Files that records are added to while a run is at work: a line of JSON, a record of TensorBoard's.
//!
//! A record is in the file whole or not at all once the writer is closed. What cannot be written, as
//! on a full disk, waits in memory, and the next write goes on at the byte where the last one ended,
//! so that nothing is written behind half a record. What a killed process left of its last record is
//! taken away before the next one is added.

pub mod disk;
mod division;

use std::collections::VecDeque;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::de::IgnoredAny;

pub use self::division::Division;

/// Bytes that wait in memory at most.
const MOST_WAITING: usize = 16 << 20;

/// Where records go: a file, or what a test has in its place.
pub trait Target: Write + Send {
    /// Has everything so far on the disk.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts it back to so many bytes.
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

impl Target for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

/// Adds records to a file.
pub struct RecordFile {
    path: PathBuf,
    target: Box<dyn Target>,
    /// The bytes of the file's whole records.
    whole: u64,
    /// How many bytes of the next record follow them already.
    begun: usize,
    /// What is not in the file yet.
    waiting: Vec<u8>,
    /// The lengths of the records that this is part of.
    lengths: VecDeque<usize>,
    most_waiting: usize,
}

impl RecordFile {
    /// A file that is not there yet.
    ///
    /// # Errors
    /// Of the kind [`ErrorKind::AlreadyExists`] if it is there, and others.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        Ok(Self::over(path, Box::new(file), 0))
    }

    /// A file of lines of JSON, which is made if it is not there. What it has behind its last whole
    /// line is taken away; a record that lacks nothing but its line break gets that.
    ///
    /// # Errors
    /// If it cannot be opened, read or mended.
    pub fn open_lines(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).read(true).open(path);
        let mut file = file.with_context(|| format!("cannot open {}", path.display()))?;
        let whole = mend_lines(&mut file)
            .with_context(|| format!("cannot mend the end of {}", path.display()))?;
        Ok(Self::over(path, Box::new(file), whole))
    }

    /// Something that has these bytes of whole records already, and nothing behind them.
    pub fn over(path: &Path, target: Box<dyn Target>, whole: u64) -> Self {
        Self {
            path: path.to_owned(),
            target,
            whole,
            begun: 0,
            waiting: Vec::new(),
            lengths: VecDeque::new(),
            most_waiting: MOST_WAITING,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes that are not in the file yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Keeps a record until the next [write](Self::write).
    ///
    /// # Errors
    /// If so much waits already that the record is not kept. The text is the same for each.
    pub fn push(&mut self, record: &[u8]) -> Result<()> {
        if self.waiting.len() + record.len() > self.most_waiting && self.write_waiting().is_err() {
            bail!(
                "cannot write {}, and no more than {} MiB are kept until that is possible: what \
                 comes now is lost",
                self.path.display(),
                self.most_waiting >> 20
            );
        }
        self.waiting.extend_from_slice(record);
        self.lengths.push_back(record.len());
        Ok(())
    }

    /// Hands what waits to the system.
    ///
    /// # Errors
    /// If it cannot be written. Nothing is lost by that: it waits for the next write. The text is
    /// the same each time, so that it can be told once.
    pub fn write(&mut self) -> Result<()> {
        self.write_waiting().with_context(|| {
            format!(
                "cannot write {}; what is missing there is written as soon as that is possible",
                self.path.display()
            )
        })
    }

    /// Adds a record at once.
    ///
    /// # Errors
    /// As [push](Self::push) and [write](Self::write).
    pub fn append(&mut self, record: &[u8]) -> Result<()> {
        self.push(record)?;
        self.write()
    }

    /// Adds a record onto the disk, or leaves the file as it was.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn append_now(mut self, record: &[u8]) -> Result<()> {
        let (path, before) = (self.path.clone(), self.whole);
        let written = self.push(record).and_then(|()| {
            self.write_waiting()?;
            Ok(self.target.sync()?)
        });
        if written.is_err() && self.target.cut(before).is_ok() {
            (self.whole, self.begun) = (before, 0);
        }
        // It is not written later, when this is closed, after its failure was told.
        self.waiting.clear();
        self.lengths.clear();
        written.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Has everything so far on the disk.
    ///
    /// # Errors
    /// If it cannot be written, or the disk fails.
    pub fn sync(&mut self) -> Result<()> {
        self.write()?;
        self.target.sync().with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Writes what waits, and knows where to go on if only a part of it can be written.
    fn write_waiting(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match self.target.write(&self.waiting) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.target.flush()
    }

    fn advance(&mut self, written: usize) {
        self.waiting.drain(..written);
        self.begun += written;
        while let Some(length) = self.lengths.front().filter(|length| self.begun >= **length) {
            self.begun -= length;
            self.whole += *length as u64;
            self.lengths.pop_front();
        }
    }
}

impl fmt::Debug for RecordFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, whole, .. } = self;
        f.debug_struct("RecordFile")
            .field("path", path)
            .field("whole", whole)
            .finish_non_exhaustive()
    }
}

impl Drop for RecordFile {
    fn drop(&mut self) {
        // Its failure was told when it was tried before.
        let _ = self.write_waiting();
        if self.begun > 0 {
            // Where that fails as well, whoever opens the file next mends it.
            let _ = self.target.cut(self.whole);
        }
    }
}

/// Takes away what a file has behind its last line break, or adds the line break that a whole
/// object lacks. Gives the length then.
fn mend_lines(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let whole = after_last_line(file, length)?;
    if whole == length {
        return Ok(length);
    }
    let mut torn = Vec::new();
    file.seek(SeekFrom::Start(whole))?;
    file.read_to_end(&mut torn)?;
    if torn.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(&torn).is_ok() {
        file.write_all(b"\n")?;
        return Ok(length + 1);
    }
    file.set_len(whole)?;
    Ok(whole)
}

/// Where the last line break ends; 0 if there is none. Looked for from the end, as a file may be
/// long.
fn after_last_line(file: &mut File, length: u64) -> io::Result<u64> {
    let mut chunk = [0; 4096];
    let mut end = length;
    while end > 0 {
        let bytes = &mut chunk[..end.min(4096) as usize];
        let begin = end - bytes.len() as u64;
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(bytes)?;
        if let Some(at) = bytes.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::disk::Disk;
    use super::*;
    use crate::random::Random;

    /// A disk that fails once everything is to be on it.
    struct Unsynced(Disk);

    impl Write for Unsynced {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Target for Unsynced {
        fn sync(&mut self) -> io::Result<()> {
            Err(ErrorKind::QuotaExceeded.into())
        }

        fn cut(&mut self, bytes: u64) -> io::Result<()> {
            self.0.cut(bytes)
        }
    }

    #[test]
    fn what_is_not_on_the_disk_is_not_in_the_file_either() {
        let disk = Disk::new(100);
        disk.file("records").append_now(b"one").expect("there is room");
        let target = Box::new(Unsynced(disk.clone()));
        let file = RecordFile::over(Path::new("records"), target, 3);
        file.append_now(b"two").expect_err("the disk fails");
        assert_eq!(disk.bytes(), b"one");
    }

    fn record(number: u64) -> Vec<u8> {
        format!("<{number}{}>", "x".repeat(number as usize % 7)).into_bytes()
    }

    #[test]
    fn whatever_room_there_is_records_stay_whole_and_in_order() {
        for case in 0..300 {
            let mut random = Random::keyed(3, "disk", 0, case);
            let disk = Disk::new(0);
            let mut file = disk.file("records");
            let mut texts = Vec::new();
            for number in 0..40 {
                disk.make_room(random.bits() as usize % 12);
                let failed = file.append(&record(number)).err();
                texts.extend(failed.map(|error| format!("{error:#}")));
            }
            texts.dedup();
            assert!(texts.len() <= 1, "told once: {texts:?}");
            let all: Vec<u8> = (0..40).flat_map(record).collect();
            let written = disk.bytes();
            assert_eq!(written, all[..written.len()], "{case}");
            if case % 2 == 0 {
                disk.make_room(usize::MAX);
                drop(file);
                assert_eq!(disk.bytes(), all, "{case}");
            } else {
                disk.make_room(0);
                drop(file);
                let (mut end, written) = (0, disk.bytes());
                let ends: Vec<usize> = (0..40)
                    .map(|number| {
                        end += record(number).len();
                        end
                    })
                    .collect();
                let is_whole = written.is_empty() || ends.contains(&written.len());
                assert!(is_whole, "{case}: {} bytes", written.len());
            }
        }
    }

    #[test]
    fn what_waits_is_bounded_and_no_record_is_torn_by_that() {
        let disk = Disk::new(5);
        let mut file = disk.file("records");
        file.most_waiting = 20;
        let mut kept = Vec::new();
        for number in 0..20 {
            if file.push(&record(number)).is_ok() {
                kept.extend(record(number));
            }
            let _ = file.write();
            assert!(file.waiting() <= 20);
        }
        disk.make_room(usize::MAX);
        file.append(b"<last>").expect("there is room");
        kept.extend(b"<last>");
        assert_eq!(disk.bytes(), kept);
        assert!(kept.len() < 60, "something was lost: {}", kept.len());
    }

    #[test]
    fn a_record_that_must_be_there_now_is_not_there_later() {
        let disk = Disk::new(3);
        let error = disk.file("journal").append_now(b"<123456>").expect_err("no room");
        assert!(format!("{error:#}").starts_with("cannot write journal: "), "{error:#}");
        disk.make_room(usize::MAX);
        assert_eq!(disk.bytes(), b"");
        disk.file("journal").append_now(b"<1>").expect("there is room");
        assert_eq!(disk.bytes(), b"<1>");
    }

    #[test]
    fn a_file_is_mended_before_something_is_added() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.jsonl");
        let long = format!("{{\"b\":\"{}", "x".repeat(10_000));
        let nothing: &[u8] = b"";
        for whole in [nothing, b"{\"a\":1}\n", b"{\"a\":1}\n\n{}\n"] {
            for torn in [nothing, b"{", b"{\"b\":", b"\0\0\0", b"{\"b\":\xff", long.as_bytes()] {
                std::fs::write(&path, [whole, torn].concat()).expect("written");
                let mut file = RecordFile::open_lines(&path).expect("it opens");
                file.append(b"{\"c\":3}\n").expect("it is added");
                drop(file);
                let read = std::fs::read(&path).expect("it is there");
                assert_eq!(read, [whole, b"{\"c\":3}\n"].concat(), "{torn:?}");
            }
        }
        std::fs::write(&path, b"{\"a\":1}\n{\"b\":2}").expect("written");
        RecordFile::open_lines(&path).expect("it opens").append(b"{}\n").expect("added");
        let read = std::fs::read(&path).expect("it is there");
        assert_eq!(read, b"{\"a\":1}\n{\"b\":2}\n{}\n");
        let error = RecordFile::open_lines(folder.path()).expect_err("a folder").to_string();
        assert!(error.starts_with("cannot open"), "{error}");
    }
}
