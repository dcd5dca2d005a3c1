//! The preludes: each is valid by itself, is needed where it is named, and alone declares what it does.

use std::collections::BTreeSet;
use std::path::Path;

use naga::valid::{Capabilities, ValidationFlags, Validator};
use shaders::prelude::ALL;

/// The name of a prelude, and its text.
type Prelude = (&'static str, &'static str);

/// Whether a text is valid WGSL, or why not.
fn check(text: &str) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
    let validated = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module);
    validated.map(|_| ()).map_err(|e| e.emit_to_string(text))
}

/// Each form of each kernel: its name, its preludes, and the rest of its text, which is its file.
fn forms() -> impl Iterator<Item = (&'static str, Vec<Prelude>, &'static str)> {
    shaders::ALL.iter().flat_map(|kernel| kernel.variants).map(|form| {
        let (mut preludes, mut rest) = (Vec::new(), form.wgsl);
        let next = |rest: &'static str| {
            ALL.iter().find_map(|prelude| Some((*prelude, rest.strip_prefix(prelude.1)?)))
        };
        while let Some((prelude, after)) = next(rest) {
            preludes.push(prelude);
            rest = after;
        }
        (form.name, preludes, rest)
    })
}

/// The names that a text declares, in lines that are not indented.
fn declared(text: &str) -> BTreeSet<&str> {
    let kinds = ["fn ", "struct ", "alias ", "override ", "const "];
    text.lines()
        .filter_map(|line| {
            let plain = kinds.iter().find_map(|kind| line.strip_prefix(kind));
            let variable = || line.split_once("var<")?.1.split_once("> ").map(|(_, rest)| rest);
            let rest = plain.or_else(variable)?;
            rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
        })
        .collect()
}

#[test]
fn every_prelude_is_valid_by_itself_and_says_what_it_is() {
    for (name, text) in ALL {
        check(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.starts_with("// ") && text.ends_with('\n'), "{name}");
    }
}

#[test]
fn every_form_is_valid_with_its_preludes_and_with_none_less() {
    let mut used = BTreeSet::new();
    for (form, preludes, file) in forms() {
        let text = |without: &str| {
            let kept = preludes.iter().filter(|(name, _)| *name != without);
            kept.map(|(_, text)| *text).chain([file]).collect::<String>()
        };
        check(&text("")).unwrap_or_else(|error| panic!("{form}: {error}"));
        for (name, _) in &preludes {
            assert!(check(&text(name)).is_err(), "{form} does not need {name}");
            used.insert(*name);
        }
    }
    assert_eq!(used.len(), ALL.len(), "only {used:?} are used");
}

#[test]
fn no_kernel_declares_what_a_prelude_does() {
    let preludes: Vec<_> = ALL.iter().map(|(name, text)| (name, declared(text))).collect();
    for (form, _, file) in forms() {
        let names = declared(file);
        assert!(names.contains("main"), "{form}: {names:?}");
        for (prelude, declared) in &preludes {
            let twice: Vec<_> = names.intersection(declared).collect();
            assert!(twice.is_empty(), "{form} declares {twice:?}, as does the prelude {prelude}");
        }
    }
}

#[test]
fn the_list_is_in_order_and_complete() {
    let names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
    assert!(names.is_sorted(), "{names:?}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("prelude");
    assert_eq!(std::fs::read_dir(folder).expect("the preludes' folder").count(), names.len());
}

/// A kernel of another crate names them in the same way, with a file beside its own.
#[test]
fn other_crates_put_preludes_before_their_kernels() {
    const WGSL: &str = shaders::wgsl!([LINEAR, STEP, ELEMENT], "../relu_forward.wgsl");
    check(WGSL).expect("a valid kernel");
    let (_, _, file) = forms().find(|(form, ..)| *form == "relu_forward").expect("the kernel");
    assert!(WGSL.ends_with(file) && WGSL.len() > file.len());
}
