//! What `check` and `run` remark on pipelines that can run: each remark has a name, is made where it
//! applies and nowhere else, and is switched off by `allow`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use common::{finish, runtime};

/// A pipeline on which nothing is remarked.
const GOOD: &str = "
epochs: 4
adapter: cpu
autotune: false
stages:
  read: { reader: { format: { synthetic: { train: 64, test: 32 } }, split: train } }
  mix: { from: read, shuffler: {} }
  crop: { from: mix, cropper: { size: 24 } }
  scale: { from: crop, normalizer: { mean: [125.3, 122.95, 113.87], deviation: [62.99, 62.09, 66.7] } }
  batch: { from: scale, batcher: { size: 16 } }
  net:
    from: batch
    model:
      layers:
        - conv2d: { channels: 4, kernel: 5, stride: 4 }
        - relu: {}
        - dense: { units: 16 }
        - relu: {}
        - dense: { units: 10 }
        - softmax_cross_entropy: {}
  train: { from: net, reducer: { learning_rate: 0.01, moving_average: 0 } }
  read_t: { reader: { format: { synthetic: { train: 64, test: 32 } }, split: test } }
  middle: { from: read_t, cropper: { size: 24, mode: central } }
  same: { from: middle, normalizer: { mean: [125.3, 122.95, 113.87], deviation: [62.99, 62.09, 66.7] } }
  test: { from: same, batcher: { size: 16, partial: keep } }
  score: { from: [test, train], model: {} }
  check: { from: score, evaluator: {} }
";

/// What a command said, on both of its outputs.
struct Said {
    status: Option<i32>,
    all: String,
}

impl Said {
    /// The names of what was remarked, each as often as it was.
    fn names(&self) -> Vec<&str> {
        self.all
            .lines()
            .filter_map(|line| {
                let (kind, rest) = line.split_once('[')?;
                matches!(kind, "warning" | "note").then(|| rest.split(']').next())?
            })
            .collect()
    }
}

fn say(folder: &Path, arguments: &[&str]) -> Said {
    let ran = finish(runtime(folder, arguments));
    Said { status: ran.status, all: ran.all() }
}

/// A folder with a pipeline in `p.yaml`.
fn folder(text: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("p.yaml"), text).expect("the pipeline is written");
    folder
}

/// What `check` says of a pipeline.
fn check(text: &str) -> Said {
    let said = say(folder(text).path(), &["check", "p.yaml"]);
    assert_eq!(said.status, Some(0), "{}", said.all);
    said
}

/// The good pipeline with parts of it replaced.
fn with(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(GOOD.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in the pipeline");
        text.replace(from, to)
    })
}

/// Asserts that this alone is remarked, in these words, and that it can be switched off.
#[track_caller]
fn remarked(changes: &[(&str, &str)], name: &str, parts: &[&str]) {
    let text = with(changes);
    let said = check(&text);
    assert_eq!(said.names(), [name], "{changes:?}: {}", said.all);
    for part in parts {
        assert!(said.all.contains(part), "{part:?} is not told: {}", said.all);
    }
    let allowed = format!("allow: [{name}]{text}");
    let said = check(&allowed);
    assert_eq!(said.names(), Vec::<&str>::new(), "{}", said.all);
}

/// Asserts that nothing is.
#[track_caller]
fn silent(changes: &[(&str, &str)]) {
    let said = check(&with(changes));
    assert_eq!(said.names(), Vec::<&str>::new(), "{changes:?}: {}", said.all);
}

const SAME: &str = "  same: { from: middle, normalizer: { mean: [125.3, 122.95, 113.87], deviation: [62.99, 62.09, 66.7] } }\n";
const MIDDLE: &str = "cropper: { size: 24, mode: central }";
const CROP: &str = "crop: { from: mix, cropper: { size: 24 } }";
const SCALE: &str = "  scale: { from: crop, normalizer: { mean: [125.3, 122.95, 113.87], deviation: [62.99, 62.09, 66.7] } }\n";

