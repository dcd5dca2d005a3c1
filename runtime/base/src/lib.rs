//! What every layer of Gradflow needs: how files are written so that they are whole or not there,
//! random numbers that are keyed, and a way to ask a run to end.

pub mod cache;
pub mod free_name;
pub mod lock;
pub mod memory;
pub mod opened;
pub mod os_path;
pub mod random;
pub mod record_file;
pub mod registry;
pub mod regular_file;
pub mod stop;
pub mod whole_file;
