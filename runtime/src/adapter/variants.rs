//! Which forms of kernels ran, so that a run can go on with the same ones.

use serde::{Deserialize, Serialize};

use crate::graph::Op;
use crate::kernel::{Kernel, Variant};
use crate::run_folder::AdapterReport;

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

/// What ran, and on which adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The adapter, with its driver.
    pub adapter: AdapterReport,
    /// What it ran.
    #[serde(flatten)]
    pub variants: Variants,
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

    /// The name of the form that runs for this use of a kernel; `None` where there is one only.
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
    /// Why a run that goes on with this is not exact to the bit; nothing if it is.
    pub fn differences(&self, adapter: &AdapterReport, now: &Variants) -> Vec<String> {
        match self.adapter.computes_like(adapter) {
            true => self.variants.differences(now),
            false => vec![another(&self.adapter, adapter)],
        }
    }
}

/// That a run goes on with another adapter.
pub(crate) fn another(before: &AdapterReport, now: &AdapterReport) -> String {
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
    }
}
