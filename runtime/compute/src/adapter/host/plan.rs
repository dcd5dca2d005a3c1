//! In which order, and for how many images at a time, the host runs kernels.
//!
//! Kernels that write per image, or a part's share of a sum, form groups. A group takes a few images
//! through all of its kernels while what lies between them is in a core's cache, then the next few;
//! what nothing outside the group looks at needs room for those images only. All else runs once
//! over all images. Nothing here depends on the number of threads.

use crate::adapter::variants::Block;
use crate::graph::{Graph, Node, Op, Phase, Role, Span, TensorId};
use crate::kernel::{Access, Extent};

/// What a few images take in a group, in bytes: within the cache that a core has to itself.
const CACHE_BYTES: usize = 1 << 20;

/// The most images that a group takes at once.
const MOST_AT_ONCE: usize = 8;

/// Operations for each byte of weights that make up for reading the weights.
const OPERATIONS_PER_BYTE: usize = 16;

/// Images that share a reading of the weights, if one image is not worth it.
const MOST_SHARING: usize = 32;

/// Into how many tasks a group is cut at least, if there are as many images.
const TASKS: usize = 32;

/// The most images of a task, unless a single part of a sum has more.
const MOST_IN_TASK: usize = 32;

/// Elements of a cache line.
const LINE: usize = 16;

/// A node of the graph.
pub(super) type At = (Phase, usize);

/// How some nodes are run for so many images.
#[derive(Debug)]
pub(super) struct Plan {
    spans: Vec<Span>,
    images: usize,
    pub(super) groups: Vec<Group>,
    /// The tensors that need room for all images.
    pub(super) shared: Vec<TensorId>,
}

/// Kernels that run together.
#[derive(Debug)]
pub(super) enum Group {
    /// One, over all images.
    Whole(At),
    /// Several, one after the other over a few images at a time.
    Sliced(Sliced),
}

/// Kernels that run one after the other over a few images at a time.
#[derive(Debug)]
pub(super) struct Sliced {
    pub(super) ops: Vec<At>,
    /// Images taken at once.
    pub(super) at_once: usize,
    /// Images that a thread takes on, a few at a time.
    pub(super) task: usize,
    /// The images of one part of each sum in parts.
    pub(super) parts: Vec<usize>,
    /// The tensors that live in the memory of the thread, and where they begin there, in elements
    /// for one image.
    pub(super) locals: Vec<(TensorId, usize)>,
    /// The elements of that memory for one image.
    pub(super) local_len: usize,
}

impl Plan {
    pub(super) fn new(graph: &Graph, spans: &[Span], images: usize, sliced: bool) -> Self {
        let mut planner =
            Planner { graph, images, groups: Vec::new(), open: None, later: Vec::new() };
        for span in spans {
            for at in span.nodes.clone() {
                match &graph.phase(span.phase)[at] {
                    Node::Run(op) if sliced && is_sliced(op) => {
                        planner.add((span.phase, at), op);
                    }
                    Node::Run(_) => planner.later.push((span.phase, at)),
                    Node::AllReduce(_) => planner.close(),
                }
            }
            if !sliced {
                planner.close();
            }
        }
        planner.close();
        let mut groups = planner.groups;
        let mut shared = Vec::new();
        for at in 0..graph.tensors.len() {
            let tensor = TensorId(at);
            let owner = groups.iter_mut().find(|group| is_local(graph, group, tensor));
            match owner {
                Some(Group::Sliced(group)) => group.locals.push((tensor, 0)),
                _ => shared.push(tensor),
            }
        }
        for group in &mut groups {
            if let Group::Sliced(group) = group {
                group.lay_out(graph);
            }
        }
        let used = |tensor: &TensorId| {
            groups.iter().any(|group| group.ops().iter().any(|at| binds(graph, *at, *tensor)))
        };
        shared.retain(used);
        Self { spans: spans.to_vec(), images, groups, shared }
    }

