//! Which form of each kernel an adapter runs: the one that ran before, or the fastest, or the
//! first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::race::race;
use super::tuning_cache::{Found, OfAdapter, TuningCache, identity};
use super::variants::{Record, RunRecord, text_crc32c};
use super::{Info, Lowering, micro_batch};
use crate::adapter::AdapterReport;
use crate::graph::{Graph, Op};
use crate::kernel::{Access, Dtype, Variant};
use crate::precision::{Precision, ROUNDING};

/// How long a replica may measure before it starts on another use of a kernel. What is left is
/// measured by the next run.
const BUDGET: Duration = Duration::from_secs(4);

/// How the forms of kernels are chosen. The default is the first form that can do the sizes.
#[derive(Clone, Debug, Default)]
pub struct Forms {
    recorded: Option<Arc<RunRecord>>,
    tuner: Option<Arc<Tuner>>,
}

/// Measures forms and remembers which was the fastest.
#[derive(Debug)]
struct Tuner {
    cache: TuningCache,
    /// By adapter, kernel and constants: what the first replica of this process runs, and so every
    /// other one, whatever the size of its batches.
    chosen: Mutex<HashMap<(String, String), &'static str>>,
}

/// What an adapter does so that forms can be compared. The contents of all tensors are free.
pub trait Trial {
    /// The seconds that a form takes for so many images, so many times over; `None` if it cannot
    /// run here.
    fn time(
        &mut self,
        op: &Op,
        form: &'static Variant,
        images: usize,
        repeats: usize,
    ) -> Option<f64>;

    /// The bits of all that a form writes for so many images, from inputs that are always the same
    /// and of any value; `None` if it cannot run here.
    fn results(&mut self, op: &Op, form: &'static Variant, images: usize) -> Option<Vec<Vec<u32>>>;

    /// The time that all of this has taken so far, compilation included.
    fn spent(&self) -> Duration;
}

/// One use of a kernel, with the forms that can do it.
struct Use<'a> {
    op: &'a Op,
    name: String,
    forms: Vec<&'static Variant>,
}

/// The form of each use of a kernel.
#[derive(Default)]
pub struct Chosen(HashMap<String, &'static Variant>);

impl Chosen {
    /// The form of this use; `None` if there is none that can do it.
    pub fn of(&self, op: &Op) -> Option<&'static Variant> {
        self.0.get(&name(op)).copied()
    }
}

fn name(op: &Op) -> String {
    format!("{} {}", op.kernel.name, op.constants)
}

impl Forms {
    /// The fastest, found by measuring unless this place knows it.
    pub fn fastest(cache: TuningCache) -> Self {
        let tuner = Tuner { cache, chosen: Mutex::default() };
        Self { recorded: None, tuner: Some(Arc::new(tuner)) }
    }

    /// Those that ran before. On the adapters where they did, nothing is measured any more.
    pub fn recorded(self, record: RunRecord) -> Self {
        Self { recorded: Some(Arc::new(record)), ..self }
    }

    /// What ran before.
    pub fn record(&self) -> Option<&RunRecord> {
        self.recorded.as_deref()
    }

    /// Those of one of several towers, by its name.
    pub fn of_tower(&self, name: &str) -> Self {
        let recorded = self.record().map(|record| Arc::new(record.of_tower(name)));
        Self { recorded, tuner: self.tuner.clone() }
    }

    /// Those of what holds the weights of several towers.
    pub fn of_holder(&self) -> Self {
        let recorded = self.record().map(|record| Arc::new(record.of_holder()));
        Self { recorded, tuner: self.tuner.clone() }
    }

    /// What ran before on this adapter.
    fn record_of(&self, info: &Info) -> Option<&Record> {
        self.record()?.on(&AdapterReport::from(info))
    }

    /// The most images to compute at once of a batch that is trained with: as many as before, if
    /// batches were not shared out then.
    pub fn micro_batch(&self, info: &Info, batch: usize) -> usize {
        match self.record_of(info) {
            Some(record) if self.record().is_some_and(|run| run.towers.is_empty()) => {
                record.variants.micro_batch.clamp(1, batch)
            }
            _ => batch,
        }
    }

