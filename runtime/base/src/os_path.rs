//! Paths in JSON: text where they are text, which they need not be on Unix, else their bytes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(PathBuf),
    Bytes(Vec<u8>),
}

impl From<Written> for PathBuf {
    fn from(written: Written) -> Self {
        match written {
            Written::Text(path) => path,
            Written::Bytes(bytes) => of_bytes(&bytes),
        }
    }
}

#[cfg(unix)]
fn of_bytes(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    std::ffi::OsStr::from_bytes(bytes).into()
}

#[cfg(not(unix))]
fn of_bytes(bytes: &[u8]) -> PathBuf {
    String::from_utf8_lossy(bytes).into_owned().into()
}

#[cfg(unix)]
fn bytes(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(not(unix))]
fn bytes(path: &Path) -> Vec<u8> {
    path.to_string_lossy().into_owned().into_bytes()
}

/// Writes a path.
///
/// # Errors
/// If the serializer fails.
pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) => text.serialize(to),
        None => bytes(path).serialize(to),
    }
}

/// Reads a path.
///
/// # Errors
/// If there is neither text nor bytes.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    Written::deserialize(from).map(PathBuf::from)
}

/// The same of a path that may be lacking.
pub mod optional {
    use super::{Deserialize, Deserializer, PathBuf, Serializer, Written};

    /// Writes a path, or that there is none.
    ///
    /// # Errors
    /// If the serializer fails.
    pub fn serialize<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
        match path {
            Some(path) => super::serialize(path, to),
            None => to.serialize_none(),
        }
    }

    /// Reads a path, or that there is none.
    ///
    /// # Errors
    /// If there is neither text nor bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<Written>::deserialize(from)?.map(PathBuf::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Both {
        #[serde(with = "super")]
        one: PathBuf,
        #[serde(with = "super::optional")]
        other: Option<PathBuf>,
    }

    #[test]
    fn paths_come_back_whatever_their_bytes() {
        let lacking = Both { one: "a/b".into(), other: None };
        let text = serde_json::to_string(&lacking).expect("JSON");
        assert_eq!(text, r#"{"one":"a/b","other":null}"#);
        let odd = of_bytes(b"a/\xff");
        for both in [lacking, Both { one: odd.clone(), other: Some(odd) }] {
            let text = serde_json::to_string(&both).expect("JSON");
            assert_eq!(serde_json::from_str::<Both>(&text).expect("it is read"), both);
        }
    }
}
