//! `runtime predict` on photos of all kinds, and on files that are none.

mod common;
#[path = "common/trained.rs"]
mod trained;

use std::fs;
use std::path::Path;

use image::{DynamicImage, ImageFormat, RgbImage};
use serde_json::Value;
use trained::{PIPELINE, SIDE, probabilities, runtime, test_images, weights, write};

const MODEL: &str = "model.safetensors";

fn folder(pipeline: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(&folder.path().join(MODEL), &weights(), pipeline, 20);
    folder
}

/// The pixels of a test image, and the same as a PNG file.
fn save(folder: &Path, index: usize, name: &str) -> Vec<u8> {
    let data = test_images();
    let size = data.pixels.len() / data.labels.len();
    let pixels = data.pixels[index * size..(index + 1) * size].to_vec();
    let side = SIDE as u32;
    let image = RgbImage::from_raw(side, side, pixels.clone()).expect("an image");
    image.save(folder.join(name)).expect("it is written");
    pixels
}

/// The classes and their probabilities, by the lines of JSON.
fn predicted(out: &str) -> Vec<Vec<(String, f64)>> {
    let read = |line: &str| {
        let value: Value = serde_json::from_str(line).expect("a line of JSON");
        let all = value["predictions"].as_array().cloned().unwrap_or_default();
        let one = |value: &Value| {
            let class = value["class"].as_str().expect("a name").to_owned();
            (class, value["probability"].as_f64().expect("a number"))
        };
        all.iter().map(one).collect()
    };
    out.lines().map(read).collect()
}

#[test]
fn an_image_of_the_data_set_is_scored_as_in_an_evaluation() {
    let ten = PIPELINE.replace("mode: central", "mode: central, views: 10");
    for (pipeline, views) in [(PIPELINE, 1), (&*ten, 10)] {
        let folder = folder(pipeline);
        let classes = test_images().classes;
        let pixels = [3, 8, 21].map(|index| save(folder.path(), index, &format!("{index}.png")));
        for raw in [false, true] {
            let mut arguments = vec!["predict", MODEL, "3.png", "8.png", "21.png", "--json"];
            arguments.extend(["--top", "10"]);
            arguments.extend(raw.then_some("--raw"));
            let (status, out, told) = runtime(folder.path(), &arguments);
            assert_eq!((status, &*told), (0, ""), "{out}");
            let found = predicted(&out);
            assert_eq!(found.len(), 3, "{out}");
            for (pixels, found) in pixels.iter().zip(found) {
                let expected = probabilities(pixels, !raw, views);
                assert_eq!(found.len(), expected.len());
                assert!(found.windows(2).all(|pair| pair[0].1 >= pair[1].1), "{found:?}");
                for (name, share) in found {
                    let class = classes.iter().position(|known| *known == name);
                    let expected = expected[class.expect("a class of the data set")];
                    assert!((share - expected).abs() < 1e-4, "{name}: {share}, not {expected}");
                }
            }
        }
    }
}

#[test]
fn photos_of_all_kinds_are_predicted() {
    let folder = folder(PIPELINE);
    let photo = RgbImage::from_fn(300, 200, |x, y| image::Rgb([x as u8, y as u8, (x ^ y) as u8]));
    let photo = DynamicImage::from(photo);
    let mut arguments = vec!["predict", MODEL, "--top", "2"];
    for (name, image, format) in [
        ("photo.jpg", photo.clone(), ImageFormat::Jpeg),
        ("grey.jpg", photo.to_luma8().into(), ImageFormat::Jpeg),
        ("alpha.png", photo.to_rgba8().into(), ImageFormat::Png),
        ("deep.png", photo.to_rgb16().into(), ImageFormat::Png),
        ("small.png", photo.crop_imm(0, 0, 8, 9), ImageFormat::Png),
        // The name does not matter.
        ("png.jpg", photo.clone(), ImageFormat::Png),
    ] {
        image.save_with_format(folder.path().join(name), format).expect("it is written");
        arguments.push(name);
    }
    let (status, out, told) = runtime(folder.path(), &arguments);
    assert_eq!((status, &*told), (0, ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 6 * 3, "{out}");
    for (block, name) in lines.chunks(3).zip(&arguments[4..]) {
        assert_eq!(block[0], *name);
        for line in &block[1..] {
            let share: f64 = line.split_whitespace().last().expect("a number").parse().expect("it");
            assert!((0.0..=1.0).contains(&share), "{line}");
        }
    }
}

/// A PNG whose header promises a huge picture, with pixels that are all alike.
fn huge_png() -> Vec<u8> {
    let crc = |bytes: &[u8]| -> u32 {
        !bytes.iter().fold(!0, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| {
                (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
            })
        })
    };
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [&20_000_u32.to_be_bytes()[..], &20_000_u32.to_be_bytes(), &[8, 2, 0, 0, 0]];
    for (name, body) in [(b"IHDR", header.concat()), (b"IDAT", vec![0; 1000]), (b"IEND", vec![])] {
        file.extend((body.len() as u32).to_be_bytes());
        let chunk = [&name[..], &body].concat();
        file.extend(&chunk);
        file.extend(crc(&chunk).to_be_bytes());
    }
    file
}

