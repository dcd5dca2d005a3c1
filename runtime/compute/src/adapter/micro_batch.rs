//! Chooses how many images an adapter takes at once, and which forms of each kernel it can run.

use anyhow::{Result, bail};

use super::Limits;
use crate::graph::{Graph, Op};
use crate::kernel::{Extent, Variant};

/// The largest micro-batch that divides the work evenly and lets every buffer, binding and
/// dispatch of the graph, and all buffers together, fit these limits.
///
/// # Errors
/// If not even a single image fits, or not all of a batch that statistics are taken over; the message
/// names the tensor or kernel.
pub fn plan(graph: &Graph, batch: usize, limits: &Limits) -> Result<usize> {
    let most = largest(graph, batch, limits)?;
    if let Some(tensor) = graph.all_reduced().filter(|_| most < batch) {
        bail!(
            "{} is taken over a whole batch, and of its {batch} images only {most} fit at once: \
             make batches smaller, or set `sync: false` on the layers that take such statistics, \
             which then take them of as many images as fit",
            graph.tensor(tensor).name
        );
    }
    // Equal parts: 1,024 images with room for 911 are two times 512, not 911 and 113.
    Ok(batch.div_ceil(batch.div_ceil(most)))
}

/// The forms of a kernel that an adapter with these limits can run for micro-batches of this many
/// images, the preferred first: they can do the sizes, and their dispatches fit.
pub fn variants(op: &Op, images: usize, limits: &Limits) -> impl Iterator<Item = &'static Variant> {
    let fits = move |variant: &&Variant| {
        (variant.applies)(&op.constants)
            && (variant.workgroups)(&op.constants, images).iter().all(|n| *n <= limits.workgroups)
    };
    op.kernel.variants.iter().filter(fits)
}

fn largest(graph: &Graph, batch: usize, limits: &Limits) -> Result<usize> {
    let bytes = limits.binding_bytes.min(limits.buffer_bytes);
    let mut most = batch.max(1);
    for tensor in &graph.tensors {
        let each = 4 * tensor.len() as u64;
        if each > bytes {
            bail!(
                "{} needs a buffer of {each} bytes, and this adapter binds at most {bytes}",
                tensor.name
            );
        }
        if tensor.extent == Extent::PerImage && each > 0 {
            most = most.min((bytes / each) as usize);
        }
    }
    if let Some(memory) = limits.memory_bytes {
        let (fixed, of_one) = (graph.bytes(0), graph.bytes(1));
        if of_one > memory {
            let mib = |bytes: u64| bytes.div_ceil(1 << 20);
            bail!(
                "the buffers for a single image take {} MiB, and {} MiB of memory are free",
                mib(of_one),
                memory >> 20
            );
        }
        if of_one > fixed {
            most = most.min(((memory - fixed) / (of_one - fixed)) as usize);
        }
    }
    for op in graph.all_ops() {
        if op.tensors.len() > limits.storage_buffers as usize {
            bail!(
                "{} binds {} buffers, and this adapter allows {}",
                op.kernel.name,
                op.tensors.len(),
                limits.storage_buffers
            );
        }
        let fits = |images| variants(op, images, limits).next().is_some();
        if !fits(1) {
            bail!("{} needs more workgroups than this adapter dispatches", op.kernel.name);
        }
        while !fits(most) {
            most = (most / 2).max(1);
        }
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Node, Phase, Role, Tensor, TensorId};
    use crate::kernel::{Constants, Dtype, Kernel};

    /// The preferred form takes a workgroup for each of an image's rows, the other one an image.
    const VARIANTS: [Variant; 3] = [
        Variant {
            name: "never",
            wgsl: "",
            tuning: &[],
            applies: |_| false,
            workgroups: |_, _| [1, 1, 1],
        },
        Variant {
            name: "rows",
            wgsl: "",
            tuning: &[],
            applies: |_| true,
            workgroups: |_, images| [100 * images as u32, 1, 1],
        },
        Variant {
            name: "images",
            wgsl: "",
            tuning: &[],
            applies: |_| true,
            workgroups: |_, images| [images as u32, 1, 1],
        },
    ];

    static KERNEL: Kernel = Kernel {
        name: "kernel",
        about: "",
        bindings: &[],
        lengths: |_| Vec::new(),
        terms: |_, _| 1,
        variants: &VARIANTS,
        cpu: |_| {},
        reference: |_| {},
        cases: Vec::new,
    };

    /// 1,000 numbers in all and 10 for each image.
    fn graph() -> Graph {
        let tensor = |extent, length| Tensor {
            name: "tensor".to_owned(),
            dtype: Dtype::Real,
            shape: vec![length],
            extent,
            role: Role::Activation,
        };
        let op = Op {
            kernel: &KERNEL,
            tensors: vec![TensorId(0)],
            constants: Constants::default(),
            layer: 0,
        };
        Graph {
            tensors: vec![tensor(Extent::Whole, 1000), tensor(Extent::PerImage, 10)],
            forward: vec![Node::Run(op)],
            ..Graph::default()
        }
    }

    #[test]
    fn the_first_form_that_applies_and_fits_is_taken() {
        let graph = graph();
        let limits = Limits { workgroups: 500, ..Limits::NONE };
        let name = |images| {
            let op = graph.ops(Phase::Forward).next().expect("a node");
            variants(op, images, &limits).next().map(|variant| variant.name)
        };
        assert_eq!([name(5), name(6), name(501)], [Some("rows"), Some("images"), None]);
        assert_eq!(plan(&graph, 500, &limits).expect("it fits"), 500);
        assert_eq!(plan(&graph, 600, &limits).expect("it fits"), 300);
        assert!(plan(&graph, 1, &Limits { workgroups: 0, ..Limits::NONE }).is_err());
    }

    #[test]
    fn all_buffers_together_fit_the_memory() {
        let plan = |memory| {
            plan(&graph(), 1_000_000, &Limits { memory_bytes: memory, ..Limits::NONE })
                .map_err(|error| error.to_string())
        };
        assert_eq!(plan(None), Ok(1_000_000));
        assert_eq!(plan(Some(4000 + 40 * 250_000)), Ok(250_000));
        assert_eq!(plan(Some(4000 + 40 * 250_000 - 1)), Ok(200_000));
        assert_eq!(plan(Some(4040)), Ok(1));
        let refused = plan(Some(4039)).expect_err("too little");
        assert!(refused.contains("the buffers for a single image take 1 MiB"), "{refused}");
    }
}
