//! Data sets from the network: downloaded once into a cache that all runs share.
//!
//! A download can be stopped anywhere, by a signal, a lost connection or a full disk, and the next
//! start goes on where it ended. Nothing is used before it is whole and its checksum is right: files
//! are written under another name and renamed, folders are unpacked beside their place and renamed.
//! A lock lets one process download while others wait for it.

mod checksum;
mod progress;
mod transfer;
mod unpack;

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::channel::Stop;

pub use checksum::Check;
pub use progress::{Progress, Shown};
pub use transfer::Patience;
use transfer::Transfer;

/// A data set that can be downloaded.
#[derive(Debug)]
pub struct Download {
    /// What it is called on the command line, and its folder in the cache.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// What its makers ask of those who use it.
    pub terms: &'static str,
    /// The address that names of files are appended to, with a slash at its end.
    pub base: &'static str,
    /// Files that are kept as they are.
    pub files: &'static [Remote],
    /// An archive that is unpacked.
    pub archive: Option<Archive>,
}

/// A file that is kept as it is.
#[derive(Debug)]
pub struct Remote {
    /// Its name, there and here.
    pub name: &'static str,
    /// Bytes beyond which it is something else.
    pub most_bytes: u64,
    /// Its checksum.
    pub check: Check,
    /// Whether it is downloaded only if it is asked for.
    pub optional: bool,
}

/// A gzipped tar archive.
#[derive(Debug)]
pub struct Archive {
    /// Its name.
    pub name: &'static str,
    /// Bytes beyond which it is something else.
    pub most_bytes: u64,
    /// Its checksum, if there is one archive only.
    pub check: Option<Check>,
    /// The folder that its files are unpacked to.
    pub folder: &'static str,
    /// The files that are wanted of it.
    pub members: &'static [Member],
}

/// A file in an archive.
#[derive(Debug)]
pub struct Member {
    /// Its name, without folders.
    pub name: &'static str,
    /// Bytes beyond which it is something else.
    pub most_bytes: u64,
    /// Its checksum, where that of the archive does not cover it.
    pub check: Option<Check>,
}

/// From where to where, and whether at all.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The folder that downloads are kept in; `None` if the environment names no place for it.
    pub cache: Option<PathBuf>,
    /// An address to use in place of each data set's own.
    pub mirror: Option<String>,
    /// Whether nothing is downloaded: what is in the cache is used.
    pub offline: bool,
    /// How long is waited for what.
    pub patience: Patience,
    /// What could not be had, so that the next stage that wants it need not wait in vain.
    failed: Arc<Mutex<HashMap<&'static str, String>>>,
}

/// A download was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the download was interrupted; the next start goes on with it")
    }
}

impl std::error::Error for Interrupted {}

/// Downloads into the cache.
pub struct Fetcher<'a> {
    /// From where to where.
    pub settings: &'a Settings,
    /// Ends it early.
    pub stop: &'a Stop,
    /// Hears how far it is.
    pub progress: &'a dyn Fn(Progress),
}

impl Settings {
    /// These, with all else as it is without being set.
    pub fn new(cache: Option<PathBuf>, mirror: Option<String>, offline: bool) -> Self {
        Self { cache, mirror, offline, ..Self::default() }
    }

    /// The folder of a data set in the cache, if these files of it are there; all that are not
    /// optional, if none are named. Their contents are not looked at: [`Fetcher::repair`] does that.
    pub fn cached(&self, download: &Download, wanted: &[&str]) -> Option<PathBuf> {
        let folder = self.cache.as_ref()?.join(download.name);
        let there = download.parts(wanted).all(|part| folder.join(part.place).is_file());
        there.then_some(folder)
    }
}

/// A file of a data set in the cache.
struct Part {
    /// Its path in the data set's folder.
    place: PathBuf,
    check: Option<Check>,
}

impl Download {
    fn wanted(&self, wanted: &[&str]) -> impl Iterator<Item = &'static Remote> {
        let named = move |file: &&Remote| match wanted {
            [] => !file.optional,
            _ => wanted.contains(&file.name),
        };
        self.files.iter().filter(named)
    }

    /// The files of it that a cache has, members of an archive unpacked.
    fn parts(&self, wanted: &[&str]) -> impl Iterator<Item = Part> {
        let files = self.wanted(wanted);
        let files = files.map(|file| Part { place: file.name.into(), check: Some(file.check) });
        let members = self.archive.iter().flat_map(|archive| {
            archive.members.iter().map(|member| Part {
                place: Path::new(archive.folder).join(member.name),
                check: member.check,
            })
        });
        files.chain(members)
    }
}

