//! Tables of text, cells separated by commas (CSV, RFC 4180): one row a sample, one column its class, all others numbers.
//!
//! Memory grows with the numbers that have been read, and is asked for fallibly. Limits: rows of 4 MiB, 100,000 features,
//! 2³⁰ numbers in a table.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};

use csv::{ByteRecord, ReaderBuilder, Trim};
use rigl_base::error::short;
use rigl_base::{Error, Result, unknown};

use super::classes::{Classes, LONGEST_NAME, Label, MOST_CLASSES, too_many};
use super::stored::{MOST_FEATURES, no_memory};

/// The most bytes of a row.
const LONGEST_ROW: usize = 4 << 20;

/// The most numbers of a table: 4 GiB of them.
const MOST_NUMBERS: usize = 1 << 30;

/// Whole numbers up to here are told apart by 64-bit numbers.
const EXACT: f64 = (1u64 << 53) as f64;

/// How a table is read.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct TableOptions {
    /// Whether the first row names the columns; `None` if that is to be found out: it does if none of its features is a
    /// number.
    pub header: Option<bool>,
    /// The column with the classes.
    pub target: Column,
}

/// A column of a table.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub enum Column {
    /// The last one.
    #[default]
    Last,
    /// By its number, from 1 on.
    Number(usize),
    /// By its name in the header.
    Name(String),
}

/// A table that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The names of all columns, if the first row tells them.
    pub header: Option<Vec<String>>,
    /// The place of the column with the classes.
    pub target: usize,
    /// Numbers of a row, one for each other column.
    pub features: usize,
    /// The numbers, row after row.
    pub numbers: Vec<f32>,
    /// The class of each row.
    pub labels: Vec<u32>,
}

/// Reads the table that is trained on, and the classes in it; `name` stands for the file in messages.
///
/// # Errors
/// [`Kind::Data`](rigl_base::Kind::Data), naming line, column and what was found, if it is no such table;
/// [`Kind::Usage`](rigl_base::Kind::Usage) if it has no column as `options` name it;
/// [`Kind::Environment`](rigl_base::Kind::Environment) if it cannot be read, or memory does not suffice.
pub fn training(file: impl Read, name: &str, options: &TableOptions) -> Result<(Table, Classes)> {
    let mut rows = Rows::new(file, name);
    let mut first = ByteRecord::new();
    if !rows.next(&mut first)? {
        return Err(Error::data(format!("`{name}` has no rows")));
    }
    let (layout, is_header) = Layout::of(&first, options, name)?;
    let mut table = layout.empty();
    let mut words = Words::default();
    let add = |table: &mut Table, row: &ByteRecord, line: u64| {
        layout.numbers(row, line, name, &mut table.numbers)?;
        let word = layout.target(row, line, name)?;
        push(&mut table.labels, words.number(word, line, name)?, name)
    };
    rows.all(first, is_header, &mut table, add)?;
    let (classes, places) = words.classes(&layout, name)?;
    table.labels.iter_mut().for_each(|label| *label = places[*label as usize]);
    Ok((table, classes))
}

/// Reads another table like `like`, of the same columns and classes.
///
/// # Errors
/// As [`training`]; and if a column or a class is another.
pub fn like(file: impl Read, name: &str, like: &Table, classes: &Classes) -> Result<Table> {
    let mut rows = Rows::new(file, name);
    let mut first = ByteRecord::new();
    if !rows.next(&mut first)? {
        return Err(Error::data(format!("`{name}` has no rows")));
    }
    let layout = Layout { header: like.header.clone(), target: like.target, columns: like.features + 1 };
    if let Some(header) = &layout.header {
        layout.check_length(&first, 1, name)?;
        let different = |(cell, column): (&[u8], &String)| {
            (cell != column.as_bytes()).then(|| (shown(cell), short(column)))
        };
        if let Some((found, expected)) = first.iter().zip(header).find_map(different) {
            return Err(Error::data(format!(
                "`{name}`: its first row names a column `{found}`, that of the table trained on `{expected}`"
            )));
        }
    }
    let mut table = layout.empty();
    let is_header = layout.header.is_some();
    let add = |table: &mut Table, row: &ByteRecord, line: u64| {
        layout.numbers(row, line, name, &mut table.numbers)?;
        let word = layout.target(row, line, name)?;
        let label = match classes.are_numbers() {
            true => whole(word).map(Label::Whole),
            false => Some(Label::Word(word.into())),
        };
        let place = label.and_then(|label| classes.place(&label)).ok_or_else(|| {
            Error::data(format!(
                "`{name}` line {line}, {}: `{}` is no class of the table trained on, which has {}",
                layout.column(layout.target),
                short(word),
                classes.allowed()
            ))
        })?;
        push(&mut table.labels, place, name)
    };
    rows.all(first, is_header, &mut table, add)?;
    Ok(table)
}

