//! Cutting event files back to a step, so that a run can go on from there.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use prost::Message;

use super::is_event_file;
use super::proto::{Event, What};
use super::record::Records;
use base::record_file::Division;

/// What a [`cut`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Records that stay where they are, in all files.
    pub kept: u64,
    /// Records that were moved.
    pub moved: u64,
    /// Bytes at the ends of files that were moved as well, because they are no whole records.
    pub damaged_bytes: u64,
    /// The files they were moved into.
    pub aside: Vec<PathBuf>,
}

/// Takes from all event files of a folder what belongs to `from_step` or a later step, and moves
/// it into files in the folder `aside`, together with anything at a file's end that cannot be read.
/// They are named alike, but so that TensorBoard, which looks into every folder, does not take them
/// for another run. What has no step stays: a file's version and graphs.
///
/// Kept and moved bytes together are those that were there. A file is replaced only once what it
/// loses is on the disk: whoever is stopped in between finds some records twice, but all of them.
/// Files that lose nothing are not touched, and a folder that is not there has no files.
///
/// # Errors
/// If a file cannot be read, written or replaced. Those before it, by name, are already cut.
pub fn cut(folder: &Path, from_step: u64, aside: &Path) -> Result<Cut> {
    let mut cut = Cut::default();
    let files = event_files(folder)
        .with_context(|| format!("cannot list the event files in {}", folder.display()))?;
    for name in files {
        let path = folder.join(&name);
        cut_file(&path, from_step, &aside.join(aside_name(&name)), &mut cut).with_context(
            || format!("cannot cut {} back to before step {from_step}", path.display()),
        )?;
    }
    Ok(cut)
}

/// What an event file is called when it is out of the way.
fn aside_name(name: &str) -> String {
    name.replace("tfevents", "superseded")
}

