//! The CIFAR data sets in their binary version (A. Krizhevsky, "Learning Multiple Layers of Features
//! from Tiny Images", 2009): records of one or two label bytes, then 1,024 red, 1,024 green and 1,024
//! blue bytes.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use base::regular_file;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use super::in_memory::InMemory;
use super::place::{Layout, Place};
use super::{Split, thousands, zeros};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const PIXELS: usize = 3 * PLANE;
const GZIP: [u8; 2] = [0x1F, 0x8B];
// What is larger than this is no CIFAR, and a small archive could unpack to more than any memory
// has; the real ones unpack to 176 MiB.
const MOST: u64 = 1 << 30;
// Records decoded in one go: few enough that they stay in the cache.
const RUN: usize = 64;

/// The shape of their images.
pub const SHAPE: [usize; 3] = [SIDE, SIDE, 3];

/// One of the data sets, by one of its labels.
#[derive(Debug)]
pub struct Variant {
    /// How people call it.
    pub name: &'static str,
    /// The names of its files.
    pub layout: Layout,
    /// So many of the files hold images to train on, the rest those to test with.
    pub train_files: usize,
    /// Label bytes before the pixels of a record.
    pub labels: usize,
    /// Which of them is the image's class.
    pub label: usize,
    /// The official names of the classes.
    pub classes: &'static [&'static str],
    /// The file that may name the classes otherwise.
    pub names: &'static str,
    /// Records in an official file: to train on, to test with.
    pub records: [usize; 2],
    /// How to get it once more.
    pub again: &'static str,
}

impl Variant {
    fn files(&self, split: Split) -> &'static [&'static str] {
        let (train, test) = self.layout.files.split_at(self.train_files);
        if split == Split::Test { test } else { train }
    }

    /// Bytes of a record.
    const fn record(&self) -> usize {
        self.labels + PIXELS
    }

    /// Records in an official file of this split.
    fn official(&self, split: Split) -> usize {
        self.records[usize::from(split == Split::Test)]
    }

    /// `10,000 records, 30,730,000 bytes` of an official file.
    fn official_size(&self, split: Split) -> (String, String) {
        let records = self.official(split);
        (thousands(records as u64), thousands((records * self.record()) as u64))
    }

    /// Reads one split.
    ///
    /// # Errors
    /// If a file is missing, cannot be read or is not what it should be.
    pub fn load(&self, place: &Place, split: Split) -> Result<InMemory> {
        let files = Files { variant: self, split };
        match place {
            Place::Folder(folder) => files.load_folder(folder),
            Place::File(archive) => files.load_archive(archive),
        }
    }
}

/// The files of one split.
struct Files<'a> {
    variant: &'a Variant,
    split: Split,
}

