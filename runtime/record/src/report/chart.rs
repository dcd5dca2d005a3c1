//! Curves as SVG, over steps or other whole numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use maud::{Markup, PreEscaped, html};

use super::decimate::{Point, decimate};
use super::figures::{plain, short};
use super::scale::{Fit, Scale};

/// Points drawn of a curve.
const POINTS: usize = 1000;
/// Stretches of the chart that say their values when pointed at.
const BANDS: usize = 120;
/// Points up to which each has a mark.
const MARKED: usize = 60;

/// Kinds of lines and marks; more curves than this share them.
const KINDS: usize = 6;

/// The chart's size, in units of its own: about pixels where there is room.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// Where the names of the curves begin in a file, how far apart their lines are, and how many are
/// in a line.
const HEAD: f64 = 62.0;
const LINE: f64 = 20.0;
const NAMES: usize = 3;

/// How a file's parts look; a page has more.
const STYLE: &str = include_str!("chart.css");

/// One curve.
#[derive(Debug)]
pub(super) struct Curve {
    name: String,
    points: Vec<Point>,
    /// Whether it is noise behind another one.
    faint: bool,
}

impl Curve {
    /// A curve through points at these steps.
    pub(super) fn new(name: impl Into<String>, mut points: Vec<Point>) -> Self {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { name: name.into(), points, faint: false }
    }

    /// The same, drawn to be behind others.
    pub(super) fn faint(self) -> Self {
        Self { faint: true, ..self }
    }

    /// The point nearest to a step.
    fn nearest(&self, step: f64) -> Option<Point> {
        let after = self.points.partition_point(|point| point.0 < step);
        let near = self.points.get(after.saturating_sub(1)..)?.iter().take(2);
        near.copied().min_by(|a, b| (a.0 - step).abs().total_cmp(&(b.0 - step).abs()))
    }

    /// The least and the greatest value within these steps; the wrong way round without any.
    fn extremes(&self, steps: &RangeInclusive<f64>) -> (f64, f64) {
        let first = self.points.partition_point(|point| point.0 < *steps.start());
        let within = self.points[first..].iter().take_while(|point| point.0 <= *steps.end());
        within
            .map(|point| point.1)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| (low.min(y), high.max(y)))
    }
}

/// Curves with their axes.
#[derive(Debug)]
pub(super) struct Chart<'a> {
    /// What the values are.
    pub(super) title: &'a str,
    /// Their unit, or how they are counted.
    pub(super) unit: &'a str,
    /// What whole numbers the values are over, such as `step`.
    pub(super) over: &'a str,
    /// How the values' axis is chosen.
    pub(super) fit: Fit,
    /// The curves.
    pub(super) curves: Vec<Curve>,
}

