//! The pipeline as it ran: what each stage and each edge did.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::figures::{count, percent, plain, time};
use super::layout::{Cell, Layout};
use flow::reports::{EdgeReport, Outcome, StageReport};

/// Sizes of the drawing in pixels.
const COLUMN: usize = 270;
const ROW: usize = 134;
const BOX_WIDTH: usize = 190;
const BOX_HEIGHT: usize = 58;
const MARGIN: usize = 12;

/// What a pipeline did, and what held it up.
pub(super) struct Flow<'a> {
    outcome: &'a Outcome,
    /// The stages that the others wait for, in one thread.
    bottleneck: Vec<&'a str>,
}

impl<'a> Flow<'a> {
    /// Finds what held it up.
    pub(super) fn new(outcome: &'a Outcome) -> Self {
        let bottleneck = outcome.bottleneck();
        Self { outcome, bottleneck: bottleneck.iter().map(|stage| stage.id.as_str()).collect() }
    }

    /// The graph and the tables.
    pub(super) fn draw(&self) -> Markup {
        html! {
            @if !self.bottleneck.is_empty() {
                p {
                    "The others waited for " b { (self.bottleneck.join(", ")) }
                    @if self.bottleneck.len() > 1 { " (in the same threads)" }
                    ": of all stages the busiest. Times are sums over a stage's workers. What trains "
                    "does the passes of its model as well."
                }
            }
            div.scroll tabindex="0" role="region" aria-label="The pipeline's graph" { (self.graph()) }
            h3 { "Stages" }
            div.scroll tabindex="0" role="region" aria-label="Stages" { (self.stages()) }
            h3 { "Edges" }
            div.scroll tabindex="0" role="region" aria-label="Edges" { (self.edges()) }
        }
    }

    fn is_bottleneck(&self, stage: &StageReport) -> bool {
        self.bottleneck.contains(&stage.id.as_str())
    }

    fn busy(&self, stage: &StageReport) -> String {
        percent(self.outcome.busy(stage))
    }

