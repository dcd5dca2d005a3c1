//! Which forms of kernels ran, so that a run can go on with the same ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::adapter::AdapterReport;
use crate::graph::Op;
use crate::kernel::{Kernel, Variant};

/// What a replica runs: all that its bits depend on beside the graph, the device and the program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variants {
    /// The most images computed at once.
    pub micro_batch: usize,
    /// The vector instructions, where Gradflow chooses them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// Each kernel with each set of constants once.
    #[serde(default)]
    pub kernels: Vec<InForce>,
    /// Kernels that are taken together, where an adapter does so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Block>,
}

/// One use of a kernel and the form of it that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// The kernel.
    pub kernel: String,
    /// Its constants, as they are printed.
    pub constants: String,
    /// The name of the form.
    pub variant: String,
    /// The CRC-32C of that form's text, and of the overrides that it brings.
    pub text_crc32c: u32,
}

/// Kernels that are taken together, some images at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The kernels, in their order.
    pub kernels: Vec<String>,
    /// Images taken through all of them at once.
    pub images_at_once: usize,
    /// Images that one thread takes on.
    pub images_of_a_task: usize,
}

/// What ran on an adapter, and which one that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The adapter, with its driver.
    pub adapter: AdapterReport,
    /// What it ran.
    #[serde(flatten)]
    pub variants: Variants,
}

/// What ran in a run, on one adapter or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// On its adapter, or on the first of several.
    #[serde(flatten)]
    pub first: Record,
    /// On each of several, by the names of their towers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub towers: BTreeMap<String, Record>,
    /// Where the weights of several were held and updated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Record>,
    /// How many of them each process of a job had, if there were several processes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<usize>,
}

impl From<Record> for RunRecord {
    /// A run on a single adapter.
    fn from(first: Record) -> Self {
        Self { first, towers: BTreeMap::new(), holder: None, processes: Vec::new() }
    }
}

impl InForce {
    /// This form of this use of a kernel.
    pub(super) fn of(op: &Op, variant: &Variant) -> Self {
        Self {
            kernel: op.kernel.name.to_owned(),
            constants: op.constants.to_string(),
            variant: variant.name.to_owned(),
            text_crc32c: crc32c_of(0, variant),
        }
    }

    fn is_of(&self, op: &Op) -> bool {
        self.kernel == op.kernel.name && self.constants == op.constants.to_string()
    }
}

/// The CRC-32C of the texts of all forms of a kernel, with their names.
pub(super) fn text_crc32c(kernel: &Kernel) -> u32 {
    kernel.variants.iter().fold(0, |crc, variant| {
        crc32c_of(crc32c::crc32c_append(crc, variant.name.as_bytes()), variant)
    })
}

/// The CRC-32C of a form's text and of the overrides that it brings, after what came before.
fn crc32c_of(before: u32, variant: &Variant) -> u32 {
    let text = crc32c::crc32c_append(before, variant.wgsl.as_bytes());
    variant.tuning.iter().fold(text, |crc, (name, value)| {
        let crc = crc32c::crc32c_append(crc, name.as_bytes());
        crc32c::crc32c_append(crc, &value.to_le_bytes())
    })
}

