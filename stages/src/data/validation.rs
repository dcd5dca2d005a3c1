//! A share of the images to train on that is kept back for validation.
//!
//! Which images these are depends on the images: each is drawn by its content and a seed, and is kept
//! back if what is drawn lies below the share. So the same images stay kept back when others are
//! added, removed or renamed, and copies of an image are on one side. The price is that the share is
//! met on average only: of 10,000 images, a tenth is 1,000 with a standard deviation of 30.
//!
//! That would leave small classes without any image on one side. So what is kept back lies between
//! half and one and a half times the share, and both sides have an image if their part is half an
//! image or more; with `stratified`, this holds for each class, otherwise for all images together.
//! Only where chance goes beyond these limits do images next to the border change sides, and then an
//! image that is added may move another one. The nearest whole number for each class would meet the
//! share more closely and move an image at every second addition. A run keeps which images it was
//! trained on, and says so where one of them is evaluated.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use base::random::Random;
use config::shorthand::Shorthand;
use flow::stage::Mismatch;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Split, listed};

/// A share of the images, `0.1`, or that with a seed: `{ fraction: 0.1, seed: 3 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Validation {
    /// The share, above 0 and below 1.
    pub fraction: f64,
    /// Another number keeps back other images; the run's seed if there is none.
    pub seed: Option<u64>,
    /// Whether each class keeps back its share; the format's own choice if there is none.
    pub stratified: Option<bool>,
    /// What decides which images are kept back.
    pub by: By,
}

/// What decides which images are kept back for validation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The pixels of each image: the same stay kept back when images are added, removed or renamed.
    #[default]
    Content,
    /// The number of images and their order, as runs of earlier versions did. Exactly the share is
    /// kept back, and another one as soon as an image is added.
    Count,
}

/// The same, written out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WrittenOut {
    /// The share, above 0 and below 1.
    fraction: f64,
    /// Another number keeps back other images; the run's seed if there is none.
    #[serde(default)]
    seed: Option<u64>,
    /// Whether each class keeps back its share: at least half of it, and at most one and a half times
    /// it. True for format `images` if not given, and false for others.
    #[serde(default)]
    stratified: Option<bool>,
    /// `content`: the pixels of an image decide whether it is kept back, so that the same stay kept
    /// back when images are added, removed or renamed, and the share is met on average. `count`: the
    /// number of images decides, as it did in earlier versions.
    #[serde(default)]
    by: By,
}

impl From<f64> for Validation {
    fn from(fraction: f64) -> Self {
        Self { fraction, seed: None, stratified: None, by: By::Content }
    }
}

impl<'de> Deserialize<'de> for Validation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Shorthand::new("a share of the images such as 0.1, or `{ fraction: 0.1, seed: 3 }`")
            .number(Self::from)
            .map(|WrittenOut { fraction, seed, stratified, by }| Self {
                fraction,
                seed,
                stratified,
                by,
            })
            .read(deserializer)
    }
}

impl JsonSchema for Validation {
    fn schema_name() -> Cow<'static, str> {
        "Validation".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let written_out = generator.subschema_for::<WrittenOut>();
        json_schema!({ "anyOf": [written_out, { "type": "number" }] })
    }
}

/// As it can be written in the YAML.
impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fraction, seed, stratified, by } = *self;
        if Self::from(fraction) == *self {
            return write!(f, "{fraction}");
        }
        write!(f, "{{ fraction: {fraction}")?;
        seed.map_or(Ok(()), |seed| write!(f, ", seed: {seed}"))?;
        stratified.map_or(Ok(()), |stratified| write!(f, ", stratified: {stratified}"))?;
        if by == By::Count {
            write!(f, ", by: count")?;
        }
        write!(f, " }}")
    }
}

/// What the images of a data set are drawn by.
#[derive(Clone, Copy, Debug)]
pub struct Drawn<'a> {
    /// What tells each image from others: [`super::dataset::Dataset::keys`].
    pub keys: &'a [u64],
    /// The class of each.
    pub labels: &'a [u32],
    /// The names of the classes.
    pub classes: &'a [String],
}