/// The rows of a file, one after the other.
struct Rows<'a, R> {
    reader: csv::Reader<Limited<R>>,
    name: &'a str,
}

impl<'a, R: Read> Rows<'a, R> {
    fn new(file: R, name: &'a str) -> Rows<'a, R> {
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).trim(Trim::All);
        Rows { reader: builder.from_reader(Limited { file, left: LONGEST_ROW }), name }
    }

    /// Reads the next row; `false` at the end.
    fn next(&mut self, row: &mut ByteRecord) -> Result<bool> {
        self.reader.get_mut().left = LONGEST_ROW;
        self.reader.read_byte_record(row).map_err(|e| {
            let name = self.name;
            match e.kind() {
                csv::ErrorKind::Io(e) if e.kind() == io::ErrorKind::FileTooLarge => Error::data(format!(
                    "`{name}` line {}: a row of more than {LONGEST_ROW} bytes; is there a quote that is not closed?",
                    self.reader.position().line()
                )),
                _ => Error::environment(format!("cannot read `{name}`")).caused_by(e),
            }
        })
    }

    /// Adds every row to `table`, from `first` on, unless that is the header.
    fn all(
        mut self,
        first: ByteRecord,
        is_header: bool,
        table: &mut Table,
        mut add: impl FnMut(&mut Table, &ByteRecord, u64) -> Result<()>,
    ) -> Result<()> {
        let mut row = first;
        let mut is_row = !is_header || self.next(&mut row)?;
        while is_row {
            let line = row.position().map_or(0, csv::Position::line);
            add(table, &row, line)?;
            if table.numbers.len() > MOST_NUMBERS {
                let error = Error::data(format!(
                    "`{}` line {line}: more than {MOST_NUMBERS} numbers, which a table may have",
                    self.name
                ));
                return Err(error.hint("save them as `.npy` arrays, which are read as they are needed"));
            }
            is_row = self.next(&mut row)?;
        }
        match table.labels.is_empty() {
            true => Err(Error::data(format!("`{}` has a header and no rows", self.name))),
            false => Ok(()),
        }
    }
}

/// Reads only so many bytes until it is told that a row is done: a quote that is not closed makes a row of all the rest.
struct Limited<R> {
    file: R,
    left: usize,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(self.left);
        if most == 0 && !into.is_empty() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let read = self.file.read(&mut into[..most])?;
        self.left -= read;
        Ok(read)
    }
}

/// Which columns there are.
struct Layout {
    header: Option<Vec<String>>,
    target: usize,
    columns: usize,
}