fn yaml_files(folder: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            yaml_files(path.to_str().expect("text"), found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn nothing_is_warned_of_in_the_pipelines_of_the_repository() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("pipeline.yaml")];
    for folder in ["examples", "benches"] {
        yaml_files(root.join(folder).to_str().expect("text"), &mut files);
    }
    assert!(files.len() > 15, "{files:?}");
    for file in files {
        if file.ends_with("my_stage/pipeline.yaml") {
            // Has a stage of its own, which its own program knows.
            continue;
        }
        let said = say(root, &["check", file.to_str().expect("text")]);
        assert_eq!(said.status, Some(0), "{}: {}", file.display(), said.all);
        assert!(!said.all.contains("warning"), "{}: {}", file.display(), said.all);
        // The tutorial's recipe has a brightness that its whitening takes out again.
        let tutorials = said.names().iter().all(|name| *name == "cancelled");
        assert!(tutorials, "{}: {}", file.display(), said.all);
    }
    silent(&[]);
}

#[test]
fn what_is_done_to_images_in_one_flow_only_is_told_with_both_places() {
    // Without the normaliser, and with others of its kind.
    remarked(
        &[(SAME, ""), ("from: same", "from: middle")],
        "flows_differ",
        &[
            "`scale` (normalizer) changes the images that `train` trains on",
            "p.yaml:9:",
            "p.yaml:24:",
        ],
    );
    remarked(
        &[(SAME, "  same: { from: middle, whitening: {} }\n")],
        "flows_differ",
        &[
            "`scale` (normalizer) changes",
            "and `same` (whitening) those",
            "p.yaml:9:",
            "p.yaml:24:",
        ],
    );
    remarked(
        &[(
            SAME,
            "  same: { from: middle, normalizer: { mean: 0, deviation: [62.99, 62.09, 66.7] } }\n",
        )],
        "flows_differ",
        &["`mean` [125.3, 122.95, 113.87]", "`mean` 0", "p.yaml:9:", "p.yaml:24:"],
    );
    remarked(
        &[(SCALE, ""), ("from: scale", "from: crop")],
        "flows_differ",
        &["`same` (normalizer) changes the images that `score` evaluates"],
    );
    // What chance decides nothing about is no augmentation.
    remarked(
        &[(
            CROP,
            "crop: { from: grey, cropper: { size: 24 } }\n  grey: { from: mix, color_jitter: { hue: false, saturation: { lower: 0, upper: 0, probability: 1 } } }",
        )],
        "flows_differ",
        &["`grey` (color_jitter)"],
    );
    // A number for all channels is the same as one for each.
    let one = "normalizer: { mean: 120, deviation: 64 }";
    let each = "normalizer: { mean: [120, 120, 120.0], deviation: 64 }";
    silent(&[
        (SCALE, &format!("  scale: {{ from: crop, {one} }}\n")),
        (SAME, &format!("  same: {{ from: middle, {each} }}\n")),
    ]);
}

#[test]
fn the_order_of_what_is_done_to_images_is_compared() {
    let other = "  other: { from: OF, whitening: {} }\n";
    let [train, test] = ["scale", "same"].map(|of| other.replace("OF", of));
    let behind = [("from: scale", "from: white"), ("from: same", "from: standard")];
    let train = train.replace("other:", "white:");
    let test = test.replace("other:", "standard:");
    let both = [(SCALE, format!("{SCALE}{train}")), (SAME, format!("{SAME}{test}"))];
    let text = both.iter().fold(with(&behind), |text, (from, to)| text.replace(from, to));
    assert_eq!(check(&text).names(), Vec::<&str>::new());
    let swapped = text
        .replace("same: { from: middle", "same: { from: standard")
        .replace("standard: { from: same", "standard: { from: middle")
        .replace("test: { from: standard", "test: { from: same");
    let said = check(&swapped);
    assert_eq!(said.names(), ["flows_differ"], "{}", said.all);
    assert!(said.all.contains("in another order"), "{}", said.all);
    // Whitening before the images are cut takes other pixels into account than after it.
    let early = with(&[
        (SCALE, "  scale: { from: crop, whitening: {} }\n"),
        (
            "middle: { from: read_t, cropper: { size: 24, mode: central } }",
            "same: { from: read_t, whitening: {} }",
        ),
        (SAME, "  middle: { from: same, cropper: { size: 24, mode: central } }\n"),
        ("test: { from: same", "test: { from: middle"),
    ]);
    let said = check(&early);
    assert_eq!(said.names(), ["flows_differ"], "{}", said.all);
    assert!(said.all.contains("24x24 pixels") && said.all.contains("32x32"), "{}", said.all);
}

