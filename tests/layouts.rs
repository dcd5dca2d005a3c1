//! Where data lies on disks, by the command: paths that lead nowhere, places that hold two data sets,
//! layouts that people have, and how their photos are taken.

mod common;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use common::{runtime, within};
use flate2::Compression;
use flate2::write::GzEncoder;
use image::{GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use serde_json::Value;
use tempfile::TempDir;

const RED: [u8; 3] = [200, 30, 40];
const BLUE: [u8; 3] = [30, 40, 200];

/// What a command did.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    /// Everything that it printed.
    text: String,
}

impl Said {
    #[track_caller]
    fn has(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.text);
        for part in parts {
            assert!(self.text.contains(part), "no {part:?} in: {}", self.text);
        }
        self
    }

    #[track_caller]
    fn lacks(self, part: &str) -> Self {
        assert!(!self.text.contains(part), "{part:?} in: {}", self.text);
        self
    }
}

/// A folder with a pipeline in `p.yaml`.
struct Place(TempDir);

impl Place {
    fn new(pipeline: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("p.yaml"), pipeline).expect("written");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path that messages have, which is absolute and without links.
    fn full(&self, below: &str) -> String {
        self.path().join(below).display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = runtime(self.path(), arguments);
        command.env("GRADFLOW_CACHE", self.path().join("cache"));
        command
    }

    fn say(&self, arguments: &[&str]) -> Said {
        ended(self.command(arguments))
    }

    /// `runtime run p.yaml --run NAME`, each of `set` behind a `--set`.
    fn run(&self, name: &str, set: &[&str]) -> Said {
        let set = set.iter().flat_map(|set| ["--set", set]);
        let arguments: Vec<&str> =
            ["run", "p.yaml", "--run", name].into_iter().chain(set).collect();
        self.say(&arguments)
    }

    fn write(&self, file: &str, content: &[u8]) {
        let path = self.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, content).expect("written");
    }

    fn paint(&self, file: &str, colour: [u8; 3]) {
        let path = self.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        RgbImage::from_pixel(16, 16, Rgb(colour)).save(path).expect("written");
    }

    /// The checksum of the images that a run was trained on.
    fn crc32c(&self, run: &str) -> u64 {
        let text = fs::read_to_string(self.path().join("runs").join(run).join("run.json"));
        let about: Value = serde_json::from_str(&text.expect("a run")).expect("JSON");
        about["data"][0]["crc32c"].as_u64().expect("a number")
    }
}

/// Runs a command to its end, which must be no panic and come soon.
#[track_caller]
fn ended(mut command: Command) -> Said {
    let output = within(common::PATIENCE, move || command.output()).expect("the command starts");
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
    assert!(!text.contains("panicked"), "{text}");
    Said { code: output.status.code(), text }
}

/// A net behind a reader of `format` with these further fields.
fn pipeline(format: &str, rest: &str, classes: usize) -> String {
    format!(
        "
steps: 1
adapter: cpu
autotune: false
stages:
  read:  {{ reader: {{ format: {format}, split: train{rest} }} }}
  batch: {{ from: read, batcher: {{ size: 4 }} }}
  net:   {{ from: batch, model: {{ layers: [ dense: {{ units: {classes} }}, softmax_cross_entropy: {{}} ] }} }}
  train: {{ from: net, reducer: {{ learning_rate: 0.00001 }} }}
"
    )
}

const PATH: &str = "stages.read.reader.path";

fn photos(more: &str) -> String {
    format!("{{ images: {{ classes: [blue, red], size_px: 8{more} }} }}")
}