    /// The groups, as a run's folder keeps them.
    pub(super) fn blocks(&self, graph: &Graph) -> Vec<Block> {
        let block = |group: &Group| {
            let ops = group.ops().iter().filter_map(|at| op(graph, *at));
            let (images_at_once, images_of_a_task) = match group {
                Group::Whole(_) => (self.images, self.images),
                Group::Sliced(group) => (group.at_once, group.task),
            };
            let kernels = ops.map(|op| op.kernel.name.to_owned()).collect();
            Block { kernels, images_at_once, images_of_a_task }
        };
        self.groups.iter().map(block).collect()
    }

    pub(super) fn is_of(&self, images: usize) -> bool {
        self.images == images
    }

    pub(super) fn is_for(&self, spans: &[Span], images: usize) -> bool {
        self.images == images && self.spans == spans
    }
}

impl Group {
    fn ops(&self) -> &[At] {
        match self {
            Self::Whole(at) => std::slice::from_ref(at),
            Self::Sliced(group) => &group.ops,
        }
    }
}

/// The kernel use at a place of which is known that it is one.
pub(super) fn op(graph: &Graph, (phase, at): At) -> Option<&Op> {
    match &graph.phase(phase)[at] {
        Node::Run(op) => Some(op),
        Node::AllReduce(_) => None,
    }
}

/// Whether a kernel can run for some images at a time.
fn is_sliced(op: &Op) -> bool {
    let mut written = op.kernel.bindings.iter().filter(|b| b.access == Access::Write);
    let per_image = op.kernel.bindings.iter().any(|b| b.extent == Extent::PerImage);
    per_image && written.all(|b| matches!(b.extent, Extent::PerImage | Extent::PerPart(_)))
}

fn binds(graph: &Graph, at: At, tensor: TensorId) -> bool {
    op(graph, at).is_some_and(|op| op.tensors.contains(&tensor))
}

/// The tensors that a kernel binds like this.
fn bound(op: &Op, access: Access) -> impl Iterator<Item = TensorId> {
    let bindings = op.kernel.bindings.iter().zip(&op.tensors);
    bindings.filter(move |(binding, _)| binding.access == access).map(|(_, tensor)| *tensor)
}

/// Whether a tensor can be read at any time.
pub(super) fn is_kept(graph: &Graph, id: TensorId) -> bool {
    let tensor = graph.tensor(id);
    let role = match tensor.role {
        Role::Activation | Role::ActivationGradient | Role::Partial => false,
        Role::Input
        | Role::Parameter(_)
        | Role::ParameterGradient(_)
        | Role::Average(_)
        | Role::State(_)
        | Role::Losses
        | Role::Flags => true,
    };
    role || graph.observed.contains(&id) || [graph.logits, graph.image_loss].contains(&Some(id))
}

/// Whether a tensor is made in a group and nothing else of the whole graph uses it.
fn is_local(graph: &Graph, group: &Group, tensor: TensorId) -> bool {
    let Group::Sliced(group) = group else { return false };
    if is_kept(graph, tensor) || graph.tensor(tensor).extent != Extent::PerImage {
        return false;
    }
    let Some(first) = group.ops.iter().find(|at| binds(graph, **at, tensor)) else { return false };
    let made = op(graph, *first).is_some_and(|op| bound(op, Access::Write).any(|id| id == tensor));
    let phases = [Phase::Forward, Phase::Loss, Phase::Backward, Phase::Update];
    let all = phases
        .into_iter()
        .flat_map(|phase| (0..graph.phase(phase).len()).map(move |at| (phase, at)));
    made && all.filter(|at| binds(graph, *at, tensor)).all(|at| group.ops.contains(&at))
}

/// How many images share a reading of a kernel's weights.
fn sharing(graph: &Graph, op: &Op) -> usize {
    let numbers = |extent: fn(Extent) -> bool, access| -> usize {
        let bindings = op.kernel.bindings.iter().zip(&op.tensors);
        bindings
            .filter(|(binding, _)| extent(binding.extent) && binding.access == access)
            .map(|(_, tensor)| graph.tensor(*tensor).len())
            .sum()
    };
    let weights = 4 * numbers(|extent| extent != Extent::PerImage, Access::Read);
    let results = numbers(|extent| extent == Extent::PerImage, Access::Write);
    let operations = 2 * results * (op.kernel.terms)(&op.constants, 1);
    (OPERATIONS_PER_BYTE * weights / operations.max(1)).clamp(1, MOST_SHARING)
}

