//! The `wgpu` adapters: a graph's nodes become compute dispatches over buffers made beforehand.
//! This is the only file that names wgpu.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use ::wgpu as gpu;
use anyhow::{Context as _, Result, anyhow, bail};

use super::half::{self, Storage};
use super::{
    Adapter, DeviceKind, Identity, Info, Limits, Lowering, Replica, Values, micro_batch, select,
    unoffered,
};
use crate::graph::{Graph, Node, Op, Phase, Span, TensorId};
use crate::kernel::{Access, Dtype, Step, Variant};
use crate::precision::Precision;

/// Submits that may be under way before the next one waits for the oldest: enough to keep a GPU
/// busy, few enough that nothing piles up.
const SUBMITS_IN_FLIGHT: usize = 2;

/// A Vulkan, Metal, DX12 or GL device.
pub struct WgpuAdapter {
    adapter: gpu::Adapter,
    info: Info,
    limits: gpu::Limits,
}

/// Every adapter that the machine's drivers offer.
pub fn enumerate() -> Vec<WgpuAdapter> {
    let instance = gpu::Instance::new(gpu::InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(gpu::Backends::all()));
    let mut found: Vec<WgpuAdapter> = adapters
        .into_iter()
        .filter(|adapter| {
            let downlevel = adapter.get_downlevel_capabilities();
            downlevel.flags.contains(gpu::DownlevelFlags::COMPUTE_SHADERS)
        })
        .map(WgpuAdapter::new)
        .collect();
    // Drivers are loaded in any order; a fixed order gives each adapter a lasting index.
    found.sort_by(|a, b| {
        let key = |info: &Info| {
            let bus = info.identity.pci_bus.clone();
            (info.name.clone(), info.backend != "vulkan", info.backend, bus)
        };
        key(&a.info).cmp(&key(&b.info))
    });
    for at in 0..found.len() {
        let before = found[..at].iter().map(|adapter| &adapter.info);
        found[at].info.identity.ordinal = select::ordinal(&found[at].info, before);
    }
    found
}

impl WgpuAdapter {
    fn new(adapter: gpu::Adapter) -> Self {
        // WebGPU's default limits, or what there is where that is less. More is never asked for,
        // so that whatever runs here runs everywhere.
        let limits = gpu::Limits::default().or_worse_values_from(&adapter.limits());
        let info = describe(&adapter.get_info(), &limits, adapter.features());
        Self { adapter, info, limits }
    }
}

fn describe(info: &gpu::AdapterInfo, limits: &gpu::Limits, features: gpu::Features) -> Info {
    let backend = match info.backend {
        gpu::Backend::Vulkan => "vulkan",
        gpu::Backend::Metal => "metal",
        gpu::Backend::Dx12 => "dx12",
        gpu::Backend::Gl => "gl",
        gpu::Backend::BrowserWebGpu => "webgpu",
        gpu::Backend::Noop => "noop",
    };
    // llvmpipe says through GL that it is of another kind, so its name counts as well.
    let software = ["llvmpipe", "SwiftShader", "softpipe", "Microsoft Basic Render"]
        .iter()
        .any(|name| info.name.contains(name));
    let kind = match info.device_type {
        _ if software => DeviceKind::SoftwareRasterizer,
        gpu::DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu,
        gpu::DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu,
        gpu::DeviceType::VirtualGpu => DeviceKind::VirtualGpu,
        gpu::DeviceType::Cpu => DeviceKind::SoftwareRasterizer,
        gpu::DeviceType::Other => DeviceKind::Other,
    };
    Info {
        name: info.name.clone(),
        backend,
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        kind,
        identity: Identity {
            vendor: info.vendor,
            device: info.device,
            pci_bus: Some(info.device_pci_bus_id.clone()).filter(|bus| !bus.is_empty()),
            // Known once all adapters are.
            ordinal: 0,
        },
        limits: Limits {
            binding_bytes: limits.max_storage_buffer_binding_size,
            buffer_bytes: limits.max_buffer_size,
            workgroups: limits.max_compute_workgroups_per_dimension,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            // WebGPU does not tell how much there is.
            memory_bytes: None,
        },
        precisions: match features.contains(gpu::Features::SHADER_F16) {
            true => vec![Precision::F32, Precision::F16],
            false => vec![Precision::F32],
        },
    }
}

impl Adapter for WgpuAdapter {
    fn info(&self) -> &Info {
        &self.info
    }

