//! What YAML says, as the command understands it: values behind anchors, numbers and names that can
//! be written in several ways, and backslashes.

mod common;

use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use tempfile::TempDir;

use common::{Ran, finish, runtime, with_settings};

/// Two readers that share a format, an anchored stage, and maps that merge another.
const SHARED: &str = "
epochs: 1
adapter: cpu
autotune: false
stages:
  read:   { reader: { format: &f { images: { classes: 2, size_px: &size 24 } }, split: train, path: photos } }
  crop:   { from: read, cropper: &crop { size: 16, mode: central } }
  batch:  { from: crop, batcher: { size: 4 } }
  net:    { from: batch, model: { layers: [ dense: { units: 2 }, softmax_cross_entropy: {} ] } }
  train:  { from: net, reducer: {} }
  read_t: { reader: { format: *f, split: test, path: photos } }
  centre: { from: read_t, cropper: { <<: *crop, workers: 2 } }
  test:   { from: centre, batcher: { size: 4, partial: keep } }
  score:  { from: [test, train], model: {} }
  check:  { from: score, evaluator: {} }
allow: [flows_differ]
";

const SIZE: &str = "stages.read.reader.format.images.size_px";
const SIZE_T: &str = "stages.read_t.reader.format.images.size_px";

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

    /// Exit status, output and errors.
    fn say(&self, arguments: &[&str], set: &[&str]) -> (i32, String, String) {
        let Ran { status, out, told } =
            finish(runtime(self.path(), &with_settings(arguments, set)));
        (status.expect("an exit status"), out, told)
    }

    /// What `check` says the stages put out, by their names, and its notes.
    fn check(&self, set: &[&str]) -> (impl Fn(&str) -> String + use<>, String) {
        let (status, out, told) = self.say(&["check", "p.yaml"], set);
        assert_eq!(status, 0, "{told}");
        // Notes are part of what `check` prints; warnings are told beside it.
        let notes = out.lines().filter(|line| line.starts_with("note: "));
        let told = notes.map(|note| format!("{note}\n")).collect::<String>() + &told;
        let puts_out = move |stage: &str| {
            let row = out.lines().find(|line| line.split_whitespace().next() == Some(stage));
            let row = row.unwrap_or_else(|| panic!("no {stage} in {out}"));
            row[row.find('[').expect("a shape")..].trim().to_owned()
        };
        (puts_out, told)
    }

    fn refused(&self, set: &[&str]) -> String {
        let (status, _, told) = self.say(&["check", "p.yaml"], set);
        assert_eq!(status, 2, "{told}");
        told
    }
}

#[test]
fn a_value_behind_an_anchor_is_set_wherever_it_stands() {
    let place = Place::new(SHARED);
    for (set, other) in [(SIZE, SIZE_T), (SIZE_T, SIZE)] {
        let (puts_out, told) = place.check(&[&format!("{set}=48")]);
        assert_eq!(
            (puts_out("read"), puts_out("read_t")),
            ("[48, 48, 3]".into(), "[48, 48, 3]".into())
        );
        let note = format!("note: `--set {set}` also changes `{other}`, which is the same value");
        assert!(told.starts_with(&note), "{told}");
        assert!(told.contains("line 6)"), "{told}");
        assert_eq!(told.trim_end().lines().count(), 1, "{told}");
    }
    // A field that the file leaves out.
    let (_, told) = place.check(&["stages.read_t.reader.format.images.damaged=skip"]);
    assert!(told.contains("also changes `stages.read.reader.format.images.damaged`"), "{told}");
    assert!(told.contains("(`&f`, line 6)"), "{told}");
    // The whole value at its anchor.
    let (puts_out, told) =
        place.check(&["stages.read.reader.format={ images: { classes: 2, size_px: 20 } }"]);
    assert_eq!(
        (puts_out("read"), puts_out("read_t")),
        ("[20, 20, 3]".into(), "[20, 20, 3]".into())
    );
    assert!(told.contains("also changes `stages.read_t.reader.format`"), "{told}");
}

#[test]
fn places_that_are_named_keep_what_is_said_of_them() {
    let place = Place::new(SHARED);
    for [first, second] in [[SIZE, SIZE_T], [SIZE_T, SIZE]] {
        let value = |of: &str| if of == SIZE { "48" } else { "32" };
        let set = [format!("{first}={}", value(first)), format!("{second}={}", value(second))];
        let (puts_out, told) = place.check(&[&set[0], &set[1]]);
        assert_eq!(
            (puts_out("read"), puts_out("read_t")),
            ("[48, 48, 3]".into(), "[32, 32, 3]".into())
        );
        assert_eq!(told, "");
    }
}

