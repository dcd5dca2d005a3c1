//! GPUs by what their makers say of them, for estimates where there is none to measure.

use super::Peaks;

/// A GPU.
#[derive(Clone, Copy, Debug)]
pub struct Card {
    /// What people call it.
    pub name: &'static str,
    /// Units that take a workgroup each: fewer workgroups leave some idle.
    pub cores: u32,
    /// The most that it does, in f32 and without matrix units.
    pub peaks: Peaks,
    /// Where the figures come from.
    pub source: &'static str,
}

/// From a thin laptop to a data centre.
pub const CARDS: [Card; 4] = [
    Card {
        name: "Apple M1",
        cores: 8,
        peaks: Peaks { gflop_per_s: 2600.0, gbyte_per_s: 68.2 },
        source: "8 GPU cores and 2.6 TFLOP/s: Apple's announcement of 10 November 2020, as in \
                 <https://www.macrumors.com/2020/11/10/apple-announces-m1-chip-for-the-mac/>; \
                 128 bits of LPDDR4X at 4,266 MT/s: \
                 <https://nanoreview.info/en/gpu/apple-m1-gpu>",
    },
    Card {
        name: "Iris Xe, 96 EUs",
        cores: 6,
        peaks: Peaks { gflop_per_s: 2070.0, gbyte_per_s: 68.3 },
        source: "96 EUs (6 subslices of 16) of 8 lanes, two operations each, at the 1.35 GHz of \
                 the fastest of its first processors, as in \
                 <https://vimarsana.com/article/intel-launches-iris-xe-desktop-graphics-cards-for-oems>; \
                 128 bits of LPDDR4X at 4,267 MT/s, which not every laptop has",
    },
    Card {
        name: "RTX 3060 Laptop",
        cores: 30,
        peaks: Peaks { gflop_per_s: 10_900.0, gbyte_per_s: 336.0 },
        source: "3,840 lanes (30 multiprocessors of 128), two operations each, at the 1,425 MHz of \
                 the 80 W model, and 192 bits of GDDR6 at 14 Gbit/s: \
                 <https://askgeek.io/ru/gpus/NVIDIA/GeForce-RTX-3060-Mobile>; models differ, from \
                 1,283 to 1,703 MHz",
    },
    Card {
        name: "H100 SXM",
        cores: 132,
        peaks: Peaks { gflop_per_s: 67_000.0, gbyte_per_s: 3350.0 },
        source: "132 multiprocessors, 67 TFLOP/s, 3,350 GB/s: NVIDIA's data sheet, as in \
                 <https://archive-lib.hpctech.co.jp/gpuproduct/nvidia-h100.html>",
    },
];
