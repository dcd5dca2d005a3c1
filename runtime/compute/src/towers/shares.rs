//! How many images of a batch each tower takes: numbers only.

/// The share of the latest step in a smoothed speed.
const SMOOTHING: f64 = 0.2;

/// Steps between two changes of shares, and before the first: speeds settle meanwhile.
const STEPS_BETWEEN: u32 = 10;

/// A change must make a step shorter by at least this part of it. Less is noise.
const LEAST_GAIN: f64 = 0.04;

/// Cuts so many images in proportion to weights that are not negative, by largest remainder: of
/// equal remainders the first counts. While there are enough images, whatever has a weight gets at
/// least one. If no weight is above 0, all count alike.
pub fn split(images: usize, weights: &[f64]) -> Vec<usize> {
    let all: f64 = weights.iter().sum();
    if all <= 0.0 || !all.is_finite() {
        return match weights.len() {
            0 => Vec::new(),
            towers => split(images, &vec![1.0; towers]),
        };
    }
    let exact: Vec<f64> = weights.iter().map(|weight| images as f64 * weight / all).collect();
    let mut shares: Vec<usize> = exact.iter().map(|exact| exact.floor() as usize).collect();
    let mut order: Vec<usize> = (0..weights.len()).filter(|at| weights[*at] > 0.0).collect();
    let remainder = |at: &usize| exact[*at] - exact[*at].floor();
    // A stable sort: of equal remainders the first stays first.
    order.sort_by(|a, b| remainder(b).total_cmp(&remainder(a)));
    let left = images.saturating_sub(shares.iter().sum());
    for at in order.iter().cycle().take(left) {
        shares[*at] += 1;
    }
    for at in order.iter().copied().filter(|_| images >= order.len()) {
        if shares[at] == 0 {
            // The largest share can spare one: there are as many images as towers.
            let largest = (0..shares.len()).rev().max_by_key(|other| shares[*other]);
            shares[largest.unwrap_or(at)] -= 1;
            shares[at] += 1;
        }
    }
    shares
}

/// Follows the speed of each tower, and says when other shares would be worth a change.
#[derive(Clone, Debug)]
pub struct Balancer {
    /// Images a second, smoothed; `None` for a tower that has had no image yet.
    speeds: Vec<Option<f64>>,
    steps: u32,
}

impl Balancer {
    /// For so many towers, of which nothing is known yet.
    pub fn new(towers: usize) -> Self {
        Self { speeds: vec![None; towers], steps: 0 }
    }

    /// Takes note of a step in which each tower computed its share in so many seconds. Gives other
    /// shares if it is time for a change, and one is worth it.
    pub fn observe(&mut self, shares: &[usize], seconds: &[f64]) -> Option<Vec<usize>> {
        self.steps += 1;
        // What a first step sets up is no speed.
        if self.steps == 1 {
            return None;
        }
        let measured = shares.iter().zip(seconds).zip(&mut self.speeds);
        for ((images, seconds), speed) in measured.filter(|((images, _), _)| **images > 0) {
            let now = *images as f64 / seconds.max(1e-9);
            *speed = Some(speed.map_or(now, |before| before + SMOOTHING * (now - before)));
        }
        if self.steps <= STEPS_BETWEEN {
            return None;
        }
        let speeds = self.speeds_or_mean()?;
        let better = split(shares.iter().sum(), &speeds);
        let gain = 1.0 - longest(&better, &speeds) / longest(shares, &speeds);
        if better == shares || gain < LEAST_GAIN {
            return None;
        }
        self.steps = 1;
        Some(better)
    }

    /// The speeds of all towers. One that is unknown is taken for the mean of the others: with
    /// images of its own it will be measured. `None` if all are unknown.
    fn speeds_or_mean(&self) -> Option<Vec<f64>> {
        let known: Vec<f64> = self.speeds.iter().copied().flatten().collect();
        let mean = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)?;
        Some(self.speeds.iter().map(|speed| speed.unwrap_or(mean)).collect())
    }

    /// Forgets a tower that is lost.
    pub fn forget(&mut self, tower: usize) {
        self.speeds.remove(tower);
    }
}

