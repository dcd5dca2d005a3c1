//! How good the weights are: per evaluation, per class, and where they are wrong.

use anyhow::Result;
use maud::{Markup, html};

use super::figures::{count, percent, plain};
use super::pictures::{class_name, picture};
use flow::reports::{EvaluationReport, FEW_CLASSES, Mistake};

/// Classes up to which all confusions are shown.
const CLASSES: usize = 40;
/// The most confusions that are listed where there are more classes.
const PAIRS: usize = 40;
/// The most classes that are listed where there are more than a few.
const WORST: usize = 40;
/// The most mistakes that are shown.
const MISTAKES: usize = 30;

/// Evaluations of one kind in the order of their steps.
pub(super) struct Group<'a> {
    /// What they have in common.
    pub(super) name: String,
    /// At least one.
    pub(super) all: Vec<&'a EvaluationReport>,
}

impl<'a> Group<'a> {
    /// The last one.
    pub(super) fn latest(&self) -> &'a EvaluationReport {
        self.all[self.all.len() - 1]
    }

    /// The first of those with the greatest precision.
    pub(super) fn best(&self) -> &'a EvaluationReport {
        self.all.iter().fold(self.all[0], |best, other| {
            if other.precision_at_1 > best.precision_at_1 { other } else { best }
        })
    }
}

/// Whether both are of one kind: of the same images, by the same weights and views.
pub(super) fn alike(a: &EvaluationReport, b: &EvaluationReport) -> bool {
    a.stage == b.stage && a.split == b.split && a.averaged == b.averaged && a.views == b.views
}

/// All evaluations by kind, in the order of the stages. Averaged weights come first within one.
pub(super) fn groups<'a>(evaluations: &'a [EvaluationReport], stages: &[String]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for one in evaluations {
        match groups.iter_mut().find(|group| alike(group.all[0], one)) {
            Some(group) => group.all.push(one),
            None => groups.push(Group { name: kind(one), all: vec![one] }),
        }
    }
    let place = |stage: &String| stages.iter().position(|known| known == stage);
    groups.sort_by_key(|group| {
        let first = group.all[0];
        (place(&first.stage).unwrap_or(usize::MAX), !first.averaged)
    });
    groups
}

fn kind(report: &EvaluationReport) -> String {
    let weights = if report.averaged { "averaged" } else { "raw" };
    let views = match report.views {
        0 | 1 => String::new(),
        views => format!(", mean of {views} views"),
    };
    format!("{}: {} images, {weights} weights{views}", report.stage, report.split)
}