    /// The form of each kernel of a graph.
    pub fn choose(
        &self,
        info: &Info,
        graph: &Graph,
        how: &Lowering,
        trial: &mut dyn Trial,
    ) -> Chosen {
        let mut uses: Vec<Use<'_>> = Vec::new();
        for op in graph.all_ops() {
            let name = name(op);
            if uses.iter().all(|known| known.name != name) {
                let forms = micro_batch::variants(op, how.micro_batch, &info.limits).collect();
                uses.push(Use { op, name, forms });
            }
        }
        uses.retain(|one| !one.forms.is_empty());
        let chosen = match (self.record_of(info), &self.tuner) {
            (Some(record), _) => {
                let find = |one: &Use<'_>| record.variants.find(one.op, &one.forms);
                uses.iter().map(|one| find(one).unwrap_or(one.forms[0])).collect()
            }
            (None, Some(tuner)) => tuner.choose(info, &uses, how, trial),
            (None, None) => uses.iter().map(|one| one.forms[0]).collect::<Vec<_>>(),
        };
        Chosen(uses.into_iter().map(|one| one.name).zip(chosen).collect())
    }
}

impl Tuner {
    fn choose(
        &self,
        info: &Info,
        uses: &[Use<'_>],
        how: &Lowering,
        trial: &mut dyn Trial,
    ) -> Vec<&'static Variant> {
        // Held while measuring, so that two replicas do not disturb each other.
        let mut known = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        let adapter = identity(info);
        let cached = self.cache.read(info);
        let mut found = OfAdapter::new();
        let mut chosen: Vec<&'static Variant> = uses.iter().map(|one| one.forms[0]).collect();
        // What computes most comes first: it may be all there is time for.
        let mut order: Vec<usize> = (0..uses.len()).collect();
        order.sort_by(|a, b| work(uses[*b].op).total_cmp(&work(uses[*a].op)));
        for at in order {
            let one = &uses[at];
            let among = |name: &str| one.forms.iter().copied().find(|form| form.name == name);
            let text_crc32c = text_crc32c(one.op.kernel);
            let key = format!("{} images={} {}", one.name, how.micro_batch, how.precision);
            let place = (adapter.clone(), format!("{} {}", one.name, how.precision));
            let before = known.get(&place).copied();
            let cached = cached.get(&key).filter(|cached| cached.text_crc32c == text_crc32c);
            chosen[at] = match (before, cached.and_then(|cached| among(&cached.variant))) {
                (Some(before), _) => among(before).unwrap_or(one.forms[0]),
                (None, Some(form)) => form,
                // One is measured whatever the time, so that run by run all become known.
                (None, None) if !found.is_empty() && trial.spent() >= BUDGET => one.forms[0],
                (None, None) => match fastest(one, how, trial) {
                    None => one.forms[0],
                    Some(form) => {
                        let variant = form.name.to_owned();
                        found.insert(key, Found { text_crc32c, variant });
                        form
                    }
                },
            };
            known.entry(place).or_insert(chosen[at].name);
        }
        if !found.is_empty() {
            self.cache.add(info, found);
        }
        chosen
    }
}

