//! Opens files that people name, and nothing else: opening a named pipe waits until somebody writes
//! into it, and a device such as `/dev/zero` never ends.

use std::fs::{self, File, FileType};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

/// Opens a regular file for reading.
///
/// # Errors
/// If it cannot be opened, or is a folder, pipe, socket or device.
pub fn open(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_file() {
        return File::open(path);
    }
    let error = if kind.is_dir() { ErrorKind::IsADirectory } else { ErrorKind::InvalidInput };
    Err(io::Error::new(error, format!("it is not a file but {}", what(kind))))
}

/// All bytes of a regular file.
///
/// # Errors
/// If it cannot be opened or read, or is no regular file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let mut bytes = Vec::new();
    let size = file.metadata().map_or(0, |found| found.len());
    bytes.try_reserve_exact(usize::try_from(size).unwrap_or(usize::MAX))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a regular file.
///
/// # Errors
/// If it cannot be opened or read, is no regular file, or is not UTF-8.
pub fn read_to_string(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(ErrorKind::InvalidData, format!("it is not UTF-8 text (byte {at})"))
    })
}

/// What is there in place of a file.
#[cfg(unix)]
fn what(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// What is there in place of a file.
#[cfg(not(unix))]
fn what(kind: FileType) -> &'static str {
    if kind.is_dir() { "a folder" } else { "a pipe or a device" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_and_folders_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, "text").expect("written");
        assert_eq!(read(&path).expect("a file"), b"text");
        assert_eq!(read_to_string(&path).expect("text"), "text");
        let told = read(folder.path()).expect_err("a folder");
        assert_eq!(told.to_string(), "it is not a file but a folder");
        assert_eq!(open(&path.join("below")).expect_err("none").kind(), ErrorKind::NotADirectory);
        fs::write(&path, [0xff]).expect("written");
        let told = read_to_string(&path).expect_err("no text");
        assert_eq!(told.to_string(), "it is not UTF-8 text (byte 0)");
    }

    #[cfg(unix)]
    #[test]
    fn sockets_and_devices_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket.png");
        let _listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        for (path, expected) in [(path.as_path(), "a socket"), (Path::new("/dev/zero"), "a device")]
        {
            let told = open(path).expect_err(expected).to_string();
            assert_eq!(told, format!("it is not a file but {expected}"));
        }
    }
}