    fn lower(&self, graph: &Arc<Graph>, how: &Lowering) -> Result<Box<dyn Replica>> {
        unoffered(&self.info, how.precision)?;
        let name = &self.info.name;
        let descriptor = gpu::DeviceDescriptor {
            label: Some("gradflow"),
            required_features: match how.precision {
                Precision::F16 => gpu::Features::SHADER_F16,
                _ => gpu::Features::empty(),
            },
            required_limits: self.limits.clone(),
            ..gpu::DeviceDescriptor::default()
        };
        let (device, queue) = pollster::block_on(self.adapter.request_device(&descriptor))
            .with_context(|| format!("{name} gave no device"))?;
        let failure = Failure::watch(&device);
        let limits = &self.info.limits;
        let replica = WgpuReplica::new(device, queue, failure, graph, how, limits)
            .with_context(|| format!("{name} could not take the model"))?;
        Ok(Box::new(replica))
    }
}

/// The first thing that went wrong on a device, noticed between calls.
#[derive(Clone, Default)]
struct Failure(Arc<Mutex<Option<String>>>);

impl Failure {
    fn watch(device: &gpu::Device) -> Self {
        let failure = Self::default();
        let on_error = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: gpu::Error| {
            on_error.note(error.to_string());
        }));
        let on_loss = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            // Dropping a device is an ordinary end.
            if !matches!(reason, gpu::DeviceLostReason::Destroyed) {
                on_loss.note(format!("the device was lost: {message}"));
            }
        });
        failure
    }

    fn note(&self, message: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
    }

    fn check(&self) -> Result<()> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // It stays noted: a device that has failed once computes nothing any more.
            Some(message) => Err(anyhow!(message.clone())),
            None => Ok(()),
        }
    }
}

/// One node, ready to dispatch.
struct Dispatch {
    pipeline: gpu::ComputePipeline,
    bindings: gpu::BindGroup,
    variant: &'static Variant,
    op: Op,
}

struct WgpuReplica {
    device: gpu::Device,
    queue: gpu::Queue,
    failure: Failure,
    graph: Arc<Graph>,
    micro_batch: usize,
    buffers: Vec<gpu::Buffer>,
    storage: Vec<Storage>,
    /// What is on its way to a buffer in 16 bits.
    packed: Vec<u32>,
    staging: gpu::Buffer,
    step: gpu::Buffer,
    step_group: gpu::BindGroup,
    /// Of each phase, its nodes; `None` where there is nothing to dispatch.
    phases: HashMap<usize, Vec<Option<Dispatch>>>,
    in_flight: VecDeque<gpu::SubmissionIndex>,
}

/// Bytes read back at once.
const STAGING_BYTES: u64 = 4 << 20;

const ALL_PHASES: [Phase; 4] = [Phase::Forward, Phase::Loss, Phase::Backward, Phase::Update];

