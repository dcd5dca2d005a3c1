//! The pipeline that a run kept, where the run began with an earlier version.

use super::finding::STAGES;
use super::{Plan, PlannedStage};
use crate::reports::DataReport;
use crate::stage::Reads;
use config::node::{Node, Path};

impl Plan {
    /// What a run that read this data began without, as values to be set in its pipeline: fields that
    /// came later mean there what was done before.
    ///
    /// All defaults are written out in the pipeline that a run keeps, so a field that is not there
    /// did not exist.
    pub fn meant_before(&self, data: &[DataReport]) -> Vec<(String, String)> {
        if data.iter().any(|report| report.identity.is_some()) {
            return Vec::new();
        }
        let stages = self.stages.iter();
        stages.flat_map(|stage| self.absent(stage)).collect()
    }

    fn absent<'a>(
        &'a self,
        stage: &'a PlannedStage,
    ) -> impl Iterator<Item = (String, String)> + 'a {
        let meant =
            stage.config.as_reads().map(Reads::meant_before).unwrap_or_default().into_iter();
        let placed = meant.map(|(field, value)| {
            (format!("{STAGES}.{}.{}.{field}", stage.id, stage.kind), value.to_owned())
        });
        placed.filter(|(path, _)| {
            let path = Path(path.split('.').map(str::to_owned).collect());
            let found = path.0.iter().try_fold(&self.document, |node: &Node, key| node.get(key));
            found.is_none()
        })
    }
}
