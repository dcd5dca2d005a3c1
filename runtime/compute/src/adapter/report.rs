//! What an adapter is, for people and for files.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Info;

/// What an adapter is, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterReport {
    /// `cpu`, `vulkan`, `gl`, `metal` or `dx12`.
    pub backend: String,
    /// The device's name.
    pub name: String,
    /// The driver and its version, or the threads of `cpu`.
    pub driver: String,
}

impl AdapterReport {
    /// Whether both give the same bits. The number of threads, which `cpu` says, changes none; its
    /// set of instructions does.
    pub fn computes_like(&self, other: &Self) -> bool {
        fn driver(report: &AdapterReport) -> Vec<&str> {
            report.driver.split(", ").filter(|part| !part.ends_with(" threads")).collect()
        }
        let same = self.backend == other.backend && self.name == other.name;
        same && driver(self) == driver(other)
    }
}

impl fmt::Display for AdapterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ({})", self.backend, self.name, self.driver)
    }
}

impl From<&Info> for AdapterReport {
    fn from(info: &Info) -> Self {
        let Info { backend, name, driver, .. } = info;
        Self { backend: (*backend).to_owned(), name: name.clone(), driver: driver.clone() }
    }
}
