//! An address to download from in place of a data set's own.

use ureq::http::Uri;

/// The address, if it is one that names of files can be appended to.
///
/// # Errors
/// If it is not, with what one looks like.
pub fn address(text: &str) -> Result<String, String> {
    let right = text.parse().is_ok_and(|address: Uri| {
        let is_web = matches!(address.scheme_str(), Some("http" | "https"));
        is_web && address.host().is_some_and(|host| !host.is_empty()) && address.query().is_none()
    });
    match right {
        true => Ok(text.to_owned()),
        false => Err("expected the address of a folder on a server, such as \
                      http://my.server/data, to which names of files are appended"
            .to_owned()),
    }
}

/// An address for people, without the name and password that may stand in it: messages end up in logs
/// and reports, which are shared.
pub fn without_credentials(text: &str) -> String {
    // All up to the last `@`, as passwords may hold `/` and `@` where nobody encoded them.
    let hide = |word: &str| match word.rsplit_once('@') {
        Some((before, host)) => match before.split_once("://") {
            Some((scheme, _)) => format!("{scheme}://***@{host}"),
            None => format!("***@{host}"),
        },
        None => word.to_owned(),
    };
    text.split(' ').map(hide).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_not_shown() {
        for (text, shown) in [
            ("http://me:secret@my.server:80/data/a.gz", "http://***@my.server:80/data/a.gz"),
            ("https://me:se/cr@et@my.server", "https://***@my.server"),
            ("me:secret@my.server", "***@my.server"),
            ("http://my.server/data", "http://my.server/data"),
            (
                "not an address of http://secret@[::1]/ at all",
                "not an address of http://***@[::1]/ at all",
            ),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
    }

    #[test]
    fn addresses_of_folders_on_servers_are_taken_and_others_told() {
        for right in ["http://my.server", "https://me:secret@my.server:8080/data/", "http://[::1]/"]
        {
            assert_eq!(address(right).as_deref(), Ok(right));
        }
        for wrong in
            ["notaurl", "my.server/data", "/data", "ftp://my.server", "http://", "http://a?b"]
        {
            let told = address(wrong).expect_err(wrong);
            assert!(told.contains("http://my.server/data"), "{told}");
        }
    }
}