#[test]
fn what_is_seen_has_one_size_in_both_flows() {
    remarked(
        &[(MIDDLE, "resizer: { size: 24, mode: whole }")],
        "flows_differ",
        &["32x32 pixels (`read`, reader)", "24x24 pixels (`middle`, resizer)"],
    );
    remarked(
        &[(CROP, "crop: { from: mix, resizer: { size: 24, mode: whole } }")],
        "flows_differ",
        &["24x24 pixels (`crop`, resizer)"],
    );
    // Half and less of each side at most, where all of it is evaluated.
    remarked(
        &[
            (
                CROP,
                "crop: { from: mix, resizer: { size: 24, area: [0.05, 0.15], aspect: [1, 1] } }",
            ),
            (MIDDLE, "resizer: { size: 24, mode: whole }"),
        ],
        "flows_differ",
        &["a whole image has"],
    );
    // A random part is resized, and evaluation is within what that makes.
    for middle in [MIDDLE, "resizer: { size: 24, mode: whole }"] {
        silent(&[(CROP, "crop: { from: mix, resizer: { size: 24 } }"), (MIDDLE, middle)]);
    }
    // Padding and cutting scale nothing.
    silent(&[
        (CROP, "crop: { from: mix, cropper: { size: 32, padding: { pixels: 4 } } }"),
        ("same: { from: middle", "same: { from: read_t"),
        ("  middle: { from: read_t, cropper: { size: 24, mode: central } }\n", ""),
    ]);
    silent(&[(MIDDLE, "cropper: { size: 24, mode: central, views: 10 }")]);
    // Photos that are read at another size before the same window is cut.
    let images = |size: usize, more: &str| {
        format!(
            "format: {{ images: {{ classes: [a, b, c, d, e, f, g, h, i, j], size_px: {size}{more} }} }}, split: "
        )
    };
    let drawn = "format: { synthetic: { train: 64, test: 32 } }, split: ";
    let photos = |train: &str, test: &str| {
        let text = GOOD.replacen(drawn, train, 1).replacen(drawn, test, 1);
        let said = check(&text);
        (said.names().iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), said.all)
    };
    assert_eq!(photos(&images(40, ""), &images(40, "")).0, Vec::<String>::new());
    let (names, all) = photos(&images(40, ""), &images(32, ""));
    assert_eq!(names, ["flows_differ"], "{all}");
    assert!(all.contains("40x40 pixels") && all.contains("32x32 pixels"), "{all}");
    let (names, all) = photos(&images(40, ", alpha: refuse"), &images(40, ""));
    assert_eq!(names, ["flows_differ"], "{all}");
    assert!(all.contains("`alpha` `refuse`") && all.contains("`alpha` `white`"), "{all}");
    let skipping = images(40, ", damaged: skip");
    assert_eq!(photos(&skipping, &images(40, "")).0, Vec::<String>::new());
    let named = [", folders: { train: a }", ", lists: { test: b.csv }", ", invert: false"];
    for more in named {
        assert_eq!(photos(&images(40, more), &images(40, "")).0, Vec::<String>::new(), "{more}");
    }
}

