use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::SafeTensors;

use super::file::{decode, encode};
use super::store::latest_good_by;
use super::*;
use compute::graph::{Initial, Kept, Parameter, Role, Tensor, TensorId};
use compute::kernel::{Dtype, Extent};
use flow::item::Position;
use flow::reports::{Confusion, EvaluationReport};

/// A model of one weight and one number that its optimiser keeps.
fn graph(name: &str, shape: &[usize]) -> Arc<Graph> {
    let tensor = |name: String, shape: &[usize], role| Tensor {
        name,
        dtype: Dtype::Real,
        shape: shape.to_vec(),
        extent: Extent::Whole,
        role,
    };
    let initial = Initial::Constant(0.0);
    let value = TensorId(0);
    let parameter =
        Parameter { value, gradient: value, average: TensorId(1), weight_decay: 0.0, layer: 0 };
    Arc::new(Graph {
        tensors: vec![
            tensor(format!("{name}/weights"), shape, Role::Parameter(initial)),
            tensor(format!("{name}/weights/average"), shape, Role::Average(value)),
            tensor("losses/average".to_owned(), &[1], Role::State(initial)),
        ],
        parameters: vec![parameter],
        ..Graph::default()
    })
}

pub(super) fn weights(steps: u64) -> Weights {
    let position = Position { samples: 5, batches: 2, epoch_images: 3 };
    let source = Source {
        description: "drawings".to_owned(),
        epoch_images: 3,
        split: "train".to_owned(),
        classes: vec!["one".to_owned(), "tw\"o".to_owned()],
        stands_in_for: None,
        limit: None,
        in_a_row: None,
    };
    let odd = [f32::NAN, -0.0, f32::from_bits(1), f32::from_bits(0x7fc1_2345)];
    Weights {
        progress: Progress {
            steps,
            images: 4,
            position,
            epoch_images: 3,
            first_loss: Some(4.675_723),
        },
        source: Arc::new(source),
        graph: graph("one", &[2, 2]),
        raw: vec![odd.to_vec()],
        averages: vec![vec![1.0, 2.0, f32::INFINITY, 1e-40]],
        states: vec![vec![0.1]],
    }
}

pub(super) fn about() -> About {
    About {
        program: "1".to_owned(),
        time: "2026-11-24T00:00:00Z".to_owned(),
        seed: 7,
        variants: None,
        towers: BTreeMap::new(),
        holder: None,
        processes: Vec::new(),
        adapter: AdapterReport { backend: "cpu".into(), name: "cpu".into(), driver: "2".into() },
        data: Vec::new(),
        awaits_evaluation: false,
        folder: PathBuf::new(),
        data_path: None,
        pipeline: "seed: 7\n".to_owned(),
    }
}

fn bits(values: &[Vec<f32>]) -> Vec<u32> {
    values.iter().flatten().map(|value| value.to_bits()).collect()
}

#[test]
fn a_checkpoint_gives_back_every_bit() {
    let before = weights(3);
    let bytes = encode(&before, &about()).expect("it is written");
    assert_eq!(bytes, encode(&before, &about()).expect("it is written"));
    let stored = decode(&bytes).expect("it is read");
    assert_eq!((&stored.about, stored.progress), (&about(), before.progress));
    let after = stored.weights(&before.graph).expect("it fits");
    assert_eq!(after.source, before.source);
    for (one, other) in [
        (&before.raw, &after.raw),
        (&before.averages, &after.averages),
        (&before.states, &after.states),
    ] {
        assert_eq!(bits(one), bits(other));
    }
}

#[test]
fn no_part_of_a_file_passes_for_the_whole() {
    let bytes = encode(&weights(3), &about()).expect("it is written");
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "the first {length} bytes");
    }
    assert!(decode(&[bytes.as_slice(), &[0]].concat()).is_err(), "one byte more");
}