/// The names of a folder's event files, in order.
fn event_files(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().into_string().ok();
        let name = name.filter(|name| is_event_file(name));
        if let Some(name) = name
            && entry.file_type()?.is_file()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn cut_file(path: &Path, from_step: u64, aside: &Path, cut: &mut Cut) -> Result<()> {
    let division = divide(&File::open(path)?, from_step, cut)?;
    cut.aside.extend(division.apply(path, |number| with_number(aside, number))?);
    Ok(())
}

/// A name of which TensorBoard's files have numbers at the end.
fn with_number(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.into()
}

/// Reads a file through and divides it.
fn divide(file: &File, from_step: u64, cut: &mut Cut) -> Result<Division> {
    let mut division = Division::default();
    let mut end = 0;
    for record in Records::new(BufReader::new(file)) {
        let record = record?;
        // Sound bytes that are no event are damage from before they were written.
        let Ok(event) = Event::decode(&record.data[..]) else { break };
        end = record.bytes.end;
        let stays = !belongs_after(&event, from_step);
        *(if stays { &mut cut.kept } else { &mut cut.moved }) += 1;
        division.add(record.bytes, stays);
    }
    let length = file.metadata()?.len();
    if end < length {
        cut.damaged_bytes += length - end;
        division.add(end..length, false);
    }
    Ok(division)
}

/// Whether an event is of this step or a later one.
fn belongs_after(event: &Event, from_step: u64) -> bool {
    let of_the_file =
        matches!(event.what, Some(What::FileVersion(_) | What::Graph(_) | What::MetaGraph(_)));
    !of_the_file && u64::try_from(event.step).is_ok_and(|step| step >= from_step)
}

#[cfg(test)]
mod tests {
    use super::super::proto::{Content, Summary, Value};
    use super::super::record;
    use super::*;

    const NAME: &str = "events.out.tfevents.1.host.1.0";

    fn bytes_of(step: i64, what: What) -> Vec<u8> {
        let event = Event { wall_time: 1.0, step, what: Some(what) };
        record::framed(&event.encode_to_vec())
    }

    fn version() -> Vec<u8> {
        bytes_of(0, What::FileVersion("brain.Event:2".to_owned()))
    }

    fn scalar(step: i64) -> Vec<u8> {
        let content = Some(Content::Scalar(step as f32));
        let value = Value { tag: "loss".to_owned(), metadata: None, content };
        bytes_of(step, What::Summary(Summary { value: vec![value] }))
    }

    struct Folders {
        _root: tempfile::TempDir,
        events: PathBuf,
        aside: PathBuf,
    }

    impl Folders {
        fn new() -> Self {
            let root = tempfile::tempdir().expect("a folder");
            let (events, aside) = (root.path().join("events"), root.path().join("a/side"));
            fs::create_dir(&events).expect("a folder");
            Self { _root: root, events, aside }
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            fs::write(self.events.join(name), bytes).expect("written");
        }

        fn kept(&self) -> Vec<u8> {
            fs::read(self.events.join(NAME)).expect("the file is still there")
        }

        fn aside(&self, name: &str) -> Option<Vec<u8>> {
            fs::read(self.aside.join(aside_name(name))).ok()
        }

        fn cut(&self, from_step: u64) -> Cut {
            cut(&self.events, from_step, &self.aside).expect("the files can be cut")
        }
    }

    #[test]
    fn records_from_the_step_on_are_moved() {
        let folders = Folders::new();
        let graph = bytes_of(0, What::Graph(vec![1, 2, 3]));
        let old = [version(), scalar(0), scalar(5), graph.clone(), scalar(4), scalar(6)];
        folders.write(NAME, &old.concat());
        let cut = folders.cut(5);
        assert_eq!((cut.kept, cut.moved, cut.damaged_bytes), (4, 2, 0));
        assert_eq!(cut.aside, [folders.aside.join(aside_name(NAME))]);
        assert_eq!(folders.kept(), [version(), scalar(0), graph.clone(), scalar(4)].concat());
        assert_eq!(folders.aside(NAME), Some([scalar(5), scalar(6)].concat()));
        assert_eq!(fs::read_dir(&folders.events).expect("a folder").count(), 1);

        // Again: nothing is left to do. Then to the beginning, where the name is taken.
        assert_eq!(folders.cut(5), Cut { kept: 4, ..Cut::default() });
        let cut = folders.cut(0);
        let second = format!("{NAME}.1");
        assert_eq!(cut.aside, [folders.aside.join(aside_name(&second))]);
        assert_eq!(folders.kept(), [version(), graph].concat());
        assert_eq!(folders.aside(&second), Some([scalar(0), scalar(4)].concat()));
        assert_eq!(folders.aside(NAME), Some([scalar(5), scalar(6)].concat()));
    }

    #[test]
    fn only_event_files_that_lose_something_are_touched() {
        let folders = Folders::new();
        folders.write(NAME, &[version(), scalar(3)].concat());
        folders.write("notes.txt", b"not an event");
        fs::create_dir(folders.events.join("tfevents")).expect("a folder");
        let times = |name| {
            let metadata = fs::metadata(folders.events.join(name)).expect("the file is there");
            metadata.modified().expect("files have times")
        };
        let before = (times(NAME), times("notes.txt"));
        assert_eq!(folders.cut(4), Cut { kept: 2, ..Cut::default() });
        assert_eq!(before, (times(NAME), times("notes.txt")));
        assert!(!folders.aside.exists());
        let nowhere = cut(&folders.events.join("nowhere"), 0, &folders.aside);
        assert_eq!(nowhere.expect("nothing to do"), Cut::default());
    }

    #[test]
    fn a_file_torn_or_damaged_anywhere_loses_only_its_end() {
        let records = [version(), scalar(1), scalar(2), scalar(3)];
        let whole = records.concat();
        for at in 0..whole.len() {
            let torn = whole[..at].to_vec();
            let mut changed = whole.clone();
            changed[at] ^= 1;
            for old in [torn, changed] {
                let folders = Folders::new();
                folders.write(NAME, &old);
                let cut = folders.cut(2);
                // Whole records before the place, of which those of steps 2 and 3 go.
                let mut end = 0;
                let sound = records
                    .iter()
                    .take_while(|r| {
                        end += r.len();
                        end <= at
                    })
                    .count();
                let end: usize = records[..sound].iter().map(Vec::len).sum();
                assert_eq!(cut.kept, sound.min(2) as u64, "{at}");
                assert_eq!(cut.moved, sound.saturating_sub(2) as u64, "{at}");
                assert_eq!(cut.damaged_bytes, (old.len() - end) as u64, "{at}");
                let kept = folders.kept();
                assert_eq!(kept, records[..sound.min(2)].concat(), "{at}");
                // All that went lay behind all that stayed.
                let aside = folders.aside(NAME).unwrap_or_default();
                assert_eq!([kept, aside].concat(), old, "{at}");
            }
        }
    }

    #[test]
    fn sound_bytes_that_are_no_event_are_damage() {
        let folders = Folders::new();
        let strange = record::framed(&[0xff; 5]);
        folders.write(NAME, &[version(), strange.clone(), scalar(1)].concat());
        let cut = folders.cut(9);
        assert_eq!((cut.kept, cut.moved), (1, 0));
        assert_eq!(folders.kept(), version());
        assert_eq!(folders.aside(NAME), Some([strange, scalar(1)].concat()));
    }

    #[test]
    fn a_failure_names_the_file_and_leaves_it() {
        let folders = Folders::new();
        folders.write(NAME, &scalar(1));
        fs::create_dir_all(folders.aside.parent().expect("a parent")).expect("a folder");
        fs::write(&folders.aside, "no folder").expect("written");
        let error = cut(&folders.events, 0, &folders.aside).expect_err("aside is no folder");
        let told = format!("{error:#}");
        assert!(told.contains(NAME) && told.contains("side"), "{told}");
        assert_eq!(folders.kept(), scalar(1));
    }
}
