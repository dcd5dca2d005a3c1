//! The shares of a run as they were: each change on a line, written ahead of the first step that
//! uses it, so that the run can be done again with the same bits.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::report::Change;
use base::record_file::RecordFile;

/// The file with the shares of the run in this folder.
pub fn file(run: &Path) -> PathBuf {
    run.join("balance.jsonl")
}

/// Writes a change down, onto the disk, unless the file says so already, as that of a run that
/// does some steps again.
///
/// # Errors
/// If the file holds something else, or cannot be written.
pub fn record(path: &Path, change: &Change) -> Result<()> {
    let known = if path.exists() { read(path)? } else { Vec::new() };
    let at_hand = known.iter().rev().find(|known| known.step <= change.step);
    match at_hand {
        Some(at_hand) if at_hand.shares == change.shares => Ok(()),
        _ => append(path, change),
    }
}

fn append(path: &Path, change: &Change) -> Result<()> {
    let mut line = serde_json::to_vec(change)?;
    line.push(b'\n');
    RecordFile::open_lines(path)?.append_now(&line)
}

/// All changes, in the order of their steps. Of several for one step, as a run that was resumed
/// may have written, the last counts. A last line that is not whole was never used by a step.
///
/// # Errors
/// If the file cannot be read, or holds something else.
pub fn read(path: &Path) -> Result<Vec<Change>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut changes = BTreeMap::new();
    for (line, number) in bytes.split_inclusive(|byte| *byte == b'\n').zip(1..) {
        match serde_json::from_slice::<Change>(line).or_else(|error| behind_torn(line).ok_or(error))
        {
            Ok(change) => {
                // What was done again from an earlier step on replaces what came later.
                drop(changes.split_off(&change.step));
                changes.insert(change.step, change);
            }
            Err(_) if !line.ends_with(b"\n") => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("{}, line {number}, is no line of shares such as {{\"step\":0,\"shares\":{{\"tower_0\":64,\"tower_1\":64}}}}", path.display()));
            }
        }
    }
    Ok(changes.into_values().collect())
}

/// The change at the end of a line that begins with a part of another one: earlier versions wrote
/// behind what a killed process had left.
fn behind_torn(line: &[u8]) -> Option<Change> {
    let begin = line.windows(BEGIN.len()).rposition(|part| part == BEGIN).filter(|at| *at > 0)?;
    serde_json::from_slice(&line[begin..]).ok()
}

/// What each line begins with.
const BEGIN: &[u8] = b"{\"step\":";

