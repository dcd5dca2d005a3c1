//! Kernels, graphs of them, and the adapters that run them: the engine below a pipeline. It knows no
//! layer and no kernel.

pub mod adapter;
pub mod aligned;
pub mod batch;
pub mod divergence;
pub mod graph;
pub mod isa;
pub mod job;
pub mod kernel;
pub mod limit;
pub mod pass;
pub mod precision;
pub mod probe;
pub mod progress;
pub mod reuse;
pub mod session;
pub mod settings;
pub mod shader;
pub mod towers;
pub mod verify;
pub mod weights;
