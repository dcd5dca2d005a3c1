//! Random numbers keyed by what they are for, never by which thread draws them.
//!
//! Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) turns a key
//! and a counter into 128 random bits without any state, so sample 17 of epoch 3 gets the same
//! numbers whoever handles it and whenever.

/// Rounds of a Philox block.
pub const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// The key of the next round.
pub fn next_key(key: [u32; 2]) -> [u32; 2] {
    [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])]
}

/// What a round makes of the counter's first and third word, 64 bits of each.
pub fn products(first: u32, third: u32) -> [u64; 2] {
    [u64::from(MULTIPLIERS[0]) * u64::from(first), u64::from(MULTIPLIERS[1]) * u64::from(third)]
}

/// One Philox4x32-10 block.
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..ROUNDS {
        if round > 0 {
            key = next_key(key);
        }
        let [low, high] = products(counter[0], counter[2]);
        counter = [
            (high >> 32) as u32 ^ counter[1] ^ key[0],
            high as u32,
            (low >> 32) as u32 ^ counter[3] ^ key[1],
            low as u32,
        ];
    }
    counter
}

/// The random numbers of one (seed, purpose, epoch, sample).
#[derive(Clone, Debug)]
pub struct Random {
    key: [u32; 2],
    // Word 0 of the counter numbers the blocks; words 1 to 3 hold the sample and the epoch.
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Random {
    /// The numbers for `purpose` (a stage's id, a tensor's name) at one sample of one epoch.
    ///
    /// Samples are told apart up to 2^48 and epochs up to 2^48 in total bits: the sample's low 48
    /// bits and the epoch's low 48 bits fill the counter.
    pub fn keyed(seed: u64, purpose: &str, epoch: u64, sample: u64) -> Self {
        let [low, high] = key_of(purpose);
        let key = [seed as u32 ^ low, (seed >> 32) as u32 ^ high];
        let counter = [
            0,
            sample as u32,
            epoch as u32,
            ((sample >> 32) as u32 & 0xFFFF) | (((epoch >> 32) as u32) << 16),
        ];
        Self { key, counter, block: [0; 4], used: 4 }
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Uniform in [0, 1), with 24 random bits.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 / 16_777_216.0
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform whole number in 0..n. `n` of 0 gives 0.
    pub fn below(&mut self, n: usize) -> usize {
        // 64-bit multiply-shift: its bias is below 2^-32 * n, far under what a data set can show.
        ((u64::from(self.bits()) * n as u64) >> 32) as usize
    }

    /// Standard normal (Box and Muller, 1958), one of the pair.
    pub fn normal(&mut self) -> f64 {
        // 1 - u lies in (0, 1], so that the logarithm is finite.
        let radius = 1.0 - f64::from(self.bits()) / 4_294_967_296.0;
        let angle = f64::from(self.bits()) / 4_294_967_296.0;
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// Normal with values beyond two standard deviations drawn again.
    pub fn truncated_normal(&mut self) -> f64 {
        loop {
            let value = self.normal();
            if value.abs() < 2.0 {
                return value;
            }
        }
    }

    /// Puts 0..n in a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// What a purpose is in the key of [`philox`], low word first; the seed's words are mixed in by
/// exclusive or. For kernels, which draw what [`Random::keyed`] does.
pub fn key_of(purpose: &str) -> [u32; 2] {
    let name = hash(purpose);
    [name as u32, (name >> 32) as u32]
}

/// FNV-1a, 64 bits: stable across versions and platforms, unlike the standard library's hasher.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers_of_its_authors() {
        // kat_vectors of Random123, philox4x32 with 10 rounds.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]
        );
        assert_eq!(
            philox(
                [0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344],
                [0xA409_3822, 0x299F_31D0]
            ),
            [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1]
        );
    }

    #[test]
    fn the_truncated_normal_has_its_known_deviation() {
        let mut random = Random::keyed(1, "test", 0, 0);
        let n = 200_000;
        let squares: f64 = (0..n).map(|_| random.truncated_normal().powi(2)).sum();
        assert!(((squares / f64::from(n)).sqrt() - 0.879_626).abs() < 0.005);
    }

    #[test]
    fn purposes_epochs_and_samples_differ() {
        let first =
            |seed, purpose, epoch, sample| Random::keyed(seed, purpose, epoch, sample).bits();
        let base = first(1, "crop", 2, 3);
        assert_eq!(base, first(1, "crop", 2, 3));
        for other in [
            first(2, "crop", 2, 3),
            first(1, "flip", 2, 3),
            first(1, "crop", 3, 3),
            first(1, "crop", 2, 4),
            first(1, "crop", 3, 2),
        ] {
            assert_ne!(base, other);
        }
    }
}
