//! A run's folder, as far as a process needs it that goes on with the run and may not be able to read
//! it: the first process of a job sends it to the others.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use compute::job::Job;
use compute::towers::journal;
use record::recorder::metrics_file;
use record::run_folder;

/// The files that are read to go on with a run, beside its checkpoints.
fn files(run: &Path) -> [PathBuf; 5] {
    [
        run_folder::about(run),
        run_folder::pipeline(run),
        run.join("pipeline.original.yaml"),
        metrics_file(run),
        journal::file(run),
    ]
}

/// Sends the folder of a run, with these of its checkpoints. All other processes are in [`receive`].
pub(super) fn send(job: &Job, run: &Path, checkpoints: &[PathBuf]) -> Result<()> {
    let packed = pack(run, checkpoints);
    // The others wait for it whatever it is.
    job.whole().gather(packed.as_ref().map_or(&[] as &[u8], Vec::as_slice))?;
    packed.map(drop)
}

fn pack(run: &Path, checkpoints: &[PathBuf]) -> Result<Vec<u8>> {
    let mut packed = tar::Builder::new(Vec::new());
    let files = files(run);
    for file in files.iter().chain(checkpoints).filter(|file| file.exists()) {
        let name = file.strip_prefix(run)?;
        packed
            .append_path_with_name(file, name)
            .with_context(|| format!("cannot read {}", file.display()))?;
    }
    Ok(packed.into_inner()?)
}

/// The folder that the first process sends, for as long as it is kept.
pub(super) fn receive(job: &Job) -> Result<TempDir> {
    let all = job.whole().gather(&[])?;
    let folder = tempfile::tempdir().context("there is no place for the run that goes on")?;
    let packed = all.first().map_or(&[] as &[u8], Vec::as_slice);
    tar::Archive::new(packed).unpack(folder.path())?;
    fs::create_dir_all(run_folder::checkpoints(folder.path()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use compute::job::threads::together;

    #[test]
    fn all_processes_have_what_the_first_one_sends() {
        let run = tempfile::tempdir().expect("a folder");
        let checkpoint = run_folder::checkpoints(run.path()).join("step-1.safetensors");
        fs::create_dir_all(run_folder::checkpoints(run.path())).expect("made");
        fs::write(&checkpoint, [7; 5000]).expect("written");
        fs::write(run_folder::about(run.path()), "{}").expect("written");
        fs::write(run.path().join("report.html"), "not needed").expect("written");
        let got = together(3, |job| {
            if job.is_first() {
                send(&job, run.path(), std::slice::from_ref(&checkpoint)).expect("sent");
                return None;
            }
            let folder = receive(&job).expect("received");
            let read = |path: PathBuf| fs::read(path).expect("it is there");
            assert!(!folder.path().join("report.html").exists());
            let checkpoint = run_folder::checkpoints(folder.path()).join("step-1.safetensors");
            Some((read(run_folder::about(folder.path())), read(checkpoint)))
        });
        assert_eq!(got[0], None);
        assert!(got[1..].iter().all(|got| *got == Some((b"{}".to_vec(), vec![7; 5000]))));
    }
}
