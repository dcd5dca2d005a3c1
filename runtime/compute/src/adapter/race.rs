//! Which of several forms of a kernel is the fastest, by timing them in turn.

/// The first one stays unless another takes less than this share of its time: below that it may be
/// noise, and what is first is first for a reason.
const CLEAR_WIN: f64 = 0.95;

/// One is left out as soon as it takes so many times as long as the best.
const HOPELESS: f64 = 2.0;

/// A timing should take this long, so that starting and waiting do not count.
const LONG_ENOUGH_S: f64 = 0.008;

/// The most repeats that make a timing long enough.
const MOST_REPEATS: usize = 16;

/// How often each is timed.
const ROUNDS: usize = 5;

/// If the best takes this long, the first two timings decide: noise is small beside it, and more
/// rounds would keep a training waiting.
const SLOW_S: f64 = 0.1;

/// The end of a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Won {
    /// Which one.
    pub(super) winner: usize,
    /// How many images it was timed with.
    pub(super) images: usize,
}

/// The fastest of `forms`, of which the first is taken unless another one is clearly faster.
/// `time` gives the seconds that a form takes for so many images, so many times over, or `None` if
/// it cannot run.
///
/// It begins with a single image and goes on to more while that takes no time, so that a form which
/// would take forever on a batch is found out before.
///
/// `None` if none of them can run.
pub(super) fn race(
    forms: usize,
    most_images: usize,
    mut time: impl FnMut(usize, usize, usize) -> Option<f64>,
) -> Option<Won> {
    let mut images = 1;
    // Drivers finish compiling when a form first runs.
    let mut left: Vec<usize> = (0..forms).filter(|form| time(*form, 1, 1).is_some()).collect();
    let (repeats, mut times) = loop {
        let mut times = Vec::with_capacity(left.len());
        for form in &left {
            // The better of two counts: other work on the machine must not throw one out.
            times.push((*form, vec![time(*form, images, 1)?, time(*form, images, 1)?]));
        }
        let least = |times: &[f64]| times[0].min(times[1]);
        let best = times.iter().map(|(_, times)| least(times)).fold(f64::INFINITY, f64::min);
        times.retain(|(form, times)| *form == 0 || least(times) <= HOPELESS * best);
        left = times.iter().map(|(form, _)| *form).collect();
        if left.len() < 2 {
            return left.first().map(|winner| Won { winner: *winner, images });
        }
        let mut times: Vec<Vec<f64>> = times.into_iter().map(|(_, times)| times).collect();
        if best >= SLOW_S {
            return Some(Won { winner: left[pick(&mut times)], images });
        }
        if best >= LONG_ENOUGH_S || images == most_images {
            times.iter_mut().for_each(Vec::clear);
            break ((LONG_ENOUGH_S / best).clamp(1.0, MOST_REPEATS as f64) as usize, times);
        }
        images = (4 * images).min(most_images);
    };
    // In turn, so that what slows the machine down for a while slows all of them.
    for _ in 0..ROUNDS {
        for (form, times) in left.iter().zip(&mut times) {
            times.push(time(*form, images, repeats)?);
        }
    }
    Some(Won { winner: left[pick(&mut times)], images })
}

/// The position of the fastest; the first unless both the median and the least of another one's
/// times are clearly below its own.
fn pick(times: &mut [Vec<f64>]) -> usize {
    let summed_up: Vec<(f64, f64)> = times
        .iter_mut()
        .map(|times| {
            times.sort_by(f64::total_cmp);
            (times[times.len() / 2], times[0])
        })
        .collect();
    let (median, least) = summed_up[0];
    let wins = |(m, l): &(f64, f64)| *m < CLEAR_WIN * median && *l < CLEAR_WIN * least;
    let winners = (1..summed_up.len()).filter(|at| wins(&summed_up[*at]));
    winners.min_by(|a, b| summed_up[*a].0.total_cmp(&summed_up[*b].0)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stays_unless_another_clearly_wins() {
        let picked = |times: &[[f64; 3]]| {
            pick(&mut times.iter().map(|times| times.to_vec()).collect::<Vec<_>>())
        };
        assert_eq!(picked(&[[1.0, 1.1, 1.0], [0.96, 0.97, 0.96]]), 0);
        assert_eq!(picked(&[[1.0, 1.1, 1.0], [0.94, 0.9, 0.94], [0.8, 0.9, 0.7]]), 2);
        // Once quick is not quick.
        assert_eq!(picked(&[[1.0, 1.0, 1.0], [0.5, 1.0, 1.0]]), 0);
        // Once slow is not slow.
        assert_eq!(picked(&[[1.0, 1.0, 1.0], [0.9, 9.0, 0.9]]), 1);
    }

    /// A race of forms that take a fixed time to start and a time for each image; what was asked.
    fn run(forms: &[(f64, f64)], most_images: usize) -> (Option<Won>, Vec<(usize, usize, usize)>) {
        let mut asked = Vec::new();
        let won = race(forms.len(), most_images, |form, images, repeats| {
            asked.push((form, images, repeats));
            let (start, each) = forms[form];
            each.is_finite().then_some(start + (images * repeats) as f64 * each)
        });
        (won, asked)
    }

    #[test]
    fn the_hopeless_are_found_out_with_few_images() {
        let (won, asked) = run(&[(0.001, 0.0004), (0.001, 0.0002), (0.001, 1.0)], 1000);
        assert_eq!(won, Some(Won { winner: 1, images: 64 }));
        let most = asked.iter().filter(|(form, ..)| *form == 2).map(|(_, images, _)| *images).max();
        assert_eq!(most, Some(1));
        // It stays in the race all the same if it is the first.
        let (won, _) = run(&[(0.001, 0.1), (0.001, 0.0002)], 1000);
        assert_eq!(won.map(|won| won.winner), Some(1));
    }

    #[test]
    fn what_takes_no_time_is_repeated() {
        let (won, asked) = run(&[(0.0, 1e-6), (0.0, 1e-6)], 64);
        assert_eq!(won, Some(Won { winner: 0, images: 64 }));
        assert_eq!(asked.last(), Some(&(1, 64, MOST_REPEATS)));
        assert_eq!(asked.iter().filter(|(.., repeats)| *repeats > 1).count(), 2 * ROUNDS);
    }

    #[test]
    fn what_cannot_run_does_not_win() {
        let (won, _) = run(&[(0.0, 1.0), (0.0, f64::INFINITY)], 8);
        assert_eq!(won.map(|won| won.winner), Some(0));
        assert_eq!(run(&[(0.0, f64::INFINITY)], 8).0, None);
    }

    #[test]
    fn what_takes_long_is_decided_by_its_first_timings() {
        let (won, asked) = run(&[(0.0, 0.2), (0.0, 0.15)], 64);
        assert_eq!(won, Some(Won { winner: 1, images: 1 }));
        assert_eq!(asked.len(), 2 + 2 * 2);
        let (won, _) = run(&[(0.0, 0.15), (0.0, 0.149)], 64);
        assert_eq!(won, Some(Won { winner: 0, images: 1 }), "not clearly faster");
    }
}
