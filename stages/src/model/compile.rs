//! Compiles a list of layers into a graph of kernels.

use std::sync::Arc;

use compute::graph::{Graph, GraphBuilder, TensorId};
use flow::stage::Mismatch;

use super::layer::Layer;

/// One entry of a model's list.
#[derive(Clone, Debug)]
pub struct ListedLayer {
    /// Its name, if given; else one is made of its kind.
    pub name: Option<String>,
    /// The layers it reads, if not the one before it; `images` is the model's input.
    pub from: Option<Vec<String>>,
    /// Whether its weights are trained; if not, they stay as they are.
    pub trainable: bool,
    /// Its kind.
    pub kind: &'static str,
    /// Its fields.
    pub layer: Arc<dyn Layer>,
}

impl ListedLayer {
    /// A layer without a name that is trained and reads the one before it.
    pub fn of(kind: &'static str, layer: Arc<dyn Layer>) -> Self {
        Self { name: None, from: None, trainable: true, kind, layer }
    }
}

/// The graph of these layers for images of this shape: up to the gradients of a batch. The mean loss
/// and the update belong to the owner of the weights.
///
/// # Errors
/// The first layer that does not fit, located below `layers`.
pub fn compile(
    layers: &[ListedLayer],
    image: [usize; 3],
    classes: usize,
) -> Result<Graph, Mismatch> {
    let mut graph = GraphBuilder::new(&image, classes, &shaders::add_into::KERNEL);
    let mut outputs: Vec<Output> = Vec::new();
    let mut losses = Vec::new();
    for (index, listed) in layers.iter().enumerate() {
        let place = index.to_string();
        let at = |mismatch: Mismatch| place_in_layer(mismatch, &place, listed.kind);
        let name = name_of(listed, layers, index);
        if outputs.iter().any(|output| output.name == name) {
            let message = format!("two layers are called `{name}`");
            return Err(at(Mismatch::field("name", message).help("give one another name")));
        }
        let inputs = inputs_of(listed, &graph, &mut outputs).map_err(at)?;
        graph.begin_layer(&name, listed.kind, &inputs);
        if !listed.trainable {
            graph.freeze_layer();
        }
        let loss_before = graph.image_loss();
        let tensor = listed.layer.lower(&mut graph, &inputs).map_err(at)?;
        if graph.is_frozen() && !graph.has_weights() {
            let message = format!("a `{}` has no weights that could stay as they are", listed.kind);
            return Err(at(Mismatch::field("trainable", message).help("remove `trainable` here")));
        }
        if graph.image_loss() != loss_before {
            losses.push(index);
        }
        graph.end_layer(tensor);
        outputs.push(Output { name, tensor, read: false });
    }
    check_ends(layers, &losses, &outputs)?;
    Ok(graph.finish())
}

struct Output {
    name: String,
    tensor: TensorId,
    read: bool,
}

/// A layer's own fields are below its kind; `name`, `from` and `trainable` stand beside it.
fn place_in_layer(mismatch: Mismatch, place: &str, kind: &str) -> Mismatch {
    match mismatch.field.first().map(String::as_str) {
        Some("name" | "from" | "trainable") => mismatch.below(&["layers", place]),
        _ => mismatch.below(&["layers", place, kind]),
    }
}

/// The name given, or the kind and its number among layers of that kind: `relu2`.
pub(super) fn name_of(listed: &ListedLayer, layers: &[ListedLayer], index: usize) -> String {
    listed.name.clone().unwrap_or_else(|| {
        let number = layers[..=index].iter().filter(|l| l.kind == listed.kind).count();
        format!("{}{number}", listed.kind)
    })
}

fn inputs_of(
    listed: &ListedLayer,
    graph: &GraphBuilder,
    outputs: &mut [Output],
) -> Result<Vec<TensorId>, Mismatch> {
    let Some(names) = &listed.from else {
        return Ok(vec![match outputs.last_mut() {
            Some(before) => {
                before.read = true;
                before.tensor
            }
            None => graph.images(),
        }]);
    };
    let find = |name: &String| {
        if name == "images" {
            return Ok(graph.images());
        }
        match outputs.iter_mut().find(|output| output.name == *name) {
            Some(output) => {
                output.read = true;
                Ok(output.tensor)
            }
            None => {
                Err(Mismatch::field("from", format!("no layer before this is called `{name}`"))
                    .help("a layer reads earlier layers, by name, or `images`"))
            }
        }
    };
    names.iter().map(find).collect()
}

