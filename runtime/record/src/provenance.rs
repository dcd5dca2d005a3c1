//! Which images a run was trained on, and whether it is evaluated on some of them.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use base::whole_file::write_whole;
use flow::reports::{Began, DataReport, ImageSet, TRAIN};

use crate::run_folder;

/// The part that a share for validation is.
const VALIDATION: &str = "validation";

/// What the file of a set of images begins with.
const MAGIC: &[u8; 8] = b"GFIMAGE1";

/// Writes a set of images whole.
///
/// # Errors
/// If the file cannot be written.
pub fn write_images(images: &ImageSet, path: &Path) -> Result<()> {
    let mut bytes = MAGIC.to_vec();
    images.0.iter().for_each(|hash| bytes.extend_from_slice(&hash.to_le_bytes()));
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    write_whole(path, &bytes)
}

/// Reads a set of images; `None` if there is no file.
///
/// # Errors
/// If it cannot be read or is damaged.
pub fn read_images(path: &Path) -> Result<Option<ImageSet>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        bytes => bytes.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let damaged = || format!("{} is damaged", path.display());
    let (body, crc) = bytes.split_last_chunk::<4>().with_context(damaged)?;
    let hashes = body.strip_prefix(MAGIC).filter(|rest| rest.len().is_multiple_of(8));
    let hashes = hashes.with_context(damaged)?;
    ensure!(crc32c::crc32c(body) == u32::from_le_bytes(*crc), damaged());
    let (words, _) = hashes.as_chunks::<8>();
    Ok(Some(ImageSet::new(words.iter().map(|word| u64::from_le_bytes(*word)).collect())))
}

/// The file with the images that the run in this folder was trained on, and those that the runs were
/// trained on whose weights it began with.
pub fn file(run: &Path) -> PathBuf {
    run.join("trained_on.bin")
}

/// The images that the weights in this checkpoint were trained on, if it lies in its run's folder
/// and that says so.
///
/// # Errors
/// If the file that says so cannot be read or is damaged.
pub fn of_checkpoint(checkpoint: &Path) -> Result<Option<ImageSet>> {
    let path = std::path::absolute(checkpoint)?;
    let run = path.parent().and_then(Path::parent).filter(|run| run_folder::is_run(run));
    run.map_or(Ok(None), |run| read_images(&file(run)))
}

/// What to do about images that are kept back here and were trained on there.
fn help(began: &Began, report: &DataReport) -> String {
    let there = began.data.iter().find(|data| data.split == TRAIN).and_then(DataReport::share);
    match there {
        Some(share) if report.split == VALIDATION && report.share() != Some(share) => {
            format!("write `validation: {share}` in both readers, as it was there")
        }
        _ if report.split == VALIDATION => {
            "evaluate on other images, or begin with weights that have not seen these".to_owned()
        }
        _ => "evaluate on other images".to_owned(),
    }
}

/// What is evaluated on although it was trained on, and what differs from before.
#[derive(Debug, Default)]
pub struct Watch {
    /// The stages that read what is trained on.
    trainers: HashSet<String>,
    trained: Vec<DataReport>,
    evaluated: Vec<DataReport>,
    /// What was trained on before the run was resumed.
    before: ImageSet,
    began: Option<Began>,
    /// Whether all that is trained on is known.
    is_complete: bool,
}

impl Watch {
    /// For a run that trains on what these stages read, and on those images before.
    pub fn new(trainers: HashSet<String>, before: ImageSet) -> Self {
        Self { trainers, before, ..Self::default() }
    }

    /// Takes note of what a run begins with.
    pub fn begin_with(&mut self, began: &Began) {
        self.began = Some(began.clone());
    }

    /// Whether a stage reads what is trained on.
    pub fn trains(&self, stage: &str) -> bool {
        self.trainers.contains(stage)
    }

