//! The report page in a browser: it is whole, shows what was measured, and asks for nothing else.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::random::Random;
use common::skip;
use compute::adapter::variants::Variants;
use compute::adapter::{DeviceKind, Identity, Info, Limits};
use compute::graph::{Graph, Parameter, Role, Tensor, TensorId};
use compute::kernel::{Dtype, Extent};
use compute::precision::Precision;
use flow::event::{Checkpoint, Event, Reason};
use flow::item::{Image, Label, Pixels, Progress, Sample, SampleId, Source, Weights};
use flow::reports::{
    DataReport, EdgeReport, EvaluationReport, LossTerm, Mistake, Outcome, QueueReport, StageReport,
    StepReport, Tapped, TrainerReport,
};
use record::report::{Facts, Report};

/// Longer than a browser takes on a busy machine.
const PATIENCE: Duration = common::PATIENCE;
const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Random numbers for one thing.
fn random(purpose: &str) -> Random {
    Random::keyed(7, purpose, 0, 0)
}

/// From 0 to 1.
fn unit(random: &mut Random) -> f64 {
    f64::from(random.bits()) / f64::from(u32::MAX)
}

/// A bright disk before a gradient, different for each number.
fn image(number: u64, side: usize) -> Image {
    let mut random = Random::keyed(7, "image", 0, number);
    let mut colour = || [(); 3].map(|()| 255.0 * unit(&mut random));
    let (sky, ground, disk) = (colour(), colour(), colour());
    let middle = [(); 2].map(|()| side as f64 * (0.3 + 0.4 * unit(&mut random)));
    let mut values = Vec::new();
    for y in 0..side {
        for x in 0..side {
            let share = y as f64 / side as f64;
            let away = (x as f64 - middle[0]).hypot(y as f64 - middle[1]);
            let inside = away < side as f64 / 4.0;
            let mixed = |c: usize| sky[c] * (1.0 - share) + ground[c] * share;
            values.extend((0..3).map(|c| if inside { disk[c] } else { mixed(c) } as f32));
        }
    }
    Image { shape: [side, side, 3], pixels: Pixels::F32(values) }
}

/// The same as bytes.
fn bytes(image: &Image) -> Image {
    let Pixels::F32(values) = &image.pixels else { return image.clone() };
    let bytes: Vec<u8> = values.iter().map(|value| value.round() as u8).collect();
    Image { pixels: Pixels::U8(bytes.into()), ..image.clone() }
}

/// The same with mean 0.
fn whitened(mut image: Image) -> Image {
    let values = image.as_f32();
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    values.iter_mut().for_each(|value| *value = (*value - mean) / 60.0);
    image
}

fn classes() -> Vec<String> {
    CLASSES.map(str::to_owned).to_vec()
}

fn step(step: u64, noise: &mut Random) -> Event {
    let average = 0.7 + 4.0 * (-(step as f64) / 3000.0).exp();
    let loss = if step == 12_340 { 9.0 } else { average + 0.3 * (unit(noise) - 0.5) };
    let term = |name: &str, raw: f64| LossTerm { name: name.to_owned(), raw, average: raw };
    Event::Step(StepReport {
        towers: None,
        step,
        total_steps: Some(39_060),
        epoch: step as f64 / 390.625,
        loss,
        loss_average: average,
        terms: vec![term("cross_entropy", loss - 0.3), term("weight_decay", 0.3)],
        learning_rate: if step < 20_000 { 0.1 } else { 0.01 },
        images_per_s: 2400.0 + 300.0 * unit(noise),
        batch_s: 0.05,
    })
}

fn evaluation(number: u64, averaged: bool) -> Event {
    let mut random = Random::keyed(7, "evaluation", u64::from(averaged), number);
    let right = 0.86 - 0.5 * (-(number as f64) / 6.0).exp() - if averaged { 0.0 } else { 0.02 };
    let mut confusion = vec![vec![0_u64; 10]; 10];
    for (class, row) in confusion.iter_mut().enumerate() {
        for _ in 0..1000 {
            let near = if class == 3 { 5 } else { (random.bits() % 10) as usize };
            row[if unit(&mut random) < right { class } else { near }] += 1;
        }
    }
    let hits: u64 = (0..10).map(|class| confusion[class][class]).sum();
    let mistake = |number: u64| Mistake {
        id: SampleId { epoch: 0, index: 17 * number },
        class: number as usize % 10,
        taken_for: (number as usize + 3) % 10,
        probability: 0.999 - 0.01 * number as f64,
        image: whitened(image(100 + number, 24)),
    };
    Event::Evaluation(EvaluationReport {
        stage: "evaluate".to_owned(),
        step: 1302 * number,
        epoch: 3.33 * number as f64,
        split: "test".to_owned(),
        images: 10_000,
        precision_at_1: hits as f64 / 10_000.0,
        precision_at_k: (5, 0.99),
        loss: 0.6,
        classes: classes(),
        confusion: confusion.into(),
        mistakes: (0..18).map(mistake).collect(),
        stands_in_for: Some("CIFAR-10".to_owned()),
        averaged,
        views: 1,
    })
}

