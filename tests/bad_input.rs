//! The command given data that is missing, damaged or out of reach, and a run that is interrupted:
//! what is told, and the exit status. Nothing of this may panic or hang.

mod common;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{PATIENCE, runtime, within};
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

/// Bytes of one image with its label.
const RECORD: usize = 3073;
const FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

/// What a command did.
struct Ran {
    status: i32,
    out: String,
    told: String,
}

/// Runs a command of the repository's folder to its end.
fn finish(mut command: Command) -> Ran {
    let Output { status, stdout, stderr } =
        within(PATIENCE, move || command.output()).expect("the command starts");
    let [out, told] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
    for text in [&out, &told] {
        assert!(!text.contains("panicked") && !text.contains("stack backtrace"), "{text}");
    }
    // A process that a signal ended has no status.
    Ran { status: status.code().unwrap_or(-1), out, told }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = runtime(Path::new(env!("CARGO_MANIFEST_DIR")), arguments);
    command
        .env("GRADFLOW_RUNS", concat!(env!("CARGO_TARGET_TMPDIR"), "/runs"))
        .env("RUST_BACKTRACE", "1");
    command
}

/// Trains on the data of this place.
fn train(data: &Path) -> Command {
    let mut command = command(&["run", "pipeline.yaml", "--adapter", "cpu", "--data"]);
    command.arg(data);
    command
}

/// Fails to train on the data of this place, telling all of these.
fn refuses(data: &Path, expected: &[&str]) {
    let Ran { status, out, told } = finish(train(data));
    assert_eq!(status, 1, "{told}");
    // Nothing was trained; but small files that were read before may have been warned about.
    assert!(out.lines().all(|line| line.starts_with("warning: ")), "{out}");
    assert!(told.starts_with("error: "), "{told}");
    for part in expected {
        assert!(told.contains(part), "{part:?} is not in: {told}");
    }
}

/// Records with these labels.
fn records(labels: &[u8]) -> Vec<u8> {
    labels.iter().flat_map(|label| [vec![*label], vec![100; RECORD - 1]].concat()).collect()
}

/// A folder with all files, three records each.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in FILES {
        write(folder.path(), file, &records(&[1, 2, 3]));
    }
    folder
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("the file is written");
    path
}

/// An archive with these members.
fn archive(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let path = format!("cifar-10-batches-bin/{name}");
        archive.append_data(&mut header, path, bytes.as_slice()).expect("memory is written to");
    }
    archive.into_inner().and_then(GzEncoder::finish).expect("memory is written to")
}

/// An archive as it should be, but for its small size.
fn whole_archive() -> Vec<u8> {
    // Bytes that do not shrink to nothing, so that there is something to damage.
    let noise = |seed: usize| -> Vec<u8> {
        let byte =
            |at: usize| if at.is_multiple_of(RECORD) { 3 } else { (at * at / 7 + seed * at) as u8 };
        (0..20 * RECORD).map(byte).collect()
    };
    archive(&FILES.iter().enumerate().map(|(at, file)| (*file, noise(at))).collect::<Vec<_>>())
}

#[test]
fn a_file_that_ends_within_a_record_is_told_with_the_record() {
    let folder = folder();
    let cut = &records(&[1, 2, 3])[..2 * RECORD + 100];
    let file = write(folder.path(), "data_batch_3.bin", cut);
    let file = file.display().to_string();
    refuses(
        folder.path(),
        &["stage read", &file, "6,246 bytes", "record 2", "at byte 6,146", "after 100 bytes"],
    );
}

#[test]
fn files_of_wrong_sizes_are_told() {
    for (size, expected) in
        [(0, "is empty"), (1, "1 bytes"), (RECORD - 1, "3,072 bytes"), (RECORD + 1, "3,074 bytes")]
    {
        let folder = folder();
        let file = write(folder.path(), "data_batch_5.bin", &vec![0; size]);
        refuses(folder.path(), &[&file.display().to_string(), expected, "3,073 bytes"]);
    }
}

#[test]
fn a_file_larger_than_memory_is_told() {
    let folder = folder();
    let file = folder.path().join("data_batch_4.bin");
    let sparse = File::create(&file).expect("the file is made");
    if sparse.set_len((RECORD as u64) << 32).is_err() {
        return common::skip("file system for large sparse files");
    }
    refuses(folder.path(), &[&file.display().to_string(), "13,198,434,500,608 bytes"]);
}

