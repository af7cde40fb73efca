//! The page of all keys, as `docs/configuration.md` has it.

use std::fmt::Write;

use super::renamed::{RENAMED, Renamed};
use super::{Key, TABLES, doc_text, keys};

/// The documentation of every key in Markdown: what it means, what it takes, its default, when it is read.
pub fn reference() -> String {
    let mut page = String::from(
        "# Configuration\n\nEvery key of a configuration file, as `rigl presets NAME --full` prints them. Defaults come first, \
         then a preset, then a file, then `--set KEY=VALUE` and the flags that are short names of keys. A key that nothing \
         would read is refused (in a sweep, one that none of its runs would read: `experiments/README.md`); one that a later source leaves without use falls away. A table with a `kind` may be \
         written as that alone: `drop = \"magnitude\"`.\n",
    );
    let mut table = None;
    for key in keys() {
        let (of, _) = key.parts();
        if table != Some(of) {
            table = Some(of);
            heading(&mut page, of);
        }
        row(&mut page, key);
    }
    page.push_str(
        "\n## Older names\n\nThey are read wherever the present ones are, and nothing is printed by them. With its default, a key by its older name may \
         stand where nothing reads it, as may `data.mean`, `data.std` and `schedule.divide-by`; so may any in a `config.toml` \
         that an earlier version printed.\n\n| before | now |\n|---|---|\n",
    );
    for Renamed { old, new, .. } in RENAMED {
        _ = writeln!(page, "| `{old}` | `{new}` |");
    }
    page
}

fn heading(page: &mut String, table: &str) {
    let doc = TABLES.iter().find(|of| of.name == table).map_or(String::new(), |of| doc_text(of.doc));
    if !table.is_empty() {
        _ = write!(page, "\n## `[{table}]`\n\n{doc}\n");
    }
    page.push_str("\n| key | default | takes | |\n|---|---|---|---|\n");
}

fn row(page: &mut String, key: &Key) {
    let (_, name) = key.parts();
    let default = key.default.as_ref().map_or(String::new(), |default| format!("`{default}`"));
    let words: Vec<String> =
        key.words.iter().map(|(word, meaning)| format!("`{word}`: {}", doc_text(meaning))).collect();
    let takes = if words.is_empty() { key.allowed.clone() } else { words.join("<br>") };
    let read = key.read_when().map_or(String::new(), |when| format!(" {when}"));
    let cell = |text: &str| text.replace('|', "\\|");
    _ = writeln!(
        page,
        "| `{name}` | {} | {} | {}{} |",
        cell(&default),
        cell(&takes),
        cell(&key.doc),
        cell(&read)
    );
}
