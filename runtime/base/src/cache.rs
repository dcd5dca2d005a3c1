//! Where Gradflow keeps what can be had again: downloads, and which kernels were found fastest.

use std::ffi::OsString;
use std::path::PathBuf;

/// The folder: `GRADFLOW_CACHE` if it is set, else where the platform keeps caches. `None` if the
/// environment knows no such place.
pub fn folder() -> Option<PathBuf> {
    folder_of(std::env::consts::OS, |name| std::env::var_os(name))
}

fn folder_of(platform: &str, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(cache) = path("GRADFLOW_CACHE") {
        return Some(cache);
    }
    let caches = match platform {
        "windows" => path("LOCALAPPDATA")?,
        "macos" => path("HOME")?.join("Library/Caches"),
        // The specification has relative paths ignored.
        _ => match path("XDG_CACHE_HOME").filter(|path| path.is_absolute()) {
            Some(caches) => caches,
            None => path("HOME")?.join(".cache"),
        },
    };
    Some(caches.join("gradflow"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platforms_convention_is_followed_unless_a_place_is_named() {
        let folder = |platform, set: &[(&str, &str)]| {
            let find = |name: &str| set.iter().find(|(key, _)| *key == name);
            let found = folder_of(platform, |name| find(name).map(|(_, value)| value.into()));
            found.map(|path| path.to_string_lossy().replace('\\', "/"))
        };
        let home = ("HOME", "/home/a");
        let is =
            |found: Option<String>, expected: &str| assert_eq!(found.as_deref(), Some(expected));
        is(folder("linux", &[home]), "/home/a/.cache/gradflow");
        is(folder("linux", &[home, ("XDG_CACHE_HOME", "here")]), "/home/a/.cache/gradflow");
        is(folder("macos", &[home]), "/home/a/Library/Caches/gradflow");
        is(folder("windows", &[("LOCALAPPDATA", "C:/a")]), "C:/a/gradflow");
        is(folder("linux", &[home, ("GRADFLOW_CACHE", "/big")]), "/big");
        is(folder("linux", &[home, ("GRADFLOW_CACHE", "")]), "/home/a/.cache/gradflow");
        assert_eq!(folder("linux", &[]), None);
        #[cfg(unix)]
        is(folder("linux", &[home, ("XDG_CACHE_HOME", "/fast")]), "/fast/gradflow");
    }
}