impl Variants {
    /// The form of this use of a kernel among these, if it is here and its text is still the same.
    pub(super) fn find(&self, op: &Op, among: &[&'static Variant]) -> Option<&'static Variant> {
        let recorded = self.kernels.iter().find(|recorded| recorded.is_of(op))?;
        among.iter().copied().find(|variant| InForce::of(op, variant) == *recorded)
    }

    /// The name of the form that runs for this use of a kernel; `None` on an adapter that has no
    /// forms to choose from.
    pub fn form(&self, op: &Op) -> Option<&str> {
        let recorded = self.kernels.iter().find(|recorded| recorded.is_of(op))?;
        Some(&recorded.variant)
    }

    /// Why what runs `now` does not give the bits of this; nothing if it does.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let mut differ = |what: &str, before: &str, now: &str| {
            if before != now {
                found.push(format!("{what}: {before} before, {now} now"));
            }
        };
        let images = |variants: &Self| format!("{} images", variants.micro_batch);
        differ("micro-batches", &images(self), &images(now));
        let instructions =
            |variants: &Self| variants.instructions.clone().unwrap_or_else(|| "none".to_owned());
        differ("vector instructions", &instructions(self), &instructions(now));
        for before in &self.kernels {
            let same = |after: &&InForce| {
                after.kernel == before.kernel && after.constants == before.constants
            };
            let what = format!("kernel {} ({})", before.kernel, before.constants);
            match now.kernels.iter().find(same) {
                None => differ(&what, &before.variant, "not used"),
                Some(after) => {
                    differ(&what, &before.variant, &after.variant);
                    if before.variant == after.variant && before.text_crc32c != after.text_crc32c {
                        differ(&what, "another text", &after.variant);
                    }
                }
            }
        }
        if self.blocks != now.blocks {
            found.push("other kernels are taken together, or other numbers of images".to_owned());
        }
        found
    }
}

impl Record {
    /// Why what runs `now` does not give the bits of this; nothing if it does.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        match self.adapter.computes_like(&now.adapter) {
            true => self.variants.differences(&now.variants),
            false => vec![another(&self.adapter, &now.adapter)],
        }
    }
}

impl RunRecord {
    /// What ran on this adapter, the first of several that compute like it.
    pub(super) fn on(&self, adapter: &AdapterReport) -> Option<&Record> {
        let mut all = std::iter::once(&self.first).chain(self.towers.values());
        all.find(|record| record.adapter.computes_like(adapter))
    }

    /// What one of the towers has to go by, as if it were alone.
    pub(super) fn of_tower(&self, name: &str) -> Self {
        self.towers.get(name).unwrap_or(&self.first).clone().into()
    }

    /// What holds the weights of several towers has this to go by.
    pub(super) fn of_holder(&self) -> Self {
        self.holder.as_ref().unwrap_or(&self.first).clone().into()
    }

    /// Why a run that goes on with `now` is not exact to the bit; nothing if it is.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let adapters = |record: &Self| record.towers.len().max(1);
        let (before, after) = (adapters(self), adapters(now));
        if before != after {
            let adapters = if before == 1 { "adapter" } else { "adapters" };
            return vec![format!(
                "it was at work on {before} {adapters} and goes on with {after}: sums are taken \
                 in another order"
            )];
        }
        if self.processes != now.processes {
            let processes = |record: &Self| record.processes.len().max(1);
            return vec![format!(
                "its {before} adapters were in {} and are in {} processes, or others of them are \
                 together: sums are taken in another order",
                processes(self),
                processes(now)
            )];
        }
        if self.towers.is_empty() {
            return self.first.differences(&now.first);
        }
        let towers = self.towers.iter().zip(now.towers.values());
        let holders = self.holder.iter().zip(&now.holder).map(|(b, n)| ("the weights", b, n));
        let each = towers.map(|((name, b), n)| (name.as_str(), b, n)).chain(holders);
        let differences = |(name, before, now): (&str, &Record, &Record)| {
            let found = before.differences(now).into_iter();
            found.map(|why| format!("{name}: {why}")).collect::<Vec<_>>()
        };
        each.flat_map(differences).collect()
    }
}

