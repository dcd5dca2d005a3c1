//! Every kernel, in every form, against its reference in f64.

mod common;

use runtime::adapter::Adapter;
use runtime::kernel::{Case, Constants, Kernel};
use runtime::precision::Precision;
use runtime::verify::{self, Outcome};

/// Runs these kernels and fails with a list of everything that is wrong. Gives the hashes of all
/// results.
fn check(
    adapter: &dyn Adapter,
    kernels: &[&'static Kernel],
    precision: Precision,
) -> Vec<(String, u64)> {
    let mut failures = Vec::new();
    let mut fingerprints = Vec::new();
    for kernel in kernels {
        let outcomes = verify::kernel(adapter, kernel, precision)
            .unwrap_or_else(|error| panic!("{} does not run: {error:#}", kernel.name));
        assert!(!outcomes.is_empty(), "{} has no cases", kernel.name);
        let share = |outcome: &Outcome| outcome.worst_error / outcome.bound.max(f64::MIN_POSITIVE);
        let worst = outcomes.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
        if let Some(worst) = worst {
            println!("{}, {} runs, worst: {worst}", kernel.name, outcomes.len());
        }
        let named = |o: &Outcome| (format!("{} {}", o.variant, o.case), o.fingerprint);
        fingerprints.extend(outcomes.iter().map(named));
        failures.extend(outcomes.into_iter().filter(|o| !o.passed).map(|o| o.to_string()));
    }
    assert!(failures.is_empty(), "{}:\n{}", adapter.info().name, failures.join("\n"));
    fingerprints
}

#[test]
fn the_cpu_forms_match_the_reference_whatever_the_number_of_threads() {
    let alone = check(&common::cpu(1), shaders::ALL, Precision::F32);
    assert_eq!(alone, check(&common::cpu(3), shaders::ALL, Precision::F32));
}

#[test]
fn the_cpu_forms_match_the_reference_in_bf16_whatever_the_number_of_threads() {
    if !common::cpu(1).info().precisions.contains(&Precision::Bf16) {
        return common::skip("AVX512-BF16");
    }
    let alone = check(&common::cpu(1), shaders::ALL, Precision::Bf16);
    assert_eq!(alone, check(&common::cpu(3), shaders::ALL, Precision::Bf16));
    // Some have another form for it.
    assert_ne!(alone, check(&common::cpu(1), shaders::ALL, Precision::F32));
}

#[test]
fn the_wgsl_forms_match_the_reference_in_f16_with_the_same_bits_every_time() {
    for adapter in common::gpus_in(Precision::F16) {
        let once = check(&adapter, shaders::ALL, Precision::F16);
        assert_eq!(once, check(&adapter, shaders::ALL, Precision::F16));
    }
}

#[test]
fn the_wgsl_forms_match_the_reference_with_the_same_bits_every_time() {
    for adapter in common::gpus() {
        let once = check(&adapter, shaders::ALL, Precision::F32);
        assert_eq!(once, check(&adapter, shaders::ALL, Precision::F32));
    }
}

/// More elements than 65,535 workgroups take, so that a dispatch has two rows.
#[test]
fn a_dispatch_of_several_rows_reaches_every_element() {
    let rows = Kernel {
        cases: || {
            let constants = Constants::default().with("LENGTH", 65_535 * 256 + 1);
            vec![Case::new(1, constants)]
        },
        ..shaders::relu_forward::KERNEL.clone()
    };
    let rows: &'static Kernel = Box::leak(Box::new(rows));
    for adapter in common::gpus() {
        check(&adapter, &[rows], Precision::F32);
    }
}

#[test]
fn the_list_is_in_order_and_complete() {
    let names: Vec<&str> = shaders::ALL.iter().map(|kernel| kernel.name).collect();
    assert!(names.is_sorted(), "{names:?}");
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/src");
    let files = std::fs::read_dir(here).expect("the kernels' files are there");
    let with_kernel = files.filter(|file| {
        let path = file.as_ref().expect("a file").path();
        std::fs::read_to_string(path).expect("its text").contains("pub static KERNEL: Kernel")
    });
    assert_eq!(with_kernel.count(), names.len());
}