    /// Takes note of what a stage reads. Gives what there is to say, and how many of the images were
    /// trained on, as far as all is known that is trained on.
    ///
    /// # Errors
    /// If a share is kept back for validation, and the same pipeline trains on some of it.
    pub fn data(&mut self, report: &DataReport) -> Result<(Vec<String>, u64)> {
        if self.trains(&report.stage) {
            self.trained.push(report.clone());
            return Ok((Vec::new(), 0));
        }
        self.evaluated.push(report.clone());
        if self.is_complete { self.look(report) } else { Ok((Vec::new(), 0)) }
    }

    /// All that is trained on is known: gives what [`Self::data`] would have given for each stage.
    ///
    /// # Errors
    /// As there.
    pub fn complete(&mut self) -> Result<Vec<(String, Vec<String>, u64)>> {
        self.is_complete = true;
        let looked = self.evaluated.iter().map(|report| {
            let (told, images) = self.look(report)?;
            Ok((report.stage.clone(), told, images))
        });
        looked.collect()
    }

    /// All images that the run was trained on, in whatever way.
    pub fn images(&self) -> ImageSet {
        let own = self.own();
        let began = self.began.as_ref().and_then(|began| began.images.as_ref());
        began.map_or_else(|| own.clone(), |began| own.and(began)).and(&self.before)
    }

    fn own(&self) -> ImageSet {
        let hashes = self.trained.iter().flat_map(|report| report.hashes().iter().copied());
        ImageSet::new(hashes.collect())
    }

    fn look(&self, report: &DataReport) -> Result<(Vec<String>, u64)> {
        if !report.is_held_out() {
            return Ok((Vec::new(), 0));
        }
        let mut told = Vec::new();
        for trained in &self.trained {
            let images = ImageSet::new(trained.hashes().to_vec()).count(report.hashes());
            if images > 0 {
                refuse_leak(report, trained, images)?;
                told.push(among(
                    images,
                    report,
                    &format!("those that `{}` trains on", trained.stage),
                    "remove the copies on one side",
                ));
            }
        }
        let own = self.own();
        let before = self.before.without(&own).count(report.hashes());
        if before > 0 {
            told.push(among(
                before,
                report,
                "those that this run, or one that it began with, was trained on before",
                "evaluate on other images",
            ));
        }
        let began = self.began.as_ref();
        if let Some((began, images)) = began.and_then(|b| Some((b, b.images.as_ref()?))) {
            let images = images.without(&own).without(&self.before).count(report.hashes());
            if images > 0 {
                let there = format!("those that {} was trained on", began.from);
                told.push(among(images, report, &there, &help(began, report)));
            }
        } else if let Some(began) = began.filter(|_| report.split == VALIDATION) {
            let kept_back =
                |there: &DataReport| there.split == VALIDATION && there.same_images(report);
            if !began.data.iter().any(kept_back) {
                told.push(format!(
                    "{} does not say which images it was trained on: some of those that `{}` keeps \
                     back may be among them, and what they score says nothing then of images never \
                     seen",
                    began.from, report.stage
                ));
            }
        }
        Ok((told, self.images().count(report.hashes())))
    }
}

/// Refuses a share for validation of which another stage of the pipeline trains on some, as it keeps
/// back another share of the same images.
fn refuse_leak(report: &DataReport, trained: &DataReport, images: u64) -> Result<()> {
    let whole = |report: &DataReport| report.identity.as_ref().and_then(|identity| identity.whole);
    let same = whole(report).is_some() && whole(report) == whole(trained);
    if report.split != VALIDATION || !same || report.share() == trained.share() {
        return Ok(());
    }
    let nothing = "nothing";
    bail!(
        "`{}` keeps back {} of the images for validation and `{}` {} of the same images, wherever it \
         reads them: {images} of {} would be in both.\nWrite the same `validation` in both readers",
        report.stage,
        report.share().unwrap_or(nothing),
        trained.stage,
        trained.share().unwrap_or(nothing),
        report.hashes().len()
    );
}

