//! The WGSL files, as they lie and with 16-bit storage: they must translate into the language of
//! every driver, keep within WebGPU's default limits and agree with the kernels' declarations.

mod common;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;

use compute::adapter::half::text;
use compute::kernel::{Access, Binding, Case, Dtype, Extent, Kernel, Variant};
use compute::precision::Precision;
use naga::back::pipeline_constants::process_overrides;
use naga::back::{glsl, hlsl, msl, spv};
use naga::proc::BoundsCheckPolicies;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, Scalar, ScalarKind, ShaderStage, StorageAccess, TypeInner};

const ELEMENT: &str = "alias Element = f32;";

const STEP: &str = "struct Step { images: u32, batch: u32, accumulate: u32, step: u32, \
    learning_rate: f32, average_decay: f32, seed: u32, training: u32 }
";

/// WebGPU's default limits.
const MOST_STORAGE_BUFFERS: usize = 8;
const MOST_INVOCATIONS: u32 = 256;
const MOST_WORKGROUP_BYTES: u32 = 16 << 10;
const MOST_WORKGROUPS: u32 = 65_535;

fn variants() -> impl Iterator<Item = (&'static Kernel, &'static Variant)> {
    shaders::ALL.iter().flat_map(|kernel| kernel.variants.iter().map(move |v| (*kernel, v)))
}

fn cases(kernel: &Kernel, variant: &Variant) -> Vec<Case> {
    let cases = (kernel.cases)().into_iter().filter(|case| (variant.applies)(&case.constants));
    cases.collect()
}

fn read(text: &str, capabilities: Capabilities) -> Result<(Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .map_err(|e| e.emit_to_string(text))?;
    Ok((module, info))
}

/// The text as it lies.
fn full(variant: &Variant) -> (Module, ModuleInfo) {
    read(variant.wgsl, Capabilities::empty()).unwrap_or_else(|e| panic!("{}: {e}", variant.name))
}

/// Whether a binding has 16-bit storage in the other form: activations and their gradients have,
/// weights and sums over images keep 32 bits.
fn is_halved(binding: &Binding) -> bool {
    binding.dtype == Dtype::Real && binding.extent == Extent::PerImage
}

/// Whether a kernel has a form with 16-bit storage.
fn has_half(kernel: &Kernel) -> bool {
    kernel.bindings.iter().any(is_halved)
}

/// The text with 16-bit storage, of a kernel that has such a form.
fn half(kernel: &Kernel, variant: &Variant) -> Option<(Module, ModuleInfo)> {
    if !has_half(kernel) {
        return None;
    }
    let text = text(variant.wgsl, Precision::F16);
    let read = read(&text, Capabilities::SHADER_FLOAT16);
    Some(read.unwrap_or_else(|e| panic!("{}: {e}", variant.name)))
}

/// The module with the constants of a case put in, of which it takes those that it declares, and
/// those of the form.
fn specialised(
    module: &Module,
    info: &ModuleInfo,
    variant: &Variant,
    case: &Case,
) -> (Module, ModuleInfo) {
    let declared: BTreeSet<&str> =
        module.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
    let constants: naga::back::PipelineConstants = case
        .constants
        .pairs()
        .iter()
        .filter(|(name, _)| declared.contains(name))
        .chain(variant.tuning)
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect();
    let entry = Some((ShaderStage::Compute, "main"));
    let (module, info) = process_overrides(module, info, entry, &constants)
        .unwrap_or_else(|error| panic!("{}: {error}", case.constants));
    (module.into_owned(), info.into_owned())
}

fn to_spirv(module: &Module, info: &ModuleInfo) -> Vec<u8> {
    let options = spv::Options { lang_version: (1, 3), ..spv::Options::default() };
    let words = spv::write_vec(module, info, &options, None).expect("SPIR-V");
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn to_msl(module: &Module, info: &ModuleInfo) -> String {
    let options = msl::Options { lang_version: (2, 4), ..msl::Options::default() };
    msl::write_string(module, info, &options, &msl::PipelineOptions::default()).expect("MSL").0
}

fn to_hlsl(module: &Module, info: &ModuleInfo) -> String {
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_2,
        // Where the number of workgroups is passed.
        special_constants_binding: Some(hlsl::BindTarget::default()),
        ..hlsl::Options::default()
    };
    let mut text = String::new();
    let pipeline = hlsl::PipelineOptions::default();
    hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None).expect("HLSL");
    text
}

fn to_glsl(module: &Module, info: &ModuleInfo) -> String {
    let options = glsl::Options::default();
    assert_eq!(options.version, glsl::Version::new_gles(310));
    let pipeline = glsl::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: "main".to_owned(),
        multiview: None,
    };
    let mut text = String::new();
    let checks = BoundsCheckPolicies::default();
    glsl::Writer::new(&mut text, module, info, &options, &pipeline, checks)
        .and_then(|mut writer| writer.write())
        .expect("GLSL");
    text
}

