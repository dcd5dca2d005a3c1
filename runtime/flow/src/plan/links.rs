//! The order of stages: inputs before what reads them, otherwise as written.

use std::collections::BTreeSet;

/// The stages in order, and the circles that keep the others out of it. `from[s]` are the stages
/// that stage `s` reads from.
pub(super) fn sort(from: &[Vec<usize>]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let mut readers = vec![Vec::new(); from.len()];
    let mut waits: Vec<usize> = from.iter().map(Vec::len).collect();
    for (stage, sources) in from.iter().enumerate() {
        for source in sources {
            readers[*source].push(stage);
        }
    }
    let mut ready: BTreeSet<usize> = (0..from.len()).filter(|stage| waits[*stage] == 0).collect();
    let mut order = Vec::with_capacity(from.len());
    while let Some(stage) = ready.pop_first() {
        order.push(stage);
        for reader in &readers[stage] {
            waits[*reader] -= 1;
            if waits[*reader] == 0 {
                ready.insert(*reader);
            }
        }
    }
    (order, circles(from, &waits))
}

/// The circles among the stages that still wait.
fn circles(from: &[Vec<usize>], waits: &[usize]) -> Vec<Vec<usize>> {
    let mut seen: Vec<Option<usize>> = vec![None; from.len()];
    let mut circles = Vec::new();
    for start in (0..from.len()).filter(|stage| waits[*stage] > 0) {
        let mut walk = Vec::new();
        let mut stage = start;
        // Whatever waits, waits for something that waits, so the walk ends in a circle.
        while seen[stage].is_none() {
            seen[stage] = Some(start);
            walk.push(stage);
            let Some(next) = from[stage].iter().find(|source| waits[**source] > 0) else { break };
            stage = *next;
        }
        let closed = walk.iter().position(|walked| *walked == stage);
        if let Some(first) = closed.filter(|_| seen[stage] == Some(start)) {
            let mut circle = walk.split_off(first);
            // Reading goes against the flow, and a circle is told from its first stage on.
            circle.reverse();
            let head = (0..circle.len()).min_by_key(|at| circle[*at]).unwrap_or(0);
            circle.rotate_left(head);
            circles.push(circle);
        }
    }
    circles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_come_first_and_the_rest_as_written() {
        let from = [vec![3], vec![], vec![0, 1], vec![1], vec![]];
        assert_eq!(sort(&from), (vec![1, 3, 0, 2, 4], vec![]));
    }

    #[test]
    fn circles_are_found_once() {
        // 0 <- 2 <- 1 <- 0, with 3 behind it; 4 <-> 5; 6 is free.
        let from = [vec![2], vec![0], vec![1], vec![2], vec![5], vec![4], vec![]];
        assert_eq!(sort(&from), (vec![6], vec![vec![0, 1, 2], vec![4, 5]]));
        assert_eq!(sort(&[vec![0]]), (vec![], vec![vec![0]]));
    }
}