#[test]
fn chance_in_an_evaluation_is_told_and_augmentation_is_not() {
    silent(&[(
        SCALE,
        &format!(
            "  flip: {{ from: crop, distorter: {{}} }}\n  hide: {{ from: flip, cutout: {{}} }}\n{}",
            SCALE.replace("from: crop", "from: hide")
        ),
    )]);
    remarked(
        &[(MIDDLE, "cropper: { size: 24 }")],
        "random_evaluation",
        &["middle: ", "set `mode: central`"],
    );
    remarked(
        &[
            ("from: same", "from: flip"),
            (
                SAME,
                &format!(
                    "{SAME}  flip: {{ from: same, distorter: {{ brightness: false, contrast: false }} }}\n"
                ),
            ),
        ],
        "random_evaluation",
        &["flip: the images that `score` evaluates are changed at random"],
    );
}

#[test]
fn settings_that_few_people_mean_are_told_in_one_line() {
    let note = |changes: &[(&str, &str)], name: &str, parts: &[&str]| {
        remarked(changes, name, parts);
        let said = check(&with(changes));
        let line = said.all.lines().find(|line| line.contains(&format!("note[{name}]: p.yaml:")));
        let line = line.unwrap_or_else(|| panic!("no line of {name}: {}", said.all));
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    };
    let last = "        - dense: { units: 10 }\n";
    for (layer, part) in [
        ("softmax", "the loss has a softmax of its own"),
        ("relu", "takes away all negative scores"),
        ("gelu", "negative scores"),
        ("silu", "negative scores"),
    ] {
        note(
            &[(last, &format!("{last}        - {layer}: {{}}\n"))],
            "activation_before_loss",
            &[part],
        );
    }
    note(
        &[(last, &format!("{last}        - dropout: {{}}\n"))],
        "dropout_before_loss",
        &["p.yaml:20:"],
    );
    note(
        &[(
            "        - dense: { units: 16 }\n        - relu: {}\n",
            "        - dense: { units: 16 }\n",
        )],
        "linear_layers",
        &["nothing nonlinear is between `dense1` and `dense2`"],
    );
    // Statistics, means and dropping change nothing about that; neither does a convolution.
    for between in ["batch_norm", "dropout", "avg_pool"] {
        let conv = "stride: 4 }\n        - relu: {}\n";
        let linear = format!("stride: 4 }}\n        - {between}: {{}}\n");
        note(&[(conv, &linear)], "linear_layers", &["`conv2d1` and `dense1`"]);
    }
    let norm = |momentum: &str| {
        format!("stride: 4 }}\n        - batch_norm: {{ momentum: {momentum} }}\n")
    };
    note(
        &[("stride: 4 }\n", &norm("0.99"))],
        "batch_norm_momentum",
        &["what TensorFlow and Keras call 0.99 is 0.01 here"],
    );
    note(&[("stride: 4 }\n", &norm("0.5"))], "batch_norm_momentum", &[]);
    silent(&[("stride: 4 }\n", &norm("0.1"))]);
    note(
        &[("learning_rate: 0.01", "learning_rate: 0.001, optimizer: adamw")],
        "adamw_without_decay",
        &["give layers a `weight_decay`"],
    );
    silent(&[("learning_rate: 0.01", "learning_rate: 0.0001, optimizer: lion")]);
    silent(&[
        ("learning_rate: 0.01", "learning_rate: 0.001, optimizer: adamw"),
        ("units: 16", "units: 16, weight_decay: 0.01"),
    ]);
    let numbers = "normalizer: { mean: [125.3, 122.95, 113.87], deviation: [62.99, 62.09, 66.7] }";
    let shares =
        "normalizer: { mean: [0.4914, 0.4822, 0.4465], deviation: [0.247, 0.2435, 0.2616] }";
    let text = with(&[(numbers, shares)]);
    let said = check(&text);
    assert_eq!(said.names(), ["normalizer_range"; 2], "{}", said.all);
    assert!(
        said.all.contains("`mean: [125.31, 122.96, 113.86], deviation: [62.99, 62.09, 66.71]`"),
        "{}",
        said.all
    );
    let half = "normalizer: { mean: 0.5, deviation: 0.5 }";
    assert_eq!(check(&with(&[(numbers, half)])).names().len(), 2);
    // The mean alone, on the scale of the pixels.
    silent(&[(numbers, "normalizer: { mean: [125.3, 122.95, 113.87], deviation: 1 }")]);
    // Whatever has been scaled before may be scaled again.
    let twice = [
        (
            SCALE,
            format!(
                "  to_1: {{ from: crop, normalizer: {{ mean: 0, deviation: 255 }} }}\n{}",
                SCALE.replace("from: crop", "from: to_1").replace(numbers, shares)
            ),
        ),
        (
            SAME,
            format!(
                "  to_1t: {{ from: middle, normalizer: {{ mean: 0, deviation: 255 }} }}\n{}",
                SAME.replace("from: middle", "from: to_1t").replace(numbers, shares)
            ),
        ),
    ];
    silent(&twice.each_ref().map(|(from, to)| (*from, to.as_str())));
}