/// Whether these changes are of batches of this size, computed by these towers.
///
/// # Errors
/// Everything that is not as it should be, a line each.
pub fn check(changes: &[Change], batch: usize, towers: &[String]) -> Result<()> {
    let mut wrong = Vec::new();
    if changes.first().is_none_or(|first| first.step > 0) {
        wrong.push("nothing is said of step 0".to_owned());
    }
    for Change { step, shares } in changes {
        let sum = shares.values().fold(0_usize, |sum, images| sum.saturating_add(*images));
        if sum != batch {
            wrong.push(format!("the shares from step {step} on add up to {sum}, not to {batch}"));
        }
        for name in shares.keys().filter(|name| !towers.contains(name)) {
            wrong.push(format!("step {step} names {name}: there are {}", towers.join(", ")));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Whether the shares at hand at this step are those of all these towers. One that they do not name
/// would have no images.
///
/// # Errors
/// Says whose they are.
pub fn check_towers(changes: &[Change], step: u64, towers: &[String]) -> Result<()> {
    let at_hand = changes.iter().rfind(|change| change.step <= step);
    let Some(Change { shares, .. }) = at_hand else { return Ok(()) };
    ensure!(
        towers.iter().all(|name| shares.contains_key(name)),
        "they are of {}, and there are {}",
        shares.keys().cloned().collect::<Vec<_>>().join(", "),
        towers.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(step: u64, shares: &[(&str, usize)]) -> Change {
        let shares = shares.iter().map(|(name, images)| ((*name).to_owned(), *images)).collect();
        Change { step, shares }
    }

    #[test]
    fn changes_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = file(folder.path());
        assert!(read(&path).is_err());
        let all = [
            change(0, &[("tower_0", 4), ("tower_1", 4)]),
            change(20, &[("tower_0", 5), ("tower_1", 3)]),
            change(40, &[("tower_0", 6), ("tower_1", 2)]),
        ];
        all.iter().for_each(|change| record(&path, change).expect("it is written"));
        assert_eq!(read(&path).expect("it is read"), all);

        // A run that went on after step 30 took other shares from step 35 on.
        let later = change(35, &[("tower_0", 7), ("tower_1", 1)]);
        record(&path, &later).expect("it is written");
        let expected = [all[0].clone(), all[1].clone(), later];
        assert_eq!(read(&path).expect("it is read"), expected);

        // Doing steps again that are known adds nothing.
        for again in [&expected[1], &change(37, &[("tower_0", 7), ("tower_1", 1)])] {
            record(&path, again).expect("it is known");
        }
        assert_eq!(fs::read_to_string(&path).expect("it is there").lines().count(), 4);

        let whole = fs::read(&path).expect("it is there");
        fs::write(&path, [&whole[..], b"{\"step\":50,\"sha\n"].concat()).expect("it is written");
        assert!(read(&path).expect_err("no line of shares").to_string().contains("line 5"));
    }

    #[test]
    fn what_a_killed_process_left_of_a_line_harms_neither_what_is_there_nor_what_comes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = file(folder.path());
        let all = [change(0, &[("tower_0", 4)]), change(20, &[("tower_0", 5), ("tower_1", 3)])];
        let lines: Vec<Vec<u8>> = all
            .iter()
            .map(|change| [&serde_json::to_vec(change).expect("JSON")[..], b"\n"].concat())
            .collect();
        for torn in 0..lines[1].len() {
            fs::write(&path, [&lines[0][..], &lines[1][..torn]].concat()).expect("it is written");
            // Nothing but the line break is missing of a whole change.
            let known = if torn + 1 == lines[1].len() { &all[..] } else { &all[..1] };
            assert_eq!(read(&path).expect("it is read"), known, "{torn}");
            let next = change(30, &[("tower_1", 8)]);
            record(&path, &next).expect("it is written");
            assert_eq!(read(&path).expect("it is read"), [known, &[next]].concat(), "{torn}");
            let text = fs::read_to_string(&path).expect("it is there");
            assert!(text.lines().all(|line| serde_json::from_str::<Change>(line).is_ok()));
        }
        // What an earlier version made of it.
        fs::write(&path, [&lines[0][..], b"{\"step\":10,\"sha\0", &lines[1]].concat())
            .expect("written");
        assert_eq!(read(&path).expect("it is read"), all);
    }

    #[test]
    fn everything_that_does_not_add_up_is_told() {
        let towers = ["tower_0".to_owned(), "tower_1".to_owned()];
        let good = [change(0, &[("tower_0", 4), ("tower_1", 4)]), change(9, &[("tower_1", 8)])];
        check(&good, 8, &towers).expect("it adds up");
        let bad = [change(3, &[("tower_0", 4)]), change(9, &[("tower_2", 8)])];
        let error = check(&bad, 8, &towers).expect_err("it does not").to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(
            lines,
            [
                "nothing is said of step 0",
                "the shares from step 3 on add up to 4, not to 8",
                "step 9 names tower_2: there are tower_0, tower_1",
            ]
        );
        assert!(check(&[], 8, &towers).is_err());
        let huge = [change(0, &[("tower_0", usize::MAX), ("tower_1", 9)])];
        assert!(check(&huge, 8, &towers).is_err());
    }

    #[test]
    fn shares_at_hand_are_those_of_all_towers_or_of_others() {
        let two = ["tower_0".to_owned(), "tower_1".to_owned()];
        let three = [two.as_slice(), &["tower_2".to_owned()]].concat();
        let changes = [
            change(0, &[("tower_0", 4), ("tower_1", 4)]),
            change(9, &[("tower_0", 4), ("tower_1", 2), ("tower_2", 2)]),
        ];
        check_towers(&changes, 8, &two).expect("of both");
        let told = check_towers(&changes, 8, &three).expect_err("of two").to_string();
        assert_eq!(told, "they are of tower_0, tower_1, and there are tower_0, tower_1, tower_2");
        check_towers(&changes, 9, &three).expect("of all three");
        check_towers(&[], 9, &three).expect("of none");
    }
}
