//! Forms of kernels that were found the fastest: kept, recorded, and taken again by a run that goes
//! on, whatever has become of the place where they were kept.

mod common;
#[path = "common/runs.rs"]
mod runs;

use std::fs;

use compute::adapter::{Adapter as _, wgpu};
use record::checkpoint::Stored;
use serde_json::Value;

use runs::{PIPELINE, Place, Run, assert_end_alike};

const STEPS: &str = "steps=8";

/// A place for runs on lavapipe, or a skip.
fn place() -> Option<Place> {
    let is_it = |adapter: &wgpu::WgpuAdapter| {
        adapter.info().backend == "vulkan" && adapter.info().name.contains("llvmpipe")
    };
    if wgpu::enumerate().iter().any(is_it) {
        return Some(Place::new(&PIPELINE.replace("adapter: cpu", "adapter: lavapipe")));
    }
    common::skip("software Vulkan");
    None
}

fn kept(place: &Place) -> Value {
    let text = fs::read(place.cache().join("variants.json")).expect("it was kept");
    serde_json::from_slice(&text).expect("JSON")
}

/// Trains a step at a time until every kernel is measured: each run measures one at least, and how
/// many more depends on the machine. Then makes what is kept name the last form of each, which can
/// do any sizes. Gives how many there are.
fn prefer_the_last(place: &Place, set: &[&str]) -> usize {
    let mut before = None;
    for number in 0.. {
        place.train(&format!("measured-{number}"), &[set, &["steps=1"]].concat());
        let now = kept(place);
        if before.as_ref() == Some(&now) {
            break;
        }
        before = Some(now);
    }
    let mut kept = kept(place);
    let adapters = kept["adapters"].as_object_mut().expect("adapters");
    let found = adapters.values_mut().flat_map(|found| found.as_object_mut().expect("uses"));
    let mut uses = 0;
    for (key, found) in found {
        let is_it =
            |kernel: &&&compute::kernel::Kernel| key.starts_with(&format!("{} ", kernel.name));
        let kernel = shaders::ALL.iter().find(is_it).expect("one of the kernels");
        found["variant"] = kernel.variants.last().expect("a form").name.into();
        uses += 1;
    }
    fs::write(place.cache().join("variants.json"), kept.to_string()).expect("it is written");
    uses
}

/// How many uses of kernels ran in their last form of several.
fn in_the_last(run: &Run) -> usize {
    let record: Value = serde_json::from_str(&run.text("variants.json")).expect("JSON");
    let kernels = record["kernels"].as_array().expect("kernels");
    let is_it = |used: &&Value| {
        let kernel = shaders::ALL.iter().find(|kernel| used["kernel"] == kernel.name);
        let forms = kernel.expect("one of the kernels").variants;
        forms.len() > 1 && forms.last().is_some_and(|form| used["variant"] == form.name)
    };
    kernels.iter().filter(is_it).count()
}

fn bits(stored: &Stored) -> Vec<u32> {
    stored.tensors.iter().flat_map(|tensor| &tensor.values).map(|value| value.to_bits()).collect()
}

#[test]
fn a_run_that_goes_on_takes_the_forms_that_it_began_with() {
    let Some(place) = place() else { return };
    let uses = prefer_the_last(&place, &[]);
    assert!(uses > 3, "{}", kept(&place));
    let alone = place.train("alone", &[STEPS]);
    assert!(in_the_last(&alone) >= uses, "{}", alone.text("variants.json"));
    let first = place.train("first", &[STEPS, "autotune=false"]);
    assert!(in_the_last(&first) < uses, "{}", first.text("variants.json"));
    assert_ne!(bits(&alone.stored(8)), bits(&first.stored(8)), "forms change bits");

    let run = place.train("net", &["steps=3"]);
    let recorded = run.text("variants.json");
    assert_eq!(
        serde_json::to_value(run.stored(3).about.record()).expect("JSON"),
        serde_json::from_str::<Value>(&recorded).expect("JSON"),
    );
    let kept = place.cache().join("variants.json");
    fs::write(&kept, "no JSON").expect("it is written");
    let said = place.resume("net", &[STEPS]);
    assert!(!said.out.contains("bit-exact"), "{}", said.out);
    assert_eq!(run.text("variants.json"), recorded);
    assert_eq!(fs::read_to_string(&kept).expect("it is there"), "no JSON", "it measured again");
    assert_end_alike(&alone, &run, Some(3));
    // So does one without anything that was kept.
    fs::remove_dir_all(place.cache()).expect("it was there");
    let run = place.train("other", &["steps=3", "autotune=false"]);
    assert!(!place.cache().exists(), "it measured");
    place.resume("other", &[STEPS, "autotune=true"]);
    assert!(!place.cache().exists(), "it measured");
    assert_end_alike(&first, &run, Some(3));
}