#[test]
fn a_place_that_was_named_and_holds_nothing_is_an_error() {
    let place = Place::new(&pipeline("cifar10", ", path: mien", 10));
    let record = [vec![3_u8], vec![9; 3072]].concat();
    for file in [
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
        "test_batch",
    ] {
        place.write(&format!("mine/cifar-10-batches-bin/{file}.bin"), &record.repeat(8));
        // The cache that all runs share holds files of the right sizes.
        let cached = format!("cache/data/cifar10/cifar-10-batches-bin/{file}.bin");
        place.write(&cached, b"");
        let file = fs::OpenOptions::new().write(true).open(place.path().join(&cached));
        file.and_then(|file| file.set_len(30_730_000)).expect("as long as the real one");
    }
    place.write("cache/data/cifar10/cifar-10-batches-bin/batches.meta.txt", b"");
    let read =
        format!("CIFAR-10 train, 40 images, read from {}", place.full("mine/cifar-10-batches-bin"));
    place.run("mine", &[&format!("{PATH}=mine")]).has(0, &["data: ", &read]);

    fs::create_dir(place.path().join("empty")).expect("made");
    let full = place.full("mien");
    for (path, parts) in [
        ("mien", &["no such folder or file", &*full, "mine", "`path` is the only place"][..]),
        ("empty", &["an empty folder"]),
        ("~/mine", &["`~` is not expanded here"]),
        ("'$HOME/mine'", &["`$HOME` is not expanded here"]),
        ("'%USERPROFILE%/mine'", &["`%USERPROFILE%` is not expanded here"]),
        ("'${DATA}/mine'", &["write the whole path"]),
    ] {
        let otherwise = "stages.read.reader.otherwise=synthetic";
        for set in [&[&*format!("{PATH}={path}")][..], &[&format!("{PATH}={path}"), otherwise]] {
            place.run("typo", set).has(1, parts).lacks("\ndata: ").lacks("stand in for");
        }
    }
    let gone = |data: &str, arguments: &[&str]| {
        let mut command = place.command(&["run", "p.yaml", "--run", "typo"]);
        command.args(arguments).env("GRADFLOW_DATA", data);
        ended(command)
    };
    let none = format!("--set={PATH}=null");
    gone("/gone", &[&none]).has(1, &["GRADFLOW_DATA=/gone", "is the only place"]);
    // What the pipeline names goes before the environment.
    gone("mine", &[]).has(1, &["path: mien"]);
    gone("mine", &[&none]).has(0, &["40 images, read from"]);
    place.say(&["run", "p.yaml", "--data", "gone"]).has(1, &["--data gone", "is the only place"]);

    // Below another folder, `path` is not seen from where one is.
    place.write("below/p.yaml", pipeline("cifar10", ", path: mine", 10).as_bytes());
    let told = ["relative to the pipeline's folder", &place.full("below/mine")];
    place.say(&["run", "below/p.yaml"]).has(1, &told);
}

/// An IDX file.
fn idx(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    file.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    file.extend(bytes);
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).expect("memory");
    gzip.finish().expect("memory")
}

const SIDE: usize = 12;

/// A bar of three pixels' width, down for class 0 and across for class 1.
fn bar(class: usize, at: usize) -> Vec<u8> {
    let pixel = |row: usize, column: usize| {
        let (along, across) = if class == 0 { (row, column) } else { (column, row) };
        (1..11).contains(&along) && (at..at + 3).contains(&across)
    };
    (0..SIDE * SIDE).map(|n| if pixel(n / SIDE, n % SIDE) { 255 } else { 0 }).collect()
}

/// 64 bars, down and across by turns; class `c` lies as one of `lies(c)`.
fn bars(lies: impl Fn(usize) -> usize) -> Vec<u8> {
    let images: Vec<u8> = (0..64).flat_map(|n| bar(lies(n % 2), 1 + n / 2 % 7)).collect();
    idx(&[64, SIDE as u32, SIDE as u32], &images)
}

fn labels(of: impl Fn(u8) -> u8) -> Vec<u8> {
    idx(&[64], &(0..64).map(|n| of(n % 2)).collect::<Vec<u8>>())
}

/// Files of a data set, to train on and to test with.
fn write_idx(place: &Place, below: &str, images: &[u8], labels: &[u8]) {
    for split in ["train", "t10k"] {
        place.write(&format!("{below}{split}-images-idx3-ubyte"), images);
        place.write(&format!("{below}{split}-labels-idx1-ubyte"), labels);
    }
}

const DIGITS: &str = "{ idx: { classes: [tall, wide], size_px: 12 } }";