/// Bytes that an image takes in a kernel.
fn bytes_of_image(graph: &Graph, op: &Op) -> usize {
    let tensors = op.tensors.iter().map(|tensor| graph.tensor(*tensor));
    tensors.filter(|t| t.extent == Extent::PerImage).map(|tensor| 4 * tensor.len()).sum()
}

struct Planner<'a> {
    graph: &'a Graph,
    images: usize,
    groups: Vec<Group>,
    /// The group that kernels are being added to.
    open: Option<Sliced>,
    /// What runs after it: nothing that is added to it depends on these.
    later: Vec<At>,
}

impl Planner<'_> {
    fn add(&mut self, at: At, op: &Op) {
        let sharing = sharing(self.graph, op);
        let parts = op.kernel.bindings.iter().filter_map(|binding| match binding.extent {
            Extent::PerPart(parts) => Some(self.images.div_ceil(op.constants.size(parts)).max(1)),
            _ => None,
        });
        let parts: Vec<usize> = parts.collect();
        if !self.fits(op, sharing, &parts) {
            self.close();
        }
        let at_once = match sharing {
            // A few images read the weights again for each other's sake no more than this.
            1..=MOST_AT_ONCE => {
                let most = CACHE_BYTES / bytes_of_image(self.graph, op).max(1);
                most.clamp(1, MOST_AT_ONCE).max(sharing)
            }
            _ => sharing,
        };
        let group = self.open.get_or_insert_with(|| Sliced {
            ops: Vec::new(),
            at_once,
            task: 1,
            parts: Vec::new(),
            locals: Vec::new(),
            local_len: 0,
        });
        group.ops.push(at);
        group.at_once = group.at_once.min(at_once);
        group.parts.extend(parts);
        group.parts.sort_unstable();
        group.parts.dedup();
        let aligned = common_multiple(&group.parts);
        let least = self.images.div_ceil(TASKS).max(group.at_once);
        group.task = aligned * least.div_ceil(aligned);
    }

    /// Whether a kernel can join the open group.
    fn fits(&self, op: &Op, sharing: usize, parts: &[usize]) -> bool {
        let Some(group) = &self.open else {
            // What is to run later would run before.
            return self.later.is_empty();
        };
        let ops = || group.ops.iter().filter_map(|at| self::op(self.graph, *at));
        let later = || self.later.iter().filter_map(|at| self::op(self.graph, *at));
        let light = |sharing| sharing <= MOST_AT_ONCE;
        let alike = light(sharing) && ops().all(|op| light(self::sharing(self.graph, op)));
        let parts = [parts, &group.parts].concat();
        let reads = |tensor| op.tensors.contains(&tensor);
        // Sums in parts are there only when all images have been through.
        let of_parts = ops()
            .flat_map(|op| bound(op, Access::Write))
            .filter(|tensor| self.graph.tensor(*tensor).extent != Extent::PerImage);
        let depends = of_parts.chain(later().flat_map(|op| bound(op, Access::Write))).any(reads)
            || later()
                .flat_map(|op| bound(op, Access::Read))
                .any(|tensor| bound(op, Access::Write).any(|written| written == tensor));
        let largest = parts.iter().copied().max().unwrap_or(1);
        alike && !depends && common_multiple(&parts) <= largest.max(MOST_IN_TASK)
    }

    fn close(&mut self) {
        self.groups.extend(self.open.take().map(Group::Sliced));
        self.groups.extend(self.later.drain(..).map(Group::Whole));
    }
}

