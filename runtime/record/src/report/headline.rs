//! What a reader wants to know first, and what a run was.

use maud::{Markup, html};

use super::Report;
use super::evaluation::Group;
use super::figures::{count, percent, plain, time};

impl Report {
    /// Title, state, and what nobody should overlook.
    pub(super) fn header(&self) -> Markup {
        html! {
            header {
                p.product { (self.title) }
                h1 { (self.facts.name) }
                p.note { "Started " (self.facts.started) "; " (self.state()) }
                @if let Some(real) = &self.stands_in_for {
                    p.alarm role="alert" {
                        b { "⚠ Stand-in data, NOT " (real) "." }
                        " The images were drawn by the program. No figure on this page says anything \
                         about " (real) "."
                    }
                }
                @if !self.warnings.is_empty() {
                    div.warnings {
                        b { "⚠ Warnings" }
                        ul { @for warning in &self.warnings { li { (warning) } } }
                    }
                }
            }
        }
    }

    fn state(&self) -> String {
        let Some(last) = self.steps.last() else {
            return "no step has been logged yet.".to_owned();
        };
        let of = last.total_steps.map(|of| format!(" of {}", count(of))).unwrap_or_default();
        let stopped = self.outcome.as_ref().is_some_and(|outcome| outcome.interrupted);
        let end = if stopped { ", then stopped early" } else { "" };
        // The first step is number 0.
        format!("{}{of} steps done and logged{end}.", count(last.step + 1))
    }

    /// The figures that count.
    pub(super) fn cards(&self, groups: &[Group<'_>]) -> Markup {
        html! {
            dl.cards {
                @for group in groups {
                    @let (latest, best) = (group.latest(), group.best());
                    @let of = if groups.len() > 1 { format!(" by {}", latest.stage) } else { String::new() };
                    (card(&format!("Precision @ 1{of}"), &percent(latest.precision_at_1), &html! {
                        (group.name) ", " (count(latest.images)) " of them, after "
                        (count(latest.step)) " steps"
                    }))
                    (card(&format!("Best precision @ 1{of}"), &percent(best.precision_at_1), &html! {
                        "after " (count(best.step)) " steps "
                        @if best.split == "test" { span.badge { "chosen on test data" } }
                    }))
                }
                @if let Some(report) = self.steps.last() {
                    (card("Loss", &plain(report.loss_average), &html! {
                        "moving average at step " (count(report.step)) "; of that batch "
                        (plain(report.loss))
                    }))
                    (card("Images/s", &plain(self.steps.median_rate()), &html! {
                        "median of " (count(self.steps.count())) " reports; the last one: "
                        (plain(report.images_per_s)) ", " (plain(report.batch_s)) " s a batch"
                    }))
                }
                @if let Some(outcome) = &self.outcome {
                    (card("Time", &time(outcome.elapsed), &html! { "since the stages were started" }))
                }
                @if let Some(trainer) = &self.trainer {
                    (card("Adapter", &trainer.adapter.name, &html! {
                        (trainer.adapter.backend) ", " (trainer.adapter.driver)
                    }))
                }
                @for data in &self.data {
                    (card(&format!("Data: {}", data.split), &data.description, &html! {
                        @if let Some(real) = &self.stands_in_for {
                            span.badge.loud { "stand-in, not " (real) } " "
                        }
                        "stage " (data.stage)
                    }))
                }
            }
        }
    }

    /// All facts of the run: program, adapter, data, times.
    pub(super) fn run(&self) -> Markup {
        html! {
            div.scroll tabindex="0" role="region" aria-label="Facts of the run" {
                table.facts {
                    tbody {
                        (fact("Command", &html! { code { (self.facts.command) } }))
                        (fact("Seed", &html! { (self.facts.seed) }))
                        (fact("Version", &html! { (self.facts.version) }))
                        (fact("Started", &html! { (self.facts.started) }))
                        @if let Some(outcome) = &self.outcome {
                            (fact("Time", &html! { (time(outcome.elapsed)) }))
                        }
                        @for (key, value) in &self.told { (fact(key, &html! { (value) })) }
                        @for data in &self.data {
                            (fact(&format!("data of {}", data.stage), &html! {
                                (data.description) " (" (data.split) "), CRC-32C "
                                code { (format!("{:08x}", data.crc32c)) }
                            }))
                        }
                        (self.trainer())
                    }
                }
            }
        }
    }

    fn trainer(&self) -> Markup {
        let Some(trainer) = &self.trainer else { return html! {} };
        let (adapter, mebibytes) = (&trainer.adapter, |bytes: u64| match bytes {
            u64::MAX => "no limit".to_owned(),
            bytes => format!("{} MiB", count(bytes >> 20)),
        });
        html! {
            (fact("Trained by", &html! { "stage " code { (trainer.stage) } }))
            (fact("Adapter", &html! {
                (adapter.name) ", " (adapter.backend) ", " (format!("{:?}", adapter.kind))
            }))
            (fact("Driver", &html! { (adapter.driver) }))
            (fact("Largest buffer", &html! { (mebibytes(adapter.limits.buffer_bytes)) }))
            (fact("Largest binding", &html! { (mebibytes(adapter.limits.binding_bytes)) }))
            (fact("Batch", &html! {
                (count(trainer.batch as u64)) " images, " (count(trainer.variants.micro_batch as u64))
                " computed at once"
            }))
            @for tower in &trainer.towers {
                (fact(&tower.name, &html! {
                    (tower.adapter.name) ", " (tower.adapter.backend) ", "
                    (tower.adapter.driver) ": " (count(tower.images as u64))
                    " images of the first batch"
                }))
            }
        }
    }
}

fn card(name: &str, value: &str, about: &Markup) -> Markup {
    // A name is longer than a number and needs smaller letters.
    let long = value.chars().count() > 14;
    html! {
        div.card {
            dt { (name) }
            dd.value.long[long] { (value) }
            dd.note { (about) }
        }
    }
}

fn fact(name: &str, value: &Markup) -> Markup {
    html! {
        tr { th scope="row" { (name) } td { (value) } }
    }
}