#[test]
fn of_two_data_sets_in_one_root_neither_is_guessed() {
    let place = Place::new(&pipeline(DIGITS, ", path: root", 2));
    let images = bars(|class| class);
    write_idx(&place, "root/FashionMNIST/raw/", &images, &labels(|class| class));
    let from = format!("read from {}", place.full("root/FashionMNIST/raw"));
    for data in ["root", "root/FashionMNIST", "root/FashionMNIST/raw"] {
        place.say(&["run", "p.yaml", "--data", data]).has(0, &[&*from]);
    }
    write_idx(&place, "root/MNIST/raw/", &images, &labels(|_| 0));
    let both =
        ["root/FashionMNIST/raw and ", "root/MNIST/raw hold", "not the same", "`path`", "--data"];
    place.run("both", &[]).has(1, &both).lacks("\ndata: ");
    place.say(&["run", "p.yaml", "--data", "root/FashionMNIST"]).has(0, &[&*from]);
    // One that has only what the other reader wants is no less meant.
    for file in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"] {
        fs::remove_file(place.path().join("root/FashionMNIST/raw").join(file)).expect("removed");
    }
    place.run("half", &[]).has(1, &both).lacks("\ndata: ");
}

#[test]
fn of_a_packed_and_an_unpacked_file_that_differ_neither_is_guessed() {
    let place = Place::new(&pipeline(DIGITS, ", path: d", 2));
    let right = labels(|class| class);
    write_idx(&place, "d/", &bars(|class| class), &right);
    place.write("d/train-labels-idx1-ubyte.gz", &gzip(&right));
    place.run("same", &[]).has(0, &["64 images"]);
    place.write("d/train-labels-idx1-ubyte.gz", &gzip(&labels(|class| 1 - class)));
    let told = ["train-labels-idx1-ubyte and ", "train-labels-idx1-ubyte.gz", "different data"];
    place.run("other", &[]).has(1, &told).lacks("\ndata: ");
    fs::remove_file(place.path().join("d/train-labels-idx1-ubyte.gz")).expect("removed");
    // By any of its names.
    place.write("d/train-labels.idx1-ubyte", &labels(|_| 0));
    place.run("named", &[]).has(1, &["train-labels.idx1-ubyte", "different data"]);
}

#[test]
fn of_two_places_of_one_format_neither_is_guessed() {
    let place = Place::new(&pipeline("cifar10", ", path: d", 10));
    let names = [
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
        "test_batch",
    ];
    let record = |label: u8| [vec![label], vec![9; 3072]].concat().repeat(8);
    for name in names {
        place.write(&format!("d/cifar-10-batches-bin/{name}.bin"), &record(3));
    }
    place.write("d/cifar-10-binary.tar.gz", b"an older one");
    let told = ["cifar-10-batches-bin (cifar-10-binary.tar.gz beside it is not read)"];
    place.run("unpacked", &[]).has(0, &told);
    for name in names {
        place.write(&format!("d/{name}.bin"), &record(4));
    }
    place.run("two", &[]).has(1, &["cifar-10-batches-bin hold", "not the same"]).lacks("\ndata: ");

    let place = Place::new(&pipeline("svhn", ", path: d", 10));
    place.write("d/train_32x32.mat", b"one");
    place.write("d/svhn/train_32x32.mat", b"two");
    place.run("svhn", &[]).has(1, &["d/svhn hold", "not the same"]);
}