fn among(images: u64, report: &DataReport, those: &str, help: &str) -> String {
    format!(
        "{images} of the {} images that `{}` evaluates on ({}) are among {those}: what they score \
         says nothing of images never seen; {help}",
        report.hashes().len(),
        report.stage,
        report.split
    )
}

/// What to say of images that a run is evaluated on after it has ended: of what differs from
/// `before`, and of those among `trained`, if that is known.
pub fn afterwards(
    report: &DataReport,
    before: Option<&DataReport>,
    trained: Option<&ImageSet>,
) -> Vec<String> {
    let mut told = Vec::new();
    let differs = before.filter(|before| !before.same_images(report));
    if let Some(before) = differs {
        // The number of images may be the same, and then the checksum says that they are others.
        let checksum = |report: &DataReport| match (&report.identity, &before.identity) {
            (Some(identity), Some(_)) => identity.content,
            _ => report.crc32c,
        };
        let described = |report: &DataReport| {
            let share = report.share().map(|share| format!(", `validation: {share}`"));
            let (share, checksum) = (share.unwrap_or_default(), checksum(report));
            format!("{}{share}, checksum {checksum:08x}", report.description)
        };
        let unknown = match trained {
            Some(_) => "",
            None => {
                ". The run does not say which images it was trained on: some of these may be among \
                 them"
            }
        };
        told.push(format!(
            "`{}` reads other images, or other labels, than in the run: {} now, {} then{unknown}",
            report.stage,
            described(report),
            described(before)
        ));
    }
    if let Some(trained) = trained.filter(|_| report.is_held_out()) {
        let images = trained.count(report.hashes());
        if images > 0 {
            told.push(among(
                images,
                report,
                "those that the run was trained on",
                "evaluate on the data that it began with, or on images that it has not seen",
            ));
        }
    }
    told
}

