//! What the WGSL of a kernel tells of the room that it takes on a GPU.

use anyhow::{Context as _, Result, anyhow};
use naga::back::PipelineConstants;
use naga::back::pipeline_constants::process_overrides;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Function, Module, ShaderStage, TypeInner};

use crate::kernel::{Constants, Variant};

/// The room that one form of a kernel takes with some constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Invocations in a workgroup.
    pub invocations: u32,
    /// Bytes of memory that a workgroup shares.
    pub workgroup_bytes: u32,
    /// 32-bit words of the variables of an invocation, such as the sums of a tile. A driver needs at
    /// least as many registers, and some more for what is computed from one line to the next.
    pub variable_words: u32,
}

impl Room {
    /// Reads the shader and puts in the constants.
    ///
    /// # Errors
    /// If it is not valid, or a constant makes it invalid.
    pub fn of(variant: &Variant, constants: &Constants) -> Result<Self> {
        let (module, info) = read(variant.wgsl).with_context(|| variant.name)?;
        // A layer gives one set of constants to all its kernels; each takes those it declares.
        let declared: PipelineConstants = constants
            .pairs()
            .iter()
            .filter(|(name, _)| {
                module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some(name))
            })
            .chain(variant.tuning)
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();
        let entry = Some((ShaderStage::Compute, "main"));
        let (module, _) = process_overrides(&module, &info, entry, &declared)
            .with_context(|| format!("{} with {constants}", variant.name))?;
        let main =
            module.entry_points.first().with_context(|| format!("{}: no main", variant.name))?;
        let shared = module.global_variables.iter().map(|(_, global)| global);
        let shared = shared.filter(|global| global.space == AddressSpace::WorkGroup);
        Ok(Self {
            invocations: main.workgroup_size.iter().product(),
            workgroup_bytes: shared.map(|global| bytes(&module, global.ty)).sum(),
            variable_words: variables(&module, &main.function) / 4,
        })
    }
}

fn read(wgsl: &str) -> Result<(Module, ModuleInfo)> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|e| anyhow!(e.emit_to_string(wgsl)))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .map_err(|error| anyhow!(error.emit_to_string(wgsl)))?;
    Ok((module, info))
}

fn bytes(module: &Module, ty: naga::Handle<naga::Type>) -> u32 {
    let inner: &TypeInner = &module.types[ty].inner;
    inner.size(module.to_ctx())
}

/// Bytes of the variables of a function.
fn variables(module: &Module, function: &Function) -> u32 {
    function.local_variables.iter().map(|(_, variable)| bytes(module, variable.ty)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WGSL: &str = "
        override SIZE: u32;
        var<workgroup> shared_sums: array<vec4<f32>, SIZE>;
        @group(0) @binding(0) var<storage, read_write> out: array<f32>;
        @compute @workgroup_size(SIZE, 2)
        fn main(@builtin(local_invocation_index) at: u32) {
            var sums = mat4x4<f32>();
            var count = at;
            sums[0] += vec4<f32>(f32(count));
            shared_sums[at % SIZE] = sums[0];
            out[at] = shared_sums[0].x;
        }";

    fn variant(wgsl: &'static str) -> Variant {
        Variant {
            name: "variant",
            wgsl,
            tuning: &[],
            applies: |_| true,
            workgroups: |_, _| [1, 1, 1],
        }
    }

    #[test]
    fn sizes_follow_the_constants() {
        let constants = Constants::default().with("SIZE", 32).with("UNUSED", 7);
        let room = Room::of(&variant(WGSL), &constants).expect("a valid shader");
        let expected = Room { invocations: 64, workgroup_bytes: 16 * 32, variable_words: 17 };
        assert_eq!(room, expected);
    }

    #[test]
    fn what_is_wrong_names_the_shader() {
        let error =
            Room::of(&variant("fn main() {"), &Constants::default()).expect_err("it is cut");
        assert!(format!("{error:#}").starts_with("variant: "), "{error:#}");
        let error = Room::of(&variant(WGSL), &Constants::default()).expect_err("no size");
        assert!(format!("{error:#}").starts_with("variant with"), "{error:#}");
    }
}
