//! Takes back what a run measured after the step that it is resumed from.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::{Line, parse};
use base::free_name::numbered;
use base::record_file::Division;

/// Leaves in a file what had been measured when `from_step` steps were done, and moves the rest
/// into a file of the same name, with a number if it is taken, in the folder `aside`.
///
/// The rest is: of steps, which count from 0, those from `from_step` on; of evaluations, whose
/// `step` says how many steps were done, those after more than `from_step`; and a broken last
/// line. A file without a rest is not touched, and one that does not exist is none to cut.
///
/// # Errors
/// If a file cannot be read or written, or a line that is not the last is broken. No line is
/// lost then: what is to go is on the disk in `aside` before the file is replaced.
pub fn cut(path: &Path, from_step: u64, aside: &Path) -> Result<()> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let (lines, torn) = parse(&bytes, path)?;
    let mut division = Division::default();
    let mut end = 0;
    let mut add = |text: &[u8], stays| {
        let begin = end;
        end += text.len() as u64;
        division.add(begin..end, stays);
    };
    for (text, line) in lines {
        let stays = match line {
            Line::Step(step) => step.report.step < from_step,
            Line::Evaluation(evaluation) => evaluation.report.step <= from_step,
        };
        add(text, stays);
    }
    if let Some(torn) = torn {
        add(torn, false);
    }
    let aside = aside.join(path.file_name().unwrap_or_default());
    division.apply(path, |number| numbered(&aside, number)).with_context(|| {
        format!("cannot move the end of {} to {}", path.display(), aside.display())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::{evaluation, step};
    use crate::metrics::{Metrics, read};
    use base::random::Random;
    use flow::event::Event;

    fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lines: Vec<Vec<u8>> =
            bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        lines.sort();
        lines
    }

    #[test]
    fn what_is_kept_and_what_is_put_aside_is_everything() {
        for case in 0..100 {
            let mut random = Random::keyed(1, "cut", 0, case);
            let mut below = |bound: u32| u64::from(random.bits() % bound);
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("metrics.jsonl");
            let mut metrics = Metrics::append(&path).expect("it opens");
            for number in 0..below(20) {
                metrics.observe(&Event::Step(step(number))).expect("written");
                if below(3) == 0 {
                    metrics.observe(&Event::Evaluation(evaluation(number + 1))).expect("written");
                }
            }
            let mut whole = fs::read(&path).expect("written");
            let torn = below(2) == 0;
            if torn {
                whole.extend_from_slice(b"{\"kind\":\"st");
                fs::write(&path, &whole).expect("written");
            }
            let (from, aside) = (below(25), folder.path().join("aside"));
            let before = read(&path).expect("readable");
            cut(&path, from, &aside).expect("it can be cut");

            let kept = read(&path).expect("readable");
            assert!(kept.torn.is_none());
            let stays: Vec<_> = before.steps.into_iter().filter(|s| s.step < from).collect();
            assert_eq!(kept.steps, stays);
            let stays: Vec<_> = before.evaluations.into_iter().filter(|e| e.step <= from).collect();
            assert_eq!(kept.evaluations, stays);
            let rest = fs::read(aside.join("metrics.jsonl")).unwrap_or_default();
            assert_eq!(rest.is_empty(), !aside.exists());
            let kept = fs::read(&path).expect("readable");
            assert_eq!(lines(&[kept, rest].concat()), lines(&whole));
        }
    }

    #[test]
    fn what_is_aside_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, aside) = (folder.path().join("metrics.jsonl"), folder.path().join("aside"));
        for number in 0..3 {
            let mut metrics = Metrics::append(&path).expect("it opens");
            metrics.observe(&Event::Step(step(number))).expect("written");
            cut(&path, 0, &aside).expect("it can be cut");
        }
        for (number, name) in
            ["metrics.jsonl", "metrics.1.jsonl", "metrics.2.jsonl"].iter().enumerate()
        {
            let history = read(&aside.join(name)).expect("readable");
            assert_eq!(history.steps, [step(number as u64)]);
        }
    }

    #[test]
    fn files_without_a_rest_are_not_touched() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, aside) = (folder.path().join("metrics.jsonl"), folder.path().join("aside"));
        cut(&path, 3, &aside).expect("no file, nothing to do");
        assert!(!path.exists());
        let mut metrics = Metrics::append(&path).expect("it opens");
        metrics.observe(&Event::Step(step(2))).expect("written");
        metrics.observe(&Event::Evaluation(evaluation(3))).expect("written");
        cut(&path, 3, &aside).expect("nothing to do");
        assert!(!aside.exists());
        // The writer still holds the same file.
        metrics.observe(&Event::Step(step(3))).expect("written");
        assert_eq!(read(&path).expect("readable").steps, [step(2), step(3)]);
        let broken = [b"?\n", &fs::read(&path).expect("readable")[..]].concat();
        fs::write(&path, &broken).expect("written");
        cut(&path, 0, &aside).expect_err("a broken line");
        assert_eq!(fs::read(&path).expect("readable"), broken);
        assert!(!aside.exists());
    }
}
