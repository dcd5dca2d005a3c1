//! `runtime inspect` says what the numbers depend on.

mod common;

use std::path::Path;

use common::{finish, runtime};

/// Exit status, and what is printed with its lines joined.
fn inspect(kind: &str) -> (i32, String) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = finish(runtime(here, &["inspect", kind]));
    let text = ran.all();
    let words: Vec<&str> = text.split_whitespace().collect();
    (ran.status.expect("an exit status"), words.join(" "))
}

#[test]
fn what_the_numbers_depend_on_is_said() {
    for (kind, parts) in [
        (
            "reducer",
            &[
                "(1 + t) / (10 + t)",
                "after: { images: .. } or { epochs: .. }, required",
                "rate: number, required",
            ][..],
        ),
        ("piecewise", &["inside `reducer.learning_rate`", "after", "How far into the run", "rate"]),
        ("one_cycle", &["half a wave of a cosine", "(1 - cos(pi * share)) / 2", "share `rise`"]),
        ("cosine", &["(1 - cos(pi * share)) / 2"]),
        ("linear", &["multiplied by the share", "The curve goes on meanwhile"]),
        ("exponential", &["multiplied by the share"]),
        ("adam", &["mean / (1 - beta1^t)", "epsilon` is added to the root after", "as in PyTorch"]),
        ("adamw", &["shrinks their weights by `rate * weight_decay`", "beta1", "1 - beta2^t"]),
        ("lion", &["sign(beta1 * mean + (1 - beta1) * gradient)", "The sign of 0 is 0"]),
        ("momentum", &["sum = momentum * sum + gradients", "Nesterov"]),
        (
            "batch_norm",
            &["unbiased variance, over n - 1", "running += momentum * (batch - running)"],
        ),
        ("group_norm", &["n of the n numbers of a group", "over all pixels of one image"]),
        ("avg_pool", &["Padding does not count", "as in TensorFlow"]),
        ("whitening", &["no less than 1 / sqrt(number of values)"]),
        ("resizer", &["triangle", "antialias", "Pillow"]),
        ("cutout", &["one pixel more lies before the centre", "rounded to a whole number"]),
        ("mixer", &["the one before it in the batch", "cut off at the borders", "0.68"]),
        ("evaluator", &["Of equal scores", "lower number counts as the higher"]),
        ("dropout", &["a seed that is drawn from the run's for kernels"]),
        ("normalizer", &["125.3, 122.95, 113.87", "scale of 0 to 255"]),
        ("truncated_normal", &["beyond two of them", "conv2d.weights"]),
        ("constant", &["number", "conv2d.biases"]),
        ("images", &["inside `reader.format`", "size_px", "largest middle part"]),
        ("idx", &["inside `reader.format`", "MNIST"]),
        ("cutmix", &["inside `mixer`", "alpha", "probability"]),
        ("contrast", &["inside `distorter`", "lower", "upper"]),
    ] {
        let (status, text) = inspect(kind);
        assert_eq!(status, 0, "{kind}: {text}");
        for part in parts {
            assert!(text.contains(part), "inspect {kind}: no \"{part}\" in {text}");
        }
        assert!(!text.contains("[`"), "inspect {kind}: a link of the source in {text}");
    }
    let (_, mixer) = inspect("mixer");
    assert!(!mixer.contains("The share of the image that stays is from"), "{mixer}");
}

#[test]
fn what_is_inside_of_a_kind_is_found_by_its_name_or_one_like_it() {
    let (status, text) = inspect("piecewize");
    assert_eq!(status, 2);
    assert!(text.contains("did you mean `piecewise`?"), "{text}");
    let (status, text) = inspect("zzzzzzzz");
    assert_eq!(status, 2);
    assert!(text.contains("`runtime list` shows"), "{text}");
}
