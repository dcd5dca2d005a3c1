//! Lines in an order that does not depend on how threads race.
//!
//! Weights are evaluated while training goes on. Lines that come after weights were handed on wait
//! until these have been evaluated by all stages that evaluate, or those have ended.

use std::collections::{BTreeSet, VecDeque};

/// Lines that wait.
#[derive(Debug, Default)]
pub(super) struct Order {
    waiting: VecDeque<Entry>,
    /// Stages that evaluate nothing any more.
    ended: BTreeSet<usize>,
}

#[derive(Debug)]
enum Entry {
    Line(String),
    /// What each stage that evaluates says of the weights after so many steps.
    Evaluations {
        step: u64,
        lines: Vec<Option<String>>,
    },
}

impl Order {
    /// The weights after so many steps are handed on to so many stages that evaluate.
    pub(super) fn hand_on(&mut self, step: u64, evaluators: usize) {
        self.waiting.push_back(Entry::Evaluations { step, lines: vec![None; evaluators] });
    }

    /// A line of what trains.
    pub(super) fn line(&mut self, text: String) {
        self.waiting.push_back(Entry::Line(text));
    }

    /// The line of the weights after so many steps by one of the stages that evaluate.
    pub(super) fn evaluation(&mut self, step: u64, evaluator: usize, text: String) {
        let lines = self.waiting.iter_mut().find_map(|entry| match entry {
            Entry::Evaluations { step: of, lines } if *of == step => Some(lines),
            _ => None,
        });
        match lines.and_then(|lines| lines.get_mut(evaluator)) {
            Some(line) => *line = Some(text),
            None => self.line(text),
        }
    }

    /// One of the stages that evaluate has ended.
    pub(super) fn end(&mut self, evaluator: usize) {
        self.ended.insert(evaluator);
    }

    /// The lines whose turn has come.
    pub(super) fn ready(&mut self) -> Vec<String> {
        let mut ready = Vec::new();
        while let Some(entry) = self.waiting.front() {
            let is_ready = match entry {
                Entry::Line(_) => true,
                Entry::Evaluations { lines, .. } => lines
                    .iter()
                    .enumerate()
                    .all(|(at, line)| line.is_some() || self.ended.contains(&at)),
            };
            if !is_ready {
                break;
            }
            ready.extend(self.waiting.pop_front().into_iter().flat_map(Entry::lines));
        }
        ready
    }

    /// All lines, as no more will come.
    pub(super) fn rest(&mut self) -> Vec<String> {
        self.waiting.drain(..).flat_map(Entry::lines).collect()
    }
}

impl Entry {
    fn lines(self) -> Vec<String> {
        match self {
            Self::Line(text) => vec![text],
            Self::Evaluations { lines, .. } => lines.into_iter().flatten().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed if two stages evaluate and this happens, a letter for each event.
    fn printed(events: &str) -> String {
        let mut order = Order::default();
        let mut printed = Vec::new();
        for event in events.chars() {
            match event {
                'h' => order.hand_on(1, 2),
                'H' => order.hand_on(2, 2),
                'a' => order.evaluation(1, 0, "a".to_owned()),
                'b' => order.evaluation(1, 1, "b".to_owned()),
                'A' => order.evaluation(2, 0, "A".to_owned()),
                'B' => order.evaluation(2, 1, "B".to_owned()),
                '!' => order.end(1),
                line => order.line(line.to_string()),
            }
            printed.extend(order.ready());
        }
        printed.push("|".to_owned());
        printed.extend(order.rest());
        printed.concat()
    }

    #[test]
    fn evaluations_come_where_their_weights_were_handed_on() {
        for events in ["1hab2HAB3", "1hba2HBA3", "1h2aHb3BA", "1h2H3baAB", "1h2H3BbAa"] {
            assert_eq!(printed(events), "1ab2AB3|", "{events}");
        }
    }

    #[test]
    fn nothing_waits_for_a_stage_that_has_ended() {
        assert_eq!(printed("1hb2HA3!a4"), "1ab2A34|");
        assert_eq!(printed("1h2!"), "1|2");
        assert_eq!(printed("1h2!a3"), "1a23|");
    }

    #[test]
    fn what_still_waits_at_the_end_is_printed() {
        assert_eq!(printed("1hb2H3A"), "1|b2A3");
        // Weights that nobody was told of.
        assert_eq!(printed("1aB2"), "1aB2|");
    }
}
