//! The update that a reducer adds to a compiled model.
//!
//! In this order: the terms of weight decay and their part of the gradients, which are whole by
//! then; clipping; for each parameter the optimiser's step and then its moving average, which is so
//! of the weights after the step, with the flags of weights that are not finite; the same for what
//! layers keep; the averages of the losses, and their flags. What is frozen has no part in it.

use compute::graph::{Extension, Graph, Kept, Parameter, TensorId};
use compute::kernel::Constants;
use flow::stage::Mismatch;

use crate::model::compile::{ListedLayer, compile};
use crate::optimizer::Optimizer;

/// The decay of the losses' moving averages, as in the tutorial.
const LOSS_DECAY: f64 = 0.9;

/// What is done with the gradients of a step.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// How weights follow them.
    pub optimizer: Optimizer,
    /// The largest norm of all of them together, if there is one.
    pub clip_norm: Option<f64>,
}

impl Update {
    /// The model with the terms of its loss and its update.
    ///
    /// # Errors
    /// If the model has no loss.
    pub fn extend(&self, graph: Graph) -> Result<Graph, Mismatch> {
        let mut graph = graph.extend();
        let losses = lower_losses(&mut graph, !self.optimizer.decays())?;
        if let Some(norm) = self.clip_norm {
            lower_clipping(&mut graph, norm);
        }
        let flags = Flags::of(&mut graph, losses);
        let mut first = flags.of_others.iter().copied();
        for (parameter, first) in graph.parameters().to_vec().into_iter().zip(&mut first) {
            graph.select_layer(parameter.layer);
            self.optimizer.lower(&mut graph, &parameter);
            flags.lower_average(&mut graph, (parameter.value, parameter.average), first);
        }
        let kept: Vec<Kept> = graph.changing().cloned().collect();
        for (kept, first) in kept.into_iter().zip(first) {
            graph.select_layer(kept.layer);
            let average = graph.average_of_kept(kept.value);
            flags.lower_average(&mut graph, (kept.value, average), first);
        }
        lower_loss_averages(&mut graph, losses);
        let constants = flags.constants(&graph, losses, 0);
        graph.update(&shaders::finite_flags::KERNEL, &[losses, flags.tensor], constants);
        Ok(graph.finish())
    }
}

/// The graph of these layers with plain gradient descent.
///
/// # Errors
/// The first layer that does not fit, located below `layers`.
pub fn trainable(
    layers: &[ListedLayer],
    image: [usize; 3],
    classes: usize,
) -> Result<Graph, Mismatch> {
    Update::default().extend(compile(layers, image, classes)?)
}

/// What the averages of the losses would be had they not begun at 0: those after so many steps
/// are too small by a share of `0.9^steps`. 0 before the first step.
pub fn debiased(average: f64, steps_done: u64) -> f64 {
    match steps_done {
        0 => 0.0,
        // From some thousand steps on the power is 0.
        steps => average / (1.0 - LOSS_DECAY.powi(i32::try_from(steps).unwrap_or(i32::MAX))),
    }
}

/// Parts in which the squares of a tensor are summed: a workgroup's worth each.
fn square_parts(length: usize) -> usize {
    length.div_ceil(4096).clamp(1, 256)
}

/// Appends the sum of the squares of a tensor, times a factor, as element `offset` of `sums`.
fn lower_squares(
    graph: &mut Extension,
    tensor: TensorId,
    (sums, offset): (TensorId, usize),
    factor: f64,
) {
    let length = graph.len(tensor);
    let parts = square_parts(length);
    let squares = graph.partial(format!("{}/squares", graph.name(tensor)), parts);
    graph.update(
        &shaders::l2_partials::KERNEL,
        &[tensor, squares],
        Constants::default().with("LENGTH", length).with("PARTS", parts),
    );
    graph.update(
        &shaders::sum_partials::KERNEL,
        &[squares, sums],
        Constants::default()
            .with("PARTS", parts)
            .with("LENGTH", 1)
            .with("OFFSET", offset)
            .with("TOTAL", graph.len(sums))
            .with_real("SCALE", factor),
    );
}