/// That a run goes on with another adapter.
pub fn another(before: &AdapterReport, now: &AdapterReport) -> String {
    format!("it was at work on {before} and goes on with {now}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(constants: &str, variant: &str, text_crc32c: u32) -> InForce {
        InForce {
            kernel: "product".to_owned(),
            constants: constants.to_owned(),
            variant: variant.to_owned(),
            text_crc32c,
        }
    }

    #[test]
    fn each_difference_is_named() {
        let before = Variants {
            micro_batch: 8,
            kernels: vec![kernel("N=1", "tiles", 7), kernel("N=2", "tiles", 7)],
            ..Variants::default()
        };
        assert!(before.differences(&before).is_empty());
        let now = Variants {
            micro_batch: 4,
            kernels: vec![kernel("N=1", "rows", 7), kernel("N=2", "tiles", 8)],
            instructions: Some("avx2".to_owned()),
            ..Variants::default()
        };
        assert_eq!(
            before.differences(&now),
            [
                "micro-batches: 8 images before, 4 images now",
                "vector instructions: none before, avx2 now",
                "kernel product (N=1): tiles before, rows now",
                "kernel product (N=2): another text before, tiles now",
            ]
        );
        let blocks = vec![Block { kernels: vec![], images_at_once: 1, images_of_a_task: 2 }];
        assert_eq!(before.differences(&Variants { blocks, ..before.clone() }).len(), 1);
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record {
            adapter: AdapterReport { name: "a card".to_owned(), ..AdapterReport::default() },
            variants: Variants {
                micro_batch: 3,
                kernels: vec![kernel("N=1", "tiles", 7)],
                ..Variants::default()
            },
        };
        let text = serde_json::to_string(&record).expect("it can be written");
        assert!(text.contains("\"variant\":\"tiles\""), "{text}");
        assert_eq!(serde_json::from_str::<Record>(&text).expect("it can be read"), record);
        // A run on a single adapter has nothing to add.
        let alone = RunRecord::from(record.clone());
        assert_eq!(serde_json::to_string(&alone).expect("it can be written"), text);
        assert_eq!(serde_json::from_str::<RunRecord>(&text).expect("it can be read"), alone);
        let several = several(&[("tower_0", record.clone()), ("tower_1", record)]);
        let text = serde_json::to_string(&several).expect("it can be written");
        assert_eq!(serde_json::from_str::<RunRecord>(&text).expect("it can be read"), several);
    }

    fn on(card: &str, variant: &str) -> Record {
        Record {
            adapter: AdapterReport { name: card.to_owned(), ..AdapterReport::default() },
            variants: Variants {
                micro_batch: 8,
                kernels: vec![kernel("N=1", variant, 7)],
                ..Variants::default()
            },
        }
    }

    fn several(towers: &[(&str, Record)]) -> RunRecord {
        let named = towers.iter().map(|(name, record)| ((*name).to_owned(), record.clone()));
        RunRecord {
            first: towers[0].1.clone(),
            towers: named.collect(),
            holder: Some(on("processor", "only")),
            processes: Vec::new(),
        }
    }

    #[test]
    fn each_tower_goes_by_what_it_ran_itself() {
        let before = several(&[("tower_0", on("card", "tiles")), ("tower_1", on("card", "rows"))]);
        let form = |record: RunRecord| record.first.variants.kernels[0].variant.clone();
        assert_eq!(form(before.of_tower("tower_0")), "tiles");
        assert_eq!(form(before.of_tower("tower_1")), "rows");
        assert_eq!(form(before.of_holder()), "only");
        // Where there was none of this name, and where an adapter trained alone.
        assert_eq!(form(before.of_tower("tower_2")), "tiles");
        let alone = RunRecord::from(on("card", "rows"));
        assert_eq!(form(alone.of_tower("tower_1")), "rows");
        assert_eq!(before.on(&on("card", "").adapter), Some(&on("card", "tiles")));
        assert_eq!(before.on(&on("other", "").adapter), None);
    }

    #[test]
    fn differences_say_which_tower_they_are_of() {
        let before = several(&[("tower_0", on("card", "tiles")), ("tower_1", on("card", "rows"))]);
        assert!(before.differences(&before).is_empty());
        let now = several(&[("tower_0", on("card", "tiles")), ("tower_1", on("other", "rows"))]);
        let now = RunRecord { holder: Some(on("processor", "another")), ..now };
        assert_eq!(
            before.differences(&now),
            [
                "tower_1: it was at work on /card () and goes on with /other ()",
                "the weights: kernel product (N=1): only before, another now",
            ]
        );
        let alone = RunRecord::from(on("card", "tiles"));
        let why = alone.differences(&before);
        assert!(why[0].starts_with("it was at work on 1 adapter and goes on with 2: "), "{why:?}");
        assert_eq!(before.differences(&alone).len(), 1);
    }
}
