use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::port::{ImageType, PixelType};
use crate::stage::{Context, Kind, Mismatch, Reads, Runner};
use config::diagnostic::{self, Diagnostic};
use config::token::floor;

/// Puts out images.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Reader {
    split: String,
}

/// Cuts images.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Cropper {
    size: usize,
}

/// Ends a flow.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct End {}

fn nothing_runs() -> anyhow::Result<Runner> {
    anyhow::bail!("nothing runs here")
}

impl Config for Reader {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        if !inputs.is_empty() {
            return Err(Mismatch::field("from", "a reader begins a flow"));
        }
        let side = self.split.len();
        let pixel = PixelType::U8;
        let image =
            ImageType { pixel, shape: [side, side, 3], classes: 10, whole_epochs: true, views: 1 };
        Ok(Some(Port::Samples(image)))
    }

    fn build(&self, _: &Context<'_>) -> anyhow::Result<Runner> {
        nothing_runs()
    }

    fn as_reads(&self) -> Option<&dyn Reads> {
        Some(self)
    }
}

impl Reads for Reader {
    fn check_beside(&self, other: &dyn Config, _: &RunSettings) -> Result<(), Mismatch> {
        let other = (other as &dyn std::any::Any).downcast_ref::<Self>();
        match other {
            Some(other) if self.split == "rest" => {
                let message = format!("there is {} as well", other.split);
                Err(Mismatch::field("split", message))
            }
            _ => Ok(()),
        }
    }
}

impl Config for Cropper {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        let [Port::Samples(image)] = inputs else {
            return Err(Mismatch::new("needs images").help("add `from`"));
        };
        let side = image.shape[0];
        if self.size > side {
            let message = format!("cannot cut {0}x{0} out of {side}x{side}", self.size);
            return Err(Mismatch::field("size", message).help(format!("at most {side}")));
        }
        Ok(Some(Port::Samples(ImageType { shape: [self.size, self.size, 3], ..*image })))
    }

    fn build(&self, _: &Context<'_>) -> anyhow::Result<Runner> {
        nothing_runs()
    }

    fn warnings(&self, _: &[Port]) -> Vec<Mismatch> {
        if self.size == 1 { vec![Mismatch::field("size", "one pixel is little")] } else { vec![] }
    }
}

impl Config for End {
    fn check(&self, inputs: &[Port]) -> Result<Option<Port>, Mismatch> {
        match inputs {
            [] => Err(Mismatch::new("needs something to end")),
            [first, rest @ ..] if rest.iter().all(|port| port.to_string() == first.to_string()) => {
                Ok(None)
            }
            _ => Err(Mismatch::field("from", "takes images of one type")),
        }
    }

    fn build(&self, _: &Context<'_>) -> anyhow::Result<Runner> {
        nothing_runs()
    }
}

fn kinds() -> Vec<Kind> {
    vec![
        Kind::of::<Reader>("reader", "Puts out images.", "split: train"),
        Kind::of::<Cropper>("cropper", "Cuts images.", "size: 2"),
        Kind::of::<End>("end", "Ends a flow.", "{}"),
    ]
}

fn load(text: &str, set: &[(&str, &str)]) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let set: Vec<(String, String)> =
        set.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
    Plan::load(&kinds(), "p.yaml", text, &set, &RunSettings::default())
}

/// What is told, one line each.
fn told(text: &str, set: &[(&str, &str)]) -> Vec<String> {
    let diagnostics = match load(text, set) {
        Ok((_, warnings)) => warnings,
        Err(errors) => errors,
    };
    // Whatever is told can be drawn.
    assert!(!diagnostic::render(&diagnostics, true).contains("panicked"));
    let line = |d: &Diagnostic| {
        let place = d.place.as_ref().map_or(String::new(), |place| {
            let line = place.text[..place.span.start].matches('\n').count() + 1;
            format!("{}:{line} `{}` ", place.name, &place.text[place.span.clone()])
        });
        let help = d.help.as_ref().map_or(String::new(), |help| format!("; {help}"));
        format!("{place}{}{help}", d.message)
    };
    diagnostics.iter().map(line).collect()
}

const GOOD: &str = "\
seed: 7
steps: 3
adapter: auto
stages:
  end: { from: [crop, crop2], end: }
  crop: { from: read, cropper: { size: 4 } }
  crop2: { from: read2, cropper: { size: 4 } }
  read: { reader: { split: train } }
  read2: { reader: { split: train } }
";

