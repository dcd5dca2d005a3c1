//! `runtime devices`: what can compute here.

use clap::Args;

use super::output::{Failure, indent, print, table};
use compute::adapter::{DeviceKind, Info, select};
use compute::precision;

const EXAMPLES: &str = "\
Examples:
  runtime devices
  runtime devices --json
  runtime run pipeline.yaml --adapter 1
  runtime run pipeline.yaml --adapter vulkan/nvidia";

/// Lists the adapters of this machine, the backends of one device together, with the precisions
/// that each offers, and says which one `auto` takes.
///
/// An adapter is asked for by its number, by a part of its name, or by backend and name:
/// `vulkan/llvmpipe`. `lavapipe` and `swiftshader` are short for vulkan/llvmpipe and
/// vulkan/SwiftShader.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

pub(super) fn devices(arguments: &Arguments) -> Result<(), Failure> {
    let adapters = select::all().map_err(Failure::Run)?;
    let infos: Vec<Info> = adapters.iter().map(|adapter| adapter.info().clone()).collect();
    let auto = select::choose("auto", &infos).map_err(|error| Failure::Run(error.into()))?;
    print(&if arguments.json { json(&infos, auto) } else { describe(&infos, auto) })
}

fn describe(infos: &[Info], auto: usize) -> String {
    let mut text = String::new();
    for group in select::devices(infos) {
        let kind = group.first().map_or("", |first| describe_kind(infos[*first].kind));
        let name = group.first().map_or("", |first| infos[*first].name.as_str());
        let bus = group.iter().find_map(|index| infos[*index].identity.pci_bus.as_deref());
        let place = bus.map(|bus| format!(", at {bus}")).unwrap_or_default();
        let mut rows = Vec::new();
        for index in group {
            let info = &infos[index];
            let mark = if index == auto { "<- auto" } else { "" };
            rows.push(vec![
                index.to_string(),
                info.backend.to_owned(),
                info.driver.clone(),
                describe_limits(info),
                precision::list(&info.precisions),
                mark.to_owned(),
            ]);
        }
        text += &format!("{name} ({kind}{place})\n{}", indent(&table(&rows), 2));
    }
    text
}

fn describe_limits(info: &Info) -> String {
    let mib = |bytes: u64| bytes >> 20;
    let limits = &info.limits;
    if info.kind == DeviceKind::Cpu {
        return match limits.memory_bytes {
            Some(bytes) => format!("memory {} MiB", mib(bytes)),
            None => "no limits but memory".to_owned(),
        };
    }
    format!(
        "binding {} MiB, buffer {} MiB, {} workgroups, {} storage buffers",
        mib(limits.binding_bytes),
        mib(limits.buffer_bytes),
        limits.workgroups,
        limits.storage_buffers
    )
}

fn describe_kind(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::DiscreteGpu => "discrete GPU",
        DeviceKind::IntegratedGpu => "integrated GPU",
        DeviceKind::VirtualGpu => "virtual GPU",
        DeviceKind::Cpu => "Gradflow's kernels in Rust",
        DeviceKind::SoftwareRasterizer => "software rasteriser: slower than cpu",
        DeviceKind::Other => "unknown kind",
    }
}

fn json(infos: &[Info], auto: usize) -> String {
    let groups = select::devices(infos);
    let adapters: Vec<serde_json::Value> = infos
        .iter()
        .enumerate()
        .map(|(index, info)| {
            let device = groups.iter().position(|group| group.contains(&index));
            serde_json::json!({
                "index": index, "device": device, "auto": index == auto, "adapter": info,
            })
        })
        .collect();
    format!("{:#}\n", serde_json::Value::Array(adapters))
}
