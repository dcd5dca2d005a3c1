//! What is done one after the other, and how long each part took.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cargo;

/// The steps so far.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// Does something under a name, which is printed before; the time is printed afterwards.
    pub(crate) fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("xtask: step {}: {name}", self.done.len() + 1);
        let begin = Instant::now();
        let result = work();
        let took = begin.elapsed();
        let how = if result.is_ok() { "took" } else { "failed after" };
        println!("xtask: step {} {how} {}", self.done.len() + 1, seconds(took).trim_start());
        self.done.push((name.to_owned(), took));
        result
    }

    /// Runs cargo to its end.
    pub(crate) fn cargo(&mut self, arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
        let name = format!("cargo {}", arguments.join(" "));
        self.step(&name, || {
            if !cargo::command(arguments, variables).status()?.success() {
                bail!("`{name}` failed");
            }
            Ok(())
        })
    }

    /// The time of each step and of all.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::from("xtask: time of each step\n");
        for (name, took) in &self.done {
            text += &format!("{}  {name}\n", seconds(*took));
        }
        let all: Duration = self.done.iter().map(|(_, took)| *took).sum();
        text + &format!("{}  all steps\n", seconds(all))
    }
}

/// A time in a column of its own.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:>9.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_is_in_the_summary_too() {
        let mut steps = Steps::default();
        assert_eq!(steps.step("one", || Ok(7)).expect("it works"), 7);
        assert!(steps.step("two", || -> Result<()> { bail!("no") }).is_err());
        let summary = steps.summary();
        let names: Vec<&str> =
            summary.lines().filter_map(|line| line.split_once(" s  ")).map(|(_, n)| n).collect();
        assert_eq!(names, ["one", "two", "all steps"], "{summary}");
    }
}