#[test]
fn a_label_out_of_range_is_told_with_file_record_and_byte() {
    let bad = || records(&[9, 10, 3]);
    let folder = folder();
    let file = write(folder.path(), "data_batch_2.bin", &bad());
    let place = ["record 1 (counted from 0)", "at byte 3,073", "label 10", "expected 0 to 9"];
    refuses(folder.path(), &[&[&*file.display().to_string()][..], &place].concat());

    let members = FILES.map(|file| (file, bad()));
    let packed = write(folder.path(), "packed.tar.gz", &archive(&members));
    let member = "packed.tar.gz: cifar-10-batches-bin/data_batch_1.bin";
    refuses(&packed, &[&[member][..], &place].concat());
}

#[test]
fn damaged_test_images_are_told_before_training_starts() {
    let folder = folder();
    let file = write(folder.path(), "test_batch.bin", &records(&[255]));
    refuses(folder.path(), &["stage read_test", &file.display().to_string(), "label 255"]);
}

#[test]
fn places_without_the_data_are_told_with_how_to_get_it() {
    let empty = tempfile::tempdir().expect("a folder");
    let other = tempfile::tempdir().expect("a folder");
    write(other.path(), "holiday.jpg", b"x");
    let get = "https://www.cs.toronto.edu/~kriz/cifar.html";
    for (place, expected) in [
        (empty.path(), "an empty folder"),
        (other.path(), "a folder without it"),
        (&empty.path().join("nowhere"), "there is no such folder or file"),
    ] {
        refuses(place, &[&place.display().to_string(), expected, get]);
    }
}

#[test]
fn missing_files_are_named() {
    let folder = folder();
    for file in ["data_batch_2.bin", "data_batch_4.bin"] {
        fs::remove_file(folder.path().join(file)).expect("removed");
    }
    let place = folder.path().display().to_string();
    refuses(folder.path(), &[&place, "lacks data_batch_2.bin, data_batch_4.bin"]);
}

#[test]
fn class_names_that_do_not_fit_are_told() {
    let folder = folder();
    let file = write(folder.path(), "batches.meta.txt", b"cat\ndog\n");
    refuses(folder.path(), &[&file.display().to_string(), "names 2 classes; expected 10"]);
    write(folder.path(), "batches.meta.txt", b"\xff\xfe\n");
    refuses(folder.path(), &["cannot read", &file.display().to_string(), "UTF-8"]);
}

#[test]
fn a_folder_where_a_file_should_be_is_told() {
    let folder = folder();
    let file = folder.path().join("data_batch_1.bin");
    fs::remove_file(&file).expect("removed");
    fs::create_dir(&file).expect("made");
    refuses(
        folder.path(),
        &["cannot read", &file.display().to_string(), "not a file but a folder"],
    );
}

#[test]
fn archives_that_are_cut_or_changed_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = whole_archive();
    let damage = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        bytes
    };
    let middle = whole.len() / 2;
    for (name, bytes) in [
        ("cut", damage(&|bytes| bytes.truncate(middle))),
        ("no checksum", damage(&|bytes| bytes.truncate(bytes.len() - 4))),
        ("header only", damage(&|bytes| bytes.truncate(12))),
        ("one bit", damage(&|bytes| bytes[middle] ^= 1)),
        ("zeros", damage(&|bytes| bytes[middle..].fill(0))),
        ("wrong checksum", damage(&|bytes| *bytes.last_mut().expect("a byte") ^= 1)),
    ] {
        let file = write(folder.path(), "cifar-10-binary.tar.gz", &bytes);
        let Ran { status, told, .. } = finish(train(folder.path()));
        assert_eq!(status, 1, "{name}: {told}");
        assert!(told.contains(&file.display().to_string()), "{name}: {told}");
        assert!(told.contains("kriz/cifar.html"), "{name}: {told}");
    }
}

#[test]
fn archives_of_something_else_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut text = GzEncoder::new(Vec::new(), Compression::fast());
    text.write_all(b"no archive").expect("memory is written to");
    let text = text.finish().expect("memory is written to");
    for (name, bytes, expected) in [
        ("photos.tar.gz", archive(&[("holiday.jpg", vec![1])]), "lacks data_batch_1.bin, data_"),
        ("nothing.tar.gz", archive(&[]), "lacks data_batch_1.bin, data_"),
        ("text.tar.gz", text, "damaged or not a tar.gz"),
        ("plain.tar", b"plain".to_vec(), "found 70 6c"),
        ("empty.tar.gz", Vec::new(), "not a gzip archive"),
    ] {
        let file = write(folder.path(), name, &bytes);
        refuses(&file, &[&file.display().to_string(), expected]);
    }
}