/// The evaluations of each kind in short.
pub(super) fn table(groups: &[Group<'_>]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Evaluations" {
            table {
                thead {
                    tr {
                        th scope="col" { "Evaluation" }
                        th.number scope="col" { "Times" }
                        th.number scope="col" { "At step" }
                        th.number scope="col" { "Precision @ 1" }
                        th.number scope="col" { "Precision @ k" }
                        th.number scope="col" { "Cross-entropy" }
                        th.number scope="col" { "Best precision @ 1" }
                    }
                }
                tbody {
                    @for group in groups {
                        @let (latest, best) = (group.latest(), group.best());
                        tr {
                            th scope="row" { (group.name) }
                            td.number { (group.all.len()) }
                            td.number { (count(latest.step)) }
                            td.number { (percent(latest.precision_at_1)) }
                            td.number {
                                (percent(latest.precision_at_k.1)) " (k = " (latest.precision_at_k.0) ")"
                            }
                            td.number { (plain(latest.loss)) }
                            td.number {
                                (percent(best.precision_at_1)) " at step " (count(best.step))
                                @if best.split == "test" { br; span.badge { "chosen on test data" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The latest evaluation of a kind in full.
pub(super) fn details(report: &EvaluationReport) -> Result<Markup> {
    let sides = report.confusion.classes();
    Ok(html! {
        @if sides > 0 {
            h3 { "Classes" }
            (bars(report))
            h3 { "Confusion" }
            @if sides <= CLASSES { (matrix(report)) } @else { (pairs(report)) }
        } @else {
            p.none { "Which class was taken for which is not known." }
        }
        @if !report.mistakes.is_empty() {
            h3 { "Most confident mistakes" }
            ul.mistakes {
                @for mistake in report.mistakes.iter().take(MISTAKES) {
                    li { (wrong(mistake, &report.classes)?) }
                }
            }
        }
    })
}

fn wrong(mistake: &Mistake, classes: &[String]) -> Result<Markup> {
    let class = class_name(mistake.class, classes);
    let taken_for = class_name(mistake.taken_for, classes);
    let about = format!("image {}: {class}, taken for {taken_for}", mistake.id.index);
    Ok(html! {
        (picture(&mistake.image, &about)?)
        span { b { (class) } br; "taken for " b { (taken_for) } }
        span.note { (percent(mistake.probability)) ", no. " (mistake.id.index) }
    })
}

fn bars(report: &EvaluationReport) -> Markup {
    let all = report.confusion.classes();
    let shown: Vec<usize> =
        if all <= FEW_CLASSES { (0..all).collect() } else { report.confusion.worst(WORST) };
    let accuracy = report.class_accuracy();
    html! {
        @if shown.len() < all {
            p.note {
                "Those " (shown.len()) " of " (count(all as u64))
                " classes of which the least is right."
            }
        }
        div.scroll tabindex="0" role="region" aria-label="Accuracy of each class" {
            table.bars {
                thead {
                    tr {
                        th scope="col" { "Class" }
                        th scope="col" { span.hidden { "Bar" } }
                        th.number scope="col" { "Right" }
                        th.number scope="col" { "Images" }
                    }
                }
                tbody {
                    @for (class, share) in shown.into_iter().map(|class| (class, accuracy[class])) {
                        tr {
                            th scope="row" { (class_name(class, &report.classes)) }
                            td.wide {
                                div.bar { div style={ "width:" (css(share.unwrap_or(0.0))) "%" } {} }
                            }
                            td.number { (share.map_or_else(|| "–".to_owned(), percent)) }
                            td.number { (count(report.confusion.images(class))) }
                        }
                    }
                }
            }
        }
    }
}

/// A share of 1 in percent, to a tenth.
fn css(share: f64) -> f64 {
    (share * 1000.0).round() / 10.0
}

fn matrix(report: &EvaluationReport) -> Markup {
    let name = |class: usize| class_name(class, &report.classes);
    let most = mistaken(report).map(|(_, _, images)| images).max().unwrap_or(0).max(1);
    html! {
        p.note {
            "Row: the class. Column: what its images were taken for. Framed: rightly so; the deeper \
             any other colour, the more often."
        }
        div.scroll tabindex="0" role="region" aria-label="Confusion matrix" {
            table.confusion {
                thead {
                    tr {
                        td {}
                        @for class in 0..report.confusion.classes() { th scope="col" { (name(class)) } }
                    }
                }
                tbody {
                    @for class in 0..report.confusion.classes() {
                        @let sum = report.confusion.images(class).max(1);
                        tr {
                            th scope="row" { (name(class)) }
                            @for (taken_for, images) in report.confusion.row(class).enumerate() {
                                @let right = class == taken_for;
                                @let heat = images as f64 / if right { sum } else { most } as f64;
                                td.right[right].zero[images == 0]
                                    style=[(images > 0).then(|| format!("--heat:{heat:.3}"))]
                                    title={ (name(class)) " taken for " (name(taken_for)) ": "
                                        (percent(images as f64 / sum as f64)) } { (images) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Class, what it was taken for, and how often, where that is wrong.
fn mistaken(report: &EvaluationReport) -> impl Iterator<Item = (usize, usize, u64)> {
    report.confusion.taken().filter(|(class, taken_for, _)| class != taken_for)
}

fn pairs(report: &EvaluationReport) -> Markup {
    let mut pairs: Vec<_> = mistaken(report).collect();
    pairs.sort_by_key(|(class, taken_for, images)| (u64::MAX - images, *class, *taken_for));
    pairs.truncate(PAIRS);
    html! {
        p.note { "The most frequent of them." }
        div.scroll tabindex="0" role="region" aria-label="Most frequent confusions" {
            table {
                thead {
                    tr {
                        th scope="col" { "Class" }
                        th scope="col" { "Taken for" }
                        th.number scope="col" { "Images" }
                    }
                }
                tbody {
                    @for (class, taken_for, images) in pairs {
                        tr {
                            th scope="row" { (class_name(class, &report.classes)) }
                            td { (class_name(taken_for, &report.classes)) }
                            td.number { (count(images)) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::evaluation;
    use flow::reports::Confusion;

    #[test]
    fn evaluations_are_grouped_by_what_they_are_of() {
        let raw = |step| EvaluationReport { averaged: false, ..evaluation(step) };
        let better = EvaluationReport { precision_at_1: 0.9, ..evaluation(2) };
        let all = [raw(1), evaluation(1), raw(2), better.clone(), evaluation(3)];
        let groups = groups(&all, &[]);
        let names: Vec<_> = groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(
            names,
            ["evaluate: test images, averaged weights", "evaluate: test images, raw weights"]
        );
        let first = EvaluationReport { stage: "first".to_owned(), ..raw(1) };
        let stages = ["first".to_owned(), "evaluate".to_owned()];
        let both = [evaluation(1), first];
        let names = super::groups(&both, &stages).into_iter().map(|group| group.name);
        let names: Vec<String> = names.collect();
        assert_eq!(names[0], "first: test images, raw weights");
        assert_eq!((groups[0].best(), groups[0].latest().step), (&better, 3));
        assert!(table(&groups).into_string().contains("chosen on test data"));
    }

    #[test]
    fn every_class_has_its_row_and_column() {
        let page = details(&evaluation(1)).expect("a page").into_string();
        assert_eq!(page.matches("scope=\"row\"").count(), 4, "{page}");
        assert!(page.contains("title=\"dog taken for cat: 100.0 %\">1</td>"), "{page}");
        assert!(page.contains("<td class=\"number\">50.0 %</td><td class=\"number\">2</td>"));
    }

    #[test]
    fn many_classes_are_told_by_their_worst_confusions() {
        let mut confusion = vec![vec![0; 50]; 50];
        confusion[3][4] = 9;
        confusion[7][1] = 12;
        let confusion = confusion.into();
        let report = EvaluationReport { confusion, classes: Vec::new(), ..evaluation(1) };
        let page = details(&report).expect("a page").into_string();
        let (first, second) = (page.find("class 1</td>"), page.find("class 4</td>"));
        assert!(first.is_some() && first < second, "{page}");
    }

    #[test]
    fn of_a_thousand_classes_the_worst_are_shown() {
        let mut confusion = Confusion::new(1_000);
        for class in 0..1_000 {
            confusion.add(class, class);
            (0..class % 10).for_each(|other| confusion.add(class, other));
        }
        let classes = (0..1_000).map(|class| format!("no. {class}")).collect();
        let report = EvaluationReport { confusion, classes, ..evaluation(1) };
        let page = details(&report).expect("a page").into_string();
        assert!(page.contains("Those 40 of 1,000 classes"), "{page}");
        assert_eq!(page.matches("scope=\"row\"").count(), WORST + PAIRS);
        // A tenth of these is right, and of the others more.
        assert!(page.contains("<th scope=\"row\">no. 9</th>") && !page.contains("no. 998<"));
        assert!(page.len() < 30_000, "{}", page.len());
    }

    #[test]
    fn a_confusion_that_is_no_square_is_not_drawn() {
        let confusion = vec![vec![], vec![1]].into();
        let report = EvaluationReport { confusion, ..evaluation(1) };
        assert!(details(&report).expect("a page").into_string().contains("is not known"));
    }
}
