//! What the tokens of one module say: which modules, items, imports and paths are in it.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What stands in one module, outside tests.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The modules in it, with their bodies if these are not in files of their own.
    pub(super) modules: Vec<(String, Option<TokenStream>)>,
    pub(super) items: BTreeSet<String>,
    /// The macros that belong to the whole crate.
    pub(super) exported: Vec<String>,
    pub(super) imports: BTreeMap<String, Vec<String>>,
    pub(super) globs: Vec<Vec<String>>,
    pub(super) paths: BTreeMap<Vec<String>, usize>,
}

/// Before the name of what is defined.
const DEFINES: [&str; 8] = ["struct", "enum", "union", "trait", "type", "fn", "const", "static"];

impl Found {
    pub(super) fn in_stream(stream: TokenStream) -> Self {
        let mut found = Self::default();
        let is_test = found.read(stream, true);
        if is_test { Self::default() } else { found }
    }

    /// Whether all of it is for tests alone. Items and imports belong to the module only `at_top`, not
    /// inside a function.
    fn read(&mut self, stream: TokenStream, at_top: bool) -> bool {
        let trees: Vec<TokenTree> = stream.into_iter().collect();
        let mut rest = &trees[..];
        let mut is_exported = false;
        while let Some(tree) = rest.first() {
            if let Some((attribute, is_inner, after)) = attribute(rest) {
                match (is_for_tests(&attribute), is_inner) {
                    (true, true) => return true,
                    (true, false) => rest = after_item(after),
                    (false, _) => {
                        is_exported |= starts_with(&attribute, "macro_export");
                        rest = after;
                    }
                }
                continue;
            }
            let line = tree.span().start().line;
            match tree {
                TokenTree::Group(group) => {
                    self.read(group.stream(), false);
                    rest = &rest[1..];
                }
                TokenTree::Ident(_) => rest = self.word(rest, line, at_top, is_exported),
                TokenTree::Punct(_) | TokenTree::Literal(_) => rest = &rest[skipped(rest)..],
            }
            // It says something of the next item, up to the item's body.
            is_exported &= !matches!(tree, TokenTree::Group(_));
        }
        false
    }

    /// Reads what begins with a word, and gives what follows.
    fn word<'a>(
        &mut self,
        trees: &'a [TokenTree],
        line: usize,
        at_top: bool,
        is_exported: bool,
    ) -> &'a [TokenTree] {
        let word = text(&trees[0]);
        let next = trees.get(1).filter(|tree| matches!(tree, TokenTree::Ident(_))).map(text);
        match (word.as_str(), next) {
            // A bound `use<'a>` imports nothing.
            ("use", _) if !trees.get(1).is_some_and(|tree| is(tree, '<')) => {
                let length = trees.iter().position(|tree| is(tree, ';')).unwrap_or(trees.len());
                self.import(&trees[1..length], &[], at_top);
                &trees[length..]
            }
            ("mod", Some(name)) if at_top => match trees.get(2) {
                Some(tree) if is(tree, ';') => {
                    self.modules.push((name, None));
                    &trees[3..]
                }
                Some(TokenTree::Group(body)) => {
                    self.modules.push((name, Some(body.stream())));
                    &trees[3..]
                }
                _ => &trees[2..],
            },
            // It declares modules, and a list of what they hold.
            (_, None) if at_top && is_registry(trees) => {
                let length = trees.iter().position(|tree| matches!(tree, TokenTree::Group(_)));
                let length = length.unwrap_or(trees.len() - 1);
                if let TokenTree::Group(group) = &trees[length] {
                    self.read(group.stream(), true);
                }
                &trees[length + 1..]
            }
            ("macro_rules", None) => {
                if let Some(TokenTree::Ident(name)) = trees.get(2) {
                    self.items.insert(name.to_string());
                    if is_exported {
                        self.exported.push(name.to_string());
                    }
                }
                &trees[1..]
            }
            (defines, Some(name)) if at_top && DEFINES.contains(&defines) => {
                self.items.insert(name);
                &trees[1..]
            }
            _ => {
                let (path, after) = path(trees);
                self.paths.entry(path).or_insert(line);
                after
            }
        }
    }

    /// Reads one of the trees of a `use`, which stands below this path.
    fn import(&mut self, trees: &[TokenTree], above: &[String], at_top: bool) {
        // Of `::name` as well as of `name`.
        let trees = after_colons(trees).unwrap_or(trees);
        let Some(first) = trees.first() else { return };
        if let TokenTree::Group(group) = first {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            inner.split(|tree| is(tree, ',')).for_each(|tree| self.import(tree, above, at_top));
            return;
        }
        let line = first.span().start().line;
        if is(first, '*') {
            self.paths.entry(above.to_vec()).or_insert(line);
            if at_top {
                self.globs.push(above.to_vec());
            }
            return;
        }
        let (names, after) = path(trees);
        let is_self = !above.is_empty() && names == ["self"];
        let whole = if is_self { above.to_vec() } else { [above, &names].concat() };
        if let Some(inner) = after_colons(after) {
            return self.import(inner, &whole, at_top);
        }
        self.paths.entry(whole.clone()).or_insert(line);
        let name = match after {
            [TokenTree::Ident(word), name, ..] if word == "as" => text(name),
            _ => whole.last().cloned().unwrap_or_default(),
        };
        if at_top {
            self.imports.insert(name, whole);
        }
    }
}