fn weights() -> Event {
    let mut graph = Graph::default();
    let tensor = |name: &str, shape: &[usize]| Tensor {
        name: name.to_owned(),
        dtype: Dtype::Real,
        shape: shape.to_vec(),
        extent: Extent::Whole,
        role: Role::Partial,
    };
    graph.tensors = vec![tensor("conv1/biases", &[64]), tensor("conv1/weights", &[5, 5, 3, 64])];
    let parameter = |value: usize| Parameter {
        value: TensorId(value),
        gradient: TensorId(value),
        average: TensorId(value),
        weight_decay: 0.0,
        layer: 0,
    };
    graph.parameters = vec![parameter(0), parameter(1)];
    let mut random = random("weights");
    let filters: Vec<f32> = (0..4800)
        .map(|at| {
            let (filter, channel, x, y) = (at % 64, at / 64 % 3, at / 192 % 5, at / 960);
            let phase = (x * (filter % 5) + y * (filter / 13)) as f64 * 0.7 + channel as f64 * 0.4;
            (phase.sin() + 0.3 * unit(&mut random)) as f32
        })
        .collect();
    let source = Source {
        description: "drawn".to_owned(),
        epoch_images: 50_000,
        split: "train".to_owned(),
        classes: classes(),
        stands_in_for: Some("CIFAR-10".to_owned()),
        limit: None,
        in_a_row: None,
    };
    let raw = vec![vec![0.0; 64], filters];
    let weights = Weights {
        progress: Progress { steps: 39_060, ..Progress::default() },
        source: Arc::new(source),
        graph: Arc::new(graph),
        averages: raw.clone(),
        raw,
        states: Vec::new(),
    };
    Event::Checkpoint(Checkpoint { weights: Arc::new(weights), reason: Reason::End })
}

fn tapped(stage: &str, change: impl Fn(u64) -> Image) -> Event {
    let sample = |index: u64| Sample {
        id: SampleId { epoch: 0, index },
        label: Label::Class(index as u32 % 10),
        image: change(index),
    };
    Event::Tapped(Tapped { stage: stage.to_owned(), samples: (0..6).map(sample).collect() })
}

fn flow() -> Outcome {
    let stages = [
        ("read", "reader", 1, 30),
        ("shuffle", "shuffler", 1, 12),
        ("crop", "cropper", 2, 90),
        ("distort", "distorter", 2, 900),
        ("whiten", "whitening", 2, 300),
        ("batch", "batcher", 1, 200),
        ("gradients", "model", 1, 5),
        ("train", "reducer", 1, 3460),
        ("read_test", "reader", 1, 4),
        ("centre", "cropper", 1, 10),
        ("standard", "whitening", 1, 40),
        ("test", "batcher", 1, 20),
        ("score", "model", 1, 160),
        ("evaluate", "evaluator", 1, 1),
    ];
    let stage = |(id, kind, workers, busy): (&str, &'static str, usize, u64)| StageReport {
        id: id.to_owned(),
        kind,
        workers,
        items_out: 5_000_000 / 128,
        busy: Duration::from_secs(busy),
        input_wait: Duration::from_secs(3600 - busy.min(3600)),
        output_wait: Duration::from_millis(1234),
    };
    let edges = [
        ("read", "shuffle"),
        ("shuffle", "crop"),
        ("crop", "distort"),
        ("distort", "whiten"),
        ("whiten", "batch"),
        ("batch", "gradients"),
        ("gradients", "train"),
        ("read_test", "centre"),
        ("centre", "standard"),
        ("standard", "test"),
        ("test", "score"),
        ("train", "score"),
        ("score", "evaluate"),
    ];
    let edge = |(from, to): (&str, &str)| EdgeReport {
        from: from.to_owned(),
        trains: false,
        to: to.to_owned(),
        carries: "images 24 x 24 x 3".to_owned(),
        queue: (!["crop", "distort", "centre"].contains(&from)).then(|| QueueReport {
            items: 39_060,
            images: 9_000_000,
            capacity: 8,
            mean_fill: 5.3,
            full_wait: Duration::from_secs(2988),
            empty_wait: Duration::from_millis(12_345),
        }),
    };
    Outcome {
        stages: stages.map(stage).into(),
        edges: edges.map(edge).into(),
        elapsed: Duration::from_secs(3600),
        interrupted: false,
    }
}

