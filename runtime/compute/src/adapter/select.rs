//! Which adapter runs: by index, by name, or the best there is.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;

use super::host::Cpu;
use super::{Adapter, DeviceKind, Info, Precise, unoffered, wgpu};
use crate::precision::Precision;

/// Every adapter of this machine; an adapter's index is its position here. `cpu` comes first, so
/// that its index never depends on drivers.
pub fn all() -> Result<Vec<Box<dyn Adapter>>> {
    let mut adapters: Vec<Box<dyn Adapter>> = vec![Box::new(Cpu::new(0)?)];
    adapters.extend(wgpu::enumerate().into_iter().map(|a| Box::new(a) as Box<dyn Adapter>));
    Ok(adapters)
}

/// The adapter that `asked` names: an index, `auto`, a name or part of one, or `backend/name`.
///
/// # Errors
/// If none or several fit; the message lists the choices.
pub fn select(asked: &str) -> Result<Box<dyn Adapter>> {
    if asked == "cpu" {
        // No driver is loaded for the adapter that needs none.
        return Ok(Box::new(Cpu::new(0)?));
    }
    let mut adapters = all()?;
    let infos: Vec<Info> = adapters.iter().map(|a| a.info().clone()).collect();
    let at = choose(asked, &infos)?;
    Ok(adapters.swap_remove(at))
}

/// The adapter that `asked` names, computing in this precision.
///
/// # Errors
/// As for [`select`], and if it does not offer the precision; the message lists what does.
pub fn select_in(asked: &str, precision: Precision) -> Result<Precise<Box<dyn Adapter>>> {
    let adapter = select(asked)?;
    if let Err(refused) = unoffered(adapter.info(), precision) {
        let infos: Vec<Info> = all()?.iter().map(|a| a.info().clone()).collect();
        return Err(refusing(&refused.to_string(), precision, &infos).into());
    }
    Precise::new(adapter, precision)
}

/// That a precision is not offered, with those of these adapters that do.
pub(super) fn refusing(refused: &str, precision: Precision, infos: &[Info]) -> NoSuchAdapter {
    NoSuchAdapter(format!("{refused}.\n{}", offering(precision, infos)))
}

/// Which adapters offer a precision.
fn offering(precision: Precision, infos: &[Info]) -> String {
    let offer = |info: &&Info| info.precisions.contains(&precision);
    let names: Vec<String> =
        infos.iter().filter(offer).map(|i| format!("\n  {}/{}", i.backend, i.name)).collect();
    match names.is_empty() {
        true => format!(
            "No adapter of this machine does: leave `precision: {precision}` out, or give it as \
             `{}`",
            Precision::F32
        ),
        false => format!("These do, by `--adapter`:{}", names.concat()),
    }
}

/// What was asked for is absent or ambiguous: a mistake of whoever asked, not of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchAdapter(String);

impl NoSuchAdapter {
    /// With this explanation.
    pub(super) fn saying(why: String) -> Self {
        Self(why)
    }
}

impl fmt::Display for NoSuchAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoSuchAdapter {}

/// The position of the adapter that `asked` names among these.
pub fn choose(asked: &str, infos: &[Info]) -> Result<usize, NoSuchAdapter> {
    let refuse = |why: String| Err(NoSuchAdapter(format!("{why}.\n{}", choices(infos))));
    if asked == "auto" {
        return Ok(best(infos));
    }
    // A number that is no index may be part of a name: `3060`.
    let number = asked.parse::<usize>().ok();
    if let Some(index) = number.filter(|index| *index < infos.len()) {
        return Ok(index);
    }
    let fitting: Vec<usize> = (0..infos.len()).filter(|i| fits(asked, &infos[*i])).collect();
    match fitting.as_slice() {
        [] => refuse(match number {
            Some(number) => format!("there is no adapter {number}"),
            None => format!("no adapter is called {asked:?}"),
        }),
        [one] => Ok(*one),
        // One device through several backends is no ambiguity: the preferred backend is meant.
        // A name that fits unlike devices is.
        several => {
            let devices = devices(infos);
            let same = devices.iter().find(|backends| several.iter().all(|i| backends.contains(i)));
            match same.and_then(|backends| backends.iter().find(|i| several.contains(i))) {
                Some(preferred) => Ok(*preferred),
                None => refuse(format!("{asked:?} fits more than one adapter")),
            }
        }
    }
}