impl WgpuReplica {
    fn new(
        device: gpu::Device,
        queue: gpu::Queue,
        failure: Failure,
        graph: &Arc<Graph>,
        how: &Lowering,
        limits: &Limits,
    ) -> Result<Self> {
        let micro_batch = how.micro_batch;
        let storage: Vec<Storage> =
            graph.tensors.iter().map(|tensor| Storage::of(tensor, how)).collect();
        let buffers: Vec<gpu::Buffer> = graph
            .tensors
            .iter()
            .zip(&storage)
            .map(|(tensor, storage)| {
                device.create_buffer(&gpu::BufferDescriptor {
                    label: Some(&tensor.name),
                    size: storage.bytes(tensor.len_for(micro_batch).max(1)) as u64,
                    usage: gpu::BufferUsages::STORAGE
                        | gpu::BufferUsages::COPY_SRC
                        | gpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                })
            })
            .collect();
        let staging = device.create_buffer(&gpu::BufferDescriptor {
            label: Some("staging"),
            size: STAGING_BYTES,
            usage: gpu::BufferUsages::MAP_READ | gpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let step = device.create_buffer(&gpu::BufferDescriptor {
            label: Some("step"),
            size: size_of::<Step>() as u64,
            usage: gpu::BufferUsages::UNIFORM | gpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let step_layout = device.create_bind_group_layout(&gpu::BindGroupLayoutDescriptor {
            label: Some("step"),
            entries: &[layout_entry(0, gpu::BufferBindingType::Uniform)],
        });
        let step_group = device.create_bind_group(&gpu::BindGroupDescriptor {
            label: Some("step"),
            layout: &step_layout,
            entries: &[gpu::BindGroupEntry { binding: 0, resource: step.as_entire_binding() }],
        });
        failure.check()?;

        let mut compiler =
            Compiler { device: &device, how, step_layout, pipelines: HashMap::new() };
        let mut phases = HashMap::new();
        for phase in ALL_PHASES {
            let mut dispatches = Vec::new();
            for node in graph.phase(phase) {
                let Node::Run(op) = node else {
                    dispatches.push(None);
                    continue;
                };
                let named =
                    || format!("kernel {} of layer {}", op.kernel.name, layer_name(graph, op));
                let variant = micro_batch::variant(op, micro_batch, limits)
                    .with_context(|| format!("no form of it can do {}", op.constants))
                    .with_context(named)?;
                let dispatch = compiler.compile(op, variant, &buffers).with_context(named)?;
                dispatches.push(Some(dispatch));
            }
            phases.insert(phase as usize, dispatches);
        }
        failure.check()?;
        Ok(Self {
            queue,
            failure,
            graph: Arc::clone(graph),
            micro_batch,
            buffers,
            storage,
            packed: Vec::new(),
            staging,
            step,
            step_group,
            phases,
            in_flight: VecDeque::new(),
            device,
        })
    }

    fn poll(&self, wait_for: Option<gpu::SubmissionIndex>) -> Result<()> {
        let wait = gpu::PollType::Wait { submission_index: wait_for, timeout: None };
        self.device.poll(wait).context("the device stopped answering")?;
        self.failure.check()
    }

    fn read_bytes(&mut self, tensor: TensorId, len: usize) -> Result<Vec<u8>> {
        let total = self.storage[tensor.0].bytes(len) as u64;
        let mut bytes = Vec::with_capacity(total as usize);
        while (bytes.len() as u64) < total {
            let offset = bytes.len() as u64;
            let part = (total - offset).min(STAGING_BYTES);
            let mut encoder = self.device.create_command_encoder(&Default::default());
            encoder.copy_buffer_to_buffer(
                &self.buffers[tensor.0],
                offset,
                &self.staging,
                0,
                Some(part),
            );
            self.queue.submit([encoder.finish()]);
            let (sender, receiver) = async_channel::bounded(1);
            self.staging.map_async(gpu::MapMode::Read, 0..part, move |result| {
                // The receiver lives until the line below has heard of this.
                let _ = sender.try_send(result);
            });
            self.poll(None)?;
            receiver.recv_blocking().context("the device dropped a read")??;
            bytes.extend_from_slice(&self.staging.get_mapped_range(0..part)?);
            self.staging.unmap();
        }
        self.in_flight.clear();
        Ok(bytes)
    }
}

fn layer_name<'a>(graph: &'a Graph, op: &Op) -> &'a str {
    graph.layers.get(op.layer).map_or("?", |layer| &layer.name)
}

fn layout_entry(binding: u32, ty: gpu::BufferBindingType) -> gpu::BindGroupLayoutEntry {
    gpu::BindGroupLayoutEntry {
        binding,
        visibility: gpu::ShaderStages::COMPUTE,
        ty: gpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}

/// Compiles each (variant, constants) once.
struct Compiler<'a> {
    device: &'a gpu::Device,
    how: &'a Lowering,
    step_layout: gpu::BindGroupLayout,
    pipelines: HashMap<String, (gpu::ComputePipeline, gpu::BindGroupLayout)>,
}

impl Compiler<'_> {
    fn compile(
        &mut self,
        op: &Op,
        variant: &'static Variant,
        buffers: &[gpu::Buffer],
    ) -> Result<Dispatch> {
        let key = format!("{} {}", variant.name, op.constants);
        let (pipeline, layout) = match self.pipelines.get(&key) {
            Some(made) => made.clone(),
            None => {
                let made = self.pipeline(op, variant)?;
                self.pipelines.insert(key, made.clone());
                made
            }
        };
        let entries: Vec<gpu::BindGroupEntry<'_>> = op
            .tensors
            .iter()
            .zip(0..)
            .map(|(id, binding)| gpu::BindGroupEntry {
                binding,
                resource: buffers[id.0].as_entire_binding(),
            })
            .collect();
        let bindings = self.device.create_bind_group(&gpu::BindGroupDescriptor {
            label: Some(variant.name),
            layout: &layout,
            entries: &entries,
        });
        Ok(Dispatch { pipeline, bindings, variant, op: op.clone() })
    }

    fn pipeline(
        &self,
        op: &Op,
        variant: &Variant,
    ) -> Result<(gpu::ComputePipeline, gpu::BindGroupLayout)> {
        let scope = self.device.push_error_scope(gpu::ErrorFilter::Validation);
        let module = self.device.create_shader_module(gpu::ShaderModuleDescriptor {
            label: Some(variant.name),
            source: gpu::ShaderSource::Wgsl(half::text(variant.wgsl, self.how.precision)),
        });
        let entries: Vec<gpu::BindGroupLayoutEntry> = op
            .kernel
            .bindings
            .iter()
            .zip(0..)
            .map(|(binding, at)| {
                let read_only = binding.access == Access::Read;
                layout_entry(at, gpu::BufferBindingType::Storage { read_only })
            })
            .collect();
        let layout = self.device.create_bind_group_layout(&gpu::BindGroupLayoutDescriptor {
            label: Some(variant.name),
            entries: &entries,
        });
        let pipeline_layout = self.device.create_pipeline_layout(&gpu::PipelineLayoutDescriptor {
            label: Some(variant.name),
            bind_group_layouts: &[Some(&layout), Some(&self.step_layout)],
            immediate_size: 0,
        });
        // A layer gives one set of constants to all its kernels; each takes those it declares.
        let scale = f64::from(self.how.loss_scale);
        let scales = [("GRADIENT_SCALE", scale), ("GRADIENT_UNIT", 1.0 / scale)];
        let constants: Vec<(&str, f64)> = op
            .constants
            .pairs()
            .iter()
            .copied()
            .chain(scales)
            .filter(|(name, _)| variant.wgsl.contains(&format!("override {name}:")))
            .chain(variant.tuning.iter().copied())
            .collect();
        let pipeline = self.device.create_compute_pipeline(&gpu::ComputePipelineDescriptor {
            label: Some(variant.name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: gpu::PipelineCompilationOptions {
                constants: &constants,
                // Kernels write their workgroup memory before they read it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        match pollster::block_on(scope.pop()) {
            Some(error) => bail!("{}: {error}", variant.name),
            None => Ok((pipeline, layout)),
        }
    }
}

impl Replica for WgpuReplica {
    fn write(&mut self, tensor: TensorId, values: Values<'_>) -> Result<()> {
        let about = self.graph.tensor(tensor);
        let (dtype, bytes): (Dtype, &[u8]) = match (values, self.storage[tensor.0]) {
            (Values::Real(values), Storage::Half(scale)) => {
                half::pack(values, scale, &mut self.packed);
                (Dtype::Real, bytemuck::cast_slice(&self.packed))
            }
            (Values::Real(values), Storage::Whole) => (Dtype::Real, bytemuck::cast_slice(values)),
            (Values::Index(values), _) => (Dtype::Index, bytemuck::cast_slice(values)),
        };
        if dtype != about.dtype || bytes.len() as u64 > self.buffers[tensor.0].size() {
            bail!("{} does not hold what was written to it", about.name);
        }
        self.queue.write_buffer(&self.buffers[tensor.0], 0, bytes);
        self.failure.check()
    }

    fn run(&mut self, spans: &[Span], step: &Step) -> Result<()> {
        let images = step.images as usize;
        if images > self.micro_batch {
            bail!("{images} images in a micro-batch of {}", self.micro_batch);
        }
        self.queue.write_buffer(&self.step, 0, bytemuck::bytes_of(step));
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_bind_group(1, &self.step_group, &[]);
            for span in spans {
                let dispatches = self.phases[&(span.phase as usize)].get(span.nodes.clone());
                let Some(dispatches) = dispatches else { bail!("the model has no {span:?}") };
                for dispatch in dispatches.iter().flatten() {
                    let [x, y, z] = (dispatch.variant.workgroups)(&dispatch.op.constants, images);
                    pass.set_pipeline(&dispatch.pipeline);
                    pass.set_bind_group(0, &dispatch.bindings, &[]);
                    pass.dispatch_workgroups(x, y, z);
                }
            }
        }
        self.in_flight.push_back(self.queue.submit([encoder.finish()]));
        if self.in_flight.len() > SUBMITS_IN_FLIGHT {
            let oldest = self.in_flight.pop_front();
            self.poll(oldest)?;
        }
        self.failure.check()
    }

    fn read(&mut self, tensor: TensorId, len: usize) -> Result<Vec<f32>> {
        let bytes = self.read_bytes(tensor, len)?;
        Ok(match self.storage[tensor.0] {
            Storage::Half(scale) => half::unpack(&bytes, scale, len),
            Storage::Whole => bytemuck::pod_collect_to_vec(&bytes),
        })
    }

    fn read_index(&mut self, tensor: TensorId, len: usize) -> Result<Vec<u32>> {
        Ok(bytemuck::pod_collect_to_vec(&self.read_bytes(tensor, len)?))
    }

    fn wait(&mut self) -> Result<()> {
        self.in_flight.clear();
        self.poll(None)
    }
}
