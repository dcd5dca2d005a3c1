//! Memory of a thread, for the `cpu` forms. It only ever grows, so that training allocates nothing.

use std::cell::RefCell;

use compute::aligned::Aligned;
use compute::kernel::Pass;

/// Forms of weights that a thread keeps: more than the networks of a run have convolutions.
const MOST_KEPT: usize = 256;

thread_local! {
    static WORK: RefCell<Aligned<f32>> = RefCell::new(Aligned::default());
    static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

/// Lends numbers that hold anything.
pub(crate) fn with_scratch<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    WORK.with_borrow_mut(|scratch| {
        if scratch.len() < length {
            *scratch = Aligned::zeros(length);
        }
        work(&mut scratch[..length])
    })
}

/// What was made of some weights.
struct Kept {
    weights: *const f32,
    form: &'static str,
    pass: Pass,
    made: Aligned<f32>,
}

/// Lends what `make` makes of these weights, which it does once a pass on each thread. `form` tells
/// apart what is made of the same weights.
pub(crate) fn with_form<R>(
    (weights, form, pass): (&[f32], &'static str, Pass),
    length: usize,
    make: impl FnOnce(&mut [f32]),
    work: impl FnOnce(&[f32]) -> R,
) -> R {
    KEPT.with_borrow_mut(|kept| {
        let same = |kept: &Kept| kept.weights == weights.as_ptr() && kept.form == form;
        let at = kept.iter().position(same).unwrap_or_else(|| {
            if kept.len() == MOST_KEPT {
                kept.clear();
            }
            let made = Aligned::default();
            // A pass of its own: it has not been made yet.
            kept.push(Kept { weights: weights.as_ptr(), form, pass: Pass::begin(), made });
            kept.len() - 1
        });
        let kept = &mut kept[at];
        if kept.made.len() < length {
            kept.made = Aligned::zeros(length);
            kept.pass = Pass::begin();
        }
        let made = &mut kept.made[..length];
        if kept.pass != pass {
            make(made);
            kept.pass = pass;
        }
        work(made)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_made_once_a_pass() {
        let weights = [1.0, 2.0];
        let pass = Pass::begin();
        let mut times = 0;
        let mut sum = |form, pass| {
            let make = |made: &mut [f32]| {
                times += 1;
                made.copy_from_slice(&weights);
            };
            with_form((&weights, form, pass), 2, make, |made| made.iter().sum::<f32>());
            times
        };
        assert_eq!([sum("a", pass), sum("a", pass), sum("b", pass)], [1, 1, 2]);
        let next = Pass::begin();
        assert_eq!([sum("a", next), sum("a", next), sum("b", next)], [3, 3, 4]);
    }
}
