//! One file from a server, however often the connection is lost.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, anyhow, ensure};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body, Timeout};

use super::{Fetcher, Interrupted, Progress, without_credentials};

/// How long is waited for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a name or a connection: a machine without a network goes on soon.
    pub connect: Duration,
    /// For the next bytes.
    pub read: Duration,
    /// Before the second attempt; twice as long before each further one.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(30),
            pause: Duration::from_secs(1),
        }
    }
}

/// Attempts in a row that bring next to nothing before it is given up.
const ATTEMPTS: u32 = 6;
/// The same as long as nothing was ever heard of the server: time-outs take long.
const ATTEMPTS_AT_FIRST: u32 = 3;
/// Bytes that are more than next to nothing.
const SOME: u64 = 1 << 20;
/// Time between two words about progress.
const PERIOD: Duration = Duration::from_millis(100);

/// One file from a server.
pub(super) struct Transfer<'a> {
    pub(super) fetcher: &'a Fetcher<'a>,
    pub(super) url: &'a str,
    /// For people.
    pub(super) name: &'a str,
    /// Where its bytes are kept, those of earlier starts as well.
    pub(super) part: &'a Path,
    pub(super) most_bytes: u64,
}

/// Why an attempt failed.
enum Failure {
    /// Another one may do better.
    Passing(Error),
    /// Another one may do better if there is a network, of which nothing was seen.
    Unreachable(Error),
    /// Another one will not.
    Lasting(Error),
}

impl Failure {
    fn lasting(error: impl Into<Error>) -> Self {
        Self::Lasting(error.into())
    }
}

