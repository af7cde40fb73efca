//! Tables of text, aligned, as wide as what they are shown on.

use rigl_base::shown::plain;

use super::terminal;

/// To which side a column is aligned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Between two columns.
const GAP: usize = 2;

/// Text is broken into lines of no fewer characters.
const NARROWEST: usize = 8;

/// A table that prints itself, two spaces between columns and a rule under its heading. On a terminal it is no wider than
/// that: columns that find no room follow below, beside the first one again, and long text is broken into lines.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    align: Vec<Align>,
    rows: Vec<Option<Vec<String>>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[(&str, Align)]) -> Table {
        let mut table = Table { align: columns.iter().map(|c| c.1).collect(), rows: Vec::new() };
        table.row(columns.iter().map(|c| c.0.to_string()).collect());
        table.rule();
        table
    }

    /// Adds a row. Its cells may hold any text: what a terminal would obey is written out.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(Some(cells.iter().map(|cell| plain(cell).into_owned()).collect()));
    }

    /// Adds a rule.
    pub(crate) fn rule(&mut self) {
        self.rows.push(None);
    }

    /// As text of at most so many columns, where any width does if there is none.
    pub(crate) fn within(&self, width: Option<usize>) -> String {
        let whole: Vec<usize> = (0..self.align.len()).map(|column| self.widest(column)).collect();
        let most = width.unwrap_or(usize::MAX);
        let columns: Vec<usize> = (0..whole.len()).collect();
        if total(&whole) <= most {
            return self.block(&columns, &whole, false);
        }
        // The first column names the rows: it leaves half of the width to the others.
        let first = whole[0].min((most / 2).max(NARROWEST));
        let left = most.saturating_sub(first + GAP).max(NARROWEST);
        let mut blocks: Vec<Vec<usize>> = Vec::new();
        let mut room = 0;
        for &column in &columns[1..] {
            let takes = whole[column].min(left) + GAP;
            match blocks.last_mut() {
                Some(block) if takes <= room => {
                    block.push(column);
                    room -= takes;
                }
                _ => {
                    blocks.push(vec![0, column]);
                    room = (left + GAP).saturating_sub(takes);
                }
            }
        }
        let several = blocks.len() > 1;
        let text = blocks.into_iter().map(|block| {
            // Text alone can be broken; it has what the others leave.
            let others: usize = block.iter().skip(1).map(|&column| whole[column].min(left) + GAP).sum();
            let key = whole[0].min(most.saturating_sub(others)).max(first.min(whole[0]));
            let width = |&column: &usize| if column == 0 { key } else { whole[column].min(left) };
            let widths: Vec<usize> = block.iter().map(width).collect();
            self.block(&block, &widths, several)
        });
        text.collect::<Vec<_>>().join("\n")
    }

    fn widest(&self, column: usize) -> usize {
        let cells = self.rows.iter().flatten().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }

    /// These columns, so wide. As a part of a table it has no rows below the heading in which there is nothing but the name.
    fn block(&self, columns: &[usize], widths: &[usize], is_part: bool) -> String {
        let cell = |row: &'_ Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
        let has_any = |row: &Vec<String>| columns[1..].iter().any(|&column| !cell(row, column).is_empty());
        let rule = "─".repeat(total(widths));
        let mut lines: Vec<String> = Vec::new();
        for (number, row) in self.rows.iter().enumerate() {
            let Some(row) = row else {
                lines.push(rule.clone());
                continue;
            };
            if is_part && number > 0 && !has_any(row) {
                continue;
            }
            let cells = columns.iter().zip(widths).map(|(&column, &width)| broken(&cell(row, column), width));
            let cells: Vec<Vec<String>> = cells.collect();
            for at in 0..cells.iter().map(Vec::len).max().unwrap_or_default() {
                let parts = cells.iter().zip(columns).zip(widths).map(|((lines, &column), &width)| {
                    let text = lines.get(at).map_or("", String::as_str);
                    let space = " ".repeat(width.saturating_sub(text.chars().count()));
                    match self.align[column] {
                        Align::Left => format!("{text}{space}"),
                        Align::Right => format!("{space}{text}"),
                    }
                });
                lines.push(parts.collect::<Vec<_>>().join("  ").trim_end().to_string());
            }
        }
        if is_part && lines.last() == Some(&rule) && lines.len() > 2 {
            lines.pop();
        }
        lines.join("\n") + "\n"
    }
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * (widths.len().max(1) - 1)
}

/// `text` in lines of at most `width` characters, broken between words, or within one that is too long.
fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut room = width;
    for word in text.split_inclusive(' ') {
        let letters = word.trim_end().chars().count();
        if letters > room && room < width {
            lines.push(String::new());
            room = width;
        }
        for c in word.chars() {
            if room == 0 && c != ' ' {
                lines.push(String::new());
                room = width;
            }
            if room > 0
                && let Some(line) = lines.last_mut()
            {
                line.push(c);
                room -= 1;
            }
        }
    }
    lines.iter().map(|line| line.trim_end().to_string()).collect()
}

impl std::fmt::Display for Table {
    /// As wide as results may be.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.within(terminal::width_of_results()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[("layer", Align::Left), ("n", Align::Right), ("where", Align::Left)]);
        table.row(vec!["fc1".into(), "2,352".into(), "a folder with a name".into()]);
        table.rule();
        table.row(vec!["all".into(), "7".into(), String::new()]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let text = "layer      n  where\n\
                    ───────────────────────────────────\n\
                    fc1    2,352  a folder with a name\n\
                    ───────────────────────────────────\n\
                    all        7\n";
        let text = text.replace("───────────────────────────────────", &"─".repeat(34));
        for width in [None, Some(34), Some(200)] {
            assert_eq!(table().within(width), text);
        }
    }

    #[test]
    fn columns_that_find_no_room_follow_below() {
        let below = "layer      n\n────────────\nfc1    2,352\n────────────\nall        7\n\n\
                     layer  where\n─────────────────────────────\nfc1    a folder with a name\n";
        let below = below.replace(&"─".repeat(29), &"─".repeat(27));
        assert_eq!(table().within(Some(33)), below);
    }

    #[test]
    fn no_table_is_wider_than_its_terminal_and_nothing_of_it_is_lost() {
        let mut wide = Table::new(&[("", Align::Left), ("value", Align::Right), ("words", Align::Left)]);
        let path =
            "runs/20260101-120000-mnist-lenet-rigl-sparsity.98-seed0/checkpoints/step-000001200.safetensors";
        wide.row(vec!["a name of several words".into(), "1,234,567 B".into(), path.into()]);
        wide.row(vec![path.into(), String::new(), "x".into()]);
        for table in [table(), wide] {
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace() && *c != '─').count();
            let all: usize = table.rows.iter().flatten().flatten().map(|cell| letters(cell)).sum();
            for width in 20..130 {
                let text = table.within(Some(width));
                assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
                assert!(letters(&text) >= all, "{width}:\n{text}");
            }
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        let mut table = Table::new(&[("", Align::Left)]);
        table.row(vec!["a\u{1b}[2J\nb".into()]);
        assert!(table.within(None).ends_with("a\\u{1b}[2J\\u{a}b\n"));
    }

    #[test]
    fn text_is_broken_between_words() {
        assert_eq!(broken("the quick brown", 9), ["the quick", "brown"]);
        assert_eq!(broken("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(broken("", 4), [""]);
    }
}