/// What a training run on stand-in data might have said.
fn report() -> Report {
    let facts = Facts {
        name: "tutorial-7".to_owned(),
        seed: 7,
        version: "0.1.0".to_owned(),
        command: "runtime run pipeline.yaml --set 'seed=7'".to_owned(),
        started: "2026-03-01 12:00:00".to_owned(),
        configuration: "# a page must survive <script>this</script> & \"that\"\nseed: 7\n"
            .to_owned(),
    };
    let mut report = Report::new("Gradflow", facts);
    let data = DataReport {
        stage: "read".to_owned(),
        description: "drawn images, 50,000 of them".to_owned(),
        split: "train".to_owned(),
        crc32c: 0xC0FF_EE00,
        identity: None,
    };
    let adapter = Info {
        name: "Made-up Graphics 9000".to_owned(),
        backend: "vulkan",
        driver: "maker 1.2.3".to_owned(),
        kind: DeviceKind::DiscreteGpu,
        identity: Identity::default(),
        limits: Limits { binding_bytes: 128 << 20, buffer_bytes: 256 << 20, ..Limits::NONE },
        precisions: vec![Precision::F32],
    };
    let trainer = TrainerReport {
        stage: "train".to_owned(),
        adapter,
        batch: 128,
        variants: Variants { micro_batch: 128, ..Variants::default() },
        towers: Vec::new(),
        holder: None,
        elsewhere: BTreeMap::new(),
        processes: Vec::new(),
    };
    report.observe(&Event::Data(data));
    report.observe(&Event::Trainer(Box::new(trainer)));
    report.observe(&Event::Warning("images were drawn, none was found".to_owned()));
    report.observe(&tapped("read", |index| bytes(&image(index, 32))));
    report.observe(&tapped("crop", |index| image(index, 24)));
    report.observe(&tapped("whiten", |index| whitened(image(index, 24))));
    report.observe(&tapped("centre", |index| image(50 + index, 24)));
    let mut noise = random("noise");
    for number in 0..3906 {
        report.observe(&step(10 * number, &mut noise));
    }
    for number in 1..=30 {
        report.observe(&evaluation(number, true));
        report.observe(&evaluation(number, false));
    }
    report.observe(&weights());
    report.observe(&Event::Flow(flow()));
    report
}

/// A browser of this machine.
fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("GRADFLOW_CHROMIUM") {
        return Some(named.into());
    }
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    ["chromium", "chromium-browser", "google-chrome"]
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
}

/// The page as the browser understands it.
fn loaded(browser: &Path, page: &Path, folder: &Path) -> String {
    let dom = folder.join("dom.html");
    let file = |name: &str| std::fs::File::create(folder.join(name)).expect("a file");
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .stdout(file("dom.html"))
        .stderr(file("stderr.txt"))
        .spawn()
        .expect("the browser starts");
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child of this process") {
            break status;
        }
        if start.elapsed() > PATIENCE {
            child.kill().and_then(|()| child.wait()).expect("it can be stopped");
            panic!("the browser is still at it after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let complaint = std::fs::read_to_string(folder.join("stderr.txt")).expect("text");
    assert!(status.success(), "{status}: {complaint}");
    std::fs::read_to_string(dom).expect("text")
}

#[test]
fn a_browser_shows_the_whole_page() {
    let Some(browser) = browser() else { return skip("chromium") };
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("report.html");
    report().write(&page).expect("it can be written");
    let dom = loaded(&browser, &page, folder.path());
    let count = |part: &str| dom.matches(part).count();
    assert_eq!(count("<svg class=\"plot\""), 4);
    assert_eq!(count("<svg class=\"flow\""), 1);
    assert_eq!(count("<rect class=\"box\""), 14, "one for each stage");
    assert_eq!(count("class=\"edge"), 13, "one for each edge");
    assert_eq!(count("<table class=\"confusion\">"), 2, "averaged and raw weights");
    assert_eq!(count(" taken for automobile: "), 2 * 10, "a column of each");
    assert_eq!(count("data:image/png;base64,"), 64 + 2 * 18 + 4 * 6);
    assert_eq!(count(" alt=\"filter "), 64);
    assert_eq!(count("<img"), count(" alt=\""));
    for said in [
        "Stand-in data, NOT CIFAR-10",
        "chosen on test data",
        "Made-up Graphics 9000",
        " to 9)\nmoving average: ",
        "▲ slowest",
        "&lt;script&gt;this",
    ] {
        assert!(dom.contains(said), "{said}");
    }
    // The browser closed what was left open at the place where it should have been.
    assert!(dom.trim_end().ends_with("</main></body></html>"), "{}", &dom[dom.len() - 200..]);
}

#[test]
fn the_page_asks_for_nothing_outside_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("report.html");
    report().write(&path).expect("it can be written");
    let page = std::fs::read_to_string(&path).expect("text");
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    for tag in ["<script", "<link", "<iframe", "<object", "<embed", "<base", "@import", "url("] {
        assert!(!page.contains(tag), "{tag}");
    }
    for attribute in [" src=\"", " href=\"", " srcset=\"", " xlink:href=\"", " action=\""] {
        for (at, _) in page.match_indices(attribute) {
            let value = &page[at + attribute.len()..];
            assert!(value.starts_with("data:image/png;base64,"), "{}", &value[..60]);
        }
    }
    assert!(page.contains("content=\"default-src 'none'; "));
}