#[test]
fn a_good_pipeline_is_put_in_order() {
    let (plan, warnings) = load(GOOD, &[]).expect("a plan");
    assert!(warnings.is_empty());
    let order: Vec<_> =
        plan.stages.iter().map(|stage| (&*stage.id, stage.kind, stage.from.clone())).collect();
    assert_eq!(
        order,
        [
            ("read", "reader", vec![]),
            ("crop", "cropper", vec![0]),
            ("read2", "reader", vec![]),
            ("crop2", "cropper", vec![2]),
            ("end", "end", vec![1, 3]),
        ]
    );
    assert_eq!(plan.stages[4].inputs[0].to_string(), "images u8[4, 4, 3]");
    assert_eq!((plan.settings.seed, plan.settings.limit.steps), (7, Some(3)));
    assert_eq!((plan.settings.block_images, plan.settings.channel_blocks), (64, 4));
    assert_eq!(plan.settings.compute.adapter, None);
}

#[test]
fn every_problem_is_told_where_it_is_and_nothing_that_follows_from_it() {
    let text = "\
seed: -1
epochs: 0
colour: red
stages:
  read: { reader: { splt: train } }
  crop: { from: read, cropper: { size: big } }
  a b: { from: raed, croper: {} }
  end: { from: crop, end: {} }
  self: { from: self, end: {} }
  twice: { from: [read, read], end: {} }
";
    let expected = [
        "p.yaml:1 `-1` expected a whole number, 0 or above for `seed`, found `-1`",
        "p.yaml:2 `0` `epochs`: must be above 0",
        "p.yaml:3 `colour` there is no field `colour`; known are `seed`, `epochs`, `steps`, \
         `adapter`, `precision`, `autotune`, `allow`, `name`, `checkpoints`, `summaries`, \
         `block_images`, `channel_blocks`",
        "p.yaml:5 `reader` read: the field `split` is missing",
        "p.yaml:5 `splt` read: there is no field `splt`; did you mean `split`?",
        "p.yaml:6 `big` crop: expected a whole number for `size`, found \"big\"",
        "p.yaml:7 `a b` `a b` cannot name a stage; use letters, digits, `_` and `-`",
        "p.yaml:7 `raed` there is no stage named `raed`; did you mean `read`?",
        "p.yaml:7 `croper` there is no stage `croper`; did you mean `cropper`?",
        "p.yaml:9 `self` `self` reads from itself",
        "p.yaml:10 `read` `twice` reads from `read` twice",
    ];
    assert_eq!(told(text, &[]), expected);
}

#[test]
fn a_stage_is_asked_about_each_other() {
    let rest =
        GOOD.replace("read2: { reader: { split: train } }", "read2: { reader: { split: rest } }");
    let told = told(&rest, &[]);
    assert_eq!(told, ["p.yaml:9 `rest` read2: there is train as well"]);
}

#[test]
fn types_are_checked_along_the_flow() {
    let text = "\
stages:
  read: { reader: { split: train } }
  crop: { from: read, cropper: { size: 40 } }
  less: { from: crop, cropper: { size: 41 } }
  one: { from: read, cropper: { size: 1 } }
  end: { from: [one, read2], end: {} }
  late: { from: end, end: {} }
  lonely: { cropper: { size: 1 } }
  read2: { reader: { split: train } }
";
    let expected = [
        "p.yaml:3 `40` crop: cannot cut 40x40 out of 5x5; at most 5",
        "p.yaml:6 `[` end: takes images of one type",
        "p.yaml:8 `cropper` lonely: needs images; add `from`",
    ];
    assert_eq!(told(text, &[]), expected);
    let notes = load(text, &[]).expect_err("errors")[0].notes.clone();
    assert_eq!(notes, ["crop takes images u8[5, 5, 3] from read"]);
    assert_eq!(
        told(GOOD, &[("stages.crop.from", "end"), ("stages.end.from", "read")])[0],
        "command line:1 `end` `end` puts out nothing that `crop` could read"
    );
}

#[test]
fn inputs_that_come_from_one_stage_are_told() {
    let told = |from: &str| {
        told(
            &format!(
                "\
stages:
  read: {{ reader: {{ split: train }} }}
  read2: {{ reader: {{ split: train }} }}
  a: {{ from: read, cropper: {{ size: 3 }} }}
  b: {{ from: read, cropper: {{ size: 3 }} }}
  c: {{ from: a, cropper: {{ size: 3 }} }}
  d: {{ from: read2, cropper: {{ size: 3 }} }}
  all: {{ from: [b, c, d], end: {{}} }}
  end: {{ from: [{from}], end: {{}} }}
"
            ),
            &[],
        )
    };
    let help = "one way would wait for the other without end; give one of them stages of its own, \
                from the beginning of the flow on";
    let line = |line: usize, what: &str| format!("p.yaml:{line} `[` {what}; {help}");
    let always = line(8, "`all` reads `read` both through `b` and through `c`");
    assert_eq!(told("c, d"), std::slice::from_ref(&always));
    for (from, what) in [
        ("a, c", "`end` reads `a` both directly and through `c`"),
        ("c, a", "`end` reads `a` both directly and through `c`"),
        ("d, c, b", "`end` reads `read` both through `c` and through `b`"),
    ] {
        assert_eq!(told(from), [always.clone(), line(9, what)]);
    }
}