#[test]
fn every_form_translates_for_every_driver() {
    for (kernel, variant) in variants() {
        let (module, info) = full(variant);
        let half = half(kernel, variant);
        for case in cases(kernel, variant) {
            let (module, info) = specialised(&module, &info, variant, &case);
            assert!(to_msl(&module, &info).contains("kernel void"));
            assert!(to_hlsl(&module, &info).contains("numthreads"));
            let Some((module, info)) = &half else { continue };
            let (module, info) = specialised(module, info, variant, &case);
            assert!(to_msl(&module, &info).contains("half"));
            assert!(to_hlsl(&module, &info).contains("half"));
        }
    }
}

#[test]
fn the_spirv_is_valid() {
    let Some(files) = Validated::with("spirv-val") else { return };
    for (kernel, variant) in variants() {
        let forms = [("f32", Some(full(variant))), ("f16", half(kernel, variant))];
        for (form, read) in forms {
            let Some((module, info)) = read else { continue };
            for (number, case) in cases(kernel, variant).iter().enumerate() {
                let (module, info) = specialised(&module, &info, variant, case);
                let name = format!("{}-{number}-{form}.spv", variant.name);
                let path = files.write(&name, &to_spirv(&module, &info));
                files.check(&["--target-env", "vulkan1.1"], &[path]);
            }
        }
    }
}

/// GL has no 16-bit storage, so there is only one form.
#[test]
fn the_glsl_is_valid() {
    let Some(files) = Validated::with("glslangValidator") else { return };
    for (kernel, variant) in variants() {
        let (module, info) = full(variant);
        let paths = cases(kernel, variant).into_iter().enumerate().map(|(number, case)| {
            let (module, info) = specialised(&module, &info, variant, &case);
            let text = to_glsl(&module, &info);
            files.write(&format!("{}-{number}.comp", variant.name), text.as_bytes())
        });
        let paths: Vec<_> = paths.collect();
        files.check(&[], &paths);
    }
}

/// Files that a validator looks at, and the validator.
struct Validated {
    tool: &'static str,
    folder: tempfile::TempDir,
}

