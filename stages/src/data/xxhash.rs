//! XXH64 (Collet, 2012): 64 bits of some bytes, the same on every platform and for ever, and fast
//! enough for a data set's pixels. It tells images from each other; it keeps out no attacker.

const PRIMES: [u64; 5] = [
    0x9E37_79B1_85EB_CA87,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x27D4_EB2F_1656_67C5,
];

/// Bytes that are taken at once, as four lanes.
const STRIPE: usize = 32;

/// The hash of these bytes.
pub(super) fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    let stripes = bytes.chunks_exact(STRIPE);
    let rest = stripes.remainder();
    let mut hash = if bytes.len() < STRIPE {
        seed.wrapping_add(PRIMES[4])
    } else {
        let mut lanes = [
            seed.wrapping_add(PRIMES[0]).wrapping_add(PRIMES[1]),
            seed.wrapping_add(PRIMES[1]),
            seed,
            seed.wrapping_sub(PRIMES[0]),
        ];
        for stripe in stripes {
            for (lane, word) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
                *lane = round(*lane, word_of(word));
            }
        }
        let joined = lanes
            .iter()
            .zip([1, 7, 12, 18])
            .fold(0_u64, |sum, (lane, by)| sum.wrapping_add(lane.rotate_left(by)));
        lanes.iter().fold(joined, |hash, lane| {
            (hash ^ round(0, *lane)).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3])
        })
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    let words = rest.chunks_exact(8);
    let rest = words.remainder();
    for word in words {
        hash ^= round(0, word_of(word));
        hash = hash.rotate_left(27).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]);
    }
    let halves = rest.chunks_exact(4);
    let rest = halves.remainder();
    for half in halves {
        hash ^= word_of(half).wrapping_mul(PRIMES[0]);
        hash = hash.rotate_left(23).wrapping_mul(PRIMES[1]).wrapping_add(PRIMES[2]);
    }
    for byte in rest {
        hash ^= u64::from(*byte).wrapping_mul(PRIMES[4]);
        hash = hash.rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 32)
}

fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(PRIMES[1])).rotate_left(31).wrapping_mul(PRIMES[0])
}

/// Up to eight bytes, the lowest first.
fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_answers_come_out() {
        let known = [
            ("", 0, 0xEF46_DB37_51D8_E999),
            ("a", 0, 0xD24E_C4F1_A98C_6E5B),
            ("abc", 0, 0x44BC_2CF5_AD77_0999),
            ("Nobody inspects the spammish repetition", 0, 0xFBCE_A83C_8A37_8BF1),
        ];
        for (text, seed, hash) in known {
            assert_eq!(xxh64(text.as_bytes(), seed), hash, "{text:?}");
        }
    }

    #[test]
    fn every_byte_and_the_seed_count() {
        let bytes: Vec<u8> = (0..101).collect();
        for length in [1, 4, 7, 8, 31, 32, 33, 64, 101] {
            let whole = xxh64(&bytes[..length], 3);
            assert_ne!(whole, xxh64(&bytes[..length], 4));
            for at in 0..length {
                let mut other = bytes[..length].to_vec();
                other[at] ^= 0x80;
                assert_ne!(whole, xxh64(&other, 3), "byte {at} of {length}");
            }
        }
    }
}
