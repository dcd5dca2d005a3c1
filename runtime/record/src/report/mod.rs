//! `report.html`: a run on one page that needs nothing but itself.

mod chart;
mod decimate;
mod diagram;
mod evaluation;
mod figures;
mod headline;
mod layout;
mod pictures;
mod scale;
mod steps;

use std::path::Path;

use anyhow::{Context as _, Result};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::chart::{Chart, Curve};
use self::diagram::Flow;
use self::evaluation::Group;
use self::figures::count;
use self::pictures::Filters;
use self::scale::Fit;
use self::steps::Steps;
use crate::metrics::History;
use crate::run_folder::write_whole;
use flow::event::Event;
use flow::reports::{Confusion, DataReport, EvaluationReport, Outcome, Tapped, TrainerReport};

/// The page may show what is in it and fetch nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
const STYLE: &str = concat!(include_str!("chart.css"), include_str!("style.css"));
/// The most warnings that are kept.
const WARNINGS: usize = 100;

/// Curves of values over another number, such as the `batch`, as a picture in SVG that needs nothing
/// but itself. Each curve has a name and points.
pub fn plot(
    title: &str,
    unit: &str,
    over: &str,
    axis: Axis,
    curves: impl IntoIterator<Item = (String, Vec<(f64, f64)>)>,
) -> String {
    let curves = curves.into_iter().map(|(name, points)| Curve::new(name, points)).collect();
    let fit = match axis {
        Axis::FromZero => Fit::FromZero,
        Axis::Round => Fit::Round,
    };
    Chart { title, unit, over, fit, curves }.file()
}

/// Where the axis of a [`plot`]'s values begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// At 0, and at a round number.
    FromZero,
    /// At round numbers around the values.
    Round,
}

/// What is known of a run before it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The run's name.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// The version of the program.
    pub version: String,
    /// The command line.
    pub command: String,
    /// When it was started.
    pub started: String,
    /// The whole configuration, as YAML.
    pub configuration: String,
}

/// Collects what a run says, and makes a page of it whenever asked.
#[derive(Debug)]
pub struct Report {
    title: String,
    facts: Facts,
    told: Vec<(&'static str, String)>,
    warnings: Vec<String>,
    data: Vec<DataReport>,
    trainer: Option<TrainerReport>,
    steps: Steps,
    /// Only the latest of each kind still has its mistakes, confusions and classes.
    evaluations: Vec<EvaluationReport>,
    taps: Vec<Tapped>,
    filters: Option<Filters>,
    classes: Vec<String>,
    stands_in_for: Option<String>,
    outcome: Option<Outcome>,
    /// The stages that evaluate, in the order of the pipeline.
    evaluators: Vec<String>,
}

impl Report {
    /// A report of a run that has not said anything.
    pub fn new(title: impl Into<String>, facts: Facts) -> Self {
        Self {
            title: title.into(),
            facts,
            told: Vec::new(),
            warnings: Vec::new(),
            data: Vec::new(),
            trainer: None,
            steps: Steps::default(),
            evaluations: Vec::new(),
            taps: Vec::new(),
            filters: None,
            classes: Vec::new(),
            stands_in_for: None,
            outcome: None,
            evaluators: Vec::new(),
        }
    }

    /// The same, with what these stages find in their order.
    #[must_use]
    pub fn evaluated_by(mut self, evaluators: &[String]) -> Self {
        self.evaluators = evaluators.to_vec();
        self
    }

    /// Goes on from what the run had measured before it was resumed, which comes first.
    pub fn restore(&mut self, history: &History) {
        history.steps.iter().for_each(|report| self.steps.add(report));
        history.evaluations.iter().for_each(|report| self.evaluated(report));
    }

    /// Adds an evaluation. Of earlier ones of its kind only the figures are kept.
    fn evaluated(&mut self, report: &EvaluationReport) {
        self.learn(&report.classes, report.stands_in_for.as_ref());
        for older in self.evaluations.iter_mut().filter(|older| evaluation::alike(older, report)) {
            older.mistakes = Vec::new();
            older.confusion = Confusion::default();
            older.classes = Vec::new();
        }
        self.evaluations.push(report.clone());
    }

