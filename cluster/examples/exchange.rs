//! What the processes of a job exchange, measured: the time of a meeting, and of sums of different
//! lengths.
//!
//! `mpirun -n 4 target/release/examples/exchange` after
//! `cargo build --release -p gradflow-cluster --features mpi --example exchange`.

use std::time::Instant;

use anyhow::Result;

/// Numbers that are summed: from a bias to more than the tutorial's gradient, which has 1,068,298.
const LENGTHS: [usize; 6] = [64, 4_096, 65_536, 262_144, 1_068_298, 4_194_304];

/// Of so many tries the least time is what the way takes, and the median what comes of it beside all
/// else that is at work.
const TRIES: usize = 51;

fn main() -> Result<()> {
    let job = cluster::join()?;
    job.begin(["exchange"].into_iter());
    let lane = job.lane_of("exchange")?;
    let times = |work: &mut dyn FnMut() -> Result<()>| -> Result<(f64, f64)> {
        let mut seconds = Vec::new();
        for _ in 0..TRIES {
            lane.meet(0)?;
            let start = Instant::now();
            work()?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        Ok((seconds[0], seconds[TRIES / 2]))
    };
    let (least, median) = times(&mut || Ok(lane.meet(0).map(drop)?))?;
    if job.is_first() {
        let (least, median) = (1e6 * least, 1e6 * median);
        println!("{} processes; a meeting takes {least:.1} us, median {median:.1}", job.size());
        println!(
            "{:>8}  {:>9}  {:>9}  {:>20}",
            "numbers", "least ms", "median ms", "MB/s of each, most"
        );
    }
    for length in LENGTHS {
        let mut values = vec![0.0; length];
        let (least, median) = times(&mut || {
            lane.sum(&mut values);
            Ok(())
        })?;
        // To each process, and as many from it.
        let share = (job.size() - 1) as f64 / job.size() as f64;
        let bytes = 2.0 * share * (length * size_of::<f32>()) as f64;
        if job.is_first() {
            let (least_ms, median_ms) = (1e3 * least, 1e3 * median);
            let rate = bytes / least / 1e6;
            println!("{length:>8}  {least_ms:>9.3}  {median_ms:>9.3}  {rate:>20.0}");
        }
    }
    job.leave();
    job.finish();
    Ok(())
}
