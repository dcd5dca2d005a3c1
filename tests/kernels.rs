//! Every kernel, in every form, against its reference in f64.

mod common;

use compute::adapter::Adapter;
use compute::kernel::{Case, Constants, Kernel, Variant, linear_workgroups};
use compute::precision::Precision;
use compute::verify::{self, Outcome};

/// Runs these kernels on these adapters and fails with a list of everything that is wrong. Gives the
/// hashes of all results on each.
fn check(
    adapters: &[&dyn Adapter],
    kernels: &[&'static Kernel],
    precision: Precision,
) -> Vec<Vec<(String, u64)>> {
    let mut failures = Vec::new();
    let mut fingerprints = vec![Vec::new(); adapters.len()];
    for kernel in kernels {
        let all = verify::kernel_on(adapters, kernel, precision)
            .unwrap_or_else(|error| panic!("{} does not run: {error:#}", kernel.name));
        for (outcomes, fingerprints) in all.into_iter().zip(&mut fingerprints) {
            assert!(!outcomes.is_empty(), "{} has no cases", kernel.name);
            let share =
                |outcome: &Outcome| outcome.worst_error / outcome.bound.max(f64::MIN_POSITIVE);
            let worst = outcomes.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
            if let Some(worst) = worst {
                println!("{}, {} runs, worst: {worst}", kernel.name, outcomes.len());
            }
            let named = |o: &Outcome| (format!("{} {}", o.variant, o.case), o.fingerprint);
            fingerprints.extend(outcomes.iter().map(named));
            failures.extend(outcomes.into_iter().filter(|o| !o.passed).map(|o| o.to_string()));
        }
    }
    assert!(failures.is_empty(), "{}:\n{}", adapters[0].info().name, failures.join("\n"));
    fingerprints
}

#[test]
fn the_cpu_forms_match_the_reference_whatever_the_number_of_threads() {
    let (alone, three) = (common::cpu(1), common::cpu(3));
    let found = check(&[&alone, &three], shaders::ALL, Precision::F32);
    assert_eq!(found[0], found[1]);
}

#[test]
fn the_cpu_forms_match_the_reference_in_bf16_whatever_the_number_of_threads() {
    let (alone, three) = (common::cpu(1), common::cpu(3));
    if !alone.info().precisions.contains(&Precision::Bf16) {
        return common::skip_on_this_processor("AVX512-BF16");
    }
    let found = check(&[&alone, &three], shaders::ALL, Precision::Bf16);
    assert_eq!(found[0], found[1]);
    // Some have another form for it.
    assert_ne!(found[0], check(&[&alone], shaders::ALL, Precision::F32)[0]);
}

#[test]
fn the_wgsl_forms_match_the_reference_in_f16_with_the_same_bits_every_time() {
    for adapter in common::gpus_in(Precision::F16) {
        let twice = check(&[&adapter, &adapter], shaders::ALL, Precision::F16);
        assert_eq!(twice[0], twice[1]);
    }
}

#[test]
fn the_wgsl_forms_match_the_reference_with_the_same_bits_every_time() {
    for adapter in common::gpus() {
        let twice = check(&[&adapter, &adapter], shaders::ALL, Precision::F32);
        assert_eq!(twice[0], twice[1]);
    }
}

/// More workgroups than the 65,535 of a row, so that a dispatch has two. Each has one invocation
/// instead of 256, which makes for fewer elements.
#[test]
fn a_dispatch_of_several_rows_reaches_every_element() {
    let relu = &shaders::relu_forward::KERNEL;
    let text = relu.variants[0].wgsl;
    let narrow = text.replace("@workgroup_size(256)", "@workgroup_size(1)").replace("256u", "1u");
    assert_eq!(narrow.matches("256").count(), 0, "{narrow}");
    let variant = Variant {
        wgsl: narrow.leak(),
        workgroups: |c, images| linear_workgroups(images * c.size("LENGTH"), 1),
        ..relu.variants[0]
    };
    let rows = Kernel {
        variants: vec![variant].leak(),
        cases: || vec![Case::new(1, Constants::default().with("LENGTH", 65_535 + 2))],
        ..relu.clone()
    };
    let rows: &'static Kernel = Box::leak(Box::new(rows));
    for adapter in common::gpus() {
        check(&[&adapter], &[rows], Precision::F32);
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
