//! Notices a driver that does not finish what it was given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::wgpu as gpu;
use anyhow::{Context as _, Result, bail};

/// How long a device may finish nothing. A submit is planned to take half a second; this leaves
/// room for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);

/// Counts what a device finishes, and waits for it no longer than it goes on finishing something.
pub(super) struct Watchdog {
    finished: Arc<AtomicU64>,
    patience: Duration,
    lost: AtomicBool,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        Self { finished: Arc::default(), patience: PATIENCE, lost: AtomicBool::new(false) }
    }

    /// Whether the device was given up.
    pub(super) fn gave_up(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// To be called after each submit.
    pub(super) fn submitted(&self, queue: &gpu::Queue) {
        let finished = Arc::clone(&self.finished);
        queue.on_submitted_work_done(move || {
            finished.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// Waits for a submit, or for all of them.
    pub(super) fn wait(
        &self,
        device: &gpu::Device,
        submit: Option<&gpu::SubmissionIndex>,
    ) -> Result<()> {
        let mut last = (self.finished.load(Ordering::Relaxed), Instant::now());
        loop {
            let wait = gpu::PollType::Wait {
                submission_index: submit.cloned(),
                timeout: Some(self.patience / 4),
            };
            match device.poll(wait) {
                Ok(_) => return Ok(()),
                Err(gpu::PollError::Timeout) => {}
                Err(error) => return Err(error).context("the device stopped answering"),
            }
            let finished = self.finished.load(Ordering::Relaxed);
            if finished != last.0 {
                last = (finished, Instant::now());
            } else if last.1.elapsed() >= self.patience {
                self.lost.store(true, Ordering::Relaxed);
                bail!(
                    "the device has finished nothing for {} s: its driver hangs, or takes far \
                     longer than was measured",
                    self.patience.as_secs_f32()
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{WgpuAdapter, enumerate};
    use super::*;
    use crate::adapter::Lowering;

    /// Numbers that cannot be had without going through all that come before. Some drivers allow no
    /// more iterations.
    const SLOW: &str = "
        @group(0) @binding(0) var<storage, read_write> word: u32;
        @compute @workgroup_size(1) fn main() {
            var x = word | 1u;
            for (var i = 0u; i < 60000u; i++) {
                x ^= x << 13u;
                x ^= x >> 17u;
                x ^= x << 5u;
            }
            word = x;
        }";

    /// Gives a device so much work.
    fn start(device: &gpu::Device, queue: &gpu::Queue, dispatches: usize) {
        let buffer = device.create_buffer(&gpu::BufferDescriptor {
            label: None,
            size: 4,
            usage: gpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        let module = device.create_shader_module(gpu::ShaderModuleDescriptor {
            label: None,
            source: gpu::ShaderSource::Wgsl(SLOW.into()),
        });
        let pipeline = device.create_compute_pipeline(&gpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let group = device.create_bind_group(&gpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[gpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
        });
        let mut encoder = device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            // Each waits for the one before it, whose number it begins with.
            for _ in 0..dispatches {
                pass.dispatch_workgroups(1, 1, 1);
            }
        }
        queue.submit([encoder.finish()]);
    }

    #[test]
    fn a_device_that_finishes_nothing_is_given_up_without_waiting_for_it() {
        // Drivers for Vulkan can wait for a limited time.
        let Some(adapter) = enumerate().into_iter().find(|one| one.info.backend == "vulkan") else {
            // On a machine that is known to have everything, nothing may be skipped.
            assert!(std::env::var("GRADFLOW_NO_SKIP").as_deref() != Ok("1"), "no Vulkan");
            eprintln!("skipped: no Vulkan");
            return;
        };
        // On a busy machine a short piece of work may be over before anybody looks.
        let given_up = (8..16).any(|power| is_given_up(&adapter, 1 << power));
        assert!(given_up, "it waits for whatever comes");
    }

    /// Whether a device with so much work is given up before it has done it.
    fn is_given_up(adapter: &WgpuAdapter, dispatches: usize) -> bool {
        let mut device = adapter.open(&Lowering::of(1)).expect("a device");
        device.watchdog.patience = Duration::from_millis(1);
        start(&device.device, &device.queue, dispatches);
        device.watchdog.submitted(&device.queue);
        let Err(error) = device.wait(None) else { return false };
        assert!(error.to_string().contains("finished nothing for 0.001 s"), "{error}");
        assert!(device.check().is_err() && device.watchdog.gave_up());

        let (same, finished) = (device.device.clone(), Arc::clone(&device.watchdog.finished));
        drop(device);
        let glance = gpu::PollType::Wait { submission_index: None, timeout: Some(Duration::ZERO) };
        // Otherwise it was waited for when it was dropped, or it is done by now.
        let goes_on = matches!(same.poll(glance), Err(gpu::PollError::Timeout));

        // One that is slow, but not that slow, comes to its end.
        Watchdog { finished: Arc::clone(&finished), ..Watchdog::new() }
            .wait(&same, None)
            .expect("it comes to its end");
        assert_eq!(finished.load(Ordering::Relaxed), 1);
        goes_on
    }
}
