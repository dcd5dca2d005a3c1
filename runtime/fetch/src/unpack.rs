//! Takes the wanted files out of an archive that may be anything.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Component, Path};

use anyhow::{Context as _, Error, Result, ensure};
use flate2::read::MultiGzDecoder;

use super::checksum::Sum;
use super::{Archive, Interrupted, Member};
use base::stop::Stop;

/// Bytes of everything in an archive that is not wanted: more would be no archive of data.
const MOST_BESIDE: u64 = 64 << 20;

/// An archive is not what it should be; told with why.
#[derive(Debug)]
pub(super) struct Wrong(Error);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is not the archive that it should be: {:#}", self.0)
    }
}

impl std::error::Error for Wrong {}

/// Unpacks the wanted files into a folder, all of them flat.
///
/// # Errors
/// [`Wrong`] if the archive is damaged, lacks a file, has one that is larger than declared or has
/// another checksum, holds links, or names a path that leads out of its folder.
pub(super) fn unpack(from: &Path, archive: &Archive, into: &Path, stop: &Stop) -> Result<()> {
    let file = File::open(from)?;
    let most: u64 = archive.members.iter().map(|member| member.most_bytes).sum();
    let unpacked = MultiGzDecoder::new(BufReader::with_capacity(1 << 16, file));
    let capped = Capped { from: unpacked, left: most + MOST_BESIDE };
    let mut tar = tar::Archive::new(capped);
    let mut missing: Vec<&Member> = archive.members.iter().collect();
    for entry in tar.entries().map_err(wrong)? {
        ensure!(!stop.is_stopped(), Interrupted);
        let mut entry = entry.map_err(wrong)?;
        let path = entry.path().map_err(wrong)?.into_owned();
        check_path(&path).map_err(Wrong)?;
        let kind = entry.header().entry_type();
        if kind.is_symlink() || kind.is_hard_link() {
            let link = anyhow::anyhow!("it holds a link, {}, and none is expected", path.display());
            return Err(Wrong(link).into());
        }
        let wanted = |member: &&Member| path.file_name().is_some_and(|name| name == member.name);
        let Some(at) = missing.iter().position(wanted).filter(|_| kind.is_file()) else { continue };
        take(&mut entry, missing.swap_remove(at), into)?;
    }
    // What follows the last file holds the checksum of everything before it.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(wrong)?;
    if let Some(first) = missing.first() {
        return Err(wrong(io::Error::other(format!("it lacks {}", first.name))));
    }
    Ok(())
}

fn wrong(error: io::Error) -> Error {
    Wrong(error.into()).into()
}

/// Refuses a path that leads out of the folder that it is unpacked to.
fn check_path(path: &Path) -> Result<()> {
    let leads_below = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
    let inside = path.components().all(leads_below);
    ensure!(inside, "it holds {}, which leads out of its folder", path.display());
    Ok(())
}

/// Writes one file.
fn take(entry: &mut tar::Entry<'_, impl Read>, member: &Member, into: &Path) -> Result<()> {
    let (size, most, name) = (entry.size(), member.most_bytes, member.name);
    if size > most {
        let larger = format!("{name} has {size} bytes, and {most} at most are expected");
        return Err(wrong(io::Error::other(larger)));
    }
    let path = into.join(name);
    let mut file = File::create_new(&path).with_context(|| cannot_write(&path))?;
    let mut sum = member.check.map(Sum::new);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = entry.read(&mut buffer).map_err(wrong)?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).with_context(|| cannot_write(&path))?;
        if let Some(sum) = &mut sum {
            sum.write_all(&buffer[..read])?;
        }
    }
    sum.map_or(Ok(()), Sum::verify).map_err(|error| Wrong(error.context(name)))?;
    file.sync_all().with_context(|| cannot_write(&path))?;
    let length = fs::metadata(&path)?.len();
    if length != size {
        let cut = format!("{name} has {length} of {size} bytes");
        return Err(wrong(io::Error::other(cut)));
    }
    Ok(())
}

