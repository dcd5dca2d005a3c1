//! Runs a program of tests, shows what it prints, and kills it if it hangs.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How long to wait for the last words of a program that was killed.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What became of a program of tests.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Whether it ended well.
    pub(crate) success: bool,
    /// The tests that were at work when it was killed; `None` if it ended by itself.
    pub(crate) hung: Option<Vec<String>>,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) time: Duration,
    /// The processor time of it and of the processes that it waited for, where that is known.
    pub(crate) processor: Option<Duration>,
}

/// Runs a program of tests. It is killed, with all that it started, once it has printed nothing for
/// as long as `patience`: a line comes with the end of each test.
pub(crate) fn run(mut command: Command, patience: Duration) -> Result<Outcome> {
    let (begin, before) = (Instant::now(), processor_time());
    command.stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
    let mut out = BufReader::new(child.stdout.take().context("no standard output")?);
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut line = Vec::new();
        while out.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            if sender.send(text).is_err() {
                break;
            }
            line.clear();
        }
    });

    let mut log = Log::default();
    let mut hangs = false;
    loop {
        match lines.recv_timeout(if hangs { LAST_WORDS } else { patience }) {
            Ok(line) => {
                print!("{line}");
                log.read(line.trim_end());
            }
            Err(RecvTimeoutError::Timeout) if !hangs => {
                hangs = true;
                kill(child.id());
                // Where that could not be done, at least this one ends.
                let _ = child.kill();
            }
            Err(_) => break,
        }
    }
    let status = child.wait()?;
    let processor = before.zip(processor_time()).map(|(before, after)| after - before);
    Ok(Outcome {
        success: status.success() && !hangs,
        hung: hangs.then(|| log.running.into_iter().collect()),
        passed: log.passed,
        failed: log.failed,
        time: begin.elapsed(),
        processor,
    })
}

/// What the lines of a program of tests say.
#[derive(Default)]
struct Log {
    /// Tests that were begun and have not ended, as far as it is told: those that have taken a
    /// minute, or the only one where tests run one after the other.
    running: BTreeSet<String>,
    passed: u64,
    failed: u64,
}

impl Log {
    fn read(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            let count = |what: &str| {
                let before = result.split(what).next().filter(|before| before.len() < result.len());
                before.and_then(|text| text.rsplit(' ').next()).and_then(|n| n.parse().ok())
            };
            self.passed += count(" passed").unwrap_or(0);
            self.failed += count(" failed").unwrap_or(0);
        } else if let Some(test) = line.strip_prefix("test ") {
            if let Some((name, _)) = test.split_once(" has been running for over ") {
                self.running.insert(name.to_owned());
            } else if let Some(name) = test.strip_suffix(" ...") {
                self.running.insert(without_note(name));
            } else if let Some((name, _)) = test.rsplit_once(" ... ") {
                self.running.remove(&without_note(name));
            }
        }
    }
}

fn without_note(name: &str) -> String {
    name.strip_suffix(" - should panic").unwrap_or(name).to_owned()
}

/// Kills a process and all below it. They stay in the process group of the terminal, so that Ctrl-C
/// ends them as well.
fn kill(root: u32) {
    if cfg!(windows) {
        let _ = Command::new("taskkill").args(["/T", "/F", "/PID", &root.to_string()]).status();
        return;
    }
    let table = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output();
    let table = table.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    let below = descendants(&table.unwrap_or_default(), root);
    let ids = [vec![root], below].concat();
    let _ = Command::new("kill").arg("-KILL").args(ids.iter().map(u32::to_string)).status();
}

/// The processes below one in a table of processes and their parents.
fn descendants(table: &str, root: u32) -> Vec<u32> {
    let pairs: Vec<(u32, u32)> = table
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .collect();
    let mut found = vec![root];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        let children = pairs.iter().filter(|(child, of)| *of == parent && !found.contains(child));
        let children: Vec<u32> = children.map(|(child, _)| *child).collect();
        found.extend(children);
        at += 1;
    }
    found.split_off(1)
}

/// The processor time of all processes that this one has waited for; `None` where Linux's table of
/// processes is not there.
pub(crate) fn processor_time() -> Option<Duration> {
    children_time(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Reads it from a line of that table, in hundredths of a second.
fn children_time(stat: &str) -> Option<Duration> {
    // The name, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(13);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (ticks()? + ticks()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> Log {
        let mut log = Log::default();
        lines.iter().for_each(|line| log.read(line));
        log
    }

    #[test]
    fn tests_that_were_begun_and_have_not_ended_are_known() {
        let log = log(&[
            "running 4 tests",
            "test a::quick ... ok",
            "test a::slow has been running for over 60 seconds",
            "test b::hangs has been running for over 60 seconds",
            "test a::slow ... FAILED",
            "test c::panics - should panic ...",
            "test c::panics - should panic ... ok",
            "test src/lib.rs - item (line 3) ...",
            "no test ... ok",
        ]);
        let running: Vec<&str> = log.running.iter().map(String::as_str).collect();
        assert_eq!(running, ["b::hangs", "src/lib.rs - item (line 3)"]);
    }

    #[test]
    fn results_are_added_up() {
        let log = log(&[
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        ]);
        assert_eq!((log.passed, log.failed), (15, 2));
    }

    #[test]
    fn processes_below_one_are_found_at_any_depth() {
        let table =
            "    1     0\n   20     1\n   21    20\n   30     1\n   22    21\n   23    20\n";
        assert_eq!(descendants(table, 20), [21, 23, 22]);
        assert_eq!(descendants(table, 22), []);
        assert_eq!(descendants("", 22), []);
    }

    #[test]
    fn the_time_of_children_is_read_whatever_the_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 100 200 150 50 20 0";
        assert_eq!(children_time(stat), Some(Duration::from_secs(2)));
    }

    #[cfg(unix)]
    #[test]
    fn what_hangs_is_killed_and_named() {
        // It has a child of its own, which keeps the pipe open.
        let script = "echo 'test a ... ok'; printf 'test b ... '; sleep 600; echo ok";
        // On a busy machine it may not come that far within a second.
        for patience in 1.. {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            let outcome = run(command, Duration::from_secs(patience)).expect("it starts");
            assert!(!outcome.success);
            let hung = outcome.hung.expect("it hangs");
            if !hung.is_empty() {
                assert_eq!(hung, ["b"]);
                break;
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_ends_is_not_killed() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'test result: ok. 2 passed; 0 failed'"]);
        let outcome = run(command, Duration::from_secs(600)).expect("it starts");
        assert!(outcome.success && outcome.hung.is_none());
        assert_eq!((outcome.passed, outcome.failed), (2, 0));
    }
}
