//! Holds a whole network on an adapter against the reference, finite differences and a golden
//! loss curve.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use crate::adapter::host::{Host, Reference};
use crate::adapter::{Adapter, Replica, Values};
use crate::batch::{Batch, Label, SampleId, Source};
use crate::graph::{Graph, Parameter, Phase, Role, Span, TensorId};
use crate::kernel::Step;
use crate::pass::Pass;
use crate::session::{Session, initial_values};
use base::random::Random;

/// A batch that is the same everywhere: noise over a pattern of each class, so that there is
/// something to learn.
pub fn fixed_batch(graph: &Graph, images: usize, number: u64) -> Result<Batch> {
    let (Some(input), Some(labels)) = (graph.images, graph.labels) else {
        bail!("the model has no input for its images");
    };
    let classes = graph.tensor(labels).len();
    let shape: [usize; 3] =
        graph.tensor(input).shape.as_slice().try_into().context("the model takes no images")?;
    let each: usize = shape.iter().product();
    let mut batch = Batch {
        source: Arc::new(Source {
            description: "fixed noise".to_owned(),
            epoch_images: images as u64,
            split: String::new(),
            classes: (0..classes).map(|class| class.to_string()).collect(),
            stands_in_for: None,
            limit: None,
            in_a_row: None,
        }),
        number,
        ids: Vec::new(),
        labels: Vec::new(),
        shape,
        images: Vec::with_capacity(images * each).into(),
        whole: images,
        ends_epoch: false,
        pass: Pass::open(images as u64, images as u64),
        samples_end: 0,
    };
    for image in 0..images as u64 {
        let class = Random::keyed(1, "class", number, image).below(classes);
        let mut pattern = Random::keyed(1, "pattern", 0, class as u64);
        let mut noise = Random::keyed(1, "noise", number, image);
        batch.images.extend((0..each).map(|_| (0.5 * pattern.normal() + noise.normal()) as f32));
        batch.labels.push(Label::Class(class as u32));
        batch.ids.push(SampleId { epoch: number, index: image });
    }
    Ok(batch)
}

/// The loss before each of some training steps on fixed batches, from fixed first weights.
pub fn loss_curve(
    adapter: &dyn Adapter,
    graph: &Arc<Graph>,
    images: usize,
    steps: u64,
    learning_rate: f32,
) -> Result<Vec<f64>> {
    let mut session = Session::new(adapter, graph, images)?;
    session.initialize(1)?;
    (0..steps)
        .map(|number| {
            let batch = fixed_batch(graph, images, number)?;
            let step = Step { step: number as u32, learning_rate, ..Step::of(images) };
            session.train(&batch, &step)?;
            Ok(session.losses()?.iter().map(|term| f64::from(*term)).sum())
        })
        .collect()
}

/// The share by which an adapter's gradient of the whole loss misses the slope that the same
/// adapter measures along it: `(loss(w + h g) - loss(w - h g)) / 2h` against `g . g`.
///
/// Along its own gradient the loss changes most, so that f32 losses resolve the slope.
pub fn directional_error(adapter: &dyn Adapter, graph: &Arc<Graph>, images: usize) -> Result<f64> {
    let mut session = Session::new(adapter, graph, images)?;
    session.initialize(1)?;
    let batch = fixed_batch(graph, images, 0)?;
    session.train(&batch, &Step::of(images))?;
    let mut weights = Vec::new();
    let mut gradients = Vec::new();
    for parameter in &graph.parameters {
        weights.push(session.read(parameter.value)?);
        gradients.push(session.read(parameter.gradient)?);
    }
    let slope: f64 = gradients.iter().flatten().map(|g| f64::from(*g).powi(2)).sum();
    // A step that changes the loss by about a hundredth: far above f32's rounding, and small
    // enough for the loss to be straight.
    let h = 0.01 / slope;
    let mut loss_at = |h: f64| -> Result<f64> {
        for (parameter, (w, g)) in graph.parameters.iter().zip(weights.iter().zip(&gradients)) {
            let moved: Vec<f32> =
                w.iter().zip(g).map(|(w, g)| (f64::from(*w) + h * f64::from(*g)) as f32).collect();
            session.write(parameter.value, &moved)?;
        }
        session.train(&batch, &Step::of(images))?;
        Ok(session.losses()?.iter().map(|term| f64::from(*term)).sum())
    };
    let measured = (loss_at(h)? - loss_at(-h)?) / (2.0 * h);
    Ok((measured / slope - 1.0).abs())
}

