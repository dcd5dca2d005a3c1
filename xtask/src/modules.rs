//! Finds circles between the modules of a crate. Cargo keeps crates from importing each other in a
//! circle; this does so for the modules within one.
//!
//! A module and all modules in it are one node among the modules that lie beside it. So there is one
//! graph for the modules right below the root of a crate, and one for those right inside each module.
//! A path in the source is an edge from where it stands to where it leads, in the graph of the innermost
//! module that holds both. A module may therefore use what it declares, and what is in it may use what
//! stands in the module itself; both are inside one node.
//!
//! What only tests use (`#[cfg(test)]`) is no edge. Files are found by their `mod` lines, without
//! `#[path]`; of macros, `base::registry!` alone is known to declare modules.

mod circle;
mod resolve;
mod source;
mod tokens;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::cargo;

use circle::Circle;
use source::Module;

/// # Errors
/// With a circle of each group of modules that import each other in circles, in any crate of the
/// workspace.
pub(crate) fn check() -> Result<()> {
    let folder = std::env::current_dir()?;
    let mut found = Vec::new();
    for (name, root) in roots()? {
        let module = Module::read(&root).with_context(|| format!("crate {name}"))?;
        let circles = circles(&module);
        found.extend(circles.iter().map(|circle| describe(&name, circle, &folder)));
    }
    if !found.is_empty() {
        bail!(
            "modules import each other in a circle: move what both need into a module of its own, or \
             one of the imports to the module that needs it\n{}",
            found.join("\n")
        );
    }
    Ok(())
}

