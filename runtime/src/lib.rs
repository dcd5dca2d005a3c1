//! The engine of Gradflow: it knows no stage, no layer and no kernel.

pub mod adapter;
pub mod graph;
pub mod kernel;