    /// Keeps what the page will need of an event.
    pub fn observe(&mut self, event: &Event) {
        match event {
            Event::Shares(_) => {}
            Event::Fact { key, value } => {
                self.told.retain(|(known, _)| known != key);
                self.told.push((key, value.clone()));
            }
            Event::Warning(text) => {
                if self.warnings.len() < WARNINGS && !self.warnings.contains(text) {
                    self.warnings.push(text.clone());
                }
            }
            Event::Data(report) => {
                self.data.retain(|known| known.stage != report.stage);
                self.data.push(report.clone());
            }
            Event::Trainer(report) => self.trainer = Some(report.as_ref().clone()),
            Event::Tapped(tapped) => {
                self.taps.retain(|known| known.stage != tapped.stage);
                self.taps.push(tapped.clone());
            }
            Event::Step(report) => self.steps.add(report),
            Event::Checkpoint(checkpoint) => {
                let weights = &checkpoint.weights;
                self.filters = Filters::of(weights);
                let source = &weights.source;
                self.learn(&source.classes, source.stands_in_for.as_ref());
            }
            Event::Evaluation(report) => self.evaluated(report),
            Event::Flow(outcome) => self.outcome = Some(outcome.clone()),
            Event::Began(_)
            | Event::Built
            | Event::Diagnosis(_)
            | Event::Download(_)
            | Event::Ended
            | Event::Filling { .. }
            | Event::Summary(_) => {}
        }
    }

    fn learn(&mut self, classes: &[String], stands_in_for: Option<&String>) {
        if !classes.is_empty() {
            self.classes = classes.to_vec();
        }
        self.stands_in_for = stands_in_for.cloned().or(self.stands_in_for.take());
    }

    /// Writes the page. Whoever has it open finds the one before or this one.
    ///
    /// # Errors
    /// If the file cannot be written, or a picture is none.
    pub fn write(&self, path: &Path) -> Result<()> {
        let page = self
            .page()
            .with_context(|| format!("cannot make the report {}", path.display()))?
            .into_string();
        write_whole(path, page.as_bytes())
    }