impl Layout {
    /// That of a table with this first row, and whether the row is its header.
    fn of(first: &ByteRecord, options: &TableOptions, name: &str) -> Result<(Layout, bool)> {
        let columns = first.len();
        if columns < 2 || columns - 1 > MOST_FEATURES {
            let alone = first.get(0).unwrap_or_default();
            let other = [(b';', ";"), (b'\t', "tabs")].into_iter().find(|(byte, _)| alone.contains(byte));
            let why = match other {
                Some((_, separator)) if columns < 2 => {
                    format!(": they are separated by {separator}, and commas are read")
                }
                _ => String::new(),
            };
            return Err(Error::data(format!(
                "`{name}` line 1: {columns} {}, allowed are 2 to {}{why}",
                rigl_base::counts::plural(columns as u64, "cell"),
                MOST_FEATURES + 1
            )));
        }
        let names: Vec<String> =
            first.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
        let target = target(&options.target, &names)?;
        let features = || first.iter().enumerate().filter(|&(column, _)| column != target);
        let is_number = |cell: &[u8]| number(cell).is_ok();
        let is_header = match (options.header, &options.target) {
            (Some(is_header), _) => is_header,
            (None, Column::Name(_)) => true,
            (None, _) => {
                let numbers = features().filter(|(_, cell)| is_number(cell)).count();
                if numbers > 0 && numbers < columns - 1 {
                    let [a, b] = [true, false].map(|is| features().find(|(_, cell)| is_number(cell) == is));
                    let cell =
                        |of: Option<(usize, &[u8])>| of.map_or_else(String::new, |(_, cell)| shown(cell));
                    let error = Error::data(format!(
                        "`{name}` line 1 is neither a header nor a sample: `{}` is a number, and `{}` is none",
                        cell(a),
                        cell(b)
                    ));
                    return Err(error.hint("--set data.header=true"));
                }
                numbers == 0
            }
        };
        if !is_header && let Column::Name(wanted) = &options.target {
            let error = Error::usage(format!(
                "`data.target` is the name `{}`, and `data.header` is `false`",
                short(wanted)
            ));
            return Err(error.hint("--set data.header=true"));
        }
        if is_header && let Some(at) = first.iter().position(|cell| str::from_utf8(cell).is_err()) {
            return Err(Error::data(format!("`{name}`: the name of column {} is no UTF-8 text", at + 1)));
        }
        if is_header && let Some(at) = names.iter().position(String::is_empty) {
            let error = Error::data(format!(
                "`{name}`: column {} has no name; is it an index, not a feature?",
                at + 1
            ));
            return Err(error.hint(
                "table.to_csv(FILE, index=False), or --set data.header=false for a table without names",
            ));
        }
        Ok((Layout { header: is_header.then_some(names), target, columns }, is_header))
    }

    fn empty(&self) -> Table {
        let Layout { header, target, columns } = self;
        Table {
            header: header.clone(),
            target: *target,
            features: columns - 1,
            numbers: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// A column as messages call it.
    fn column(&self, at: usize) -> String {
        match &self.header {
            Some(names) => format!("column {} (`{}`)", at + 1, short(&names[at])),
            None => format!("column {}", at + 1),
        }
    }

    fn check_length(&self, row: &ByteRecord, line: u64, name: &str) -> Result<()> {
        if row.len() == self.columns {
            return Ok(());
        }
        let (found, columns) = (row.len(), self.columns);
        let cells = rigl_base::counts::plural(found as u64, "cell");
        Err(Error::data(format!(
            "`{name}` line {line}: {found} {cells}, expected {columns} as in the first row"
        )))
    }

    /// Appends the numbers of a row.
    fn numbers(&self, row: &ByteRecord, line: u64, name: &str, numbers: &mut Vec<f32>) -> Result<()> {
        self.check_length(row, line, name)?;
        numbers.try_reserve(self.columns).map_err(|e| no_memory(name, e))?;
        for (at, cell) in row.iter().enumerate().filter(|&(at, _)| at != self.target) {
            let refused = |what| Error::data(format!("`{name}` line {line}, {}: {what}", self.column(at)));
            numbers.push(number(cell).map_err(refused)?);
        }
        Ok(())
    }

    /// What a row has in the column with the classes.
    fn target<'r>(&self, row: &'r ByteRecord, line: u64, name: &str) -> Result<&'r str> {
        let refused =
            |what: String| Error::data(format!("`{name}` line {line}, {}: {what}", self.column(self.target)));
        let cell = row.get(self.target).unwrap_or_default();
        let text = str::from_utf8(cell).map_err(|_| refused("no UTF-8 text".into()))?;
        if text.is_empty() || text.parse::<f64>().is_ok_and(|number| !number.is_finite()) {
            return Err(refused(format!("`{text}` is no class")));
        }
        if text.chars().nth(LONGEST_NAME).is_some() {
            return Err(refused(format!(
                "`{}` is longer than the {LONGEST_NAME} characters of a class's name",
                short(text)
            )));
        }
        Ok(text)
    }
}

