//! Lines of fields with commas between them (RFC 4180): a field may stand in quotes, in which two
//! quotes stand for one.

/// The fields of a line, or what is wrong with it.
pub(super) fn fields(line: &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let field;
        (field, rest) = match rest.strip_prefix('"') {
            Some(quoted) => in_quotes(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        if rest.is_empty() {
            return Ok(fields);
        }
        rest = rest.strip_prefix(',').ok_or("there is more behind a quote that ends a field")?;
    }
}

/// What stands before the closing quote, and what follows it.
fn in_quotes(mut rest: &str) -> Result<(String, &str), &'static str> {
    let mut field = String::new();
    loop {
        let end = rest.find('"').ok_or("a quote is not closed in its line")?;
        field += &rest[..end];
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Ok((field, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_taken_apart() {
        assert_eq!(fields("a.png, cat").expect("right"), ["a.png", "cat"]);
        assert_eq!(fields("\"a, \"\"b\"\".png\",cat").expect("right"), ["a, \"b\".png", "cat"]);
        assert_eq!(fields(",").expect("right"), ["", ""]);
        assert!(fields("\"a,cat").expect_err("open").contains("not closed"));
        assert!(fields("\"a\"b,cat").expect_err("more").contains("more behind"));
    }
}