#[test]
fn an_alias_and_a_merged_key_are_replaced_alone_and_that_is_said() {
    let place = Place::new(SHARED);
    let (puts_out, told) =
        place.check(&["stages.read_t.reader.format={ images: { classes: 2, size_px: 40 } }"]);
    assert_eq!(
        (puts_out("read"), puts_out("read_t")),
        ("[24, 24, 3]".into(), "[40, 40, 3]".into())
    );
    let note = "note: `--set stages.read_t.reader.format` leaves `stages.read.reader.format` as it \
                is, which is the same value (`&f`, line 6)";
    assert!(told.starts_with(note), "{told}");
    // A map that merges another: its own key goes before that of the other.
    let (puts_out, told) =
        place.check(&["stages.centre.cropper.mode=central", "stages.centre.cropper.workers=1"]);
    assert_eq!(puts_out("centre"), "[16, 16, 3]");
    assert!(told.contains("leaves `stages.crop.cropper.mode` as it is"), "{told}");
    // What it merges changes it as well, unless it has the key itself.
    let (puts_out, told) = place.check(&["stages.crop.cropper.size=12"]);
    assert_eq!(
        (puts_out("crop"), puts_out("centre")),
        ("[12, 12, 3]".into(), "[12, 12, 3]".into())
    );
    assert!(told.contains("also changes `stages.centre.cropper.size`"), "{told}");
    let (_, told) = place.check(&["stages.crop.cropper.workers=1"]);
    assert!(!told.contains("also"), "{told}");
}

#[test]
fn what_is_wrong_at_the_other_place_is_blamed_on_the_command_line() {
    let place = Place::new(SHARED);
    let told = place.refused(&[&format!("{SIZE_T}=none")]);
    assert!(told.contains("--> command line"), "{told}");
    assert_eq!(told.matches("error: ").count(), 2, "{told}");
    assert!(!told.contains("p.yaml"), "{told}");
}

/// A pipeline without evaluation, with this in the place of its parts.
fn small(top: &str, reader: &str, batch: &str) -> String {
    format!(
        "{top}\nadapter: cpu\nautotune: false\nstages:\n  read:  {{ reader: {reader} }}\n  \
         batch: {{ from: read, batcher: {{ size: {batch} }} }}\n  net:   {{ from: batch, model: \
         {{ layers: [ dense: {{ units: 10 }}, softmax_cross_entropy: {{}} ] }} }}\n  train: {{ \
         from: net, reducer: {{ learning_rate: 1.0e-6 }} }}\n"
    )
}

/// The same with two classes.
fn two(top: &str, reader: &str, batch: &str) -> String {
    small(top, reader, batch).replace("units: 10", "units: 2")
}

const DRAWN: &str = "{ format: { synthetic: { train: 64 } }, split: train }";

#[test]
fn a_whole_number_may_be_written_as_any_number() {
    let place = Place::new(&small("steps: 1e3", DRAWN, "16.0"));
    assert_eq!(place.check(&[]).0("batch"), "[32, 32, 3]");
    let (status, out, told) =
        place.say(&["check", "p.yaml"], &["steps=2.5e1", "stages.batch.batcher.size=8.0"]);
    assert_eq!(status, 0, "{told}");
    assert!(out.contains("batches 8 x"), "{out}");
    let (status, _, told) = place.say(&["run", "p.yaml"], &["steps=0.2e1"]);
    assert_eq!(status, 0, "{told}");
    let kept = fs::read_to_string(place.path().join("runs/p-001/pipeline.yaml")).expect("kept");
    assert!(kept.contains("steps: 2\n") && kept.contains("size: 16\n"), "{kept}");
    // Through lists and visitors, too.
    let crop = "stages.read={ reader: { format: { images: { classes: 1e1, size_px: [8.0, 1.2e1] } }, split: train, path: none } }";
    assert_eq!(place.check(&[crop]).0("read"), "[8, 12, 3]");
    for (set, found) in
        [("steps=1.50", "`1.50`"), ("steps=15e-1", "`15e-1`"), ("steps=1e30", "`1e30`")]
    {
        let told = place.refused(&[set]);
        let message = format!("expected a whole number for `steps`, found {found}");
        assert!(told.contains(&message), "{told}");
    }
    let told = place.refused(&["stages.crop={ from: read, cropper: { size: 2.50 } }"]);
    assert!(told.contains("found `2.50`") || told.contains("no `crop`"), "{told}");
    let told = place.refused(&["stages.batch.batcher.size=1.60e1x"]);
    assert!(told.contains("found \"1.60e1x\""), "{told}");
}