/// The place of a column in a row of these cells.
fn target(column: &Column, names: &[String]) -> Result<usize> {
    match column {
        Column::Last => Ok(names.len() - 1),
        Column::Number(number) if (1..=names.len()).contains(number) => Ok(number - 1),
        Column::Number(number) => Err(Error::usage(format!(
            "`data.target` is column {number}, the table has columns 1 to {}",
            names.len()
        ))),
        Column::Name(wanted) => {
            let mut places = (0..names.len()).filter(|&at| names[at] == *wanted);
            match (places.next(), places.next()) {
                (Some(at), None) => Ok(at),
                (Some(a), Some(b)) => Err(Error::usage(format!(
                    "`data.target`: columns {} and {} are both called `{}`",
                    a + 1,
                    b + 1,
                    short(wanted)
                ))
                .hint(format!("--set data.target={}", b + 1))),
                (None, _) => {
                    Err(unknown("column", wanted, names.iter().map(String::as_str)).context("`data.target`"))
                }
            }
        }
    }
}

/// The number in a cell, or why it holds none.
fn number(cell: &[u8]) -> Result<f32, String> {
    if cell.is_empty() {
        return Err("the cell is empty, expected a number".into());
    }
    let found = str::from_utf8(cell).ok().and_then(|text| text.parse::<f64>().ok());
    match found {
        Some(number) if (number as f32).is_finite() => Ok(number as f32),
        Some(_) => Err(format!("`{}` is no finite number of 32 bits", shown(cell))),
        None => Err(format!("`{}` is no number", shown(cell))),
    }
}

/// The whole number that a text is, however it is written.
fn whole(text: &str) -> Option<i64> {
    let exact = |number: &f64| number.fract() == 0.0 && number.abs() < EXACT;
    text.parse::<i64>().ok().or_else(|| text.parse::<f64>().ok().filter(exact).map(|number| number as i64))
}

fn shown(cell: &[u8]) -> String {
    short(&String::from_utf8_lossy(cell))
}

fn push(labels: &mut Vec<u32>, label: u32, name: &str) -> Result<()> {
    labels.try_reserve(1).map_err(|e| no_memory(name, e))?;
    labels.push(label);
    Ok(())
}

/// The different words in the column with the classes, numbered as they come, each with the line of its first.
#[derive(Default)]
struct Words {
    numbers: HashMap<String, u32>,
    lines: Vec<u64>,
}

impl Words {
    fn number(&mut self, word: &str, line: u64, name: &str) -> Result<u32> {
        if let Some(&number) = self.numbers.get(word) {
            return Ok(number);
        }
        if self.lines.len() == MOST_CLASSES {
            return Err(too_many(name));
        }
        let number = self.lines.len() as u32;
        self.numbers.insert(word.into(), number);
        self.lines.push(line);
        Ok(number)
    }

    /// The classes, and the place in them of each word. If all words are numbers they must be whole ones.
    fn classes(self, layout: &Layout, name: &str) -> Result<(Classes, Vec<u32>)> {
        let mut words = vec![String::new(); self.lines.len()];
        self.numbers.into_iter().for_each(|(word, number)| words[number as usize] = word);
        let are_numbers = words.iter().all(|word| word.parse::<f64>().is_ok());
        let label = |(number, word): (usize, &String)| match are_numbers {
            false => Ok(Label::Word(word.clone().into())),
            true => whole(word).map(Label::Whole).ok_or_else(|| {
                Error::data(format!(
                    "`{name}` line {}, {}: `{}` is no class: allowed are whole numbers, or words",
                    self.lines[number],
                    layout.column(layout.target),
                    short(word)
                ))
            }),
        };
        let labels = words.iter().enumerate().map(label).collect::<Result<Vec<_>>>()?;
        let classes = Classes::new(labels.iter().cloned().collect::<BTreeSet<_>>(), name)?;
        let place = |label| classes.place(label).ok_or_else(|| Error::internal("a label without a class"));
        let places = labels.iter().map(place).collect::<Result<Vec<_>>>()?;
        Ok((classes, places))
    }
}

#[cfg(test)]
mod tests;