/// Whether the macro `registry!` is called here, by whatever path.
fn is_registry(trees: &[TokenTree]) -> bool {
    let (names, after) = path(trees);
    names.last().is_some_and(|name| name == "registry")
        && after.first().is_some_and(|tree| is(tree, '!'))
}

/// How many of the trees from this one on hold no path: what follows a single dot is a field or a
/// method.
fn skipped(trees: &[TokenTree]) -> usize {
    match trees {
        [dot, TokenTree::Ident(_), ..] if is(dot, '.') => 2,
        [dot, other, ..] if is(dot, '.') && is(other, '.') => 2,
        _ => 1,
    }
}

/// The names of the path that begins here, and what follows; a path ends before what is no name.
fn path(trees: &[TokenTree]) -> (Vec<String>, &[TokenTree]) {
    let mut names = vec![text(&trees[0])];
    let mut rest = &trees[1..];
    while let Some(after @ [TokenTree::Ident(name), ..]) = after_colons(rest) {
        names.push(plain(&name.to_string()));
        rest = &after[1..];
    }
    (names, rest)
}

fn after_colons(trees: &[TokenTree]) -> Option<&[TokenTree]> {
    match trees {
        [one, other, rest @ ..] if is(one, ':') && is(other, ':') => Some(rest),
        _ => None,
    }
}

/// The attribute that begins here, whether it belongs to what surrounds it, and what follows.
fn attribute(trees: &[TokenTree]) -> Option<(TokenStream, bool, &[TokenTree])> {
    let after = trees.split_first().filter(|(tree, _)| is(tree, '#'))?.1;
    let is_inner = after.first().is_some_and(|tree| is(tree, '!'));
    match &after[usize::from(is_inner)..] {
        [TokenTree::Group(group), rest @ ..] if group.delimiter() == Delimiter::Bracket => {
            Some((group.stream(), is_inner, rest))
        }
        _ => None,
    }
}

fn starts_with(attribute: &TokenStream, word: &str) -> bool {
    attribute.clone().into_iter().next().is_some_and(|tree| text(&tree) == word)
}

/// Whether it is `cfg(test)`, or asks for `test` and more.
fn is_for_tests(attribute: &TokenStream) -> bool {
    fn asks(stream: TokenStream) -> bool {
        let trees: Vec<TokenTree> = stream.into_iter().collect();
        trees.split(|tree| is(tree, ',')).any(|part| match part {
            [word @ TokenTree::Ident(_)] => text(word) == "test",
            [word @ TokenTree::Ident(_), TokenTree::Group(group)] => {
                text(word) == "all" && asks(group.stream())
            }
            _ => false,
        })
    }
    let trees: Vec<TokenTree> = attribute.clone().into_iter().collect();
    match &trees[..] {
        [word, TokenTree::Group(group)] => text(word) == "cfg" && asks(group.stream()),
        _ => false,
    }
}