impl Chart<'_> {
    /// The chart, or that there is nothing to draw.
    pub(super) fn draw(&self) -> Markup {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let broken = points().filter(|point| !point.1.is_finite()).count();
        let y = Scale::new(points().map(|point| point.1), self.fit);
        let how = if y.is_logarithmic() { ", logarithmic" } else { "" };
        html! {
            figure.chart {
                figcaption {
                    h3 { (self.title) }
                    span.unit { (self.unit) (how) }
                }
                @if points().next().is_none() {
                    p.none { "Nothing has been measured yet." }
                } @else {
                    (self.legend())
                    (self.picture(&y))
                }
                @if broken > 0 {
                    p.note { (broken) " values are infinite or no numbers: the line has gaps there." }
                }
            }
        }
    }

    /// The chart as a file of its own.
    pub(super) fn file(&self) -> String {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let y = Scale::new(points().map(|point| point.1), self.fit);
        let lines = self.curves.len().div_ceil(NAMES);
        let top = HEAD + LINE * lines as f64;
        let svg = html! {
            svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (WIDTH) " " (top + HEIGHT) }
                font-family="system-ui, sans-serif" {
                style { (PreEscaped(STYLE)) }
                rect.card width="100%" height="100%" {}
                text.title x="14" y="22" { (self.title) }
                text.tick x="14" y="40" { (self.unit) }
                @for (number, curve) in self.curves.iter().enumerate() {
                    @let (column, line) = (number % NAMES, number / NAMES);
                    @let x = 14.0 + column as f64 * (WIDTH - 14.0) / NAMES as f64;
                    @let y = HEAD + LINE * line as f64;
                    path class=(class(number, curve)) d={ "M" (x) " " (y) "h28" } {}
                    text.tick x=(x + 34.0) y=(y + 4.0) { (curve.name) }
                }
                g transform={ "translate(0 " (top) ")" } { (self.picture(&y)) }
            }
        };
        svg.into_string()
    }

    fn legend(&self) -> Markup {
        html! {
            ul.legend {
                @for (number, curve) in self.curves.iter().enumerate() {
                    li {
                        svg width="30" height="12" aria-hidden="true" {
                            path class=(class(number, curve)) d="M1 6H29" {}
                        }
                        (curve.name)
                    }
                }
            }
        }
    }

    fn picture(&self, y: &Scale) -> Markup {
        let steps = || self.curves.iter().flat_map(|c| &c.points).map(|point| point.0);
        let x = Scale::new(steps(), Fit::Exactly);
        let across = |step: f64| LEFT + x.place(step) * (WIDTH - LEFT - RIGHT);
        let down = |value: f64| HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM);
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        html! {
            svg.plot width=(WIDTH) height=(HEIGHT) viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(self.summary()) {
                @for tick in y.ticks() {
                    @let at = round(down(tick));
                    path.grid d={ "M" (LEFT) " " (at) "H" (right) } {}
                    text.tick x=(LEFT - 6.0) y=(round(down(tick) + 4.0)) text-anchor="end" {
                        (short(tick))
                    }
                }
                @for tick in x.ticks().into_iter().filter(|tick| tick.fract() == 0.0) {
                    @let at = round(across(tick));
                    path.grid d={ "M" (at) " " (bottom) "v5" } {}
                    text.tick x=(at) y=(bottom + 18.0) text-anchor="middle" { (short(tick)) }
                }
                path.axis d={ "M" (LEFT) " " (TOP) "V" (bottom) "H" (right) } {}
                text.tick x=(right) y=(HEIGHT - 5.0) text-anchor="end" { (self.over) }
                @for (number, curve) in self.curves.iter().enumerate() {
                    @let points: Vec<Point> = decimate(&curve.points, POINTS)
                        .into_iter()
                        .map(|(step, value)| (across(step), down(value)))
                        .collect();
                    path class=(class(number, curve)) d=(line(&points)) {}
                    @if points.len() <= MARKED && !curve.faint {
                        path class={ "mark c" (number % KINDS) } d=(marks(&points, number)) {}
                    }
                }
                @for (middle, from, to) in bands(steps()) {
                    rect.band x=(round(across(from))) y=(TOP)
                        width=(round((across(to) - across(from)).max(1.0))) height=(bottom - TOP) {
                        title { (self.values(middle, from..=to)) }
                    }
                }
            }
        }
    }

    /// What the chart shows, for those who do not see it.
    fn summary(&self) -> String {
        let mut text = format!("{} ({}) by {}.", self.title, self.unit, self.over);
        for curve in &self.curves {
            if let [first, .., last] = curve.points.as_slice() {
                let (from, to) = (plain(first.1), plain(last.1));
                let (name, over) = (&curve.name, self.over);
                let (first, last) = (first.0, last.0);
                let _ = write!(text, " {name}: {from} at {over} {first}, {to} at {over} {last}.");
            }
        }
        text
    }

    /// The values near a step, and how far they differ in the stretch around it.
    fn values(&self, step: f64, around: RangeInclusive<f64>) -> String {
        let mut text = format!("{} {}", self.over, plain(step));
        for curve in &self.curves {
            let Some((at, value)) = curve.nearest(step) else { continue };
            let _ = write!(text, "\n{}: {}", curve.name, plain(value));
            if at != step {
                let _ = write!(text, " (at {} {})", self.over, plain(at));
            }
            let (low, high) = curve.extremes(&around);
            if low < high {
                let _ = write!(text, " (around it {} to {})", plain(low), plain(high));
            }
        }
        text
    }
}

fn class(number: usize, curve: &Curve) -> String {
    format!("curve c{}{}", number % KINDS, if curve.faint { " faint" } else { "" })
}

/// A line through the points that have a place, with gaps where one has none.
fn line(points: &[Point]) -> String {
    let mut path = String::new();
    let mut pen = 'M';
    for (x, y) in points {
        if y.is_finite() {
            let _ = write!(path, "{pen}{} {}", round(*x), round(*y));
            pen = 'L';
        } else {
            pen = 'M';
        }
    }
    path
}

/// A mark at each point: diamonds, squares, triangles and bars by turns, to be told apart without
/// colours.
fn marks(points: &[Point], number: usize) -> String {
    let shapes: [&str; KINDS] = [
        "m-4 0l4-4l4 4l-4 4z",
        "m-3-3h6v6h-6z",
        "m-4 3h8l-4-7z",
        "m-1-4h2v8h-2z",
        "m-4-3h8l-4 7z",
        "m-4-1h8v2h-8z",
    ];
    let mut path = String::new();
    for (x, y) in points.iter().filter(|point| point.1.is_finite()) {
        let _ = write!(path, "M{} {}{}", round(*x), round(*y), shapes[number % KINDS]);
    }
    path
}

