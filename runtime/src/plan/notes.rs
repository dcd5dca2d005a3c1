//! What a person may want to know of a pipeline that is as they wrote it.

use super::{Plan, PlannedStage};
use crate::stage::Offset;

impl Plan {
    /// What stages have to say of themselves, and settings that change nothing, for `check` to tell;
    /// both may be meant so.
    pub fn notes(&self) -> Vec<String> {
        let own = |stage: &PlannedStage| {
            let notes = stage.config.notes(&stage.inputs).into_iter();
            notes.map(|note| format!("{}: {note}", stage.id)).collect::<Vec<_>>()
        };
        let told = self.stages.iter().flat_map(own);
        let stages = self.stages.iter().enumerate();
        let adding = stages.filter_map(|(at, stage)| Some((at, stage.config.adds_offset()?)));
        let vain = adding.filter_map(|(at, field)| {
            let vanishes = self.vanishes(at)?;
            let ids: Vec<String> =
                vanishes.iter().map(|at| format!("`{}`", self.stages[*at].id)).collect();
            let takes = if ids.len() == 1 { "takes" } else { "take" };
            let (stage, ids) = (&self.stages[at].id, ids.join(" and "));
            Some(format!(
                "{stage}: `{field}` changes nothing, as {ids} {takes} it out again exactly"
            ))
        });
        told.chain(vain).collect()
    }

    /// The stages in which a number vanishes that this one adds to all values; `None` if anything
    /// sees it.
    fn vanishes(&self, stage: usize) -> Option<Vec<usize>> {
        let mut found = Vec::new();
        let readers =
            |of| (0..self.stages.len()).filter(move |at| self.stages[*at].from.contains(&of));
        let mut waiting: Vec<usize> = readers(stage).collect();
        while let Some(at) = waiting.pop() {
            match self.stages[at].config.offset() {
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
