//! The distribution of shares that images are mixed by.

use base::random::Random;

/// A share from 0 to 1, from the beta distribution with both parameters `alpha`, above 0.
pub fn beta(alpha: f64, random: &mut Random) -> f64 {
    let (a, b) = (gamma(alpha, random), gamma(alpha, random));
    a / (a + b)
}

/// From the gamma distribution of this shape and scale 1 (Marsaglia and Tsang, "A simple method for
/// generating gamma variables", 2000).
fn gamma(shape: f64, random: &mut Random) -> f64 {
    if shape < 1.0 {
        let uniform = 1.0 - f64::from(random.unit());
        return gamma(shape + 1.0, random) * uniform.powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let normal = random.normal();
        let cube = (1.0 + c * normal).powi(3);
        let uniform = 1.0 - f64::from(random.unit());
        if cube > 0.0 && uniform.ln() < 0.5 * normal * normal + d * (1.0 - cube + cube.ln()) {
            return d * cube;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_the_known_moments() {
        for alpha in [0.1, 0.2, 1.0, 4.0, 50.0] {
            let mut random = Random::keyed(1, "beta", 0, 0);
            let n = 100_000;
            let shares: Vec<f64> = (0..n).map(|_| beta(alpha, &mut random)).collect();
            assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{alpha}");
            let mean = shares.iter().sum::<f64>() / f64::from(n);
            let moment = |power| {
                shares.iter().map(|share| (share - 0.5).powi(power)).sum::<f64>() / f64::from(n)
            };
            let variance = 0.25 / (2.0 * alpha + 1.0);
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: {mean}");
            assert!((moment(2) / variance - 1.0).abs() < 0.03, "{alpha}: {}", moment(2));
            let fourth = 3.0 * variance * variance * (2.0 * alpha + 1.0) / (2.0 * alpha + 3.0);
            assert!((moment(4) / fourth - 1.0).abs() < 0.05, "{alpha}: {} {fourth}", moment(4));
        }
    }
}