impl Validation {
    /// What is wrong with it.
    pub fn check(&self) -> Option<Mismatch> {
        let fraction = self.fraction;
        if !(fraction > 0.0 && fraction < 1.0) {
            let message = format!("expected a share above 0 and below 1, found {fraction}");
            return Some(
                Mismatch::field("validation", message).help("0.1 keeps back a tenth of the images"),
            );
        }
        (self.by == By::Count && self.stratified == Some(true)).then(|| {
            let message = "`by: count` knows no classes, and `stratified` asks for a share of each";
            Mismatch::field("validation.stratified", message).help("remove one of them")
        })
    }

    /// The same with nothing left open: with the run's seed, and the format's choice.
    pub fn settled(self, run_seed: u64, stratified: bool) -> Self {
        let stratified = self.stratified.unwrap_or(stratified && self.by == By::Content);
        Self { seed: Some(self.seed.unwrap_or(run_seed)), stratified: Some(stratified), ..self }
    }

    /// The numbers of the images of this split, among all those to train on, in their order. A larger
    /// fraction keeps back more, and the same. What is left open is taken as 0 and false.
    ///
    /// # Errors
    /// If none would be left on one side.
    pub fn part(&self, all: Drawn<'_>, split: Split) -> anyhow::Result<Vec<usize>> {
        let kept_back = match self.by {
            By::Content => self.by_content(all),
            By::Count => self.by_count(all.labels.len()),
        };
        let (count, kept) = (kept_back.len(), kept_back.iter().filter(|kept| **kept).count());
        anyhow::ensure!(
            (1..count).contains(&kept),
            "a share of {} of {count} images is {kept} for validation and {} to train on: each \
             needs one at least, and copies of an image are on one side; change `validation`",
            self.fraction,
            count - kept
        );
        let wanted = split == Split::Validation;
        Ok((0..count).filter(|image| kept_back[*image] == wanted).collect())
    }

