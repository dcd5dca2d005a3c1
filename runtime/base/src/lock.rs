//! Locks of files, which end with the process that holds them, however it ends.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};

/// What an attempt to lock a file came to.
#[derive(Debug)]
pub enum Attempt {
    /// It is locked until it is closed.
    Locked,
    /// Another process has it locked.
    Taken,
    /// The file system knows no locks.
    Unsupported(io::Error),
}

/// Locks a file unless another process has it locked.
///
/// # Errors
/// If it fails for another reason than a file system without locks.
pub fn attempt(file: &File) -> io::Result<Attempt> {
    meaning(file.try_lock())
}

fn meaning(locked: Result<(), TryLockError>) -> io::Result<Attempt> {
    match locked {
        Ok(()) => Ok(Attempt::Locked),
        Err(TryLockError::WouldBlock) => Ok(Attempt::Taken),
        Err(TryLockError::Error(error)) if is_unsupported(&error) => {
            Ok(Attempt::Unsupported(error))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether this is what a file system says that has no locks, such as Lustre mounted without
/// `flock`, NFS without its lock daemon, and some FUSE file systems.
fn is_unsupported(error: &io::Error) -> bool {
    #[cfg(unix)]
    let codes = [libc::ENOLCK, libc::ENOSYS, libc::EOPNOTSUPP, libc::ENOTSUP];
    // ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED, ERROR_CALL_NOT_IMPLEMENTED.
    #[cfg(windows)]
    let codes = [1, 50, 120];
    #[cfg(not(any(unix, windows)))]
    let codes = [0; 0];
    error.kind() == ErrorKind::Unsupported
        || error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_taken_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || File::create(folder.path().join("lock")).expect("it opens");
        let first = open();
        assert!(matches!(attempt(&first), Ok(Attempt::Locked)));
        assert!(matches!(attempt(&open()), Ok(Attempt::Taken)));
        drop(first);
        assert!(matches!(attempt(&open()), Ok(Attempt::Locked)));
    }

    #[cfg(unix)]
    #[test]
    fn only_a_file_system_without_locks_is_passed_over() {
        for code in [libc::ENOLCK, libc::ENOSYS, libc::EOPNOTSUPP] {
            let refused = Err(TryLockError::Error(io::Error::from_raw_os_error(code)));
            assert!(matches!(meaning(refused), Ok(Attempt::Unsupported(_))), "{code}");
        }
        for code in [libc::EIO, libc::EBADF, libc::EACCES] {
            let refused = Err(TryLockError::Error(io::Error::from_raw_os_error(code)));
            assert!(meaning(refused).is_err(), "{code}");
        }
    }
}