/// The mean cross-entropy after the loss layer, and with `decays` a term for each decayed
/// parameter and its part of the gradient, in the update, where gradients are whole.
fn lower_losses(graph: &mut Extension, decays: bool) -> Result<TensorId, Mismatch> {
    let Some(image_loss) = graph.image_loss() else {
        return Err(Mismatch::new("the model has no loss")
            .help("end its layers with a loss, such as `- softmax_cross_entropy: {}`"));
    };
    let decayed = |p: &&Parameter| decays && p.weight_decay > 0.0;
    let decayed: Vec<Parameter> = graph.parameters().iter().filter(decayed).cloned().collect();
    let mut terms = vec!["cross_entropy".to_owned()];
    terms.extend(decayed.iter().map(|p| format!("{}/loss", graph.name(p.value))));
    let total = terms.len();
    let losses = graph.losses(terms);
    graph.loss(
        &shaders::mean_over_images::KERNEL,
        &[image_loss, losses],
        Constants::default().with("LENGTH", 1).with("OFFSET", 0).with("TOTAL", total),
    );
    for (parameter, term) in decayed.iter().zip(1..) {
        graph.select_layer(parameter.layer);
        lower_squares(graph, parameter.value, (losses, term), parameter.weight_decay / 2.0);
        graph.update(
            &shaders::weight_decay_backward::KERNEL,
            &[parameter.value, parameter.gradient],
            Constants::default()
                .with("LENGTH", graph.len(parameter.value))
                .with_real("FACTOR", parameter.weight_decay),
        );
    }
    Ok(losses)
}

/// Scales all gradients alike so that their norm is at most this. Those whose squares are beyond
/// f32 are scaled to nothing.
fn lower_clipping(graph: &mut Extension, norm: f64) {
    let parameters = graph.parameters().to_vec();
    let of_each = graph.partial("gradients/squares".to_owned(), parameters.len());
    let of_all = graph.partial("gradients/squares/sum".to_owned(), 1);
    for (at, parameter) in parameters.iter().enumerate() {
        graph.select_layer(parameter.layer);
        lower_squares(graph, parameter.gradient, (of_each, at), 1.0);
    }
    graph.update(
        &shaders::sum_partials::KERNEL,
        &[of_each, of_all],
        Constants::default()
            .with("PARTS", parameters.len())
            .with("LENGTH", 1)
            .with("OFFSET", 0)
            .with("TOTAL", 1)
            .with_real("SCALE", 1.0),
    );
    for parameter in &parameters {
        graph.select_layer(parameter.layer);
        graph.update(
            &shaders::clip_by_norm::KERNEL,
            &[of_all, parameter.gradient],
            Constants::default()
                .with("LENGTH", graph.len(parameter.gradient))
                .with_real("NORM", norm),
        );
    }
}

/// The averages of all terms of the loss, which are whole once the decay's are.
fn lower_loss_averages(graph: &mut Extension, losses: TensorId) {
    let averages = graph.loss_averages(losses);
    graph.update(
        &shaders::loss_average_update::KERNEL,
        &[losses, averages],
        Constants::default().with("LENGTH", graph.len(losses)).with_real("REST", 1.0 - LOSS_DECAY),
    );
}

/// Where it is noted what is not finite: of the losses first, then of all weights and of what layers
/// keep.
struct Flags {
    tensor: TensorId,
    /// The first flag of each parameter and of each tensor that a layer keeps.
    of_others: Vec<usize>,
}

impl Flags {
    fn of(graph: &mut Extension, losses: TensorId) -> Self {
        let weights = graph.parameters().iter().map(|parameter| parameter.value);
        let kept = graph.changing().map(|kept| kept.value);
        let watched: Vec<TensorId> = std::iter::once(losses).chain(weights).chain(kept).collect();
        let stretches = watched.iter().map(|id| shaders::finite_flags::stretches(graph.len(*id)));
        let watched: Vec<(TensorId, usize)> = watched.iter().copied().zip(stretches).collect();
        let end = |end: &mut usize, (_, stretches): &(TensorId, usize)| {
            *end += stretches;
            Some(*end)
        };
        let of_others = watched.iter().scan(0, end).collect();
        Self { tensor: graph.flags(&watched), of_others }
    }

