//! Files and folders that a verb was asked to write.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use serde::Serialize;

use super::interrupt::Unfinished;
use super::output::Failure;
use base::whole_file::{PARTIAL, folder_of, partial, persist_new};

/// A file that is not there yet. Its name and folder are looked at before the work that fills it,
/// which is not to be lost because nothing can be written there. It gets its name once it is whole,
/// so that neither a full disk nor Ctrl-C leaves a part of it, and nothing that is there by then is
/// replaced.
#[derive(Debug)]
pub(super) struct NewFile {
    path: PathBuf,
}

impl NewFile {
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        Unfinished::listen()?;
        is_free(path)
            // Whether files can be made there.
            .and_then(|()| {
                Unfinished::with(|unfinished| {
                    unfinished.begin(|| partial(folder_of(path)))?.close()
                })
            })
            .map_err(|error| not_made(path, error))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Several of them, as far as they are asked for, of which no two may be the same.
    pub(super) fn create_all<const N: usize>(
        paths: [Option<&PathBuf>; N],
    ) -> Result<[Option<Self>; N], Failure> {
        let mut known: Vec<&PathBuf> = Vec::new();
        for path in paths.into_iter().flatten() {
            if known.contains(&path) {
                let message = format!("two files cannot both be {}", path.display());
                let help = Some("name another for one of them".to_owned());
                return Err(Failure::Usage { message, help });
            }
            known.push(path);
        }
        let mut files = [const { None }; N];
        for (file, path) in files.iter_mut().zip(paths) {
            *file = path.map(|path| Self::create(path)).transpose()?;
        }
        Ok(files)
    }

    pub(super) fn write(self, text: &str) -> Result<(), Failure> {
        self.write_bytes(text.as_bytes())
    }

    pub(super) fn write_bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let written = Unfinished::with(|unfinished| {
            let mut file = unfinished.begin(|| partial(folder_of(&self.path)))?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            unfinished.name(|| persist_new(file, &self.path))
        });
        written.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => not_made(&self.path, error),
            _ => not_written(&self.path, error),
        })
    }

    pub(super) fn write_json(self, content: &impl Serialize) -> Result<(), Failure> {
        let text =
            serde_json::to_string_pretty(content).map_err(|error| Failure::Run(error.into()))?;
        self.write(&text)
    }
}

/// Makes a folder that is not there yet. It gets its name once it is filled.
pub(super) fn new_folder(
    path: &Path,
    fill: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> Result<(), Failure> {
    Unfinished::listen()?;
    is_free(path).map_err(|error| not_made(path, error))?;
    let made = Unfinished::with(|unfinished| -> anyhow::Result<()> {
        let temporary = || tempfile::Builder::new().prefix(PARTIAL).tempdir_in(folder_of(path));
        let folder = unfinished.begin(temporary)?;
        let inside = folder.path().join("folder");
        // Its rights are those of any new folder, which a temporary one has not.
        fs::create_dir(&inside)?;
        fill(&inside)?;
        // What is there by now is in the way of a rename, unless it is an empty folder.
        Ok(unfinished.name(|| fs::rename(&inside, path))?)
    });
    made.with_context(|| format!("could not make {}", path.display())).map_err(Failure::Run)
}

fn is_free(path: &Path) -> io::Result<()> {
    // A link that leads nowhere is there as well.
    match fs::symlink_metadata(path) {
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn not_written(path: &Path, error: io::Error) -> Failure {
    Failure::Run(anyhow!(error).context(format!("could not write {}", path.display())))
}

/// Says why there is no such new file or folder.
fn not_made(path: &Path, error: io::Error) -> Failure {
    let why = match error.kind() {
        ErrorKind::AlreadyExists => {
            anyhow!("it is there already, and nothing is replaced; choose another name")
        }
        ErrorKind::NotFound => anyhow!("there is no folder {}", folder_of(path).display()),
        _ => error.into(),
    };
    Failure::Run(why.context(format!("could not make {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder").flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_there_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let create = |path: &Path| match NewFile::create(path) {
            Ok(file) => Ok(file),
            Err(Failure::Run(error)) => Err(format!("{error:#}")),
            Err(other) => panic!("{other:?}"),
        };
        create(&path).expect("it is new").write_json(&[1]).expect("there is room");
        let error = create(&path).expect_err("it is there");
        assert!(error.contains("it is there already"), "{error}");
        let error = create(&folder.path().join("no/file")).expect_err("no folder");
        assert!(error.contains("there is no folder"), "{error}");
        let other = folder.path().join("other");
        let late = create(&other).expect("it is new");
        assert_eq!(names(folder.path()), ["file"], "nothing was written");
        fs::write(&other, "somebody's").expect("it is written");
        let Err(Failure::Run(error)) = late.write("mine") else { panic!("it was replaced") };
        assert!(format!("{error:#}").contains("it is there already"), "{error:#}");
        assert_eq!(fs::read_to_string(&other).expect("it is there"), "somebody's");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "[\n  1\n]");
        assert_eq!(names(folder.path()), ["file", "other"]);
    }

    #[test]
    fn two_files_of_one_name_are_refused_before_the_work() {
        let folder = tempfile::tempdir().expect("a folder");
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        let files = NewFile::create_all([Some(&a), None, Some(&b)]).expect("they are new");
        assert_eq!(files.map(|file| file.is_some()), [true, false, true]);
        let refused = NewFile::create_all([Some(&a), Some(&a)]);
        assert!(matches!(refused, Err(Failure::Usage { .. })), "{refused:?}");
    }

    #[test]
    fn a_folder_is_there_when_it_is_filled() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("made");
        let failed = new_folder(&path, |inside| {
            fs::write(inside.join("file"), "x")?;
            anyhow::bail!("the disk is full")
        });
        assert!(matches!(failed, Err(Failure::Run(_))));
        assert!(names(folder.path()).is_empty());
        new_folder(&path, |inside| Ok(fs::write(inside.join("file"), "x")?)).expect("made");
        assert!(new_folder(&path, |_| Ok(())).is_err(), "it is there");
        assert_eq!(
            (names(folder.path()), names(&path)),
            (vec!["made".into()], vec!["file".into()])
        );
    }
}
