//! Where paths lead, and what follows from that for the modules.

use std::collections::BTreeMap;

use super::circle::{Graph, Place};
use super::source::Module;

/// How many imports of imports are followed. Those that go around in a circle have no end.
const DEEPEST: usize = 16;

/// A module, or what stands in it.
struct Target {
    module: Vec<String>,
    is_module: bool,
}

/// The graph of the modules right below the root, and of those right inside each module.
pub(super) fn graphs(root: &Module) -> Vec<Graph> {
    let mut graphs: BTreeMap<Vec<String>, Graph> = BTreeMap::new();
    add(root, root, &mut Vec::new(), &mut graphs);
    graphs.into_values().collect()
}

fn add(
    root: &Module,
    module: &Module,
    at: &mut Vec<String>,
    graphs: &mut BTreeMap<Vec<String>, Graph>,
) {
    for (path, &line) in &module.paths {
        let Some(target) = follow(root, at, path, DEEPEST) else { continue };
        // A single name that is not in a `use` is no module's: it may be a variable's.
        if path.len() == 1 && target.is_module {
            continue;
        }
        let shared = at.iter().zip(&target.module).take_while(|(from, to)| from == to).count();
        if shared == at.len() || shared == target.module.len() {
            continue;
        }
        let [from, to] = [&*at, &target.module].map(|path| path[..=shared].join("::"));
        let place = Place { file: module.file.clone(), line };
        let edges = graphs.entry(at[..shared].to_vec()).or_default().entry(from).or_default();
        let first = edges.entry(to).or_insert_with(|| place.clone());
        if first.file == place.file && first.line > line {
            *first = place;
        }
    }
    for (name, inner) in &module.modules {
        at.push(name.clone());
        add(root, inner, at, graphs);
        at.pop();
    }
}

/// Where a path leads that stands in the module `at`; `None` for what is in other crates.
fn follow(root: &Module, at: &[String], path: &[String], depth: usize) -> Option<Target> {
    let (first, rest) = path.split_first()?;
    let mut target = match first.as_str() {
        "crate" => Target { module: Vec::new(), is_module: true },
        "self" => Target { module: at.to_vec(), is_module: true },
        "super" => Target { module: at[..at.len().checked_sub(1)?].to_vec(), is_module: true },
        name => find(root, at, name, depth)?,
    };
    for name in rest {
        if !target.is_module {
            break;
        }
        if name == "super" {
            target.module.pop();
            continue;
        }
        let found = find(root, &target.module, name, depth);
        target = found.unwrap_or(Target { module: target.module, is_module: false });
    }
    Some(target)
}

/// Where a name leads that stands for something in the module `at`.
fn find(root: &Module, at: &[String], name: &str, depth: usize) -> Option<Target> {
    let module = at.iter().try_fold(root, |module, name| module.modules.get(name))?;
    if module.modules.contains_key(name) {
        return Some(Target { module: [at, &[name.to_owned()]].concat(), is_module: true });
    }
    if module.items.contains(name) {
        return Some(Target { module: at.to_vec(), is_module: false });
    }
    let depth = depth.checked_sub(1)?;
    // A macro hands itself on under its own name.
    if let Some(path) = module.imports.get(name).filter(|path| path[..] != [name]) {
        return follow(root, at, path, depth);
    }
    module.globs.iter().find_map(|glob| {
        let from = follow(root, at, glob, depth).filter(|target| target.is_module)?;
        find(root, &from.module, name, depth)
    })
}
