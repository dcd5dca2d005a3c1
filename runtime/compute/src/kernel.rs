//! A kernel: one named piece of arithmetic, in WGSL for `wgpu` adapters and in Rust for the host.
//!
//! A kernel says what it reads and writes (its bindings), and how each binding relates to the
//! batch. With that an adapter can slice a batch, run it in micro-batches or choose among
//! variants without knowing what any kernel computes.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::{Pod, Zeroable};

use crate::isa::Isa;
use crate::precision::Precision;

/// The element type of a tensor on an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// A real number: f32 on the adapters, f64 in the reference.
    Real,
    /// An unsigned 32-bit index.
    Index,
}

/// How a binding relates to the images of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// One entry per image: may be cut along the batch.
    PerImage,
    /// A sum over images, taken in a fixed order: `Step::accumulate` says whether to add to it.
    Summed,
    /// Several sums, one after the other, each over its share of the images; the constant of this
    /// name says how many. A share is the next `images / parts`, rounded up, and a part that is
    /// left without images is 0. The host hands a `cpu` form the sum of one part, already 0 or
    /// begun with earlier images of it, and some images to add.
    PerPart(&'static str),
    /// Independent of the images: weights, averages, statistics.
    Whole,
}

/// What a kernel does with a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Only read.
    Read,
    /// Written; earlier contents may be read as well.
    Write,
}

/// One storage buffer of a kernel; its position in the list is its `@binding` in group 0.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The name, the same in WGSL and in Rust.
    pub name: &'static str,
    /// The element type.
    pub dtype: Dtype,
    /// How it relates to the batch.
    pub extent: Extent,
    /// Read or written.
    pub access: Access,
}

impl Binding {
    /// A real-valued input.
    pub const fn read(name: &'static str, extent: Extent) -> Self {
        Self { name, dtype: Dtype::Real, extent, access: Access::Read }
    }

    /// A real-valued output.
    pub const fn write(name: &'static str, extent: Extent) -> Self {
        Self { name, dtype: Dtype::Real, extent, access: Access::Write }
    }

    /// The same binding holding indices instead of reals.
    pub const fn of_indices(mut self) -> Self {
        self.dtype = Dtype::Index;
        self
    }
}

/// The fixed numbers of one use of a kernel (sizes, strides, coefficients): its WGSL `override`s.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Constants(Vec<(&'static str, f64)>);

impl Constants {
    /// Constants from name and value pairs; names are in `UPPER_SNAKE` case as in WGSL.
    pub fn new(pairs: &[(&'static str, f64)]) -> Self {
        Self(pairs.to_vec())
    }

    /// Adds one whole number.
    pub fn with(mut self, name: &'static str, value: usize) -> Self {
        self.0.push((name, value as f64));
        self
    }

    /// Adds one real number.
    pub fn with_real(mut self, name: &'static str, value: f64) -> Self {
        self.0.push((name, value));
        self
    }

    /// The real number of this name.
    ///
    /// # Panics
    /// If the name was not given: the layer and the kernel disagree, which is a programming error.
    pub fn real(&self, name: &str) -> f64 {
        match self.0.iter().find(|(given, _)| *given == name) {
            Some((_, value)) => *value,
            None => panic!("the kernel reads the constant {name}, which its layer did not give"),
        }
    }

    /// The whole number of this name. Panics like [`Constants::real`].
    pub fn size(&self, name: &str) -> usize {
        self.real(name) as usize
    }

    /// Name and value pairs, in the order given.
    pub fn pairs(&self) -> &[(&'static str, f64)] {
        &self.0
    }
}

impl fmt::Display for Constants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// The numbers that change from step to step: the uniform at group 1, binding 0 of every kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Step {
    /// Images in this micro-batch.
    pub images: u32,
    /// Images in the whole batch, over which means are taken.
    pub batch: u32,
    /// 1: add to the summed tensors instead of replacing them (second and later micro-batches).
    pub accumulate: u32,
    /// The step number, from 0.
    pub step: u32,
    /// The learning rate of this step.
    pub learning_rate: f32,
    /// The decay of the moving averages at this step.
    pub average_decay: f32,
    /// The seed of the run, for kernels that draw random numbers.
    pub seed: u32,
    /// 1 in training, 0 in scoring: what draws at random or takes statistics of a batch differs.
    pub training: u32,
}

impl Step {
    /// A training step over one undivided batch of this many images.
    pub fn of(images: usize) -> Self {
        Self {
            images: images as u32,
            batch: images as u32,
            accumulate: 0,
            step: 0,
            learning_rate: 0.0,
            average_decay: 0.0,
            seed: 0,
            training: 1,
        }
    }
}

/// One WGSL form of a kernel.
#[derive(Clone, Copy)]
pub struct Variant {
    /// The name: that of the `.wgsl` file without its ending, and what sets this form apart where
    /// several share the file.
    pub name: &'static str,
    /// The text of that file, after what it shares with others.
    pub wgsl: &'static str,
    /// The `override`s that are this form's own and not sizes: how the work is cut up.
    pub tuning: &'static [(&'static str, f64)],
    /// Whether this form can do these sizes; the first that can is taken.
    pub applies: fn(&Constants) -> bool,
    /// How many workgroups to dispatch for this many images.
    pub workgroups: fn(&Constants, usize) -> [u32; 3],
}

