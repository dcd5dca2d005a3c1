//! The dataflow engine: a pipeline that is checked whole, then run as stages on threads with bounded
//! channels between them. It knows no stage.

pub mod channel;
mod dealer;
pub mod environment;
pub mod event;
pub mod given;
pub mod item;
pub mod lint;
pub mod period;
pub mod photo;
pub mod picture;
pub mod plan;
pub mod port;
pub mod preprocessing;
pub mod reports;
mod room;
pub mod run;
pub mod run_trial;
pub mod settings;
pub mod stage;
pub mod trial;