impl Files<'_> {
    fn names(&self) -> &'static [&'static str] {
        self.variant.files(self.split)
    }

    fn data_set(
        &self,
        labels: Vec<u8>,
        pixels: Vec<u8>,
        names: Option<Vec<String>>,
        counts: &[(String, usize)],
    ) -> InMemory {
        let official = || self.variant.classes.iter().map(|class| (*class).to_owned()).collect();
        InMemory {
            warning: self.unofficial(counts),
            name: self.variant.name.to_owned(),
            shape: SHAPE,
            classes: names.unwrap_or_else(official),
            labels: labels.into_iter().map(u32::from).collect(),
            pixels: Bytes::from(pixels),
            originals: None,
        }
    }

    fn load_folder(&self, folder: &Path) -> Result<InMemory> {
        let paths: Vec<PathBuf> = self.names().iter().map(|file| folder.join(file)).collect();
        let missing: Vec<&str> = self
            .names()
            .iter()
            .zip(&paths)
            .filter(|(_, path)| matches!(path.try_exists(), Ok(false)))
            .map(|(file, _)| *file)
            .collect();
        ensure!(
            missing.is_empty(),
            "{} lacks {}, needed to {}; {} and put its .bin files into one folder",
            folder.display(),
            missing.join(", "),
            if self.split == Split::Test { "evaluate" } else { "train" },
            self.variant.again
        );
        let mut opened = Vec::with_capacity(paths.len());
        for path in &paths {
            let (file, size) = open(path)?;
            opened.push((path.display().to_string(), file, self.records(&path.display(), size)?));
        }
        let counts: Vec<(String, usize)> =
            opened.iter().map(|(name, _, count)| (name.clone(), *count)).collect();
        let total = opened.iter().map(|(_, _, count)| count).sum::<usize>();
        let (mut labels, mut pixels) = (zeros(total)?, zeros(total * PIXELS)?);
        thread::scope(|scope| -> Result<()> {
            let (mut labels, mut pixels) = (labels.as_mut_slice(), pixels.as_mut_slice());
            let mut threads = Vec::with_capacity(opened.len());
            for (name, file, count) in opened {
                let (of_labels, other_labels) = labels.split_at_mut(count);
                let (of_pixels, other_pixels) = pixels.split_at_mut(count * PIXELS);
                (labels, pixels) = (other_labels, other_pixels);
                let work = move || self.decode(&name, file, of_labels, of_pixels);
                let thread = thread::Builder::new().spawn_scoped(scope, work);
                threads.push(thread.context("could not start a thread")?);
            }
            // The first file's problem is told, whichever thread meets one first.
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| bail!("a thread that reads the data broke down"))
            })
        })?;
        let names = match regular_file::read_to_string(&folder.join(self.variant.names)) {
            Ok(text) => Some(self.class_names(&folder.join(self.variant.names).display(), &text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("cannot read {}", folder.join(self.variant.names).display())
                });
            }
        };
        Ok(self.data_set(labels, pixels, names, &counts))
    }

    /// Says which files have not as many records as they should: a file that was cut between two
    /// records looks whole otherwise.
    fn unofficial(&self, counts: &[(String, usize)]) -> Option<String> {
        let odd: Vec<String> = counts
            .iter()
            .filter(|(_, count)| *count != self.variant.official(self.split))
            .map(|(name, count)| format!("{name} has {} records", thousands(*count as u64)))
            .collect();
        let (official, _) = self.variant.official_size(self.split);
        let again = self.variant.again;
        (!odd.is_empty()).then(|| {
            format!(
                "{}; an official file has {official}. If it should be one, {again}",
                odd.join(", ")
            )
        })
    }

    /// The number of records in a file of this size.
    fn records(&self, name: &dyn std::fmt::Display, size: u64) -> Result<usize> {
        let record = self.variant.record() as u64;
        let (official, bytes) = self.variant.official_size(self.split);
        let again = self.variant.again;
        ensure!(
            size > 0,
            "{name} is empty; expected records of {} bytes, {official} of them in an official file; {again}",
            thousands(record)
        );
        ensure!(
            size <= MOST,
            "{name} has {} bytes, far more than the {bytes} of an official file; {again}",
            thousands(size)
        );
        let (whole, cut) = (size / record, size % record);
        ensure!(
            cut == 0,
            "{name}: {} bytes are not a whole number of records of {} bytes: record {whole} (counted \
         from 0), which starts at byte {}, is cut after {cut} bytes; an official file has \
         {official} records, {bytes} bytes; {again}",
            thousands(size),
            thousands(record),
            thousands(whole * record)
        );
        usize::try_from(whole).context("too many records for this machine")
    }

    /// Reads as many records as there is room for, turning planes into pixels.
    fn decode(
        &self,
        name: &str,
        mut from: impl Read,
        labels: &mut [u8],
        pixels: &mut [u8],
    ) -> Result<()> {
        let (record_bytes, classes) = (self.variant.record(), self.variant.classes.len());
        let mut buffer = vec![0; RUN * record_bytes];
        for (run, (labels, pixels)) in
            labels.chunks_mut(RUN).zip(pixels.chunks_mut(RUN * PIXELS)).enumerate()
        {
            let bytes = &mut buffer[..labels.len() * record_bytes];
            from.read_exact(bytes).with_context(|| {
                let start = (run * RUN * record_bytes) as u64;
                format!("cannot read {name} beyond byte {}", thousands(start))
            })?;
            let images = pixels.chunks_exact_mut(PIXELS).zip(labels);
            for (at, (record, (image, label))) in
                bytes.chunks_exact(record_bytes).zip(images).enumerate()
            {
                *label = record[self.variant.label];
                if usize::from(*label) >= classes {
                    let number = run * RUN + at;
                    bail!(
                        "{name}: record {number} (counted from 0), at byte {}, has label {label}; \
                     expected 0 to {}. Is this the binary version of {}? If so, {}",
                        thousands((number * record_bytes) as u64),
                        classes - 1,
                        self.variant.name,
                        self.variant.again
                    );
                }
                interleave(&record[self.variant.labels..], image);
            }
        }
        Ok(())
    }

    fn class_names(&self, name: &dyn std::fmt::Display, text: &str) -> Result<Vec<String>> {
        let names: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        ensure!(
            names.len() == self.variant.classes.len(),
            "{name} names {} classes; expected {}, one a line; remove the file to use the official ones",
            names.len(),
            self.variant.classes.len()
        );
        Ok(names)
    }

    /// Reads the members of an archive in the order they come, without writing any of them to disk.
    fn load_archive(&self, path: &Path) -> Result<InMemory> {
        let (mut file, _) = open(path)?;
        let name = path.display();
        let mut magic = [0; 2];
        let read = file.read(&mut magic).with_context(|| format!("cannot read {name}"))?;
        ensure!(
            read == 2 && magic == GZIP,
            "{name} is not a gzip archive: expected its first bytes to be 1f 8b, found {:02x} {:02x}; \
         give {} or the folder with the .bin files",
            magic[0],
            magic[1],
            self.variant.layout.archive
        );
        let unpacked =
            MultiGzDecoder::new(BufReader::with_capacity(1 << 16, GZIP.as_slice().chain(file)));
        let mut archive = tar::Archive::new(Capped { from: unpacked, left: MOST });
        let mut parts: Vec<Option<(Vec<u8>, Vec<u8>)>> = vec![None; self.names().len()];
        let mut names = None;
        let damaged = || format!("{name} is damaged or not a tar.gz; {}", self.variant.again);
        for entry in archive.entries().with_context(damaged)? {
            let mut entry = entry.with_context(damaged)?;
            let member = entry.path().with_context(damaged)?.into_owned();
            let Some(file) = member.file_name().and_then(|file| file.to_str()) else { continue };
            if !entry.header().entry_type().is_file() {
                continue;
            }
            if file == self.variant.names {
                let mut text = String::new();
                (&mut entry).take(1 << 16).read_to_string(&mut text).with_context(damaged)?;
                names =
                    Some(self.class_names(&format_args!("{name}: {}", member.display()), &text)?);
            } else if let Some(at) = self.names().iter().position(|wanted| *wanted == file) {
                let member = format!("{name}: {}", member.display());
                let count = self.records(&member, entry.size())?;
                let (mut labels, mut pixels) = (zeros(count)?, zeros(count * PIXELS)?);
                self.decode(&member, &mut entry, &mut labels, &mut pixels).with_context(damaged)?;
                parts[at] = Some((labels, pixels));
            }
        }
        // What follows the last member holds the checksum of everything before it.
        io::copy(&mut archive.into_inner(), &mut io::sink()).with_context(damaged)?;
        let missing: Vec<&str> = self
            .names()
            .iter()
            .zip(&parts)
            .filter(|(_, part)| part.is_none())
            .map(|(file, _)| *file)
            .collect();
        ensure!(missing.is_empty(), "{name} lacks {}; {}", missing.join(", "), self.variant.again);
        let counts: Vec<(String, usize)> = self
            .names()
            .iter()
            .zip(parts.iter().flatten())
            .map(|(file, (labels, _))| (format!("{name}: {file}"), labels.len()))
            .collect();
        let (labels, pixels): (Vec<_>, Vec<_>) = parts.into_iter().flatten().unzip();
        Ok(self.data_set(labels.concat(), pixels.concat(), names, &counts))
    }
}

