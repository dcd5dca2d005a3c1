//! What a run looks at and what it makes of it, as pictures: filters, samples, mistakes.

use std::collections::HashMap;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use super::figures::count;
use flow::item::{Image, Label, Pixels, Sample, SampleId, Weights};
use flow::picture::Picture;
use flow::reports::{Outcome, Tapped};

/// The most filters that are shown.
const FILTERS: usize = 128;
/// The most images whose way is shown.
const WAYS: usize = 10;

/// An image within the page.
pub(super) fn picture(image: &Image, about: &str) -> Result<Markup> {
    let [height, width, _] = image.shape;
    let png = STANDARD.encode(Picture::from_image(image).png()?);
    Ok(html! {
        img.pixels src={ "data:image/png;base64," (png) } alt=(about) title=(about)
            width=(width) height=(height);
    })
}

/// The filters of a model's first convolution of pixels.
#[derive(Debug)]
pub(super) struct Filters {
    name: String,
    step: u64,
    total: usize,
    images: Vec<Image>,
}

impl Filters {
    /// The first weights of shape `[height, width, 1 or 3, filters]`, trained or frozen, if there are
    /// some.
    pub(super) fn of(weights: &Weights) -> Option<Self> {
        let graph = &weights.graph;
        let trained = graph.parameters.iter().map(|parameter| parameter.value).zip(&weights.raw);
        let mut all: Vec<_> = trained.chain(graph.states().zip(&weights.states)).collect();
        all.sort_by_key(|(id, _)| *id);
        all.into_iter().find_map(|(id, values)| {
            let tensor = graph.tensor(id);
            let [height, width, channels @ (1 | 3), total] = tensor.shape[..] else { return None };
            let pixels = height * width * channels;
            if pixels * total == 0 || values.len() != pixels * total {
                return None;
            }
            let filter = |number: usize| Image {
                shape: [height, width, channels],
                pixels: stretched(values.iter().skip(number).step_by(total).copied()),
            };
            Some(Self {
                name: tensor.name.clone(),
                step: weights.progress.steps,
                total,
                images: (0..total.min(FILTERS)).map(filter).collect(),
            })
        })
    }

    /// All of them, enlarged.
    pub(super) fn draw(&self) -> Result<Markup> {
        let Self { name, step, total, images } = self;
        let [height, width, channels] = images[0].shape;
        let shown = if images.len() < *total {
            format!("the first {} of {total} filters", images.len())
        } else {
            format!("{total} filters")
        };
        Ok(html! {
            p {
                code { (name) } " after " (count(*step)) " steps: " (shown) " of " (height) " × "
                (width) " pixels and " (channels) " channel" @if channels > 1 { "s" }
                ", each stretched from its least weight (black) to its greatest (white)."
            }
            div.filters {
                @for (number, image) in images.iter().enumerate() {
                    (picture(image, &format!("filter {number} of {name}"))?)
                }
            }
        })
    }
}

/// The least value as 0, the greatest as 255. What is not finite stays what it is.
fn stretched(values: impl Iterator<Item = f32> + Clone) -> Pixels {
    let finite = values.clone().filter(|value| value.is_finite()).map(f64::from);
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
    Pixels::F32(values.map(|value| ((f64::from(value) - low) * scale) as f32).collect())
}

/// Images on their way through the stages that were listened to: a table for each source, a
/// column for each stage, a row for each image.
pub(super) fn samples(
    taps: &[Tapped],
    outcome: Option<&Outcome>,
    classes: &[String],
) -> Result<Markup> {
    let mut flows: Vec<(Vec<&str>, Vec<&Tapped>)> = Vec::new();
    for tap in in_order(taps, outcome) {
        // The same number is another image in another flow.
        let sources = outcome.map_or_else(|| vec![tap.stage.as_str()], |o| sources(o, &tap.stage));
        match flows.iter_mut().find(|(known, _)| *known == sources) {
            Some((_, taps)) => taps.push(tap),
            None => flows.push((sources, vec![tap])),
        }
    }
    for (_, taps) in &mut flows {
        keep_ways(taps);
    }
    Ok(html! {
        @for (sources, taps) in &flows {
            h3 { "From " (sources.join(", ")) }
            (ways(taps, classes)?)
        }
    })
}

/// Leaves out stages of which none of the images looked at came to the last one: those before a
/// stage that mixes put out other images at first.
fn keep_ways(taps: &mut Vec<&Tapped>) {
    let Some(last) = taps.last().copied() else { return };
    let arrived = |sample: &Sample| last.samples.iter().any(|other| other.id == sample.id);
    taps.retain(|tap| tap.samples.iter().any(arrived));
}

/// In the order of the pipeline.
fn in_order<'a>(taps: &'a [Tapped], outcome: Option<&Outcome>) -> Vec<&'a Tapped> {
    let place = |tap: &Tapped| outcome?.stages.iter().position(|stage| stage.id == tap.stage);
    let mut taps: Vec<&Tapped> = taps.iter().collect();
    taps.sort_by_key(|tap| place(tap));
    taps
}

/// The stages without input that a stage's items come from, itself if it has none.
fn sources<'a>(outcome: &'a Outcome, stage: &'a str) -> Vec<&'a str> {
    let (mut sources, mut seen, mut open) = (Vec::new(), vec![stage], vec![stage]);
    while let Some(at) = open.pop() {
        let before = || outcome.edges.iter().filter(|edge| edge.to == at);
        if before().next().is_none() {
            sources.push(at);
        }
        for edge in before().filter(|edge| !seen.contains(&edge.from.as_str())).collect::<Vec<_>>()
        {
            seen.push(&edge.from);
            open.push(&edge.from);
        }
    }
    sources.sort_unstable();
    sources
}

