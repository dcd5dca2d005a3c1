//! A run in several processes: what they begin with, and how they end, is the same for all. The first
//! process speaks for them.

use anyhow::Error;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::output::Failure;
use compute::job::{Job, Left};
use config::yaml::Document;
use flow::plan::Plan;
use record::recorder::PROGRAM;

/// What a process says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Said {
    /// Such as `process 2 of 4 (node17)`.
    who: String,
    /// What must be alike.
    alike: Vec<(String, String)>,
    /// How it failed.
    failed: Option<Failed>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Failed {
    status: u8,
    text: Option<String>,
    /// Whether it only ended because another process had left.
    follows: bool,
}

/// What all processes have come to, or why they do not go on: whoever failed, all do. The first
/// process tells it.
pub(super) fn agree<T>(
    job: &Job,
    mine: Result<T, Failure>,
    alike: impl FnOnce(&T) -> Vec<(String, String)>,
) -> Result<T, Failure> {
    if !job.is_shared() {
        return mine;
    }
    let said = Said {
        who: job.who(),
        alike: mine.as_ref().map(alike).unwrap_or_default(),
        failed: mine.as_ref().err().map(|failure| Failed {
            status: failure.status(),
            text: failure.text(false),
            follows: matches!(failure, Failure::Interrupted) || follows(failure),
        }),
    };
    let said = serde_json::to_vec(&said).unwrap_or_default();
    let all = job.whole().gather(&said).map_err(|left| Failure::Run(Error::new(left)))?;
    let all: Vec<Said> =
        all.iter().map(|bytes| serde_json::from_slice(bytes).unwrap_or_default()).collect();
    let Some((rank, status, text)) = verdict(&all) else { return mine };
    match mine {
        // It can be told best by whom it happened to, if that is the one who speaks.
        Err(failure) if rank == 0 && job.is_first() => Err(failure),
        _ if job.is_first() => Err(Failure::Told { text, status }),
        // A launcher may end all others as soon as one is not well: the first one must have told.
        _ => Err(Failure::Told { text: None, status: 0 }),
    }
}

fn follows(failure: &Failure) -> bool {
    let Failure::Run(error) = failure else { return false };
    error.chain().any(<dyn std::error::Error>::is::<Left>)
}

/// Why the job does not go on: by which process, with which exit status, and what is said of it.
fn verdict(all: &[Said]) -> Option<(usize, u8, Option<String>)> {
    let failed = all.iter().enumerate().filter_map(|(rank, said)| {
        let failed = said.failed.as_ref()?;
        Some((rank, said, failed))
    });
    // Whoever only follows comes after what it follows.
    if let Some((rank, said, failed)) = failed.min_by_key(|(_, _, failed)| failed.follows) {
        let text = failed.text.as_ref().map(|text| {
            let text = text.strip_prefix("error: ").unwrap_or(text);
            format!("error: {}: {text}", said.who)
        });
        return Some((rank, failed.status, text));
    }
    let first = all.first()?;
    for (rank, said) in all.iter().enumerate().skip(1) {
        let differs = first.alike.iter().zip(&said.alike).find(|(first, other)| first != other);
        if let Some(((what, expected), (_, found))) = differs {
            let text = format!(
                "error: the processes of a job must run the same, and the {what} of {} is {found}, \
                 that of {} {expected}\n  = help: give all machines the same program, pipeline and \
                 settings\n",
                said.who, first.who
            );
            return Some((rank, 2, Some(text)));
        }
    }
    None
}

/// What must be alike in all processes before they begin.
pub(super) fn fingerprint(plan: &Plan) -> Vec<(String, String)> {
    let text = Document::write(&plan.resolved()).unwrap_or_default();
    let hash = Sha256::digest(text);
    let hash: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let steps = plan.settings.resume.as_ref().map_or(0, |resume| resume.weights.progress.steps);
    vec![
        ("version".to_owned(), PROGRAM.to_owned()),
        ("seed".to_owned(), plan.settings.seed.to_string()),
        ("pipeline's hash".to_owned(), hash),
        ("first step".to_owned(), steps.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(who: &str, hash: &str, failed: Option<(u8, &str, bool)>) -> Said {
        Said {
            who: who.to_owned(),
            alike: vec![("version".into(), "1".into()), ("hash".into(), hash.into())],
            failed: failed.map(|(status, text, follows)| Failed {
                status,
                text: Some(text.to_owned()),
                follows,
            }),
        }
    }

    #[test]
    fn the_cause_is_told_and_not_what_followed() {
        let all = [
            said("p0", "a", Some((130, "", true))),
            said("p1", "a", None),
            said("p2", "a", Some((1, "error: no disk", false))),
        ];
        assert_eq!(verdict(&all), Some((2, 1, Some("error: p2: no disk".to_owned()))));
        assert_eq!(verdict(&all[..2]).map(|found| found.1), Some(130));
        assert_eq!(verdict(&all[1..2]), None);
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        let all = [said("p0", "a", None), said("p1", "a", None), said("p2", "b", None)];
        let (rank, status, text) = verdict(&all).expect("they differ");
        assert_eq!((rank, status), (2, 2));
        assert!(text.is_some_and(|text| text.contains("the hash of p2 is b, that of p0 a")));
    }
}
