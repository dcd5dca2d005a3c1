//! Which vector instructions the `cpu` adapter's kernels use.

use anyhow::{Context as _, Result};

/// The environment variable that names the instructions to use; the best there are if not given.
const VARIABLE: &str = "GRADFLOW_ISA";

/// A set of vector instructions that this processor has: there is no other way to come by one
/// than to ask for it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

/// The sets of instructions that kernels know, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every processor of the architecture has.
    Portable,
    /// x86 vectors of 8 numbers, with fused multiply-adds.
    Avx2,
    /// x86 vectors of 16 numbers.
    Avx512,
}

impl Level {
    const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn is_here(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::Avx512 => is_x86_feature_detected!("avx512f") && Self::Avx2.is_here(),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_here(self) -> bool {
        self == Self::Portable
    }
}

impl Isa {
    /// All that this processor has, the least first.
    pub fn all() -> impl Iterator<Item = Self> {
        Level::ALL.into_iter().filter(|level| level.is_here()).map(Self)
    }

    /// The best that this processor has.
    pub fn best() -> Self {
        Self::all().last().unwrap_or(Self(Level::Portable))
    }

    /// The one that the environment variable `GRADFLOW_ISA` names, else the best.
    ///
    /// # Errors
    /// If this processor has none of that name.
    pub fn of_environment() -> Result<Self> {
        match std::env::var(VARIABLE) {
            Ok(name) => Self::named(&name).with_context(|| {
                let names: Vec<&str> = Self::all().map(Self::name).collect();
                format!(
                    "{VARIABLE} is `{name}`, and this processor has {}; unset it for the best",
                    names.join(", ")
                )
            }),
            Err(_) => Ok(Self::best()),
        }
    }

    /// The one of this name, if this processor has it.
    fn named(name: &str) -> Option<Self> {
        Self::all().find(|isa| isa.name() == name)
    }

    /// `portable`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Whether the processor multiplies pairs of bf16 beside these instructions, which are then
    /// those of [`Level::Avx512`].
    #[cfg(target_arch = "x86_64")]
    pub fn multiplies_bf16(self) -> bool {
        self.0 == Level::Avx512 && is_x86_feature_detected!("avx512bf16")
    }

    /// Whether the processor multiplies pairs of bf16.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn multiplies_bf16(self) -> bool {
        false
    }

    /// What kernels choose by. The processor has the instructions.
    pub fn level(self) -> Level {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_processor_has_is_found_by_name() {
        assert_eq!(Isa::all().next().map(Isa::level), Some(Level::Portable));
        for isa in Isa::all() {
            assert_eq!(Isa::named(isa.name()), Some(isa));
            assert!(isa.level() <= Isa::best().level());
        }
        assert_eq!(Isa::named("sse17"), None);
    }
}