#[test]
fn layers_that_are_meant_to_be_linear_are_left_alone() {
    // A bottleneck has fewer numbers than either side.
    silent(&[(
        "        - dense: { units: 16 }\n        - relu: {}\n",
        "        - dense: { units: 4 }\n",
    )]);
    // Each channel by itself, then all of them.
    silent(&[(
        "        - dense: { units: 16 }\n",
        "        - depthwise_conv2d: { kernel: 3 }\n        - conv2d: { channels: 8, kernel: 1 }\n",
    )]);
    // Another layer reads what the first puts out.
    silent(&[(
        "        - dense: { units: 16 }\n        - relu: {}\n",
        "        - { name: a, dense: { units: 16 } }\n        - { name: b, dense: { units: 16 } }\n        - { name: c, relu: {} }\n        - { from: [a, c], add: {} }\n",
    )]);
    // Norms before the loss are none of the activations.
    silent(&[("units: 10 }\n", "units: 10 }\n        - batch_norm: {}\n")]);
}

#[test]
fn a_warm_up_as_long_as_the_run_is_told_by_check_or_once_the_data_is_counted() {
    let rate = |length: &str| {
        format!("learning_rate: {{ linear: {{ initial: 0.01, warm_up: {{ {length} }} }} }}")
    };
    let told = "never gets to the rate that is written";
    remarked(&[("learning_rate: 0.01", &rate("epochs: 4"))], "long_warm_up", &[told, "4 epochs"]);
    remarked(
        &[("learning_rate: 0.01", &rate("images: 48")), ("epochs: 4", "steps: 3")],
        "long_warm_up",
        &[told, "3 steps"],
    );
    silent(&[("learning_rate: 0.01", &rate("epochs: 3.9"))]);
    silent(&[("learning_rate: 0.01", &rate("images: 47")), ("epochs: 4", "steps: 3")]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let one = say(root, &["check", "pipeline.yaml", "--set", "epochs=1"]);
    assert_eq!(one.names(), ["long_warm_up"], "{}", one.all);
    assert!(one.all.contains("note[long_warm_up]: command line:1:"), "{}", one.all);

    // How many steps two epochs are shows once the images are counted: 64 in batches of 16.
    let text = with(&[("learning_rate: 0.01", &rate("epochs: 2")), ("epochs: 4", "steps: 8")]);
    let (short, long) = (folder(&text), folder(&text.replace("steps: 8", "steps: 9")));
    assert_eq!(check(&text).names(), Vec::<&str>::new());
    let said = say(short.path(), &["run", "p.yaml"]);
    assert_eq!(said.status, Some(0), "{}", said.all);
    assert!(said.all.contains("warms up over 128 images, and the run has 128"), "{}", said.all);
    let said = say(long.path(), &["run", "p.yaml"]);
    assert!(said.status == Some(0) && !said.all.contains("warms up"), "{}", said.all);
    let said = say(short.path(), &["run", "p.yaml", "--set", "allow=[long_warm_up]"]);
    assert!(said.status == Some(0) && !said.all.contains("warms up"), "{}", said.all);
}

#[test]
fn a_run_says_beforehand_what_check_says() {
    let text = with(&[
        ("epochs: 4", "steps: 1"),
        (SAME, ""),
        ("from: same", "from: middle"),
        ("units: 10 }\n", "units: 10 }\n        - relu: {}\n"),
    ]);
    let folder = folder(&text);
    let said = say(folder.path(), &["run", "p.yaml"]);
    assert_eq!(said.status, Some(0), "{}", said.all);
    let mut names = said.names();
    names.sort_unstable();
    assert_eq!(names, ["activation_before_loss", "flows_differ"], "{}", said.all);
    let all = "allow: [activation_before_loss, flows_differ]";
    assert!(said.all.contains(all), "{}", said.all);
    let said = say(
        folder.path(),
        &["run", "p.yaml", "--set", "allow=[activation_before_loss, flows_differ]"],
    );
    assert_eq!((said.status, said.names()), (Some(0), Vec::new()), "{}", said.all);
}

#[test]
fn init_from_compares_what_enters_the_model() {
    let first = folder(&with(&[("epochs: 4", "steps: 1")]));
    assert_eq!(say(first.path(), &["run", "p.yaml", "--run", "first"]).status, Some(0));
    let from = ("learning_rate: 0.01", "learning_rate: 0.01, init_from: runs/first");
    let again = |changes: &[(&str, &str)], name: &str| {
        let text = with(&[&[from, ("epochs: 4", "steps: 1")], changes].concat());
        let file = format!("{name}.yaml");
        fs::write(first.path().join(&file), text).expect("written");
        let said = say(first.path(), &["run", &file, "--run", name]);
        assert_eq!(said.status, Some(0), "{}", said.all);
        said.all
    };
    let same = again(&[], "same");
    assert!(same.contains("begins with") && !same.contains("init_from_differs"), "{same}");
    let numbers = "normalizer: { mean: [125.3, 122.95, 113.87], deviation: [62.99, 62.09, 66.7] }";
    let scaled = [(numbers, "normalizer: { mean: 0, deviation: 255 }")];
    let other = again(&scaled, "other");
    for part in
        ["`mean` [125.3, 122.95, 113.87]", "`deviation` 255, `mean` 0", "[init_from_differs]"]
    {
        assert!(other.contains(part), "{part:?} is not told: {other}");
    }
    let log = fs::read_to_string(first.path().join("runs/other/log.txt")).expect("a log");
    assert!(log.contains("init_from_differs"), "{log}");
    let whitened = again(&[(numbers, "whitening: {}")], "whitened");
    assert!(whitened.contains("(normalizer) changes the images that"), "{whitened}");
    let augmented = again(
        &[(
            SCALE,
            &format!(
                "  flip: {{ from: crop, distorter: {{}} }}\n{}",
                SCALE.replace("from: crop", "from: flip")
            ),
        )],
        "augmented",
    );
    assert!(!augmented.contains("init_from_differs"), "{augmented}");
    let allowed = again(
        &[scaled[0], ("adapter: cpu", "adapter: cpu\nallow: [init_from_differs]")],
        "allowed",
    );
    assert!(!allowed.contains("`mean` 0"), "{allowed}");
}

#[test]
fn names_are_listed_and_unknown_ones_are_refused() {
    let said = say(folder("allow: [flow_differs]\nstages: {}\n").path(), &["check", "p.yaml"]);
    assert_eq!(said.status, Some(2));
    assert!(said.all.contains("no warning and no note named `flow_differs`"), "{}", said.all);
    assert!(said.all.contains("did you mean `flows_differ`?"), "{}", said.all);
    let list = say(Path::new("."), &["list"]).all;
    for name in [
        "activation_before_loss",
        "adamw_without_decay",
        "batch_norm_momentum",
        "cancelled",
        "dropout_before_loss",
        "flows_differ",
        "frozen_as_drawn",
        "init_from_differs",
        "linear_layers",
        "long_warm_up",
        "no_effect",
        "normalizer_range",
        "per_adapter_statistics",
        "random_evaluation",
    ] {
        assert!(list.contains(&format!("\n  {name} ")), "{name} is not in {list}");
    }
}

#[test]
fn settings_that_change_nothing_can_be_allowed_and_are_placed_in_the_file() {
    remarked(&[("shuffler: {}", "shuffler: { minimum: 10 }")], "no_effect", &["p.yaml:7:"]);
    let text = with(&[("shuffler: {}", "shuffler: { minimum: 10 }")]);
    // A value on the command line is not to blame for it.
    let said = say(folder(&text).path(), &["check", "p.yaml", "--set", "seed=3"]);
    assert!(said.all.contains("p.yaml:7:") && !said.all.contains("command line"), "{}", said.all);
}

/// Writes grey images of two classes in IDX files, all of the one before all of the other, or one by
/// one in turn.
fn idx(folder: &Path, each: usize, sorted: bool) {
    let labels = |split: usize| -> Vec<u8> {
        let images = 2 * each / split;
        (0..images).map(|at| (if sorted { at >= images / 2 } else { at % 2 == 1 }) as u8).collect()
    };
    for (name, split) in [("train", 1), ("t10k", 2)] {
        let labels = labels(split);
        let count = (labels.len() as u32).to_be_bytes();
        let side = 8_u32.to_be_bytes();
        let pixels = labels.iter().enumerate().flat_map(|(at, label)| {
            (0..64).map(move |pixel| label * 100 + ((pixel + at) % 90) as u8)
        });
        let images: Vec<u8> =
            [[0, 0, 8, 3], count, side, side].concat().into_iter().chain(pixels).collect();
        let labels = [&[0, 0, 8, 1][..], &count, &labels].concat();
        fs::write(folder.join(format!("{name}-images-idx3-ubyte")), images).expect("written");
        fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), labels).expect("written");
    }
}

