//! One checkpoint as a safetensors file, which other tools can open.

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View};
use serde::{Deserialize, Serialize};

use super::{About, Stored, StoredTensor};
use crate::run_folder::write_whole;
use base::regular_file;
use flow::item::{Progress, Source, Weights};

/// The key of the file's text that holds everything that is no tensor.
const KEY: &str = "gradflow";

/// The version of what stands there. A reader refuses what is newer than itself.
const VERSION: u32 = 1;

/// What stands there.
#[derive(Serialize, Deserialize)]
struct Header {
    // These two come first: see `without_checksum`.
    version: u32,
    /// The CRC-32C of this with 0 here, then of each tensor: name, shape and values.
    crc32c: u32,
    about: About,
    progress: Progress,
    source: Source,
}

/// A tensor to be written.
struct Written<'a> {
    shape: &'a [usize],
    values: &'a [f32],
}

impl View for Written<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if cfg!(target_endian = "little") {
            Cow::Borrowed(bytemuck::cast_slice(self.values))
        } else {
            Cow::Owned(self.values.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

/// A checkpoint of a version that this program does not know.
#[derive(Debug)]
pub(super) struct TooNew {
    version: u32,
}

impl fmt::Display for TooNew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it is of version {}, and this program knows versions up to {VERSION}: use the \
             Gradflow that wrote it, or a newer one",
            self.version
        )
    }
}

impl Error for TooNew {}

/// Writes a checkpoint whole: afterwards the file is there, or everything is as before.
///
/// # Errors
/// If the disk is full or the folder cannot be written to; the message names the file.
pub fn write(path: &Path, weights: &Weights, about: &About) -> Result<()> {
    write_whole(path, &encode(weights, about)?)
}

pub(super) fn encode(weights: &Weights, about: &About) -> Result<Vec<u8>> {
    let graph = &weights.graph;
    let parameters = graph.parameters.iter().zip(&weights.raw).zip(&weights.averages);
    let mut tensors: Vec<(&str, Written<'_>)> = parameters
        .flat_map(|((parameter, raw), average)| {
            [(parameter.value, raw), (parameter.average, average)]
        })
        .chain(graph.states().zip(&weights.states))
        .map(|(id, values)| {
            let tensor = graph.tensor(id);
            (tensor.name.as_str(), Written { shape: &tensor.shape, values })
        })
        .collect();
    tensors.sort_by_key(|(name, _)| *name);
    let mut header = Header {
        version: VERSION,
        crc32c: 0,
        about: about.clone(),
        progress: weights.progress,
        source: Source::clone(&weights.source),
    };
    let parts = tensors.iter().map(|(name, written)| (*name, written.shape, written.data()));
    header.crc32c = checksum(&serde_json::to_string(&header)?, parts);
    let text = HashMap::from([(KEY.to_owned(), serde_json::to_string(&header)?)]);
    safetensors::serialize(tensors, Some(text))
        .map_err(|error| anyhow!("a tensor cannot be kept: {error}"))
}

fn checksum<'a>(
    header: &str,
    tensors: impl Iterator<Item = (&'a str, &'a [usize], Cow<'a, [u8]>)>,
) -> u32 {
    let mut crc = crc32c::crc32c(header.as_bytes());
    for (name, shape, bytes) in tensors {
        crc = crc32c::crc32c_append(crc, format!("\n{name} {shape:?}\n").as_bytes());
        crc = crc32c::crc32c_append(crc, &bytes);
    }
    crc
}

/// The text of a header as it was when its checksum was taken: with 0 in the place of that. What is
/// checked is the text itself, so that another version may have had fewer fields, or more.
fn without_checksum(text: &str, header: &Header) -> Option<String> {
    let beginning = |crc32c: u32| format!(r#"{{"version":{},"crc32c":{crc32c},"#, header.version);
    Some(beginning(0) + text.strip_prefix(&beginning(header.crc32c))?)
}

/// Reads a checkpoint.
///
/// # Errors
/// If the file cannot be read, is something else, is newer than this program, or is damaged: no
/// bit of it may differ from what was written.
pub fn read(path: &Path) -> Result<Stored> {
    let bytes =
        regular_file::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    decode(&bytes).with_context(|| format!("{} is no checkpoint that can be used", path.display()))
}

pub(super) fn decode(bytes: &[u8]) -> Result<Stored> {
    // The library allocates nothing by what a header claims before it has compared it with the
    // number of bytes that are there.
    let damaged = |error| anyhow!("it is damaged, or no safetensors file ({error})");
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let text = metadata.metadata().as_ref().and_then(|entries| entries.get(KEY));
    let text = text.context("it is a safetensors file, but was not written by Gradflow")?;
    let version = serde_json::from_str::<Version>(text).context("its header is damaged")?.version;
    if version > VERSION {
        bail!(TooNew { version });
    }
    let header: Header = serde_json::from_str(text).context("its header is damaged")?;
    let checked = without_checksum(text, &header).context("its header is damaged")?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut views: Vec<(String, TensorView<'_>)> = file.tensors();
    views.sort_by(|a, b| a.0.cmp(&b.0));
    let parts =
        views.iter().map(|(name, view)| (name.as_str(), view.shape(), Cow::Borrowed(view.data())));
    let found = checksum(&checked, parts);
    ensure!(found == header.crc32c, "it is damaged: its numbers do not give its checksum");
    let tensors = views.iter().map(|(name, view)| tensor(name, view)).collect::<Result<_>>()?;
    let Header { about, progress, source, .. } = header;
    Ok(Stored { about, progress, source, tensors })
}

/// The part of a header that every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

fn tensor(name: &str, view: &TensorView<'_>) -> Result<StoredTensor> {
    if view.dtype() != Dtype::F32 {
        bail!("its tensor {name} is {}, and f32 was expected", view.dtype());
    }
    let values = view.data().chunks_exact(4).map(|four| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(four);
        f32::from_le_bytes(bytes)
    });
    Ok(StoredTensor {
        name: name.to_owned(),
        shape: view.shape().to_vec(),
        values: values.collect(),
    })
}
