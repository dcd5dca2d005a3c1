//! From a form of a kernel to a pipeline, and to a dispatch over buffers.

use std::collections::HashMap;

use ::wgpu as gpu;
use anyhow::{Result, bail};

use crate::adapter::{Lowering, half};
use crate::graph::Op;
use crate::kernel::{Access, Constants, Variant};

pub(super) fn layout_entry(binding: u32, ty: gpu::BufferBindingType) -> gpu::BindGroupLayoutEntry {
    gpu::BindGroupLayoutEntry {
        binding,
        visibility: gpu::ShaderStages::COMPUTE,
        ty: gpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    }
}

/// One use of a kernel in one form, ready to dispatch.
pub(super) struct Dispatch {
    pipeline: gpu::ComputePipeline,
    bindings: gpu::BindGroup,
    variant: &'static Variant,
    constants: Constants,
}

impl Dispatch {
    pub(super) fn encode(&self, pass: &mut gpu::ComputePass<'_>, images: usize) {
        let [x, y, z] = (self.variant.workgroups)(&self.constants, images);
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.dispatch_workgroups(x, y, z);
    }
}

/// Compiles each (variant, constants) once.
pub(super) struct Compiler<'a> {
    device: &'a gpu::Device,
    how: &'a Lowering,
    step_layout: &'a gpu::BindGroupLayout,
    pipelines: HashMap<String, (gpu::ComputePipeline, gpu::BindGroupLayout)>,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(
        device: &'a gpu::Device,
        how: &'a Lowering,
        step_layout: &'a gpu::BindGroupLayout,
    ) -> Self {
        Self { device, how, step_layout, pipelines: HashMap::new() }
    }

    pub(super) fn compile(
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
        Ok(Dispatch { pipeline, bindings, variant, constants: op.constants.clone() })
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
            bind_group_layouts: &[Some(&layout), Some(self.step_layout)],
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
