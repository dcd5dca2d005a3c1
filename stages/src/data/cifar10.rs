//! CIFAR-10 in its binary version (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny
//! Images", 2009): records of one label byte, then 1,024 red, 1,024 green and 1,024 blue bytes.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use super::place::{Layout, Place};
use super::{DataSet, Split, thousands};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const PIXELS: usize = 3 * PLANE;
const RECORD: usize = 1 + PIXELS;
const NAMES: &str = "batches.meta.txt";
const GZIP: [u8; 2] = [0x1F, 0x8B];
// A ten-thousandth of the archive could unpack to more than any memory; the real one unpacks to
// 184 MB.
const MOST_UNPACKED: u64 = 1 << 30;
// Records decoded in one go: few enough that they stay in the cache.
const RUN: usize = 64;

/// How people call it.
pub const NAME: &str = "CIFAR-10";
/// The shape of its images.
pub const SHAPE: [usize; 3] = [SIDE, SIDE, 3];
/// The names of its classes.
pub const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
/// The names of its files.
pub const LAYOUT: Layout = Layout {
    files: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
        "test_batch.bin",
    ],
    folder: "cifar-10-batches-bin",
    archive: "cifar-10-binary.tar.gz",
};
/// How to get it.
pub const HOW_TO_GET: &str = "\
CIFAR-10 is a folder with data_batch_1.bin to data_batch_5.bin and test_batch.bin, or with
cifar-10-batches-bin/, or with cifar-10-binary.tar.gz, or that archive itself.
To get it, download the \"binary version\", cifar-10-binary.tar.gz (162 MiB), from
https://www.cs.toronto.edu/~kriz/cifar.html; it need not be unpacked.
Then say where it is: --data FOLDER, or the environment variable GRADFLOW_DATA=FOLDER.";

const AGAIN: &str = "download the binary version of CIFAR-10 again from \
                     https://www.cs.toronto.edu/~kriz/cifar.html";

fn files(split: Split) -> &'static [&'static str] {
    let (train, test) = LAYOUT.files.split_at(5);
    match split {
        Split::Train => train,
        Split::Test => test,
    }
}

/// Reads one split.
///
/// # Errors
/// If a file is missing, cannot be read or is not what it should be.
pub fn load(place: &Place, split: Split) -> Result<DataSet> {
    match place {
        Place::Folder(folder) => load_folder(folder, split),
        Place::Archive(archive) => load_archive(archive, split),
    }
}

fn data_set(labels: Vec<u8>, pixels: Vec<u8>, names: Option<Vec<String>>) -> DataSet {
    DataSet {
        name: NAME.to_owned(),
        shape: SHAPE,
        classes: names.unwrap_or_else(|| CLASSES.map(str::to_owned).to_vec()),
        labels,
        pixels: Bytes::from(pixels),
    }
}

fn load_folder(folder: &Path, split: Split) -> Result<DataSet> {
    let paths: Vec<PathBuf> = files(split).iter().map(|file| folder.join(file)).collect();
    let missing: Vec<&str> = files(split)
        .iter()
        .zip(&paths)
        .filter(|(_, path)| !path.exists())
        .map(|(file, _)| *file)
        .collect();
    ensure!(
        missing.is_empty(),
        "{} lacks {}, needed to {}; {AGAIN} and put its six .bin files into one folder",
        folder.display(),
        missing.join(", "),
        match split {
            Split::Train => "train",
            Split::Test => "evaluate",
        }
    );
    let mut opened = Vec::with_capacity(paths.len());
    for path in &paths {
        let (file, size) = open(path)?;
        opened.push((path.display().to_string(), file, records(&path.display(), size)?));
    }
    let total = opened.iter().map(|(_, _, count)| count).sum::<usize>();
    let mut labels = vec![0; total];
    let mut pixels = vec![0; total * PIXELS];
    thread::scope(|scope| {
        let (mut labels, mut pixels) = (labels.as_mut_slice(), pixels.as_mut_slice());
        let mut threads = Vec::with_capacity(opened.len());
        for (name, file, count) in opened {
            let (of_labels, other_labels) = labels.split_at_mut(count);
            let (of_pixels, other_pixels) = pixels.split_at_mut(count * PIXELS);
            (labels, pixels) = (other_labels, other_pixels);
            threads.push(scope.spawn(move || decode(&name, file, of_labels, of_pixels)));
        }
        // The first file's problem is told, whichever thread meets one first.
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| bail!("a thread that reads CIFAR-10 broke down"))
        })
    })?;
    let names = match fs::read_to_string(folder.join(NAMES)) {
        Ok(text) => Some(class_names(&folder.join(NAMES).display(), &text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot read {}", folder.join(NAMES).display()));
        }
    };
    Ok(data_set(labels, pixels, names))
}

fn open(path: &Path) -> Result<(File, u64)> {
    let open = || -> io::Result<(File, u64)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok((file, metadata.len()))
    };
    open().with_context(|| format!("cannot read {}", path.display()))
}

