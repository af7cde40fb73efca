use rigl_base::Kind;

use super::*;

const FLOWERS: &str = "petal,sepal,kind\n1.4,0.2,setosa\n4.7,1.4,versicolor\n1.5,.25,setosa\n";

fn read(text: &str, options: &TableOptions) -> Result<(Table, Classes)> {
    training(text.as_bytes(), "f", options)
}

fn auto(text: &str) -> Result<(Table, Classes)> {
    read(text, &TableOptions::default())
}

fn with_target(target: Column) -> TableOptions {
    TableOptions { target, ..TableOptions::default() }
}

fn refused(text: &str) -> (String, Option<String>) {
    let error = auto(text).unwrap_err();
    assert_eq!(error.kind(), Kind::Data, "{error}");
    (error.to_string(), error.hint_text().map(String::from))
}

#[test]
fn a_row_is_a_sample_and_the_last_column_its_class() {
    let (table, classes) = auto(FLOWERS).unwrap();
    assert_eq!(table.header, Some(["petal", "sepal", "kind"].map(String::from).to_vec()));
    assert_eq!((table.features, table.target), (2, 2));
    assert_eq!(table.numbers, [1.4, 0.2, 4.7, 1.4, 1.5, 0.25]);
    assert_eq!((table.labels, classes.names()), (vec![0, 1, 0], vec!["setosa".into(), "versicolor".into()]));
}

#[test]
fn files_are_read_as_programs_write_them() {
    let same = auto(FLOWERS).unwrap();
    for text in [
        FLOWERS.replace('\n', "\r\n"),
        format!("\u{feff}{FLOWERS}"),
        FLOWERS.trim_end().into(),
        FLOWERS.replace(',', " , "),
        FLOWERS.replace("setosa", "\"setosa\"").replace("1.4,0.2", "\"1.4\",\"0.2\""),
        FLOWERS.replace("\n1.5", "\n\n\n1.5"),
    ] {
        assert_eq!(auto(&text).unwrap(), same, "{text:?}");
    }
    let (table, classes) = auto("1,\"a, b\"\n2,\"say \"\"x\"\"\"\n").unwrap();
    assert_eq!((table.numbers, classes.names()), (vec![1.0, 2.0], vec!["a, b".into(), "say \"x\"".into()]));
}

#[test]
fn a_header_is_known_by_features_that_are_no_numbers_or_by_what_is_said() {
    let header = |text: &str, header| {
        read(text, &TableOptions { header, ..TableOptions::default() }).map(|(t, _)| t.header.is_some())
    };
    assert!(!header("1,2,a\n3,4,b\n", None).unwrap());
    assert!(header("x,y,z\n3,4,0\n3,4,1\n", None).unwrap());
    // Years as names: only whoever wrote the file can tell.
    assert!(!header("2001,2002,a\n3,4,b\n3,4,a\n", None).unwrap());
    assert!(header("2001,2002,a\n3,4,b\n3,4,a\n", Some(true)).unwrap());
    let text = header("x,y,z\n3,4,0\n", Some(false)).unwrap_err().to_string();
    assert_eq!(text, "`f` line 1, column 1: `x` is no number");
    let (text, hint) = refused("1,b,c\n3,4,0\n");
    assert_eq!(text, "`f` line 1 is neither a header nor a sample: `1` is a number, and `b` is none");
    assert_eq!(hint.as_deref(), Some("--set data.header=true"));
    let (text, hint) = refused(",x,y\n0,1,a\n");
    assert_eq!(text, "`f`: column 1 has no name; is it an index, not a feature?");
    assert!(hint.unwrap().starts_with("table.to_csv(FILE, index=False)"));
}

#[test]
fn the_column_with_the_classes_is_found_by_name_or_number() {
    let labels = |target| read(FLOWERS, &with_target(target)).map(|(table, _)| (table.target, table.labels));
    assert_eq!(labels(Column::Number(3)).unwrap(), (2, vec![0, 1, 0]));
    assert_eq!(labels(Column::Name("kind".into())).unwrap(), (2, vec![0, 1, 0]));
    let first = read("a,1,2\nb,3,4\n", &with_target(Column::Number(1))).unwrap().0;
    assert_eq!((first.target, first.numbers, first.labels), (0, vec![1.0, 2.0, 3.0, 4.0], vec![0, 1]));
    let error = labels(Column::Name("kinds".into())).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str(), error.hint_text()),
        (
            Kind::Usage,
            "`data.target`: no column is called `kinds`, allowed are `petal`, `sepal`, `kind`",
            Some("kind")
        )
    );
    for number in [0, 4] {
        let text = labels(Column::Number(number)).unwrap_err().to_string();
        assert_eq!(text, format!("`data.target` is column {number}, the table has columns 1 to 3"));
    }
    let twice = read("x,x,y\n1,2,a\n", &with_target(Column::Name("x".into()))).unwrap_err();
    assert_eq!(twice.to_string(), "`data.target`: columns 1 and 2 are both called `x`");
    let named = TableOptions { header: Some(false), target: Column::Name("x".into()) };
    let text = read("x,y\n1,2\n", &named).unwrap_err().to_string();
    assert_eq!(text, "`data.target` is the name `x`, and `data.header` is `false`");
}