fn open(path: &Path) -> Result<(File, u64)> {
    let open = || {
        let file = regular_file::open(path)?;
        let size = file.metadata()?.len();
        Ok::<_, io::Error>((file, size))
    };
    open().with_context(|| format!("cannot read {}", path.display()))
}

/// From three planes to pixels of three values.
fn interleave(planes: &[u8], image: &mut [u8]) {
    let (red, rest) = planes.split_at(PLANE);
    let (green, blue) = rest.split_at(PLANE);
    let (pixels, _) = image.as_chunks_mut::<3>();
    for (((pixel, red), green), blue) in pixels.iter_mut().zip(red).zip(green).zip(blue) {
        *pixel = [*red, *green, *blue];
    }
}

/// A reader that fails beyond so many bytes.
struct Capped<R> {
    from: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            let most = MOST >> 20;
            io::Error::other(anyhow!("it unpacks to more than {most} MiB; expected 176 MiB"))
        })?;
        Ok(read)
    }
}

/// Files in the official layout, made up for tests.
#[cfg(test)]
pub(crate) mod fake {
    use std::fs::{create_dir_all, write};
    use std::path::Path;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::PLANE;
    use crate::data::cifar10::LAYOUT;

    /// One record: a label and a colour.
    pub(crate) fn record(label: u8, colour: [u8; 3]) -> Vec<u8> {
        let mut record = vec![label];
        colour.iter().for_each(|value| record.extend([*value; PLANE]));
        record
    }

