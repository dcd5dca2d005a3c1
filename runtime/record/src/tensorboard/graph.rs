//! TensorBoard's graph page: the pipeline and the model as nodes and edges.

use std::collections::HashSet;

use super::proto::{
    Attr, AttrList, AttrValue, Dim, GraphDef, NodeDef, TensorShapeProto, VersionDef,
};
use compute::graph::{Graph, Node, Op, Phase, Role, Tensor, TensorId};
use compute::kernel::{Access, Extent};
use flow::plan::Plan;
use flow::port::Port;

/// The attribute in which TensorBoard looks for what an edge carries.
const OUTPUT_SHAPES: &str = "_output_shapes";

/// The stages of a pipeline, under `pipeline/`.
pub fn pipeline(plan: &Plan) -> GraphDef {
    let name = |stage: usize| format!("pipeline/{}", plan.stages[stage].id);
    let nodes = plan.stages.iter().enumerate().map(|(at, stage)| {
        let mut node = NodeDef {
            name: name(at),
            op: stage.kind.to_owned(),
            input: stage.from.iter().map(|from| name(*from)).collect(),
            ..NodeDef::default()
        };
        for (from, port) in stage.from.iter().zip(&stage.inputs) {
            set(&mut node, &format!("from {}", plan.stages[*from].id), text(&port.to_string()));
        }
        if let Some(output) = &stage.output {
            set(&mut node, "output", text(&output.to_string()));
            set_shapes(&mut node, shape_of(output).into_iter().collect());
        }
        node
    });
    graph_def(nodes.collect())
}

/// A model: what it computes under `model/`, derivatives under `gradients/`, and what changes the
/// weights under `update/`, each by layer.
pub fn model(graph: &Graph) -> GraphDef {
    let mut drawing = Drawing {
        graph,
        nodes: Vec::new(),
        names: HashSet::new(),
        written: vec![None; graph.tensors.len()],
    };
    let scopes = [
        (Phase::Forward, "model"),
        (Phase::Loss, "model"),
        (Phase::Backward, "gradients"),
        (Phase::Update, "update"),
    ];
    for (phase, scope) in scopes {
        for node in graph.phase(phase) {
            match node {
                Node::Run(op) => drawing.run(scope, op),
                Node::AllReduce(tensor) => drawing.all_reduce(scope, *tensor),
            }
        }
    }
    graph_def(drawing.nodes)
}

fn graph_def(node: Vec<NodeDef>) -> GraphDef {
    // Plain nodes and attributes have been readable ever since.
    GraphDef { node, versions: Some(VersionDef { producer: 1, min_consumer: 0 }) }
}

/// A model's nodes so far.
struct Drawing<'a> {
    graph: &'a Graph,
    nodes: Vec<NodeDef>,
    names: HashSet<String>,
    /// Which output of which node holds each tensor now.
    written: Vec<Option<(String, usize)>>,
}

impl Drawing<'_> {
    fn run(&mut self, scope: &str, op: &Op) {
        let layer = self.graph.layers.get(op.layer).map_or("", |layer| &layer.name);
        let name = self.free(&format!("{scope}/{layer}/{}", op.kernel.name));
        let mut node = NodeDef { name, op: op.kernel.name.to_owned(), ..NodeDef::default() };
        for tensor in &op.tensors {
            self.read(scope, *tensor, &mut node);
        }
        for (name, value) in op.constants.pairs() {
            let whole = value.fract() == 0.0 && value.abs() < 1e15;
            set(
                &mut node,
                name,
                if whole { Attr::Int(*value as i64) } else { Attr::Float(*value as f32) },
            );
        }
        set(&mut node, "about", text(op.kernel.about));
        let written = op.kernel.bindings.iter().zip(&op.tensors);
        let written = written.filter(|(binding, _)| binding.access == Access::Write);
        self.write(node, &written.map(|(_, tensor)| *tensor).collect::<Vec<_>>());
    }

    /// Stands beside whatever wrote the tensor.
    fn all_reduce(&mut self, scope: &str, tensor: TensorId) {
        let mut node = NodeDef { op: "all_reduce".to_owned(), ..NodeDef::default() };
        self.read(scope, tensor, &mut node);
        let beside = node.input.first().and_then(|input| input.rsplit_once('/'));
        let name = format!("{}/all_reduce", beside.map_or(scope, |(place, _)| place));
        node.name = self.free(&name);
        self.write(node, &[tensor]);
    }

    /// A name that no node has yet: this one, or this one with a number.
    fn free(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut number = 0;
        while !self.names.insert(free.clone()) {
            number += 1;
            free = format!("{name}_{number}");
        }
        free
    }

    /// Makes a node read a tensor from whoever wrote it last; from nobody, if it is about to be
    /// written for the first time.
    fn read(&mut self, scope: &str, id: TensorId, node: &mut NodeDef) {
        if self.written[id.0].is_none() {
            self.introduce(scope, id);
        }
        let Some((from, output)) = &self.written[id.0] else { return };
        let input = if *output == 0 { from.clone() } else { format!("{from}:{output}") };
        if !node.input.contains(&input) {
            node.input.push(input);
        }
    }

    /// A node for a tensor that is there before anything runs.
    fn introduce(&mut self, scope: &str, id: TensorId) {
        let tensor = self.graph.tensor(id);
        let (scope, op) = match tensor.role {
            Role::Input => ("inputs", "Placeholder"),
            Role::Parameter(_) => ("model", "Variable"),
            Role::State(_) | Role::Average(_) => (scope, "Variable"),
            _ => return,
        };
        let name = self.free(&format!("{scope}/{}", tensor.name));
        self.write(NodeDef { name, op: op.to_owned(), ..NodeDef::default() }, &[id]);
    }

    /// Adds a node that writes these tensors.
    fn write(&mut self, mut node: NodeDef, tensors: &[TensorId]) {
        for (output, id) in tensors.iter().enumerate() {
            self.written[id.0] = Some((node.name.clone(), output));
        }
        let shapes = tensors.iter().map(|id| tensor_shape(self.graph.tensor(*id)));
        set_shapes(&mut node, shapes.collect());
        self.nodes.push(node);
    }
}

