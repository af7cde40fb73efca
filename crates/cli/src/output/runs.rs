//! A table of runs on a terminal, as wide as that; elsewhere it is Markdown.

use rigl_study::Table as Runs;

use super::table::{Align, Table};
use super::terminal;

/// The table for whoever reads it: columns are named as briefly as they can be told apart, and where they find no room
/// the table is turned, a row for each.
pub(crate) fn shown_runs(table: &Runs) -> String {
    match terminal::width_of_results() {
        None => table.markdown(),
        Some(width) => within(&table.cells(), table.columns.len(), width),
    }
}

/// Cells, the headings first, of which the first `keys` columns are keys.
fn within(cells: &[Vec<String>], keys: usize, width: usize) -> String {
    let Some((headings, rows)) = cells.split_first() else { return String::new() };
    let names = brief(&headings[..keys]);
    let headings: Vec<&str> =
        names.iter().copied().chain(headings[keys..].iter().map(String::as_str)).collect();
    let align = |at: usize| if at < keys { Align::Left } else { Align::Right };
    let columns: Vec<(&str, Align)> = std::iter::once(("row", Align::Right))
        .chain(headings.iter().enumerate().map(|(at, name)| (*name, align(at))))
        .collect();
    let mut upright = Table::new(&columns);
    for (number, row) in rows.iter().enumerate() {
        upright.row(std::iter::once((number + 1).to_string()).chain(row.iter().cloned()).collect());
    }
    if upright.within(None).lines().all(|line| line.chars().count() <= width) {
        return upright.within(None);
    }
    let numbers: Vec<String> = (1..=rows.len()).map(|number| number.to_string()).collect();
    let columns: Vec<(&str, Align)> = std::iter::once(("row", Align::Left))
        .chain(numbers.iter().map(|number| (number.as_str(), Align::Right)))
        .collect();
    let mut turned = Table::new(&columns);
    for (at, name) in headings.iter().enumerate() {
        if at == keys {
            turned.rule();
        }
        turned.row(std::iter::once(name.to_string()).chain(rows.iter().map(|row| row[at].clone())).collect());
    }
    turned.within(Some(width))
}

/// Keys without their tables, as far as they can be told apart then; `method.name` is the method.
fn brief(keys: &[String]) -> Vec<&str> {
    let short = |key: &'_ String| match key.strip_suffix(".name") {
        Some(table) => 0..table.len(),
        None => key.rfind('.').map_or(0, |at| at + 1)..key.len(),
    };
    let all: Vec<&str> = keys.iter().map(|key| &key[short(key)]).collect();
    let is_only = |name: &str| all.iter().filter(|other| **other == name).count() == 1;
    keys.iter().zip(&all).map(|(key, name)| if is_only(name) { *name } else { key.as_str() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_as_brief_as_they_can_be_told_apart() {
        let keys = [
            "method.name",
            "model.name",
            "data.batch",
            "schedule.length",
            "method.drop.kind",
            "method.grow.kind",
        ];
        assert_eq!(
            brief(&keys.map(String::from)),
            ["method", "model", "batch", "length", "method.drop.kind", "method.grow.kind"]
        );
    }

    #[test]
    fn a_table_that_finds_no_room_is_turned() {
        let row = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<_>>();
        let cells = [
            row(&["method.name", "schedule.milestones", "n", "accuracy, %"]),
            row(&["rigl", "[2500, 4000]", "3", "97.31 ± 0.12"]),
            row(&["set", "[80]", "1", "95.00"]),
        ];
        let wide = within(&cells, 2, 80);
        assert!(wide.starts_with("row  method  milestones    n   accuracy, %\n"), "{wide}");
        let turned = within(&cells, 2, 40);
        let lines: Vec<&str> = turned.lines().collect();
        let line = |cells: [&str; 3]| format!("{:11}  {:>12}  {:>5}", cells[0], cells[1], cells[2]);
        assert_eq!(lines[0], line(["row", "1", "2"]));
        assert_eq!(lines[2], line(["method", "rigl", "set"]));
        assert_eq!(lines[6], line(["accuracy, %", "97.31 ± 0.12", "95.00"]));
        for width in 20..100 {
            let text = within(&cells, 2, width);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        }
    }
}