/// One named piece of arithmetic, in all its forms.
#[derive(Clone)]
pub struct Kernel {
    /// The name: that of its Rust file and of its first WGSL file.
    pub name: &'static str,
    /// One sentence: what it computes.
    pub about: &'static str,
    /// What it reads and writes.
    pub bindings: &'static [Binding],
    /// How many elements each binding has: per image for [`Extent::PerImage`], else in all.
    pub lengths: fn(&Constants) -> Vec<usize>,
    /// The longest sum behind one output element: sets the rounding bound of tests.
    pub terms: fn(&Constants, usize) -> usize,
    /// The WGSL forms, the preferred first; the last must apply always.
    pub variants: &'static [Variant],
    /// The `cpu` adapter's form. That of a kernel which writes only [`Extent::PerImage`] and
    /// [`Extent::PerPart`] is called for some images at a time, on the thread of the caller and
    /// beside others of its kind. Any other is called once, and may use all threads.
    pub cpu: fn(&mut Args<'_, f32>),
    /// The slow, obvious twin in f64 that every other form is held against.
    pub reference: fn(&mut Args<'_, f64>),
    /// Sizes to test: odd ones, and those of the tutorial's network where they are not too slow.
    pub cases: fn() -> Vec<Case>,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// One set of sizes on which a kernel is tested.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// The constants.
    pub constants: Constants,
    /// The number of images.
    pub images: usize,
    /// Whether the summed outputs are added to.
    pub accumulate: bool,
    /// Values of inputs that cannot be arbitrary (indices, probabilities); others are random.
    pub given: Vec<(&'static str, Vec<f64>)>,
    /// By how much the bound is wider than the sums alone ask for, and why.
    pub slack: Option<(f64, &'static str)>,
}

impl Case {
    /// A case with random inputs.
    pub fn new(images: usize, constants: Constants) -> Self {
        Self { constants, images, ..Self::default() }
    }

    /// The same case with fixed values for one input.
    pub fn given(mut self, binding: &'static str, values: Vec<f64>) -> Self {
        self.given.push((binding, values));
        self
    }

    /// The same case with a bound that is wider by this factor, for what drivers may legally do.
    pub fn loosened(mut self, factor: f64, why: &'static str) -> Self {
        self.slack = Some((factor, why));
        self
    }

    /// The same case as a second micro-batch.
    pub fn accumulating(mut self) -> Self {
        self.accumulate = true;
        self
    }
}

/// The most bindings of a kernel: as many storage buffers as WebGPU promises.
pub const MOST_BINDINGS: usize = 8;

/// What a host form of a kernel works on: real numbers of type `T`, and indices.
pub struct Args<'a, T> {
    /// The fixed numbers.
    pub constants: &'a Constants,
    /// The numbers of this step.
    pub step: &'a Step,
    /// The instructions to use.
    pub isa: Isa,
    /// What factors are rounded to where sums of products are the work: f32 or bf16.
    pub precision: Precision,
    /// The same in all calls between which nothing but [`Extent::PerImage`] and
    /// [`Extent::PerPart`] changes: what a thread derives from weights holds for as long.
    pub pass: Pass,
    slots: [(&'static str, Slot<'a, T>); MOST_BINDINGS],
}

/// One pass of some kernels over a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass(u64);

impl Pass {
    /// A pass that is like no other.
    pub fn begin() -> Self {
        static PASSES: AtomicU64 = AtomicU64::new(0);
        Self(PASSES.fetch_add(1, Ordering::Relaxed))
    }
}

/// The memory behind one binding.
pub enum Slot<'a, T> {
    /// Real input.
    Read(&'a [T]),
    /// Real output.
    Write(&'a mut [T]),
    /// Index input.
    ReadIndex(&'a [u32]),
    /// Index output.
    WriteIndex(&'a mut [u32]),
    /// Handed out already.
    Taken,
}

impl<'a, T> Args<'a, T> {
    /// Arguments over this memory, in the order of the kernel's bindings, for a pass of their own.
    ///
    /// # Panics
    /// If there are more than [`MOST_BINDINGS`]: a programming error.
    pub fn new(
        constants: &'a Constants,
        step: &'a Step,
        given: impl IntoIterator<Item = (&'static str, Slot<'a, T>)>,
    ) -> Self {
        let mut slots = [const { ("", Slot::Taken) }; MOST_BINDINGS];
        for (at, slot) in given.into_iter().enumerate() {
            slots[at] = slot;
        }
        Self {
            constants,
            step,
            isa: Isa::best(),
            precision: Precision::F32,
            pass: Pass::begin(),
            slots,
        }
    }

    /// The same arguments with these instructions, as part of this pass.
    pub fn within(self, isa: Isa, pass: Pass) -> Self {
        Self { isa, pass, ..self }
    }

    /// Images in this micro-batch.
    pub fn images(&self) -> usize {
        self.step.images as usize
    }

    /// A size constant.
    pub fn size(&self, name: &str) -> usize {
        self.constants.size(name)
    }

    /// A real input. Panics if the kernel declares no such input: a programming error.
    pub fn read(&self, name: &str) -> &'a [T] {
        match self.slots.iter().find(|(given, _)| *given == name) {
            Some((_, Slot::Read(values))) => values,
            _ => panic!("{name} is not a real input of this kernel"),
        }
    }

    /// An index input. Panics like [`Args::read`].
    pub fn read_index(&self, name: &str) -> &'a [u32] {
        match self.slots.iter().find(|(given, _)| *given == name) {
            Some((_, Slot::ReadIndex(values))) => values,
            _ => panic!("{name} is not an index input of this kernel"),
        }
    }

    /// A real output, once. Panics like [`Args::read`].
    pub fn write(&mut self, name: &str) -> &'a mut [T] {
        match self.take(name) {
            Slot::Write(values) => values,
            _ => panic!("{name} is not a real output of this kernel"),
        }
    }

    /// An index output, once. Panics like [`Args::read`].
    pub fn write_index(&mut self, name: &str) -> &'a mut [u32] {
        match self.take(name) {
            Slot::WriteIndex(values) => values,
            _ => panic!("{name} is not an index output of this kernel"),
        }
    }

    fn take(&mut self, name: &str) -> Slot<'a, T> {
        match self.slots.iter_mut().find(|(given, _)| *given == name) {
            Some((_, slot)) => std::mem::replace(slot, Slot::Taken),
            None => Slot::Taken,
        }
    }
}

/// Workgroups for `invocations` in groups of `size`, folded into two dimensions so that no
/// dimension exceeds WebGPU's limit of 65,535. In WGSL the invocation's number is
/// `global_id.x + global_id.y * group_count.x * size`.
pub fn linear_workgroups(invocations: usize, size: usize) -> [u32; 3] {
    let groups = invocations.div_ceil(size).max(1);
    let rows = groups.div_ceil(65_535);
    [groups.div_ceil(rows) as u32, rows as u32, 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workgroups_cover_every_invocation_within_the_limit() {
        for n in [1, 255, 256, 257, 16_776_960, 16_776_961, 100_000_000] {
            let [x, y, z] = linear_workgroups(n, 256);
            assert!(x <= 65_535 && y <= 65_535 && z == 1);
            assert!(x as usize * y as usize * 256 >= n);
        }
    }
}
