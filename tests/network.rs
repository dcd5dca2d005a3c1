//! Whole networks: finite differences, slopes on each adapter, the golden loss curve.

mod common;

use std::sync::Arc;

use compute::adapter::host::Reference;
use compute::adapter::{Adapter, Info, Limits, Lowering, Replica, micro_batch};
use compute::graph::Graph;
use compute::kernel::Step;
use compute::session::Session;
use compute::verify::network;
use stages::golden;
use stages::model::compile::ListedLayer;
use stages::model::layer::Layer;
use stages::model::layers::softmax_cross_entropy::SoftmaxCrossEntropy;
use stages::model::layers::{
    add, avg_pool, batch_norm, conv2d, dense, depthwise_conv2d, dropout, gelu, global_avg_pool,
    group_norm, local_response_norm, locally_connected, max_pool, relu, silu, softmax,
};
use stages::model::tutorial;
use stages::reducer::update::trainable;

fn tutorial() -> Arc<Graph> {
    golden::graph().expect("the tutorial's network compiles")
}

/// All adapters of this machine.
fn adapters() -> Vec<Box<dyn Adapter>> {
    let mut all: Vec<Box<dyn Adapter>> = vec![Box::new(common::cpu(0))];
    all.extend(common::gpus().into_iter().map(|gpu| Box::new(gpu) as Box<dyn Adapter>));
    all
}

fn check_slopes(what: &str, graph: &Arc<Graph>, images: usize, of_each: usize) {
    let slopes = network::slopes(graph, images, of_each).expect("the reference runs");
    let smooth: Vec<_> = slopes.iter().filter(|slope| slope.smooth).collect();
    assert!(2 * smooth.len() > slopes.len(), "{what}: almost everything lies at a kink");
    for slope in smooth {
        let scale = slope.gradient.abs().max(slope.difference.abs()).max(1e-4);
        let error = (slope.gradient - slope.difference).abs() / scale;
        assert!(error < 1e-3, "{what}: {slope:?}");
    }
}

#[test]
fn finite_differences_agree_for_the_whole_network() {
    check_slopes("tutorial", &tutorial(), 2, 3);
}

/// A layer's `from`, kind and fields.
type Listed = (Option<&'static [&'static str]>, &'static str, Arc<dyn Layer>);

/// A layer between two that have weights, so that its gradient is needed on both sides.
fn around(listed: Vec<Listed>) -> Arc<Graph> {
    let conv = conv(3, 1, 1);
    let mut layers = vec![("conv2d", conv, None)];
    layers.extend(listed.into_iter().map(|(from, kind, layer)| (kind, layer, from)));
    let mut end = tutorial::layers(0.05).split_off(12);
    let mut list: Vec<ListedLayer> = layers
        .into_iter()
        .map(|(kind, layer, from)| ListedLayer {
            from: from.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            ..ListedLayer::of(kind, layer)
        })
        .collect();
    list.append(&mut end);
    Arc::new(trainable(&list, [7, 6, 3], 10).expect("a valid network"))
}

/// Reads a layer's YAML fields written as JSON.
fn fields<L: Layer + serde::de::DeserializeOwned>(json: &str) -> Arc<dyn Layer> {
    Arc::new(serde_json::from_str::<L>(json).expect("valid fields"))
}

fn conv(channels: usize, kernel: usize, stride: usize) -> Arc<dyn Layer> {
    fields::<conv2d::Conv2d>(&format!(
        r#"{{ "channels": {channels}, "kernel": {kernel}, "stride": {stride},
              "weights": {{ "truncated_normal": 0.5 }}, "weight_decay": 0.01 }}"#
    ))
}

