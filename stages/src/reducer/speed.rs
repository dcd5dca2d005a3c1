//! How fast steps follow each other.

use std::time::{Duration, Instant};

/// Images, batches and time since the last report. Pauses count as no time.
#[derive(Debug)]
pub(super) struct Speed {
    since: Instant,
    paused: Option<Instant>,
    images: usize,
    batches: usize,
}

/// The speed of some steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    pub(super) images_per_s: f64,
    pub(super) batch_s: f64,
    /// Of all the steps.
    pub(super) seconds: f64,
}

impl Speed {
    /// Begins to count.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, paused: None, images: 0, batches: 0 }
    }

    /// A step is done that had so many images.
    pub(super) fn count(&mut self, images: usize) {
        self.images += images;
        self.batches += 1;
    }

    /// What follows is no step's time.
    pub(super) fn pause(&mut self, now: Instant) {
        self.paused.get_or_insert(now);
    }

    /// Steps go on.
    pub(super) fn go_on(&mut self, now: Instant) {
        if let Some(paused) = self.paused.take() {
            self.since += now.saturating_duration_since(paused);
        }
    }

    /// The speed since the last call, and begins anew. A pause goes on.
    pub(super) fn take(&mut self, now: Instant) -> Rates {
        let paused = self.paused;
        let time = paused.unwrap_or(now).saturating_duration_since(self.since);
        // A clock may be too coarse for a short step, which took some time all the same.
        let seconds = time.max(Duration::from_nanos(1)).as_secs_f64();
        let rates = Rates {
            images_per_s: self.images as f64 / seconds,
            batch_s: seconds / self.batches.max(1) as f64,
            seconds,
        };
        *self = Self { paused: paused.map(|_| now), ..Self::new(now) };
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many seconds after some moment.
    fn clock() -> impl Fn(f64) -> Instant {
        let begin = Instant::now();
        move |seconds| begin + Duration::from_secs_f64(seconds)
    }

    fn assert_rates(found: Rates, images_per_s: f64, batch_s: f64) {
        let misses = (found.images_per_s / images_per_s - 1.0).abs() > 1e-6
            || (found.batch_s / batch_s - 1.0).abs() > 1e-6;
        assert!(!misses, "{found:?} is not {images_per_s} images/s, {batch_s} s");
    }

    #[test]
    fn a_pause_is_no_time_and_takes_no_step_away() {
        let at = clock();
        let mut speed = Speed::new(at(0.0));
        speed.count(20);
        speed.count(20);
        // Two steps in 4 s, an evaluation of 100 s, two steps in 4 s.
        speed.pause(at(4.0));
        speed.pause(at(50.0));
        speed.go_on(at(104.0));
        speed.count(20);
        speed.count(10);
        assert_rates(speed.take(at(108.0)), 70.0 / 8.0, 2.0);
        speed.count(20);
        assert_rates(speed.take(at(109.0)), 20.0, 1.0);
    }

    #[test]
    fn a_report_after_a_pause_tells_the_steps_before_it() {
        let at = clock();
        let mut speed = Speed::new(at(0.0));
        speed.count(20);
        speed.pause(at(2.0));
        speed.go_on(at(30.0));
        assert_rates(speed.take(at(30.0)), 10.0, 2.0);
    }

    #[test]
    fn a_report_within_a_pause_ends_the_steps_at_its_beginning() {
        let at = clock();
        let mut speed = Speed::new(at(0.0));
        speed.count(20);
        speed.pause(at(2.0));
        assert_rates(speed.take(at(7.0)), 10.0, 2.0);
        speed.go_on(at(9.0));
        speed.count(5);
        assert_rates(speed.take(at(10.0)), 5.0, 1.0);
    }

    #[test]
    fn no_rate_is_infinite() {
        let at = clock();
        let mut speed = Speed::new(at(0.0));
        speed.count(20);
        let rates = speed.take(at(0.0));
        assert!(rates.images_per_s.is_finite() && rates.batch_s > 0.0, "{rates:?}");
    }
}
