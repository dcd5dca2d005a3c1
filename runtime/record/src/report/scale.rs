//! Where a value lies between the ends of an axis.

/// From the values along an axis to places from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

/// How an axis is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// From the least value to the greatest.
    Exactly,
    /// To round numbers around them.
    Round,
    /// To round numbers, 0 among them.
    FromZero,
    /// As `Round`; logarithmic where the values differ much.
    Spread,
}

/// How many times the least value the greatest is where an axis becomes logarithmic.
const MUCH: f64 = 30.0;
/// About how many numbers stand beside an axis.
const TICKS: f64 = 5.0;

impl Scale {
    /// An axis for these values; what is not finite has no place on it.
    pub(super) fn new(values: impl IntoIterator<Item = f64>, fit: Fit) -> Self {
        let finite = values.into_iter().filter(|value| value.is_finite());
        let (mut low, mut high) = finite
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high): (f64, f64), value| {
                (low.min(value), high.max(value))
            });
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if fit == Fit::Spread && low > 0.0 && high / low >= MUCH {
            let (low, high) = (round_below(low), round_below(high * 2.0).max(high));
            return Self { low, high, logarithmic: true };
        }
        if fit == Fit::FromZero {
            (low, high) = (low.min(0.0), high.max(0.0));
        }
        if low == high {
            let around = if low == 0.0 { 1.0 } else { low.abs() / 10.0 };
            (low, high) = ((low - around).max(f64::MIN), (high + around).min(f64::MAX));
        }
        if fit != Fit::Exactly {
            let step = step(high / TICKS - low / TICKS);
            let (below, above) = ((low / step).floor() * step, (high / step).ceil() * step);
            // Nothing is rounder than the greatest number of all.
            if below.is_finite() && above.is_finite() {
                (low, high) = (below, above);
            }
        }
        Self { low, high, logarithmic: false }
    }

    /// Whether places are those of the values' logarithms.
    pub(super) fn is_logarithmic(&self) -> bool {
        self.logarithmic
    }

    /// The place of a value: 0 at the axis' beginning, 1 at its end.
    pub(super) fn place(&self, value: f64) -> f64 {
        if self.logarithmic {
            return (value / self.low).ln() / (self.high / self.low).ln();
        }
        // Halved, so that no difference of finite numbers is infinite.
        (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0)
    }

    /// Round numbers along the axis.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if self.logarithmic { self.logarithmic_ticks() } else { self.linear_ticks() }
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let step = step(self.high / TICKS - self.low / TICKS);
        let (first, last) = ((self.low / step).ceil(), (self.high / step).floor());
        // A hair of slack: an end that is itself a tick may come out a rounding beyond it.
        let first = if first - self.low / step > 1.0 - 1e-9 { first - 1.0 } else { first };
        let last = if self.high / step - last > 1.0 - 1e-9 { last + 1.0 } else { last };
        let numbers = (last - first).clamp(0.0, 4.0 * TICKS) as usize;
        // Adding 0.0 makes 0 of -0.
        (0..=numbers).map(|number| (first + number as f64) * step + 0.0).collect()
    }

    fn logarithmic_ticks(&self) -> Vec<f64> {
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let decades = last - first;
        let every = (decades as usize).div_ceil(7).max(1);
        let digits: &[f64] = if decades <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        (first..=last)
            .step_by(every)
            .flat_map(|exponent| digits.iter().map(move |digit| digit * 10f64.powi(exponent)))
            .filter(|tick| (-1e-9..=1.0 + 1e-9).contains(&self.place(*tick)))
            .collect()
    }
}

/// The least of .., 0.5, 1, 2, 5, 10, .. that is no smaller.
fn step(least: f64) -> f64 {
    let decade = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0]
        .map(|digit| digit * decade)
        .into_iter()
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * decade)
}

/// The greatest of .., 0.5, 1, 2, 5, 10, .. that is no greater.
fn round_below(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    [5.0, 2.0]
        .map(|digit| digit * decade)
        .into_iter()
        .find(|number| *number <= value * (1.0 + 1e-9))
        .unwrap_or(decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: &[f64], expected: &[f64]) {
        let same = found.len() == expected.len()
            && found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-9 * b.abs().max(1e-3));
        assert!(same, "{found:?} is not {expected:?}");
    }

    #[test]
    fn axes_end_at_round_numbers() {
        let scale = Scale::new([0.13, 0.88], Fit::Round);
        close(&scale.ticks(), &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        close(&[scale.place(0.0), scale.place(0.5), scale.place(1.0)], &[0.0, 0.5, 1.0]);
        let scale = Scale::new([900.0, 1200.0], Fit::FromZero);
        close(&scale.ticks(), &[0.0, 500.0, 1000.0, 1500.0]);
        let scale = Scale::new([0.0, 9990.0], Fit::Exactly);
        close(&scale.ticks(), &[0.0, 2000.0, 4000.0, 6000.0, 8000.0]);
        close(&[scale.place(9990.0)], &[1.0]);
    }

    #[test]
    fn what_differs_much_is_logarithmic() {
        let scale = Scale::new([0.0011, 0.3, 9.0], Fit::Spread);
        assert!(scale.is_logarithmic());
        close(&scale.ticks(), &[0.001, 0.01, 0.1, 1.0, 10.0]);
        close(&[scale.place(0.1)], &[0.5]);
        close(
            &Scale::new([0.9, 30.0], Fit::Spread).ticks(),
            &[0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0],
        );
        assert!(!Scale::new([0.9, 4.0], Fit::Spread).is_logarithmic());
        // 0 has no logarithm.
        assert!(!Scale::new([0.0, 1e6], Fit::Spread).is_logarithmic());
        assert!(Scale::new([1e-300, 1e300], Fit::Spread).ticks().len() <= 8);
    }

    #[test]
    fn any_values_have_an_axis() {
        let cases: [&[f64]; 8] = [
            &[],
            &[f64::NAN, f64::INFINITY],
            &[0.0],
            &[-3.0],
            &[1e-300],
            &[f64::MIN, f64::MAX],
            &[f64::MAX],
            &[1.0, 1.0 + f64::EPSILON],
        ];
        for values in cases {
            for fit in [Fit::Exactly, Fit::Round, Fit::FromZero, Fit::Spread] {
                let scale = Scale::new(values.iter().copied(), fit);
                let ticks = scale.ticks();
                assert!((1..=22).contains(&ticks.len()), "{values:?} {fit:?}: {ticks:?}");
                for value in values.iter().filter(|value| value.is_finite()) {
                    let place = scale.place(*value);
                    assert!((-0.01..=1.01).contains(&place), "{values:?} {fit:?}: {place}");
                }
            }
        }
    }
}
