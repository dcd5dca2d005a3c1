//! Makes sure that what the tests need beside Rust is there: a GPU adapter, the checkers of
//! translated shaders, a browser, and the Python that reads files back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// What Python reads files back with, one package a line.
const REQUIREMENTS: &str = "tests/requirements.txt";

/// Installs the packages that the tests need and this machine lacks, if it is a Linux with apt-get
/// that lets us. Elsewhere it says what is missing and goes on: the tests say what they skip.
pub(crate) fn ensure_packages() -> Result<()> {
    let packages = missing();
    if !cfg!(target_os = "linux") || packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    let Some(prefix) = privileges() else {
        println!("xtask: for complete tests install {names}, which I may not do here");
        return Ok(());
    };
    println!("xtask: installing {names} for the tests (--no-install refuses)");
    apt(&prefix, &["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(packages);
    apt(&prefix, &install)
}

/// A Python of the tests' own below `target`, with the packages that read files back. `None`, and
/// why, where that cannot be had: the tests say what they skip.
pub(crate) fn ensure_python() -> Result<Option<PathBuf>> {
    let wanted = fs::read(REQUIREMENTS).with_context(|| format!("cannot read {REQUIREMENTS}"))?;
    let folder =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let folder = std::path::absolute(folder.join("test-python"))?;
    let binaries = folder.join(if cfg!(windows) { "Scripts" } else { "bin" });
    let python = binaries.join(if cfg!(windows) { "python.exe" } else { "python3" });
    // Written last: it says that everything in it is there.
    let installed = folder.join("requirements.txt");
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(Some(python));
    }
    println!("xtask: installing {REQUIREMENTS} into {}", folder.display());
    let base = if cfg!(windows) { "python" } else { "python3" };
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    let made = run(Command::new(base).args(["-m", "venv"]).arg(&folder))
        && run(Command::new(&python).args(install).arg(REQUIREMENTS));
    if !made {
        println!(
            "xtask: without them the tests of event files, checkpoints and data sets are left out"
        );
        return Ok(None);
    }
    fs::write(&installed, wanted)?;
    Ok(Some(python))
}

fn run(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

/// The packages that would bring what is not there: Mesa's software Vulkan with its loader where
/// there is no driver at all, the checkers of translated shaders, a browser, Python's venv.
fn missing() -> Vec<&'static str> {
    let mut packages = Vec::new();
    if !has_driver() {
        packages.extend(["mesa-vulkan-drivers", "libvulkan1"]);
    }
    if !has_program("spirv-val") {
        packages.push("spirv-tools");
    }
    if !has_program("glslangValidator") {
        packages.push("glslang-tools");
    }
    if !["chromium", "chromium-browser", "google-chrome"].iter().any(|name| has_program(name)) {
        packages.push("chromium");
    }
    let venv = Command::new("python3").args(["-c", "import ensurepip"]).output();
    if !venv.is_ok_and(|output| output.status.success()) {
        packages.push("python3-venv");
    }
    if !has_open_mpi() {
        packages.extend(["libopenmpi-dev", "openmpi-bin"]);
    }
    if !has_libclang() {
        packages.push("libclang-dev");
    }
    packages
}

/// Whether what joins processes can be built and tested.
pub(crate) fn has_mpi() -> bool {
    has_open_mpi() && has_libclang()
}

/// Another MPI joins processes as well, but the tests start and watch them as Open MPI has it.
fn has_open_mpi() -> bool {
    let version = Command::new("mpirun").arg("--version").output();
    let is_open =
        version.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("Open MPI"));
    is_open && has_program("mpicc")
}

/// Whether the library is there that reads MPI's headers: named, with a compiler, or in the folder of
/// its version, where Debian has it.
fn has_libclang() -> bool {
    let has = |folder: &Path, beginning: &str| {
        let mut entries = folder.read_dir().into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().to_string_lossy().starts_with(beginning))
    };
    let versions = Path::new("/usr/lib").read_dir().into_iter().flatten().flatten();
    std::env::var_os("LIBCLANG_PATH").is_some()
        || has_program("clang")
        || versions.into_iter().any(|folder| has(&folder.path().join("lib"), "libclang"))
}

/// Whether a Vulkan loader would find a driver.
fn has_driver() -> bool {
    let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];
    if named.iter().any(|name| std::env::var_os(name).is_some()) {
        return true;
    }
    ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"].iter().any(
        |folder| Path::new(folder).read_dir().is_ok_and(|mut entries| entries.next().is_some()),
    )
}

pub(crate) fn has_program(name: &str) -> bool {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(&file).is_file()))
}

/// What to put before apt-get so that it may install; `None` if nothing helps.
fn privileges() -> Option<Vec<&'static str>> {
    if !has_program("apt-get") {
        return None;
    }
    let id = Command::new("id").arg("-u").output().ok()?;
    if String::from_utf8_lossy(&id.stdout).trim() == "0" {
        return Some(Vec::new());
    }
    let sudo = Command::new("sudo").args(["-n", "true"]).status().ok()?;
    sudo.success().then(|| vec!["sudo", "-n"])
}

fn apt(prefix: &[&str], arguments: &[&str]) -> Result<()> {
    let words: Vec<&str> =
        prefix.iter().copied().chain(["apt-get"]).chain(arguments.iter().copied()).collect();
    let status = Command::new(words[0])
        .args(&words[1..])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("could not start apt-get")?;
    if !status.success() {
        bail!("`{}` failed; --no-install goes on without", words.join(" "));
    }
    Ok(())
}