#[test]
fn a_list_beside_a_folder_is_read_or_refused() {
    let place = Place::new(&pipeline(&photos(""), ", path: flat", 2));
    let mut rows = String::from("file,label\n");
    for number in 0..8 {
        let (class, colour) = if number % 2 == 0 { ("blue", BLUE) } else { ("red", RED) };
        place.paint(&format!("flat/train/{number}.png"), colour);
        place.paint(&format!("both/train/{class}/{number}.png"), colour);
        rows += &format!("train/{number}.png,{class}\n");
    }
    place.write("flat/train.csv", rows.as_bytes());
    let from = format!("8 images, read from {}", place.full("flat/train.csv"));
    place.run("flat", &[]).has(0, &[&*from]);
    // Kaggle's way: without folder and ending, below names of columns.
    let kaggle =
        rows.replace("train/", "").replace(".png", "").replace("file,label", "image_id,label");
    place.write("flat/train.csv", kaggle.as_bytes());
    place.run("kaggle", &[]).has(0, &[&*from]);
    assert_eq!(place.crc32c("flat"), place.crc32c("kaggle"));

    place.write("both/train.csv", b"train/blue/0.png,blue\ntrain/red/1.png,red\n");
    let path = format!("{PATH}=both");
    let told =
        ["train.csv lists images", "`lists: { train: train.csv }`", "`folders: { train: train }`"];
    place.run("both", &[&path]).has(1, &told).lacks("\ndata: ");
    let format = "stages.read.reader.format.images";
    place.run("list", &[&path, &format!("{format}.lists.train=train.csv")]).has(0, &["2 images"]);
    place.run("folders", &[&path, &format!("{format}.folders.train=train")]).has(0, &["8 images"]);
    // A list alone has no images to test with, and what to do is told.
    let split = "stages.read.reader.split=test";
    let list = format!("{PATH}=flat/train.csv");
    place
        .run("test", &[&list, split])
        .has(1, &["not divided", "lists: { train: train.csv, test: "]);
}

#[test]
fn a_folder_of_validation_images_is_named_or_told() {
    let share = ", validation: 0.5, path: photos";
    let two = |share: &str, format: &str| {
        pipeline(&format!("&f {format}"), share, 2)
            + &format!(
                "  other: {{ reader: {{ format: *f, split: validation{share} }} }}
  test:  {{ from: other, batcher: {{ size: 4, partial: keep }} }}
  score: {{ from: [test, train], model: {{}} }}
  check: {{ from: score, evaluator: {{}} }}
"
            )
    };
    let place = Place::new(&two(share, &photos("")));
    for (class, colour) in [("blue", BLUE), ("red", RED)] {
        for number in 0..4 {
            place.paint(&format!("photos/train/{class}/{number}.png"), colour);
        }
        place.paint(&format!("photos/val/{class}/0.png"), colour);
    }
    let told =
        ["photos/val is there and is not read", "folders: { train: train, validation: val }"];
    place.run("share", &[]).has(0, &told);
    let named = photos(", folders: { validation: val }");
    place.write("p.yaml", two(", path: photos", &named).as_bytes());
    place.run("named", &[]).has(0, &["train, 8 images", "on 2 images"]).lacks("is not read");
    // Not both, and no image on both sides.
    place.write("p.yaml", two(share, &named).as_bytes());
    place.run("both", &[]).has(2, &["`validation` would keep back a share"]);
    let same = photos(", folders: { train: val, validation: val }");
    place.write("p.yaml", two(", path: photos", &same).as_bytes());
    place.run("same", &[]).has(2, &["the same images would be in both"]);
}

/// Bars as EMNIST has them: rows and columns changed over.
fn turned() -> Vec<u8> {
    bars(|class| 1 - class)
}

const NET: &str = "
epochs: 20
adapter: cpu
autotune: false
stages:
  read:   { reader: { format: &f FORMAT, split: train, path: e } }
  mix:    { from: read, shuffler: {} }
  scale:  { from: mix, normalizer: { mean: 40, deviation: 90 } }
  batch:  { from: scale, batcher: { size: 16 } }
  net:    { from: batch, model: { layers: [ conv2d: { channels: 8, kernel: 5 }, relu: {}, max_pool: {}, dense: { units: 2 }, softmax_cross_entropy: {} ] } }
  train:  { from: net, reducer: { optimizer: adam, learning_rate: 0.005, moving_average: 0 } }
  read_t: { reader: { format: *f, split: test, path: e } }
  same:   { from: read_t, normalizer: { mean: 40, deviation: 90 } }
  test:   { from: same, batcher: { size: 16, partial: keep } }
  score:  { from: [test, train], model: {} }
  check:  { from: score, evaluator: {} }
";

