//! Where the stages of a pipeline are drawn: in rows, so that all edges lead down.

use flow::reports::Outcome;

/// Row and column.
pub(super) type Cell = (usize, usize);

/// A place for each stage and a way for each edge.
#[derive(Debug)]
pub(super) struct Layout {
    /// Of each stage.
    pub(super) stages: Vec<Cell>,
    /// Of each edge, the cells from its stage to its other one; those between are empty. Without
    /// any where one of the stages is not known.
    pub(super) edges: Vec<Vec<Cell>>,
    /// The number of rows.
    pub(super) rows: usize,
    /// The number of columns.
    pub(super) columns: usize,
}

impl Layout {
    /// Puts each stage below all that it takes from, and as far as there is room right below the
    /// first of them. An edge that passes rows keeps a cell in each free for itself.
    pub(super) fn new(outcome: &Outcome) -> Self {
        let place = |id: &str| outcome.stages.iter().position(|stage| stage.id == id);
        let ends: Vec<Option<(usize, usize)>> =
            outcome.edges.iter().map(|edge| place(&edge.from).zip(place(&edge.to))).collect();
        let rows = rows(outcome.stages.len(), &ends);
        let height = rows.iter().max().map_or(0, |last| last + 1);

        let mut taken: Vec<Vec<bool>> = vec![Vec::new(); height];
        let mut columns = vec![0; rows.len()];
        let mut edges: Vec<Vec<Cell>> = vec![Vec::new(); ends.len()];
        for (row, taken) in taken.iter_mut().enumerate() {
            for stage in (0..rows.len()).filter(|stage| rows[*stage] == row) {
                let above = edges
                    .iter()
                    .zip(&ends)
                    .find_map(|(way, ends)| ends.filter(|(_, to)| *to == stage).and(way.last()));
                let wanted = above.map_or(0, |(_, column)| *column);
                columns[stage] = take(taken, wanted);
            }
            for (way, ends) in edges.iter_mut().zip(&ends) {
                let Some((from, to)) = *ends else { continue };
                if rows[from] == row {
                    way.push((row, columns[from]));
                } else if rows[to] == row {
                    way.push((row, columns[to]));
                } else if rows[from] < row && row < rows[to] {
                    let above = way.last().map_or(0, |(_, column)| *column);
                    way.push((row, take(taken, above)));
                }
            }
        }
        let width = taken.iter().map(Vec::len).max().unwrap_or(0);
        Self {
            stages: rows.into_iter().zip(columns).collect(),
            edges,
            rows: height,
            columns: width,
        }
    }
}

/// The row of each stage: one below the lowest that it takes from. A pipeline has no circles;
/// were there one, its stages would only lie low.
fn rows(stages: usize, ends: &[Option<(usize, usize)>]) -> Vec<usize> {
    let mut rows = vec![0; stages];
    for _ in 0..stages {
        for (from, to) in ends.iter().flatten().copied() {
            rows[to] = rows[to].max(rows[from] + 1).min(stages);
        }
    }
    rows
}

/// Takes the free place that is nearest to the wanted one.
fn take(taken: &mut Vec<bool>, wanted: usize) -> usize {
    let is_free = |place: usize| !taken.get(place).copied().unwrap_or(false);
    let right = (wanted..).find(|place| is_free(*place)).unwrap_or(wanted);
    let left = (0..wanted).rev().find(|place| is_free(*place));
    let place = left.filter(|left| wanted - left < right - wanted).unwrap_or(right);
    if taken.len() <= place {
        taken.resize(place + 1, false);
    }
    taken[place] = true;
    place
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use flow::reports::{EdgeReport, QueueReport, StageReport};

    /// A pipeline of these stages that was busy for so many of 10 seconds, joined like this.
    pub(crate) fn outcome(stages: &[(&str, u64)], edges: &[(&str, &str)]) -> Outcome {
        let stage = |(id, busy): &(&str, u64)| StageReport {
            id: (*id).to_owned(),
            kind: "kind",
            workers: 1,
            items_out: 3,
            busy: Duration::from_secs(*busy),
            input_wait: Duration::from_millis(1500),
            output_wait: Duration::ZERO,
        };
        let edge = |(from, to): &(&str, &str)| EdgeReport {
            from: (*from).to_owned(),
            trains: false,
            to: (*to).to_owned(),
            carries: "images".to_owned(),
            queue: Some(QueueReport {
                items: 10,
                images: 12_340,
                capacity: 8,
                mean_fill: 3.25,
                full_wait: Duration::from_millis(300),
                empty_wait: Duration::from_millis(1200),
            }),
        };
        Outcome {
            stages: stages.iter().map(stage).collect(),
            edges: edges.iter().map(edge).collect(),
            elapsed: Duration::from_secs(10),
            interrupted: false,
        }
    }

    #[test]
    fn all_edges_lead_down_through_cells_of_their_own() {
        let stages = ["read", "crop", "train", "test", "score", "sum"].map(|id| (id, 1));
        let edges = [
            ("read", "crop"),
            ("crop", "train"),
            ("train", "score"),
            ("test", "score"),
            ("read", "score"),
            ("score", "sum"),
        ];
        let layout = Layout::new(&outcome(&stages, &edges));
        assert_eq!((layout.rows, layout.stages[4].0, layout.stages[5].0), (5, 3, 4));
        let mut cells: HashSet<Cell> = layout.stages.iter().copied().collect();
        assert_eq!(cells.len(), stages.len());
        for (way, (from, to)) in layout.edges.iter().zip(edges) {
            let cell = |id| layout.stages[stages.iter().position(|s| s.0 == id).expect("known")];
            assert_eq!((way[0], way[way.len() - 1]), (cell(from), cell(to)));
            assert!(way.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "{way:?}");
            for between in &way[1..way.len() - 1] {
                assert!(cells.insert(*between), "{between:?} is taken twice");
            }
        }
    }

    #[test]
    fn what_does_not_fit_together_is_drawn_as_well_as_it_goes() {
        let circle = outcome(&[("a", 1), ("b", 1)], &[("a", "b"), ("b", "a"), ("a", "none")]);
        let layout = Layout::new(&circle);
        assert!(layout.edges[2].is_empty());
        assert_eq!(Layout::new(&Outcome::default()).rows, 0);
    }
}
