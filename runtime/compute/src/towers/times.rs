//! Where the time of steps goes.

use std::time::Duration;

use super::report::{TowerStep, TowersStep};

/// What some steps took.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// How many they were.
    pub steps: u32,
    /// From beginning to end.
    pub step: Duration,
    /// From when the first tower had its part to when the last one had.
    pub wait: Duration,
    /// Summing the parts, some of it while adapters are still at work.
    pub reduce: Duration,
    /// Adding up the sums of all processes of a job and waiting for them, once this process has all
    /// of its own: what is exchanged before that costs a step nothing.
    pub exchange: Duration,
    /// The update, and reading what is sent to the towers.
    pub update: Duration,
    /// Each tower's part, in order.
    pub towers: Vec<TowerTimes>,
}

/// What a tower did in some steps.
#[derive(Clone, Debug)]
pub struct TowerTimes {
    /// The tower.
    pub name: String,
    /// Images of its shares.
    pub images: u64,
    /// The passes of the model, and what is copied meanwhile.
    pub compute: Duration,
    /// From the end of the passes until the last gradient had left the adapter.
    pub copy: Duration,
}

impl Times {
    /// The same for one step, with rates over so many seconds.
    pub fn report(&self, seconds: f64) -> TowersStep {
        let ms = |time: Duration| 1e3 * time.as_secs_f64() / f64::from(self.steps.max(1));
        let each = self.towers.iter().map(|tower| TowerStep {
            name: tower.name.clone(),
            images_per_s: tower.images as f64 / seconds.max(f64::MIN_POSITIVE),
            compute_ms: ms(tower.compute),
            copy_ms: ms(tower.copy),
        });
        TowersStep {
            wait_ms: ms(self.wait),
            reduce_ms: ms(self.reduce),
            exchange_ms: ms(self.exchange),
            update_ms: ms(self.update),
            each: each.collect(),
        }
    }

    pub(super) fn add(&mut self, tower: &str, images: usize, compute: Duration, copy: Duration) {
        let known = self.towers.iter().position(|known| known.name == tower);
        let at = known.unwrap_or_else(|| {
            let (images, none) = (0, Duration::ZERO);
            self.towers.push(TowerTimes {
                name: tower.to_owned(),
                images,
                compute: none,
                copy: none,
            });
            self.towers.len() - 1
        });
        self.towers[at].images += images as u64;
        self.towers[at].compute += compute;
        self.towers[at].copy += copy;
    }
}
