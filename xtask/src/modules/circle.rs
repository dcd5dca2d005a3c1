//! Circles in a graph of names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) line: usize,
}

/// From each module to those that it uses, with a place where it does.
pub(super) type Graph = BTreeMap<String, BTreeMap<String, Place>>;

/// One module uses another.
#[derive(Debug)]
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) place: Place,
}

/// Each edge begins where the one before ends, and the first where the last does.
#[derive(Debug)]
pub(super) struct Circle {
    pub(super) edges: Vec<Edge>,
    /// All that lies in a circle with these.
    pub(super) group: BTreeSet<String>,
}

impl Circle {
    /// What is in the group and not in this circle.
    pub(super) fn others(&self) -> Vec<&str> {
        let is_here = |name: &str| self.edges.iter().any(|edge| edge.from == name);
        self.group.iter().map(String::as_str).filter(|name| !is_here(name)).collect()
    }
}

/// A shortest circle of each group of nodes that can be reached from each other.
pub(super) fn shortest(graph: &Graph) -> Vec<Circle> {
    let reached: BTreeMap<&str, BTreeMap<&str, &str>> =
        graph.keys().map(|name| (name.as_str(), search(graph, name))).collect();
    let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|r| r.contains_key(to));
    let mut circles = Vec::new();
    let mut told = BTreeSet::new();
    for name in graph.keys() {
        if !reaches(name, name) || told.contains(name) {
            continue;
        }
        let group: BTreeSet<String> = graph
            .keys()
            .filter(|other| reaches(name, other) && reaches(other, name))
            .cloned()
            .collect();
        told.extend(group.iter().cloned());
        let nodes =
            group.iter().map(|name| way(&reached[name.as_str()], name)).min_by_key(Vec::len);
        let nodes = nodes.expect("its own name is in a group");
        let edges = (0..nodes.len()).map(|i| {
            let (from, to) = (nodes[i], nodes[(i + 1) % nodes.len()]);
            Edge { from: from.to_owned(), to: to.to_owned(), place: graph[from][to].clone() }
        });
        circles.push(Circle { edges: edges.collect(), group });
    }
    circles
}

/// What can be reached, nearest first, each with the node before it.
fn search<'a>(graph: &'a Graph, from: &'a str) -> BTreeMap<&'a str, &'a str> {
    let mut before = BTreeMap::new();
    let mut waiting = VecDeque::from([from]);
    while let Some(node) = waiting.pop_front() {
        for next in graph.get(node).into_iter().flat_map(BTreeMap::keys) {
            if !before.contains_key(next.as_str()) {
                before.insert(next.as_str(), node);
                waiting.push_back(next);
            }
        }
    }
    before
}

/// The nodes of the circle that leads from this one back to it.
fn way<'a>(before: &BTreeMap<&'a str, &'a str>, name: &'a str) -> Vec<&'a str> {
    let mut nodes = vec![name];
    let mut node = before[name];
    while node != name {
        nodes.push(node);
        node = before[node];
    }
    nodes[1..].reverse();
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles of a graph with these edges, each as its nodes and its group.
    fn found(edges: &[&str]) -> Vec<(String, String)> {
        let mut graph = Graph::new();
        for (line, edge) in edges.iter().enumerate() {
            let (from, to) = edge.split_at(1);
            let place = Place { file: PathBuf::new(), line };
            graph.entry(from.to_owned()).or_default().insert(to.to_owned(), place);
        }
        let circles = shortest(&graph);
        circles
            .iter()
            .map(|circle| {
                for (i, edge) in circle.edges.iter().enumerate() {
                    assert_eq!(edge.to, circle.edges[(i + 1) % circle.edges.len()].from);
                    assert_eq!(edges[edge.place.line], format!("{}{}", edge.from, edge.to));
                }
                let nodes = circle.edges.iter().map(|edge| edge.from.as_str()).collect();
                (nodes, circle.group.iter().map(String::as_str).collect())
            })
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(nodes, group)| ((*nodes).to_owned(), (*group).to_owned())).collect()
    }

    #[test]
    fn what_only_leads_down_has_no_circle() {
        assert!(found(&["ab", "ac", "bd", "cd", "ed"]).is_empty());
    }

    #[test]
    fn the_shortest_circle_of_each_group_is_found() {
        let edges = ["ab", "bc", "cd", "da", "cb", "xy", "yz", "zx", "ax", "qa"];
        assert_eq!(found(&edges), pairs(&[("bc", "abcd"), ("xyz", "xyz")]));
    }
}
