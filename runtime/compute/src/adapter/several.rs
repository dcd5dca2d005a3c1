//! Which adapters train together: so many, all, or a list.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::host::Cpu;
use super::select::{NoSuchAdapter, all, choose, devices, rank, refusing, select};
use super::{Adapter, DeviceKind, Info, Precise, unoffered};
use crate::precision::Precision;
use config::mismatch::Mismatch;
use config::shorthand::Shorthand;

/// The adapters that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Several {
    /// The best so many devices, or as many as there are.
    Count(usize),
    /// All devices.
    All,
    /// These.
    Listed(Vec<Listed>),
}

/// The most replicas on one adapter. Each has all weights and a thread of its own.
const MOST_REPLICAS: usize = 1024;

/// One that is named, with as many replicas on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Its index, a part of its name, or `backend/name`.
    pub adapter: Name,
    /// Replicas of the model on it.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    pub replicas: usize,
}

fn one() -> usize {
    1
}

/// An index or a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Name(pub String);

/// Adapters that were chosen.
pub struct Chosen {
    /// The adapter of each tower.
    pub towers: Vec<Arc<dyn Adapter>>,
    /// How many were asked for, if there are fewer.
    pub missing: Option<Missing>,
}

impl Chosen {
    fn in_precision(self, precision: Precision) -> Result<Self> {
        let mut towers: Vec<Arc<dyn Adapter>> = Vec::new();
        for (number, adapter) in self.towers.iter().enumerate() {
            // Towers on one adapter stay on one: they share its memory.
            let known = self.towers[..number].iter().position(|known| Arc::ptr_eq(known, adapter));
            towers.push(match known {
                Some(known) => Arc::clone(&towers[known]),
                None => Arc::new(Precise::new(Arc::clone(adapter), precision)?),
            });
        }
        Ok(Self { towers, ..self })
    }
}

/// Adapters that a program brings along, instead of those of the machine; none to take these.
#[derive(Clone, Default)]
pub struct Brought(pub Vec<Arc<dyn Adapter>>);

impl fmt::Debug for Brought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|adapter| adapter.info())).finish()
    }
}

impl Brought {
    /// The adapter that `asked` names, as [`select`](super::select::select) takes it.
    fn select(&self, asked: &str) -> Result<Arc<dyn Adapter>> {
        if self.0.is_empty() {
            return Ok(Arc::from(select(asked)?));
        }
        Ok(Arc::clone(&self.0[choose(asked, &self.infos()?)?]))
    }

    /// The adapter that `asked` names, computing in this precision.
    ///
    /// # Errors
    /// If none or several fit, or the one that does offers no such precision.
    pub fn select_in(&self, asked: &str, precision: Precision) -> Result<Arc<dyn Adapter>> {
        let mut chosen = vec![self.select(asked)?];
        self.refuse(&chosen, precision)?;
        Ok(Arc::new(Precise::new(chosen.remove(0), precision)?))
    }

    /// The adapter that `asked` names, computing in this precision if it offers it and in f32
    /// otherwise, and what it is then: trained weights can be used anywhere.
    ///
    /// # Errors
    /// If none or several fit.
    pub fn select_nearest(
        &self,
        asked: &str,
        precision: Precision,
    ) -> Result<(Arc<dyn Adapter>, Precision)> {
        let adapter = self.select(asked)?;
        let offered = adapter.info().precisions.contains(&precision);
        let precision = if offered { precision } else { Precision::F32 };
        Ok((Arc::new(Precise::new(adapter, precision)?), precision))
    }

    /// What there is to choose from.
    fn infos(&self) -> Result<Vec<Info>> {
        Ok(match self.0.is_empty() {
            true => all()?.iter().map(|adapter| adapter.info().clone()).collect(),
            false => self.0.iter().map(|adapter| adapter.info().clone()).collect(),
        })
    }

    /// Refuses a precision that not all of these adapters offer.
    fn refuse(&self, chosen: &[Arc<dyn Adapter>], precision: Precision) -> Result<()> {
        let several = chosen.len() > 1;
        let refused = chosen.iter().enumerate().filter_map(|(number, adapter)| {
            let error = unoffered(adapter.info(), precision).err()?;
            let tower = || format!("{}: {error}", tower_name(number));
            Some(if several { tower() } else { error.to_string() })
        });
        let refused: Vec<String> = refused.collect();
        match refused.is_empty() {
            true => Ok(()),
            false => Err(refusing(&refused.join("\n"), precision, &self.infos()?).into()),
        }
    }
}

