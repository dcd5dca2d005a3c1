//! What a data set should have in the cache, and what is wrong with what it has.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use super::receipt::Receipt;
use super::{Archive, Check, Download, Interrupted, checksum, rename};
use base::free_name::first_free;
use base::stop::Stop;

/// How closely files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Whether they are there in their sizes.
    Sizes,
    /// Whether their checksums are right, too.
    Contents,
}

/// A file that is not as it should be.
#[derive(Debug)]
pub(super) struct Amiss {
    /// Its path in the data set's folder.
    pub(super) file: String,
    why: String,
}

impl fmt::Display for Amiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file, self.why)
    }
}

/// `a.bin is missing, b.bin has 5 bytes of 7 and 3 more`.
pub(super) fn list(amiss: &[Amiss]) -> String {
    let first: Vec<String> = amiss.iter().take(2).map(ToString::to_string).collect();
    let more = match amiss.len().saturating_sub(2) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", first.join(", "))
}

/// A file that a data set should have.
struct Part {
    /// Its path in the data set's folder.
    file: String,
    /// Its size, if it is published.
    bytes: Option<u64>,
    most_bytes: u64,
    check: Option<Check>,
}

/// The files of a data set in the cache.
pub(super) struct Stock {
    pub(super) folder: PathBuf,
    parts: Vec<Part>,
    receipt: Receipt,
}

impl Stock {
    /// Those of a data set that are wanted, members of an archive unpacked.
    pub(super) fn of(cache: &Path, download: &Download, wanted: &[&str]) -> Self {
        let folder = cache.join(download.name);
        let files = download.wanted(wanted).map(|file| Part {
            file: file.name.to_owned(),
            bytes: None,
            most_bytes: file.most_bytes,
            check: Some(file.check),
        });
        let members = download.archive.iter().flat_map(|archive| {
            archive.members.iter().map(|member| Part {
                file: archive.place_of(member.name),
                bytes: member.check.map(|_| member.most_bytes),
                most_bytes: member.most_bytes,
                check: member.check,
            })
        });
        let parts = files.chain(members).collect();
        Self { parts, receipt: Receipt::of(&folder), folder }
    }

    /// Whether there is nothing of it.
    pub(super) fn is_empty(&self) -> bool {
        !self.parts.iter().any(|part| self.folder.join(&part.file).exists())
    }

    /// What is not there in its size, which costs next to nothing to know.
    pub(super) fn lacks(&self) -> Vec<Amiss> {
        let amiss =
            |part: &Part| self.wrong_size(part).map(|why| Amiss { file: part.file.clone(), why });
        self.parts.iter().filter_map(amiss).collect()
    }

    /// What is not as it should be.
    ///
    /// # Errors
    /// If a file cannot be read; [`Interrupted`] if it was asked to stop.
    pub(super) fn amiss(&self, care: Care, stop: &Stop) -> Result<Vec<Amiss>> {
        let mut amiss = self.lacks();
        if care == Care::Contents {
            for part in self.parts.iter().filter(|part| self.wrong_size(part).is_none()) {
                ensure!(!stop.is_stopped(), Interrupted);
                let why = self.wrong_content(part)?;
                amiss.extend(why.map(|why| Amiss { file: part.file.clone(), why }));
            }
        }
        Ok(amiss)
    }

    fn wrong_size(&self, part: &Part) -> Option<String> {
        let found = fs::metadata(self.folder.join(&part.file));
        let Some(found) = found.ok().filter(fs::Metadata::is_file) else {
            return Some("is missing".to_owned());
        };
        let noted = self.receipt.get(&part.file).map(|noted| noted.bytes);
        match (found.len(), part.bytes.or(noted)) {
            (bytes, Some(expected)) => {
                (bytes != expected).then(|| format!("has {bytes} bytes instead of {expected}"))
            }
            (0, None) => Some("is empty".to_owned()),
            (bytes, None) => (bytes > part.most_bytes)
                .then(|| format!("has {bytes} bytes, more than the {} at most", part.most_bytes)),
        }
    }

    fn wrong_content(&self, part: &Part) -> Result<Option<String>> {
        let path = self.folder.join(&part.file);
        let right = match (part.check, self.receipt.get(&part.file)) {
            (Some(check), _) => check.verify(&path),
            (None, Some(noted)) => checksum::sha256(&path).and_then(|found| {
                let expected = &noted.sha256;
                ensure!(found == *expected, "its SHA-256 is {found}, and was {expected}");
                Ok(())
            }),
            (None, None) => Ok(()),
        };
        match right {
            Ok(()) => Ok(None),
            // What cannot be read may be right.
            Err(error) if error.root_cause().is::<io::Error>() => Err(error),
            Err(error) => Ok(Some(format!("is damaged ({error:#})"))),
        }
    }

    /// `7 files`, or `5 of 7 files` if of some no checksum is known.
    pub(super) fn checked(&self) -> String {
        let known = |part: &&Part| part.check.is_some() || self.receipt.get(&part.file).is_some();
        match (self.parts.iter().filter(known).count(), self.parts.len()) {
            (1, 1) => "1 file".to_owned(),
            (known, all) if known == all => format!("{all} files"),
            (known, all) => format!("{known} of {all} files"),
        }
    }

    /// Refuses to put files into a folder that is only linked here: it is somebody else's.
    pub(super) fn check_folder(&self, archive: &Archive, amiss: &[Amiss]) -> Result<()> {
        let unpacked = self.folder.join(archive.folder);
        match fs::symlink_metadata(&unpacked) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => bail!(
                "{} is a link or a file, which is left as it is, and a folder of downloads is \
                 expected there ({}): remove it from there",
                unpacked.display(),
                list(amiss)
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                Err(error).with_context(|| format!("cannot look at {}", unpacked.display()))
            }
        }
    }

    /// Puts files, each with the path that it lies at, into their places. What the cache itself had
    /// put there is replaced; what anybody else has is kept under another name. Gives the names.
    pub(super) fn put(&mut self, files: &[(&str, PathBuf)]) -> Result<Vec<PathBuf>> {
        let mut kept = Vec::new();
        for (file, from) in files {
            let place = self.folder.join(file);
            if place.exists() && self.receipt.get(file).is_none() {
                kept.push(put_aside(&place)?);
            }
            self.receipt.add(file, from)?;
        }
        // Before they are there, so that none of them is without it.
        self.receipt.write(&self.folder)?;
        for (file, from) in files {
            let place = self.folder.join(file);
            if let Some(folder) = place.parent() {
                fs::create_dir_all(folder)
                    .with_context(|| format!("cannot make {}", folder.display()))?;
            }
            rename(from, &place)?;
        }
        Ok(kept)
    }
}

/// Renames what is there to `a.bin.kept`, or `a.bin.kept2` if there is one. It may be a folder. No
/// other process is at work here meanwhile.
fn put_aside(path: &Path) -> Result<PathBuf> {
    let name = |number: u64| {
        let mut name = path.as_os_str().to_owned();
        name.push(".kept");
        if number > 0 {
            name.push((number + 1).to_string());
        }
        PathBuf::from(name)
    };
    let moved = first_free(name, |to| match fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(path, to),
        Err(error) => Err(error),
    });
    let (aside, ()) = moved.with_context(|| format!("cannot rename {}", path.display()))?;
    Ok(aside)
}