/// One element of a gradient, as the backward pass gives it and as finite differences do.
#[derive(Clone, Debug)]
pub struct Slope {
    /// The parameter's name and the element's position.
    pub element: String,
    /// From the backward pass.
    pub gradient: f64,
    /// From `(loss(w + h) - loss(w - h)) / 2h`.
    pub difference: f64,
    /// Whether two widths of the difference agree: if not, a kink (of a rectifier or a maximum)
    /// lies between, where the loss has no slope.
    pub smooth: bool,
}

/// Finite differences in f64 on the reference, for some elements of every parameter.
pub fn slopes(graph: &Arc<Graph>, images: usize, of_each: usize) -> Result<Vec<Slope>> {
    let mut reference = Loss::new(graph, images)?;
    let base = reference.evaluate(true)?;
    if !base.is_finite() {
        bail!("the reference's loss is {base}");
    }
    let gradients: Vec<Vec<f64>> =
        graph.parameters.iter().map(|p| reference.host.values(p.gradient).to_vec()).collect();
    let mut slopes = Vec::new();
    for (parameter, gradients) in graph.parameters.iter().zip(&gradients) {
        let name = &graph.tensor(parameter.value).name;
        let mut random = Random::keyed(1, "elements", 0, 0);
        for _ in 0..of_each.min(gradients.len()) {
            let at = random.below(gradients.len());
            let wide = reference.difference(parameter, at, 1e-5)?;
            let narrow = reference.difference(parameter, at, 2e-6)?;
            let scale = wide.abs().max(narrow.abs()).max(1e-6);
            slopes.push(Slope {
                element: format!("{name}[{at}]"),
                gradient: gradients[at],
                difference: narrow,
                smooth: (wide - narrow).abs() < 1e-3 * scale,
            });
        }
    }
    Ok(slopes)
}

/// The loss of a fixed batch on the f64 reference.
struct Loss {
    graph: Arc<Graph>,
    host: Host<f64>,
    step: Step,
    losses: TensorId,
}

impl Loss {
    fn new(graph: &Arc<Graph>, images: usize) -> Result<Self> {
        let mut host = Reference::lower(graph, images)?;
        for (at, tensor) in graph.tensors.iter().enumerate() {
            if let Role::Parameter(initial) | Role::State(initial) = tensor.role {
                let values = initial_values(initial, &tensor.name, tensor.len(), 1);
                host.write(TensorId(at), Values::Real(&values))?;
            }
        }
        let batch = fixed_batch(graph, images, 0)?;
        let (Some(input), Some(labels), Some(losses)) = (graph.images, graph.labels, graph.losses)
        else {
            bail!("the model has no input or no loss");
        };
        let classes = graph.tensor(labels).len();
        let mut values = vec![0.0; images * classes];
        let rows = values.chunks_exact_mut(classes);
        batch.labels.iter().zip(rows).for_each(|(label, row)| label.write(row));
        host.write(input, Values::Real(&batch.images))?;
        host.write(labels, Values::Real(&values))?;
        Ok(Self { graph: Arc::clone(graph), host, step: Step::of(images), losses })
    }

    /// The loss with all its terms; with `backward`, its gradients too. Learning rate 0: the
    /// update adds weight decay to the gradient and leaves the weights alone.
    fn evaluate(&mut self, backward: bool) -> Result<f64> {
        let mut phases = vec![Phase::Forward, Phase::Loss];
        if backward {
            phases.push(Phase::Backward);
        }
        phases.push(Phase::Update);
        let spans: Vec<Span> = phases.into_iter().map(|phase| self.graph.whole(phase)).collect();
        self.host.run(&spans, &self.step)?;
        Ok(self.host.values(self.losses).iter().sum())
    }

    fn difference(&mut self, parameter: &Parameter, at: usize, h: f64) -> Result<f64> {
        let value = self.host.values(parameter.value)[at];
        self.host.values_mut(parameter.value)[at] = value + h;
        let above = self.evaluate(false)?;
        self.host.values_mut(parameter.value)[at] = value - h;
        let below = self.evaluate(false)?;
        self.host.values_mut(parameter.value)[at] = value;
        Ok((above - below) / (2.0 * h))
    }
}