fn paint(path: &Path, colour: u8) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    RgbImage::from_pixel(8, 8, Rgb([colour, 30, 255 - colour])).save(path).expect("written");
}

#[test]
fn names_are_taken_as_they_are_written() {
    for names in [
        ["0x10", "0x11"],
        ["0o10", "0o11"],
        ["0b10", "0b11"],
        ["-1", "+1"],
        ["1e3", "2e3"],
        ["010", "10"],
        ["yes", "no"],
        ["on", "off"],
        ["True", "FALSE"],
        ["1_000", "2024-01-02"],
        ["1.0", "1.50"],
        [".inf", ".NaN"],
        ["12345678901234567890", "9e99"],
    ] {
        let reader = format!(
            "{{ format: {{ images: {{ classes: [{}, {}], size_px: 8 }} }}, split: train, path: 2024 }}",
            names[0], names[1]
        );
        let text = two("steps: 1", &reader, "2");
        let place = Place::new(&text);
        for (name, colour) in names.iter().zip([20, 200]) {
            for number in 0..2 {
                paint(&place.path().join(format!("2024/train/{name}/{number}.png")), colour);
            }
        }
        let (status, out, told) = place.say(&["run", "p.yaml"], &[]);
        assert_eq!(status, 0, "{names:?}: {out}{told}");
        let about =
            fs::read_to_string(place.path().join("runs/p-001/pipeline.yaml")).expect("kept");
        // What is kept is read again, as the same names.
        fs::write(place.path().join("p.yaml"), about).expect("written");
        let (status, out, told) = place.say(&["run", "p.yaml"], &["steps=2"]);
        assert_eq!(status, 0, "{names:?}: {out}{told}");
    }
    for nothing in ["null", "~", "Null"] {
        let reader = format!(
            "{{ format: {{ images: {{ classes: [a, {nothing}], size_px: 8 }} }}, split: train }}"
        );
        let told = Place::new(&small("steps: 1", &reader, "2")).refused(&[]);
        assert!(told.contains("a name is put in quotes"), "{told}");
    }
    // Names of stages and of a run.
    let text = small("steps: 1\nname: 0x10", DRAWN, "2");
    let place = Place::new(&text.replace("from: batch", "from: 0x1F").replace("batch:", "0x1F:"));
    let (status, _, told) = place.say(&["run", "p.yaml"], &[]);
    assert_eq!(status, 0, "{told}");
    assert!(place.path().join("runs/0x10-001").is_dir());
}

#[test]
fn a_backslash_in_double_quotes_is_explained() {
    let reader = |path: &str| {
        format!(
            "{{ format: {{ images: {{ classes: [blue, red], size_px: 8 }} }}, split: train, path: {path} }}"
        )
    };
    let place = Place::new(&two("steps: 1", &reader(r#""photos\train""#), "4"));
    let (_, _, told) = place.say(&["run", "p.yaml"], &[]);
    assert!(told.starts_with("warning: this text holds a tab"), "{told}");
    for part in
        ["p.yaml:5:", "in double quotes a backslash begins an escape", "'..', or paths with /"]
    {
        assert!(told.contains(part), "no {part} in {told}");
    }
    assert!(told.contains(r"photos\train") && !told.contains('\t'), "{told}");
    let (status, out, told) = place.say(&["check", "p.yaml"], &[]);
    assert_eq!(status, 0, "{out}");
    assert!(told.contains("holds a tab"), "{told}");
    // The same on the command line.
    let (_, _, told) = place.say(&["check", "p.yaml"], &[r#"stages.read.reader.path="a\name""#]);
    assert!(told.contains("holds a line end"), "{told}");
    let told = place.refused(&[r#"stages.read.reader.path="C:\Users""#]);
    assert!(told.contains("in double quotes a backslash begins an escape"), "{told}");
    for path in [r#""C:\Users\me""#, r#""C:\data""#, r#""D:\xyz""#] {
        let told = Place::new(&two("steps: 1", &reader(path), "4")).refused(&[]);
        assert!(told.contains("in double quotes a backslash begins an escape"), "{told}");
    }
    let place = Place::new(&two("steps: 1", &reader(r"'photos\train'"), "4"));
    assert_eq!(place.check(&[]).1, "");
}
