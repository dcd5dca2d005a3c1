//! A number of threads.

use std::borrow::Cow;

use config::shorthand::Shorthand;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

/// Threads of a stage, at most [`Workers::MOST`]; 0 for one per core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Workers(usize);

impl Workers {
    /// One thread per core.
    pub const PER_CORE: Self = Self(0);

    /// More threads than this are more than any machine has cores.
    pub const MOST: usize = 1024;

    /// The number of threads; 0 for one per core.
    pub fn count(self) -> usize {
        self.0
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Shorthand::new("a number of threads from 0 to 1024")
            .whole(|count| {
                usize::try_from(count).ok().filter(|count| *count <= Self::MOST).map(Self)
            })
            .read(deserializer)
    }
}

impl JsonSchema for Workers {
    fn schema_name() -> Cow<'static, str> {
        "Workers".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": Self::MOST })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_threads_than_any_machine_has_cores_are_refused() {
        let read = |text| serde_json::from_str::<Workers>(text);
        assert_eq!(read("0").expect("one per core"), Workers::PER_CORE);
        assert_eq!(read("1024").expect("the most").count(), 1024);
        for wrong in ["1025", "18446744073709551615", "-1", "1.5", "\"all\""] {
            let error = read(wrong).expect_err(wrong).to_string();
            assert!(error.contains("from 0 to 1024"), "{wrong}: {error}");
        }
    }
}