    /// What to say of classes that have images on one side only.
    pub fn missing(&self, all: Drawn<'_>, kept_back: &[usize]) -> Option<String> {
        let classes = all.classes.len();
        let (mut images, mut kept) = (vec![0_usize; classes], vec![0_usize; classes]);
        all.labels.iter().for_each(|label| images[*label as usize] += 1);
        kept_back.iter().for_each(|image| kept[all.labels[*image] as usize] += 1);
        let named = |is_one: &dyn Fn(usize) -> bool| {
            let names: Vec<String> = (0..classes)
                .filter(|class| images[*class] > 0 && is_one(*class))
                .map(|class| format!("`{}` ({})", all.classes[class], images[class]))
                .collect();
            (!names.is_empty()).then(|| listed(&names))
        };
        let none = named(&|class| kept[class] == 0);
        let all_of_it = named(&|class| kept[class] == images[class]);
        let parts: Vec<String> = [
            none.map(|names| format!("keeps back no image of class {names}")),
            all_of_it.map(|names| format!("leaves no image to train on of class {names}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let help = match self.stratified {
            Some(true) => "add images of it, or change the share",
            _ => "`stratified: true` keeps back a share of each class",
        };
        (!parts.is_empty()).then(|| format!("`validation: {self}` {}; {help}", parts.join(" and ")))
    }

    /// Whether each image is kept back, by the images alone.
    fn by_content(&self, all: Drawn<'_>) -> Vec<bool> {
        let seed = self.seed.unwrap_or_default();
        let draws: Vec<u64> = all.keys.iter().map(|key| draw(seed, *key)).collect();
        // The product is exact, and the cast rounds down: the same everywhere.
        let border = (self.fraction * 2.0_f64.powi(64)) as u64;
        let group = |image: usize| match self.stratified {
            Some(true) => all.labels[image],
            _ => 0,
        };
        let mut grouped: Vec<(u64, u32)> =
            draws.iter().enumerate().map(|(image, draw)| (*draw, group(image))).collect();
        grouped.sort_unstable();
        // A copy of an image does not count.
        grouped.dedup();
        let mut groups_of: HashMap<u64, usize> = HashMap::new();
        grouped.iter().for_each(|(draw, _)| *groups_of.entry(*draw).or_default() += 1);
        let is_shared = |draw: u64| groups_of.get(&draw).is_some_and(|groups| *groups > 1);
        let groups = grouped.iter().map(|(_, group)| *group as usize + 1).max().unwrap_or(0);
        let mut borders = vec![border; groups];
        let mut by_group = vec![Vec::new(); borders.len()];
        grouped.iter().for_each(|(draw, group)| by_group[*group as usize].push(*draw));
        for (of_group, border) in by_group.into_iter().zip(&mut borders) {
            let natural = of_group.iter().filter(|draw| **draw < *border).count();
            let (least, most) = limits(self.fraction, of_group.len());
            let wanted = natural.clamp(least, most);
            if wanted == natural {
                continue;
            }
            // What has labels of several classes stays where it was drawn, as it has one side only.
            let own: Vec<u64> = of_group.into_iter().filter(|draw| !is_shared(*draw)).collect();
            let before = own.iter().filter(|draw| **draw < *border).count();
            let after = (before + wanted).saturating_sub(natural);
            *border = own.get(after).copied().unwrap_or(u64::MAX);
        }
        let is_kept = |(image, draw): (usize, &u64)| match is_shared(*draw) {
            true => *draw < border,
            false => *draw < borders[group(image) as usize],
        };
        let mut kept: Vec<bool> = draws.iter().enumerate().map(is_kept).collect();
        // Of two images that are not alike, each side has one.
        if let (Some(first), Some(last)) = (draws.iter().min(), draws.iter().max())
            && first < last
        {
            if kept.iter().all(|kept| !kept) {
                kept = draws.iter().map(|draw| draw == first).collect();
            } else if kept.iter().all(|kept| *kept) {
                kept = draws.iter().map(|draw| draw < last).collect();
            }
        }
        kept
    }

    /// Whether each image is kept back, by how many there are: what runs of earlier versions did.
    fn by_count(&self, count: usize) -> Vec<bool> {
        let kept = (self.fraction * count as f64).round() as usize;
        let mut order: Vec<usize> = (0..count).collect();
        let seed = self.seed.unwrap_or_default();
        Random::keyed(seed, PURPOSE, 0, 0).shuffle(&mut order);
        let mut kept_back = vec![false; count];
        order.iter().take(kept).for_each(|image| kept_back[*image] = true);
        kept_back
    }
}

/// What random numbers are drawn for.
const PURPOSE: &str = "images for validation";

/// 64 random bits for an image.
fn draw(seed: u64, key: u64) -> u64 {
    // All bits of the key count: half of them as the epoch's, half as the sample's.
    let mut random = Random::keyed(seed, PURPOSE, key >> 32, key & u64::from(u32::MAX));
    u64::from(random.bits()) << 32 | u64::from(random.bits())
}

/// The least and the most images that are kept back of so many.
fn limits(fraction: f64, images: usize) -> (usize, usize) {
    let share = fraction * images as f64;
    // Half of what a side is to have, and one if that is half an image or more.
    let least = |share: f64| if share < 0.5 { 0 } else { ((share / 2.0) as usize).max(1) };
    let most =
        ((1.5 * share).ceil() as usize).min(images - least(images as f64 - share).min(images));
    (least(share).min(most), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is drawn for these keys, of the classes of these labels.
    fn part(
        validation: Validation,
        keys: &[u64],
        labels: &[u32],
        split: Split,
    ) -> anyhow::Result<Vec<usize>> {
        validation.part(Drawn { keys, labels, classes: &[] }, split)
    }

    fn share(fraction: f64, seed: u64) -> Validation {
        Validation { seed: Some(seed), ..Validation::from(fraction) }
    }

    /// The keys that are kept back of these, all of one class.
    fn kept(validation: Validation, keys: &[u64]) -> Vec<u64> {
        let labels = vec![0; keys.len()];
        let images = part(validation, keys, &labels, Split::Validation).expect("a part");
        images.into_iter().map(|image| keys[image]).collect()
    }

    /// Numbers as hashes are.
    fn keys(count: u64) -> Vec<u64> {
        (0..count).map(|number| draw(99, number)).collect()
    }

    #[test]
    fn two_images_are_one_on_each_side_however_many_copies_there_are() {
        let labels = [0, 0, 0, 1, 1, 1];
        for (fraction, seed) in
            [0.01, 0.25, 0.99].into_iter().flat_map(|f| [(f, 0), (f, 1), (f, 2)])
        {
            for stratified in [None, Some(true)] {
                let share = Validation { stratified, ..share(fraction, seed) };
                let of = |split| part(share, &[7, 7, 7, 9, 9, 9], &labels, split).expect("a part");
                let mut sides = [of(Split::Train), of(Split::Validation)];
                sides.sort();
                assert_eq!(sides, [[0, 1, 2], [3, 4, 5]], "{share}");
                part(share, &[7; 6], &labels, Split::Train).expect_err("copies of one image");
            }
        }
    }

    #[test]
    fn both_parts_make_the_whole_and_depend_on_the_seed_alone() {
        let (keys, labels) = (keys(1000), vec![0; 1000]);
        for by in [By::Content, By::Count] {
            let of = |fraction, seed, split| {
                part(Validation { by, ..share(fraction, seed) }, &keys, &labels, split)
                    .expect("a part")
            };
            let validation = of(0.1, 7, Split::Validation);
            let mut both = [validation.clone(), of(0.1, 7, Split::Train)].concat();
            both.sort_unstable();
            assert_eq!(both, (0..1000).collect::<Vec<usize>>());
            assert!(validation.is_sorted(), "files stay in order");
            assert_ne!(validation, of(0.1, 8, Split::Validation));
            let larger = of(0.3, 7, Split::Validation);
            assert!(validation.iter().all(|image| larger.contains(image)));
            let count = validation.len();
            assert!(if by == By::Count { count == 100 } else { (60..140).contains(&count) });
        }
        let settled = Validation::from(0.1).settled(7, true);
        assert_eq!(settled, Validation { stratified: Some(true), ..share(0.1, 7) });
    }

    #[test]
    fn the_share_that_is_drawn_is_so_for_ever() {
        let keys: Vec<u64> = (0..40).collect();
        assert_eq!(kept(share(0.2, 3), &keys), [19, 21, 23, 24, 28, 30, 35, 36]);
    }

    #[test]
    fn the_same_stay_kept_back_whatever_is_beside_them() {
        let all = keys(500);
        let before = kept(share(0.2, 3), &all[..200]);
        let (mut shuffled, mut copied) = (all.clone(), all[..200].to_vec());
        shuffled.rotate_left(123);
        copied.extend_from_slice(&all[..150]);
        for (others, count) in [(&all, 200), (&shuffled, 200), (&copied, 200)] {
            let after = kept(share(0.2, 3), others);
            for key in &all[..count] {
                assert_eq!(before.contains(key), after.contains(key));
            }
        }
        let fewer = kept(share(0.2, 3), &all[..120]);
        assert!(fewer.iter().all(|key| before.contains(key)));
    }

    #[test]
    fn classes_have_their_share_and_copies_stay_together() {
        let keys = keys(220);
        // 180 of one class, 20 of another, 4 of one and 1 of the last; 15 have labels of two.
        let class = |image: usize| match image {
            0..180 => 0,
            180..200 => 1,
            200..204 => 2,
            _ => 3,
        };
        let labels: Vec<u32> = (0..205).map(class).collect();
        for seed in 0..200 {
            let validation = Validation { stratified: Some(true), ..share(0.2, seed) };
            let images = part(validation, &keys[..205], &labels, Split::Validation).expect("some");
            let counts = [0, 1, 2, 3]
                .map(|class| images.iter().filter(|image| labels[**image] == class).count());
            assert!((18..=54).contains(&counts[0]), "{counts:?}");
            assert!((2..=6).contains(&counts[1]), "{counts:?}");
            assert!((1..=2).contains(&counts[2]), "{counts:?}");
            assert_eq!(counts[3], 0, "the only image is trained on");
            let twice = [&keys[..205], &keys[175..190]].concat();
            let of_two = [labels.clone(), vec![2; 15]].concat();
            let images = part(validation, &twice, &of_two, Split::Validation).expect("some");
            for (copy, image) in (175..190).enumerate() {
                let is_kept = |image: usize| images.binary_search(&image).is_ok();
                assert_eq!(is_kept(image), is_kept(205 + copy), "seed {seed}, image {image}");
            }
        }
    }

    #[test]
    fn more_is_kept_back_of_each_class_by_a_larger_fraction() {
        let (keys, labels) = (keys(60), (0..60).map(|image| image % 7).collect::<Vec<u32>>());
        for seed in 0..20 {
            let mut before: Vec<usize> = Vec::new();
            for percent in 8..95 {
                let validation = Validation {
                    stratified: Some(true),
                    ..share(f64::from(percent) / 100.0, seed)
                };
                let now = part(validation, &keys, &labels, Split::Validation).expect("some");
                assert!(before.iter().all(|image| now.contains(image)), "seed {seed}, {percent} %");
                before = now;
            }
        }
    }

    #[test]
    fn classes_with_images_on_one_side_only_are_told() {
        let classes = ["a", "b", "c"].map(str::to_owned);
        let all = Drawn { keys: &[], labels: &[0, 0, 0, 1, 2, 2], classes: &classes };
        let told = |kept: &[usize]| share(0.2, 3).missing(all, kept).unwrap_or_default();
        assert_eq!(
            told(&[0, 3]),
            "`validation: { fraction: 0.2, seed: 3 }` keeps back no image of class `c` (2) and leaves \
             no image to train on of class `b` (1); `stratified: true` keeps back a share of each class"
        );
        assert!(told(&[0]).contains("no image of class `b` (1), `c` (2); "), "{}", told(&[0]));
        let whole = Drawn { labels: &[0, 0, 2, 2], ..all };
        assert_eq!(share(0.2, 3).missing(whole, &[0, 2]), None);
    }

    #[test]
    fn a_share_that_leaves_nothing_is_told() {
        for fraction in [0.0, 1.0, -0.5, f64::NAN, 10.0] {
            assert!(Validation::from(fraction).check().is_some(), "{fraction}");
        }
        let by_count = Validation { by: By::Count, ..0.1.into() };
        assert_eq!(by_count.check(), None);
        let both = Validation { stratified: Some(true), ..by_count };
        assert_eq!(both.check().expect("wrong").field, ["validation", "stratified"]);
        let told = |validation, images: u64| {
            let keys: Vec<u64> = (0..images).collect();
            part(validation, &keys, &vec![0; keys.len()], Split::Train)
                .expect_err("none")
                .to_string()
        };
        assert!(told(by_count, 4).contains("0 for validation and 4"));
        let most = Validation { fraction: 0.9, ..by_count };
        assert!(told(most, 4).contains("4 for validation and 0"));
        assert!(told(share(0.5, 1), 1).contains("0 for validation and 1"));
    }

    #[test]
    fn a_number_and_a_map_are_read_and_written() {
        let read = |text| serde_json::from_str::<Validation>(text);
        assert_eq!(read("0.25").expect("a share"), Validation::from(0.25));
        let with_seed = read(r#"{"fraction": 0.25, "seed": 3}"#).expect("a map");
        assert_eq!(with_seed, share(0.25, 3));
        assert!(read("\"some\"").expect_err("text").to_string().contains("such as 0.1"));
        assert_eq!(Validation::from(0.25).to_string(), "0.25");
        let all = Validation { stratified: Some(false), by: By::Count, ..with_seed };
        let written = "{ fraction: 0.25, seed: 3, stratified: false, by: count }";
        assert_eq!(all.to_string(), written);
        let kept = serde_json::to_string(&all).expect("JSON");
        assert_eq!(read(&kept).expect("its own"), all);
    }
}
