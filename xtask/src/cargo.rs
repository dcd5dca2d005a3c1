//! Starts cargo as a shell would.

use std::process::Command;

/// A call of cargo with these arguments and variables.
///
/// The cargo that runs xtask sets variables which describe xtask's own package. Build scripts that
/// look at them, such as that of `ring`, would run again, and all that depends on them would be
/// compiled again: now, and once more by the next cargo that is started from a shell.
pub(crate) fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments);
    forget_package(&mut command);
    command.envs(variables.iter().copied());
    command
}

/// Keeps from a command what cargo says about the package that it runs.
pub(crate) fn forget_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(describes_package) {
            command.env_remove(name);
        }
    }
}

/// Whether cargo sets this variable for a program that it runs. Those that a user sets for cargo
/// have other names.
fn describes_package(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|start| name.starts_with(start))
}

/// The value of the first field of this name in what cargo prints as JSON, if it is text. A crate that
/// reads JSON would be built for xtask before everything else.
pub(crate) fn text_field(json: &str, name: &str) -> Option<String> {
    let (_, rest) = json.split_once(&format!(r#""{name}":""#))?;
    let (mut text, mut characters) = (String::new(), rest.chars());
    loop {
        match characters.next()? {
            '"' => return Some(text),
            // In a path only quotes and backslashes are escaped.
            '\\' => text.push(characters.next()?),
            character => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_describes_the_package_is_kept_from_cargo() {
        for name in ["CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR", "CARGO_MANIFEST_DIR"] {
            assert!(describes_package(name), "{name}");
        }
    }

    #[test]
    fn what_a_user_sets_reaches_cargo() {
        for name in [
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "CARGO_TERM_COLOR",
            "CARGO_BUILD_JOBS",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_NET_OFFLINE",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
        ] {
            assert!(!describes_package(name), "{name}");
        }
    }

    /// A build script as that of `ring`.
    const SCRIPT: &str = "fn main() {
        println!(\"cargo:rerun-if-env-changed=CARGO_MANIFEST_DIR\");
        println!(\"cargo:rerun-if-env-changed=CARGO_PKG_NAME\");
    }";

    #[test]
    fn nothing_is_built_again_that_was_built_from_a_shell() {
        let folder = std::env::temp_dir().join(format!("gradflow-xtask-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("src")).expect("made");
        let manifest = "[package]\nname = \"a\"\nedition = \"2024\"\n[workspace]\n";
        for (file, text) in [("Cargo.toml", manifest), ("build.rs", SCRIPT), ("src/lib.rs", "")] {
            std::fs::write(folder.join(file), text).expect("written");
        }
        let build = |mut command: Command| {
            command.current_dir(&folder).env("CARGO_TARGET_DIR", folder.join("target"));
            let output = command.output().expect("cargo starts");
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{told}");
            told
        };
        let arguments = ["build", "--offline", "--verbose"];
        let mut shell = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        shell.args(arguments).env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_PKG_NAME");
        assert!(build(shell).contains("Compiling a "));
        let told = build(command(&arguments, &[]));
        assert!(told.contains("Fresh a ") && !told.contains("Dirty"), "{told}");
        std::fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_call_removes_what_is_set_here() {
        // Cargo sets it for this test, and so does xtask.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let command = command(&["build"], &[("GRADFLOW_NO_SKIP", "1")]);
        let envs: Vec<_> = command.get_envs().collect();
        assert!(envs.contains(&("CARGO_MANIFEST_DIR".as_ref(), None)), "{envs:?}");
        assert!(envs.contains(&("GRADFLOW_NO_SKIP".as_ref(), Some("1".as_ref()))), "{envs:?}");
    }

    #[test]
    fn quotes_and_backslashes_in_paths_are_read() {
        let path = text_field(r#"{"executable":"C:\\g \"x\"\\cli.exe"}"#, "executable");
        assert_eq!(path.as_deref(), Some(r#"C:\g "x"\cli.exe"#));
        assert_eq!(text_field(r#"{"executable":null}"#, "executable"), None);
    }
}