/// The sizes of a tensor, the number of images first and not known.
fn tensor_shape(tensor: &Tensor) -> TensorShapeProto {
    shape((tensor.extent == Extent::PerImage).then_some(-1), &tensor.shape)
}

/// The sizes of what crosses an edge of the pipeline, if it is one tensor.
fn shape_of(port: &Port) -> Option<TensorShapeProto> {
    match port {
        Port::Samples(image) => Some(shape(None, &image.shape)),
        Port::Batches(image, size) => Some(shape(Some(*size as i64), &image.shape)),
        Port::Scores(classes) => Some(shape(Some(-1), &[*classes])),
        Port::Gradients(..) | Port::Weights(_) => None,
    }
}

fn shape(first: Option<i64>, sizes: &[usize]) -> TensorShapeProto {
    let sizes = first.into_iter().chain(sizes.iter().map(|size| *size as i64));
    TensorShapeProto { dim: sizes.map(|size| Dim { size }).collect() }
}

fn text(text: &str) -> Attr {
    Attr::Text(text.as_bytes().to_vec())
}

fn set(node: &mut NodeDef, key: &str, value: Attr) {
    node.attr.insert(key.to_owned(), AttrValue { value: Some(value) });
}

fn set_shapes(node: &mut NodeDef, shape: Vec<TensorShapeProto>) {
    if !shape.is_empty() {
        set(node, OUTPUT_SHAPES, Attr::List(AttrList { shape }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use compute::graph::{GraphBuilder, Initial};
    use compute::kernel::{Binding, Constants, Kernel};

    /// Reads two tensors and writes the third.
    static JOIN: Kernel = Kernel {
        name: "join",
        about: "joins",
        bindings: &[
            Binding::read("a", Extent::PerImage),
            Binding::read("weights", Extent::Whole),
            Binding::write("out", Extent::PerImage),
        ],
        lengths: |_| vec![4, 2, 4],
        terms: |_, _| 1,
        variants: &[],
        cpu: |_| {},
        reference: |_| {},
        cases: Vec::new,
    };

    /// Reads one tensor and writes two of which the last keeps something.
    static SPLIT: Kernel = Kernel {
        name: "split",
        about: "",
        bindings: &[
            Binding::read("a", Extent::PerImage),
            Binding::write("out", Extent::PerImage),
            Binding::write("state", Extent::Whole),
        ],
        lengths: |_| vec![4, 4, 2],
        ..JOIN
    };

    fn built() -> GraphDef {
        let mut builder = GraphBuilder::new(&[4], 2, &JOIN);
        let images = builder.images();
        builder.begin_layer("one", "one", &[images]);
        let weights = builder.parameter("weights", &[2], Initial::Constant(0.0), 0.0).value;
        let state = builder.state("state", &[2], Initial::Constant(0.0));
        let [a, b, c] = [(); 3].map(|()| builder.per_image("value", &[4]));
        let constants = Constants::default().with("SIZE", 3).with_real("RATE", 0.5);
        builder.forward(&JOIN, &[images, weights, a], constants);
        builder.forward(&SPLIT, &[a, b, state], Constants::default());
        builder.forward_all_reduce(state);
        builder.forward(&JOIN, &[b, state, c], Constants::default());
        builder.end_layer(c);
        builder.backward(&JOIN, &[c, weights, a], Constants::default());
        model(&builder.finish())
    }

    #[test]
    fn inputs_are_whoever_wrote_last() {
        let built = built();
        let found: Vec<_> = built
            .node
            .iter()
            .map(|node| (node.name.as_str(), node.op.as_str(), node.input.join(" ")))
            .collect();
        let expected = [
            ("inputs/images", "Placeholder", ""),
            ("model/one/weights", "Variable", ""),
            ("model/one/join", "join", "inputs/images model/one/weights"),
            ("model/one/state", "Variable", ""),
            ("model/one/split", "split", "model/one/join model/one/state"),
            ("model/one/all_reduce", "all_reduce", "model/one/split:1"),
            ("model/one/join_1", "join", "model/one/split model/one/all_reduce"),
            ("gradients/one/join", "join", "model/one/join_1 model/one/weights model/one/join"),
        ];
        assert_eq!(found, expected.map(|(name, op, input)| (name, op, input.to_owned())));
    }

    #[test]
    fn nodes_tell_their_constants_and_the_shapes_they_write() {
        let built = built();
        let attribute = |name: &str, key: &str| {
            let node = built.node.iter().find(|node| node.name == name).expect("the node");
            node.attr.get(key).and_then(|attr| attr.value.clone())
        };
        assert_eq!(attribute("model/one/join", "SIZE"), Some(Attr::Int(3)));
        assert_eq!(attribute("model/one/join", "RATE"), Some(Attr::Float(0.5)));
        assert_eq!(attribute("model/one/join", "about"), Some(text("joins")));
        let shape = vec![shape(Some(-1), &[4]), shape(None, &[2])];
        let expected = Some(Attr::List(AttrList { shape }));
        assert_eq!(attribute("model/one/split", OUTPUT_SHAPES), expected);
    }
}