    fn page(&self) -> Result<Markup> {
        let groups = evaluation::groups(&self.evaluations, &self.evaluators);
        Ok(html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) ": " (self.facts.name) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        (self.header())
                        (self.cards(&groups))
                        (section("curves", "Curves", &self.curves(&groups)))
                        (section("evaluation", "Evaluation", &Self::evaluations(&groups)?))
                        @if let Some(filters) = &self.filters {
                            (section("filters", "Filters of the first layer", &filters.draw()?))
                        }
                        @if !self.taps.is_empty() {
                            (section("samples", "Images before and after augmentation", &self.samples()?))
                        }
                        @if let Some(outcome) = &self.outcome {
                            (section("pipeline", "Pipeline", &Flow::new(outcome).draw()))
                        }
                        (section("run", "Run", &self.run()))
                        (section("configuration", "Configuration", &self.configuration()))
                    }
                }
            }
        })
    }

    fn samples(&self) -> Result<Markup> {
        let tables = pictures::samples(&self.taps, self.outcome.as_ref(), &self.classes)?;
        Ok(html! {
            p.note {
                "Each stage's output. Values that are no bytes are stretched to be seen; where some \
                 are negative, 0 is the middle grey."
            }
            (tables)
        })
    }

    fn evaluations(groups: &[Group<'_>]) -> Result<Markup> {
        let Some((first, others)) = groups.split_first() else {
            return Ok(html! { p.none { "Nothing has been evaluated yet." } });
        };
        Ok(html! {
            (evaluation::table(groups))
            p.note { "In full, after " (count(first.latest().step)) " steps: " (first.name) "." }
            (evaluation::details(first.latest())?)
            @for group in others {
                details {
                    summary { (group.name) " (after " (count(group.latest().step)) " steps)" }
                    (evaluation::details(group.latest())?)
                }
            }
        })
    }

    fn curves(&self, groups: &[Group<'_>]) -> Markup {
        let steps = &self.steps;
        let precision = groups.iter().map(|group| {
            let points = group.all.iter().map(|one| (one.step as f64, 100.0 * one.precision_at_1));
            Curve::new(group.name.as_str(), points.collect())
        });
        let charts = [
            Chart {
                title: "Loss",
                unit: "cross-entropy and decay terms, nats",
                over: "step",
                fit: Fit::Spread,
                curves: vec![
                    Curve::new("of one batch", steps.loss.clone()).faint(),
                    Curve::new("moving average", steps.loss_average.clone()),
                ],
            },
            Chart {
                title: "Precision @ 1",
                unit: "percent of images",
                over: "step",
                fit: Fit::Round,
                curves: precision.collect(),
            },
            Chart {
                title: "Learning rate",
                unit: "per step",
                over: "step",
                fit: Fit::Spread,
                curves: vec![Curve::new("learning rate", steps.learning_rate.clone())],
            },
            Chart {
                title: "Throughput",
                unit: "images/s",
                over: "step",
                fit: Fit::FromZero,
                curves: vec![Curve::new("images/s", steps.images_per_s.clone())],
            },
        ];
        html! {
            div.charts { @for chart in &charts { (chart.draw()) } }
        }
    }

    fn configuration(&self) -> Markup {
        html! {
            p.note { "All settings as they were used." }
            pre tabindex="0" { code { (self.facts.configuration) } }
        }
    }
}

fn section(id: &str, title: &str, content: &Markup) -> Markup {
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (title) }
            (content)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::{evaluation, step};

    fn report() -> Report {
        let facts = Facts {
            name: "<i>name</i>".to_owned(),
            seed: 7,
            version: "0.1.0".to_owned(),
            command: "runtime run \"a b\".yaml".to_owned(),
            started: "2026-01-01 00:00:00".to_owned(),
            configuration: "seed: 7 # </pre><script>alert(1)</script>\n".to_owned(),
        };
        Report::new("Gradflow", facts)
    }

    fn page(report: &Report) -> String {
        report.page().expect("a page").into_string()
    }

    #[test]
    fn what_others_wrote_is_escaped() {
        let mut report = report();
        report.observe(&Event::Warning("<script>".to_owned()));
        let page = page(&report);
        assert!(!page.contains("<script>") && !page.contains("<i>"), "{page}");
        assert!(page.contains("&lt;/pre&gt;&lt;script&gt;alert(1)"), "{page}");
    }

    #[test]
    fn a_resumed_run_has_all_its_steps_and_evaluations() {
        let mut report = report();
        let steps = vec![step(0), step(1)];
        let evaluations = vec![evaluation(2)];
        report.restore(&History { steps, evaluations, torn: None });
        report.observe(&Event::Step(step(2)));
        let steps: Vec<f64> = report.steps.loss.iter().map(|point| point.0).collect();
        assert_eq!(steps, [0.0, 1.0, 2.0]);
        let page = page(&report);
        assert!(page.contains("<title>step 0\n") && page.contains("33.3 %"), "{page}");
    }

    #[test]
    fn stand_ins_and_choices_by_test_data_are_marked() {
        let mut report = report();
        report.observe(&Event::Evaluation(evaluation(1)));
        let before = page(&report);
        assert!(before.contains("chosen on test data") && !before.contains("class=\"alarm\""));
        let real = Some("CIFAR-10".to_owned());
        let drawn = EvaluationReport { stands_in_for: real, ..evaluation(2) };
        report.observe(&Event::Evaluation(drawn));
        assert!(page(&report).contains("class=\"alarm\""));
        let mut report = self::report();
        let split = "validation".to_owned();
        report.observe(&Event::Evaluation(EvaluationReport { split, ..evaluation(1) }));
        assert!(!page(&report).contains("chosen on test data"));
    }

    #[test]
    fn only_the_latest_mistakes_and_confusions_are_kept() {
        use flow::item::{Image, Pixels, SampleId};
        use flow::reports::Mistake;
        let mistake = Mistake {
            id: SampleId { epoch: 0, index: 3 },
            class: 0,
            taken_for: 1,
            probability: 0.9,
            image: Image { shape: [1, 1, 1], pixels: Pixels::F32(vec![0.5]) },
        };
        let wrong = |step| EvaluationReport { mistakes: vec![mistake.clone()], ..evaluation(step) };
        let mut report = report();
        report.observe(&Event::Evaluation(wrong(1)));
        report.observe(&Event::Evaluation(EvaluationReport { averaged: false, ..wrong(2) }));
        report.observe(&Event::Evaluation(wrong(3)));
        let kept: Vec<usize> = report.evaluations.iter().map(|e| e.mistakes.len()).collect();
        assert_eq!(kept, [0, 1, 1]);
        let kept: Vec<usize> = report.evaluations.iter().map(|e| e.confusion.classes()).collect();
        assert_eq!(kept, [0, 2, 2]);
        assert_eq!(page(&report).matches("image 3: cat, taken for dog").count(), 4);
    }
}
