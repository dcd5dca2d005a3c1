//! What is switched on and changes no image, of which `check` warns.

use flow::stage::Mismatch;

/// A warning if a part of a stage is for no image, or does nothing to those it is for. `instead`
/// says what to write if that is meant.
pub fn warning(
    part: &str,
    probability: f64,
    does_nothing: bool,
    instead: &str,
) -> Option<Mismatch> {
    let (field, why) = if probability == 0.0 {
        let field = [part, "probability"].into_iter().filter(|name| !name.is_empty());
        (field.collect::<Vec<_>>().join("."), "a probability of 0 is for no image")
    } else if does_nothing {
        (part.to_owned(), "these numbers leave every image as it is")
    } else {
        return None;
    };
    Some(Mismatch::field(&field, format!("it changes nothing: {why}")).help(instead))
}

/// The same of a part that `false` switches off.
pub fn switched_on(part: &str, probability: f64, does_nothing: bool) -> Option<Mismatch> {
    warning(part, probability, does_nothing, &format!("write `{part}: false` if that is meant"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_no_image_or_does_nothing_is_told() {
        assert_eq!(warning("hue", 0.5, false, ""), None);
        let never = switched_on("hue", 0.0, true).expect("a warning");
        assert_eq!(never.field, ["hue", "probability"]);
        assert_eq!(never.help.as_deref(), Some("write `hue: false` if that is meant"));
        assert_eq!(warning("hue", 1.0, true, "").expect("a warning").field, ["hue"]);
        assert_eq!(warning("", 0.0, false, "").expect("a warning").field, ["probability"]);
    }
}