/// What to say of runs that are put beside each other and were evaluated on different images, or on
/// images that they were trained on. Each has a name and the data that it read.
pub fn beside<'a>(runs: impl IntoIterator<Item = (&'a str, &'a [DataReport])>) -> Vec<String> {
    let held_out = |data: &'a [DataReport]| {
        data.iter().filter(|report| report.is_held_out()).collect::<Vec<_>>()
    };
    let runs: Vec<(&str, Vec<&DataReport>)> =
        runs.into_iter().map(|(name, data)| (name, held_out(data))).collect();
    let mut told = Vec::new();
    let known: Vec<_> = runs.iter().filter(|(_, data)| !data.is_empty()).collect();
    if let Some(((_, first), others)) = known.split_first() {
        let same = |other: &[&DataReport]| {
            first.len() == other.len() && first.iter().zip(other).all(|(a, b)| a.same_images(b))
        };
        if others.iter().any(|(_, data)| !same(data)) {
            let each = known.iter().map(|(name, data)| {
                let described = data.iter().map(|report| match report.share() {
                    Some(share) => format!("{} ({share})", report.description),
                    None => report.description.clone(),
                });
                format!("{name}: {}", described.collect::<Vec<_>>().join(" and "))
            });
            let mut splits =
                known.iter().flat_map(|(_, data)| data.iter().map(|data| &*data.split));
            let help = match splits.all(|split| split == VALIDATION) {
                true => ".\nA `seed` in `validation` keeps back the same images in all runs",
                false => "",
            };
            told.push(format!(
                "these were evaluated on different images, and precisions differ by that as well: \
                 {}{help}",
                each.collect::<Vec<_>>().join("; ")
            ));
        }
    }
    for (name, report) in runs.iter().flat_map(|(name, data)| data.iter().map(move |r| (name, r))) {
        if let Some(identity) = report.identity.as_ref().filter(|identity| identity.trained_on > 0)
        {
            told.push(format!(
                "{name} was trained on {} of the {} images that `{}` evaluates on",
                identity.trained_on, identity.images, report.stage
            ));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow::reports::Identity;

    fn report(stage: &str, split: &str, images: &[u64], all: &[u64], share: &str) -> DataReport {
        let share = (!share.is_empty()).then(|| share.to_owned());
        let identity = Identity::new(images.to_vec(), &vec![0; images.len()], all, share);
        DataReport {
            stage: stage.to_owned(),
            description: format!("images {split}, {} images", images.len()),
            split: split.to_owned(),
            crc32c: identity.content,
            identity: Some(identity),
        }
    }

    fn watch(before: &[u64]) -> Watch {
        Watch::new(HashSet::from(["read".to_owned()]), ImageSet::new(before.to_vec()))
    }

    const ALL: [u64; 6] = [1, 2, 3, 4, 5, 6];

    #[test]
    fn sets_are_written_and_read_and_damage_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = file(folder.path());
        assert_eq!(read_images(&path).expect("no file"), None);
        let set = ImageSet::new(vec![7, u64::MAX, 3, 7]);
        write_images(&set, &path).expect("written");
        assert_eq!(read_images(&path).expect("read"), Some(set.clone()));
        assert_eq!(set.count(&[3, 3, 4, u64::MAX]), 3);
        assert_eq!(set.without(&ImageSet::new(vec![7])), ImageSet::new(vec![3, u64::MAX]));
        assert!(ImageSet::default().is_empty() && !set.is_empty());
        let good = fs::read(&path).expect("there");
        for cut in 0..good.len() {
            fs::write(&path, &good[..cut]).expect("written");
            assert!(read_images(&path).is_err(), "{cut} bytes");
        }
        let mut other = good;
        other[10] ^= 1;
        fs::write(&path, other).expect("written");
        let error = read_images(&path).expect_err("damaged").to_string();
        assert!(error.contains("trained_on.bin is damaged"), "{error}");
    }

    #[test]
    fn images_on_both_sides_are_told_whatever_is_read_first() {
        let train = report("read", "train", &[1, 2, 3], &ALL, "0.5");
        let test = report("read_test", "test", &[3, 3, 9], &[3, 3, 9], "");
        let mut watch = watch(&[]);
        watch.data(&test).expect("told later");
        watch.data(&train).expect("nothing to compare");
        let told = watch.complete().expect("no leak of its own");
        let [(stage, notes, 2)] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(stage, "read_test");
        assert!(notes[0].starts_with("2 of the 3 images that `read_test` evaluates on (test) are"));
        let (notes, images) = watch.data(&test).expect("no leak of its own");
        assert_eq!((notes.len(), images), (1, 2));
        // It says itself that it is trained on.
        let again = DataReport { split: "train".to_owned(), ..test };
        assert_eq!(watch.data(&again).expect("meant"), (Vec::new(), 0));
    }

    #[test]
    fn another_share_of_the_same_images_is_refused() {
        let looked = |share: &str, trained: &[u64]| {
            let mut watch = watch(&[]);
            watch.data(&report("read", "train", trained, &ALL, share)).expect("first");
            watch.data(&report("kept", "validation", &[5, 6], &ALL, "0.3")).expect("later");
            watch.complete().map_err(|error| error.to_string())
        };
        let error = looked("", &ALL).expect_err("all are trained on");
        assert!(error.contains("`kept` keeps back 0.3 of the images"), "{error}");
        assert!(error.contains("`read` nothing of the same images"), "{error}");
        assert!(error.contains("2 of 2 would be in both"), "{error}");
        assert!(looked("0.2", &[1, 2, 3, 4, 5]).is_err());
        assert_eq!(looked("0.3", &[1, 2, 3, 4]).expect("kept apart")[0].2, 0);
        // Copies, where the count decides.
        assert_eq!(looked("0.3", &[1, 2, 3, 5]).expect("told")[0].2, 1);
    }

    #[test]
    fn what_was_trained_on_before_is_told() {
        let mut resumed = watch(&[1, 2, 3]);
        resumed.data(&report("read", "train", &[1, 2], &ALL, "0.5")).expect("first");
        resumed.complete().expect("nothing yet");
        let kept = report("kept", "validation", &[2, 3, 4], &[2, 3, 4], "0.5");
        let (told, images) = resumed.data(&kept).expect("another data set");
        assert!(told[1].contains("1 of the 3") && told[1].contains("was trained on before"));
        assert_eq!(images, 2);
        assert_eq!(resumed.images(), ImageSet::new(vec![1, 2, 3]));

        let mut begun = watch(&[]);
        let there = report("read", "train", &[1, 2, 3, 4], &ALL, "{ fraction: 0.2, seed: 7 }");
        let images = Some(ImageSet::new(vec![1, 2, 3, 4]));
        let began = Began { from: "runs/first".to_owned(), data: vec![there], images };
        begun.begin_with(&began);
        begun.data(&report("read", "train", &[1, 6], &ALL, "0.5")).expect("first");
        begun.complete().expect("nothing yet");
        let kept = report("kept", "validation", &[2, 3, 5], &ALL, "0.5");
        let (told, _) = begun.data(&kept).expect("kept apart here");
        assert!(told[0].contains("2 of the 3") && told[0].contains("runs/first was trained on"));
        assert!(told[0].ends_with(
            "write `validation: { fraction: 0.2, seed: 7 }` in both readers, as it was there"
        ));
        assert_eq!(begun.images(), ImageSet::new(vec![1, 2, 3, 4, 6]));

        let mut unknown = watch(&[]);
        unknown.begin_with(&Began { images: None, ..began.clone() });
        unknown.complete().expect("nothing yet");
        let (told, _) = unknown.data(&kept).expect("kept apart here");
        assert!(told[0].contains("does not say which images it was trained on"), "{told:?}");
        unknown.begin_with(&Began { images: None, data: vec![kept.clone()], ..began });
        assert!(unknown.data(&kept).expect("the same were kept back").0.is_empty());
    }

    #[test]
    fn an_evaluation_afterwards_is_compared_with_the_run() {
        let before = report("kept", "validation", &[5, 6], &ALL, "0.3");
        let renamed = DataReport { crc32c: 1, ..before.clone() };
        let trained = ImageSet::new(vec![1, 2, 3, 4]);
        assert!(afterwards(&renamed, Some(&before), Some(&trained)).is_empty());
        let other = report("kept", "validation", &[4, 5, 6], &ALL, "0.5");
        let told = afterwards(&other, Some(&before), Some(&trained));
        assert!(told[0].contains("3 images, `validation: 0.5`, checksum "), "{told:?}");
        assert!(
            told[0].contains(" now, images validation, 2 images, `validation: 0.3`"),
            "{told:?}"
        );
        assert!(told[1].starts_with("1 of the 3 images"), "{told:?}");
        let old = DataReport { identity: None, ..before };
        assert!(
            afterwards(&DataReport { crc32c: old.crc32c, ..other.clone() }, Some(&old), None)
                .is_empty()
        );
        let told = afterwards(&other, Some(&old), None);
        assert!(told.len() == 1 && told[0].contains("does not say which images"), "{told:?}");
    }

    #[test]
    fn runs_on_different_images_are_told() {
        let one = [report("kept", "validation", &[5, 6], &ALL, "0.3")];
        let mut leaky = one.clone();
        leaky[0].identity.as_mut().expect("there").trained_on = 1;
        let other = [report("kept", "validation", &[4, 6], &ALL, "{ fraction: 0.3, seed: 1 }")];
        let trains = [report("read", "train", &[1], &ALL, "")];
        assert!(beside([("a", &one[..]), ("b", &one), ("c", &trains)]).is_empty());
        let told = beside([("a", &one[..]), ("b", &other)]);
        assert!(told[0].contains("a: images validation, 2 images (0.3); b: "), "{told:?}");
        assert_eq!(
            beside([("a", &one[..]), ("b", &leaky)]),
            ["b was trained on 1 of the 2 images that `kept` evaluates on"]
        );
    }
}
