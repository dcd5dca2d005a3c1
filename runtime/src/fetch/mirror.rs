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

#[cfg(test)]
mod tests {
    use super::*;

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