/// `tower_0`, `tower_1`, .., by their numbers.
pub fn tower_name(number: usize) -> String {
    format!("tower_{number}")
}

/// Fewer adapters are there than were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Asked for.
    pub asked: usize,
    /// There.
    pub found: usize,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, found } = self;
        write!(
            f,
            "{asked} adapters were asked for and there {}; software rasterisers count only if they \
             are named, and `cpu` if it is named or there is no other",
            match found {
                1 => "is one".to_owned(),
                found => format!("are {found}"),
            }
        )
    }
}

impl Several {
    /// The adapter of this name, by itself.
    pub fn alone(name: &str) -> Self {
        Self::Listed(vec![name.into()])
    }

    /// What is wrong with it, as far as it can be seen without looking for devices.
    pub fn mistakes(&self, field: &str) -> Vec<Mismatch> {
        let none = || {
            Mismatch::field(field, "expected at least one adapter, found none")
                .help("leave it out to take the best there is")
        };
        let listed = match self {
            Self::All => return Vec::new(),
            Self::Count(count) => return (*count == 0).then(none).into_iter().collect(),
            Self::Listed(listed) => listed,
        };
        let mut wrong: Vec<Mismatch> = listed.is_empty().then(none).into_iter().collect();
        for (at, one) in listed.iter().enumerate() {
            let here = format!("{field}.{at}");
            if !(1..=MOST_REPLICAS).contains(&one.replicas) {
                let found =
                    format!("expected 1 to {MOST_REPLICAS} replicas, found {}", one.replicas);
                wrong.push(
                    Mismatch::field(&format!("{here}.replicas"), found)
                        .help("leave `replicas` out for one"),
                );
            }
            if listed[..at].iter().any(|before| before.adapter == one.adapter) {
                wrong.push(twice(&here, &one.adapter.0));
            }
        }
        wrong
    }

    /// How many towers that makes, if it can be known without looking for devices.
    pub fn towers(&self) -> Option<usize> {
        match self {
            Self::Count(_) | Self::All => None,
            Self::Listed(listed) => {
                Some(listed.iter().fold(0, |sum, one| sum.saturating_add(one.replicas)))
            }
        }
    }

    /// The adapters that are meant, of those that are brought or of this machine, computing in
    /// this precision.
    ///
    /// # Errors
    /// If a name fits none of them or several, two names fit the same one, or not all offer the
    /// precision.
    pub fn choose(&self, brought: &Brought, precision: Precision) -> Result<Chosen> {
        if let Some(wrong) = self.mistakes("adapters").first() {
            return Err(anyhow!("`{}`: {}", wrong.field.join("."), wrong.message));
        }
        let chosen = self.choose_any(brought)?;
        ensure!(!chosen.towers.is_empty(), "there is no adapter that {self} could be");
        brought.refuse(&chosen.towers, precision)?;
        chosen.in_precision(precision)
    }

    fn choose_any(&self, brought: &Brought) -> Result<Chosen> {
        if !brought.0.is_empty() {
            return self.among(&brought.0);
        }
        let only_cpu = |one: &Listed| one.adapter.0 == "cpu";
        let adapters: Vec<Arc<dyn Adapter>> = match self {
            // No driver is loaded for the adapter that needs none.
            Self::Listed(listed) if listed.iter().all(only_cpu) => vec![Arc::new(Cpu::new(0)?)],
            _ => all()?.into_iter().map(Arc::from).collect(),
        };
        self.among(&adapters)
    }

    fn among(&self, adapters: &[Arc<dyn Adapter>]) -> Result<Chosen> {
        let infos: Vec<Info> = adapters.iter().map(|adapter| adapter.info().clone()).collect();
        let positions = self.positions(&infos)?;
        let missing = match self {
            Self::Count(asked) if positions.len() < *asked => {
                Some(Missing { asked: *asked, found: positions.len() })
            }
            _ => None,
        };
        let towers = positions.into_iter().map(|at| Arc::clone(&adapters[at])).collect();
        Ok(Chosen { towers, missing })
    }

    fn positions(&self, infos: &[Info]) -> Result<Vec<usize>, NoSuchAdapter> {
        let listed = match self {
            Self::Count(count) => {
                let mut best = real(infos);
                best.truncate(*count);
                return Ok(best);
            }
            Self::All => return Ok(real(infos)),
            Self::Listed(listed) => listed,
        };
        let mut towers: Vec<usize> = Vec::new();
        for Listed { adapter: Name(name), replicas } in listed {
            let at = choose(name, infos)?;
            if towers.contains(&at) {
                let message = twice("adapters", name).message;
                return Err(NoSuchAdapter::saying(format!("{message}: {}", infos[at].name)));
            }
            towers.extend(std::iter::repeat_n(at, *replicas));
        }
        Ok(towers)
    }
}

