//! What a person may want to know of a pipeline that is as they wrote it, and that can run.

use super::finding::{Checked, Finding, Places, taken};
use super::flows::{Called, Difference, Flow, Spot};
use super::{Plan, PlannedStage};
use crate::lint::{Around, CANCELLED, FLOWS_DIFFER, NO_EFFECT, Note, RANDOM_EVALUATION};
use crate::port::Port;
use crate::stage::{Mismatch, Offset, Prepares};

/// Adds what stages have to say of themselves, and what shows only in several of them.
pub(super) fn tell(plan: &Plan, places: &Places, checked: &mut Checked) {
    let mut unscaled: Vec<bool> = Vec::with_capacity(plan.stages.len());
    for (at, stage) in plan.stages.iter().enumerate() {
        let idle =
            stage.config.warnings(&stage.inputs).into_iter().map(|what| NO_EFFECT.note(what));
        let before = stage.from.iter().all(|from| unscaled[*from]);
        let around = Around {
            inputs: &stage.inputs,
            output: stage.output.as_ref(),
            unscaled: before,
            run: &plan.settings,
        };
        unscaled.push(before && !rescales(stage));
        let own = stage.config.notes(&around);
        for Note { lint, what } in idle.chain(own).chain(plan.cancelled(at)) {
            checked.remark(lint, finding(plan, places, stage, what), &plan.settings);
        }
    }
    for at in 0..plan.stages.len() {
        compare(plan, places, at, checked);
    }
}

/// Whether the values of images may have another range behind a stage than before it.
fn rescales(stage: &PlannedStage) -> bool {
    let done = stage.config.as_prepares().and_then(|it| it.preprocessing(&stage.inputs));
    done.is_none_or(|done| done.operations.iter().any(|operation| operation.rescales))
}

/// Places what is said of a stage.
fn finding(plan: &Plan, places: &Places, stage: &PlannedStage, what: Mismatch) -> Finding {
    let message = format!("{}: {}", stage.id, what.message);
    let problem = places.problem(&stage.id, what.field, message, what.help);
    let sources = stage.from.iter().map(|from| &*plan.stages[*from].id);
    Finding { notes: taken(&stage.id, &stage.inputs, sources), ..Finding::from(problem) }
}

/// Compares the images that a stage scores with those that its weights are trained on, if it does
/// score.
fn compare(plan: &Plan, places: &Places, scoring: usize, checked: &mut Checked) {
    let weights = plan.inputs_of(scoring, |port| matches!(port, Port::Weights(_)));
    let images =
        plan.inputs_of(scoring, |port| matches!(port, Port::Samples(_) | Port::Batches(..)));
    let ([trainer], [_]) = (&weights[..], &images[..]) else { return };
    let Some(scored) = plan.flow_of(scoring) else { return };
    let id = |at: usize| &*plan.stages[at].id;
    for (stage, chance) in &scored.chances {
        let field = Some(chance.field).filter(|field| !field.is_empty());
        let field = field.map(|field| field.split('.').map(str::to_owned).collect());
        let message = format!(
            "{stage}: the images that `{}` evaluates are changed at random, by other numbers each \
             time",
            id(scoring)
        );
        let help = Some(chance.instead.to_owned());
        let problem = places.problem(stage, field.unwrap_or_default(), message, help);
        checked.remark(&RANDOM_EVALUATION, Finding::from(problem), &plan.settings);
    }
    let Some(trained) = plan.flow_of(*trainer) else { return };
    let called = Called {
        trained: format!("that `{}` trains on", id(*trainer)),
        other: format!("that `{}` evaluates", id(scoring)),
    };
    for difference in trained.differences(&scored, &called) {
        let finding = beside(places, difference, &trained, &scored);
        checked.remark(&FLOWS_DIFFER, finding, &plan.settings);
    }
}

/// Places a difference in both flows: where one has nothing, at the end of it.
fn beside(places: &Places, difference: Difference, trained: &Flow, scored: &Flow) -> Finding {
    let Difference { message, help, trained: there, other: here } = difference;
    let place = |spot: Option<Spot>, flow: &Flow| match spot {
        Some(spot) => (spot.stage, spot.field),
        None => (flow.end.clone(), Vec::new()),
    };
    let (stage, field) = place(here, scored);
    let problem = places.problem(&stage, field, message, help);
    let (stage, field) = place(there, trained);
    let other = places.problem(&stage, field, "the flow that trains".to_owned(), None);
    Finding { others: vec![other], ..Finding::from(problem) }
}

impl Plan {
    /// What is said of a number that this stage adds to all values, if it vanishes before anything
    /// sees it.
    fn cancelled(&self, at: usize) -> Option<Note> {
        let field = self.stages[at].config.as_prepares()?.adds_offset()?;
        let vanishes = self.vanishes(at)?;
        let ids: Vec<String> =
            vanishes.iter().map(|at| format!("`{}`", self.stages[*at].id)).collect();
        let takes = if ids.len() == 1 { "takes" } else { "take" };
        let ids = ids.join(" and ");
        let message = format!("`{field}` changes nothing, as {ids} {takes} it out again exactly");
        Some(CANCELLED.note(Mismatch::field(field, message)))
    }

    /// The stages in which a number vanishes that this one adds to all values; `None` if anything
    /// sees it.
    fn vanishes(&self, stage: usize) -> Option<Vec<usize>> {
        let mut found = Vec::new();
        let readers =
            |of| (0..self.stages.len()).filter(move |at| self.stages[*at].from.contains(&of));
        let mut waiting: Vec<usize> = readers(stage).collect();
        while let Some(at) = waiting.pop() {
            match self.stages[at].config.as_prepares().map_or(Offset::Matters, Prepares::offset) {
                Offset::Matters => return None,
                Offset::Stays => waiting.extend(readers(at)),
                Offset::Vanishes if found.contains(&at) => {}
                Offset::Vanishes => found.push(at),
            }
        }
        found.sort_unstable();
        (!found.is_empty()).then_some(found)
    }
}