/// The number of records in a file of this size.
fn records(name: &dyn std::fmt::Display, size: u64) -> Result<usize> {
    let record = RECORD as u64;
    ensure!(
        size > 0,
        "{name} is empty; expected records of {} bytes, 10,000 of them in an official file; {AGAIN}",
        thousands(record)
    );
    let (whole, cut) = (size / record, size % record);
    ensure!(
        cut == 0,
        "{name}: {} bytes are not a whole number of records of {} bytes: record {whole} (counted \
         from 0), which starts at byte {}, is cut after {cut} bytes; an official file has 10,000 \
         records, 30,730,000 bytes; {AGAIN}",
        thousands(size),
        thousands(record),
        thousands(whole * record)
    );
    usize::try_from(whole).context("too many records for this machine")
}

/// Reads as many records as there is room for, turning planes into pixels.
fn decode(name: &str, mut from: impl Read, labels: &mut [u8], pixels: &mut [u8]) -> Result<()> {
    let mut buffer = vec![0; RUN * RECORD];
    for (run, (labels, pixels)) in
        labels.chunks_mut(RUN).zip(pixels.chunks_mut(RUN * PIXELS)).enumerate()
    {
        let bytes = &mut buffer[..labels.len() * RECORD];
        from.read_exact(bytes).with_context(|| {
            let start = (run * RUN * RECORD) as u64;
            format!("cannot read {name} beyond byte {}", thousands(start))
        })?;
        let images = pixels.chunks_exact_mut(PIXELS).zip(labels);
        for (at, (record, (image, label))) in bytes.chunks_exact(RECORD).zip(images).enumerate() {
            *label = record[0];
            if usize::from(*label) >= CLASSES.len() {
                let number = run * RUN + at;
                bail!(
                    "{name}: record {number} (counted from 0), at byte {}, has label {label}; \
                     expected 0 to 9. Is this the binary version of CIFAR-10? If so, {AGAIN}",
                    thousands((number * RECORD) as u64)
                );
            }
            interleave(&record[1..], image);
        }
    }
    Ok(())
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

fn class_names(name: &dyn std::fmt::Display, text: &str) -> Result<Vec<String>> {
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    ensure!(
        names.len() == CLASSES.len(),
        "{name} names {} classes; expected 10, one a line; remove the file to use the official ones",
        names.len()
    );
    Ok(names)
}

/// Reads the members of an archive in the order they come, without writing any of them to disk.
fn load_archive(path: &Path, split: Split) -> Result<DataSet> {
    let (mut file, _) = open(path)?;
    let name = path.display();
    let mut magic = [0; 2];
    let read = file.read(&mut magic).with_context(|| format!("cannot read {name}"))?;
    ensure!(
        read == 2 && magic == GZIP,
        "{name} is not a gzip archive: expected its first bytes to be 1f 8b, found {:02x} {:02x}; \
         give cifar-10-binary.tar.gz or the folder with the .bin files",
        magic[0],
        magic[1]
    );
    let unpacked =
        MultiGzDecoder::new(BufReader::with_capacity(1 << 16, GZIP.as_slice().chain(file)));
    let mut archive = tar::Archive::new(Capped { from: unpacked, left: MOST_UNPACKED });
    let mut parts: Vec<Option<(Vec<u8>, Vec<u8>)>> = vec![None; files(split).len()];
    let mut names = None;
    let damaged = || format!("{name} is damaged or not a tar.gz; {AGAIN}");
    for entry in archive.entries().with_context(damaged)? {
        let mut entry = entry.with_context(damaged)?;
        let member = entry.path().with_context(damaged)?.into_owned();
        let Some(file) = member.file_name().and_then(|file| file.to_str()) else { continue };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        if file == NAMES {
            let mut text = String::new();
            (&mut entry).take(1 << 16).read_to_string(&mut text).with_context(damaged)?;
            names = Some(class_names(&format_args!("{name}: {}", member.display()), &text)?);
        } else if let Some(at) = files(split).iter().position(|wanted| *wanted == file) {
            let member = format!("{name}: {}", member.display());
            ensure!(entry.size() <= MOST_UNPACKED, "{member} claims {} bytes", entry.size());
            let count = records(&member, entry.size())?;
            let (mut labels, mut pixels) = (vec![0; count], vec![0; count * PIXELS]);
            decode(&member, &mut entry, &mut labels, &mut pixels).with_context(damaged)?;
            parts[at] = Some((labels, pixels));
        }
    }
    // What follows the last member holds the checksum of everything before it.
    io::copy(&mut archive.into_inner(), &mut io::sink()).with_context(damaged)?;
    let missing: Vec<&str> = files(split)
        .iter()
        .zip(&parts)
        .filter(|(_, part)| part.is_none())
        .map(|(file, _)| *file)
        .collect();
    ensure!(missing.is_empty(), "{name} lacks {}; {AGAIN}", missing.join(", "));
    let (labels, pixels): (Vec<_>, Vec<_>) = parts.into_iter().flatten().unzip();
    Ok(data_set(labels.concat(), pixels.concat(), names))
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
            let most = MOST_UNPACKED >> 20;
            io::Error::other(anyhow!("it unpacks to more than {most} MiB; expected 176 MiB"))
        })?;
        Ok(read)
    }
}