/// A pipeline that trains in an instant, until `ends`.
fn quick(folder: &Path, reader: &str, ends: &str) -> String {
    let text = format!(
        "
{ends}
stages:
  read: {{ reader: {reader} }}
  crop: {{ from: read, cropper: {{}} }}
  batch: {{ from: crop, batcher: {{ size: 32 }} }}
  gradients:
    from: batch
    model: {{ layers: [ {{ dense: {{ units: 10 }} }}, {{ softmax_cross_entropy: {{}} }} ] }}
  train: {{ from: gradients, reducer: {{ learning_rate: 0.00001 }} }}
"
    );
    write(folder, "quick.yaml", text.as_bytes()).display().to_string()
}

const DRAWN: &str = "{ format: { synthetic: { train: 320 } }, split: train }";

#[test]
fn data_that_the_environment_names_is_used_or_told_but_not_passed_over() {
    let folder = folder();
    let file = write(folder.path(), "data_batch_1.bin", &records(&[77]));
    let reader = "{ format: cifar10, split: train, otherwise: { synthetic: { train: 320 } } }";
    let pipeline = quick(folder.path(), reader, "steps: 2");
    let run = |data: &Path| {
        let mut command = command(&["run", &pipeline, "--adapter", "cpu"]);
        command.env("GRADFLOW_DATA", data);
        finish(command)
    };
    let Ran { status, out, told } = run(folder.path());
    assert_eq!((status, &*out), (1, ""), "{told}");
    assert!(told.contains("GRADFLOW_DATA=") && told.contains("label 77"), "{told}");

    // Nor do drawings stand in for what is not there.
    let nowhere = folder.path().join("nowhere");
    let Ran { status, out, told } = run(&nowhere);
    assert_eq!((status, &*out), (1, ""), "{told}");
    assert!(told.contains("GRADFLOW_DATA is the only place"), "{told}");
    assert!(told.contains(&nowhere.display().to_string()), "{told}");

    fs::remove_file(file).expect("removed");
    assert!(run(folder.path()).told.contains("lacks data_batch_1.bin"));
}

#[test]
fn an_adapter_that_is_not_there_is_told_with_those_that_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipeline = quick(folder.path(), DRAWN, "steps: 2");
    for asked in ["voodoo", "99"] {
        let Ran { status, out, told } = finish(command(&["run", &pipeline, "--adapter", asked]));
        assert_eq!((status, &*out), (2, ""), "{asked}: {told}");
        assert!(told.contains("  0  cpu/"), "{asked}: {told}");
    }
}