impl Sliced {
    /// Gives each local tensor a place that nothing alive at the same time has.
    fn lay_out(&mut self, graph: &Graph) {
        let mut placed: Vec<(usize, usize, [usize; 2])> = Vec::new();
        for (tensor, place) in &mut self.locals {
            let uses = || self.ops.iter().enumerate().filter(|(_, at)| binds(graph, **at, *tensor));
            let first = uses().map(|(at, _)| at).min().unwrap_or(0);
            let last = uses().map(|(at, _)| at).max().unwrap_or(0);
            let len = graph.tensor(*tensor).len().next_multiple_of(LINE);
            let alive = |other: &&(usize, usize, [usize; 2])| {
                let [from, to] = other.2;
                from <= last && first <= to
            };
            let mut taken: Vec<(usize, usize)> =
                placed.iter().filter(alive).map(|(from, to, _)| (*from, *to)).collect();
            taken.sort_unstable();
            *place = taken
                .into_iter()
                .fold(0, |free, (from, to)| if free + len <= from { free } else { free.max(to) });
            placed.push((*place, *place + len, [first, last]));
            self.local_len = self.local_len.max(*place + len);
        }
    }
}

/// The least common multiple; 1 of none.
fn common_multiple(numbers: &[usize]) -> usize {
    fn divisor(a: usize, b: usize) -> usize {
        if b == 0 { a } else { divisor(b, a % b) }
    }
    numbers.iter().fold(1, |all, number| all / divisor(all, *number) * number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Tensor;
    use crate::kernel::{Binding, Constants, Dtype, Kernel};

    const fn kernel(name: &'static str, bindings: &'static [Binding]) -> Kernel {
        Kernel {
            name,
            about: "",
            bindings,
            lengths: |_| Vec::new(),
            terms: |_, _| 1,
            variants: &[],
            cpu: |_| {},
            reference: |_| {},
            cases: Vec::new,
        }
    }

    static MAP: Kernel = kernel(
        "map",
        &[Binding::read("x", Extent::PerImage), Binding::write("y", Extent::PerImage)],
    );
    static WEIGH: Kernel = kernel(
        "weigh",
        &[
            Binding::read("x", Extent::PerImage),
            Binding::read("weights", Extent::Whole),
            Binding::write("y", Extent::PerImage),
        ],
    );
    static PARTS: Kernel = kernel(
        "parts",
        &[Binding::read("x", Extent::PerImage), Binding::write("sums", Extent::PerPart("PARTS"))],
    );
    static SUM: Kernel = kernel(
        "sum",
        &[Binding::read("parts", Extent::Summed), Binding::write("sum", Extent::Summed)],
    );

    /// Tensors 0 to 4 of so many numbers per image, 5 a sum in parts, 6 its sum, 7 weights.
    fn graph(ops: &[(&'static Kernel, &[usize])]) -> Graph {
        let tensor = |extent, length| Tensor {
            name: String::new(),
            dtype: Dtype::Real,
            shape: vec![length],
            extent,
            role: Role::Activation,
        };
        let mut tensors = vec![tensor(Extent::PerImage, 100); 5];
        tensors.push(tensor(Extent::Summed, 64));
        tensors.push(tensor(Extent::Summed, 4));
        tensors.push(tensor(Extent::Whole, 100_000));
        let node = |(kernel, on): &(&'static Kernel, &[usize])| {
            Node::Run(Op {
                kernel,
                tensors: on.iter().map(|at| TensorId(*at)).collect(),
                constants: Constants::default().with("PARTS", 16),
                layer: 0,
            })
        };
        Graph { tensors, forward: ops.iter().map(node).collect(), ..Graph::default() }
    }

    fn plan(graph: &Graph, images: usize) -> Plan {
        Plan::new(graph, &[graph.whole(Phase::Forward)], images, true)
    }

    /// The kernels of each group by their positions.
    fn groups(plan: &Plan) -> Vec<Vec<usize>> {
        plan.groups.iter().map(|group| group.ops().iter().map(|(_, at)| *at).collect()).collect()
    }

    #[test]
    fn what_can_wait_does_not_part_a_group() {
        let chain: [(_, &[usize]); 4] =
            [(&MAP, &[0, 1]), (&PARTS, &[1, 5]), (&SUM, &[5, 6]), (&MAP, &[1, 2])];
        let plan = plan(&graph(&chain), 128);
        assert_eq!(groups(&plan), [vec![0, 1, 3], vec![2]]);
        let Group::Sliced(group) = &plan.groups[0] else { panic!("it takes some images") };
        assert_eq!(group.parts, [8]);
        assert_eq!(group.task % 8, 0);
        // Each image's 1 is only looked at here, as is 2; 0 comes from outside.
        assert_eq!(group.locals, [(TensorId(1), 0), (TensorId(2), 112)]);
        assert_eq!(plan.shared, [TensorId(0), TensorId(5), TensorId(6)]);
    }

    #[test]
    fn what_cannot_wait_parts_a_group() {
        static READ: Kernel = kernel(
            "read",
            &[Binding::read("sum", Extent::Summed), Binding::write("y", Extent::PerImage)],
        );
        let chain: [(_, &[usize]); 4] =
            [(&MAP, &[0, 1]), (&PARTS, &[1, 5]), (&SUM, &[5, 6]), (&READ, &[6, 1])];
        assert_eq!(groups(&plan(&graph(&chain), 128)), [vec![0, 1], vec![2], vec![3]]);
        let chain: [(_, &[usize]); 2] = [(&PARTS, &[0, 5]), (&READ, &[5, 1])];
        assert_eq!(groups(&plan(&graph(&chain), 128)), [vec![0], vec![1]]);
    }

    #[test]
    fn kernels_whose_weights_many_images_share_stand_alone() {
        let chain: [(_, &[usize]); 3] = [(&MAP, &[0, 1]), (&WEIGH, &[1, 7, 2]), (&MAP, &[2, 3])];
        let plan = plan(&graph(&chain), 128);
        assert_eq!(groups(&plan), [vec![0], vec![1], vec![2]]);
        let Group::Sliced(group) = &plan.groups[1] else { panic!("it takes some images") };
        assert_eq!((group.at_once, group.task), (MOST_SHARING, MOST_SHARING));
    }

    #[test]
    fn what_is_observed_or_used_elsewhere_is_shared() {
        let chain: [(_, &[usize]); 3] = [(&MAP, &[0, 1]), (&MAP, &[1, 2]), (&MAP, &[2, 3])];
        let mut graph = graph(&chain);
        graph.observe(TensorId(1));
        let Node::Run(op) = graph.forward[2].clone() else { panic!("a kernel") };
        graph.backward.push(Node::Run(Op { tensors: vec![TensorId(2), TensorId(4)], ..op }));
        let whole = plan(&graph, 128);
        assert_eq!(whole.shared, [TensorId(0), TensorId(1), TensorId(2)]);
        // Alone, a kernel leaves what another has to find.
        let first = Span { phase: Phase::Forward, nodes: 2..3 };
        assert_eq!(Plan::new(&graph, &[first], 128, true).shared, [TensorId(2)]);
        let apart = Plan::new(&graph, &[graph.whole(Phase::Forward)], 128, false);
        assert_eq!(groups(&apart), [vec![0], vec![1], vec![2]]);
        assert_eq!(apart.shared, [0, 1, 2, 3].map(TensorId));
    }

    #[test]
    fn local_tensors_share_memory_once_they_are_done_with() {
        let chain: [(_, &[usize]); 4] =
            [(&MAP, &[0, 1]), (&MAP, &[1, 2]), (&MAP, &[2, 3]), (&MAP, &[3, 4])];
        let plan = plan(&graph(&chain), 128);
        let Group::Sliced(group) = &plan.groups[0] else { panic!("it takes some images") };
        let places: Vec<usize> = group.locals.iter().map(|(_, place)| *place).collect();
        assert_eq!(places, [0, 112, 0, 112]);
        assert_eq!(group.local_len, 224);
    }

    #[test]
    fn common_multiples() {
        assert_eq!(common_multiple(&[]), 1);
        assert_eq!(common_multiple(&[4, 6, 1]), 12);
    }
}
