//! Makes sure that there is an adapter for the GPU tests.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Mesa's software Vulkan, its loader, and the checkers of translated shaders.
const PACKAGES: [&str; 4] = ["mesa-vulkan-drivers", "libvulkan1", "spirv-tools", "glslang-tools"];

/// Installs what the GPU tests need, if it is missing and this is a Linux with apt-get that lets
/// us. Elsewhere it says what is missing and goes on: the tests say what they skip.
pub(crate) fn ensure() -> Result<()> {
    if !cfg!(target_os = "linux") || is_complete() {
        return Ok(());
    }
    let Some(prefix) = privileges() else {
        println!(
            "xtask: this machine lacks a Vulkan driver or the shader checkers, and I may not \
             install any. Install {} for complete tests.",
            PACKAGES.join(" ")
        );
        return Ok(());
    };
    println!("xtask: installing {} for the GPU tests (--no-install refuses)", PACKAGES.join(" "));
    apt(&prefix, &["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(PACKAGES);
    apt(&prefix, &install)
}

fn is_complete() -> bool {
    has_driver() && has_program("spirv-val") && has_program("glslangValidator")
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