impl Validated {
    fn with(tool: &'static str) -> Option<Self> {
        if Command::new(tool).arg("--version").output().is_err() {
            common::skip(tool);
            return None;
        }
        Some(Self { tool, folder: tempfile::tempdir().expect("a folder for shaders") })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).expect("the folder takes files");
        path
    }

    fn check(&self, options: &[&str], paths: &[std::path::PathBuf]) {
        let run = Command::new(self.tool).args(options).args(paths).output().expect("it runs");
        let said = [run.stdout, run.stderr].concat();
        assert!(run.status.success(), "{paths:?}: {}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn the_text_follows_the_conventions() {
    for (kernel, variant) in variants() {
        let name = variant.name;
        let first = variant.wgsl.lines().find(|line| !line.starts_with("//"));
        if has_half(kernel) {
            assert_eq!(first, Some(ELEMENT), "{name}");
            assert_eq!(variant.wgsl.matches(ELEMENT).count(), 1, "{name}");
        } else {
            assert_eq!(first, Some(""), "{name}");
            assert!(!variant.wgsl.contains("Element"), "{name}");
        }
        assert!(variant.wgsl.starts_with("// "), "{name} does not say what it does");
        assert!(variant.wgsl.contains(STEP), "{name}: Step");
        assert_eq!(variant.wgsl.matches("struct Step").count(), 1, "{name}: Step");
    }
}

#[test]
fn the_bindings_are_those_declared() {
    for (kernel, variant) in variants() {
        let name = variant.name;
        check_bindings(kernel, name, &full(variant).0, |_| 4);
        if let Some((module, _)) = half(kernel, variant) {
            check_bindings(kernel, name, &module, |b| if is_halved(b) { 2 } else { 4 });
        }
    }
}

/// Holds a module's buffers against the declaration; `width` is the bytes of a binding's numbers.
fn check_bindings(kernel: &Kernel, form: &str, module: &Module, width: fn(&Binding) -> u8) {
    let mut found = HashMap::new();
    for (_, global) in module.global_variables.iter() {
        let Some(at) = &global.binding else { continue };
        let name = global.name.as_deref().unwrap_or_default();
        match global.space {
            AddressSpace::Storage { access } => {
                assert_eq!(at.group, 0, "{form}: {name}");
                let TypeInner::Array { base, .. } = module.types[global.ty].inner else {
                    panic!("{form}: {name} is no array");
                };
                let (TypeInner::Scalar(scalar) | TypeInner::Vector { scalar, .. }) =
                    module.types[base].inner
                else {
                    panic!("{form}: {name} is no array of numbers");
                };
                found.insert(at.binding as usize, (name, access, scalar));
            }
            AddressSpace::Uniform => {
                assert_eq!((at.group, at.binding, name), (1, 0, "step"), "{form}");
            }
            space => panic!("{form}: {name} is in {space:?}"),
        }
    }
    assert_eq!(found.len(), kernel.bindings.len(), "{form}");
    for (at, binding) in kernel.bindings.iter().enumerate() {
        let access = match binding.access {
            Access::Read => StorageAccess::LOAD,
            Access::Write => StorageAccess::LOAD | StorageAccess::STORE,
        };
        let kind = match binding.dtype {
            Dtype::Real => ScalarKind::Float,
            Dtype::Index => ScalarKind::Uint,
        };
        let expected = Some(&(binding.name, access, Scalar { kind, width: width(binding) }));
        assert_eq!(found.get(&at), expected, "{form}, binding {at}");
    }
}

#[test]
fn everything_keeps_within_the_default_limits() {
    for (kernel, variant) in variants() {
        let name = variant.name;
        assert!(kernel.bindings.len() <= MOST_STORAGE_BUFFERS, "{name}");
        let (module, info) = full(variant);
        let atomic = |inner: &TypeInner| matches!(inner, TypeInner::Atomic(_));
        assert!(!module.types.iter().any(|(_, ty)| atomic(&ty.inner)), "{name} has atomics");
        assert_eq!(module.entry_points.len(), 1, "{name}");
        assert_eq!(module.entry_points[0].name, "main", "{name}");
        for case in cases(kernel, variant) {
            let at = format!("{name} ({})", case.constants);
            let (module, _) = specialised(&module, &info, variant, &case);
            let size = module.entry_points[0].workgroup_size;
            assert!(size.iter().product::<u32>() <= MOST_INVOCATIONS, "{at}: {size:?}");
            let bytes: u32 = module
                .global_variables
                .iter()
                .filter(|(_, global)| global.space == AddressSpace::WorkGroup)
                .map(|(_, global)| module.types[global.ty].inner.size(module.to_ctx()))
                .sum();
            assert!(bytes <= MOST_WORKGROUP_BYTES, "{at}: {bytes} bytes of workgroup memory");
            let workgroups = (variant.workgroups)(&case.constants, case.images);
            assert!(workgroups.iter().all(|n| *n <= MOST_WORKGROUPS), "{at}: {workgroups:?}");
        }
    }
}

#[test]
fn some_form_does_every_case_and_every_form_some_case() {
    for kernel in shaders::ALL {
        for case in (kernel.cases)() {
            let applies = |variant: &Variant| (variant.applies)(&case.constants);
            // The last is the one that other forms leave the rest to.
            assert!(kernel.variants.last().is_some_and(applies), "{} {case:?}", kernel.name);
        }
    }
    for (kernel, variant) in variants() {
        assert!(!cases(kernel, variant).is_empty(), "{} has no case", variant.name);
    }
}

/// Gradients in 16 bits are scaled; what undoes it must not depend on the form that runs.
#[test]
fn all_forms_of_a_kernel_scale_gradients_alike() {
    for kernel in shaders::ALL {
        for scale in ["GRADIENT_SCALE", "GRADIENT_UNIT"] {
            let used = |variant: &Variant| variant.wgsl.matches(scale).count() > 1;
            let first = used(&kernel.variants[0]);
            for variant in kernel.variants {
                assert_eq!(used(variant), first, "{scale} in {}", variant.name);
            }
        }
    }
}

#[test]
fn there_is_a_file_for_every_form_and_a_form_for_every_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let files: Vec<String> = std::fs::read_dir(&folder)
        .expect("the shaders are there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "wgsl"))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    let names: Vec<&str> = variants().map(|(_, variant)| variant.name).collect();
    assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len(), "a name twice");
    let texts: HashMap<String, String> = files
        .into_iter()
        .map(|name| {
            let path = folder.join(format!("{name}.wgsl"));
            (std::fs::read_to_string(path).expect("its text"), name)
        })
        .collect();
    let mut used = BTreeSet::new();
    for (kernel, variant) in variants() {
        let name = variant.name;
        let file = texts.get(variant.wgsl);
        let file = file.unwrap_or_else(|| panic!("{name} of {} is in no file", kernel.name));
        // Forms that share a file differ in how they are tuned.
        let alone = variant.tuning.is_empty();
        assert!(if alone { name == file } else { name.starts_with(file) }, "{name} in {file}");
        used.insert(file);
        assert!(folder.join("src").join(format!("{}.rs", kernel.name)).exists());
        assert!(variant.name.starts_with(kernel.name), "{} of {}", variant.name, kernel.name);
    }
    assert_eq!(used.len(), texts.len(), "only {used:?} are used");
}