#[test]
fn every_flipped_bit_is_noticed() {
    let before = weights(3);
    let bytes = encode(&before, &about()).expect("it is written");
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&flipped).is_err(), "bit {bit}");
    }
}

/// Of a version that did not count an epoch's images yet, or of one that says more.
#[test]
fn headers_of_earlier_and_later_versions_are_read() {
    let bytes = encode(&weights(3), &about()).expect("it is written");
    let written = decode(&bytes).expect("it is read");
    for change in [(r#"},"epoch_images":3"#, "}"), (r#""time":"#, r#""mood":"good","time":"#)] {
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("metadata");
        let text = metadata.metadata().as_ref().expect("text")["gradflow"].clone();
        let other = text.replacen(change.0, change.1, 1);
        assert_ne!(other, text, "{change:?}");
        let file = SafeTensors::deserialize(&bytes).expect("tensors");
        let mut tensors = file.tensors();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        let parts = tensors.iter().map(|(name, view)| (name.as_str(), view.shape(), view.data()));
        let (before, after) = other.split_once(r#""crc32c":"#).expect("a checksum");
        let (_, after) = after.split_once(',').expect("more fields");
        let with = |crc: u32| format!(r#"{before}"crc32c":{crc},{after}"#);
        let mut crc = crc32c::crc32c(with(0).as_bytes());
        for (name, shape, data) in parts {
            crc = crc32c::crc32c_append(crc, format!("\n{name} {shape:?}\n").as_bytes());
            crc = crc32c::crc32c_append(crc, data);
        }
        let text = HashMap::from([("gradflow".to_owned(), with(crc))]);
        let other = safetensors::serialize(tensors, Some(text)).expect("it is written");
        let read = decode(&other).unwrap_or_else(|error| panic!("{change:?}: {error:#}"));
        assert_eq!((read.progress.steps, read.tensors.len()), (3, written.tensors.len()));
        assert_eq!(read.about, written.about);
    }
}

#[test]
fn other_files_are_told_apart() {
    let message = |bytes: &[u8]| format!("{:#}", decode(bytes).expect_err("no checkpoint"));
    let nothing: [(&str, safetensors::tensor::TensorView<'_>); 0] = [];
    let foreign = safetensors::serialize(nothing, None).expect("it is written");
    assert!(message(&foreign).contains("not written by Gradflow"));
    assert!(message(b"seed: 0").contains("no safetensors file"));
    let huge = [u64::MAX.to_le_bytes().as_slice(), b"{}"].concat();
    assert!(message(&huge).contains("no safetensors file"));
    let bytes = encode(&weights(3), &about()).expect("it is written");
    let version: &[u8] = br#"\"version\":1"#;
    let at = bytes.windows(version.len()).position(|here| here == version).expect("the version");
    let mut newer = bytes;
    newer[at + version.len() - 1] = b'9';
    assert!(message(&newer).contains("version 9"), "{}", message(&newer));
}

#[test]
fn differences_name_both_sides() {
    let stored = decode(&encode(&weights(3), &about()).expect("written")).expect("read");
    let misfit = stored.weights(&graph("one", &[4])).expect_err("another shape");
    let expected = "one/weights: the checkpoint has [2, 2], the pipeline's model [4]";
    assert_eq!(misfit.differences[0], expected);
    let misfit = stored.weights(&graph("two", &[2, 2])).expect_err("renamed").to_string();
    for part in [
        "two/weights: the pipeline's model has it with [2, 2], the checkpoint lacks it",
        "one/weights: the checkpoint has it with [2, 2], the pipeline's model lacks it; was it \
         renamed to two/weights?",
    ] {
        assert!(misfit.contains(part), "{misfit}");
    }
    // To compute with it, what the optimiser keeps does not matter.
    let mut without = (*graph("one", &[2, 2])).clone();
    without.tensors.pop();
    assert!(stored.weights(&Arc::new(without.clone())).is_err());
    stored.inference_weights(&Arc::new(without)).expect("the weights are there");
    stored.inference_weights(&graph("two", &[2, 2])).expect_err("renamed");
}

#[test]
fn what_a_layer_keeps_is_needed_to_compute_and_what_an_optimiser_keeps_is_not() {
    let stored = decode(&encode(&weights(3), &about()).expect("it is encoded")).expect("whole");
    let mut graph = Graph::clone(&graph("one", &[2, 2]));
    let tensor =
        Tensor { name: "one/running_mean".to_owned(), shape: vec![2], ..graph.tensors[2].clone() };
    graph.tensors.push(tensor);
    assert!(stored.inference_weights(&Arc::new(graph.clone())).is_ok());
    graph.kept.push(Kept { value: TensorId(3), average: None, frozen: false, layer: 0 });
    let misfit = stored.inference_weights(&Arc::new(graph)).expect_err("it is lacking");
    assert!(misfit.to_string().contains("one/running_mean"), "{misfit}");
}

#[test]
fn a_frozen_weight_that_the_model_lacks_is_told_though_it_has_no_average() {
    let mut stored = decode(&encode(&weights(3), &about()).expect("it is encoded")).expect("whole");
    let with =
        |name: &str| StoredTensor { name: name.to_owned(), shape: vec![1], values: vec![1.0] };
    stored.tensors.push(with("one/weights/momentum"));
    stored.inference_weights(&graph("one", &[2, 2])).expect("the optimiser's");
    stored.tensors.push(with("two/weights"));
    let misfit = stored.inference_weights(&graph("one", &[2, 2])).expect_err("of another model");
    assert!(misfit.to_string().contains("two/weights: the checkpoint has it"), "{misfit}");
}

fn report(step: u64, precision_at_1: f64, split: &str) -> EvaluationReport {
    EvaluationReport {
        stage: "evaluate".to_owned(),
        step,
        epoch: 1.0,
        split: split.to_owned(),
        images: 10,
        precision_at_1,
        precision_at_k: (1, precision_at_1),
        loss: 1.0,
        classes: Vec::new(),
        confusion: Confusion::default(),
        mistakes: Vec::new(),
        stands_in_for: None,
        averaged: true,
        views: 1,
    }
}

/// A store of which one stage evaluates.
fn opened(folder: &Path, keep: usize) -> Store {
    Store::open(folder, keep, ["evaluate"].into_iter()).expect("it opens")
}

fn steps(folder: &Path) -> Vec<u64> {
    list(folder)
}

#[test]
fn the_last_the_best_and_the_awaited_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    fs::write(path.join("step-1.safetensors"), "not ours").expect("a file");
    let mut store = opened(path, 2);
    let save =
        |store: &mut Store, step, awaited| store.save(&weights(step), &about(), awaited).map(drop);
    for (step, awaited) in [(1, true), (2, false), (3, false), (4, false)] {
        save(&mut store, step, awaited).expect("it is kept");
    }
    assert_eq!(steps(path), [1, 3, 4]);
    assert!(store.evaluated(&report(1, 0.5, "test")).expect("noted"));
    save(&mut store, 5, true).expect("it is kept");
    assert_eq!(steps(path), [1, 4, 5]);
    assert!(!store.evaluated(&report(5, 0.5, "test")).expect("noted"), "a tie keeps the earlier");
    // Precisions on other images are no worse and no better.
    assert!(store.evaluated(&report(5, 0.4, "validation")).expect("noted"));
    assert!(!store.evaluated(&report(4, 0.3, "validation")).expect("noted"));
    assert!(!store.evaluated(&report(2, 0.9, "validation")).expect("noted"), "it is gone");
    // What was evaluated is there until that is written down as well.
    assert_eq!(steps(path), [1, 4, 5]);
    store.tidy();
    assert_eq!(steps(path), [4, 5]);
    assert!(path.join("step-1.safetensors").is_file());
    let again = opened(path, 2);
    assert_eq!(again.best(), store.best());
    assert_eq!(again.best().map(|best| best.step), Some(5));
}

#[test]
fn a_damaged_latest_falls_back_and_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let none = latest_good(folder.path()).expect_err("nothing there").to_string();
    assert!(none.starts_with("there is no checkpoint in"), "{none}");
    let mut store = opened(folder.path(), 5);
    for step in 1..=3 {
        store.save(&weights(step), &about(), false).expect("it is kept");
    }
    let last = folder.path().join("step-000000003.safetensors");
    let bytes = fs::read(&last).expect("it is there");
    fs::write(&last, &bytes[..bytes.len() / 2]).expect("cut short");
    let (path, stored, complaints) = latest_good(folder.path()).expect("two are good");
    assert!(path.ends_with("step-000000002.safetensors"));
    assert_eq!(stored.progress.steps, 2);
    assert!(matches!(&complaints[..], [one] if one.contains("step-000000003")), "{complaints:?}");
    assert!(last.is_file());
}

#[test]
fn evaluations_that_were_lost_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = opened(folder.path(), 9);
    assert!(is_empty(folder.path()).expect("it is read") && store.latest().is_none());
    for step in 1..=8 {
        let about = About { awaits_evaluation: step % 3 == 0, ..about() };
        store.save(&weights(step), &about, false).expect("it is kept");
    }
    let found = |told, latest| -> Vec<u64> {
        let (found, complaints) = awaiting(folder.path(), told, latest);
        assert_eq!(complaints, [""; 0]);
        found.iter().map(|stored| stored.progress.steps).collect()
    };
    assert_eq!([found(0, 8), found(3, 8), found(6, 8)], [vec![3, 6], vec![6], vec![]]);
    // The latest is no earlier one, and what comes after it does not count.
    assert_eq!([found(3, 6), found(3, 4), found(8, 2)], [[0; 0]; 3]);
}

#[test]
fn a_checkpoint_stays_until_the_last_stage_has_evaluated_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let mut store = Store::open(path, 1, ["fast", "slow"].into_iter()).expect("it opens");
    let report = |stage: &str, step, precision| EvaluationReport {
        stage: stage.to_owned(),
        ..report(step, precision, if stage == "fast" { "train" } else { "test" })
    };
    for step in 1..=3 {
        store.save(&weights(step), &about(), true).expect("it is kept");
        store.evaluated(&report("fast", step, 0.9)).expect("noted");
    }
    assert_eq!(steps(path), [1, 2, 3]);
    let best = |store: &Store| store.best().map(|best| (best.step, best.stage.clone()));
    assert_eq!(best(&store), Some((1, "fast".to_owned())));
    // Only the stage that chooses counts: the first, if nothing else is said.
    assert!(!store.evaluated(&report("slow", 1, 0.95)).expect("noted"));
    assert!(!store.evaluated(&report("slow", 2, 0.4)).expect("noted"));
    store.tidy();
    assert_eq!(steps(path), [1, 3]);
    assert!(!store.evaluated(&report("slow", 3, 0.1)).expect("noted"));
    // As when a run goes on: nothing has been told of it in this process.
    let mut store = Store::open(path, 1, ["fast", "slow"].into_iter()).expect("it opens");
    store.await_evaluation([3]);
    store.save(&weights(4), &about(), false).expect("it is kept");
    assert_eq!(steps(path), [1, 3, 4]);
}

#[test]
fn another_stage_may_choose_the_best_when_a_run_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let open = || Store::open(path, 9, ["fast", "slow"].into_iter()).expect("it opens");
    let report = |stage: &str, step, precision| EvaluationReport {
        stage: stage.to_owned(),
        ..report(step, precision, "test")
    };
    let mut store = open();
    for step in 1..=3 {
        store.save(&weights(step), &about(), false).expect("it is kept");
    }
    store.evaluated(&report("fast", 1, 0.9)).expect("noted");
    let best = |store: &Store| store.best().map(|best| (best.step, best.stage.clone()));
    let earlier = [report("slow", 2, 0.3), report("slow", 3, 0.2), report("slow", 7, 0.8)];
    // The weights after step 7 are gone.
    let by = |stage, earlier: &[_]| open().choosing_by(stage, earlier).expect("written");
    assert_eq!(best(&by(None, &earlier)), Some((1, "fast".to_owned())));
    // Nothing is known of it yet: what there is stays, and gives way to whatever comes.
    assert_eq!(best(&by(Some("slow"), &[])), Some((1, "fast".to_owned())));
    assert_eq!(best(&by(Some("slow"), &earlier)), Some((2, "slow".to_owned())));
    assert_eq!(best(&open()), Some((2, "slow".to_owned())));
    let mut store = by(Some("fast"), &[]);
    assert!(store.evaluated(&report("fast", 3, 0.1)).expect("noted"));
    assert_eq!(best(&store), Some((3, "fast".to_owned())));
}

