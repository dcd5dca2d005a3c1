//! Two sequences beside each other: what is in one and not in the other.

/// Something that the sequences do not have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pair<'a, T> {
    /// One stands where the other does.
    Changed(&'a T, &'a T),
    /// Only the first has it.
    Missing(&'a T),
    /// Only the second has it.
    Added(&'a T),
    /// Both have it, in another order.
    Moved(&'a T, &'a T),
}

/// What differs between two sequences beside the longest one that is part of both. What is alike is
/// set beside each other first, then what is left in its order.
pub(super) fn align<'a, T>(
    first: &'a [T],
    second: &'a [T],
    is_same: impl Fn(&T, &T) -> bool,
    is_alike: impl Fn(&T, &T) -> bool,
) -> Vec<Pair<'a, T>> {
    let (mut rest, mut others) = apart(first, second, &is_same);
    let mut pairs = Vec::new();
    let mut take = |rest: &mut Vec<&'a T>, fits: &dyn Fn(&T, &T) -> bool, pair: Make<'a, T>| {
        rest.retain(|one| match others.iter().position(|other| fits(one, other)) {
            Some(at) => {
                pairs.push(pair(one, others.remove(at)));
                false
            }
            None => true,
        });
    };
    take(&mut rest, &is_same, Pair::Moved);
    take(&mut rest, &is_alike, Pair::Changed);
    take(&mut rest, &|_, _| true, Pair::Changed);
    pairs.extend(rest.into_iter().map(Pair::Missing));
    pairs.extend(others.into_iter().map(Pair::Added));
    pairs
}

type Make<'a, T> = fn(&'a T, &'a T) -> Pair<'a, T>;

/// More pairs are not looked at: what is left of such long sequences is taken in its order.
const PAIRS_MAX: usize = 1 << 20;

/// What is left of both without the longest sequence that is part of both.
fn apart<'a, T>(
    first: &'a [T],
    second: &'a [T],
    is_same: &impl Fn(&T, &T) -> bool,
) -> (Vec<&'a T>, Vec<&'a T>) {
    let begin = first.iter().zip(second).take_while(|(a, b)| is_same(a, b)).count();
    let (first, second) = (&first[begin..], &second[begin..]);
    let ends = first.iter().rev().zip(second.iter().rev());
    let end = ends.take_while(|(a, b)| is_same(a, b)).count();
    let (first, second) = (&first[..first.len() - end], &second[..second.len() - end]);
    if first.len().saturating_mul(second.len()) > PAIRS_MAX {
        return (first.iter().collect(), second.iter().collect());
    }
    // The length of the longest common part of what begins at each pair of places.
    let mut longest = vec![vec![0_usize; second.len() + 1]; first.len() + 1];
    for at in (0..first.len()).rev() {
        for beside in (0..second.len()).rev() {
            longest[at][beside] = if is_same(&first[at], &second[beside]) {
                longest[at + 1][beside + 1] + 1
            } else {
                longest[at + 1][beside].max(longest[at][beside + 1])
            };
        }
    }
    let (mut rest, mut others) = (Vec::new(), Vec::new());
    let (mut at, mut beside) = (0, 0);
    while at < first.len() && beside < second.len() {
        if is_same(&first[at], &second[beside]) {
            (at, beside) = (at + 1, beside + 1);
        } else if longest[at + 1][beside] >= longest[at][beside + 1] {
            rest.push(&first[at]);
            at += 1;
        } else {
            others.push(&second[beside]);
            beside += 1;
        }
    }
    rest.extend(&first[at..]);
    others.extend(&second[beside..]);
    (rest, others)
}

#[cfg(test)]
mod tests {
    use super::Pair::{Added, Changed, Missing, Moved};
    use super::*;

    /// Pairs of words of a letter and a number, which are alike if they have the same letter.
    fn differ<'a>(first: &'a [&'a str], second: &'a [&'a str]) -> Vec<Pair<'a, &'a str>> {
        align(first, second, |a, b| a == b, |a, b| a[..1] == b[..1])
    }

    #[test]
    fn what_is_the_same_in_both_is_left_out() {
        assert_eq!(differ(&[], &[]), []);
        assert_eq!(differ(&["a1", "b1"], &["a1", "b1"]), []);
        assert_eq!(differ(&["a1", "b1", "c1"], &["a1", "c1"]), [Missing(&"b1")]);
        assert_eq!(differ(&["c1"], &["a1", "c1"]), [Added(&"a1")]);
    }

    #[test]
    fn what_is_alike_stands_beside_each_other() {
        assert_eq!(differ(&["a1", "b1"], &["b2", "a1"]), [Changed(&"b1", &"b2")]);
        assert_eq!(
            differ(&["a1", "b1"], &["c1", "b2"]),
            [Changed(&"b1", &"b2"), Changed(&"a1", &"c1")]
        );
    }

    #[test]
    fn another_order_is_told_once() {
        assert_eq!(differ(&["a1", "b1"], &["b1", "a1"]), [Moved(&"a1", &"a1")]);
    }
}
