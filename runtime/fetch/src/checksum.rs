//! Whether bytes are those that were meant.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use md5::Md5;
use sha2::{Digest, Sha256};

/// A checksum in lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// SHA-256.
    Sha256(&'static str),
    /// MD5, where nothing better is published: it finds damage, not malice.
    Md5(&'static str),
}

impl Check {
    /// Whether a file is right.
    ///
    /// # Errors
    /// If it is not, or cannot be read.
    pub(super) fn verify(self, path: &Path) -> Result<()> {
        let mut sum = Sum::new(self);
        let mut file =
            File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut start = Vec::new();
        (&mut file).take(64).read_to_end(&mut start)?;
        sum.write_all(&start)?;
        let bytes = io::copy(&mut file, &mut sum)
            .with_context(|| format!("cannot read {}", path.display()))?;
        sum.verify().with_context(|| {
            let page = start.trim_ascii_start().starts_with(b"<");
            let hint =
                if page { " and begin as a web page, as of a proxy or a log-in" } else { "" };
            format!("{} bytes came{hint}", bytes + start.len() as u64)
        })
    }
}

/// The SHA-256 of a file, in lower-case hexadecimal digits.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let mut sum = Sha256::new();
    File::open(path)
        .and_then(|mut file| io::copy(&mut file, &mut sum))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hexadecimal(&sum.finalize()))
}

/// The checksum of what is written to it.
pub(super) enum Sum {
    Sha256(Sha256, &'static str),
    Md5(Md5, &'static str),
}

impl Sum {
    pub(super) fn new(check: Check) -> Self {
        match check {
            Check::Sha256(expected) => Self::Sha256(Sha256::new(), expected),
            Check::Md5(expected) => Self::Md5(Md5::new(), expected),
        }
    }

    /// Whether it is the expected one.
    pub(super) fn verify(self) -> Result<()> {
        let (name, found, expected) = match self {
            Self::Sha256(sum, expected) => ("SHA-256", hexadecimal(&sum.finalize()), expected),
            Self::Md5(sum, expected) => ("MD5", hexadecimal(&sum.finalize()), expected),
        };
        ensure!(found == expected, "their {name} is {found}, and should be {expected}");
        Ok(())
    }
}

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Sha256(sum, _) => sum.update(bytes),
            Self::Md5(sum, _) => sum.update(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_checksums_are_right_and_others_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "abc").expect("written");
        // FIPS 180-4 and RFC 1321.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        Check::Sha256(sha256).verify(&path).expect("right");
        Check::Md5("900150983cd24fb0d6963f7d28e17f72").verify(&path).expect("right");
        std::fs::write(&path, "\n<html>").expect("written");
        let told = format!("{:#}", Check::Sha256(sha256).verify(&path).expect_err("wrong"));
        assert!(told.contains("7 bytes came") && told.contains("web page"), "{told}");
        assert!(told.contains(sha256), "{told}");
    }
}
