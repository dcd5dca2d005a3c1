//! Holds the kernels of an adapter against their reference in f64.
//!
//! The tests use this, and so does `runtime selftest` on the machine at hand.

pub mod golden;
pub mod network;

use std::fmt;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::adapter::host::Reference;
use crate::adapter::{Adapter, Lowering, Replica, Values};
use crate::graph::{Graph, Phase, TensorId};
use crate::kernel::{Access, Binding, Case, Dtype, Extent, Kernel, Step, Variant};
use crate::precision::{Precision, ROUNDING, f16_bits, from_f16_bits, to_bf16};
use base::random::Random;

/// The largest error of rounding a number to f16 that is too small to be normal.
const F16_TINY: f64 = 1.0 / 33_554_432.0;

/// What one form of a kernel did on one case.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The kernel.
    pub kernel: &'static str,
    /// Its WGSL variant, or `cpu`.
    pub variant: &'static str,
    /// The sizes.
    pub case: String,
    /// The binding that came closest to its bound, or went beyond it.
    pub binding: &'static str,
    /// The largest difference to the reference in that binding; for indices, how many differ.
    pub worst_error: f64,
    /// The largest difference allowed.
    pub bound: f64,
    /// Whether every binding is within its bound and free of NaN.
    pub passed: bool,
    /// A hash of every bit of the results: equal where two runs agree to the last bit.
    pub fingerprint: u64,
    /// Why there are no results, if the adapter could not compile or run the kernel.
    pub error: Option<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variant, case, binding, worst_error, bound, passed, .. } = self;
        let verdict = if *passed { "ok" } else { "FAILED" };
        if let Some(error) = &self.error {
            return write!(f, "{verdict} {variant} ({case}): {error}");
        }
        write!(f, "{verdict} {variant} ({case}): {binding} {worst_error:.1e} of {bound:.1e}")
    }
}

/// Runs a kernel on all its cases, and on an adapter that takes WGSL in each variant that can do
/// the case.
///
/// Below f32 the inputs are numbers that the precision holds. So rounding them changes nothing,
/// products are as exact as in f32, and sums are f32: results keep f32's bound, and those stored in
/// f16 miss by one rounding more.
///
/// # Errors
/// If the reference cannot run the kernel. Wrong results of the adapter are outcomes, and so are
/// kernels that it cannot compile or run.
pub fn kernel(
    adapter: &dyn Adapter,
    kernel: &'static Kernel,
    precision: Precision,
) -> Result<Vec<Outcome>> {
    Ok(outcomes(&[adapter], kernel, precision, false)?.remove(0))
}

/// The same on each of several adapters, with inputs and the reference computed once.
///
/// # Errors
/// As those of [`kernel`].
pub fn kernel_on(
    adapters: &[&dyn Adapter],
    kernel: &'static Kernel,
    precision: Precision,
) -> Result<Vec<Vec<Outcome>>> {
    outcomes(adapters, kernel, precision, false)
}

/// As [`kernel`], but a form that fails a case is not run on the cases after it.
///
/// # Errors
/// As those of [`kernel`].
pub fn until_failure(
    adapter: &dyn Adapter,
    kernel: &'static Kernel,
    precision: Precision,
) -> Result<Vec<Outcome>> {
    Ok(outcomes(&[adapter], kernel, precision, true)?.remove(0))
}

fn outcomes(
    adapters: &[&dyn Adapter],
    kernel: &'static Kernel,
    precision: Precision,
    until_failure: bool,
) -> Result<Vec<Vec<Outcome>>> {
    let mut forms: Vec<_> = adapters.iter().map(|adapter| forms(*adapter, kernel)).collect();
    let mut outcomes = vec![Vec::new(); adapters.len()];
    for (number, case) in (kernel.cases)().iter().enumerate() {
        if forms.iter().all(Vec::is_empty) {
            break;
        }
        let trial = Trial::new(kernel, case, number as u64, precision)?;
        for ((adapter, forms), outcomes) in adapters.iter().zip(&mut forms).zip(&mut outcomes) {
            forms.retain(|(name, kernel, variant)| {
                if variant.is_some_and(|variant| !(variant.applies)(&case.constants)) {
                    return true;
                }
                let outcome = trial.outcome(*adapter, name, kernel);
                let outcome = outcome.unwrap_or_else(|error| Outcome {
                    error: Some(format!("{error:#}")),
                    worst_error: f64::INFINITY,
                    passed: false,
                    ..trial.blank(name)
                });
                let stays = outcome.passed || !until_failure;
                outcomes.push(outcome);
                stays
            });
        }
    }
    Ok(outcomes)
}