/// The likeliest class of each photo.
fn predicted(place: &Place, arguments: &[&str]) -> Vec<String> {
    let said = place.say(&[&["predict"], arguments, &["--json", "--top", "1"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.text);
    let class = |line: &str| -> String {
        let value: Value = serde_json::from_str(line).expect("a line of JSON");
        value["predictions"][0]["class"].as_str().expect("a name").to_owned()
    };
    said.text.lines().filter(|line| line.starts_with('{')).map(class).collect()
}

#[test]
fn turned_images_are_told_and_turned_back() {
    let idx = "{ idx: { prefix: emnist-mnist-, classes: [tall, wide], size_px: 12 } }";
    let place = Place::new(&NET.replace("FORMAT", idx));
    write_idx(&place, "e/emnist-mnist-", &turned(), &labels(|class| class));
    let tall = GrayImage::from_raw(12, 12, bar(0, 5)).expect("an image");
    tall.save(place.path().join("tall.png")).expect("written");
    let warning = ["EMNIST", "rows and columns", "`transpose: true`"];
    place.say(&["check", "p.yaml"]).has(0, &warning);

    let set =
        ["read", "read_t"].map(|stage| format!("stages.{stage}.reader.format.idx.transpose=true"));
    place
        .run("upright", &[&set[0], &set[1]])
        .has(0, &["precision @ 1 = 1.000"])
        .lacks("rows and columns");
    assert_eq!(predicted(&place, &["runs/upright", "tall.png"]), ["tall"]);
    // Who wants them as they are says so.
    let set = set.map(|set| set.replace("true", "false"));
    place.run("lying", &[&set[0], &set[1], "steps=1"]).has(0, &[]).lacks("rows and columns");
}

#[test]
fn light_and_dark_change_places_where_it_is_asked_for() {
    let format = "{ idx: { classes: [tall, wide], size_px: 12 } }";
    let place = Place::new(&NET.replace("FORMAT", format));
    write_idx(&place, "e/", &bars(|class| class), &labels(|class| class));
    let ink: Vec<u8> = bar(0, 5).iter().map(|value| 255 - value).collect();
    let ink = GrayImage::from_raw(12, 12, ink).expect("an image");
    ink.save(place.path().join("ink.png")).expect("written");
    // Light on dark as they are, and the photo is brought to that.
    place.run("light", &[]).has(0, &["precision @ 1 = 1.000"]);
    assert_eq!(predicted(&place, &["runs/light", "--invert", "ink.png"]), ["tall"]);
    // Or the other way round.
    let set =
        ["read", "read_t"].map(|stage| format!("stages.{stage}.reader.format.idx.invert=true"));
    place.run("dark", &[&set[0], &set[1]]).has(0, &["precision @ 1 = 1.000"]);
    assert_eq!(predicted(&place, &["runs/dark", "ink.png"]), ["tall"]);
    assert_ne!(place.crc32c("light"), place.crc32c("dark"));
}

/// A pipeline that trains on and evaluates photos.
fn with_evaluation(more: &str) -> Place {
    let share = ", validation: 0.25, path: photos";
    let evaluation = format!(
        "  other: {{ reader: {{ format: *f, split: validation{share} }} }}
  test:  {{ from: other, batcher: {{ size: 4, partial: keep }} }}
  score: {{ from: [test, train], model: {{}} }}
  check: {{ from: score, evaluator: {{}} }}
"
    );
    let place = Place::new(&(pipeline(&format!("&f {}", photos(more)), share, 2) + &evaluation));
    for number in 0..8 {
        place.paint(&format!("photos/train/blue/{number}.png"), BLUE);
        place.paint(&format!("photos/train/red/{number}.png"), RED);
    }
    place
}

#[test]
fn predict_and_tests_take_photos_as_the_reader_does() {
    let place = with_evaluation(", alpha: refuse, grey: refuse");
    let clear = RgbaImage::from_pixel(16, 16, Rgba([255, 255, 255, 0]));
    clear.save(place.path().join("clear.png")).expect("written");
    GrayImage::from_pixel(16, 16, Luma([90])).save(place.path().join("grey.png")).expect("written");
    place.paint("red.png", RED);
    place.run("r", &[]).has(0, &[]);
    let refused = [
        "clear.png: it has an alpha channel",
        "`alpha: refuse`",
        "grey.png: it is grey",
        "`grey: refuse`",
    ];
    let photos = ["predict", "runs/r", "clear.png", "grey.png", "red.png"];
    place.say(&photos).has(1, &refused).has(1, &["red.png\n", "2 of 3 files could not be used"]);
    let text = fs::read_to_string(place.path().join("p.yaml")).expect("there");
    let tests = "tests:
  clear: { image: clear.png, stage: read, mean: 255 }
  grey:  { image: grey.png, stage: read, mean: 90 }
  red:   { image: red.png, stage: read, mean: 90 }
";
    place.write("p.yaml", (text + tests).as_bytes());
    let told = [
        "test clear ... FAILED",
        "test grey ... FAILED",
        "test red ... ok",
        "`alpha: refuse`",
        "`grey: refuse`",
    ];
    place.say(&["test", "p.yaml"]).has(1, &told);

    // Light and dark as well.
    let place = with_evaluation(", invert: true");
    place.paint("red.png", RED);
    let text = fs::read_to_string(place.path().join("p.yaml")).expect("there");
    let tests = "tests:\n  red: { image: red.png, stage: read, mean: 165 }\n";
    place.write("p.yaml", (text + tests).as_bytes());
    place.say(&["test", "p.yaml"]).has(0, &["1 passed"]);
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_never_waited_for() {
    let pipe = |path: &Path| {
        let made = Command::new("mkfifo").arg(path).status().expect("`mkfifo` is there");
        assert!(made.success());
    };
    let place = with_evaluation("");
    place.run("r", &[]).has(0, &[]);
    pipe(&place.path().join("pipe.png"));
    std::os::unix::fs::symlink("/dev/zero", place.path().join("zero.png")).expect("linked");
    let told = [
        "pipe.png: cannot read it: it is not a file but a named pipe",
        "zero.png: cannot read it: it is not a file but a device",
    ];
    place.say(&["predict", "runs/r", "pipe.png", "zero.png"]).has(1, &told);
    let tests = "tests: { pipe: { image: pipe.png, stage: read, mean: 90 } }\n";
    let text = fs::read_to_string(place.path().join("p.yaml")).expect("there");
    place.write("tests.yaml", (text + tests).as_bytes());
    place.say(&["test", "tests.yaml"]).has(1, &["it is not a file but a named pipe"]);
    let weights = place.path().join("weights.safetensors");
    pipe(&weights);
    for arguments in
        [&["predict", "weights.safetensors", "pipe.png"][..], &["eval", "weights.safetensors"]]
    {
        place
            .say(arguments)
            .has(1, &["cannot read weights.safetensors", "it is not a file but a named pipe"]);
    }
    let init = "stages.train.reducer.init_from=weights.safetensors";
    place.run("begun", &[init]).has(1, &["it is not a file but a named pipe"]);

    // In a class's folder it is passed over; on a list it is not.
    pipe(&place.path().join("photos/train/red/pipe.png"));
    place.run("passed", &[]).has(0, &["passed over, such as", "red/pipe.png"]);
    place.write(
        "list.csv",
        b"photos/train/red/pipe.png,red\nphotos/train/red/0.png,red\nphotos/train/blue/0.png,blue",
    );
    place.write("l.yaml", pipeline(&photos(""), ", path: list.csv", 2).as_bytes());
    place
        .say(&["run", "l.yaml"])
        .has(1, &["red/pipe.png", "line 1", "it is not a file but a named pipe"]);
    let skip = "stages.read.reader.format.images.damaged=skip";
    place
        .say(&["run", "l.yaml", "--set", skip])
        .has(0, &["1 of 3 images are left out (1 of 2 of `red`)"]);

    // Nor in place of a list, of records, of an archive or of packed files.
    place.write("empty/nothing", b"");
    for (format, file, path, classes) in [
        (photos(""), "lists/train.csv", "lists", 2),
        (photos(""), "list", "list", 2),
        ("cifar10".to_owned(), "cifar/data_batch_1.bin", "cifar", 10),
        ("cifar10".to_owned(), "cifar.tar.gz", "cifar.tar.gz", 10),
        (DIGITS.to_owned(), "idx/train-images-idx3-ubyte", "idx", 2),
        ("svhn".to_owned(), "svhn/train_32x32.mat", "svhn", 10),
    ] {
        let path_of = place.path().join(file);
        fs::create_dir_all(path_of.parent().expect("a folder")).expect("made");
        pipe(&path_of);
        if format == DIGITS {
            place.write("idx/train-labels-idx1-ubyte", &labels(|class| class));
        }
        for number in 2..6 {
            place.write(&format!("cifar/data_batch_{number}.bin"), &[0; 3073]);
        }
        place.write("n.yaml", pipeline(&format, &format!(", path: {path}"), classes).as_bytes());
        place.say(&["run", "n.yaml"]).has(1, &["it is not a file but a named pipe"]);
    }
}

#[test]
fn photos_that_are_left_out_are_told_by_class() {
    let place = with_evaluation(", damaged: skip");
    for number in 0..3 {
        place.write(&format!("photos/train/red/{number}.png"), b"no image");
    }
    place.run("some", &[]).has(0, &["3 of 16 images are left out (3 of 8 of `red`)", "red/0.png"]);
    for number in 0..8 {
        place.write(&format!("photos/train/red/{number}.png"), b"no image");
    }
    place.run("all", &[]).has(1, &["no image of class `red` is left", "8 of 8 of `red`"]);
}

#[test]
fn a_header_that_claims_more_than_a_file_can_hold_is_refused_at_once() {
    let place = with_evaluation("");
    place.run("r", &[]).has(0, &[]);
    // A JPEG of 8 x 8 pixels, and then of 9,999 x 9,999 by its header.
    let path = place.path().join("small.jpg");
    RgbImage::from_pixel(8, 8, Rgb(RED)).save(&path).expect("written");
    let mut bytes = fs::read(&path).expect("there");
    let frame = bytes.windows(2).position(|mark| mark == [0xff, 0xc0]).expect("a frame");
    bytes[frame + 5..frame + 9].copy_from_slice(&[0x27, 0x0f, 0x27, 0x0f]);
    place.write("claims.jpg", &bytes);
    let told = ["claims.jpg: it has 9999 x 9999 pixels by its header", "cannot hold so many"];
    place
        .say(&["predict", "runs/r", "claims.jpg", "small.jpg"])
        .has(1, &told)
        .has(1, &["small.jpg\n"]);
    // Pictures of one colour are as small as it gets, and are read.
    let plain = RgbImage::from_pixel(3000, 3000, Rgb(BLUE));
    for name in ["plain.png", "plain.jpg"] {
        plain.save(place.path().join(name)).expect("written");
    }
    place
        .say(&["predict", "runs/r", "plain.png", "plain.jpg"])
        .has(0, &["plain.png\n", "plain.jpg\n"]);
}

/// An array of a MATLAB file: name, class, sizes, and zeros as bytes.
fn zeros_of_matlab(name: u8, sizes: [u32; 2]) -> Vec<u8> {
    let part = |kind: u32, bytes: &[u8]| {
        let mut part = [kind.to_le_bytes(), (bytes.len() as u32).to_le_bytes()].concat();
        part.extend(bytes);
        part.resize(part.len().next_multiple_of(8), 0);
        part
    };
    let zeros = vec![0; sizes.map(|size| size as usize).iter().product()];
    let sizes: Vec<u8> = sizes.into_iter().flat_map(u32::to_le_bytes).collect();
    // An array (14) of bytes (class 9).
    let body =
        [part(6, &[9, 0, 0, 0, 0, 0, 0, 0]), part(5, &sizes), part(1, &[name]), part(2, &zeros)];
    part(14, &body.concat())
}

#[cfg(target_os = "linux")]
#[test]
fn files_that_unpack_to_more_than_the_memory_are_refused() {
    const LIMITED: &str = "ulimit -v 2500000 && exec \"$0\" run p.yaml";
    let limited = |place: &Place| {
        let mut command = Command::new("sh");
        command.args(["-c", LIMITED, env!("CARGO_BIN_EXE_runtime")]).current_dir(place.path());
        common::offline(&mut command);
        ended(command)
    };
    // A megabyte of zeros takes a thousand bytes: 3 GB by the header and in the file.
    let place = Place::new(&pipeline(DIGITS, ", path: d", 2));
    let megabyte = 1_000_000 / 144 * 144;
    let images = (megabyte / 144) as u32;
    let mut bomb = gzip(&idx(&[3_000 * images, 12, 12], &[]));
    bomb.extend(gzip(&vec![0; megabyte]).repeat(3_000));
    place.write("d/train-images-idx3-ubyte.gz", &bomb);
    place.write("d/train-labels-idx1-ubyte", &labels(|class| class));
    limited(&place).has(1, &["train-images-idx3-ubyte.gz", "do not fit into memory"]);
    // A file of 99 bytes that says so of itself.
    place.write("d/train-images-idx3-ubyte.gz", &idx(&[100_000_000, 12, 12], &[0; 99]));
    limited(&place).has(1, &["14,400,000,000 bytes", "it has 99"]);

    // Labels that are numbers of eight bytes once they are read.
    let place = Place::new(&pipeline("svhn", ", path: d", 10));
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(&zeros_of_matlab(b'y', [200_000_000, 1])).expect("memory");
    let zlib = zlib.finish().expect("memory");
    let mut file = b"MATLAB 5.0 MAT-file, made up".to_vec();
    file.resize(124, b' ');
    file.extend(b"\x00\x01IM");
    file.extend([15_u32.to_le_bytes(), (zlib.len() as u32).to_le_bytes()].concat());
    file.extend(zlib);
    place.write("d/train_32x32.mat", &file);
    limited(&place).has(1, &["label 0 (counted from 0) is 0"]);
}

#[test]
fn credentials_of_a_mirror_are_never_shown() {
    let otherwise = ", otherwise: { synthetic: { train: 20, test: 10 } }";
    let place = Place::new(&pipeline("cifar10", otherwise, 10));
    let runtime = |arguments: &[&str], mirror: &str| {
        let mut command = place.command(arguments);
        command.env_remove("GRADFLOW_OFFLINE").env("GRADFLOW_MIRROR", mirror);
        command.env("NO_PROXY", "127.0.0.1");
        ended(command)
    };
    for mirror in
        ["http://me:secret@127.0.0.1:9", "me:secret@127.0.0.1", "http://me:secret@127.0.0.1:9/?a"]
    {
        let said = runtime(&["run", "p.yaml", "--run", "r"], mirror);
        said.has(0, &["stand in for it", "***@127.0.0.1"]).lacks("secret");
        for file in ["log.txt", "report.html", "run.json", "metrics.jsonl", "pipeline.yaml"] {
            let text = fs::read_to_string(place.path().join("runs/r").join(file)).expect(file);
            assert!(!text.contains("secret"), "{file}: {text}");
        }
        fs::remove_dir_all(place.path().join("runs")).expect("removed");
        let code = if mirror.ends_with('9') { 1 } else { 2 };
        runtime(&["fetch", "svhn"], mirror).has(code, &["***@127.0.0.1"]).lacks("secret");
        runtime(&["fetch", "svhn", "--mirror", mirror], "")
            .has(code, &["***@127.0.0.1"])
            .lacks("secret");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_machine_without_threads_left_is_told() {
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::new(&pipeline("{ synthetic: { train: 20, test: 10 } }", "", 10));
    let open = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("allowed");
    };
    open(place.path());
    let program = place.path().join("runtime");
    fs::copy(env!("CARGO_BIN_EXE_runtime"), &program).expect("copied");
    open(&program);
    let with_threads = |most: u32| {
        let limited = format!("ulimit -u {most} && exec ./runtime run p.yaml");
        // Nothing limits root.
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c", &limited];
        let mut command = Command::new("setpriv");
        command.args(nobody).current_dir(place.path());
        common::offline(&mut command).env("GRADFLOW_CACHE", place.path().join("cache"));
        command
    };
    // Only root may become nobody.
    if !with_threads(1000).output().is_ok_and(|output| output.status.success()) {
        return common::skip("root and `setpriv`");
    }
    let said: Vec<Said> = (1..=8).map(|most| ended(with_threads(most))).collect();
    let told = |stage: &str| {
        said.iter()
            .any(|said| said.text.contains(stage) && said.text.contains("could not start a thread"))
    };
    assert!(told("stage read"), "{said:#?}");
}