/// Stretches of the steps: a step that was measured, and from where to where it is the nearest.
fn bands(steps: impl Iterator<Item = f64>) -> Vec<(f64, f64, f64)> {
    let steps: BTreeMap<u64, f64> = steps.map(|step| (step as u64, step)).collect();
    let every = steps.len().div_ceil(BANDS).max(1);
    let steps: Vec<f64> = steps.into_values().collect();
    let mut chosen: Vec<f64> = steps.iter().copied().step_by(every).collect();
    let last = steps.last().copied().filter(|last| chosen.last() != Some(last));
    chosen.extend(last);
    let between = |a: usize, b: usize| f64::midpoint(chosen[a], chosen[b]);
    (0..chosen.len())
        .map(|at| {
            let end = chosen.len() - 1;
            (chosen[at], between(at.saturating_sub(1), at), between(at, (at + 1).min(end)))
        })
        .collect()
}

/// A tenth of a unit is as fine as anyone sees.
fn round(place: f64) -> f64 {
    (place * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart_of(curves: Vec<Curve>) -> Chart<'static> {
        Chart { title: "Loss", unit: "nats", over: "step", fit: Fit::Spread, curves }
    }

    fn chart(name: &str, points: Vec<Point>) -> String {
        let curves = vec![Curve::new(name, points)];
        chart_of(curves).draw().into_string()
    }

    #[test]
    fn a_long_curve_is_a_short_path_and_says_its_values() {
        let points = (0..50_000).map(|step| (f64::from(step), 5.0 - f64::from(step) / 1e4));
        let text = chart("raw", points.collect());
        assert!(text.len() < 40_000, "{} bytes", text.len());
        let first = "<title>step 0\nraw: 5 (around it 4.979 to 5)</title>";
        assert!(text.contains(first), "{text}");
        let last = text.rsplit("<title>").next().unwrap_or_default();
        assert!(last.starts_with("step 49,999\nraw: 1e-4 (around it 1e-4 to 0.0189)<"), "{last}");
        assert_eq!(text.matches("<rect").count(), 121);
    }

    #[test]
    fn names_are_escaped() {
        let text = chart("<b>&\"", vec![(0.0, 1.0), (1.0, 2.0)]);
        assert!(!text.contains("<b>") && text.contains("&lt;b&gt;&amp;&quot;: 1"), "{text}");
    }

    #[test]
    fn gaps_are_left_and_counted() {
        assert_eq!(line(&[(0.0, 1.0), (1.0, 2.04), (2.0, f64::NAN), (3.0, 1.0)]), "M0 1L1 2M3 1");
        let text = chart("raw", vec![(0.0, 1.0), (1.0, f64::INFINITY), (2.0, 1.5)]);
        assert!(text.contains("1 values are infinite"), "{text}");
        assert!(!text.contains("NaN") && !text.contains("inf\""), "{text}");
    }

    #[test]
    fn nothing_and_a_single_point_can_be_drawn() {
        assert!(chart("raw", Vec::new()).contains("Nothing has been measured"));
        let one = chart("raw", vec![(7.0, 2.0)]);
        assert!(one.contains("<title>step 7\nraw: 2</title>") && !one.contains("NaN"), "{one}");
        let broken = chart("raw", vec![(7.0, f64::NAN)]);
        assert!(!broken.contains("NaN"), "{broken}");
    }

    #[test]
    fn a_file_holds_all_that_it_needs() {
        let curve = |name: &str| Curve::new(name, vec![(32.0, 1.0), (64.0, 3.0)]);
        let chart = Chart { over: "batch", ..chart_of(vec![curve("<a>"), curve("b")]) };
        let text = chart.file();
        assert!(text.starts_with("<svg xmlns=") && text.ends_with("</svg>"), "{text}");
        assert!(text.contains("--c0") && text.contains("&lt;a&gt;"), "{text}");
        assert!(text.contains("b: 1 at batch 32, 3 at batch 64."), "{text}");
    }

    #[test]
    fn the_nearest_point_is_told() {
        let curve = Curve::new("x", vec![(10.0, 1.0), (0.0, 0.0), (20.0, 2.0)]);
        let at = |step| curve.nearest(step).expect("there are points").0;
        assert_eq!([-5.0, 4.0, 6.0, 14.0, 16.0, 99.0].map(at), [0.0, 0.0, 10.0, 10.0, 20.0, 20.0]);
        assert_eq!(Curve::new("x", Vec::new()).nearest(0.0), None);
    }
}