/// Every form that an adapter has of a kernel: its name, a kernel of that form alone, and the
/// variant that it is on `wgpu` adapters. A graph refers to kernels forever; these few bytes are
/// never given back.
pub fn forms(
    adapter: &dyn Adapter,
    kernel: &'static Kernel,
) -> Vec<(&'static str, &'static Kernel, Option<Variant>)> {
    if adapter.info().backend == "cpu" {
        return vec![("cpu", kernel, None)];
    }
    let alone = |variant: &Variant| -> &'static Kernel {
        let variants = Box::leak(Box::new([*variant]));
        Box::leak(Box::new(Kernel { variants, ..kernel.clone() }))
    };
    kernel.variants.iter().map(|v| (v.name, alone(v), Some(*v))).collect()
}

/// A case with its inputs and the reference's results.
struct Trial<'a> {
    kernel: &'static Kernel,
    case: &'a Case,
    precision: Precision,
    step: Step,
    /// What each binding holds before; outputs too, so that what a kernel must leave alone and
    /// what it must not read both show.
    before: Vec<Contents>,
    /// What each binding holds afterwards.
    expected: Vec<Expected>,
}

enum Contents {
    Real(Vec<f32>),
    Index(Vec<u32>),
}

enum Expected {
    Real(Vec<f64>),
    Index(Vec<u32>),
}

impl<'a> Trial<'a> {
    fn new(
        kernel: &'static Kernel,
        case: &'a Case,
        number: u64,
        precision: Precision,
    ) -> Result<Self> {
        let mut step = Step::of(case.images);
        step.step = 3;
        step.learning_rate = 0.1;
        step.average_decay = 0.9;
        step.seed = 17;
        if case.accumulate {
            step.accumulate = 1;
            step.batch = 3 * step.images;
        }
        let graph = graph(kernel, case);
        let mut before = Vec::new();
        for (binding, tensor) in kernel.bindings.iter().zip(&graph.tensors) {
            let length = tensor.len_for(room(case));
            let mut random = Random::keyed(number, kernel.name, 0, before.len() as u64);
            let mut contents = contents(binding, case, length, &mut random)
                .with_context(|| format!("{}: {} of a case", kernel.name, binding.name))?;
            if let Contents::Real(values) = &mut contents {
                values.iter_mut().for_each(|value| *value = held(precision, binding, *value));
            }
            before.push(contents);
        }
        let mut reference = Reference::lower(&graph, room(case))?;
        fill(&mut reference, &before)?;
        reference.run(&[graph.whole(Phase::Forward)], &step)?;
        let mut expected = Vec::new();
        for (at, contents) in before.iter().enumerate() {
            expected.push(match contents {
                Contents::Real(_) => Expected::Real(reference.values(TensorId(at)).to_vec()),
                Contents::Index(values) => {
                    Expected::Index(reference.read_index(TensorId(at), values.len())?)
                }
            });
        }
        Ok(Self { kernel, case, precision, step, before, expected })
    }

    fn describe(&self) -> String {
        let Case { constants, images, accumulate, given, slack } = self.case;
        let mut text = format!("images={images} {constants}");
        if *accumulate {
            text.push_str(" accumulating");
        }
        if self.precision != Precision::F32 {
            text.push_str(&format!(" in {}", self.precision));
        }
        for (name, _) in given {
            text.push_str(&format!(" given {name}"));
        }
        if let Some((factor, why)) = slack {
            text.push_str(&format!(" with {factor} times the bound, since {why}"));
        }
        text
    }

    /// Whether all that goes in is finite.
    fn is_finite(&self) -> bool {
        self.before.iter().all(|contents| match contents {
            Contents::Real(values) => values.iter().all(|value| value.is_finite()),
            Contents::Index(_) => true,
        })
    }

    /// An outcome that nothing is known of yet.
    fn blank(&self, variant: &'static str) -> Outcome {
        Outcome {
            kernel: self.kernel.name,
            variant,
            case: self.describe(),
            binding: "",
            worst_error: 0.0,
            bound: 0.0,
            passed: true,
            fingerprint: 0,
            error: None,
        }
    }

