//! What the environment says of where data is.

use std::path::PathBuf;

use base::cache;

use crate::settings::{DataSettings, RunSettings};

/// Where data is kept, unless the command line says otherwise.
const DATA_VARIABLE: &str = "GRADFLOW_DATA";

/// An address that data is downloaded from instead of each data set's own.
pub const MIRROR_VARIABLE: &str = "GRADFLOW_MIRROR";

/// Whether nothing is downloaded.
const OFFLINE_VARIABLE: &str = "GRADFLOW_OFFLINE";

/// What the environment says of a run, and the folder with its data, if that is named.
pub fn settings(data: Option<PathBuf>) -> RunSettings {
    let default_place = std::env::var_os(DATA_VARIABLE).filter(|value| !value.is_empty());
    let data = DataSettings {
        place: data,
        default_place: default_place.map(PathBuf::from),
        fetch: Some(downloads(None)),
        ..DataSettings::default()
    };
    RunSettings { data, ..RunSettings::default() }
}

/// Where downloads come from and go to by the environment, before which a mirror that is named goes.
pub fn downloads(mirror: Option<&str>) -> fetch::Settings {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let offline = variable(OFFLINE_VARIABLE).is_some_and(|value| value != "0");
    let mirror = mirror.map(str::to_owned).or_else(|| variable(MIRROR_VARIABLE));
    fetch::Settings::new(cache::folder().map(|folder| folder.join("data")), mirror, offline)
}
