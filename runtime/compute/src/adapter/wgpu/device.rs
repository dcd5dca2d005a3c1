//! A device with its queue, and what went wrong on it.

use std::sync::{Arc, Mutex, PoisonError};

use ::wgpu as gpu;
use anyhow::{Context as _, Result, anyhow};

use super::watchdog::Watchdog;

/// A device, its queue, and what is noticed between calls.
pub(super) struct Device {
    pub(super) device: gpu::Device,
    pub(super) queue: gpu::Queue,
    pub(super) watchdog: Watchdog,
    failure: Failure,
}

impl Device {
    pub(super) fn new(device: gpu::Device, queue: gpu::Queue) -> Self {
        let failure = Failure::watch(&device);
        Self { device, queue, watchdog: Watchdog::new(), failure }
    }

    /// Waits for a submit, or for all of them.
    pub(super) fn wait(&self, submit: Option<&gpu::SubmissionIndex>) -> Result<()> {
        if let Err(error) = self.watchdog.wait(&self.device, submit) {
            // Whatever else is asked of it would wait as long.
            self.failure.note(error.to_string());
        }
        self.check()
    }

    /// Whether nothing has gone wrong so far.
    pub(super) fn check(&self) -> Result<()> {
        self.failure.check()
    }

    /// Submits the dispatches that this encodes and what comes behind them, and the device's time
    /// before and after the dispatches where it is asked for.
    pub(super) fn submit(
        &self,
        timestamp_writes: Option<gpu::ComputePassTimestampWrites<'_>>,
        encode: impl FnOnce(&mut gpu::ComputePass<'_>),
        behind: impl FnOnce(&mut gpu::CommandEncoder),
    ) -> gpu::SubmissionIndex {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let pass = gpu::ComputePassDescriptor { timestamp_writes, ..Default::default() };
        encode(&mut encoder.begin_compute_pass(&pass));
        behind(&mut encoder);
        let submit = self.queue.submit([encoder.finish()]);
        self.watchdog.submitted(&self.queue);
        submit
    }

    /// Waits for what was submitted, then appends the first bytes of a buffer that can be mapped.
    pub(super) fn download(
        &self,
        staging: &gpu::Buffer,
        bytes: u64,
        to: &mut Vec<u8>,
    ) -> Result<()> {
        let (sender, receiver) = async_channel::bounded(1);
        staging.map_async(gpu::MapMode::Read, 0..bytes, move |result| {
            // The receiver lives until the line below has heard of this.
            let _ = sender.try_send(result);
        });
        self.wait(None)?;
        receiver.recv_blocking().context("the device dropped a read")??;
        to.extend_from_slice(&staging.get_mapped_range(0..bytes)?);
        staging.unmap();
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // The last owner of a queue waits until it is idle, which one that was given up may never be.
        if self.watchdog.gave_up() {
            std::mem::forget(self.queue.clone());
        }
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