#[test]
fn finite_differences_agree_for_every_layer() {
    let cases: Vec<(&str, Vec<Listed>)> = vec![
        ("conv2d", vec![(None, "conv2d", conv(5, 3, 2))]),
        (
            "depthwise_conv2d",
            vec![(
                None,
                "depthwise_conv2d",
                fields::<depthwise_conv2d::DepthwiseConv2d>(
                    r#"{ "kernel": [2, 3], "stride": [1, 2],
                         "weights": { "truncated_normal": 0.5 }, "weight_decay": 0.01 }"#,
                ),
            )],
        ),
        (
            "locally_connected",
            vec![(
                None,
                "locally_connected",
                fields::<locally_connected::LocallyConnected>(
                    r#"{ "channels": 5, "kernel": 3, "stride": [2, 1],
                         "weights": { "truncated_normal": 0.5 },
                         "biases": { "truncated_normal": 0.5 }, "weight_decay": 0.01 }"#,
                ),
            )],
        ),
        ("relu", vec![(None, "relu", fields::<relu::Relu>("{}"))]),
        (
            "batch_norm",
            vec![(
                None,
                "batch_norm",
                fields::<batch_norm::BatchNorm>(
                    r#"{ "epsilon": 0.1, "scale": { "truncated_normal": 1.0 },
                         "offset": { "truncated_normal": 1.0 }, "weight_decay": 0.01 }"#,
                ),
            )],
        ),
        (
            "group_norm",
            vec![
                (None, "conv2d", conv(6, 3, 1)),
                (
                    None,
                    "group_norm",
                    fields::<group_norm::GroupNorm>(
                        r#"{ "groups": 2, "epsilon": 0.1, "scale": { "truncated_normal": 1.0 },
                             "offset": { "truncated_normal": 1.0 }, "weight_decay": 0.01 }"#,
                    ),
                ),
            ],
        ),
        ("max_pool", vec![(None, "max_pool", fields::<max_pool::MaxPool>("{}"))]),
        ("avg_pool", vec![(None, "avg_pool", fields::<avg_pool::AvgPool>(r#"{ "kernel": 3 }"#))]),
        (
            "global_avg_pool",
            vec![(None, "global_avg_pool", fields::<global_avg_pool::GlobalAvgPool>("{}"))],
        ),
        ("gelu", vec![(None, "gelu", fields::<gelu::Gelu>("{}"))]),
        ("silu", vec![(None, "silu", fields::<silu::Silu>("{}"))]),
        ("softmax", vec![(None, "softmax", fields::<softmax::Softmax>("{}"))]),
        ("dropout", vec![(None, "dropout", fields::<dropout::Dropout>(r#"{ "rate": 0.3 }"#))]),
        (
            "local_response_norm",
            vec![(
                None,
                "local_response_norm",
                fields::<local_response_norm::LocalResponseNorm>(
                    r#"{ "radius": 1, "alpha": 0.5, "beta": 0.6 }"#,
                ),
            )],
        ),
        (
            "dense",
            vec![(None, "dense", fields::<dense::Dense>(r#"{ "units": 7, "weight_decay": 0.1 }"#))],
        ),
        (
            "add",
            vec![
                (None, "conv2d", conv(3, 3, 1)),
                (Some(&["conv2d1", "conv2d2"]), "add", fields::<add::Add>("{}")),
            ],
        ),
    ];
    let tested: Vec<&str> = cases.iter().map(|(kind, _)| *kind).collect();
    for kind in stages::model::layers::all() {
        let is_loss = kind.name == "softmax_cross_entropy";
        assert!(is_loss || tested.contains(&kind.name), "{} has no gradient test", kind.name);
    }
    for (kind, layers) in cases {
        check_slopes(kind, &around(layers), 3, 12);
    }
}

#[test]
fn finite_differences_agree_for_smoothed_labels() {
    let json = r#"{ "label_smoothing": 0.3 }"#;
    let listed = ListedLayer::of;
    let layers = [
        listed("dense", fields::<dense::Dense>(r#"{ "units": 10, "weight_decay": 0.1 }"#)),
        listed("softmax_cross_entropy", fields::<SoftmaxCrossEntropy>(json)),
    ];
    let graph = Arc::new(trainable(&layers, [3, 2, 3], 10).expect("a valid network"));
    check_slopes("smoothed labels", &graph, 4, 12);
}

#[test]
fn every_adapter_follows_the_slope_it_computes() {
    for adapter in adapters() {
        let error = network::directional_error(adapter.as_ref(), &tutorial(), 8).expect("it runs");
        println!("{}/{}: {error:.1e}", adapter.info().backend, adapter.info().name);
        assert!(error < 0.01, "{}: {error}", adapter.info().name);
    }
}

#[test]
fn every_adapter_follows_the_golden_curve() {
    for adapter in adapters() {
        let curve = golden::curve(adapter.as_ref()).expect("it runs");
        let worst = golden::worst(&curve);
        println!("{}/{}: {worst:.1e}", adapter.info().backend, adapter.info().name);
        assert!(worst < golden::BOUND, "{}: {curve:?}", adapter.info().name);
    }
}

#[test]
fn the_first_loss_is_the_tutorials() {
    let curve = network::loss_curve(&common::cpu(0), &tutorial(), 128, 1, 0.1).expect("it runs");
    assert!((curve[0] - 4.676).abs() < 0.02, "{curve:?}");
}

#[test]
fn thread_counts_change_no_bit() {
    let curve = |threads| {
        network::loss_curve(&common::cpu(threads), &tutorial(), 33, 2, 0.1).expect("it runs")
    };
    let one = curve(1);
    for threads in [2, 3, 16] {
        assert_eq!(one, curve(threads), "{threads} threads");
    }
}

/// The f64 reference, as an adapter.
struct Exact(Info);

impl Adapter for Exact {
    fn info(&self) -> &Info {
        &self.0
    }

    fn lower(&self, graph: &Arc<Graph>, how: &Lowering) -> anyhow::Result<Box<dyn Replica>> {
        Ok(Box::new(Reference::lower(graph, how.micro_batch)?))
    }
}

#[test]
fn an_observed_activation_can_be_read_on_every_adapter() {
    let mut graph = Graph::clone(&tutorial());
    let observed = graph.find("pool1/activations").expect("a layer's output");
    graph.observe(observed);
    graph.observe(observed);
    assert_eq!(graph.observed, [observed]);
    let graph = Arc::new(graph);
    let activations = |adapter: &dyn Adapter| {
        let mut session = Session::new(adapter, &graph, 2).expect("it fits");
        session.initialize(1).expect("weights");
        let batch = network::fixed_batch(&graph, 2, 0).expect("a batch");
        // The activation is read after the whole step, not only after the pass that makes it.
        session.train(&batch, &Step::of(2)).expect("a step");
        session.read(observed).expect("the observed tensor")
    };
    let exact = activations(&Exact(common::cpu(1).info().clone()));
    assert!(exact.iter().any(|value| *value > 0.0));
    for adapter in adapters() {
        let read = activations(adapter.as_ref());
        assert_eq!(read.len(), exact.len());
        let worst = read.iter().zip(&exact).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(worst < 1e-4, "{}: {worst}", adapter.info().name);
    }
}

/// An adapter that claims to be smaller than it is.
struct Small<'a>(&'a dyn Adapter, Info);

impl Adapter for Small<'_> {
    fn info(&self) -> &Info {
        &self.1
    }

    fn lower(&self, graph: &Arc<Graph>, how: &Lowering) -> anyhow::Result<Box<dyn Replica>> {
        self.0.lower(graph, how)
    }
}

/// The gradients of one batch.
fn gradients(adapter: &dyn Adapter, graph: &Arc<Graph>, images: usize) -> Vec<Vec<f32>> {
    let mut session = Session::new(adapter, graph, images).expect("it fits");
    session.initialize(1).expect("weights");
    let batch = network::fixed_batch(graph, images, 0).expect("a batch");
    session.train(&batch, &Step::of(images)).expect("a step");
    graph.parameters.iter().map(|p| session.read(p.gradient).expect("a gradient")).collect()
}

#[test]
fn micro_batches_add_up_to_the_same_gradient() {
    let graph = tutorial();
    for adapter in adapters() {
        let mut info = adapter.info().clone();
        // Room for 64 of conv1's activations: 149 images are taken as 50, 50 and 49.
        info.limits = Limits { binding_bytes: 64 * 4 * 24 * 24 * 64, ..info.limits };
        let small = Small(adapter.as_ref(), info);
        assert_eq!(micro_batch::plan(&graph, 149, &small.1.limits).expect("it fits"), 50);
        let (whole, parts) =
            (gradients(adapter.as_ref(), &graph, 149), gradients(&small, &graph, 149));
        for ((whole, parts), parameter) in whole.iter().zip(&parts).zip(&graph.parameters) {
            let scale = whole.iter().fold(0.0_f32, |most, g| most.max(g.abs()));
            let worst =
                whole.iter().zip(parts).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
            let name = &graph.tensor(parameter.value).name;
            assert!(worst <= 1e-5 * scale, "{}: {name}: {worst} of {scale}", adapter.info().name);
        }
    }
}

#[test]
fn a_batch_of_1024_fits_webgpus_default_limits() {
    let graph = tutorial();
    let limits = Limits {
        binding_bytes: 128 << 20,
        buffer_bytes: 256 << 20,
        workgroups: 65_535,
        storage_buffers: 8,
        memory_bytes: None,
    };
    let planned = micro_batch::plan(&graph, 1024, &limits).expect("it fits");
    assert!(planned < 911, "{planned}");
    if let Some(gpu) = common::gpus().first() {
        assert!(gpu.info().limits.binding_bytes <= limits.binding_bytes);
        // There is room for all of them, in which a smaller batch comes to what it should.
        let loss = |adapter: &dyn Adapter, room: usize| {
            let mut session = Session::new(adapter, &graph, room).expect("it fits");
            session.initialize(1).expect("weights");
            let batch = network::fixed_batch(&graph, 32, 0).expect("a batch");
            session.train(&batch, &Step::of(32)).expect("a step");
            session.losses().expect("it reads").iter().sum::<f32>()
        };
        let (found, expected) = (loss(gpu, 1024), loss(&common::cpu(0), 32));
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
}
