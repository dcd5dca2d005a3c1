//! How far a download is.

/// What a download says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something that happened.
    Note(String),
    /// Bytes of a file that are there.
    Bytes {
        /// The file's name.
        file: String,
        /// Bytes that are there.
        have: u64,
        /// Bytes of the whole file, if the server said.
        of: Option<u64>,
    },
}
