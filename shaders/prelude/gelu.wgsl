// The share of normal numbers below a number, for Gaussian error linear units.

// Half of erfc, which is t * e^(series of t - z^2) to a share of 1.2e-7 (Press et al., "Numerical
// Recipes", erfcc).
fn share_below(x: f32) -> f32 {
    let z = abs(x) * 0.70710678;
    let t = 1.0 / (1.0 + 0.5 * z);
    var series = -0.82215223 + t * 0.17087277;
    series = 1.48851587 + t * series;
    series = -1.13520398 + t * series;
    series = 0.27886807 + t * series;
    series = -0.18628806 + t * series;
    series = 0.09678418 + t * series;
    series = 0.37409196 + t * series;
    series = 1.00002368 + t * series;
    series = -1.26551223 + t * series;
    let beyond = 0.5 * t * exp(series - z * z);
    return select(1.0 - beyond, beyond, x < 0.0);
}