impl Transfer<'_> {
    /// Brings the whole file. Gives whether all bytes of it are from one answer to this call, with
    /// none kept from before.
    ///
    /// # Errors
    /// If the server cannot be reached, has no such file, sends too much, or fails again and again.
    /// What came is kept.
    pub(super) fn run(&self) -> Result<bool> {
        let agent = self.agent();
        let mut answered = false;
        let mut failures = 0;
        let mut began_at = self.have()?;
        loop {
            ensure!(!self.fetcher.stop.is_stopped(), Interrupted);
            let before = self.have()?;
            let failure = match self.attempt(&agent, before, &mut began_at, &mut answered) {
                Ok(()) => return Ok(began_at == 0),
                Err(Failure::Lasting(error)) => return Err(error),
                // Without a network, there is nothing to wait for.
                Err(Failure::Unreachable(error)) if !answered => return Err(error),
                Err(Failure::Unreachable(error) | Failure::Passing(error)) => error,
            };
            let have = self.have()?;
            failures = if have >= before + SOME { 1 } else { failures + 1 };
            let attempts = if answered { ATTEMPTS } else { ATTEMPTS_AT_FIRST };
            if failures >= attempts {
                return Err(failure.context(format!(
                    "given up after {failures} attempts; the first {have} bytes are kept in {}, and \
                     the next start goes on behind them",
                    self.part.display()
                )));
            }
            let pause = self.fetcher.settings.patience.pause * 2_u32.pow(failures - 1);
            (self.fetcher.progress)(Progress::Note(format!(
                "{}: {failure:#}; going on after byte {have} in {:.0} s",
                self.name,
                pause.as_secs_f64().ceil()
            )));
            self.fetcher.pause(pause)?;
        }
    }

    fn agent(&self) -> Agent {
        let patience = self.fetcher.settings.patience;
        // A proxy is taken from the environment.
        Agent::config_builder()
            .http_status_as_error(false)
            .user_agent(concat!("gradflow/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_per_read(Some(patience.read))
            .build()
            .into()
    }

    /// Bytes that are there.
    fn have(&self) -> Result<u64> {
        match std::fs::metadata(self.part) {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => {
                Err(error).with_context(|| format!("cannot read {}", self.part.display()))
            }
        }
    }

    /// Asks for all bytes from `have` on, and keeps what comes.
    fn attempt(
        &self,
        agent: &Agent,
        have: u64,
        began_at: &mut u64,
        answered: &mut bool,
    ) -> Result<(), Failure> {
        // Packed on the way, a part of it could not be gone on with.
        let mut request = agent.get(self.url).header("Accept-Encoding", "identity");
        if have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
        }
        let response = request.call().map_err(|error| self.unanswered(error))?;
        *answered = true;
        let (start, total) = match response.status() {
            StatusCode::PARTIAL_CONTENT => match range(&response) {
                Some((start, total)) if start == have => (have, total),
                _ => {
                    self.begin_anew(began_at)?;
                    return Err(Failure::Passing(anyhow!("the server sent another part")));
                }
            },
            // It sends everything, whatever it was asked for.
            StatusCode::OK => {
                if have > 0 {
                    self.begin_anew(began_at)?;
                }
                (0, response.body().content_length())
            }
            StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => {
                // Nothing is missing, or these are not bytes of that file.
                if range(&response).is_some_and(|(_, total)| total == Some(have)) {
                    return Ok(());
                }
                self.begin_anew(began_at)?;
                return Err(Failure::Passing(anyhow!("the server has fewer bytes than were kept")));
            }
            status => return Err(refusal(status)),
        };
        if let Some(total) = total.filter(|total| *total > self.most_bytes) {
            return Err(self.too_much(total));
        }
        self.keep(response.into_body(), start, total)
    }

    /// Writes the bytes that come behind those that are there.
    fn keep(&self, body: Body, start: u64, total: Option<u64>) -> Result<(), Failure> {
        let mut file = self.open()?;
        let mut have = start;
        let mut from = body.into_reader();
        let mut buffer = vec![0; 1 << 16];
        let mut told = Instant::now();
        let tell = |have| {
            let file = self.name.to_owned();
            (self.fetcher.progress)(Progress::Bytes { file, have, of: total });
        };
        tell(have);
        loop {
            if self.fetcher.stop.is_stopped() {
                return Err(Failure::lasting(Interrupted));
            }
            let read = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => {
                    let lost = format!("the connection was lost after byte {have}");
                    return Err(Failure::Passing(Error::from(error).context(lost)));
                }
            };
            if have + read as u64 > self.most_bytes {
                return Err(self.too_much(have + read as u64));
            }
            let kept = file.write_all(&buffer[..read]);
            kept.with_context(|| self.cannot_write()).map_err(Failure::Lasting)?;
            have += read as u64;
            if told.elapsed() >= PERIOD {
                told = Instant::now();
                tell(have);
            }
        }
        tell(have);
        match total {
            Some(total) if have < total => {
                Err(Failure::Passing(anyhow!("{have} of {total} bytes came")))
            }
            _ => Ok(()),
        }
    }

    fn open(&self) -> Result<File, Failure> {
        let file = OpenOptions::new().create(true).append(true).open(self.part);
        file.with_context(|| self.cannot_write()).map_err(Failure::Lasting)
    }

    fn begin_anew(&self, began_at: &mut u64) -> Result<(), Failure> {
        *began_at = 0;
        self.open()?.set_len(0).with_context(|| self.cannot_write()).map_err(Failure::Lasting)
    }

    fn cannot_write(&self) -> String {
        format!(
            "cannot write {}: make room there, or set GRADFLOW_CACHE to another folder; what is \
             there is kept, and the next start goes on behind it",
            self.part.display()
        )
    }

    fn too_much(&self, bytes: u64) -> Failure {
        Failure::Lasting(anyhow!(
            "the server has {bytes} bytes or more, and {} has {} at most: is the address right?",
            self.name,
            self.most_bytes
        ))
    }

    fn unanswered(&self, error: ureq::Error) -> Failure {
        let no_connection = match &error {
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
            // A name that is not found is of no kind that has a name.
            ureq::Error::Io(error) => !matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::WouldBlock
            ),
            ureq::Error::Timeout(_) | ureq::Error::Protocol(_) => false,
            // Some of these name the address.
            _ => return Failure::Lasting(anyhow!(without_credentials(&error.to_string()))),
        };
        let error = Error::from(error).context("the server does not answer");
        if no_connection { Failure::Unreachable(error) } else { Failure::Passing(error) }
    }
}

/// What a status other than success means.
fn refusal(status: StatusCode) -> Failure {
    let error = anyhow!("the server answered {status}");
    let passing = status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    if passing { Failure::Passing(error) } else { Failure::Lasting(error) }
}

/// First byte and total of `Content-Range: bytes 5-9/10` or `bytes */10`.
fn range(response: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let text = response.headers().get("Content-Range")?.to_str().ok()?;
    let (part, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = part.split_once('-').map_or(Some(0), |(start, _)| start.trim().parse().ok())?;
    Some((start, total.trim().parse().ok()))
}