#[test]
fn what_a_continuation_supersedes_is_moved_and_not_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, aside) = (folder.path().join("checkpoints"), folder.path().join("superseded"));
    for round in 0..2 {
        let mut store = opened(&path, 5);
        for step in 1..=3 {
            store.save(&weights(step), &about(), false).expect("it is kept");
        }
        store.evaluated(&report(3, 0.5, "test")).expect("noted");
        store.supersede(1, &aside).expect("moved");
        assert_eq!((steps(&path), store.best()), (vec![1], None), "round {round}");
    }
    // Two checkpoints and what was best, twice.
    assert_eq!(fs::read_dir(&aside).expect("it is there").count(), 6);
}

#[test]
fn a_checkpoint_that_is_removed_while_it_is_read_is_no_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |step: u64| folder.path().join(format!("step-{step:09}.safetensors"));
    write(&path(2), &weights(2), &about()).expect("it is written");
    let found = latest_good_by(folder.path(), |asked| {
        // The run goes on meanwhile.
        if asked == path(2) {
            write(&path(3), &weights(3), &about()).expect("it is written");
            fs::remove_file(path(2)).expect("it is removed");
        }
        read(asked)
    });
    let (found, stored, complaints) = found.expect("there is a good one");
    assert_eq!((found, stored.progress.steps), (path(3), 3));
    assert_eq!(complaints, [""; 0]);
}

