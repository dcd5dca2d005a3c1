//! Makes sure that there is an adapter for the GPU tests.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Installs what the GPU tests need and this machine lacks, if it is a Linux with apt-get that lets
/// us. Elsewhere it says what is missing and goes on: the tests say what they skip.
pub(crate) fn ensure() -> Result<()> {
    let packages = missing();
    if !cfg!(target_os = "linux") || packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    let Some(prefix) = privileges() else {
        println!("xtask: for complete tests install {names}, which I may not do here");
        return Ok(());
    };
    println!("xtask: installing {names} for the GPU tests (--no-install refuses)");
    apt(&prefix, &["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(packages);
    apt(&prefix, &install)
}

/// The packages that would bring what is not there: Mesa's software Vulkan with its loader where
/// there is no driver at all, and the checkers of translated shaders.
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
    packages
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

fn has_program(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
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
