//! What a person may have meant by an unknown name.

/// No name that anybody meant to write is longer, and comparing takes time.
const LETTERS_MAX: usize = 64;

/// The name closest to this one, if any is close enough to be worth saying.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if name.len() > LETTERS_MAX {
        return None;
    }
    let allowed = name.chars().count().div_ceil(3).max(1);
    known
        .iter()
        .map(|candidate| {
            let lower = (name.to_lowercase(), candidate.to_lowercase());
            (strsim::damerau_levenshtein(&lower.0, &lower.1), *candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The help for an unknown name: the nearest known one, or all of them.
pub fn help(name: &str, known: &[&str]) -> Option<String> {
    if known.is_empty() {
        return None;
    }
    Some(match nearest(name, known) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => format!("known are {}", list(known)),
    })
}

/// Names for people: `a`, `b`, `c`.
pub fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        let known = ["cropper", "batcher", "reader"];
        assert_eq!(nearest("croper", &known), Some("cropper"));
        assert_eq!(nearest("Reader", &known), Some("reader"));
        assert_eq!(nearest("model", &known), None);
        assert_eq!(help("rader", &known).as_deref(), Some("did you mean `reader`?"));
        assert_eq!(help("x", &["a", "bcd"]).as_deref(), Some("did you mean `a`?"));
        assert_eq!(help("zzzz", &["a", "b"]).as_deref(), Some("known are `a`, `b`"));
        assert_eq!(help("x", &[]), None);
    }
}