/// The names of the workspace's libraries and programs, and their first files.
fn roots() -> Result<Vec<(String, PathBuf)>> {
    let arguments = ["metadata", "--no-deps", "--format-version", "1", "--offline"];
    let output = cargo::command(&arguments, &[]).output().context("could not start cargo")?;
    if !output.status.success() {
        bail!("`cargo metadata` failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(roots_in(&String::from_utf8(output.stdout)?))
}

fn roots_in(metadata: &str) -> Vec<(String, PathBuf)> {
    let mut roots: Vec<(String, PathBuf)> = Vec::new();
    for target in metadata.split(r#"{"kind":[""#).skip(1) {
        let kind = target.split('"').next().unwrap_or_default();
        if !["lib", "rlib", "proc-macro", "bin"].contains(&kind) {
            continue;
        }
        let fields = cargo::text_field(target, "name").zip(cargo::text_field(target, "src_path"));
        // One file may be several programs.
        roots.extend(
            fields
                .map(|(name, file)| (name, PathBuf::from(file)))
                .filter(|(_, file)| roots.iter().all(|(_, other)| other != file)),
        );
    }
    roots
}

/// One circle of each group.
fn circles(root: &Module) -> Vec<Circle> {
    resolve::graphs(root).iter().flat_map(circle::shortest).collect()
}

fn describe(name: &str, circle: &Circle, folder: &Path) -> String {
    let modules: Vec<&str> = circle.edges.iter().map(|edge| edge.from.as_str()).collect();
    let mut text = format!("{name}: {} -> {}", modules.join(" -> "), modules[0]);
    if circle.group.len() > modules.len() {
        text += &format!("\n  in circles with them: {}", circle.others().join(", "));
    }
    for edge in &circle.edges {
        let file = edge.place.file.strip_prefix(folder).unwrap_or(&edge.place.file);
        let (from, to, line) = (&edge.from, &edge.to, edge.place.line);
        text += &format!("\n  {from} -> {to}  {}:{line}", file.display());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a crate with these files.
    fn told(files: &[(&str, &str)]) -> Vec<String> {
        let folder = Path::new("/c/src");
        let read = |file: &Path| {
            let name = file.strip_prefix(folder).ok()?;
            let found = files.iter().find(|(path, _)| Path::new(path) == name)?;
            Some(found.1.to_owned())
        };
        let root = Module::read_with(&folder.join("lib.rs"), &read).expect("Rust");
        circles(&root).iter().map(|circle| describe("c", circle, Path::new("/c"))).collect()
    }

    #[test]
    fn a_circle_is_told_with_a_line_for_each_edge() {
        let told = told(&[
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "//! Text.\n\nuse crate::d;\nuse crate::{c::Z, b::{self, Y}};\n"),
            ("b.rs", "pub struct Y;\nfn f() -> u8 {\n    crate::c::g()\n}\n"),
            ("c.rs", "use super::a::X;\nuse std::fmt;\n"),
            ("d.rs", ""),
        ]);
        let expected = "c: a -> c -> a\n  in circles with them: b\n  a -> c  src/a.rs:4\n  \
                        c -> a  src/c.rs:1";
        assert_eq!(told, [expected]);
    }

    #[test]
    fn modules_that_a_registry_declares_are_seen() {
        let told = told(&[
            (
                "lib.rs",
                "base::registry! { /// All.\n pub fn all() -> Vec<Kind> from kind(); pub mod a; mod b; }",
            ),
            ("a.rs", "use crate::b::Y;"),
            ("b.rs", "fn f() { crate::a::kind() }"),
        ]);
        assert_eq!(told, ["c: a -> b -> a\n  a -> b  src/a.rs:1\n  b -> a  src/b.rs:1"]);
    }

    #[test]
    fn what_is_above_and_inside_is_no_circle() {
        let told = told(&[
            ("lib.rs", "pub mod a; mod b; pub const N: usize = a::x::M; use b::*;"),
            ("a/mod.rs", "mod x; pub mod y; use x::X; pub struct S; use crate::N; use self::y::Y;"),
            ("a/x.rs", "use super::S; use crate::b::B; pub struct X;"),
            ("a/y.rs", "use super::x::X; use crate::a::S; pub struct Y;"),
            ("b.rs", "pub struct B; pub mod inner { use super::B; }"),
        ]);
        assert!(told.is_empty(), "{told:?}");
    }

    #[test]
    fn siblings_inside_a_module_are_a_graph_of_their_own() {
        let told = told(&[
            ("lib.rs", "mod a;"),
            ("a.rs", "mod x;\nmod y;"),
            ("a/x.rs", "use super::y::Y;"),
            ("a/y.rs", "pub struct Y;\npub mod z {\n    fn f(_: super::super::x::X) {}\n}"),
        ]);
        assert_eq!(
            told,
            ["c: a::x -> a::y -> a::x\n  a::x -> a::y  src/a/x.rs:1\n  a::y -> a::x  src/a/y.rs:3"]
        );
    }

    #[test]
    fn what_a_module_hands_on_leads_to_where_it_comes_from() {
        for text in [
            "use crate::Name;",
            "use crate::{Name as Other};",
            "use super::hidden::again::Name;",
            "fn f() { super::hidden::Starred::new(); }",
            "use super::*; fn f(_: Name) {}",
            "fn f() { crate::exported!(); }",
        ] {
            let told = told(&[
                ("lib.rs", "mod a; mod b; mod hidden; pub use b::Name;"),
                ("a.rs", text),
                (
                    "b.rs",
                    "use crate::a; pub struct Name; pub struct Starred;\n\
                          #[macro_export] macro_rules! exported { () => {} }",
                ),
                ("hidden.rs", "pub mod again { pub use crate::b::Name; } pub use crate::b::*;"),
            ]);
            assert_eq!(told.len(), 1, "{text}");
            assert!(told[0].contains("b -> a  src/b.rs:1"), "{text}: {told:?}");
        }
    }

    #[test]
    fn tests_comments_and_texts_are_passed_over() {
        let told = told(&[
            ("lib.rs", "mod a; mod b;\n#[cfg(test)] mod testing;"),
            (
                "a.rs",
                r##"
                //! [`crate::b`] /* crate::b::f() */
                // use crate::b;
                const T: &str = r#"crate::b::f("") "#;
                const S: (&str, char, &[u8]) = ("\"crate::b::f", '"', b"crate::b");
                #[cfg(test)]
                use crate::b::{f, g};
                #[cfg(test)]
                pub(crate) fn helper<A, B>() -> [u8; 3] { crate::b::f() }
                #[cfg(all(test, unix))]
                const C: usize = crate::b::N;
                struct P<'a> { #[cfg(test)] only: crate::b::B, also: &'a u8 }
                #[cfg(test)]
                mod tests { use crate::b; use super::*; }
                "##,
            ),
            ("b.rs", "use crate::a::T;"),
        ]);
        assert!(told.is_empty(), "{told:?}");
    }

    #[test]
    fn what_is_compiled_without_tests_counts() {
        for text in [
            "#[cfg(not(test))] use crate::b;",
            "#[cfg(feature = \"test\")] use crate::b;",
            "#[cfg(test)] use std::fmt; use crate::b;",
            "struct P { #[cfg(test)] only: u8, also: crate::b::B }",
            "macro_rules! m { () => { $crate::b::f() } }",
            "fn f() { use crate::b; }",
            "fn f<'a>(x: &'a u8) -> Vec<crate::b::B<'a>> { 'x': x }",
        ] {
            let told =
                told(&[("lib.rs", "mod a; mod b;"), ("a.rs", text), ("b.rs", "use crate::a;")]);
            assert_eq!(told.len(), 1, "{text}");
        }
    }

    #[test]
    fn a_module_without_a_file_is_an_error() {
        let read = |file: &Path| (file == Path::new("/c/lib.rs")).then(|| "mod a;".to_owned());
        let told = Module::read_with(Path::new("/c/lib.rs"), &read).expect_err("no a.rs");
        let told = format!("{told:#}");
        assert!(told.contains("mod a") && told.contains("a.rs"), "{told}");
    }

    #[test]
    fn libraries_and_programs_are_found_in_cargos_description() {
        let metadata = r#"{"packages":[{"name":"g-x","targets":[
            {"kind":["lib"],"crate_types":["lib"],"name":"x","src_path":"/g/x/src/lib.rs"},
            {"kind":["test"],"crate_types":["bin"],"name":"t","src_path":"/g/x/tests/t.rs"},
            {"kind":["bin"],"crate_types":["bin"],"name":"p","src_path":"/g/main.rs"},
            {"kind":["bin"],"crate_types":["bin"],"name":"q","src_path":"/g/main.rs"},
            {"kind":["custom-build"],"crate_types":["bin"],"name":"build-script-build","src_path":"/g/build.rs"}]}]}"#;
        let expected = [("x", "/g/x/src/lib.rs"), ("p", "/g/main.rs")]
            .map(|(name, file)| (name.to_owned(), PathBuf::from(file)));
        assert_eq!(roots_in(metadata), expected);
    }
}
