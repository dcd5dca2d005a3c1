//! The tutorial's network in Burn: `burn-peer flex|wgpu --data DIR --seconds S [--lrn band]`.
//!
//! Takes time and prints as `peer.py` does for the peers in Python.

mod images;
mod network;

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use burn::tensor::{Device, DeviceKind};

use images::Images;
use network::{Lrn, Network};

const BATCH: usize = 128;
const BATCHES: usize = 4;
const WARM_UP: Duration = Duration::from_secs(1);

struct Arguments {
    backend: String,
    data: PathBuf,
    time: Duration,
    band: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let given = arguments()?;
    let base = match given.backend.as_str() {
        "flex" => Device::flex(),
        "wgpu" => Device::wgpu(DeviceKind::DefaultDevice),
        other => return Err(format!("expected flex or wgpu, found {other}").into()),
    };
    let device = base.clone().autodiff();
    let lrn = if given.band { Lrn::band(&device) } else { Lrn::builtin() };
    let images = Images::read(&given.data, BATCH * BATCHES)?;
    let batches: Vec<_> = (0..BATCHES).map(|at| images.batch(at * BATCH, BATCH, &device)).collect();
    let mut network = Network::new(lrn, &device);
    let parameters = network.parameters();

    let mut number = 0;
    let mut step = || {
        let (pixels, labels) = batches[number % BATCHES].clone();
        number += 1;
        network.train(pixels, labels)
    };
    // The runner takes the time of this line: the same words as in the log of `runtime run`.
    println!("step 0, loss = {:.4}", step());
    repeat(&mut step, WARM_UP.min(given.time), 2);
    let mut times = repeat(&mut step, given.time, 5);
    times.sort_unstable();
    let median = (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2;
    println!(
        r#"{{"images_per_s": {}, "parameters": {parameters}, "version": "0.22.1"}}"#,
        BATCH as f64 / median.as_secs_f64(),
    );
    Ok(())
}

fn arguments() -> Result<Arguments, String> {
    let mut words = std::env::args().skip(1);
    let backend = words.next().ok_or("expected a backend")?;
    let mut given =
        Arguments { backend, data: PathBuf::new(), time: Duration::from_secs(4), band: false };
    while let Some(name) = words.next() {
        let value = words.next().ok_or(format!("expected a value after {name}"))?;
        match name.as_str() {
            "--data" => given.data = value.into(),
            "--seconds" => {
                let seconds = value.parse().map_err(|error| format!("{value}: {error}"))?;
                given.time = Duration::try_from_secs_f64(seconds)
                    .map_err(|error| format!("{value}: {error}"))?;
            }
            "--lrn" => given.band = value == "band",
            // Taken from RAYON_NUM_THREADS by one backend, and all there are by the other's driver.
            "--threads" => {}
            _ => return Err(format!("there is no {name}")),
        }
    }
    Ok(given)
}

/// Does `work`, which ends with its result on the host, for this time; how long each took.
fn repeat(work: &mut impl FnMut() -> f32, time: Duration, least: usize) -> Vec<Duration> {
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < least || begin.elapsed() < time {
        let start = Instant::now();
        work();
        times.push(start.elapsed());
    }
    times
}