    /// Moves the average of a tensor, and looks at the tensor.
    fn lower_average(
        &self,
        graph: &mut Extension,
        (value, average): (TensorId, TensorId),
        first: usize,
    ) {
        let constants = self.constants(graph, value, first);
        let kernel = &shaders::moving_average_update::KERNEL;
        graph.update(kernel, &[value, average, self.tensor], constants);
    }

    /// Those of a kernel that looks at a tensor and begins with this flag.
    fn constants(&self, graph: &Extension, tensor: TensorId, first: usize) -> Constants {
        Constants::default()
            .with("LENGTH", graph.len(tensor))
            .with("OFFSET", first)
            .with("TOTAL", graph.len(self.tensor))
    }
}

#[cfg(test)]
mod tests {
    use compute::graph::Phase;

    use super::*;
    use crate::model::tutorial;
    use crate::optimizer::adamw::AdamW;

    fn extended(update: &Update) -> Graph {
        let graph = compile(&tutorial::layers(0.05), [24, 24, 3], 10).expect("a valid model");
        update.extend(graph).expect("it has a loss")
    }

    fn kernels(graph: &Graph) -> Vec<&str> {
        graph.ops(Phase::Update).map(|op| op.kernel.name).collect()
    }

    #[test]
    fn decay_comes_before_clipping_and_averages_after_steps() {
        let graph = extended(&Update { clip_norm: Some(1.0), ..Update::default() });
        let kernels = kernels(&graph);
        let first = |name| kernels.iter().position(|kernel| *kernel == name).expect(name);
        let last = |name| kernels.iter().rposition(|kernel| *kernel == name).expect(name);
        assert!(last("weight_decay_backward") < first("clip_by_norm"));
        assert!(last("l2_partials") < first("clip_by_norm"));
        assert!(last("clip_by_norm") < first("sgd_update"));
        for (step, average) in kernels.iter().zip(&kernels[1..]) {
            assert_eq!(*step == "sgd_update", *average == "moving_average_update");
        }
        assert!(last("moving_average_update") < first("loss_average_update"));
        assert!(last("loss_average_update") < first("finite_flags"));
        assert_eq!(first("finite_flags"), last("finite_flags"));
        assert_eq!(graph.loss_terms.len(), 3);
    }

    #[test]
    fn what_is_off_leaves_nothing_behind() {
        let graph = extended(&Update::default());
        assert!(!kernels(&graph).contains(&"clip_by_norm"));
        assert!(graph.find("gradients/squares").is_none());
        let adamw = Update { optimizer: Optimizer::of("adamw", AdamW::default()), clip_norm: None };
        let graph = extended(&adamw);
        assert!(!kernels(&graph).contains(&"weight_decay_backward"));
        assert_eq!(graph.loss_terms, ["cross_entropy"]);
        let decays = graph.ops(Phase::Update).filter(|op| op.kernel.name == "adam_update");
        let decays: Vec<f64> = decays.map(|op| op.constants.real("DECAY")).collect();
        assert_eq!(decays, [0.0, 0.0, 0.0, 0.0, 0.004, 0.0, 0.004, 0.0, 0.0, 0.0]);
        assert!(graph.find("local3/weights/mean_square").is_some());
    }

    #[test]
    fn averages_of_a_constant_loss_are_that_loss_once_debiased() {
        let mut average = 0.0;
        for steps in 1..100 {
            average -= (1.0 - LOSS_DECAY) * (average - 4.5);
            assert!((debiased(average, steps) - 4.5).abs() < 1e-12, "after {steps} steps");
        }
        assert_eq!(debiased(0.0, 0), 0.0);
        assert_eq!(debiased(4.5, u64::MAX), 4.5);
    }
}
