//! A crate's source as a tree of modules, each with the paths in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::{Context as _, Result, anyhow};
use proc_macro2::TokenStream;

use super::tokens::Found;

/// A module with what its source has outside tests.
#[derive(Debug, Default)]
pub(super) struct Module {
    pub(super) file: PathBuf,
    pub(super) modules: BTreeMap<String, Module>,
    /// The names of what it defines.
    pub(super) items: BTreeSet<String>,
    /// The paths of what it imports, under the names that these have here.
    pub(super) imports: BTreeMap<String, Vec<String>>,
    /// The paths of what it imports all of.
    pub(super) globs: Vec<Vec<String>>,
    /// All paths, each with the first line where it stands.
    pub(super) paths: BTreeMap<Vec<String>, usize>,
}

impl Module {
    /// Reads a crate, beginning with its first file.
    pub(super) fn read(root: &Path) -> Result<Self> {
        Self::read_with(root, &|file| std::fs::read_to_string(file).ok())
    }

    /// `read` gives a file's text, if there is such a file.
    pub(super) fn read_with(root: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Result<Self> {
        let text = read(root).with_context(|| format!("cannot read {}", root.display()))?;
        let mut exported = BTreeMap::new();
        let below = root.parent().unwrap_or(Path::new(""));
        let mut tree = Self::parse(&text, root, below, &mut Vec::new(), &mut exported, read)?;
        tree.imports.extend(exported);
        Ok(tree)
    }

    /// `folder` has the files of the modules in this one, which is at `path`. Macros that belong to the
    /// whole crate are added to `exported`.
    fn parse(
        text: &str,
        file: &Path,
        folder: &Path,
        path: &mut Vec<String>,
        exported: &mut BTreeMap<String, Vec<String>>,
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<Self> {
        let stream =
            TokenStream::from_str(text).map_err(|error| anyhow!("{}: {error}", file.display()))?;
        Self::collect(Found::in_stream(stream), file, folder, path, exported, read)
    }

    fn collect(
        found: Found,
        file: &Path,
        folder: &Path,
        path: &mut Vec<String>,
        exported: &mut BTreeMap<String, Vec<String>>,
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> Result<Self> {
        for name in found.exported {
            let way = [&["crate".to_owned()][..], path, std::slice::from_ref(&name)].concat();
            exported.insert(name, way);
        }
        let mut modules = BTreeMap::new();
        for (name, body) in found.modules {
            let below = folder.join(&name);
            path.push(name.clone());
            let module = match body {
                Some(body) => {
                    Self::collect(Found::in_stream(body), file, &below, path, exported, read)?
                }
                None => {
                    let files = [folder.join(format!("{name}.rs")), below.join("mod.rs")];
                    let text = files.iter().find_map(|file| Some((file, read(file)?)));
                    let (file, text) = text.with_context(|| {
                        let [one, other] = files.each_ref().map(|file| file.display());
                        format!("{}: mod {name}: no {one} and no {other}", file.display())
                    })?;
                    Self::parse(&text, file, &below, path, exported, read)?
                }
            };
            path.pop();
            modules.insert(name, module);
        }
        Ok(Self {
            file: file.to_owned(),
            modules,
            items: found.items,
            imports: found.imports,
            globs: found.globs,
            paths: found.paths,
        })
    }
}
