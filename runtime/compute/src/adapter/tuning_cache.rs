//! What was found fastest, on the disk: a file of JSON that may be damaged, removed or read-only.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Info;
use base::cache;
use base::whole_file::write_whole;

/// The form of the file. Whatever has another one is not read.
const VERSION: u32 = 1;

const FILE: &str = "variants.json";

/// A place for what was found fastest. Nothing about it is ever an error: without it, things are
/// measured again.
#[derive(Clone, Debug, Default)]
pub struct TuningCache {
    folder: Option<PathBuf>,
}

/// What was found of one use of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    /// The CRC-32C of the texts of all forms there were.
    pub(super) text_crc32c: u32,
    /// The name of the fastest.
    pub(super) variant: String,
}

/// What was found on one adapter, by kernel, constants and images.
pub(super) type OfAdapter = BTreeMap<String, Found>;

#[derive(Debug, Serialize, Deserialize)]
struct File {
    version: u32,
    adapters: BTreeMap<String, OfAdapter>,
}

impl TuningCache {
    /// In the [cache's folder](cache::folder).
    pub fn of_environment() -> Self {
        Self { folder: cache::folder() }
    }

    /// This folder, which need not be there yet.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder: Some(folder) }
    }

    /// What was found on this adapter.
    pub(super) fn read(&self, info: &Info) -> OfAdapter {
        self.file().adapters.remove(&identity(info)).unwrap_or_default()
    }

    /// Adds what was found. What another process has added meanwhile stays; of what both add at
    /// the same moment one is lost, and measured again.
    pub(super) fn add(&self, info: &Info, found: OfAdapter) {
        let Some(folder) = &self.folder else { return };
        let mut file = self.file();
        file.adapters.entry(identity(info)).or_default().extend(found);
        // A folder that cannot be written to is the user's choice.
        if let (Ok(()), Ok(text)) = (fs::create_dir_all(folder), serde_json::to_vec_pretty(&file)) {
            let _ = write_whole(&folder.join(FILE), &text);
        }
    }

    fn file(&self) -> File {
        let text = self.folder.as_ref().and_then(|folder| fs::read(folder.join(FILE)).ok());
        let file = text.and_then(|text| serde_json::from_slice(&text).ok());
        file.filter(|file: &File| file.version == VERSION)
            .unwrap_or(File { version: VERSION, adapters: BTreeMap::new() })
    }
}

/// What the same forms are fastest on: equal devices behind the same driver.
pub(super) fn identity(info: &Info) -> String {
    let Info { backend, name, driver, identity, .. } = info;
    format!("{backend}/{name} [{:04x}:{:04x}] ({driver})", identity.vendor, identity.device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{DeviceKind, Identity, Limits};
    use crate::precision::Precision;

    fn info(driver: &str) -> Info {
        Info {
            name: "card".to_owned(),
            backend: "vulkan",
            driver: driver.to_owned(),
            kind: DeviceKind::DiscreteGpu,
            identity: Identity::default(),
            limits: Limits::NONE,
            precisions: vec![Precision::F32],
        }
    }

    fn found(key: &str, variant: &str) -> OfAdapter {
        let found = Found { text_crc32c: 1, variant: variant.to_owned() };
        [(key.to_owned(), found)].into()
    }

    #[test]
    fn what_is_added_is_there_for_that_adapter() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = TuningCache::at(folder.path().join("not/there/yet"));
        assert!(cache.read(&info("1")).is_empty());
        cache.add(&info("1"), found("a", "tiles"));
        cache.add(&info("1"), found("b", "rows"));
        cache.add(&info("2"), found("a", "rows"));
        let both: OfAdapter = found("a", "tiles").into_iter().chain(found("b", "rows")).collect();
        assert_eq!(cache.read(&info("1")), both);
        assert_eq!(cache.read(&info("2")), found("a", "rows"));
        assert!(cache.read(&info("3")).is_empty());
    }

    #[test]
    fn a_damaged_or_foreign_file_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = TuningCache::at(folder.path().to_owned());
        let file = folder.path().join(FILE);
        for text in ["", "{", "[]", "{\"version\":0,\"adapters\":{}}", "\u{0}\u{1}"] {
            fs::write(&file, text).expect("it is written");
            assert!(cache.read(&info("1")).is_empty(), "{text}");
            cache.add(&info("1"), found("a", "tiles"));
            assert_eq!(cache.read(&info("1")), found("a", "tiles"), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_no_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "kept").expect("it is written");
        let cache = TuningCache::at(file.clone());
        cache.add(&info("1"), found("a", "tiles"));
        assert!(cache.read(&info("1")).is_empty());
        assert_eq!(fs::read_to_string(file).expect("it is there"), "kept");
        TuningCache::default().add(&info("1"), found("a", "tiles"));
    }
}
