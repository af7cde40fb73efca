//! The documents that say what the code declares: every key, every row of the method table.

use std::path::{Path, PathBuf};

use rigl_topology::Method;
use rigl_train::Config;
use rigl_train::config::{TABLES, keys, named, reference};

fn documents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(documents().join(name)).unwrap_or_default()
}

#[test]
fn the_page_of_all_keys_is_what_the_code_declares() {
    let page = reference();
    if read("configuration.md") != page {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("configuration.md");
        rigl_base::files::write_atomic(&path, page.as_bytes()).unwrap();
        panic!("docs/configuration.md is out of date: cp {} docs/", path.display());
    }
}

/// What a table of `[method]` says of a row: its kind or policy, and what else is not as it is by default.
fn cell(config: &Config, table: &str) -> String {
    let of_table = || keys().iter().filter(|key| key.parts().0 == table);
    let word =
        |key: &str| config.get(&format!("{table}.{key}")).map(|value| value.trim_matches('"').to_string());
    let main = if table == "method.updates" { "step-policy" } else { "kind" };
    let others = of_table().filter(|key| key.parts().1 != main).filter_map(|key| {
        let value = config.get(&key.path).filter(|value| Some(value) != key.default.as_ref())?;
        Some(format!("`{} = {value}`", key.parts().1))
    });
    word(main).into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_table_of_methods_is_that_of_the_rows() {
    let page = read("methods.md");
    for row in Method::ALL {
        let config = Config::default().with_method(row);
        let cells = ["start", "drop", "grow", "count", "updates"]
            .map(|table| cell(&config, &format!("method.{table}")));
        let line = format!("| `{}` | {} |", row.name, cells.join(" | ")).replace("|  |", "| |");
        assert!(page.lines().any(|of| of.starts_with(&line)), "docs/methods.md lacks `{line}`");
    }
}

#[test]
fn documents_name_keys_of_methods_that_there_are() {
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(documents()).unwrap().map(|entry| entry.unwrap().path()) {
        let text = std::fs::read_to_string(&entry).unwrap();
        // The page of all keys has the older names too.
        let text = text.split("## Older names").next().unwrap();
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || ".-_".contains(c))) {
            let word = word.trim_end_matches(['.', '-']);
            // Layers have names of their own, folders of runs hold values, and sources lie in a file `method.rs`.
            let others = ["method.layers.", "method.name.", "method.rs"];
            if !word.starts_with("method.") || others.iter().any(|other| word.starts_with(other)) {
                continue;
            }
            let key = named(word).is_some_and(|key| key.path == word || key.path == format!("{word}.kind"));
            if !key && !TABLES.iter().any(|table| table.name == word) {
                wrong.push(format!("{}: {word}", entry.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