fn cannot_write(path: &Path) -> String {
    format!(
        "cannot write {}: make room there, or set GRADFLOW_CACHE to another folder",
        path.display()
    )
}

/// A reader that fails beyond so many bytes.
struct Capped<R> {
    from: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other("it unpacks to far more than expected"))?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::Check;

    const ARCHIVE: Archive = Archive {
        name: "data.tar.gz",
        most_bytes: 1 << 20,
        check: None,
        folder: "data",
        members: &[
            Member {
                name: "a.bin",
                most_bytes: 3,
                // Of `abc`.
                check: Some(Check::Md5("900150983cd24fb0d6963f7d28e17f72")),
            },
            Member { name: "b.bin", most_bytes: 1000, check: None },
        ],
    };

    /// A header as anybody might write it, its path unchecked.
    fn header(path: &str, size: u64, kind: tar::EntryType) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(size);
        header.set_mode(0o644);
        header.set_entry_type(kind);
        header.set_cksum();
        header
    }

    fn file(path: &str, content: &[u8]) -> (tar::Header, Vec<u8>) {
        (header(path, content.len() as u64, tar::EntryType::Regular), content.to_vec())
    }

    fn packed(members: &[(tar::Header, Vec<u8>)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (header, content) in members {
            tar.append(header, content.as_slice()).expect("memory");
        }
        tar.into_inner().and_then(GzEncoder::finish).expect("memory")
    }

    fn unpacked(bytes: &[u8]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let from = folder.path().join("data.tar.gz");
        fs::write(&from, bytes).expect("written");
        let into = folder.path().join("aside");
        fs::create_dir(&into).expect("made");
        let done = unpack(&from, &ARCHIVE, &into, &Stop::default());
        let outside = fs::read_dir(folder.path()).expect("there").count();
        assert_eq!(outside, 2, "nothing is written outside of the folder");
        done.map_err(|error| {
            assert!(error.is::<Wrong>(), "{error:#}");
            format!("{error:#}")
        })?;
        let entries = fs::read_dir(&into).expect("there").map(|entry| entry.expect("an entry"));
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        Ok(names)
    }

    #[test]
    fn wanted_files_are_taken_and_others_left() {
        let readme = file("data/readme.html", b"<html>");
        let members = [readme, file("data/b.bin", b"b"), file("./data/a.bin", b"abc")];
        assert_eq!(unpacked(&packed(&members)).expect("right"), ["a.bin", "b.bin"]);
    }

    #[test]
    fn whatever_is_not_as_declared_is_refused() {
        let (a, b) = (|| file("data/a.bin", b"abc"), || file("data/b.bin", b"b"));
        let says = |bytes: &[u8], part: &str| {
            let told = unpacked(bytes).expect_err("wrong");
            assert!(told.contains(part), "{part:?} is not in: {told}");
        };
        for path in ["../a.bin", "data/../../a.bin", "/a.bin"] {
            says(&packed(&[file(path, b"abc"), b()]), "leads out of its folder");
        }
        for kind in [tar::EntryType::Symlink, tar::EntryType::Link] {
            let mut link = header("data/a.bin", 0, kind);
            link.set_link_name("/etc/passwd").expect("it fits");
            link.set_cksum();
            says(&packed(&[(link, Vec::new()), b()]), "it holds a link, data/a.bin");
        }
        says(&packed(&[file("data/a.bin", b"abcd"), b()]), "a.bin has 4 bytes, and 3 at most");
        says(&packed(&[file("data/a.bin", b"abd"), b()]), "their MD5 is");
        says(&packed(&[a()]), "it lacks b.bin");
        let whole = packed(&[a(), b()]);
        says(b"<html>", "not the archive");
        says(&whole[..whole.len() - 4], "not the archive");
        let vast = packed(&[a(), b(), file("more", &vec![0; MOST_BESIDE as usize + 2048])]);
        says(&vast, "far more than expected");
    }
}