fn fits(asked: &str, info: &Info) -> bool {
    // Names that people use for what the drivers call otherwise.
    let asked = match asked {
        "lavapipe" => "vulkan/llvmpipe",
        "swiftshader" => "vulkan/SwiftShader",
        other => other,
    };
    let name = match asked.split_once('/') {
        Some((backend, name)) if backend.eq_ignore_ascii_case(info.backend) => name,
        Some(_) => return false,
        None if asked.eq_ignore_ascii_case(info.backend) => return true,
        None => asked,
    };
    info.name.to_lowercase().contains(&name.to_lowercase())
}

/// A real GPU if there is one, then `cpu`, and a software rasteriser never before that.
fn best(infos: &[Info]) -> usize {
    let key = |i: &usize| (rank(infos[*i].kind), backend_rank(infos[*i].backend), *i);
    (0..infos.len()).min_by_key(key).unwrap_or(0)
}

/// The better, the less.
pub(super) fn rank(kind: DeviceKind) -> usize {
    match kind {
        DeviceKind::DiscreteGpu => 0,
        DeviceKind::IntegratedGpu => 1,
        DeviceKind::VirtualGpu => 2,
        DeviceKind::Cpu => 3,
        DeviceKind::Other => 4,
        DeviceKind::SoftwareRasterizer => 5,
    }
}

/// GL comes last: it is the slowest way to a device that has another.
fn backend_rank(backend: &str) -> usize {
    ["cpu", "metal", "dx12", "vulkan", "gl"].iter().position(|b| *b == backend).unwrap_or(9)
}

/// Adapters grouped by physical device, each group's preferred backend first.
pub fn devices(infos: &[Info]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<(String, u32), Vec<usize>> = BTreeMap::new();
    for (index, info) in infos.iter().enumerate() {
        let device = (device_name(info), info.identity.ordinal);
        groups.entry(device).or_default().push(index);
    }
    let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
    for group in &mut groups {
        group.sort_by_key(|i| (backend_rank(infos[*i].backend), *i));
    }
    groups.sort_by_key(|group| group.iter().min().copied());
    groups
}

/// The device's name without what backends add to it: GL wraps it in a vendor and a driver.
fn device_name(info: &Info) -> String {
    let name = info.name.split("/PCIe").next().unwrap_or(&info.name);
    let name = name.split(" (").next().unwrap_or(name);
    let name = name.strip_prefix("Mesa ").unwrap_or(name);
    name.trim().to_lowercase()
}

fn choices(infos: &[Info]) -> String {
    let mut text = "The adapters of this machine, by index or by backend/name:".to_owned();
    for (index, info) in infos.iter().enumerate() {
        text.push_str(&format!("\n  {index}  {}/{}", info.backend, info.name));
        if let Some(bus) = &info.identity.pci_bus {
            text.push_str(&format!(" at {bus}"));
        }
    }
    text.push_str("\n`auto` takes the best of them.");
    text
}

#[cfg(test)]
mod tests {
    use super::super::ordinal::ordinal;
    use super::*;
    use crate::adapter::{Identity, Limits};

    fn info(name: &str, backend: &'static str, kind: DeviceKind) -> Info {
        Info {
            name: name.to_owned(),
            backend,
            driver: String::new(),
            kind,
            identity: Identity::default(),
            limits: Limits::NONE,
            precisions: vec![Precision::F32],
        }
    }

