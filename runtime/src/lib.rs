//! The engine of Gradflow: it knows no stage, no layer and no kernel.

pub mod adapter;
pub mod aligned;
pub mod bench;
pub mod channel;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod console;
pub mod diagnostic;
pub mod divergence;
pub mod event;
pub mod given;
pub mod graph;
pub mod isa;
pub mod item;
pub mod kernel;
pub mod metrics;
pub mod period;
pub mod photo;
pub mod picture;
pub mod plan;
pub mod port;
pub mod random;
pub mod record;
pub mod report;
pub mod run;
pub mod run_folder;
pub mod session;
pub mod stage;
pub mod tensorboard;
pub mod towers;
pub mod verify;

pub use cli::{App, Golden, main, run_line};