    fn outcome(
        &self,
        adapter: &dyn Adapter,
        variant: &'static str,
        kernel: &'static Kernel,
    ) -> Result<Outcome> {
        let graph = graph(kernel, self.case);
        let how = Lowering { precision: self.precision, ..Lowering::of(room(self.case)) };
        let mut replica = adapter.lower(&graph, &how)?;
        fill(replica.as_mut(), &self.before)?;
        replica.run(&[graph.whole(Phase::Forward)], &self.step)?;
        let mut outcome = self.blank(variant);
        let terms = (self.kernel.terms)(&self.case.constants, self.case.images).max(1);
        let slack = self.case.slack.map_or(1.0, |(factor, _)| factor);
        let mut worst_share = f64::NEG_INFINITY;
        for (at, (binding, expected)) in self.kernel.bindings.iter().zip(&self.expected).enumerate()
        {
            let (error, bound) = match expected {
                Expected::Real(expected) => {
                    let actual = replica.read(TensorId(at), expected.len())?;
                    mix(&mut outcome.fingerprint, actual.iter().map(|value| value.to_bits()));
                    if let (Access::Read, Contents::Real(before)) =
                        (binding.access, &self.before[at])
                    {
                        (changed(&actual, before) as f64, 0.0)
                    } else {
                        let written = expected.len() - self.spare(at);
                        let finite = expected[..written].iter().filter(|r| r.is_finite());
                        let largest = finite.fold(0.0_f64, |m, r| m.max(r.abs()));
                        let mut bound = slack * ROUNDING * (terms as f64).sqrt() * largest;
                        if stored(self.precision, binding) == Precision::F16 {
                            bound += Precision::F16.roundoff() * largest + F16_TINY;
                        }
                        (worst_difference(&actual, expected, self.is_finite()), bound)
                    }
                }
                Expected::Index(expected) => {
                    let actual = replica.read_index(TensorId(at), expected.len())?;
                    mix(&mut outcome.fingerprint, actual.iter().copied());
                    let wrong = actual.iter().zip(expected).filter(|(a, r)| a != r).count();
                    (wrong as f64, 0.0)
                }
            };
            // A NaN is within no bound.
            let passed = error <= bound;
            outcome.passed &= passed;
            let share = match error / bound {
                _ if !passed => f64::INFINITY,
                share if share.is_nan() => 0.0,
                share => share,
            };
            if binding.access == Access::Write && share > worst_share || !passed {
                worst_share = share;
                (outcome.binding, outcome.worst_error, outcome.bound) =
                    (binding.name, error, bound);
            }
        }
        Ok(outcome)
    }

    /// Elements of a binding beyond the images of the step.
    fn spare(&self, at: usize) -> usize {
        let tensor = &graph(self.kernel, self.case).tensors[at];
        tensor.len_for(room(self.case)) - tensor.len_for(self.case.images)
    }
}

/// What the numbers of a binding are stored in.
fn stored(precision: Precision, binding: &Binding) -> Precision {
    match (precision, binding.dtype, binding.extent) {
        (Precision::F16, Dtype::Real, Extent::PerImage) => Precision::F16,
        _ => Precision::F32,
    }
}

/// The number nearest to this one that a binding's rounding leaves alone.
fn held(precision: Precision, binding: &Binding, value: f32) -> f32 {
    match (precision, stored(precision, binding)) {
        (Precision::Bf16, _) => to_bf16(value),
        (_, Precision::F16) => from_f16_bits(f16_bits(value)),
        _ => value,
    }
}

/// Images to make room for: one more than the kernel is to touch.
fn room(case: &Case) -> usize {
    case.images + 1
}

fn graph(kernel: &'static Kernel, case: &Case) -> Arc<Graph> {
    Arc::new(Graph::of_one(kernel, &case.constants))
}

/// What a binding holds before the kernel runs: what the case gives, else normal numbers, rounded
/// to f32 so that the reference starts from the same ones.
fn contents(
    binding: &Binding,
    case: &Case,
    length: usize,
    random: &mut Random,
) -> Result<Contents> {
    let given = case.given.iter().find(|(name, _)| *name == binding.name).map(|(_, v)| v);
    if let Some(given) = given
        && given.len() > length
    {
        bail!("{} values given for {length} elements", given.len());
    }
    let given = given.into_iter().flatten();
    match (binding.dtype, binding.access) {
        (Dtype::Real, _) => {
            let mut values: Vec<f32> = given.map(|value| *value as f32).collect();
            values.resize_with(length, || random.normal() as f32);
            Ok(Contents::Real(values))
        }
        (Dtype::Index, Access::Write) => {
            let mut values: Vec<u32> = given.map(|value| *value as u32).collect();
            values.resize_with(length, || random.bits());
            Ok(Contents::Index(values))
        }
        (Dtype::Index, Access::Read) => {
            let mut values: Vec<u32> = given.map(|value| *value as u32).collect();
            if values.is_empty() {
                bail!("indices must be given");
            }
            values.resize(length, 0);
            Ok(Contents::Index(values))
        }
    }
}