    /// Two cards of one model, the first of them through GL as well, and one of them through two
    /// installed drivers.
    fn twins() -> Vec<Info> {
        let card = "NVIDIA GeForce RTX 3060";
        let mut all = vec![info("cpu", "cpu", DeviceKind::Cpu)];
        for bus in ["0000:01:00.0", "0000:02:00.0", "0000:02:00.0"] {
            let mut twin = info(card, "vulkan", DeviceKind::DiscreteGpu);
            twin.identity.pci_bus = Some(bus.to_owned());
            all.push(twin);
        }
        all.push(info(&format!("{card}/PCIe/SSE2"), "gl", DeviceKind::DiscreteGpu));
        for _ in 0..2 {
            all.push(info("llvmpipe (LLVM 15.0.6)", "vulkan", DeviceKind::SoftwareRasterizer));
        }
        for at in 0..all.len() {
            all[at].identity.ordinal = ordinal(&all[at], all[..at].iter());
        }
        all
    }

    #[test]
    fn equal_cards_are_two_devices() {
        let all = twins();
        assert_eq!(devices(&all), [vec![0], vec![1, 4], vec![2, 3], vec![5, 6]]);
        let error = choose("rtx 3060", &all).expect_err("two cards").to_string();
        assert!(error.contains("fits more than one adapter"), "{error}");
        assert!(error.contains("\n  2  vulkan/NVIDIA GeForce RTX 3060 at 0000:02:00.0"), "{error}");
        for (asked, expected) in [("2", 2), ("gl/3060", 4), ("auto", 1), ("llvmpipe", 5)] {
            assert_eq!(choose(asked, &all).expect(asked), expected, "{asked}");
        }
    }

    fn laptop() -> Vec<Info> {
        vec![
            info("cpu", "cpu", DeviceKind::Cpu),
            info("Intel(R) Iris(R) Xe Graphics", "vulkan", DeviceKind::IntegratedGpu),
            info("NVIDIA GeForce RTX 3060 Laptop GPU", "vulkan", DeviceKind::DiscreteGpu),
            info("NVIDIA GeForce RTX 3060 Laptop GPU/PCIe/SSE2", "gl", DeviceKind::DiscreteGpu),
            info("llvmpipe (LLVM 15.0.6, 256 bits)", "vulkan", DeviceKind::SoftwareRasterizer),
            info("llvmpipe (LLVM 15.0.6, 256 bits)", "gl", DeviceKind::SoftwareRasterizer),
            info("SwiftShader Device (LLVM 10.0.0)", "vulkan", DeviceKind::SoftwareRasterizer),
        ]
    }

    #[test]
    fn auto_prefers_a_gpu_then_cpu_then_software() {
        let all = laptop();
        assert_eq!(choose("auto", &all).expect("a choice"), 2);
        let without = |skip: &[usize]| -> Vec<Info> {
            all.iter()
                .enumerate()
                .filter(|(i, _)| !skip.contains(i))
                .map(|(_, a)| a.clone())
                .collect()
        };
        let software = without(&[1, 2, 3]);
        assert_eq!(software[choose("auto", &software).expect("a choice")].name, "cpu");
    }

    #[test]
    fn names_aliases_backends_and_indices_choose() {
        let all = laptop();
        for (asked, expected) in [
            ("0", 0),
            ("cpu", 0),
            ("iris", 1),
            ("rtx 3060", 2),
            ("3060", 2),
            ("gl/RTX", 3),
            ("lavapipe", 4),
            ("llvmpipe", 4),
            ("gl/llvmpipe", 5),
            ("swiftshader", 6),
        ] {
            assert_eq!(choose(asked, &all).expect(asked), expected, "{asked}");
        }
    }

    #[test]
    fn absent_and_ambiguous_names_list_the_choices() {
        let all = laptop();
        for asked in ["radeon", "99", "vulkan", "vulkan/"] {
            let error = choose(asked, &all).expect_err(asked).to_string();
            assert!(error.contains("vulkan/NVIDIA GeForce RTX 3060"), "{asked}: {error}");
        }
    }

    #[test]
    fn backends_of_one_device_are_one_group() {
        assert_eq!(devices(&laptop()), [vec![0], vec![1], vec![2, 3], vec![4, 5], vec![6]]);
    }
}