fn ways(taps: &[&Tapped], classes: &[String]) -> Result<Markup> {
    let mut images: HashMap<SampleId, Vec<Option<&Sample>>> = HashMap::new();
    for (column, tap) in taps.iter().enumerate() {
        for sample in &tap.samples {
            images.entry(sample.id).or_insert_with(|| vec![None; taps.len()])[column] =
                Some(sample);
        }
    }
    let mut rows: Vec<_> = images.into_iter().collect();
    // First those that were seen most often.
    rows.sort_by_key(|(id, seen)| (seen.iter().filter(|s| s.is_none()).count(), *id));
    rows.truncate(WAYS);
    Ok(html! {
        div.scroll tabindex="0" role="region" aria-label="Images on their way" {
            table.samples {
                thead {
                    tr {
                        th scope="col" { "Image" }
                        @for tap in taps { th scope="col" { code { (tap.stage) } } }
                    }
                }
                tbody {
                    @for (id, seen) in &rows {
                        tr {
                            th scope="row" {
                                "No. " (id.index) ", epoch " (id.epoch)
                                @if let Some(class) = seen.iter().flatten().next() {
                                    br; (named(&class.label, classes))
                                }
                            }
                            @for (tap, sample) in taps.iter().zip(seen) {
                                td {
                                    @if let Some(sample) = sample {
                                        @let about = format!("image {} after {}", id.index, tap.stage);
                                        (picture(&sample.image, &about)?)
                                    } @else {
                                        span.none title="not among the images looked at here" { "–" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    })
}

fn named(label: &Label, classes: &[String]) -> String {
    match label {
        Label::Class(class) => class_name(*class as usize, classes),
        Label::Distribution(shares) => {
            let mut shares: Vec<_> = shares.iter().enumerate().filter(|(_, s)| **s > 0.0).collect();
            shares.sort_by(|a, b| b.1.total_cmp(a.1));
            let of = |(class, share): &(usize, &f32)| {
                format!("{:.0} % {}", 100.0 * *share, class_name(*class, classes))
            };
            shares.iter().take(3).map(of).collect::<Vec<_>>().join(", ")
        }
    }
}

/// A class by its name, or its number where it has none.
pub(super) fn class_name(class: usize, classes: &[String]) -> String {
    classes.get(class).cloned().unwrap_or_else(|| format!("class {class}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow::reports::EdgeReport;

    #[test]
    fn filters_reach_from_black_to_white() {
        let Pixels::F32(values) = stretched([-1.0, 0.0, 3.0].into_iter()) else {
            panic!("reals");
        };
        assert_eq!(values, [0.0, 63.75, 255.0]);
        assert_eq!(stretched([2.0, 2.0].into_iter()), Pixels::F32(vec![0.0, 0.0]));
        let Pixels::F32(values) = stretched([f32::NAN, 1.0, 2.0].into_iter()) else {
            panic!("reals");
        };
        assert!(values[0].is_nan() && values[1..] == [0.0, 255.0]);
    }

    #[test]
    fn images_of_the_same_number_from_other_sources_are_kept_apart() {
        let edge = |from: &str, to: &str| EdgeReport {
            from: from.to_owned(),
            trains: false,
            to: to.to_owned(),
            carries: String::new(),
            queue: None,
        };
        let edges = vec![edge("read", "crop"), edge("test", "centre"), edge("crop", "both")];
        let outcome = Outcome { edges, ..Outcome::default() };
        assert_eq!(sources(&outcome, "both"), ["read"]);
        let tap = |stage: &str| Tapped {
            stage: stage.to_owned(),
            samples: vec![Sample {
                id: SampleId { epoch: 0, index: 7 },
                label: Label::Class(1),
                image: Image { shape: [1, 1, 3], pixels: Pixels::U8(vec![1, 2, 3].into()) },
            }],
        };
        let taps = [tap("read"), tap("centre"), tap("crop")];
        let classes = ["cat".to_owned(), "<dog>".to_owned()];
        let page = samples(&taps, Some(&outcome), &classes).expect("pictures").into_string();
        assert_eq!(page.matches("<table").count(), 2, "{page}");
        assert_eq!(page.matches("<img").count(), 3);
        assert_eq!(page.matches("&lt;dog&gt;").count(), 2);
        assert!(page.contains("alt=\"image 7 after crop\""));
        // As long as nothing is known of the pipeline, nothing is compared.
        let page = samples(&taps, None, &classes).expect("pictures").into_string();
        assert_eq!(page.matches("<table").count(), 3);
    }

    #[test]
    fn stages_of_other_images_are_left_out() {
        let tap = |stage: &str, index| Tapped {
            stage: stage.to_owned(),
            samples: vec![Sample {
                id: SampleId { epoch: 0, index },
                label: Label::Class(0),
                image: Image { shape: [1, 1, 3], pixels: Pixels::U8(vec![1, 2, 3].into()) },
            }],
        };
        let taps = [tap("read", 0), tap("shuffle", 9), tap("crop", 9)];
        let mut shown: Vec<&Tapped> = taps.iter().collect();
        keep_ways(&mut shown);
        let stages: Vec<&str> = shown.iter().map(|tap| tap.stage.as_str()).collect();
        assert_eq!(stages, ["shuffle", "crop"]);
    }

    #[test]
    fn shared_labels_are_told_by_share() {
        let classes = ["cat".to_owned(), "dog".to_owned()];
        let label = Label::Distribution([0.25, 0.0, 0.75].into());
        assert_eq!(named(&label, &classes), "75 % class 2, 25 % cat");
    }
}