const SORTED: &str = "
steps: 2
adapter: cpu
autotune: false
stages:
  read: { reader: { format: &f { idx: { size_px: 8, classes: 2 } }, split: train, path: . } }
  mix: { from: read, shuffler: {} }
  batch: { from: mix, batcher: { size: 16 } }
  net: { from: batch, model: { layers: [ dense: { units: 2 }, softmax_cross_entropy: {} ] } }
  train: { from: net, reducer: { learning_rate: 0.0001, moving_average: 0 } }
  read_t: { reader: { format: *f, split: test, path: . } }
  test: { from: read_t, batcher: { size: 16, partial: keep } }
  score: { from: [test, train], model: {} }
  check: { from: score, evaluator: {} }
";

#[test]
fn data_that_comes_class_by_class_has_to_be_mixed() {
    let mix = "  mix: { from: read, shuffler: {} }\n";
    let queue = |minimum: usize, capacity: usize| {
        format!(
            "  mix: {{ from: read, shuffler: {{ mode: queue, minimum: {minimum}, capacity: {capacity} }} }}\n"
        )
    };
    let without = SORTED.replace(mix, "").replace("from: mix", "from: read");
    let cases = [
        (SORTED.to_owned(), true, None),
        (without.clone(), true, Some("unshuffled")),
        (without, false, None),
        (SORTED.replace(mix, &queue(20, 99)), true, Some("short_queue")),
        (SORTED.replace(mix, &queue(20, 99)), false, None),
        (SORTED.replace(mix, &queue(20, 100)), true, None),
    ];
    for (text, sorted, name) in cases {
        let folder = folder(&text);
        idx(folder.path(), 100, sorted);
        let said = say(folder.path(), &["run", "p.yaml"]);
        assert_eq!(said.status, Some(0), "{}", said.all);
        for one in ["unshuffled", "short_queue"] {
            let told = said.all.contains(&format!("[{one}]"));
            assert_eq!(told, Some(one) == name, "{sorted} {text}{}", said.all);
        }
        if let Some(name) = name {
            assert!(said.all.contains("up to 100 of one in a row"), "{}", said.all);
            let allow = format!("allow=[{name}]");
            let said = say(folder.path(), &["run", "p.yaml", "--set", &allow]);
            assert_eq!(said.status, Some(0), "{}", said.all);
            assert!(!said.all.contains("class by class"), "{}", said.all);
        }
    }
}
