//! Writing an event file.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use prost::Message;

use super::proto::{
    Content, DataClass, DataType, Dim, Event, FILE_VERSION, GraphDef, HistogramProto, Image,
    PluginData, SessionLog, SessionStatus, Summary, SummaryMetadata, TensorProto, TensorShapeProto,
    Value, What,
};
use super::record;
use base::record_file::RecordFile;
use flow::picture::Picture;
use flow::reports::Histogram;

/// A file that TensorBoard reads while it grows.
///
/// What is said of a step carries the time at which it was so, in seconds since 1970.
#[derive(Debug)]
pub struct EventFile {
    file: RecordFile,
    flush_every: Duration,
    flushed: Instant,
    /// Why the last write on time failed, until that is told.
    failure: Option<anyhow::Error>,
}

impl EventFile {
    /// Begins a new file in a folder, which is made if it is not there. Every record is written
    /// through once `flush_every` has passed since the last time; zero for each at once.
    pub fn create(folder: &Path, flush_every: Duration) -> Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let file = create_new(folder, now.as_secs()).with_context(|| {
            format!("cannot begin a TensorBoard event file in {}", folder.display())
        })?;
        let mut begun = Self { file, flush_every, flushed: Instant::now(), failure: None };
        begun.write(0, now.as_secs_f64(), What::FileVersion(FILE_VERSION.to_owned()))?;
        begun.flush()?;
        Ok(begun)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// A number. TensorBoard's numbers are f32.
    pub fn scalar(&mut self, step: u64, wall_time: f64, tag: &str, value: f64) -> Result<()> {
        self.value(step, wall_time, tag, None, Content::Scalar(value as f32))
    }

    /// A distribution.
    pub fn histogram(
        &mut self,
        step: u64,
        wall_time: f64,
        tag: &str,
        histogram: &Histogram,
    ) -> Result<()> {
        self.value(step, wall_time, tag, None, Content::Histogram(HistogramProto::from(histogram)))
    }

    /// A picture.
    pub fn image(&mut self, step: u64, wall_time: f64, tag: &str, picture: &Picture) -> Result<()> {
        let image = Image {
            height: i32::try_from(picture.height).context("a picture too high")?,
            width: i32::try_from(picture.width).context("a picture too wide")?,
            colorspace: 3,
            encoded_image_string: picture.png()?,
        };
        self.value(step, wall_time, tag, None, Content::Image(image))
    }

    /// A text in Markdown.
    pub fn text(&mut self, step: u64, wall_time: f64, tag: &str, markdown: &str) -> Result<()> {
        let metadata = SummaryMetadata {
            plugin_data: Some(PluginData { plugin_name: "text".to_owned(), content: Vec::new() }),
            data_class: DataClass::Tensor.into(),
        };
        let tensor = TensorProto {
            dtype: DataType::String.into(),
            tensor_shape: Some(TensorShapeProto { dim: vec![Dim { size: 1 }] }),
            string_val: vec![markdown.as_bytes().to_vec()],
        };
        self.value(step, wall_time, tag, Some(metadata), Content::Tensor(tensor))
    }

    /// The graph of the run. Only the last is shown.
    pub fn graph(&mut self, wall_time: f64, graph: &GraphDef) -> Result<()> {
        self.write(0, wall_time, What::Graph(graph.encode_to_vec()))
    }

    /// Says that the run begins at this step, or begins again: a TensorBoard that has already read
    /// of this step or later ones, from files since cut, forgets that.
    pub fn start(&mut self, step: u64, wall_time: f64) -> Result<()> {
        let status = SessionStatus::Start.into();
        self.write(step, wall_time, What::SessionLog(SessionLog { status }))
    }

    /// Writes through what is still in memory.
    ///
    /// # Errors
    /// If that is not possible, as on a full disk. Nothing is lost by that: it is tried again.
    pub fn flush(&mut self) -> Result<()> {
        self.flushed = Instant::now();
        self.failure = None;
        self.file.write()
    }

    /// Has everything so far on the disk.
    ///
    /// # Errors
    /// As [`flush`](Self::flush), and if the disk fails.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.file.sync()
    }

    /// Whether what was written on time since the last call has come into the file. That is not
    /// told where it is written: all numbers of a step are to be taken, whatever becomes of one.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn told(&mut self) -> Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    fn value(
        &mut self,
        step: u64,
        wall_time: f64,
        tag: &str,
        metadata: Option<SummaryMetadata>,
        content: Content,
    ) -> Result<()> {
        let value = Value { tag: tag.to_owned(), metadata, content: Some(content) };
        self.write(step, wall_time, What::Summary(Summary { value: vec![value] }))
    }

    fn write(&mut self, step: u64, wall_time: f64, what: What) -> Result<()> {
        let step = i64::try_from(step).context("a step beyond TensorBoard's numbers")?;
        let event = Event { wall_time, step, what: Some(what) };
        self.file.push(&record::framed(&event.encode_to_vec()))?;
        if self.flushed.elapsed() >= self.flush_every {
            self.failure = self.flush().err();
        }
        Ok(())
    }
}

/// What the names of event files begin with; the time follows.
const PREFIX: &str = "events.out.tfevents.";

/// A file of its own, after all others of the folder: TensorBoard takes them in the order of their
/// names, in which the time comes first, so a clock that was set back must not show.
fn create_new(folder: &Path, seconds: u64) -> io::Result<RecordFile> {
    let (host, process) = (host(), std::process::id());
    loop {
        let seconds = latest(folder)?.map_or(seconds, |latest| seconds.max(latest + 1));
        let path = folder.join(format!("{PREFIX}{seconds}.{host}.{process}.0"));
        match RecordFile::create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created,
        }
    }
}