    /// Each file's name and content: 3 records, whose red says which file and which record.
    pub(crate) fn files() -> Vec<(&'static str, Vec<u8>)> {
        let content = |file: usize| -> Vec<u8> {
            (0..3)
                .flat_map(|at| record((file + at) as u8, [(10 * file + at) as u8, 1, 2]))
                .collect()
        };
        LAYOUT.files.iter().enumerate().map(|(file, name)| (*name, content(file))).collect()
    }

    /// Writes all files into a folder.
    pub(crate) fn write_to(folder: &Path) {
        create_dir_all(folder).expect("created");
        for (name, content) in files() {
            write(folder.join(name), content).expect("written");
        }
    }

    /// A tar.gz of these members in the official folder.
    pub(crate) fn archive(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, content) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            let path = format!("{}/{name}", LAYOUT.folder);
            archive.append_data(&mut header, path, content.as_slice()).expect("added");
        }
        archive.into_inner().expect("whole").finish().expect("whole")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, remove_file, write};

    use flow::item::{Pixels, SampleId};
    use tempfile::TempDir;

    use super::*;
    use crate::data::cifar10::{CIFAR_10, CLASSES};

    const RECORD: usize = CIFAR_10.record();
    const RECORDS: usize = CIFAR_10.records[0];
    const NAMES: &str = CIFAR_10.names;

    fn load(place: &Place, split: Split) -> Result<InMemory> {
        CIFAR_10.load(place, split)
    }

    fn folder() -> (TempDir, Place) {
        let folder = tempfile::tempdir().expect("a folder");
        fake::write_to(folder.path());
        let place = Place::Folder(folder.path().to_owned());
        (folder, place)
    }

    fn message(place: &Place, split: Split) -> String {
        format!("{:#}", load(place, split).expect_err("there is something wrong"))
    }

    /// The message for an archive with this content.
    fn of_archive(content: &[u8]) -> Result<InMemory, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cifar.tar.gz");
        write(&path, content).expect("written");
        load(&Place::File(path), Split::Train).map_err(|error| format!("{error:#}"))
    }

    fn assert_says(message: &str, parts: &[&str]) {
        for part in parts {
            assert!(message.contains(part), "{message:?} does not say {part:?}");
        }
    }

    #[test]
    fn records_of_one_colour_are_decoded_as_in_the_tutorials_test() {
        let records = [(9, [0, 128, 255]), (3, [255, 0, 1]), (0, [254, 255, 0])];
        let content: Vec<u8> =
            records.iter().flat_map(|(label, colour)| fake::record(*label, *colour)).collect();
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path().join("test_batch.bin"), content).expect("written");
        let data = load(&Place::Folder(folder.path().to_owned()), Split::Test).expect("loaded");
        assert_eq!(data.classes, CLASSES);
        assert_eq!(data.labels, [9, 3, 0]);
        for (index, (_, colour)) in records.iter().enumerate() {
            let sample = data.sample(index, SampleId { epoch: 4, index: index as u64 });
            assert_eq!((sample.id.epoch, sample.id.index), (4, index as u64));
            assert_eq!(sample.image.shape, [32, 32, 3]);
            assert_eq!(sample.image.pixels, Pixels::U8(colour.repeat(1024).into()));
        }
    }

    #[test]
    fn rows_and_columns_are_not_swapped() {
        let planes: Vec<u8> = (0..PIXELS).map(|at| (at % 251) as u8).collect();
        let mut image = vec![0; PIXELS];
        interleave(&planes, &mut image);
        for (y, x, channel) in [(0, 1, 0), (1, 0, 0), (5, 9, 1), (31, 31, 2)] {
            assert_eq!(image[(y * 32 + x) * 3 + channel], planes[channel * 1024 + y * 32 + x]);
        }
    }

    #[test]
    fn the_files_of_a_split_follow_one_another_in_folder_and_archive() {
        let (_folder, place) = folder();
        let train = load(&place, Split::Train).expect("loaded");
        let reds: Vec<u8> = train.pixels.iter().copied().step_by(PIXELS).collect();
        assert_eq!(reds, [0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32, 40, 41, 42]);
        assert_eq!(load(&place, Split::Test).expect("loaded").labels, [5, 6, 7]);

        // The official archive is not in this order either.
        let mut members = fake::files();
        members.reverse();
        let names = (0..10).map(|class| format!("class {class}\n")).collect::<String>();
        members.push((NAMES, names.into_bytes()));
        let archived = of_archive(&fake::archive(&members)).expect("loaded");
        assert_eq!((archived.labels, archived.pixels), (train.labels, train.pixels));
        assert_eq!(archived.classes[9], "class 9");
    }

    #[test]
    fn a_missing_file_is_named() {
        let (folder, place) = folder();
        remove_file(folder.path().join("data_batch_2.bin")).expect("removed");
        remove_file(folder.path().join("data_batch_5.bin")).expect("removed");
        assert_says(
            &message(&place, Split::Train),
            &["data_batch_2.bin, data_batch_5.bin", "kriz"],
        );
        assert!(load(&place, Split::Test).is_ok());
        let archive = fake::archive(&fake::files()[..4]);
        let message = of_archive(&archive).expect_err("a member is missing");
        assert_says(&message, &["cifar.tar.gz lacks data_batch_5.bin", "kriz"]);
    }

    #[test]
    fn a_cut_file_is_named_with_the_place_of_the_cut() {
        let (folder, place) = folder();
        let whole = fake::record(1, [0; 3]).repeat(3);
        write(folder.path().join("data_batch_3.bin"), &whole[..2 * RECORD + 100]).expect("written");
        let parts =
            ["data_batch_3.bin", "6,246 bytes", "record 2", "byte 6,146", "after 100 bytes"];
        assert_says(&message(&place, Split::Train), &parts);
        write(folder.path().join("data_batch_3.bin"), "").expect("written");
        assert_says(&message(&place, Split::Train), &["data_batch_3.bin is empty", "3,073"]);
    }

    #[test]
    fn a_file_that_is_cut_between_records_is_told_with_both_counts() {
        let (folder, place) = folder();
        let whole = fake::record(1, [0; 3]).repeat(RECORDS);
        for file in CIFAR_10.files(Split::Train) {
            write(folder.path().join(file), &whole).expect("written");
        }
        assert_eq!(load(&place, Split::Train).expect("loaded").warning, None);
        write(folder.path().join("data_batch_4.bin"), &whole[..7_000 * RECORD]).expect("written");
        let warning = load(&place, Split::Train).expect("loaded").warning.expect("cut");
        assert_says(&warning, &["data_batch_4.bin has 7,000 records", "has 10,000", "kriz"]);
        assert!(!warning.contains("data_batch_3"), "{warning}");
        let archived = of_archive(&fake::archive(&fake::files())).expect("loaded");
        assert_says(
            &archived.warning.expect("three records a file"),
            &["cifar.tar.gz: data_batch_1.bin has 3 records", "data_batch_5.bin has 3 records"],
        );
    }

    #[test]
    fn a_label_out_of_range_is_named_with_its_place() {
        let (folder, place) = folder();
        let mut content = fake::record(1, [0; 3]).repeat(70);
        content[66 * RECORD] = 10;
        write(folder.path().join("data_batch_4.bin"), &content).expect("written");
        let parts = ["data_batch_4.bin", "record 66", "byte 202,818", "label 10", "0 to 9"];
        assert_says(&message(&place, Split::Train), &parts);

        let mut members = fake::files();
        members[3].1 = content;
        assert_says(&of_archive(&fake::archive(&members)).expect_err("label"), &parts);
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let (folder, place) = folder();
        remove_file(folder.path().join("test_batch.bin")).expect("removed");
        create_dir(folder.path().join("test_batch.bin")).expect("created");
        let message = message(&place, Split::Test);
        assert_says(&message, &["cannot read", "test_batch.bin", "not a file but a folder"]);
    }

    #[test]
    fn class_names_are_read_if_there_are_ten() {
        let (folder, place) = folder();
        let names: Vec<String> = (0..10).map(|class| format!("class {class}")).collect();
        write(folder.path().join(NAMES), names.join("\n") + "\n\n").expect("written");
        assert_eq!(load(&place, Split::Test).expect("loaded").classes, names);
        write(folder.path().join(NAMES), names[..9].join("\n")).expect("written");
        assert_says(&message(&place, Split::Test), &[NAMES, "names 9 classes", "expected 10"]);
    }

    #[test]
    fn damaged_archives_are_told_and_never_a_panic() {
        let whole = fake::archive(&fake::files());
        let right = of_archive(&whole).expect("loaded");
        let says = |content: &[u8], parts: &[&str]| {
            assert_says(&of_archive(content).expect_err("damaged"), parts);
        };
        says(b"", &["not a gzip archive"]);
        says(b"PK\x03\x04", &["not a gzip archive", "found 50 4b"]);
        says(&whole[..2], &["cifar.tar.gz is damaged", "kriz"]);
        for cut in [20, whole.len() / 2, whole.len() - 4] {
            says(&whole[..cut], &["cifar.tar.gz", "kriz"]);
        }
        // Some bytes matter not: the time in the gzip header, or which of several equal runs of
        // bytes is repeated. With any other changed, nothing may be loaded.
        for at in (0..whole.len()).step_by(5) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            match of_archive(&damaged) {
                Ok(data) => assert_eq!(
                    (data.labels, data.pixels),
                    (right.labels.clone(), right.pixels.clone())
                ),
                Err(message) => assert_says(&message, &["cifar.tar.gz"]),
            }
        }
    }

    #[test]
    fn an_archive_may_not_unpack_to_more_than_memory_has() {
        let capped = |left| {
            let mut capped = Capped { from: [0; 100].as_slice(), left };
            io::copy(&mut capped, &mut io::sink()).map_err(|error| error.to_string())
        };
        assert_eq!(capped(100), Ok(100));
        assert_says(&capped(99).expect_err("too much"), &["more than 1024 MiB"]);

        let mut header = tar::Header::new_gnu();
        header.set_size(u64::from(u32::MAX) * RECORD as u64);
        header.set_path("data_batch_1.bin").expect("a path");
        header.set_cksum();
        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut bomb, header.as_bytes()).expect("written");
        let bomb = bomb.finish().expect("whole");
        assert_says(
            &of_archive(&bomb).expect_err("a bomb"),
            &["data_batch_1.bin has", "30,730,000"],
        );
    }
}
