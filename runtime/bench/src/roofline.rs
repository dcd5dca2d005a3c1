//! What a step asks of a GPU, kernel by kernel, and how long it must take at least on some: told from
//! the shapes alone.

use std::fmt::Write as _;

use anyhow::{Result, ensure};

use super::kernels::{bytes, flop};
use super::{Bound, CARDS, Card};
use compute::adapter::{Limits, micro_batch};
use compute::graph::{Graph, Op, Phase};
use compute::shader::Room;

/// Below this a kernel takes no longer than starting it does on some drivers, in ms.
const TINY_MS: f64 = 0.005;

/// One use of a kernel in a step.
#[derive(Clone, Debug)]
pub struct Use {
    /// The layer it belongs to.
    pub layer: String,
    /// The forms of the kernel that an adapter with WebGPU's default limits can run, the one that it
    /// takes without timing them first.
    pub forms: Vec<Form>,
    /// Floating-point operations, as in `runtime bench`.
    pub flop: f64,
    /// Bytes read and written at least, each once.
    pub bytes: f64,
}

/// One form of a kernel in one use.
#[derive(Clone, Debug)]
pub struct Form {
    /// Its name.
    pub variant: &'static str,
    /// Workgroups.
    pub workgroups: u64,
    /// What a workgroup takes.
    pub room: Room,
}

/// What a step does, one use of a kernel after the other.
#[derive(Clone, Debug)]
pub struct Roofline {
    /// Images in a batch.
    pub batch: usize,
    /// Images computed at once.
    pub micro_batch: usize,
    /// Those of one micro-batch and of the update.
    pub uses: Vec<Use>,
}

impl Roofline {
    /// Counts what a step on a batch of so many images does.
    ///
    /// # Errors
    /// If the model does not fit WebGPU's default limits, or a shader is not valid.
    pub fn of(graph: &Graph, batch: usize) -> Result<Self> {
        let limits = Limits::WEBGPU;
        let images = micro_batch::plan(graph, batch, &limits)?;
        let phases = [Phase::Forward, Phase::Loss, Phase::Backward, Phase::Update];
        let ops = phases.into_iter().flat_map(|phase| graph.ops(phase));
        let uses = ops.map(|op| one(graph, op, images, &limits)).collect::<Result<_>>()?;
        Ok(Self { batch, micro_batch: images, uses })
    }

    /// The least time of all on a card, in ms.
    pub fn least_ms(&self, card: &Card) -> f64 {
        self.uses.iter().map(|each| card.peaks.least_ms(each.flop, each.bytes)).sum()
    }

    /// As a page in Markdown, for this pipeline.
    pub fn markdown(&self, pipeline: &str) -> String {
        let Self { batch, micro_batch, .. } = self;
        let parts = if micro_batch < batch {
            format!(", taken {micro_batch} at a time: the figures are of one such part")
        } else {
            String::new()
        };
        let mut text = format!(
            "# What a step asks of a GPU\n\n\
             `{pipeline}` with batches of {batch} images{parts}. All of this follows from the \
             shapes, by `runtime roofline {pipeline}`; nothing was measured.\n\n{}\n",
            include_str!("roofline.md")
        );
        self.cards(&mut text);
        self.kernels(&mut text);
        self.forms(&mut text);
        text
    }

    fn cards(&self, text: &mut String) {
        text.push_str(
            "## Cards\n\n| card | cores | TFLOP/s | GB/s | a step, ms | images/s | \
             kernels with fewer workgroups than cores | kernels under 5 us |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        for card in &CARDS {
            let least_ms = self.least_ms(card);
            let few = self.uses.iter().filter(|each| each.has_few(card));
            let tiny = self.uses.iter().filter(|each| each.least_ms(card) < TINY_MS);
            let _ = writeln!(
                text,
                "| {} | {} | {:.2} | {:.1} | {least_ms:.3} | {:.0} | {} | {} |",
                card.name,
                card.cores,
                card.peaks.gflop_per_s / 1e3,
                card.peaks.gbyte_per_s,
                1e3 * self.micro_batch as f64 / least_ms,
                few.count(),
                tiny.count(),
            );
        }
        text.push('\n');
        for card in &CARDS {
            let _ = writeln!(text, "- {}: {}.", card.name, card.source);
        }
        text.push('\n');
    }

    fn kernels(&self, text: &mut String) {
        text.push_str("## Kernels\n\n| layer | kernel | MFLOP | MB | FLOP/byte | workgroups | invocations | words | shared bytes |");
        for card in &CARDS {
            let _ = write!(text, " {}, us |", card.name);
        }
        text.push_str("\n|---|---|--:|--:|--:|--:|--:|--:|--:|");
        text.push_str(&"--:|".repeat(CARDS.len()));
        text.push('\n');
        for each in &self.uses {
            let Use { layer, flop, bytes, .. } = each;
            let Form { variant, workgroups, room } = each.usual();
            let _ = write!(
                text,
                "| {layer} | {variant} | {:.3} | {:.3} | {:.1} | {workgroups} | {} | {} | {} |",
                flop / 1e6,
                bytes / 1e6,
                flop / bytes,
                workgroups * u64::from(room.invocations),
                room.variable_words,
                room.workgroup_bytes,
            );
            for card in &CARDS {
                let _ = write!(text, " {} |", each.on(card));
            }
            text.push('\n');
        }
        text.push('\n');
    }