fn twice(field: &str, name: &str) -> Mismatch {
    Mismatch::field(field, format!("{name} names an adapter that is listed already"))
        .help(format!("for several replicas on one adapter: `{{ adapter: {name}, replicas: 2 }}`"))
}

/// Each device once, on its preferred backend, the best first. `cpu` is one only where there is no
/// other, and a software rasteriser never is.
fn real(infos: &[Info]) -> Vec<usize> {
    let preferred = devices(infos).into_iter().filter_map(|backends| backends.first().copied());
    let mut found: Vec<usize> = preferred
        .filter(|at| !matches!(infos[*at].kind, DeviceKind::SoftwareRasterizer | DeviceKind::Cpu))
        .collect();
    found.sort_by_key(|at| (rank(infos[*at].kind), *at));
    if found.is_empty() {
        found.extend(infos.iter().position(|info| info.kind == DeviceKind::Cpu));
    }
    found
}

impl FromStr for Several {
    type Err = String;

    /// As on the command line: `2`, `all`, or names with commas between them.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        if let Ok(count) = text.parse() {
            return match count {
                0 => Err("expected at least one adapter".to_owned()),
                count => Ok(Self::Count(count)),
            };
        }
        let names: Vec<&str> = text.split(',').map(str::trim).filter(|n| !n.is_empty()).collect();
        match names.is_empty() {
            true => Err("expected a number, `all`, or names with commas between them".to_owned()),
            false => Ok(Self::Listed(names.into_iter().map(Listed::from).collect())),
        }
    }
}

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::All => f.write_str("all"),
            Self::Listed(listed) => {
                let names: Vec<&str> = listed.iter().map(|one| one.adapter.0.as_str()).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

impl From<&str> for Listed {
    fn from(name: &str) -> Self {
        Self { adapter: Name(name.to_owned()), replicas: 1 }
    }
}

impl Serialize for Several {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => count.serialize(to),
            Self::All => to.serialize_str("all"),
            Self::Listed(listed) => listed.serialize(to),
        }
    }
}

impl JsonSchema for Several {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Several".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let listed = generator.subschema_for::<Listed>();
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 1 },
                { "const": "all" },
                {
                    "type": "array",
                    "minItems": 1,
                    "items": { "anyOf": [{ "type": ["integer", "string"] }, listed] },
                },
            ]
        })
    }
}

impl JsonSchema for Name {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"] })
    }
}

impl<'de> Deserialize<'de> for Several {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Shorthand::new("a number of adapters, `all`, or a list of them")
            .whole(|count| Some(Self::Count(usize::try_from(count).unwrap_or(usize::MAX))))
            .text(|text| {
                Some(match text {
                    "all" => Self::All,
                    name => Self::Listed(vec![name.into()]),
                })
            })
            .list(|listed: Vec<OneOf>| {
                Some(Self::Listed(listed.into_iter().map(|OneOf(one)| one).collect()))
            })
            .read(from)
    }
}

/// An element of the list: an index, a name, or a map.
struct OneOf(Listed);