/// What follows the item, field or arm that begins here.
fn after_item(trees: &[TokenTree]) -> &[TokenTree] {
    const ITEMS: [&str; 8] =
        ["use", "mod", "impl", "macro_rules", "unsafe", "async", "extern", "let"];
    let mut rest = trees;
    while let Some((_, _, after)) = attribute(rest) {
        rest = after;
    }
    if rest.first().is_some_and(|tree| text(tree) == "pub") {
        rest = &rest[1..];
        if let [TokenTree::Group(group), after @ ..] = rest
            && group.delimiter() == Delimiter::Parenthesis
        {
            rest = after;
        }
    }
    let first = rest.first().map(text).unwrap_or_default();
    let is_item = ITEMS.contains(&first.as_str()) || DEFINES.contains(&first.as_str());
    let ends = |tree: &TokenTree| match tree {
        TokenTree::Group(group) => is_item && group.delimiter() == Delimiter::Brace,
        tree => is(tree, ';') || !is_item && is(tree, ','),
    };
    rest.iter().position(ends).map_or(&[], |end| &rest[end + 1..])
}

fn is(tree: &TokenTree, character: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn text(tree: &TokenTree) -> String {
    plain(&tree.to_string())
}

/// A name as it is without `r#`.
fn plain(name: &str) -> String {
    name.strip_prefix("r#").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    fn found(text: &str) -> Found {
        Found::in_stream(TokenStream::from_str(text).expect("tokens"))
    }

    /// The paths of several names.
    fn paths(text: &str) -> Vec<String> {
        let paths = found(text).paths;
        paths.keys().filter(|path| path.len() > 1).map(|path| path.join("::")).collect()
    }

    #[test]
    fn imports_have_the_names_that_they_get_here() {
        let found = found(
            "use crate::a::{self, b::{C, D as E}, f::*};\nuse ::std::fmt;\nuse r#type::G as _;",
        );
        let imports: Vec<String> = found
            .imports
            .iter()
            .map(|(name, path)| format!("{name}={}", path.join("::")))
            .collect();
        assert_eq!(
            imports,
            ["C=crate::a::b::C", "E=crate::a::b::D", "_=type::G", "a=crate::a", "fmt=std::fmt"]
        );
        assert_eq!(found.globs, [["crate", "a", "f"]]);
        assert_eq!(found.paths[&["std", "fmt"].map(str::to_owned)[..]], 2);
    }

    #[test]
    fn paths_are_found_wherever_they_stand() {
        assert_eq!(
            paths(
                "fn f<T: a::A>(x: &mut b::B<c::C>) -> impl d::D + use<T> { x.e::<g::G>(); \
                 let h = H { i: 1, ..crate::h() }; self.j.k; m!(l::L); super::super::n() }"
            ),
            ["a::A", "b::B", "c::C", "crate::h", "d::D", "g::G", "l::L", "super::super::n"]
        );
    }

    #[test]
    fn what_is_in_a_function_is_no_item_of_the_module() {
        let found =
            found("pub struct A; fn b() { struct C; use d::E; } mod m; mod n { fn o() {} }");
        let items: Vec<&str> = found.items.iter().map(String::as_str).collect();
        assert_eq!(items, ["A", "b"]);
        assert!(found.imports.is_empty());
        let modules: Vec<(&str, bool)> =
            found.modules.iter().map(|(name, body)| (name.as_str(), body.is_some())).collect();
        assert_eq!(modules, [("m", false), ("n", true)]);
    }

    #[test]
    fn macros_belong_to_the_crate_where_they_say_so() {
        let found = found(
            "#[macro_export]\n/// Text.\nmacro_rules! a { () => {} }\nmacro_rules! b { () => {} }",
        );
        assert_eq!(found.exported, ["a"]);
        assert!(found.items.contains("b"));
    }

    #[test]
    fn items_for_tests_are_passed_over_to_their_ends() {
        for (item, rest) in [
            ("use a::{b::C, d::E};", "x::X"),
            ("#[allow(x)] pub(crate) fn f(a: a::A, b: b::B) -> [c::C; 3] { d::D }", "x::X"),
            ("mod tests { use a::A; }", "x::X"),
            ("const A: a::A = a::A::new(1, 2);", "x::X"),
        ] {
            assert_eq!(paths(&format!("#[cfg(test)] {item} fn g() {{ x::X }}")), [rest], "{item}");
        }
        assert_eq!(paths("struct S { #[cfg(test)] pub a: a::A, b: x::X }"), ["x::X"]);
        assert_eq!(paths("fn f() { #[cfg(test)] a::b(c::d); x::X }"), ["x::X"]);
        assert!(paths("//! Text.\n#![cfg(test)]\nuse a::A;").is_empty());
    }
}