#[test]
fn classes_are_whole_numbers_or_words() {
    let classes = |cells: [&str; 3]| {
        let text: String = cells.iter().map(|cell| format!("1,{cell}\n")).collect();
        auto(&text).map(|(table, classes)| (classes.names().join(" "), table.labels))
    };
    assert_eq!(classes(["10", "9.0", "-1"]).unwrap(), ("-1 9 10".into(), vec![2, 1, 0]));
    assert_eq!(classes(["1", "1.0", "+2"]).unwrap(), ("1 2".into(), vec![0, 0, 1]));
    assert_eq!(classes(["b", "10", "9"]).unwrap(), ("10 9 b".into(), vec![2, 0, 1]));
    let text = |cells| classes(cells).unwrap_err().to_string();
    assert_eq!(
        text(["1", "1.5", "2"]),
        "`f` line 2, column 2: `1.5` is no class: allowed are whole numbers, or words"
    );
    assert_eq!(text(["1", "", "2"]), "`f` line 2, column 2: `` is no class");
    assert_eq!(text(["1", "NaN", "2"]), "`f` line 2, column 2: `NaN` is no class");
    assert_eq!(text(["a", "a", "a"]), "`f`: labels of at least 2 classes are needed, found `a` alone");
    assert!(text(["a", "b", &"é".repeat(101)]).contains("longer than the 100 characters"));
    assert!(classes(["a", "b", &"é".repeat(100)]).is_ok());
    let many: String = (0..=MOST_CLASSES).map(|n| format!("1,w{n}\n")).collect();
    assert!(auto(&many).unwrap_err().to_string().contains("more than 65536 classes"));
}

#[test]
fn a_bad_cell_is_told_by_line_column_and_what_was_found() {
    let text = |row: &str| refused(&format!("petal,sepal,kind\n1,2,a\n{row}\n3,4,b\n")).0;
    assert_eq!(text("1,x,a"), "`f` line 3, column 2 (`sepal`): `x` is no number");
    assert_eq!(text("1,,a"), "`f` line 3, column 2 (`sepal`): the cell is empty, expected a number");
    assert_eq!(text("nan,2,a"), "`f` line 3, column 1 (`petal`): `nan` is no finite number of 32 bits");
    assert_eq!(text("1e39,2,a"), "`f` line 3, column 1 (`petal`): `1e39` is no finite number of 32 bits");
    assert_eq!(text("1,2"), "`f` line 3: 2 cells, expected 3 as in the first row");
    assert_eq!(text("1,2,3,a"), "`f` line 3: 4 cells, expected 3 as in the first row");
    assert_eq!(text("\"1\n2\",2,a"), "`f` line 3, column 1 (`petal`): `1 2` is no number");
    let error = training(&b"a,\xe4,c\n1,2,a\n"[..], "f", &TableOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "`f`: the name of column 2 is no UTF-8 text");
    let error = training(&b"1,2,\xff\n"[..], "f", &TableOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "`f` line 1, column 3: no UTF-8 text");
}

#[test]
fn what_is_no_table_is_refused() {
    assert_eq!(refused("").0, "`f` has no rows");
    assert_eq!(refused("a,b\n").0, "`f` has a header and no rows");
    assert_eq!(refused("1\n2\n").0, "`f` line 1: 1 cell, allowed are 2 to 100001");
    assert!(refused("1;2;a\n").0.ends_with("they are separated by ;, and commas are read"));
    assert!(refused("1\t2\ta\n").0.ends_with("they are separated by tabs, and commas are read"));
    assert!(refused(&format!("{}a\n", "1,".repeat(MOST_FEATURES + 1))).0.contains("100002 cells"));
    assert!(auto(&format!("{0}a\n{0}b\n", "1,".repeat(MOST_FEATURES))).is_ok());
    let open = format!("1,2,a\n3,\"4,b\n{}", "5,6,c\n".repeat(LONGEST_ROW / 3));
    let text = refused(&open).0;
    assert!(
        text.contains("a row of more than 4194304 bytes; is there a quote that is not closed?"),
        "{text}"
    );
}

#[test]
fn another_table_has_the_same_columns_and_classes() {
    let (table, classes) = auto(FLOWERS).unwrap();
    let other = |text: &str| like(text.as_bytes(), "g", &table, &classes);
    let found = other("petal,sepal,kind\n9,8,versicolor\n").unwrap();
    assert_eq!((found.numbers, found.labels), (vec![9.0, 8.0], vec![1]));
    let text = |file: &str| other(file).unwrap_err().to_string();
    assert_eq!(
        text("petal,kind,sepal\n9,8,versicolor\n"),
        "`g`: its first row names a column `kind`, that of the table trained on `sepal`"
    );
    assert!(text("9,8,versicolor\n").contains("names a column `9`"));
    assert_eq!(text("petal,kind\n"), "`g` line 1: 2 cells, expected 3 as in the first row");
    assert_eq!(
        text("petal,sepal,kind\n9,8,virginica\n"),
        "`g` line 2, column 3 (`kind`): `virginica` is no class of the table trained on, which has `setosa`, `versicolor`"
    );
    assert_eq!(text(""), "`g` has no rows");
    assert_eq!(text("petal,sepal,kind\n"), "`g` has a header and no rows");
    let (table, classes) = auto("1,0\n2,1\n").unwrap();
    let found = like("3,1.0\n4,00\n".as_bytes(), "g", &table, &classes).unwrap();
    assert_eq!((found.numbers, found.labels), (vec![3.0, 4.0], vec![1, 0]));
    assert!(like("3,2\n".as_bytes(), "g", &table, &classes).is_err());
}

#[test]
fn a_file_that_cannot_be_read_is_the_machines_fault() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
    assert_eq!(training(Broken, "f", &TableOptions::default()).unwrap_err().kind(), Kind::Environment);
}
