//! What the repository says of itself is what the command says.

use std::fs;
use std::path::Path;
use std::process::Command;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

fn runtime(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runtime"));
    let output = command.current_dir(HERE).args(arguments).output().expect("the command starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "runtime {}: {errors}", arguments.join(" "));
    String::from_utf8(output.stdout).expect("the output is text")
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(HERE).join(file)).expect(file)
}

/// The blocks of this language in a page.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = read(page);
    let opening = format!("```{language}\n");
    text.split(&opening)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn the_schema_is_the_parsers() {
    let schema = runtime(&["schema"]);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(Path::new(HERE).join("schema.json"), &schema).expect("schema.json is written");
    }
    assert!(read("schema.json") == schema, "run `runtime schema > schema.json`");
}

#[test]
fn the_page_on_kernels_is_of_the_kernels() {
    let page = runtime(&["roofline", "pipeline.yaml"]);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(Path::new(HERE).join("docs/kernels.md"), &page).expect("the page is written");
    }
    let command = "runtime roofline pipeline.yaml > docs/kernels.md";
    assert!(read("docs/kernels.md") == page, "run `{command}`");
}

#[test]
fn the_readmes_picture_is_the_pipelines_graph() {
    let drawn = runtime(&["graph", "pipeline.yaml", "--format", "mermaid"]);
    let shown = blocks("README.md", "mermaid");
    assert_eq!(shown.first().map(|text| text.trim()), Some(drawn.trim()));
}

#[test]
fn the_readmes_messages_are_the_commands() {
    for block in blocks("README.md", "text") {
        let folder = Path::new(HERE).join("tests/errors");
        let told = fs::read_dir(folder).expect("the expected messages").any(|entry| {
            let path = entry.expect("an entry").path();
            fs::read_to_string(path).is_ok_and(|text| text.trim() == block.trim())
        });
        assert!(told, "no test expects:\n{block}");
    }
}

/// A page's YAML is a whole pipeline, or stages to put into `pipeline.yaml`.
#[test]
fn the_pages_yaml_is_valid() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = ["README.md", "docs/tutorial.md"].map(|page| blocks(page, "yaml"));
    assert!(pages.iter().all(|page| !page.is_empty()));
    for (number, block) in pages.concat().into_iter().enumerate() {
        let file = folder.path().join(format!("{number}.yaml"));
        let text = if block.contains("stages:") { block } else { replaced(&block) };
        fs::write(&file, text).expect("the block is written");
        runtime(&["check", &file.to_string_lossy()]);
    }
}

/// `pipeline.yaml` with the lines of the stages that a block shows in another form.
fn replaced(block: &str) -> String {
    let mut text = read("pipeline.yaml");
    let indented = |line: &str| line.starts_with("    ") || line.trim().is_empty();
    let lines: Vec<&str> = block.lines().collect();
    let starts: Vec<usize> =
        (0..lines.len()).filter(|i| lines[*i].starts_with("  ") && !indented(lines[*i])).collect();
    for (at, start) in starts.iter().enumerate() {
        let end = starts.get(at + 1).copied().unwrap_or(lines.len());
        let (id, _) = lines[*start].split_once(':').expect("a stage");
        let kept: Vec<&str> = text.lines().collect();
        let from = kept.iter().position(|line| line.split(':').next() == Some(id));
        let from = from.unwrap_or_else(|| panic!("pipeline.yaml has no stage{id}"));
        let rest = kept[from + 1..].iter().take_while(|line| indented(line)).count();
        let mut merged = kept[..from].to_vec();
        merged.extend(&lines[*start..end]);
        merged.extend(&kept[from + 1 + rest..]);
        text = merged.join("\n");
    }
    text
}

#[test]
fn every_example_checks() {
    let mut examples = 0;
    for entry in fs::read_dir(Path::new(HERE).join("examples")).expect("examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            runtime(&["check", &path.to_string_lossy()]);
            examples += 1;
        }
    }
    assert!(examples > 0);
    runtime(&["check", "pipeline.yaml"]);
}
