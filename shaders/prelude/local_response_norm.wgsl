// Local response normalisation: how many neighbours on each side count, and N^-BETA, where N is
// BIAS + ALPHA * (the sum of their squares).

override RADIUS: u32;
override BIAS: f32;
override ALPHA: f32;
override BETA: f32;

// scale ^ -BETA.
fn power(scale: f32) -> f32 {
    if (BETA == 0.75) {
        // Two square roots are faster than a power, and more exact on some drivers.
        let root = sqrt(scale);
        return 1.0 / (root * sqrt(root));
    }
    return pow(scale, -BETA);
}
