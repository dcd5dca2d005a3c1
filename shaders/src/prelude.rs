//! What several kernels' WGSL has in common: texts that are valid by themselves and are put before
//! that of a kernel when it is compiled, by [`wgsl!`](crate::wgsl).

/// Declares the preludes, each in a file of its name.
macro_rules! preludes {
    ($($name:ident: $file:literal;)*) => {
        $(
            #[doc = concat!("The text of `prelude/", $file, ".wgsl`.")]
            pub const $name: &str = include_str!(concat!("../prelude/", $file, ".wgsl"));
        )*

        /// Every prelude, by the name of its file.
        pub const ALL: &[(&str, &str)] = &[$(($file, $name)),*];
    };
}

preludes! {
    CHANNELS: "channels";
    DENSE: "dense";
    ELEMENT: "element";
    GELU: "gelu";
    GEMM: "gemm";
    GEMM_OUTER: "gemm_outer";
    GEMM_SLICES: "gemm_slices";
    GRADIENT_SCALE: "gradient_scale";
    GRADIENT_UNIT: "gradient_unit";
    GROUP_NORM: "group_norm";
    LANES: "lanes";
    LINEAR: "linear";
    LOCAL_RESPONSE_NORM: "local_response_norm";
    MATRIX: "matrix";
    NOT_FINITE: "not_finite";
    SPLITS: "splits";
    STEP: "step";
    WINDOWS: "windows";
}

/// The text of a kernel: the preludes that it uses, in any order, and a file beside the one that
/// names it.
///
/// ```
/// const WGSL: &str = shaders::wgsl!([ELEMENT, STEP, LINEAR], "../relu_forward.wgsl");
/// assert!(WGSL.contains("struct Step") && WGSL.contains("fn main"));
/// ```
#[macro_export]
macro_rules! wgsl {
    ([$($prelude:ident),+ $(,)?], $file:literal) => {{
        const PARTS: &[&str] = &[$($crate::prelude::$prelude,)+ include_str!($file)];
        const BYTES: [u8; $crate::prelude::total_len(PARTS)] = $crate::prelude::joined(PARTS);
        const TEXT: &str = $crate::prelude::text(&BYTES);
        TEXT
    }};
}

/// The bytes of all parts.
#[doc(hidden)]
pub const fn total_len(parts: &[&str]) -> usize {
    let (mut total, mut at) = (0, 0);
    while at < parts.len() {
        total += parts[at].len();
        at += 1;
    }
    total
}

/// The parts, one after the other.
#[doc(hidden)]
pub const fn joined<const LENGTH: usize>(parts: &[&str]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let (mut end, mut at) = (0, 0);
    while at < parts.len() {
        let part = parts[at].as_bytes();
        let (_, rest) = bytes.split_at_mut(end);
        rest.split_at_mut(part.len()).0.copy_from_slice(part);
        end += part.len();
        at += 1;
    }
    bytes
}

/// The bytes of texts as a text.
#[doc(hidden)]
pub const fn text(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("parts of a text are texts"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_joined_in_their_order() {
        const PARTS: &[&str] = &["a\n", "", "bc"];
        const BYTES: [u8; total_len(PARTS)] = joined(PARTS);
        assert_eq!(text(&BYTES), "a\nbc");
    }
}