#[test]
fn circles_and_ends_that_nobody_reads_are_told() {
    let text = "\
stages:
  a: { from: c, cropper: { size: 1 } }
  b: { from: a, cropper: { size: 1 } }
  c: { from: b, cropper: { size: 1 } }
  end: { from: c, end: {} }
";
    assert_eq!(
        told(text, &[]),
        ["p.yaml:2 `c` the flow goes in a circle: `a` to `b` to `c` to `a`; data flows one way"]
    );
    assert_eq!(
        told("stages: { read: { reader: { split: x } } }", &[]),
        ["p.yaml:1 `read` nobody reads what `read` puts out; \
          add `from: read` to the stage that should read it, or remove `read`"]
    );
    for text in ["seed: 1", "seed: 1\nstages:", "stages: {}"] {
        assert!(told(text, &[])[0].contains("the pipeline has no stages"), "{text}");
    }
    assert!(told("[1]", &[])[0].contains("expected a map of settings and stages, found a list"));
    assert!(told("stages: 3", &[])[0].contains("expected a map of stages, found `3`"));
}

#[test]
fn the_command_line_overrides_and_is_blamed() {
    let set = |path, value| told(GOOD, &[(path, value)]);
    let (plan, _) =
        load(GOOD, &[("seed", "9"), ("stages.crop.cropper.size", "4")]).expect("a plan");
    assert_eq!(plan.settings.seed, 9);
    assert_eq!(
        set("stages.crop.cropper.size", "6"),
        ["command line:1 `6` crop: cannot cut 6x6 out of 5x5; at most 5"]
    );
    assert_eq!(
        set("stages.crop.cropper.sise", "3"),
        ["command line:1 `sise` crop: there is no field `sise`; did you mean `size`?"]
    );
    assert_eq!(
        set("stages.crp.cropper.size", "3"),
        ["command line:1 `crp` `stages` has no `crp`; did you mean `crop`?"]
    );
    assert_eq!(
        set("stage.crop", "3"),
        ["command line:1 `stage` the pipeline has no `stage`; did you mean `stages`?"]
    );
    assert_eq!(
        set("stages.end.from.2", "read"),
        ["command line:1 `2` there is no element `2`; the list has elements 0 to 1"]
    );
    assert_eq!(set("seed.x", "1"), ["command line:1 `x` `7` has no fields"]);
    assert!(set("seed", "[1")[0].starts_with("command line:1 `[1` this is not YAML"));
    // What goes wrong elsewhere because of it is its fault too.
    assert_eq!(
        set("stages.read.reader.split", "abc"),
        ["command line:1 `abc` crop: cannot cut 4x4 out of 3x3; at most 3"]
    );
    let broken = GOOD.replace("size: 4", "size: 9");
    assert_eq!(told(&broken, &[("seed", "1")]).len(), 2);
    assert!(told(&broken, &[("seed", "1")])[0].starts_with("p.yaml:6 `9`"));
}

#[test]
fn warnings_do_not_stop_a_plan() {
    let text = GOOD.replace("size: 4", "size: 1");
    assert!(load(&text, &[]).is_ok());
    assert_eq!(told(&text, &[])[0], "p.yaml:6 `1` crop: one pixel is little");
}

#[test]
fn no_text_makes_it_panic() {
    // A small generator: enough to break a good file in many ways.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let pieces = [
        "{", "}", "[", "]", ":", " ", "\n", "- ", "&a ", "*a", "<<: *a", "\"", "'", "#", "|", "é",
        "\t", "!x ", "~", "0", "-1", "1e999", ".nan", "stages", "from", "size", "%", "@", "\0",
        "? ", "\u{2028}", "\r", ",",
    ];
    for _ in 0..2000 {
        let mut text = GOOD.to_owned();
        for _ in 0..=random(4) {
            let at = floor(&text, random(text.len() + 1));
            let end = floor(&text, at + random(12));
            text.replace_range(at..end, pieces[random(pieces.len())]);
        }
        told(&text, &[]);
        let value = pieces[random(pieces.len())];
        let path = ["stages.crop", "stages.end.from.0", "", "..", "stages.read.reader.split"];
        told(GOOD, &[(path[random(path.len())], value)]);
    }
}

#[test]
fn many_problems_are_cut_off() {
    let mut text = "stages:\n".to_owned();
    for stage in 0..20_000 {
        text += &format!("  s{stage}: {{ from: s{}, croper: {{}} }}\n", stage + 1);
    }
    assert_eq!(told(&text, &[]).len(), 51);
    let fields: String = (0..60_000).map(|field| format!("f{field}: 1, ")).collect();
    assert!(told(&format!("stages: {{ read: {{ reader: {{ {fields} }} }} }}"), &[]).len() > 30);
}