    fn forms(&self, text: &mut String) {
        text.push_str(
            "## Forms\n\nWhere a kernel has several forms, an adapter times them at first use and \
             takes the fastest: these. Those in workgroup tiles are for GPUs.\n\n\
             | layer | form | workgroups | of invocations | words | shared bytes |\n\
             |---|---|--:|--:|--:|--:|\n",
        );
        for each in self.uses.iter().filter(|each| each.forms.len() > 1) {
            for Form { variant, workgroups, room } in &each.forms {
                let _ = writeln!(
                    text,
                    "| {} | {variant} | {workgroups} | {} | {} | {} |",
                    each.layer, room.invocations, room.variable_words, room.workgroup_bytes,
                );
            }
        }
    }
}

impl Use {
    /// The form that is taken without timing.
    fn usual(&self) -> &Form {
        &self.forms[0]
    }

    /// Whether some cores of a card get no workgroup, whatever the form.
    fn has_few(&self, card: &Card) -> bool {
        self.forms.iter().all(|form| form.workgroups < u64::from(card.cores))
    }

    fn least_ms(&self, card: &Card) -> f64 {
        card.peaks.least_ms(self.flop, self.bytes)
    }

    /// The least time on a card in us, what bounds it, and whether there is work for all cores.
    fn on(&self, card: &Card) -> String {
        let bound = match card.peaks.bound(self.flop, self.bytes) {
            Bound::Arithmetic => "a",
            Bound::Memory => "m",
        };
        let few = if self.has_few(card) { " few" } else { "" };
        format!("{:.1} {bound}{few}", 1e3 * self.least_ms(card))
    }
}

fn one(graph: &Graph, op: &Op, images: usize, limits: &Limits) -> Result<Use> {
    let forms = micro_batch::variants(op, images, limits).map(|variant| {
        let [x, y, z] = (variant.workgroups)(&op.constants, images).map(u64::from);
        let room = Room::of(variant, &op.constants)?;
        Ok(Form { variant: variant.name, workgroups: x * y * z, room })
    });
    let forms: Vec<Form> = forms.collect::<Result<_>>()?;
    ensure!(!forms.is_empty(), "no form of {} can do {}", op.kernel.name, op.constants);
    Ok(Use {
        layer: graph.layers.get(op.layer).map_or_else(String::new, |layer| layer.name.clone()),
        forms,
        flop: flop(graph, op, images),
        bytes: bytes(graph, op, images),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use compute::kernel::{Binding, Constants, Extent, Kernel, Variant};

    static KERNEL: Kernel = Kernel {
        name: "kernel",
        about: "",
        bindings: &[Binding::read("x", Extent::PerImage), Binding::write("y", Extent::PerImage)],
        lengths: |_| vec![1000; 2],
        terms: |_, _| 50,
        variants: &[
            Variant {
                name: "kernel_first",
                wgsl: "@compute @workgroup_size(64) fn main() {}",
                tuning: &[],
                applies: |_| true,
                workgroups: |_, images| [images as u32, 2, 1],
            },
            Variant {
                name: "kernel_tiled",
                wgsl: "override ROWS: u32; @compute @workgroup_size(ROWS) fn main() {}",
                tuning: &[("ROWS", 32.0)],
                applies: |_| true,
                workgroups: |_, images| [4 * images as u32, 1, 1],
            },
        ],
        cpu: |_| {},
        reference: |_| {},
        cases: Vec::new,
    };

    #[test]
    fn a_step_is_counted_and_told() {
        let graph = Graph::of_one(&KERNEL, &Constants::default());
        let roofline = Roofline::of(&graph, 10).expect("it fits");
        let Use { flop, bytes, forms, .. } = roofline.uses[0].clone();
        assert_eq!((flop, bytes, forms[0].workgroups), (1e6, 8e4, 20));
        let room = Room { invocations: 64, workgroup_bytes: 0, variable_words: 0 };
        assert_eq!(forms[0].room, room);
        let m1 = &CARDS[0];
        let memory_ms = 8e4 / 68.2e6;
        assert!((roofline.least_ms(m1) - memory_ms).abs() < 1e-12);
        let text = roofline.markdown("pipeline.yaml");
        assert!(text.contains("`pipeline.yaml` with batches of 10 images. "), "{text}");
        // 20 workgroups are enough for 8 and 6 cores, 40 for 30, and none of both for 132.
        let row = "|  | kernel_first | 1.000 | 0.080 | 12.5 | 20 | 1280 | 0 | 0 | \
                   1.2 m | 1.2 m | 0.2 m | 0.0 m few |\n";
        assert!(text.contains(row), "{text}");
        let forms =
            "|  | kernel_first | 20 | 64 | 0 | 0 |\n|  | kernel_tiled | 40 | 32 | 0 | 0 |\n";
        assert!(text.ends_with(forms), "{text}");
    }

    #[test]
    fn what_is_too_large_is_counted_in_parts() {
        let graph = Graph::of_one(&KERNEL, &Constants::default());
        let roofline = Roofline::of(&graph, 100_000).expect("parts fit");
        // A binding of 128 MiB has room for 33,554 images.
        assert_eq!(roofline.micro_batch, 33_334);
    }
}