/// A model ends in its loss, and everything before is read by something. `losses` are the layers
/// that gave the graph a loss, whatever they are called.
fn check_ends(
    layers: &[ListedLayer],
    losses: &[usize],
    outputs: &[Output],
) -> Result<(), Mismatch> {
    match losses {
        [one] if one + 1 == layers.len() => {}
        [] => {
            return Err(Mismatch::field("layers", "the model has no loss")
                .help("end the list with a loss, such as `- softmax_cross_entropy: {}`"));
        }
        [one] => {
            let place = one.to_string();
            return Err(Mismatch::new("the loss is not the last layer")
                .below(&["layers", &place, layers[*one].kind])
                .help("move it to the end"));
        }
        [_, second, ..] => {
            let place = second.to_string();
            return Err(Mismatch::new("a model has one loss, this is its second").below(&[
                "layers",
                &place,
                layers[*second].kind,
            ]));
        }
    }
    let last = outputs.len() - 1;
    match outputs[..last].iter().position(|output| !output.read) {
        Some(unread) => {
            let (place, name) = (unread.to_string(), &outputs[unread].name);
            Err(Mismatch::new(format!("no layer reads the output of `{name}`"))
                .below(&["layers", &place])
                .help(format!("name it in a later layer's `from`, or remove `{name}`")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use compute::graph::{Node, Phase};
    use config::node::Path;
    use config::yaml::Document;

    use super::super::layers::{
        add, conv2d, dense, local_response_norm, relu, softmax_cross_entropy,
    };
    use super::*;
    use crate::extent::Extent;
    use crate::model::initializer::Initializer;
    use crate::model::window::Padding;

    fn listed(kind: &'static str, layer: impl Layer) -> ListedLayer {
        ListedLayer::of(kind, Arc::new(layer))
    }

    fn conv(channels: usize) -> ListedLayer {
        let layer = conv2d::Conv2d {
            channels,
            kernel: Extent::square(3),
            stride: Extent::square(1),
            padding: Padding::Same,
            weights: Initializer::TruncatedNormal(0.05),
            biases: Initializer::Constant(0.0),
            weight_decay: 0.0,
        };
        listed("conv2d", layer)
    }

    fn end(units: usize) -> [ListedLayer; 2] {
        let layer = dense::Dense {
            units,
            weights: Initializer::TruncatedNormal(0.04),
            biases: Initializer::Constant(0.0),
            weight_decay: 0.0,
        };
        [
            listed("dense", layer),
            listed("softmax_cross_entropy", softmax_cross_entropy::SoftmaxCrossEntropy::default()),
        ]
    }

    /// conv2d1 -> relu1 -> conv2d2 -> add(relu1, conv2d2) -> dense -> loss.
    fn residual() -> Vec<ListedLayer> {
        let mut layers = vec![conv(4), listed("relu", relu::Relu {}), conv(4)];
        let from = Some(vec!["relu1".to_owned(), "conv2d2".to_owned()]);
        layers.push(ListedLayer { from, ..listed("add", add::Add {}) });
        layers.extend(end(10));
        layers
    }

    #[test]
    fn gradients_of_several_consumers_are_summed_in_listed_order() {
        let graph = compile(&residual(), [6, 6, 3], 10).expect("a valid model");
        let sums: Vec<_> =
            graph.ops(Phase::Backward).filter(|op| op.kernel.name == "add_into").collect();
        let [sum] = sums.as_slice() else { panic!("one sum, not {}", sums.len()) };
        let name = |at: usize| graph.tensor(sum.tensors[at]).name.as_str();
        // conv2d2 is listed before add.
        assert_eq!(name(0), "relu1/activations/gradients");
        assert_eq!(name(1), "relu1/activations/gradients/1");
        assert_eq!(graph.layers[sum.layer].name, "relu1");
    }

    #[test]
    fn every_parameter_gradient_is_marked_where_it_becomes_final() {
        let graph = compile(&residual(), [6, 6, 3], 10).expect("a valid model");
        assert_eq!(graph.finals.len(), graph.parameters.len());
        for (parameter, nodes) in &graph.finals {
            let gradient = graph.parameters[*parameter].gradient;
            let writes = |node: &Node| match node {
                Node::Run(op) => op.tensors.contains(&gradient),
                Node::AllReduce(id) => *id == gradient,
            };
            assert!(writes(&graph.backward[nodes - 1]));
            assert!(!graph.backward[*nodes..].iter().any(writes));
        }
    }

    #[test]
    fn no_node_touches_a_gradient_after_the_end_of_its_bucket() {
        let graph = compile(&residual(), [6, 6, 3], 10).expect("a valid model");
        for least_bytes in [1, 500, usize::MAX] {
            let buckets = graph.buckets(least_bytes);
            for bucket in &buckets {
                let later = graph.backward[bucket.nodes..].iter();
                let touches = |node: &Node| match node {
                    Node::Run(op) => op.tensors.iter().any(|id| bucket.tensors.contains(id)),
                    Node::AllReduce(id) => bucket.tensors.contains(id),
                };
                assert!(!later.clone().any(touches), "{bucket:?}");
            }
            let tensors = buckets.iter().flat_map(|bucket| &bucket.tensors);
            let finals = graph.finals.iter().map(|(index, _)| &graph.parameters[*index].gradient);
            assert!(tensors.eq(finals), "{buckets:?}");
        }
    }

    #[test]
    fn a_loss_is_known_by_what_it_does_and_not_by_its_name() {
        let own = || listed("own_loss", softmax_cross_entropy::SoftmaxCrossEntropy::default());
        let [dense, loss] = end(10);
        let graph = compile(&[dense.clone(), own()], [6, 6, 3], 10).expect("it ends in a loss");
        assert!(graph.image_loss.is_some());
        let field = |layers: &[ListedLayer]| {
            compile(layers, [6, 6, 3], 10).expect_err("one loss, at the end").field.join(".")
        };
        assert_eq!(field(&[dense.clone(), loss, own()]), "layers.2.own_loss");
        assert_eq!(field(&[dense.clone(), own(), dense]), "layers.1.own_loss");
    }

    /// The place of what is wrong with a layer of this kind and these fields, as the first of a model.
    fn place(kind: &str, fields: &str) -> String {
        let kinds = super::super::layers::all();
        let kind = kinds.iter().find(|known| known.name == kind).expect("a known kind");
        let document = Document::parse(fields).expect("YAML");
        let mut problems = Vec::new();
        let path = Path::default().join("layers").join(0).join(kind.name);
        let Some(layer) = (kind.parse)(document.node(), &path, &mut problems) else {
            return problems[0].path.to_string();
        };
        let first = ListedLayer::of(kind.name, layer.value);
        let layers = [vec![first], end(10).to_vec()].concat();
        compile(&layers, [24, 24, 3], 10).expect_err("it is wrong").field.join(".")
    }

    #[test]
    fn fields_out_of_range_are_refused_with_their_place() {
        for (kind, field, values) in [
            ("dropout", "rate", &["-0.1", "1", "1.5", ".nan"][..]),
            ("batch_norm", "momentum", &["0", "-0.1", "1.1", ".nan"]),
            ("batch_norm", "epsilon", &["0", "-0.001", "1e-50", "2", ".nan"]),
            ("batch_norm", "weight_decay", &["-1"]),
            ("group_norm", "groups", &["0", "2", "32"]),
        ] {
            for value in values {
                let found = place(kind, &format!("{{ {field}: {value} }}"));
                assert_eq!(found, format!("layers.0.{kind}.{field}"), "{value}");
            }
        }
        for (kind, others) in [("locally_connected", "channels: 4, "), ("depthwise_conv2d", "")] {
            for (field, fields) in [
                ("kernel", "kernel: 25, padding: valid"),
                ("stride", "kernel: 3, stride: 0"),
                ("weights", "kernel: 3, weights: { truncated_normal: -1 }"),
                ("weight_decay", "kernel: 3, weight_decay: -1"),
            ] {
                let found = place(kind, &format!("{{ {others}{fields} }}"));
                assert_eq!(found, format!("layers.0.{kind}.{field}"));
            }
        }
        let channels = place("locally_connected", "{ channels: 0, kernel: 3 }");
        assert_eq!(channels, "layers.0.locally_connected.channels");
        let pool = place("avg_pool", "{ kernel: 25, padding: valid }");
        assert_eq!(pool, "layers.0.avg_pool.kernel");
    }

    #[test]
    fn layers_too_large_for_any_adapter_are_refused_with_their_field() {
        for size in ["9007199254740993", "18446744073709551615"] {
            let of = |kind, field: &str| place(kind, &field.replace("HUGE", size));
            assert_eq!(of("conv2d", "{ channels: HUGE, kernel: 5 }"), "layers.0.conv2d.channels");
            assert_eq!(of("conv2d", "{ channels: 1, kernel: HUGE }"), "layers.0.conv2d.kernel");
            assert_eq!(
                of("conv2d", "{ channels: 1, kernel: 1, stride: [1, HUGE] }"),
                "layers.0.conv2d.stride"
            );
            for (field, fields) in [
                ("channels", "{ channels: HUGE, kernel: 3 }"),
                ("kernel", "{ channels: 1, kernel: HUGE }"),
                ("stride", "{ channels: 1, kernel: 1, stride: HUGE }"),
            ] {
                let found = of("locally_connected", fields);
                assert_eq!(found, format!("layers.0.locally_connected.{field}"));
            }
            assert_eq!(of("max_pool", "{ kernel: HUGE }"), "layers.0.max_pool.kernel");
            assert_eq!(of("max_pool", "{ stride: HUGE }"), "layers.0.max_pool.stride");
            assert_eq!(of("avg_pool", "{ kernel: HUGE }"), "layers.0.avg_pool.kernel");
            let depthwise = of("depthwise_conv2d", "{ kernel: HUGE }");
            assert_eq!(depthwise, "layers.0.depthwise_conv2d.kernel");
            assert_eq!(of("dense", "{ units: HUGE }"), "layers.0.dense.units");
        }
        let large = "{ channels: 1, kernel: 32768 }";
        assert_eq!(place("conv2d", large), "layers.0.conv2d.kernel");
    }

    #[test]
    fn neighbours_are_counted_no_further_than_there_are_channels() {
        let radius = |radius| {
            let fields = format!("{{\"radius\": {radius}}}");
            let norm: local_response_norm::LocalResponseNorm =
                serde_json::from_str(&fields).expect("a radius");
            let layers = [vec![conv(4), listed("norm", norm)], end(10).to_vec()].concat();
            let graph = compile(&layers, [6, 6, 3], 10).expect("a valid model");
            graph
                .ops(Phase::Forward)
                .find(|op| op.kernel.name == "local_response_norm_forward")
                .map(|op| op.constants.size("RADIUS"))
        };
        assert_eq!([2, 4, usize::MAX].map(radius), [Some(2), Some(4), Some(4)]);
    }

    #[test]
    fn wrong_lists_are_refused_with_their_place() {
        let place = |layers: &[ListedLayer]| {
            compile(layers, [6, 6, 3], 10).expect_err("a wrong list").field.join(".")
        };
        assert_eq!(place(&[conv(4)]), "layers");
        assert_eq!(place(&end(9)), "layers.1.softmax_cross_entropy");
        let mut unread = residual();
        unread[3].from = Some(vec!["relu1".to_owned(), "relu1".to_owned()]);
        assert_eq!(place(&unread), "layers.2");
        let mut absent = residual();
        absent[3].from = Some(vec!["relu1".to_owned(), "conv9".to_owned()]);
        assert_eq!(place(&absent), "layers.3.from");
        let mut twice = residual();
        twice[2].name = Some("relu1".to_owned());
        assert_eq!(place(&twice), "layers.2.name");
    }
}
