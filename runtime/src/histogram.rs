//! How the values of a tensor are spread.

/// How many values lie where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    _private: (),
}