#[cfg(unix)]
mod unix {
    use std::io::{BufRead as _, BufReader, Read as _, pipe};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Stdio};
    use std::thread;

    use super::*;

    const NOBODY: u32 = 65_534;

    fn allow(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions are set");
    }

    /// The same command as somebody to whom permissions apply: nothing is unreadable to root.
    fn as_nobody(command: &Command, folder: &Path) -> Command {
        // The build may lie where others cannot reach it.
        let program = folder.join("runtime");
        fs::copy(command.get_program(), &program).expect("the program is copied");
        let pipeline = folder.join("pipeline.yaml");
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("pipeline.yaml"), pipeline)
            .expect("the pipeline is copied");
        let mut other = Command::new(program);
        other.current_dir(folder).args(command.get_args()).uid(NOBODY).gid(NOBODY);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => other.env(name, value),
                None => other.env_remove(name),
            };
        }
        other
    }

    #[test]
    fn what_may_not_be_read_is_told() {
        let folder = folder();
        let root = fs::metadata(folder.path()).expect("it is there").uid() == 0;
        allow(folder.path(), 0o755);
        let file = folder.path().join("data_batch_2.bin");
        let closed = folder.path().join("closed");
        fs::create_dir(&closed).expect("made");
        // Some containers have a root that cannot become anybody else.
        if root && Command::new("true").uid(NOBODY).status().is_err() {
            return common::skip("user to whom permissions apply");
        }
        allow(&file, 0o000);
        allow(&closed, 0o000);
        for (data, path) in [(folder.path(), &*file), (&closed, &closed)] {
            let command = train(data);
            let command = if root { as_nobody(&command, folder.path()) } else { command };
            let Ran { status, told, .. } = finish(command);
            assert_eq!(status, 1, "{told}");
            assert!(told.contains(&path.display().to_string()), "{told}");
            assert!(told.to_lowercase().contains("permission denied"), "{told}");
        }
        allow(&closed, 0o755);
    }

    #[test]
    fn a_cache_that_may_not_be_written_to_is_told() {
        let folder = folder();
        let root = fs::metadata(folder.path()).expect("it is there").uid() == 0;
        if root && Command::new("true").uid(NOBODY).status().is_err() {
            return common::skip("user to whom permissions apply");
        }
        let cache = folder.path().join("cache");
        fs::create_dir(&cache).expect("made");
        allow(folder.path(), 0o755);
        allow(&cache, 0o555);
        let mut fetch = command(&["fetch", "cifar10", "--mirror", "http://127.0.0.1:9"]);
        fetch.env("GRADFLOW_CACHE", &cache).env_remove("GRADFLOW_OFFLINE");
        let fetch = if root { as_nobody(&fetch, folder.path()) } else { fetch };
        let Ran { status, told, .. } = finish(fetch);
        assert_eq!(status, 1, "{told}");
        for part in ["cannot write to the cache", "set GRADFLOW_CACHE", "ermission denied"] {
            assert!(told.contains(part), "no {part:?} in: {told}");
        }
        // Nor has a run a place for its folder there.
        let pipeline = quick(folder.path(), DRAWN, "steps: 2");
        let mut run = command(&["run", &pipeline, "--adapter", "cpu"]);
        run.env("GRADFLOW_CACHE", &cache).env("GRADFLOW_RUNS", folder.path().join("cache/runs"));
        let run = if root { as_nobody(&run, folder.path()) } else { run };
        let Ran { status, told, .. } = finish(run);
        assert_eq!(status, 1, "{told}");
        assert!(told.contains("cache/runs") && told.contains("ermission denied"), "{told}");
    }

    /// Starts a command and waits for a line of its output that contains this.
    fn started(mut command: Command, line: &'static str) -> (Child, thread::JoinHandle<String>) {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let out = within(PATIENCE, move || {
            let mut read = String::new();
            while !read.contains(line) {
                assert!(out.read_line(&mut read).expect("UTF-8") > 0, "it ended early: {read}");
            }
            out
        });
        // Keeps the pipe open and empty, as a terminal does.
        let rest = thread::spawn(move || {
            let mut text = String::new();
            let mut out = out;
            out.read_to_string(&mut text).expect("UTF-8");
            text
        });
        (child, rest)
    }

    /// Sends a signal to a command in training, which must end in good order.
    fn interrupt(command: Command, signal: &str) {
        let (mut child, rest) = started(command, ": step ");
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(killed.expect("kill is there").success());
        let mut stderr = child.stderr.take().expect("a pipe");
        let (status, told) = within(PATIENCE, move || {
            let mut told = String::new();
            stderr.read_to_string(&mut told).expect("UTF-8");
            (child.wait().expect("it ends"), told)
        });
        assert_eq!(status.code(), Some(130), "{told}");
        let out = rest.join().expect("no panic");
        for text in [&out, &told] {
            assert!(!text.contains("panicked") && !text.contains("error"), "{text}");
        }
    }

    #[test]
    fn signals_end_training_in_good_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipeline = quick(folder.path(), DRAWN, "epochs: 1e9");
        for signal in ["-INT", "-TERM"] {
            interrupt(command(&["run", &pipeline, "--adapter", "cpu"]), signal);
        }
        // The repository's own takes long for each step, and evaluates.
        interrupt(command(&["run", "pipeline.yaml", "--adapter", "cpu"]), "-INT");
    }

    #[test]
    fn a_reader_that_went_away_ends_the_output_and_not_the_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipeline = quick(folder.path(), DRAWN, "steps: 30");
        for arguments in [
            &["run", &*pipeline, "--adapter", "cpu"][..],
            &["list"],
            &["inspect", "cropper"],
            &["check", &pipeline],
            &["graph", &pipeline],
            &["schema"],
            &["completions", "bash"],
            &["--help"],
        ] {
            let (reader, writer) = pipe().expect("a pipe");
            drop(reader);
            let mut command = command(arguments);
            command.stdout(writer);
            let Ran { status, told, .. } = finish(command);
            assert_eq!(status, 0, "{arguments:?}");
            if arguments[0] == "run" {
                assert!(told.contains("the run goes on without it"), "{told}");
            } else {
                assert_eq!(told, "", "{arguments:?}");
            }
        }
    }

    #[test]
    fn nobody_to_tell_changes_no_exit_status() {
        let folder = tempfile::tempdir().expect("a folder");
        let nowhere = folder.path().join("nowhere").display().to_string();
        for (arguments, expected) in [
            (&["run", "pipeline.yaml", "--adapter", "cpu", "--data", &*nowhere][..], 1),
            (&["check", "absent.yaml"], 2),
            (&["chekc"], 2),
        ] {
            let (reader, writer) = pipe().expect("a pipe");
            drop(reader);
            let mut command = command(arguments);
            command.stderr(writer);
            assert_eq!(finish(command).status, expected, "{arguments:?}");
        }
    }
}
