//! Data sets from the network: downloaded once into a cache that all runs share.
//!
//! A download can be stopped anywhere, by a signal, a lost connection or a full disk, and the next
//! start goes on where it ended. Nothing is used before it is whole and its checksum is right: files
//! are written under another name and renamed, folders are unpacked beside their place and renamed.
//! A lock lets one process download while others wait for it.

mod checksum;
mod mirror;
mod progress;
mod receipt;
mod stock;
mod transfer;
mod unpack;

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail, ensure};

use base::lock::{self, Attempt};
use base::stop::Stop;
use base::whole_file;

pub use checksum::Check;
pub use mirror::{address, without_credentials};
pub use progress::{Progress, Shown};
use stock::{Care, Stock};
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
    /// Its bytes, if it has a checksum; else bytes beyond which it is something else.
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

    /// The folder of a data set in the cache, if these files of it are there in their sizes; all
    /// that are not optional, if none are named. Their contents are not looked at:
    /// [`Fetcher::fetch_checked`] does that.
    pub fn cached(&self, download: &Download, wanted: &[&str]) -> Option<PathBuf> {
        let stock = Stock::of(self.cache.as_ref()?, download, wanted);
        stock.lacks().is_empty().then_some(stock.folder)
    }

    /// What is wrong with these files in the cache, if some of them are there and not all are in
    /// their sizes, and what to do about it.
    pub fn incomplete(&self, download: &Download, wanted: &[&str]) -> Option<String> {
        let stock = Stock::of(self.cache.as_ref()?, download, wanted);
        let lacks = stock.lacks();
        (!stock.is_empty() && !lacks.is_empty()).then(|| {
            format!(
                "{} is incomplete: {}; `runtime fetch {}` repairs it",
                stock.folder.display(),
                stock::list(&lacks),
                download.name
            )
        })
    }
}

impl Download {
    fn wanted(&self, wanted: &[&str]) -> impl Iterator<Item = &'static Remote> {
        let named = move |file: &&Remote| match wanted {
            [] => !file.optional,
            _ => wanted.contains(&file.name),
        };
        self.files.iter().filter(named)
    }
}

impl Archive {
    /// The path of a member in the data set's folder.
    fn place_of(&self, member: &str) -> String {
        format!("{}/{member}", self.folder)
    }
}

