//! What the examples in the documentation train: not part of the library.

/// A small pipeline that needs no data: it draws what it trains on.
pub const PIPELINE: &str = "\
seed: 0
steps: 20
adapter: cpu
stages:
  read: { reader: { format: synthetic, split: train, images: 200 } }
  read_test: { reader: { format: synthetic, split: test, images: 60 } }
  batch: { from: read, batcher: { size: 20 } }
  batch_test: { from: read_test, batcher: { size: 20, partial: keep } }
  gradients:
    from: batch
    model: &model
      layers:
        - dense: { units: 10 }
        - softmax_cross_entropy
  train: { from: gradients, reducer: {} }
  score: { from: [batch_test, train], model: *model }
  evaluate: { from: score, evaluator: {} }
";
