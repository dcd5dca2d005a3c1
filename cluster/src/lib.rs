//! Joins the processes of a job.
//!
//! Without the feature `mpi` each process is alone, and nothing of MPI is needed to build it.

#[cfg(feature = "mpi")]
mod mpi;

use anyhow::Result;
use compute::job::Job;

/// The job that this process was started as a part of; by itself if it was not, or if this program
/// was built without the feature `mpi`.
///
/// # Errors
/// If the connection to the others does not allow what a run needs.
pub fn join() -> Result<Job> {
    #[cfg(feature = "mpi")]
    if mpi::is_launched() {
        return mpi::join();
    }
    Job::alone()
}