/// The time of the tower that takes longest.
fn longest(shares: &[usize], speeds: &[f64]) -> f64 {
    let times = shares.iter().zip(speeds).map(|(images, speed)| *images as f64 / speed);
    times.fold(f64::MIN_POSITIVE, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_cut_by_largest_remainder() {
        assert_eq!(split(128, &[1.0, 1.0]), [64, 64]);
        assert_eq!(split(10, &[1.0, 1.0, 1.0]), [4, 3, 3]);
        assert_eq!(split(128, &[3.0, 1.0]), [96, 32]);
        assert_eq!(split(7, &[2.0, 1.0, 1.0]), [3, 2, 2]);
        assert_eq!(split(5, &[0.0, 1.0]), [0, 5]);
        assert_eq!(split(4, &[0.0, 0.0]), [2, 2]);
        assert!(split(4, &[]).is_empty());
    }

    #[test]
    fn each_tower_gets_an_image_while_there_are_enough() {
        assert_eq!(split(128, &[1000.0, 1.0]), [127, 1]);
        assert_eq!(split(3, &[1e9, 1.0, 1.0]), [1, 1, 1]);
        assert_eq!(split(2, &[1.0, 1.0, 1.0]), [1, 1, 0]);
    }

    #[test]
    fn nothing_is_lost_and_nothing_counted_twice() {
        for images in 0..200 {
            for weights in [vec![1.0], vec![0.3, 0.7], vec![5.0, 1e-3, 2.0], vec![1.0; 7]] {
                let shares = split(images, &weights);
                assert_eq!(shares.iter().sum::<usize>(), images, "{images} over {weights:?}");
            }
        }
    }

    /// The changes of shares in so many steps of towers that need this long for an image, and the
    /// last shares.
    fn balanced(image_s: &[f64], steps: usize) -> (usize, Vec<usize>) {
        let mut balancer = Balancer::new(image_s.len());
        let mut shares = split(128, &vec![1.0; image_s.len()]);
        let mut changes = 0;
        for _ in 0..steps {
            let times = shares.iter().zip(image_s).map(|(images, each)| *images as f64 * each);
            let times: Vec<f64> = times.collect();
            if let Some(better) = balancer.observe(&shares, &times) {
                (shares, changes) = (better, changes + 1);
            }
        }
        (changes, shares)
    }

    #[test]
    fn shares_follow_speeds() {
        assert_eq!(balanced(&[1e-3, 3e-3], 100), (1, vec![96, 32]));
        assert_eq!(balanced(&[1e-3, 1e-3, 2e-3], 100), (1, vec![51, 51, 26]));
    }

    #[test]
    fn shares_stay_while_a_change_is_not_worth_it() {
        assert_eq!(balanced(&[1e-3, 1e-3], 100), (0, vec![64, 64]));
        assert_eq!(balanced(&[1e-3, 1.05e-3], 100), (0, vec![64, 64]));
        assert_eq!(balanced(&[1e-3, 9e-3], STEPS_BETWEEN as usize).0, 0);
    }

    #[test]
    fn fixed_times_beside_those_of_images_settle() {
        let mut balancer = Balancer::new(2);
        let mut shares = vec![64, 64];
        let mut changes = Vec::new();
        for step in 0..400 {
            let times = [5e-3 + 1e-4 * shares[0] as f64, 1e-3 * shares[1] as f64];
            if let Some(better) = balancer.observe(&shares, &times) {
                shares = better;
                changes.push(step);
            }
        }
        let times = [5e-3 + 1e-4 * shares[0] as f64, 1e-3 * shares[1] as f64];
        assert!((times[0] / times[1] - 1.0).abs() < 0.15, "{shares:?}");
        assert!(changes.last().is_some_and(|last| *last < 200), "{changes:?}");
    }

    #[test]
    fn a_tower_without_images_is_tried() {
        let mut balancer = Balancer::new(3);
        // The third is as fast as the second.
        let image_s = [1e-3, 2e-3, 2e-3];
        let mut shares = vec![80, 40, 0];
        for _ in 0..100 {
            let times = shares.iter().zip(image_s).map(|(images, each)| *images as f64 * each);
            let times: Vec<f64> = times.collect();
            shares = balancer.observe(&shares, &times).unwrap_or(shares);
        }
        assert_eq!(shares, [60, 30, 30]);
        assert_eq!(Balancer::new(2).speeds_or_mean(), None);
    }

    #[test]
    fn a_lost_tower_is_forgotten() {
        let mut balancer = Balancer::new(3);
        for _ in 0..5 {
            balancer.observe(&[40, 40, 40], &[1.0, 1.0, 4.0]);
        }
        balancer.forget(1);
        let changes = (0..20).find_map(|_| balancer.observe(&[60, 60], &[1.0, 4.0]));
        assert_eq!(changes, Some(vec![96, 24]));
    }
}
