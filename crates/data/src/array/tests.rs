use rigl_base::{Kind, files};

use super::npy::tests::file;
use super::*;
use crate::dataset::{Sample, Values};

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn whole(numbers: &[i64]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Four good files: three training samples of two features and one test sample.
fn good() -> [Vec<u8>; 4] {
    [
        file(1, "'<f4'", "False", "(3, 2)", &floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
        file(1, "'<i8'", "False", "(3,)", &whole(&[7, -1, 7])),
        file(1, "'<f4'", "False", "(1, 2)", &floats(&[0.5, -0.5])),
        file(1, "'|u1'", "False", "(1,)", &[7]),
    ]
}

fn load(folder: &Path, in_memory: u64) -> Result<Sets> {
    sets(&DataOptions { folder: Some(folder.into()), in_memory, ..DataOptions::default() })
}

fn load_with(contents: &[Vec<u8>; 4], in_memory: u64) -> Result<Sets> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in ARRAYS.iter().zip(contents) {
        files::write_atomic(&folder.path().join(name), bytes).unwrap();
    }
    load(folder.path(), in_memory)
}

fn all(set: &Arc<dyn Dataset>) -> Vec<Sample> {
    let mut samples = vec![Sample { image: vec![1], numbers: vec![2.0], label: 99 }; set.len()];
    samples.iter_mut().enumerate().for_each(|(index, sample)| set.read(index, sample).unwrap());
    assert!(set.read(set.len(), &mut Sample::default()).is_err());
    samples
}

fn refused(change: usize, bytes: Vec<u8>) -> (String, Option<String>) {
    let mut contents = good();
    contents[change] = bytes;
    let error = load_with(&contents, u64::MAX).unwrap_err();
    assert_eq!(error.kind(), Kind::Data, "{error}");
    let text = error.to_string();
    // Without the folder, which is another each time.
    let text: String =
        text.split('`').map(|part| part.rsplit('/').next().unwrap()).collect::<Vec<_>>().join("`");
    (text, error.hint_text().map(String::from))
}

#[test]
fn arrays_are_samples_with_the_labels_beside_them_held_in_memory_or_not() {
    let memory = load_with(&good(), u64::MAX).unwrap();
    let disk = load_with(&good(), 0).unwrap();
    let spec = memory.train.spec();
    assert_eq!((&spec.shape[..], spec.values), (&[2][..], Values::Numbers));
    assert_eq!(spec.classes, ["-1", "7"]);
    assert_eq!(all(&memory.train), all(&disk.train));
    assert_eq!(all(&memory.test), all(&disk.test));
    let sample = |numbers: &[f32], label| Sample { numbers: numbers.to_vec(), label, ..Sample::default() };
    assert_eq!(all(&memory.train), [sample(&[1.0, 2.0], 1), sample(&[3.0, 4.0], 0), sample(&[5.0, 6.0], 1)]);
    assert_eq!(all(&memory.test), [sample(&[0.5, -0.5], 1)]);
}

#[test]
fn bytes_are_images_channels_first() {
    let mut contents = good();
    contents[0] = file(1, "'|u1'", "False", "(3, 2, 1, 2)", &(0..12).collect::<Vec<u8>>());
    contents[2] = file(1, "'|u1'", "False", "(1, 2, 1, 2)", &[9; 4]);
    for in_memory in [0, u64::MAX] {
        let sets = load_with(&contents, in_memory).unwrap();
        assert_eq!((&sets.train.spec().shape[..], sets.train.spec().values), (&[2, 1, 2][..], Values::Bytes));
        let samples = all(&sets.train);
        assert_eq!((&samples[1].image[..], samples[1].numbers.len()), (&[4, 5, 6, 7][..], 0));
    }
    contents[0] = file(1, "'|u1'", "False", "(3, 2, 2)", &[1; 12]);
    contents[2] = file(1, "'|u1'", "False", "(1, 2, 2)", &[9; 4]);
    assert_eq!(load_with(&contents, 0).unwrap().test.spec().shape, [1, 2, 2]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "nothing is written: a file is made as long as it is")]
fn the_largest_file_is_not_read_to_open_it() {
    // A sparse file of 1 TiB: held in memory it would fail.
    let folder = tempfile::tempdir().unwrap();
    let contents = good();
    for (name, bytes) in ARRAYS.iter().zip(&contents) {
        files::write_atomic(&folder.path().join(name), bytes).unwrap();
    }
    let samples: u64 = 1 << 20;
    let head = file(1, "'<f4'", "False", &format!("({samples}, 512, 512)"), &[]);
    let path = folder.path().join(ARRAYS[0]);
    files::write_atomic(&path, &head).unwrap();
    let grown = std::fs::File::options().write(true).open(&path).unwrap();
    if grown.set_len(head.len() as u64 + samples * (1 << 20)).is_err() {
        return;
    }
    files::write_atomic(
        &folder.path().join(ARRAYS[2]),
        &file(1, "'<f4'", "False", "(1, 512, 512)", &vec![0; 1 << 20]),
    )
    .unwrap();
    let labels: Vec<u8> = (0..samples).map(|n| (n % 2) as u8).collect();
    files::write_atomic(
        &folder.path().join(ARRAYS[1]),
        &file(1, "'|u1'", "False", &format!("({samples},)"), &labels),
    )
    .unwrap();
    files::write_atomic(&folder.path().join(ARRAYS[3]), &file(1, "'|u1'", "False", "(1,)", &[0])).unwrap();
    let sets = load(folder.path(), 1 << 30).unwrap();
    let mut sample = Sample::default();
    sets.train.read(samples as usize - 1, &mut sample).unwrap();
    assert_eq!((sample.numbers.len(), sample.label), (512 * 512, 1));
}

#[test]
fn what_is_no_sample_or_no_label_is_refused_with_what_to_do() {
    let f4 = |shape: &str, count: usize| file(1, "'<f4'", "False", shape, &vec![0; 4usize * count]);
    let shapes =
        "allowed are (samples, features), (samples, rows, columns) and (samples, channels, rows, columns)";
    let (text, hint) = refused(0, f4("(6,)", 6));
    assert_eq!(text, format!("`train-inputs.npy` has shape (6,), one side alone; {shapes}"));
    assert_eq!(hint.as_deref(), Some("np.save(FILE, array.reshape(-1, 1))"));
    assert!(refused(0, f4("()", 1)).0.contains("has shape (), which is none of samples"));
    assert!(refused(0, f4("(1, 1, 1, 1, 1)", 1)).0.contains("which is none of samples"));
    assert_eq!(
        refused(0, f4("(3, 0)", 0)).0,
        "`train-inputs.npy` has shape (3, 0), allowed are samples of 1 to 100000 values"
    );
    assert_eq!(
        refused(0, f4("(0, 100001)", 0)).0,
        "`train-inputs.npy` has shape (0, 100001), allowed are samples of 1 to 100000 values"
    );
    assert_eq!(
        refused(0, f4("(3, 3)", 9)).0,
        "`test-inputs.npy` holds numbers of shape [2], and `train-inputs.npy` numbers of shape [3]"
    );
    assert!(refused(2, file(1, "'|u1'", "False", "(1, 2)", &[0; 2])).0.contains("holds bytes of shape [2]"));
    assert_eq!(refused(0, f4("(4, 2)", 8)).0, "`train-inputs.npy` has 4 samples, and there are 3 labels");
    let nan = floats(&[1.0, 2.0, 3.0, f32::NAN, 5.0, 6.0]);
    assert_eq!(
        refused(0, file(1, "'<f4'", "False", "(3, 2)", &nan)).0,
        "`train-inputs.npy`: sample 1 has NaN at [1], allowed are numbers that 32 bits hold"
    );
    let huge: Vec<u8> = [0.0, 1e300].iter().flat_map(|x: &f64| x.to_le_bytes()).collect();
    let text = refused(2, file(1, "'<f8'", "False", "(1, 2)", &huge)).0;
    assert!(text.contains("sample 0 has infinity, or a number beyond 3.4e38, at [1]"), "{text}");
    let (text, hint) = refused(1, f4("(3,)", 3));
    assert_eq!(text, "`train-labels.npy` holds fractional numbers, expected whole ones: the classes");
    assert_eq!(hint.as_deref(), Some("np.save(FILE, labels.astype(np.int64))"));
    let (text, hint) = refused(1, file(1, "'<i8'", "False", "(3, 1)", &whole(&[1, 2, 3])));
    assert!(
        text == "`train-labels.npy` has shape (3, 1), expected (samples,)" && hint.unwrap().contains("ravel")
    );
    let text = refused(1, file(1, "'<u8'", "False", "(3,)", &[255; 24])).0;
    assert_eq!(text, "`train-labels.npy`: label 18446744073709551615 of sample 0 is too large");
    assert!(refused(1, file(1, "'<i8'", "False", "(3,)", &whole(&[1, 1, 1]))).0.contains("found `1` alone"));
    assert_eq!(
        refused(3, file(1, "'|u1'", "False", "(1,)", &[3])).0,
        "`test-labels.npy`: label 3 of sample 0 is no class of the training set, which has `-1`, `7`"
    );
}

#[test]
fn a_number_of_a_file_on_disk_is_checked_when_it_is_read() {
    let mut contents = good();
    contents[0] = file(1, "'<f4'", "False", "(3, 2)", &floats(&[1.0, 2.0, f32::INFINITY, 4.0, 5.0, 6.0]));
    let sets = load_with(&contents, 0).unwrap();
    let mut sample = Sample::default();
    sets.train.read(0, &mut sample).unwrap();
    assert_eq!(sets.train.read(1, &mut sample).unwrap_err().kind(), Kind::Data);
}

#[test]
fn tables_are_read_from_the_same_folders() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("array");
    files::create_folder(&inside).unwrap();
    files::write_atomic(&inside.join("train.csv"), b"x,y,kind\n1,2,b\n3,4,a\n").unwrap();
    files::write_atomic(&inside.join("test.csv"), b"x,y,kind\n5,6,a\n").unwrap();
    let sets = load(folder.path(), 0).unwrap();
    let spec = sets.train.spec();
    assert_eq!((&spec.shape[..], spec.values, &spec.name[..]), (&[2][..], Values::Numbers, NAME));
    assert_eq!((spec.classes.join(""), sets.test.spec()), ("ab".into(), spec));
    assert_eq!((all(&sets.train)[0].label, &all(&sets.test)[0].numbers[..]), (1, &[5.0, 6.0][..]));
}

