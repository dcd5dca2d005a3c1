//! The same work again and again.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Spread;

/// Times that come before the first that counts: caches and clocks settle.
const WARM_UP: usize = 2;

/// The fewest that count.
const LEAST: usize = 5;

/// Does some work for about so long, and gives how long the very first time took, in ms, and how
/// long each of those that count. The work is told how often it was done before.
///
/// # Errors
/// If the work fails.
pub(super) fn repeat(
    time: Duration,
    mut work: impl FnMut(usize) -> Result<()>,
) -> Result<(f64, Spread)> {
    let mut once = |number: usize| -> Result<f64> {
        let start = Instant::now();
        work(number)?;
        Ok(1e3 * start.elapsed().as_secs_f64())
    };
    let first_ms = once(0)?;
    for number in 1..=WARM_UP {
        once(number)?;
    }
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.len() < LEAST || start.elapsed() < time {
        times.push(once(WARM_UP + 1 + times.len())?);
    }
    Ok((first_ms, Spread::of(times)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_first_does_not_count() {
        let mut numbers = Vec::new();
        let (first_ms, each) = repeat(Duration::ZERO, |number| {
            numbers.push(number);
            std::thread::sleep(Duration::from_millis(if number == 0 { 50 } else { 1 }));
            Ok(())
        })
        .expect("it does not fail");
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(each.runs, LEAST);
        assert!(first_ms >= 50.0 && each.min_ms >= 1.0, "{first_ms}, {each:?}");
        assert!(repeat(Duration::ZERO, |_| anyhow::bail!("it fails")).is_err());
    }
}