fn fill(replica: &mut dyn Replica, contents: &[Contents]) -> Result<()> {
    for (at, contents) in contents.iter().enumerate() {
        let values = match contents {
            Contents::Real(values) => Values::Real(values),
            Contents::Index(values) => Values::Index(values),
        };
        replica.write(TensorId(at), values)?;
    }
    Ok(())
}

/// How many numbers are not, to the bit, what they were: a kernel leaves alone what it only reads,
/// and a NaN there is as good as any number.
fn changed(actual: &[f32], before: &[f32]) -> usize {
    let differs = |(a, b): &(&f32, &f32)| a.to_bits() != b.to_bits();
    actual.iter().zip(before).filter(differs).count()
}

/// The largest difference; NaN if there is any NaN. Where what goes in is not finite, there may be
/// anything in place of what is not finite in the reference: WGSL lets a driver take for granted that
/// no number is infinite.
fn worst_difference(actual: &[f32], expected: &[f64], from_finite: bool) -> f64 {
    let looked_at = actual.iter().zip(expected).filter(|(_, r)| from_finite || r.is_finite());
    let differences = looked_at.map(|(a, r)| (f64::from(*a) - r).abs());
    differences.fold(0.0, |worst, d| if d.is_nan() || d > worst { d } else { worst })
}

/// Continues a hash: every step is a bijection of the hash so far, so no difference is lost again.
fn mix(hash: &mut u64, words: impl Iterator<Item = u32>) {
    *hash = words.fold(*hash, |hash, word| {
        (hash ^ u64::from(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Info;
    use crate::adapter::host::Cpu;
    use crate::kernel::{Constants, Extent};

    /// An adapter that takes nothing.
    struct Broken(Info);

    impl Adapter for Broken {
        fn info(&self) -> &Info {
            &self.0
        }

        fn lower(&self, _: &Arc<Graph>, _: &Lowering) -> Result<Box<dyn Replica>> {
            Err(anyhow::anyhow!("line 3: no such type").context("it does not compile"))
        }
    }

    static KERNEL: Kernel = Kernel {
        name: "kernel",
        about: "",
        bindings: &[Binding::write("y", Extent::Whole)],
        lengths: |_| vec![2],
        terms: |_, _| 1,
        variants: &[],
        cpu: |_| {},
        reference: |_| {},
        cases: || vec![Case::new(1, Constants::default()); 2],
    };

    #[test]
    fn a_kernel_that_does_not_run_is_an_outcome() {
        let info = Cpu::new(1).expect("the cpu adapter starts").info().clone();
        let outcomes = kernel(&Broken(info), &KERNEL, Precision::F32).expect("the reference runs");
        assert_eq!(outcomes.len(), 2);
        for outcome in outcomes {
            assert!(!outcome.passed);
            let text = outcome.to_string();
            assert!(text.ends_with(": it does not compile: line 3: no such type"), "{text}");
        }
    }

    #[test]
    fn what_is_only_read_must_keep_every_bit() {
        assert_eq!(changed(&[f32::NAN, 1.0, 0.0], &[f32::NAN, 1.0, 0.0]), 0);
        assert_eq!(changed(&[1.0, 0.0], &[1.0 + f32::EPSILON, -0.0]), 2);
    }

    #[test]
    fn a_nan_is_a_difference_wherever_it_stands() {
        assert!(worst_difference(&[f32::NAN, 1.0], &[0.0, 0.0], true).is_nan());
        assert!(worst_difference(&[1.0, f32::NAN], &[0.0, 0.0], false).is_nan());
        assert_eq!(worst_difference(&[1.0, 2.5], &[0.0, 2.0], true), 1.0);
        let infinite = [f64::INFINITY, 2.0];
        assert_eq!(worst_difference(&[f32::NAN, 2.5], &infinite, false), 0.5);
        assert!(worst_difference(&[f32::INFINITY, 2.5], &infinite, true).is_nan());
    }
}
