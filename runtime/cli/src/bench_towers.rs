//! `runtime bench --adapters`: how several adapters scale.

use std::sync::Arc;
use std::time::Duration;

use super::output::{Failure, indent, print, table};
use bench::Scale;
use compute::adapter::forms::Forms;
use compute::adapter::host::Cpu;
use compute::adapter::several::{Brought, Several, tower_name};
use compute::graph::Graph;
use compute::precision::Precision;
use flow::item::Batch;

/// Measures so many of these adapters together, and prints how they scale.
pub(super) fn bench(
    asked: &Several,
    precision: Precision,
    forms: &Forms,
    graph: &Arc<Graph>,
    batches: Vec<Batch>,
    time: Duration,
) -> Result<(), Failure> {
    let chosen = asked.choose(&Brought::default(), precision).map_err(Failure::of_run)?;
    if let Some(missing) = chosen.missing {
        print(&format!("warning: {missing}\n"))?;
    }
    for (number, adapter) in chosen.towers.iter().enumerate() {
        let info = adapter.info();
        let tower = tower_name(number);
        print(&format!("{tower}: {}/{} ({})\n", info.backend, info.name, info.driver))?;
    }
    let holder = Cpu::new(0).map_err(Failure::Run)?;
    let batches: Vec<Arc<Batch>> = batches.into_iter().map(Arc::new).collect();
    let scales = bench::towers(&chosen.towers, &holder, forms, graph, &batches, time);
    print(&told(&scales.map_err(Failure::Run)?))
}

fn told(scales: &[Scale]) -> String {
    let head = [
        "adapters",
        "shares",
        "images/s",
        "efficiency",
        "step",
        "compute",
        "copy",
        "wait",
        "reduce",
        "update",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(scales.iter().map(|scale| {
        let list = |numbers: Vec<String>| numbers.join(" + ");
        let mut row = vec![
            scale.adapters.to_string(),
            list(scale.shares.iter().map(ToString::to_string).collect()),
            format!("{:.0}", scale.images_per_s),
            format!("{:.0} %", 100.0 * scale.efficiency),
            format!("{:.2}", scale.step_ms),
        ];
        if let Some(parts) = &scale.parts {
            let each = |of: fn(&flow::reports::TowerStep) -> f64| {
                let most = parts.each.iter().map(of).fold(0.0, f64::max);
                format!("{most:.2}")
            };
            row.extend([each(|tower| tower.compute_ms), each(|tower| tower.copy_ms)]);
            let own = [parts.wait_ms, parts.reduce_ms, parts.update_ms];
            row.extend(own.map(|ms| format!("{ms:.2}")));
        }
        row
    }));
    format!(
        "ms of a step; of the towers the longest. Copies that are done while an adapter computes are \
         not in `copy`.\nEfficiency is of the sum of all alone:\n{}",
        indent(&table(&rows), 2)
    )
}
