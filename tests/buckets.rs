//! Gradients that leave an adapter in buckets: what is in them, and that nothing waits for them.

mod common;
#[path = "common/wrapped.rs"]
mod wrapped;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use compute::adapter::variants::Variants;
use compute::adapter::{Adapter, Info, Lowering, Readback, Replica, Values};
use compute::graph::{Graph, Span, TensorId};
use compute::kernel::Step;
use compute::session::{Peers, Session};
use compute::verify::network::fixed_batch;
use flow::item::Batch;
use serde::de::DeserializeOwned;
use stages::model::compile::ListedLayer;
use stages::model::layer::Layer;
use stages::model::layers::{batch_norm, conv2d, dense, relu, softmax_cross_entropy};
use stages::reducer::update::trainable;

use wrapped::Wrapped;

const IMAGES: usize = 8;

fn listed<L: Layer + DeserializeOwned>(kind: &'static str, json: &str) -> ListedLayer {
    let layer: L = serde_json::from_str(json).expect("valid fields");
    ListedLayer::of(kind, Arc::new(layer))
}

/// A small network in which a layer in the middle has the statistics of a whole batch.
fn graph() -> Arc<Graph> {
    let layers = [
        listed::<conv2d::Conv2d>("conv2d", r#"{ "channels": 5, "kernel": 3 }"#),
        listed::<batch_norm::BatchNorm>("batch_norm", "{}"),
        listed::<relu::Relu>("relu", "{}"),
        listed::<dense::Dense>("dense", r#"{ "units": 10 }"#),
        listed::<softmax_cross_entropy::SoftmaxCrossEntropy>("softmax_cross_entropy", "{}"),
    ];
    Arc::new(trainable(&layers, [6, 5, 3], 10).expect("a valid network"))
}

fn lowering(graph: &Graph) -> Lowering {
    Lowering { buckets: graph.buckets(1), ..Lowering::of(IMAGES) }
}

fn batch(graph: &Arc<Graph>) -> Batch {
    fixed_batch(graph, IMAGES, 0).expect("a batch")
}

fn session(adapter: &dyn Adapter, graph: &Arc<Graph>) -> Session {
    let mut session = Session::with(adapter, graph, lowering(graph)).expect("it fits");
    session.initialize(3).expect("weights are drawn");
    session
}

#[test]
fn each_gradient_is_handed_out_once_with_the_bits_that_it_has_at_the_end() {
    let graph = graph();
    let buckets = graph.buckets(1);
    assert!(buckets.len() > 3, "{buckets:?}");
    let mut tensors: Vec<TensorId> = buckets.iter().flat_map(|b| b.tensors.clone()).collect();
    tensors.sort_unstable();
    let mut gradients: Vec<TensorId> = graph.parameters.iter().map(|p| p.gradient).collect();
    gradients.sort_unstable();
    assert_eq!(tensors, gradients);

    let cpu: Arc<dyn Adapter> = Arc::new(common::cpu(2));
    let mut adapters: Vec<Arc<dyn Adapter>> =
        vec![Arc::clone(&cpu), Arc::new(Wrapped::slow(cpu, Duration::ZERO))];
    adapters.extend(common::gpus().into_iter().map(|gpu| Arc::new(gpu) as Arc<dyn Adapter>));
    let (batch, step) = (batch(&graph), Step::of(IMAGES));
    for adapter in adapters {
        for cuts in [&[0, IMAGES][..], &[0, 3, IMAGES]] {
            let micro_batches: Vec<_> = cuts.windows(2).map(|cut| cut[0]..cut[1]).collect();
            let micro_batches = micro_batches.as_slice();
            let mut whole = session(adapter.as_ref(), &graph);
            whole.part_of_gradient(&batch, micro_batches, &step).expect("a gradient");
            let mut in_buckets = session(adapter.as_ref(), &graph);
            let mut used = Vec::new();
            // The second time into the vectors of the first.
            for _ in 0..2 {
                let mut found = Vec::new();
                let room = std::mem::take(&mut used);
                in_buckets
                    .part_in_buckets(&batch, micro_batches, &step, room, |words| found.push(words))
                    .expect("a gradient");
                assert_eq!(found.len(), buckets.len());
                for (bucket, words) in buckets.iter().zip(&found) {
                    let read = |id: &TensorId| whole.read(*id).expect("it is read");
                    let expected = bucket.tensors.iter().flat_map(read).map(f32::to_bits);
                    assert!(words.iter().copied().eq(expected), "{bucket:?}");
                }
                used = found;
            }
        }
    }
}

/// An adapter that computes nothing and writes down what is asked of it.
struct Noting {
    info: Info,
    notes: Arc<Mutex<Vec<String>>>,
}

impl Adapter for Noting {
    fn info(&self) -> &Info {
        &self.info
    }

    fn overlaps(&self) -> bool {
        true
    }

    fn lower(&self, graph: &Arc<Graph>, _: &Lowering) -> Result<Box<dyn Replica>> {
        Ok(Box::new(NotingReplica { graph: Arc::clone(graph), notes: Arc::clone(&self.notes) }))
    }
}

struct NotingReplica {
    graph: Arc<Graph>,
    notes: Arc<Mutex<Vec<String>>>,
}

impl NotingReplica {
    fn note(&self, what: String) -> Result<()> {
        self.notes.lock().expect("no panic").push(what);
        Ok(())
    }
}

impl Replica for NotingReplica {
    fn variants(&self) -> Variants {
        Variants::default()
    }

    fn write(&mut self, _: TensorId, _: Values<'_>) -> Result<()> {
        Ok(())
    }

    fn run(&mut self, spans: &[Span], _: &Step) -> Result<()> {
        self.note(format!("run {}", spans.len()))
    }

    fn read(&mut self, tensor: TensorId, len: usize) -> Result<Vec<f32>> {
        self.note(format!("read {}", self.graph.tensor(tensor).name))?;
        Ok(vec![0.0; len])
    }

    fn read_index(&mut self, _: TensorId, len: usize) -> Result<Vec<u32>> {
        Ok(vec![0; len])
    }

    fn begin(&mut self, readback: Readback) -> Result<()> {
        self.note(format!("begin {readback:?}"))
    }

    fn run_and_begin(&mut self, _: &[Span], _: &Step, readback: Readback) -> Result<()> {
        self.begin(readback)
    }

    fn take(&mut self, readback: Readback, _: &mut Vec<u32>) -> Result<()> {
        self.note(format!("take {readback:?}"))
    }

    fn wait(&mut self) -> Result<()> {
        self.note("wait".to_owned())
    }
}

/// Others with the same mean.
struct Alike;

impl Peers for Alike {
    fn mean(&mut self, _: &mut [f32], _: usize) -> Result<()> {
        Ok(())
    }
}

#[test]
fn an_adapter_has_more_to_do_whenever_a_bucket_is_waited_for() {
    let graph = graph();
    let buckets = graph.buckets(1).len();
    let notes: Arc<Mutex<Vec<String>>> = Arc::default();
    let info = common::cpu(1).info().clone();
    let noting = Noting { info, notes: Arc::clone(&notes) };
    let mut session = Session::with(&noting, &graph, lowering(&graph)).expect("it fits");
    session.join(Box::new(Alike));
    let handed_out = Mutex::new(0);
    let count = |_| *handed_out.lock().expect("no panic") += 1;
    let all = std::slice::from_ref(&(0..IMAGES));
    session
        .part_in_buckets(&batch(&graph), all, &Step::of(IMAGES), Vec::new(), count)
        .expect("nothing fails");
    assert_eq!(*handed_out.lock().expect("no panic"), buckets);
    let notes = notes.lock().expect("no panic");
    let at = |what: &str| {
        let at = notes.iter().position(|note| note == what);
        at.unwrap_or_else(|| panic!("no {what:?} in {notes:?}"))
    };
    let begin = |bucket: usize| at(&format!("begin Bucket({bucket})"));
    let take = |bucket: usize| at(&format!("take Bucket({bucket})"));
    for bucket in 0..buckets - 1 {
        assert!(take(bucket) < take(bucket + 1), "{notes:?}");
        // While this one is waited for, something after it is under way.
        let mut between = notes[begin(bucket) + 1..take(bucket)].iter();
        assert!(
            between.any(|note| note.starts_with("run") || note.starts_with("begin")),
            "{notes:?}"
        );
    }
    // The passes are over before the last one is waited for, and not before.
    assert_eq!(at("wait") + 1, take(buckets - 1), "{notes:?}");
    // Where the adapter is waited for in the middle of the backward phase, what was final before is
    // handed out as soon as it has something to do again.
    let averaged = notes.iter().rposition(|note| note.starts_with("read ")).expect("a mean");
    assert!(begin(0) < averaged && averaged < take(0), "{notes:?}");
    assert!(take(0) < begin(buckets - 1), "{notes:?}");
}
