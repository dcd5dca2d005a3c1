//! How far the word at a place in the text goes, so that it can be underlined.

/// The end of the word, quoted or plain, that starts here.
pub(super) fn end(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    let mut letters = rest.char_indices();
    let length = match letters.next() {
        None => return start,
        Some((_, quote @ ('"' | '\''))) => {
            let mut escaped = false;
            letters
                .find(|(_, letter)| {
                    let ends = *letter == quote && !escaped;
                    escaped = quote == '"' && *letter == '\\' && !escaped;
                    ends || *letter == '\n'
                })
                .map(|(at, letter)| if letter == '\n' { at } else { at + 1 })
        }
        Some((_, mark)) if "{}[],|>".contains(mark) => Some(mark.len_utf8()),
        Some(_) => letters
            .find(|(at, letter)| {
                let before = &rest[*at..];
                "\r\n,]}".contains(*letter)
                    || before.starts_with(" #")
                    || before.starts_with(": ")
                    || before.starts_with(":\n")
                    || before.starts_with(":\r")
                    || before == ":"
            })
            .map(|(at, _)| at),
    };
    let word = &rest[..length.unwrap_or(rest.len())];
    start + word.trim_end().len().max(1).min(rest.len())
}

/// The start of the word behind an anchor, `&name word`.
pub(super) fn skip_properties(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    if !rest.starts_with('&') {
        return start;
    }
    let name = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let gap = rest[name..].find(|letter: char| !letter.is_whitespace()).unwrap_or(0);
    start + name + gap
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> &str {
        &text[..end(text, 0)]
    }

    #[test]
    fn words_end_where_yaml_ends_them() {
        assert_eq!(word("24\nx"), "24");
        assert_eq!(word("a b # c"), "a b");
        assert_eq!(word("key: v"), "key");
        assert_eq!(word("a:b, c"), "a:b");
        assert_eq!(word("x } }"), "x");
        assert_eq!(word("'it''s' x"), "'it'");
        assert_eq!(word(r#""a\"b" c"#), r#""a\"b""#);
        assert_eq!(word("\"open\nx"), "\"open");
        assert_eq!(word("[1, 2]"), "[");
        assert_eq!(word("é"), "é");
        assert_eq!(word(""), "");
        assert_eq!(skip_properties("&crop 24", 0), 6);
        assert_eq!(skip_properties("&crop\n  a: 1", 0), 8);
        assert_eq!(skip_properties("24", 0), 0);
    }
}