impl Fetcher<'_> {
    /// The folder of a data set in the cache, downloaded first if it is not there.
    ///
    /// # Errors
    /// If it cannot be had, with what to do; [`Interrupted`] if it was asked to stop. After a
    /// failure the same settings fail at once.
    pub fn fetch(&self, download: &Download, wanted: &[&str]) -> Result<PathBuf> {
        if let Some(folder) = self.settings.cached(download, wanted) {
            return Ok(folder);
        }
        let failed = || self.settings.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = failed().get(download.name) {
            bail!("{why}");
        }
        let fetched = self.fetch_now(download, wanted);
        if let Err(error) = &fetched {
            failed().insert(download.name, format!("{error:#}"));
        }
        fetched
    }

    /// Removes files of a data set from the cache whose checksum is known and is not theirs, so that
    /// they are downloaded again, and says which.
    ///
    /// # Errors
    /// If they cannot be read or removed; [`Interrupted`] if it was asked to stop.
    pub fn repair(&self, download: &Download, wanted: &[&str]) -> Result<()> {
        let Some(cache) = &self.settings.cache else { return Ok(()) };
        let folder = cache.join(download.name);
        let damaged = || {
            let mut damaged = Vec::new();
            for Part { place, check } in download.parts(wanted) {
                ensure!(!self.stop.is_stopped(), Interrupted);
                let path = folder.join(place);
                let Some(check) = check.filter(|_| path.is_file()) else { continue };
                match check.verify(&path) {
                    // What cannot be read may be right.
                    Err(error) if error.root_cause().is::<io::Error>() => return Err(error),
                    Err(error) => damaged.push((path, error)),
                    Ok(()) => {}
                }
            }
            Ok(damaged)
        };
        // A cache that may only be read from, and is right, needs no lock.
        if damaged()?.is_empty() {
            return Ok(());
        }
        let _lock = self.locked(download)?;
        for (path, error) in damaged()? {
            self.note(format!("{} is damaged: {error:#}; it is downloaded again", path.display()));
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    /// Makes the data set's folder, and keeps other processes from it as long as this is held.
    fn locked(&self, download: &Download) -> Result<File> {
        let cache = self.settings.cache.as_ref().context(
            "there is no place for downloads: set GRADFLOW_CACHE to a folder that may be written to",
        )?;
        let cannot_write = || {
            format!(
                "cannot write to the cache {}: check who may write there, or set GRADFLOW_CACHE to \
                 another folder",
                cache.display()
            )
        };
        fs::create_dir_all(cache.join(download.name)).with_context(cannot_write)?;
        let lock = cache.join(format!("{}.lock", download.name));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&lock);
        self.lock(file.with_context(cannot_write)?, &lock)
    }

    fn fetch_now(&self, download: &Download, wanted: &[&str]) -> Result<PathBuf> {
        let _lock = self.locked(download)?;
        let cache = self.settings.cache.as_deref().unwrap_or(Path::new(""));
        let folder = cache.join(download.name);
        // Another process may have done it meanwhile.
        if self.settings.cached(download, wanted).is_some() {
            return Ok(folder);
        }
        self.note(format!(
            "downloading {} into {} ({})",
            download.title,
            folder.display(),
            download.terms
        ));
        for file in download.wanted(wanted) {
            let place = folder.join(file.name);
            if !place.is_file() {
                self.whole(download, file.name, file.most_bytes, &place, |part| {
                    file.check.verify(part)
                })?;
            }
        }
        let whole = |archive: &&Archive| {
            let unpacked = folder.join(archive.folder);
            archive.members.iter().all(|member| unpacked.join(member.name).is_file())
        };
        if let Some(archive) = download.archive.as_ref().filter(|archive| !whole(archive)) {
            self.unpacked(download, archive, &folder)?;
        }
        self.note(format!("{} is in {}", download.title, folder.display()));
        Ok(folder)
    }

    fn note(&self, text: String) {
        (self.progress)(Progress::Note(text));
    }

    /// Waits for whoever is at work on the same data set.
    fn lock(&self, file: File, path: &Path) -> Result<File> {
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
            if !std::mem::replace(&mut told, true) {
                self.note("another process is downloading it: waiting for its end".to_owned());
            }
            self.pause(Duration::from_millis(200))?;
        }
    }

    fn pause(&self, time: Duration) -> Result<()> {
        const SLICE: Duration = Duration::from_millis(50);
        let mut left = time;
        while !left.is_zero() {
            ensure!(!self.stop.is_stopped(), Interrupted);
            let slice = left.min(SLICE);
            thread::sleep(slice);
            left -= slice;
        }
        ensure!(!self.stop.is_stopped(), Interrupted);
        Ok(())
    }

    /// Downloads a file, and puts it into its place once it is right. Gives whether all of it came
    /// just now.
    fn whole(
        &self,
        download: &Download,
        name: &str,
        most_bytes: u64,
        place: &Path,
        verify: impl Fn(&Path) -> Result<()>,
    ) -> Result<bool> {
        let base = self.settings.mirror.as_deref().unwrap_or(download.base);
        let url = format!("{}/{name}", base.trim_end_matches('/'));
        let part = place.with_file_name(format!("{name}.part"));
        let transfer = Transfer { fetcher: self, url: &url, name, part: &part, most_bytes };
        let how_else = || {
            format!(
                "cannot download {name} from {url}; --mirror or GRADFLOW_MIRROR names another \
                 address, or put the file itself to {}",
                place.display()
            )
        };
        loop {
            let is_new = transfer.run().with_context(how_else)?;
            let Err(wrong) = verify(&part) else {
                sync(&part)?;
                rename(&part, place)?;
                return Ok(is_new);
            };
            // Kept bytes that are wrong would be wrong for ever.
            fs::remove_file(&part).with_context(|| format!("cannot remove {}", part.display()))?;
            if is_new {
                return Err(wrong).with_context(how_else);
            }
            self.note(format!("{name}: what was kept of an earlier start is wrong: {wrong:#}"));
        }
    }

    /// Downloads and unpacks an archive.
    fn unpacked(&self, download: &Download, archive: &Archive, folder: &Path) -> Result<()> {
        let place = folder.join(archive.name);
        let verify = |part: &Path| archive.check.map_or(Ok(()), |check| check.verify(part));
        loop {
            // What an earlier start left may be wrong without anything being wrong with the server.
            let is_new = !place.is_file()
                && self.whole(download, archive.name, archive.most_bytes, &place, verify)?;
            match self.unpack(archive, &place, folder) {
                Err(error) if error.is::<unpack::Wrong>() && !is_new => {
                    self.note(format!("{}: from an earlier start: {error:#}", archive.name));
                }
                done => {
                    return done.with_context(|| format!("cannot use {}", place.display()));
                }
            }
        }
    }

    /// Unpacks an archive; one that is wrong is removed.
    fn unpack(&self, archive: &Archive, place: &Path, folder: &Path) -> Result<()> {
        let aside = folder.join(format!("{}.unpacking", archive.folder));
        if aside.exists() {
            // An earlier start was stopped in the middle.
            fs::remove_dir_all(&aside)
                .with_context(|| format!("cannot remove {}", aside.display()))?;
        }
        fs::create_dir(&aside).with_context(|| format!("cannot make {}", aside.display()))?;
        if let Err(error) = unpack::unpack(place, archive, &aside, self.stop) {
            let _ = fs::remove_dir_all(&aside);
            // A full disk or an interruption says nothing against the archive.
            if error.is::<unpack::Wrong>() {
                fs::remove_file(place)
                    .with_context(|| format!("cannot remove {}", place.display()))?;
            }
            return Err(error);
        }
        let unpacked = folder.join(archive.folder);
        if unpacked.is_dir() {
            // Some of it was lost; what else is there stays.
            for member in archive.members {
                rename(&aside.join(member.name), &unpacked.join(member.name))?;
            }
            let _ = fs::remove_dir(&aside);
        } else {
            rename(&aside, &unpacked)?;
        }
        // What is unpacked needs it no more; if it stays, it only takes up room.
        let _ = fs::remove_file(place);
        Ok(())
    }
}

fn sync(path: &Path) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path).and_then(|file| file.sync_all());
    file.with_context(|| format!("cannot write {} to the disk", path.display()))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests;