impl Fetcher<'_> {
    /// The folder of a data set in the cache, downloaded first if it is not there. What is there is
    /// looked at no closer than in [`Settings::cached`].
    ///
    /// # Errors
    /// If it cannot be had, with what to do; [`Interrupted`] if it was asked to stop. After a
    /// failure the same settings fail at once.
    pub fn fetch(&self, download: &Download, wanted: &[&str]) -> Result<PathBuf> {
        self.fetch_with(Care::Sizes, download, wanted)
    }

    /// The same, with the contents of what is there checked, and what is damaged downloaded again.
    ///
    /// # Errors
    /// As above, and if what is there cannot be read.
    pub fn fetch_checked(&self, download: &Download, wanted: &[&str]) -> Result<PathBuf> {
        self.fetch_with(Care::Contents, download, wanted)
    }

    fn fetch_with(&self, care: Care, download: &Download, wanted: &[&str]) -> Result<PathBuf> {
        // A cache that may only be read from, and is right, needs no lock.
        if let Some(cache) = &self.settings.cache {
            let stock = Stock::of(cache, download, wanted);
            if stock.amiss(care, self.stop)?.is_empty() {
                if care == Care::Contents {
                    let checked = stock.checked();
                    self.note(format!("{} is here; checked {checked}", download.title));
                }
                return Ok(stock.folder);
            }
        }
        if self.settings.offline {
            let incomplete = self.settings.incomplete(download, wanted);
            let incomplete = incomplete.map_or(String::new(), |why| format!("; {why}"));
            bail!("downloads are switched off by --offline or GRADFLOW_OFFLINE{incomplete}");
        }
        let failed = || self.settings.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = failed().get(download.name) {
            bail!("{why}");
        }
        let fetched = self.fetch_now(care, download, wanted);
        if let Err(error) = &fetched
            && !error.root_cause().is::<Interrupted>()
        {
            failed().insert(download.name, format!("{error:#}"));
        }
        fetched
    }

    fn fetch_now(&self, care: Care, download: &Download, wanted: &[&str]) -> Result<PathBuf> {
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
        let _lock = self.lock(file.with_context(cannot_write)?, &lock)?;
        // Another process may have done it meanwhile.
        let mut stock = Stock::of(cache, download, wanted);
        let amiss = stock.amiss(care, self.stop)?;
        if amiss.is_empty() {
            return Ok(stock.folder);
        }
        if !stock.is_empty() {
            self.note(format!("{}: {}", stock.folder.display(), stock::list(&amiss)));
        }
        self.note(format!(
            "downloading {} into {} ({})",
            download.title,
            stock.folder.display(),
            download.terms
        ));
        for file in download.wanted(wanted) {
            if amiss.iter().any(|amiss| amiss.file == file.name) {
                let place = stock.folder.join(file.name);
                let verify = |part: &Path| file.check.verify(part);
                self.whole(download, file.name, file.most_bytes, &place, verify)?;
                self.put(&mut stock, &[(file.name, part_of(&place))])?;
            }
        }
        if let Some(archive) = &download.archive {
            let of_archive =
                |member: &&Member| amiss.iter().any(|a| a.file == archive.place_of(member.name));
            let members: Vec<&Member> = archive.members.iter().filter(of_archive).collect();
            if !members.is_empty() {
                stock.check_folder(archive, &amiss)?;
                self.unpacked(download, archive, &mut stock, &members)?;
            }
        }
        self.note(format!("{} is in {}", download.title, stock.folder.display()));
        Ok(stock.folder)
    }

    /// Puts files into their places.
    fn put(&self, stock: &mut Stock, files: &[(&str, PathBuf)]) -> Result<()> {
        for kept in stock.put(files)? {
            self.note(format!("what was there of somebody else is now {}", kept.display()));
        }
        Ok(())
    }

    fn note(&self, text: String) {
        (self.progress)(Progress::Note(text));
    }

    /// Waits for whoever is at work on the same data set.
    fn lock(&self, file: File, path: &Path) -> Result<File> {
        let mut told = false;
        loop {
            let attempt = lock::attempt(&file);
            match attempt.with_context(|| format!("cannot lock {}", path.display()))? {
                Attempt::Locked => return Ok(file),
                Attempt::Taken => {}
                // What two processes write at once has a wrong checksum, and is not used.
                Attempt::Unsupported(error) => {
                    self.note(format!(
                        "the file system of {} knows no locks ({error}): let no other process \
                         download the same at the same time",
                        path.display()
                    ));
                    return Ok(file);
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

    /// Downloads a file beside its place until it is right. Gives whether all of it came just now.
    fn whole(
        &self,
        download: &Download,
        name: &str,
        most_bytes: u64,
        place: &Path,
        verify: impl Fn(&Path) -> Result<()>,
    ) -> Result<bool> {
        let base = match &self.settings.mirror {
            Some(mirror) => &address(mirror).map_err(Error::msg).with_context(|| {
                let mirror = without_credentials(mirror);
                format!("GRADFLOW_MIRROR or --mirror does not say where to download from: {mirror}")
            })?,
            None => download.base,
        };
        let url = format!("{}/{name}", base.trim_end_matches('/'));
        let part = part_of(place);
        let transfer = Transfer { fetcher: self, url: &url, name, part: &part, most_bytes };
        let how_else = || {
            let url = without_credentials(&url);
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

    /// Downloads an archive and puts these members of it into their places.
    fn unpacked(
        &self,
        download: &Download,
        archive: &Archive,
        stock: &mut Stock,
        members: &[&Member],
    ) -> Result<()> {
        let place = stock.folder.join(archive.name);
        let verify = |part: &Path| archive.check.map_or(Ok(()), |check| check.verify(part));
        loop {
            // What an earlier start left may be wrong without anything being wrong with the server.
            let mut is_new = false;
            if !place.is_file() {
                is_new = self.whole(download, archive.name, archive.most_bytes, &place, verify)?;
                rename(&part_of(&place), &place)?;
            }
            match self.unpack(archive, &place, stock, members) {
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
    fn unpack(
        &self,
        archive: &Archive,
        place: &Path,
        stock: &mut Stock,
        members: &[&Member],
    ) -> Result<()> {
        let aside = stock.folder.join(format!("{}.unpacking", archive.folder));
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
        let names: Vec<String> = members.iter().map(|one| archive.place_of(one.name)).collect();
        let files: Vec<(&str, PathBuf)> = names
            .iter()
            .zip(members)
            .map(|(file, member)| (file.as_str(), aside.join(member.name)))
            .collect();
        self.put(stock, &files)?;
        // What is unpacked needs neither any more; what stays only takes up room.
        let _ = fs::remove_dir_all(&aside);
        let _ = fs::remove_file(place);
        Ok(())
    }
}

/// Where a file lies until it is whole.
fn part_of(place: &Path) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn sync(path: &Path) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path).and_then(|file| file.sync_all());
    file.with_context(|| format!("cannot write {} to the disk", path.display()))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    whole_file::rename(from, to)
        .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests;