/// The latest time in the names of a folder's event files.
fn latest(folder: &Path) -> io::Result<Option<u64>> {
    let mut latest = None;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let time = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('.').next());
        latest = latest.max(time.and_then(|time| time.parse().ok()));
    }
    Ok(latest)
}

/// The machine's name as far as it can be part of a file's.
fn host() -> String {
    let told = ["HOSTNAME", "COMPUTERNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let told = told.or_else(|| fs::read_to_string("/etc/hostname").ok()).unwrap_or_default();
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let host: String = told.trim().chars().filter(plain).take(64).collect();
    if host.is_empty() { "gradflow".to_owned() } else { host }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::record::Records;
    use super::*;
    use base::record_file::disk::Disk;

    fn events(path: &Path) -> Vec<Event> {
        let bytes = fs::read(path).expect("the file can be read");
        let mut records = Records::new(&bytes[..]);
        let decode = |record: io::Result<record::Record>| {
            Event::decode(&record.expect("memory can be read").data[..]).expect("an event")
        };
        let events = records.by_ref().map(decode).collect();
        assert_eq!(records.damage(), None);
        events
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("runs/one");
        let mut file = EventFile::create(&inner, Duration::MAX).expect("a file");
        file.start(5, 0.5).expect("written");
        file.scalar(5, 1.5, "loss", 0.25).expect("written");
        let mut histogram = Histogram::new();
        histogram.add(&[1.0, 2.0]);
        file.histogram(6, 2.5, "weights", &histogram).expect("written");
        let picture = Picture { width: 2, height: 1, rgb: vec![1, 2, 3, 4, 5, 6] };
        file.image(7, 3.5, "images", &picture).expect("written");
        file.text(8, 4.5, "yaml", "`seed: 1`").expect("written");
        file.graph(5.5, &GraphDef::default()).expect("written");
        // Nothing is in the file yet but its version.
        assert_eq!(events(file.path()).len(), 1);
        file.flush().expect("written");
        let events = events(file.path());
        let version = events[0].what.clone();
        assert_eq!(version, Some(What::FileVersion("brain.Event:2".to_owned())));
        let steps: Vec<_> = events[1..].iter().map(|e| (e.step, e.wall_time)).collect();
        assert_eq!(steps, [(5, 0.5), (5, 1.5), (6, 2.5), (7, 3.5), (8, 4.5), (0, 5.5)]);
        let contents: Vec<_> = events[2..6]
            .iter()
            .map(|event| match &event.what {
                Some(What::Summary(summary)) => {
                    (summary.value[0].tag.as_str(), summary.value[0].content.clone())
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(contents[0], ("loss", Some(Content::Scalar(0.25))));
        assert_eq!(
            contents[1],
            ("weights", Some(Content::Histogram(HistogramProto::from(&histogram))))
        );
        let (tag, Some(Content::Image(image))) = &contents[2] else { panic!("{contents:?}") };
        assert_eq!((*tag, image.width, image.height, image.colorspace), ("images", 2, 1, 3));
        let (tag, Some(Content::Tensor(text))) = &contents[3] else { panic!("{contents:?}") };
        assert_eq!((*tag, &text.string_val[0][..]), ("yaml", &b"`seed: 1`"[..]));
    }

    #[test]
    fn each_file_is_new_and_comes_after_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let create_new = |seconds| {
            let file = create_new(folder.path(), seconds).expect("a file");
            file.path().to_owned()
        };
        let first = create_new(seconds);
        let second = create_new(seconds);
        assert!(first < second);
        let third = create_new(seconds - 100);
        assert!(second < third, "though the clock was set back");
        assert!(first.extension().is_some_and(|extension| extension == "0"));
        let name = second.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(super::super::is_event_file(name), "{name}");
    }

    #[test]
    fn each_record_is_written_through_if_that_is_asked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = EventFile::create(folder.path(), Duration::ZERO).expect("a file");
        for step in 0..3 {
            file.scalar(step, 0.0, "loss", 1.0).expect("written");
            assert_eq!(events(file.path()).len() as u64, step + 2);
        }
    }

    #[test]
    fn a_failure_names_what_cannot_be_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        let error = EventFile::create(&file, Duration::ZERO).expect_err("a file is no folder");
        assert!(format!("{error:#}").contains(&file.display().to_string()), "{error:#}");
    }

    #[test]
    fn a_write_that_fails_costs_no_record() {
        let disk = Disk::new(100);
        let (flush_every, flushed, failure) = (Duration::ZERO, Instant::now(), None);
        let mut file = EventFile { file: disk.file("events"), flush_every, flushed, failure };
        for step in 0..10 {
            file.scalar(step, 0.0, "loss", 1.0).expect("it is taken");
        }
        let error = format!("{:#}", file.told().expect_err("the disk is full"));
        assert!(error.starts_with("cannot write events"), "{error}");
        file.told().expect("it was told");
        file.scalar(10, 0.0, "loss", 1.0).expect("it is taken");
        assert_eq!(format!("{:#}", file.told().expect_err("still full")), error);
        disk.make_room(usize::MAX);
        file.scalar(11, 0.0, "loss", 1.0).expect("it is taken");
        file.told().expect("there is room");
        let bytes = disk.bytes();
        let records = Records::new(&bytes[..]);
        let step = |record: io::Result<record::Record>| {
            Event::decode(&record.expect("memory can be read").data[..]).expect("an event").step
        };
        assert_eq!(records.map(step).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    }
}