    fn graph(&self) -> Markup {
        let layout = Layout::new(self.outcome);
        // Edges say their figures at their right.
        let (width, height) = (layout.columns * COLUMN + 2 * MARGIN, layout.rows * ROW);
        let about = format!(
            "The pipeline's graph: {} stages and {} edges, as in the tables below",
            self.outcome.stages.len(),
            self.outcome.edges.len()
        );
        html! {
            svg.flow width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) }
                role="img" aria-label=(about) {
                @for (edge, way) in self.outcome.edges.iter().zip(&layout.edges) {
                    path.edge.shared[edge.queue.is_none()] d=(road(way)) {}
                    @if let Some(end) = way.last() {
                        @let (x, y) = corner(*end);
                        path.arrow d={ "M" (x + BOX_WIDTH / 2) " " (y) "l-5-9h10z" } {}
                    }
                }
                @for (edge, way) in self.outcome.edges.iter().zip(&layout.edges) {
                    @if let Some(start) = way.first() { (self.figures(edge, *start)) }
                }
                @for (stage, cell) in self.outcome.stages.iter().zip(&layout.stages) {
                    (self.stage(stage, *cell))
                }
            }
        }
    }

    fn stage(&self, stage: &StageReport, cell: Cell) -> Markup {
        let (x, y) = corner(cell);
        let slow = self.is_bottleneck(stage);
        let busy = self.outcome.busy(stage).clamp(0.0, 1.0);
        let inner = BOX_WIDTH - 20;
        html! {
            g.stage.slow[slow] {
                rect.box x=(x) y=(y) width=(BOX_WIDTH) height=(BOX_HEIGHT) rx="7" {}
                text.id x=(x + 10) y=(y + 20) { (clipped(&stage.id, 22)) }
                text.figure x=(x + 10) y=(y + 37) {
                    (clipped(stage.kind, 14)) " × " (stage.workers) ", busy " (self.busy(stage))
                }
                rect.track x=(x + 10) y=(y + 45) width=(inner) height="5" rx="2.5" {}
                rect.fill x=(x + 10) y=(y + 45) width=(format!("{:.1}", busy * inner as f64))
                    height="5" rx="2.5" {}
                @if slow {
                    text.slow x=(x + BOX_WIDTH - 10) y=(y + 20) text-anchor="end" { "▲ slowest" }
                }
                title {
                    (stage.id) "\n" (stage.kind) ", workers: " (stage.workers) "\nitems put out: "
                    (count(stage.items_out)) "\nbusy: " (time(stage.busy)) "\nwaiting for input: "
                    (time(stage.input_wait)) "\nwaiting for room: " (time(stage.output_wait))
                }
            }
        }
    }

    fn figures(&self, edge: &EdgeReport, start: Cell) -> Markup {
        let (x, y) = corner(start);
        let (x, y) = (x + BOX_WIDTH / 2 + 10, y + BOX_HEIGHT);
        html! {
            text.figure x=(x) y=(y + 17) {
                @if let Some(queue) = &edge.queue {
                    (self.rate(edge)) " images/s"
                    tspan x=(x) dy="15" {
                        "queue " (format!("{:.1}", queue.mean_fill)) " of " (queue.capacity)
                    }
                    tspan x=(x) dy="15" {
                        "full " (time(queue.full_wait)) ", empty " (time(queue.empty_wait))
                    }
                } @else {
                    "same threads"
                }
                title { (edge.from) " to " (edge.to) ": " (edge.carries) }
            }
        }
    }

    fn rate(&self, edge: &EdgeReport) -> String {
        let images = edge.queue.as_ref().map_or(0, |queue| queue.images);
        plain(images as f64 / self.outcome.elapsed.as_secs_f64().max(1e-9))
    }

    fn stages(&self) -> Markup {
        html! {
            table {
                thead {
                    tr {
                        th scope="col" { "Stage" }
                        th scope="col" { "Kind" }
                        th.number scope="col" { "Workers" }
                        th.number scope="col" { "Items out" }
                        th.number scope="col" { "Busy" }
                        th.number scope="col" { "Busy share" }
                        th.number scope="col" { "Waiting for input" }
                        th.number scope="col" { "Waiting for room" }
                    }
                }
                tbody {
                    @for stage in &self.outcome.stages {
                        tr {
                            th scope="row" {
                                code { (stage.id) }
                                @if self.is_bottleneck(stage) { " " span.badge { "slowest" } }
                            }
                            td { code { (stage.kind) } }
                            td.number { (stage.workers) }
                            td.number { (count(stage.items_out)) }
                            td.number { (time(stage.busy)) }
                            td.number { (self.busy(stage)) }
                            td.number { (time(stage.input_wait)) }
                            td.number { (time(stage.output_wait)) }
                        }
                    }
                }
            }
        }
    }

    fn edges(&self) -> Markup {
        html! {
            table {
                thead {
                    tr {
                        th scope="col" { "Edge" }
                        th scope="col" { "Carries" }
                        th.number scope="col" { "Images" }
                        th.number scope="col" { "Images/s" }
                        th.number scope="col" { "Queue, mean" }
                        th.number scope="col" { "Waits while full" }
                        th.number scope="col" { "Waits while empty" }
                    }
                }
                tbody {
                    @for edge in &self.outcome.edges {
                        tr {
                            th scope="row" { code { (edge.from) " → " (edge.to) } }
                            td { (edge.carries) }
                            @if let Some(queue) = &edge.queue {
                                td.number { (count(queue.images)) }
                                td.number { (self.rate(edge)) }
                                td.number {
                                    (format!("{:.1}", queue.mean_fill)) " of " (queue.capacity)
                                }
                                td.number { (time(queue.full_wait)) }
                                td.number { (time(queue.empty_wait)) }
                            } @else {
                                td colspan="5" { "no queue: both stages work in the same threads" }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The upper left corner of the box in a cell.
fn corner((row, column): Cell) -> (usize, usize) {
    (MARGIN + column * COLUMN, MARGIN + row * ROW)
}

/// Down through the middle of each cell, bending between the rows.
fn road(way: &[Cell]) -> String {
    let mut path = String::new();
    for (number, cell) in way.iter().enumerate() {
        let (x, y) = corner(*cell);
        let x = x + BOX_WIDTH / 2;
        if number == 0 {
            let _ = write!(path, "M{x} {}", y + BOX_HEIGHT);
            continue;
        }
        // Bends begin below the figures beside the edge, and end above the arrow's head.
        let above = corner(way[number - 1]).0 + BOX_WIDTH / 2;
        let (bend, end) = (y - 24, y - 8);
        let _ = write!(path, "V{bend}C{above} {end} {x} {bend} {x} {end}V{y}");
        if number + 1 < way.len() {
            let _ = write!(path, "V{}", y + BOX_HEIGHT);
        }
    }
    path
}

fn clipped(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::outcome;
    use std::time::Duration;

    use super::*;

    #[test]
    fn stages_in_the_same_threads_are_slow_together() {
        let stages = [("read", 5), ("crop", 3), ("distort", 4), ("train", 6)];
        let edges = [("read", "crop"), ("crop", "distort"), ("distort", "train")];
        let mut outcome = outcome(&stages, &edges);
        assert_eq!(Flow::new(&outcome).bottleneck, ["train"]);
        outcome.edges[1].queue = None;
        assert_eq!(Flow::new(&outcome).bottleneck, ["crop", "distort"]);
        outcome.stages.iter_mut().for_each(|stage| stage.busy = Duration::ZERO);
        assert!(Flow::new(&outcome).bottleneck.is_empty());
    }

    #[test]
    fn every_stage_and_edge_is_drawn_and_told() {
        let outcome = outcome(&[("re<ad", 5), ("train", 6)], &[("re<ad", "train")]);
        let page = Flow::new(&outcome).draw().into_string();
        assert!(!page.contains("re<ad"), "{page}");
        assert_eq!(page.matches("<rect class=\"box\"").count(), 2);
        assert_eq!(page.matches("<path class=\"edge\"").count(), 1);
        for figure in ["1,234 images/s", "queue 3.2 of 8", "full 0.3 s, empty 1.2 s", "60.0 %"] {
            assert!(page.contains(figure), "{figure}: {page}");
        }
        Flow::new(&Outcome::default()).draw();
    }

    #[test]
    fn long_names_are_cut_between_letters() {
        assert_eq!(clipped("größere", 4), "grö…");
        assert_eq!(clipped("größer", 6), "größer");
    }
}
