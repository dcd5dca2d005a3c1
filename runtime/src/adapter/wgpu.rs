//! The `wgpu` adapters.
