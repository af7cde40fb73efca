//! Tables of text, aligned.

/// To which side a column is aligned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table that prints itself, two spaces between columns and a rule under its heading.
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

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(Some(cells));
    }

    /// Adds a rule.
    pub(crate) fn rule(&mut self) {
        self.rows.push(None);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().flatten().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.align.len()).map(width).collect();
        for row in &self.rows {
            let line = match row {
                None => "─".repeat(widths.iter().sum::<usize>() + 2 * (widths.len().max(1) - 1)),
                Some(cells) => {
                    let cell = |i: usize| {
                        let text = cells.get(i).map_or("", String::as_str);
                        let space = " ".repeat(widths[i] - text.chars().count());
                        match self.align[i] {
                            Align::Left => format!("{text}{space}"),
                            Align::Right => format!("{space}{text}"),
                        }
                    };
                    (0..widths.len()).map(cell).collect::<Vec<_>>().join("  ")
                }
            };
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[("layer", Align::Left), ("n", Align::Right)]);
        table.row(vec!["fc1".into(), "2,352".into()]);
        table.rule();
        table.row(vec!["all".into(), "7".into()]);
        assert_eq!(
            table.to_string(),
            "layer      n\n────────────\nfc1    2,352\n────────────\nall        7\n"
        );
    }
}