/// The fastest form of a use; `None` if there is nothing to choose.
fn fastest(one: &Use<'_>, how: &Lowering, trial: &mut dyn Trial) -> Option<&'static Variant> {
    let Use { op, forms, .. } = one;
    if forms.len() < 2 {
        return None;
    }
    let won = race(forms.len(), how.micro_batch, |form, images, repeats| {
        trial.time(op, forms[form], images, repeats)
    })?;
    // A driver may compile one form wrongly and not another.
    let mut results = |form: usize| trial.results(op, forms[form], won.images);
    let is_right = won.winner == 0
        || results(0)
            .zip(results(won.winner))
            .is_some_and(|(usual, other)| agree(op, won.images, how.precision, &usual, &other));
    Some(forms[if is_right { won.winner } else { 0 }])
}

/// How much a use computes for one image, up to a factor: the terms of all sums.
fn work(op: &Op) -> f64 {
    let lengths = (op.kernel.lengths)(&op.constants);
    let bindings = op.kernel.bindings.iter().zip(lengths);
    let written = bindings.filter(|(binding, _)| binding.access == Access::Write);
    let sums: usize = written.map(|(_, length)| length).sum();
    sums as f64 * (op.kernel.terms)(&op.constants, 1) as f64
}

/// Whether two forms come to the same but for rounding: each may miss by what [`crate::verify`]
/// allows it, and by four times as much where drivers are free to; in 16 bits by one of the last
/// digit more.
fn agree(
    op: &Op,
    images: usize,
    precision: Precision,
    one: &[Vec<u32>],
    other: &[Vec<u32>],
) -> bool {
    let terms = (op.kernel.terms)(&op.constants, images).max(1) as f64;
    let written = op.kernel.bindings.iter().filter(|binding| binding.access == Access::Write);
    written.zip(one.iter().zip(other)).all(|(binding, (one, other))| match binding.dtype {
        Dtype::Index => one == other,
        Dtype::Real => {
            let reals = |bits: &[u32]| -> Vec<f64> {
                bits.iter().map(|bits| f64::from(f32::from_bits(*bits))).collect()
            };
            let (one, other) = (reals(one), reals(other));
            let largest = one.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
            let stored = match precision {
                Precision::F16 => 2.0 * precision.roundoff(),
                _ => 0.0,
            };
            let bound = (8.0 * ROUNDING * terms.sqrt() + stored) * largest;
            // A number that is none agrees with nothing.
            one.len() == other.len() && one.iter().zip(&other).all(|(a, b)| (a - b).abs() <= bound)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::variants::{InForce, Variants};
    use crate::adapter::{DeviceKind, Identity, Limits};
    use crate::graph::{Node, Role, Tensor, TensorId};
    use crate::kernel::{Binding, Constants, Extent, Kernel};

    const fn form(name: &'static str) -> Variant {
        Variant { name, wgsl: name, tuning: &[], applies: |_| true, workgroups: |_, _| [1, 1, 1] }
    }

    static KERNEL: Kernel = Kernel {
        name: "kernel",
        about: "",
        bindings: &[
            Binding::write("y", Extent::PerImage),
            Binding::write("at", Extent::PerImage).of_indices(),
        ],
        lengths: |c| vec![c.size("N"), c.size("N")],
        terms: |_, _| 1,
        variants: &[form("usual"), form("quick"), form("slow")],
        cpu: |_| {},
        reference: |_| {},
        cases: Vec::new,
    };

    fn graph() -> Graph {
        let tensor = |dtype| Tensor {
            name: "tensor".to_owned(),
            dtype,
            shape: vec![1],
            extent: Extent::PerImage,
            role: Role::Activation,
        };
        let node = |n| {
            Node::Run(Op {
                kernel: &KERNEL,
                tensors: vec![TensorId(0), TensorId(1)],
                constants: Constants::default().with("N", n),
                layer: 0,
            })
        };
        Graph {
            tensors: vec![tensor(Dtype::Real), tensor(Dtype::Index)],
            forward: vec![node(1), node(2), node(1)],
            ..Graph::default()
        }
    }

    fn info() -> Info {
        Info {
            name: "card".to_owned(),
            backend: "vulkan",
            driver: "1".to_owned(),
            kind: DeviceKind::DiscreteGpu,
            identity: Identity::default(),
            limits: Limits::NONE,
            precisions: vec![Precision::F32],
        }
    }

    /// The form `quick` takes half the time, and comes to this.
    struct Fake {
        timed: usize,
        quick: f32,
        /// What each timing is said to have taken.
        charge: Duration,
    }

    impl Fake {
        fn new() -> Self {
            Self { timed: 0, quick: 1.0, charge: Duration::ZERO }
        }
    }

    impl Trial for Fake {
        fn time(&mut self, _: &Op, form: &Variant, images: usize, repeats: usize) -> Option<f64> {
            self.timed += 1;
            let each = if form.name == "quick" { 0.001 } else { 0.002 };
            Some(each * (images * repeats) as f64)
        }

        fn results(&mut self, _: &Op, form: &Variant, _: usize) -> Option<Vec<Vec<u32>>> {
            let y: f32 = if form.name == "quick" { self.quick } else { 1.0 };
            Some(vec![vec![y.to_bits()], vec![7]])
        }

        fn spent(&self) -> Duration {
            self.charge * self.timed as u32
        }
    }

    fn choose(forms: &Forms, images: usize, trial: &mut Fake) -> Vec<&'static str> {
        let graph = graph();
        let chosen = forms.choose(&info(), &graph, &Lowering::of(images), trial);
        graph.all_ops().map(|op| chosen.of(op).expect("a form").name).collect()
    }

    #[test]
    fn the_fastest_is_measured_once_and_then_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = || TuningCache::at(folder.path().to_owned());
        let (forms, mut trial) = (Forms::fastest(cache()), Fake::new());
        assert_eq!(choose(&forms, 8, &mut trial), ["quick"; 3]);
        assert!(trial.timed > 0);
        // Other replicas follow, with any number of images; so does the next process.
        let mut later = Fake::new();
        assert_eq!(choose(&forms, 3, &mut later), ["quick"; 3]);
        assert_eq!(choose(&Forms::fastest(cache()), 8, &mut later), ["quick"; 3]);
        assert_eq!(later.timed, 0);
        assert_eq!(choose(&Forms::fastest(cache()), 7, &mut later), ["quick"; 3]);
        assert!(later.timed > 0, "for other numbers of images another form may be the fastest");
    }

    #[test]
    fn what_there_is_no_time_for_is_measured_run_by_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = || {
            let forms = Forms::fastest(TuningCache::at(folder.path().to_owned()));
            let mut trial = Fake { charge: BUDGET, ..Fake::new() };
            let chosen = choose(&forms, 8, &mut trial);
            (chosen, trial.timed > 0)
        };
        // The larger sums come first.
        assert_eq!(run(), (vec!["usual", "quick", "usual"], true));
        assert_eq!(run(), (vec!["quick"; 3], true));
        assert_eq!(run(), (vec!["quick"; 3], false));
    }

    #[test]
    fn what_the_cache_says_of_other_kernels_is_ignored_and_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = TuningCache::at(folder.path().to_owned());
        let right = text_crc32c(&KERNEL);
        for (variant, text_crc32c) in [("gone", right), ("slow", right ^ 1)] {
            let variant = variant.to_owned();
            let found = Found { text_crc32c, variant };
            let key = |n| format!("kernel N={n} images=8 f32");
            cache.add(&info(), [(key(1), found.clone()), (key(2), found)].into());
            let mut trial = Fake::new();
            assert_eq!(choose(&Forms::fastest(cache.clone()), 8, &mut trial), ["quick"; 3]);
            assert!(trial.timed > 0);
            let found = Found { text_crc32c: right, variant: "quick".to_owned() };
            assert_eq!(cache.read(&info()).get(&key(1)), Some(&found));
        }
    }

    #[test]
    fn what_computes_wrongly_is_not_taken() {
        for quick in [1.001, f32::NAN] {
            let mut trial = Fake { quick, ..Fake::new() };
            let forms = Forms::fastest(TuningCache::default());
            assert_eq!(choose(&forms, 8, &mut trial), ["usual"; 3]);
        }
    }

    #[test]
    fn the_default_is_the_first_and_measures_nothing() {
        let mut trial = Fake::new();
        assert_eq!(choose(&Forms::default(), 8, &mut trial), ["usual"; 3]);
        assert_eq!(trial.timed, 0);
    }

    #[test]
    fn what_ran_before_runs_again_unmeasured() {
        let graph = graph();
        let op = graph.all_ops().next().expect("a node");
        let record = Record {
            adapter: AdapterReport::from(&info()),
            variants: Variants {
                micro_batch: 4,
                kernels: vec![InForce::of(op, &KERNEL.variants[2])],
                ..Variants::default()
            },
        };
        let forms = Forms::fastest(TuningCache::default()).recorded(record.into());
        let mut trial = Fake::new();
        assert_eq!(choose(&forms, 8, &mut trial), ["slow", "usual", "slow"]);
        assert_eq!(trial.timed, 0);
        assert_eq!(forms.micro_batch(&info(), 8), 4);
        // On another adapter it says nothing.
        let other = Info { driver: "2".to_owned(), ..info() };
        assert_eq!(forms.micro_batch(&other, 8), 8);
        let chosen = forms.choose(&other, &graph, &Lowering::of(8), &mut trial);
        assert_eq!(chosen.of(op).map(|form| form.name), Some("quick"));
    }
}