#[test]
fn a_lost_evaluation_of_a_damaged_checkpoint_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = opened(folder.path(), 9);
    for step in 1..=4 {
        let about = About { awaits_evaluation: step == 3, ..about() };
        store.save(&weights(step), &about, false).expect("it is kept");
    }
    let path = |step: u64| folder.path().join(file_name(step));
    for step in [1, 3] {
        let mut bytes = fs::read(path(step)).expect("it is there");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(path(step), bytes).expect("it is written");
    }
    let (found, complaints) = awaiting(folder.path(), 1, 4);
    assert!(found.is_empty());
    let [told] = &complaints[..] else { panic!("{complaints:?}") };
    assert!(told.contains("step-000000003"), "{told}");
    assert!(told.ends_with("if its evaluation was lost, step 3 stays without one"), "{told}");
}

#[test]
fn a_folder_of_a_checkpoints_name_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = opened(folder.path(), 9);
    fs::create_dir(folder.path().join(file_name(7))).expect("it is made");
    assert!(is_empty(folder.path()).expect("it is read"));
    store.save(&weights(2), &about(), false).expect("it is kept");
    let (found, ..) = latest_good(folder.path()).expect("one is good");
    assert!(found.ends_with(file_name(2)));
    store.supersede(1, &folder.path().join("aside")).expect("it is moved");
    let refused = read(&folder.path().join(file_name(7))).expect_err("a folder");
    assert!(format!("{refused:#}").contains("folder"), "{refused:#}");
}