#[test]
fn what_is_missing_or_too_much_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let refused = || load(folder.path(), 0).unwrap_err();
    let error = refused();
    assert_eq!(error.kind(), Kind::Environment);
    assert!(
        error.to_string().starts_with("data set `array`: no `train-inputs.npy` and no `train.csv` in `"),
        "{error}"
    );
    let none = sets(&DataOptions::default()).unwrap_err();
    assert_eq!(none.hint_text(), Some("--data-dir DIR, the folder that holds them"));
    files::write_atomic(&folder.path().join("train.csv"), b"1,a\n2,b\n").unwrap();
    let error = refused();
    assert!(error.to_string().starts_with("data set `array`: `test.csv` is missing in `"), "{error}");
    assert!(error.hint_text().unwrap().starts_with("move some of the training samples into test files"));
    files::write_atomic(&folder.path().join("test-labels.npy"), b"").unwrap();
    let error = refused();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(
        error.to_string().contains("holds arrays (`test-labels.npy`) and tables (`train.csv`)"),
        "{error}"
    );

    let folder = tempfile::tempdir().unwrap();
    files::write_atomic(&folder.path().join(ARRAYS[0]), &good()[0]).unwrap();
    let text = load(folder.path(), 0).unwrap_err().to_string();
    assert!(text.contains("`train-labels.npy`, `test-inputs.npy`, `test-labels.npy` are missing"), "{text}");
    assert!(find(Some(folder.path())).is_err());
    for (name, bytes) in ARRAYS.iter().zip(good()) {
        files::write_atomic(&folder.path().join(name), &bytes).unwrap();
    }
    let table = TableOptions { header: Some(true), ..TableOptions::default() };
    let options = DataOptions { folder: Some(folder.path().into()), table, ..DataOptions::default() };
    assert!(
        sets(&options)
            .unwrap_err()
            .to_string()
            .contains("`data.header` and `data.target` are read of tables")
    );
}