#[test]
fn files_that_cannot_be_used_are_told_and_the_others_predicted() {
    let folder = folder(PIPELINE);
    let file = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).expect("it is written");
    };
    save(folder.path(), 1, "good.png");
    let photo = DynamicImage::from(RgbImage::from_fn(90, 60, |x, y| {
        image::Rgb([x as u8, y as u8, (x * y) as u8])
    }));
    for (name, format) in [("cut.png", ImageFormat::Png), ("cut.jpg", ImageFormat::Jpeg)] {
        let path = folder.path().join(name);
        photo.save_with_format(&path, format).expect("it is written");
        let whole = fs::read(&path).expect("it is read");
        file(name, &whole[..whole.len() * 2 / 3]);
    }
    file("text.png", b"this is a text");
    file("empty.jpg", b"");
    file("huge.png", &huge_png());
    let thin = photo.crop_imm(0, 0, 7, 60);
    thin.save(folder.path().join("thin.png")).expect("it is written");
    photo.crop_imm(0, 0, 1, 1).save(folder.path().join("dot.png")).expect("it is written");
    let bad = [
        ("text.png", "it is not an image: neither PNG nor JPEG"),
        ("empty.jpg", "it is not an image: neither PNG nor JPEG"),
        ("cut.png", "it begins as a PNG and cannot be decoded"),
        ("cut.jpg", "the JPEG ends in its middle"),
        ("huge.png", "it has 20000 x 20000 pixels, and at most 100 megapixels"),
        ("thin.png", "it has 7 x 60 pixels, and at least 8 x 8"),
        ("dot.png", "it has 1 x 1 pixels, and at least 8 x 8"),
        ("absent.png", "cannot read it"),
        (".", ""),
    ];
    let mut arguments = vec!["predict", MODEL];
    arguments.extend(bad.map(|(name, _)| name));
    arguments.push("good.png");
    let (status, out, told) = runtime(folder.path(), &arguments);
    assert_eq!(status, 1, "{told}");
    assert!(out.starts_with("good.png\n") && out.lines().count() == 4, "{out}");
    let lines: Vec<&str> = told.lines().collect();
    for ((name, why), line) in bad.iter().zip(&lines) {
        let expected = format!("error: {name}: {why}");
        assert!(line.starts_with(&expected), "{line} is not {expected}");
    }
    assert_eq!(lines[bad.len()..], ["error: 9 of 10 files could not be used"]);

    arguments.push("--json");
    let (_, out, _) = runtime(folder.path(), &arguments);
    assert_eq!(out.lines().filter(|line| line.contains("\"error\"")).count(), bad.len(), "{out}");
    assert_eq!(out.lines().filter(|line| line.contains("\"predictions\"")).count(), 1, "{out}");
}

#[test]
fn what_cannot_predict_is_told() {
    let folder = folder(PIPELINE);
    save(folder.path(), 1, "good.png");
    for (arguments, status, part) in [
        (&["predict", MODEL][..], 2, "FILE"),
        (&["predict", MODEL, "good.png", "--top", "0"], 2, "--top"),
        (&["predict", "good.png", "good.png"], 1, "good.png"),
        (&["predict", MODEL, "good.png", "--adapter", "abacus"], 2, "abacus"),
    ] {
        let (found, out, told) = runtime(folder.path(), arguments);
        assert_eq!((found, &*out), (status, ""), "{told}");
        assert!(told.contains(part), "{told}");
    }
}
