//! The share of images that something is done to.

use flow::stage::Mismatch;

/// Whether a field holds a share of all images.
///
/// # Errors
/// If it is not from 0 to 1; `never` says what to write for no image at all.
pub fn check(field: &str, probability: f64, never: &str) -> Result<(), Mismatch> {
    if (0.0..=1.0).contains(&probability) {
        return Ok(());
    }
    let message = format!("expected a probability from 0 to 1, found {probability}");
    Err(Mismatch::field(field, message).help(never))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_lies_from_0_to_1() {
        for right in [0.0, 0.5, 1.0] {
            assert_eq!(check("flip.probability", right, ""), Ok(()));
        }
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            let wrong = check("flip.probability", wrong, "leave it out").expect_err("no share");
            assert_eq!(wrong.field, ["flip", "probability"]);
            assert_eq!(wrong.help.as_deref(), Some("leave it out"));
        }
    }
}
