//! How long dispatches took by the device's own clock.

use std::time::Duration;

use ::wgpu as gpu;
use anyhow::Result;

use super::device::Device;

/// Bytes of two timestamps.
const BYTES: u64 = 2 * gpu::QUERY_SIZE as u64;

/// Two timestamps: before some dispatches and after them.
pub(super) struct Timer {
    marks: gpu::QuerySet,
    resolved: gpu::Buffer,
}

impl Timer {
    /// `None` where the device tells no time.
    pub(super) fn new(device: &Device) -> Option<Self> {
        if !device.device.features().contains(gpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let marks = device.device.create_query_set(&gpu::QuerySetDescriptor {
            label: Some("timer"),
            ty: gpu::QueryType::Timestamp,
            count: 2,
        });
        let resolved = device.device.create_buffer(&gpu::BufferDescriptor {
            label: Some("timer"),
            size: BYTES,
            usage: gpu::BufferUsages::QUERY_RESOLVE | gpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Some(Self { marks, resolved })
    }

    /// What a submit is to write: the first the time before it, the last the time after it.
    pub(super) fn writes(
        &self,
        is_first: bool,
        is_last: bool,
    ) -> Option<gpu::ComputePassTimestampWrites<'_>> {
        (is_first || is_last).then_some(gpu::ComputePassTimestampWrites {
            query_set: &self.marks,
            beginning_of_pass_write_index: is_first.then_some(0),
            end_of_pass_write_index: is_last.then_some(1),
        })
    }

    /// The time between the two, once both are written; `None` where the driver wrote nonsense.
    pub(super) fn read(
        &self,
        device: &Device,
        staging: &gpu::Buffer,
        host: Duration,
    ) -> Result<Option<Duration>> {
        let mut encoder = device.device.create_command_encoder(&Default::default());
        encoder.resolve_query_set(&self.marks, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, staging, 0, Some(BYTES));
        device.queue.submit([encoder.finish()]);
        let mut bytes = Vec::new();
        device.download(staging, BYTES, &mut bytes)?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
        Ok(between(ticks[0], ticks[1], device.queue.get_timestamp_period(), host))
    }
}

/// The time between two timestamps in ticks of so many ns. `None` where it cannot be right: it is
/// nothing, or longer than the host waited for it. Some drivers write zeros, or end before they
/// begin.
fn between(begin: u64, end: u64, tick_ns: f32, host: Duration) -> Option<Duration> {
    let ns = end.checked_sub(begin)? as f64 * f64::from(tick_ns);
    let device = Duration::try_from_secs_f64(ns / 1e9).ok()?;
    (!device.is_zero() && device <= host).then_some(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_no_time() {
        let host = Duration::from_millis(1);
        let us = |us| Some(Duration::from_micros(us));
        assert_eq!(between(5_000, 15_000, 10.0, host), us(100));
        assert_eq!(between(0, 1_000_000, 1.0, host), us(1_000));
        assert_eq!(between(0, 1_000_001, 1.0, host), None, "longer than the host waited");
        assert_eq!(between(0, 0, 1.0, host), None, "nothing written");
        assert_eq!(between(9, 3, 1.0, host), None, "the end before the beginning");
        for tick_ns in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(between(5, 10, tick_ns, host), None, "{tick_ns}");
        }
    }
}