impl<'de> Deserialize<'de> for OneOf {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Shorthand::new("an adapter's index or name, or `{ adapter: NAME, replicas: 2 }`")
            .whole(|index| Some(Self(index.to_string().as_str().into())))
            .text(|name| Some(Self(name.into())))
            .map(Self)
            .read(from)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Shorthand::new("an adapter's index or name")
            .whole(|index| Some(Self(index.to_string())))
            .text(|name| Some(Self(name.to_owned())))
            .read(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{Identity, Limits};

    fn info(name: &str, backend: &'static str, kind: DeviceKind) -> Info {
        let (name, driver) = (name.to_owned(), String::new());
        let (identity, limits) = (Identity::default(), Limits::NONE);
        Info { name, backend, driver, kind, identity, limits, precisions: vec![Precision::F32] }
    }

    fn laptop() -> Vec<Info> {
        vec![
            info("cpu", "cpu", DeviceKind::Cpu),
            info("Intel Iris", "vulkan", DeviceKind::IntegratedGpu),
            info("NVIDIA 3060", "gl", DeviceKind::DiscreteGpu),
            info("NVIDIA 3060", "vulkan", DeviceKind::DiscreteGpu),
            info("llvmpipe (LLVM 15)", "vulkan", DeviceKind::SoftwareRasterizer),
        ]
    }

    fn positions(asked: &str, infos: &[Info]) -> Result<Vec<usize>, String> {
        let asked: Several = serde_json::from_str(asked).map_err(|error| error.to_string())?;
        asked.positions(infos).map_err(|error| error.to_string())
    }

    #[test]
    fn each_device_counts_once_and_software_if_it_is_named() {
        let all = laptop();
        assert_eq!(positions("\"all\"", &all), Ok(vec![3, 1]));
        assert_eq!(positions("1", &all), Ok(vec![3]));
        assert_eq!(positions("5", &all), Ok(vec![3, 1]));
        assert_eq!(positions("\"all\"", &[all[0].clone(), all[4].clone()]), Ok(vec![0]));
        assert_eq!(positions("[\"llvmpipe\", 0]", &all), Ok(vec![4, 0]));
        assert_eq!(positions("[\"gl/3060\", \"vulkan/3060\"]", &all), Ok(vec![2, 3]));
    }

    #[test]
    fn replicas_are_asked_for() {
        let all = laptop();
        let asked = r#"[{"adapter": "cpu", "replicas": 2}, "iris"]"#;
        assert_eq!(positions(asked, &all), Ok(vec![0, 0, 1]));
        let wrong = positions("[\"iris\", 1]", &all).expect_err("twice");
        assert!(wrong.contains("1 names an adapter that is listed already: Intel Iris"), "{wrong}");
        let fields = |text: &str| -> Vec<String> {
            let asked: Several = serde_json::from_str(text).expect("a list");
            asked.mistakes("adapters").iter().map(|wrong| wrong.field.join(".")).collect()
        };
        assert_eq!(fields("[\"cpu\", \"cpu\"]"), ["adapters.1"]);
        assert_eq!(fields(r#"[{"adapter": 0, "replicas": 0}, 0]"#).len(), 2);
        assert_eq!(fields(r#"[{"adapter": 0, "replicas": 1024}]"#), [""; 0]);
        let huge = r#"[{"adapter": 0, "replicas": 1025},
                       {"adapter": 1, "replicas": 18446744073709551615}]"#;
        assert_eq!(fields(huge), ["adapters.0.replicas", "adapters.1.replicas"]);
        let huge: Several = serde_json::from_str(huge).expect("a list");
        assert_eq!(huge.towers(), Some(usize::MAX));
        assert_eq!(fields("[]"), ["adapters"]);
        assert_eq!(fields("0"), ["adapters"]);
        assert!(fields("[0, \"cpu\"]").is_empty());
    }

    #[test]
    fn yaml_and_command_line_are_read() {
        let parse = |text: &str| text.parse::<Several>();
        assert_eq!(parse("2"), Ok(Several::Count(2)));
        assert_eq!(parse("all"), Ok(Several::All));
        assert_eq!(
            parse("cpu, lavapipe"),
            Ok(Several::Listed(vec!["cpu".into(), "lavapipe".into()]))
        );
        assert!(parse("0").is_err() && parse(",").is_err());
        for text in ["2", "\"all\"", r#"[{"adapter":"cpu","replicas":2}]"#] {
            let asked: Several = serde_json::from_str(text).expect("it is read");
            assert_eq!(serde_json::to_string(&asked).expect("it is written"), text);
        }
        for text in ["-1", "true", "[[1]]", r#"[{"adapters": 1}]"#] {
            assert!(serde_json::from_str::<Several>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn none_and_too_many_are_refused_whoever_asks() {
        let cpu: Arc<dyn Adapter> = Arc::new(Cpu::new(1).expect("it starts"));
        let brought = Brought(vec![cpu]);
        for (text, told) in [
            ("[]", "at least one adapter"),
            ("0", "at least one adapter"),
            (r#"[{"adapter": "cpu", "replicas": 1000000000}]"#, "1 to 1024 replicas"),
        ] {
            let asked: Several = serde_json::from_str(text).expect("it is read");
            let refused = asked.choose(&brought, Precision::F32).err().expect(text).to_string();
            assert!(refused.contains(told), "{text}: {refused}");
        }
    }

    #[test]
    fn fewer_than_asked_for_are_told() {
        let cpu: Arc<dyn Adapter> = Arc::new(Cpu::new(1).expect("it starts"));
        let chosen = Several::Count(2).among(&[cpu]).expect("one is there");
        assert_eq!(chosen.towers.len(), 1);
        let text = chosen.missing.expect("one is missing").to_string();
        assert!(text.starts_with("2 adapters were asked for and there is one;"), "{text}");
    }
}