#[test]
fn each_of_several_adapters_takes_the_forms_that_it_began_with() {
    let Some(place) = place() else { return };
    let set = [
        "stages.train.reducer.adapters=[cpu, { adapter: lavapipe, replicas: 2 }]",
        "stages.train.reducer.balance=equal",
    ];
    let uses = prefer_the_last(&place, &set);
    assert!(uses > 3, "{}", kept(&place));
    let alone = place.train("alone", &[&set[..], &[STEPS]].concat());
    let forms = |run: &Run, tower: &str| {
        let record: Value = serde_json::from_str(&run.text("variants.json")).expect("JSON");
        record["towers"][tower]["kernels"].clone()
    };
    let first = [&set[..], &[STEPS, "autotune=false"]].concat();
    let first = place.train("first", &first);
    for tower in ["tower_1", "tower_2"] {
        assert_ne!(forms(&alone, tower), forms(&first, tower), "{tower}");
    }
    assert_ne!(bits(&alone.stored(8)), bits(&first.stored(8)), "forms change bits");
    let run = place.train("net", &[&set[..], &["steps=3"]].concat());
    let recorded = run.text("variants.json");
    fs::remove_dir_all(place.cache()).expect("it was there");
    let said = place.resume("net", &[STEPS]);
    assert!(!said.out.contains("bit-exact"), "{}", said.out);
    assert_eq!(run.text("variants.json"), recorded);
    assert!(!place.cache().exists(), "it measured again");
    assert_end_alike(&alone, &run, Some(3));
}

#[test]
fn what_runs_is_recorded_before_the_first_step() {
    let Some(place) = place() else { return };
    // Less than a batch: it is ready for its first step, but has none.
    let said = place.say(&["net.yaml", "--run", "net"], &["epochs=0.1"]);
    assert_eq!(said.status, Some(1), "{}", said.told);
    let run = place.run("net");
    assert!(run.checkpoints().is_empty());
    let record: Value = serde_json::from_str(&run.text("variants.json")).expect("JSON");
    assert_eq!(record["adapter"]["backend"], "vulkan");
    assert_eq!(record["micro_batch"], 16);
    assert!(record["kernels"].as_array().is_some_and(|kernels| kernels.len() > 10), "{record}");
    // A damaged file is replaced by one that can be read.
    fs::write(place.cache().join("variants.json"), "{\"version\":").expect("it is written");
    place.train("again", &["steps=1"]);
    assert_eq!(kept(&place)["version"], 1);
}

#[test]
fn what_cannot_go_on_exactly_says_so_before_its_first_step() {
    let Some(place) = place() else { return };
    let run = place.train("net", &["steps=3", "autotune=false"]);
    let told = |said: &str, why: &str| {
        let place = |text: &str| said.find(text).unwrap_or_else(|| panic!("no {text:?}: {said}"));
        assert!(place("the continuation is not bit-exact: ") < place(": step 3, loss"), "{said}");
        place(why);
    };
    run.rewrite(3, |about| {
        let variants = about.variants.as_mut().expect("it is recorded");
        variants.kernels[0].variant = "gone".to_owned();
    });
    let said = place.resume("net", &["steps=4"]);
    told(&said.out, ": gone before, ");
    told(&run.text("log.txt"), ": gone before, ");
    assert_eq!(run.checkpoints().last(), Some(&4));

    let run = place.train("old", &["steps=3", "autotune=false"]);
    run.rewrite(3, |about| about.variants = None);
    told(&place.resume("old", &["steps=4"]).out, "does not say which kernels it ran");
    assert_eq!(run.checkpoints().last(), Some(&4));

    let run = place.train("moved", &["steps=3", "autotune=false"]);
    told(&place.resume("moved", &["steps=4", "adapter=cpu"]).out, "and goes on with cpu/cpu");
    assert_eq!(run.checkpoints().last(), Some(&4));
}

#[test]
fn the_cpu_adapter_records_its_instructions_and_blocks() {
    let place = Place::new(PIPELINE);
    let run = place.train("net", &["steps=1"]);
    let record: Value = serde_json::from_str(&run.text("variants.json")).expect("JSON");
    assert!(record["instructions"].is_string(), "{record}");
    let blocks = record["blocks"].as_array().expect("blocks");
    assert!(blocks.iter().any(|block| block["images_at_once"].as_u64() < Some(16)), "{record}");
    assert!(!place.cache().exists(), "it has nothing to choose from");
}
