//! What becomes of a rate that changes until the run's end where that is moved.

use std::fmt;

use super::{RunExtent, Schedule};

/// A rate that goes on otherwise than it would have, as the run ends elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// The name of the schedule.
    pub schedule: &'static str,
    /// The rate that the next step would have had.
    pub before: f64,
    /// The rate that it has.
    pub now: f64,
    /// The `over` that keeps the rates as they were.
    pub over: String,
}

impl Schedule {
    /// What becomes of the rate of a step, before which so many images have been seen, where a run
    /// of this extent gets another one. `None` if it stays what it is.
    pub fn stretch(
        &self,
        images_seen: u64,
        before: &RunExtent,
        now: &RunExtent,
    ) -> Option<Stretch> {
        let Self::Curve(curve) = self else { return None };
        let rates = [before, now].map(|extent| self.at(images_seen, extent));
        (rates[0] != rates[1]).then(|| Stretch {
            schedule: curve.name(),
            before: rates[0],
            now: rates[1],
            over: over(before.total_images, now.epoch_images),
        })
    }
}

/// So many images as a schedule's `over`, in a run whose epochs have so many.
fn over(images: Option<u64>, epoch_images: u64) -> String {
    let images = images.unwrap_or(u64::MAX);
    let epochs = images as f64 / epoch_images.max(1) as f64;
    let rounded = (epochs * 1000.0).round() / 1000.0;
    // An end in epochs is easier to recognise, where it is the same.
    if rounded * epoch_images as f64 == images as f64 {
        format!("{{ epochs: {rounded} }}")
    } else {
        format!("{{ images: {images} }}")
    }
}

/// A rate in three digits.
pub struct Rate(pub f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = format!("{:.2e}", self.0);
        match short.parse::<f64>() {
            Ok(rate) if rate == 0.0 || rate.abs() >= 1e-6 => rate.fmt(f),
            _ => f.write_str(&short),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: RunExtent = RunExtent { epoch_images: 100, total_images: Some(1_000) };
    const LONG: RunExtent = RunExtent { epoch_images: 100, total_images: Some(1_200) };

    fn read(text: &str) -> Schedule {
        crate::testing::schedule(text)
    }

    #[test]
    fn every_rate_that_changes_until_the_end_is_told_and_no_other() {
        for (text, schedule) in [
            (r#"{ "linear": { "initial": 0.01 } }"#, "linear"),
            (r#"{ "cosine": { "initial": 0.01 } }"#, "cosine"),
            (r#"{ "one_cycle": { "peak": 0.01 } }"#, "one_cycle"),
        ] {
            let found = read(text).stretch(900, &SHORT, &LONG).expect(text);
            assert_eq!((found.schedule, &*found.over), (schedule, "{ epochs: 10 }"));
            assert!(found.now > found.before, "{found:?}");
            assert_eq!(read(text).stretch(900, &SHORT, &SHORT), None);
            let kept = text.replacen("0.01", r#"0.01, "over": { "epochs": 10 }"#, 1);
            assert_eq!(read(&kept).stretch(900, &SHORT, &LONG), None, "{kept}");
            // What is proposed gives the rates that were.
            assert_eq!(read(&kept).at(900, &LONG), found.before);
        }
        for text in [
            "0.1",
            r#"{ "exponential": { "initial": 0.1, "factor": 0.5, "every": { "epochs": 1 } } }"#,
            r#"{ "piecewise": { "initial": 0.1, "then": [ { "after": { "epochs": 2 }, "rate": 1 } ] } }"#,
            r#"{ "linear": { "initial": 0.1, "final": 0.1 } }"#,
        ] {
            assert_eq!(read(text).stretch(900, &SHORT, &LONG), None, "{text}");
        }
    }

    #[test]
    fn an_end_is_named_in_epochs_if_they_are_exact() {
        assert_eq!(over(Some(58), 29), "{ epochs: 2 }");
        assert_eq!(over(Some(14), 29), "{ images: 14 }");
        assert_eq!(over(Some(50), 100), "{ epochs: 0.5 }");
    }

    #[test]
    fn rates_are_short() {
        let shown = [0.001_666_7, 2e-4, 0.0, 1.23456e-9, 0.1].map(|rate| Rate(rate).to_string());
        assert_eq!(shown, ["0.00167", "0.0002", "0", "1.23e-9", "0.1"]);
    }
}
