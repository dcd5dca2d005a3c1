//! What the examples in the documentation train: not part of the library.

/// A small pipeline that needs no data: it draws what it trains on.
pub const PIPELINE: &str = "\
seed: 0
steps: 20
adapter: cpu
stages:
  read: { reader: { format: { synthetic: { train: 200, test: 60 } }, split: train } }
  read_test: { reader: { format: { synthetic: { train: 200, test: 60 } }, split: test } }
  whiten: { from: read, whitening: {} }
  whiten_test: { from: read_test, whitening: {} }
  batch: { from: whiten, batcher: { size: 20 } }
  batch_test: { from: whiten_test, batcher: { size: 20, partial: keep } }
  gradients:
    from: batch
    model:
      layers:
        - max_pool: { kernel: 8, stride: 8 }
        - dense: { units: 10 }
        - softmax_cross_entropy
  train: { from: gradients, reducer: { learning_rate: 0.05 } }
  score: { from: [batch_test, train], model: {} }
  evaluate: { from: score, evaluator: {} }
";
