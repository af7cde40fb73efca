//! CIFAR-10 and CIFAR-100 (Krizhevsky, "Learning multiple layers of features from tiny images", 2009) in their
//! binary layout: records of a label and an image of 32 × 32 pixels in three planes, red, green, blue. They are read
//! from the published archive as it is, or from the folder that it unpacks to.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use rigl_base::{Error, Result, files};

use crate::archive::{self, Wanted};
use crate::dataset::{Sets, Spec};
use crate::options::DataOptions;
use crate::records::{RecordFormat, Records};
use crate::source::{File, Form, Source};

/// A data set in the layout of CIFAR.
#[derive(Debug)]
pub struct Family {
    /// Its name, its files, and where they come from.
    pub source: Source<'static>,
    classes: &'static [&'static str],
    /// Labels before an image; the last one is the one that is meant.
    labels: usize,
}

/// The data sets of this layout: `cifar10`, and `cifar100` with its fine labels.
pub static FAMILIES: [Family; 2] = [
    Family {
        source: Source { name: "cifar10", places: &["cifar10", ""], files: &[CIFAR10], mirrors: &MIRRORS },
        classes: &TEN,
        labels: 1,
    },
    Family {
        source: Source { name: "cifar100", places: &["cifar100", ""], files: &[CIFAR100], mirrors: &MIRRORS },
        classes: &HUNDRED,
        labels: 2,
    },
];

/// Training samples of the official files.
pub const TRAIN: usize = 50_000;

/// Test samples of the official files.
pub const TEST: usize = 10_000;

const SHAPE: [usize; 3] = [3, 32, 32];

static MIRRORS: [&str; 1] = ["https://www.cs.toronto.edu/~kriz/"];

const CIFAR10: File<'static> = File {
    published: Form {
        name: "cifar-10-binary.tar.gz",
        bytes: 170_052_171,
        sha256: Some("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    },
    unpacked: &[
        unpacked("cifar-10-batches-bin/data_batch_1.bin", 30_730_000),
        unpacked("cifar-10-batches-bin/data_batch_2.bin", 30_730_000),
        unpacked("cifar-10-batches-bin/data_batch_3.bin", 30_730_000),
        unpacked("cifar-10-batches-bin/data_batch_4.bin", 30_730_000),
        unpacked("cifar-10-batches-bin/data_batch_5.bin", 30_730_000),
        unpacked("cifar-10-batches-bin/test_batch.bin", 30_730_000),
    ],
};

const CIFAR100: File<'static> = File {
    published: Form {
        name: "cifar-100-binary.tar.gz",
        bytes: 168_513_733,
        sha256: Some("58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
    },
    unpacked: &[
        unpacked("cifar-100-binary/train.bin", 153_700_000),
        unpacked("cifar-100-binary/test.bin", 30_740_000),
    ],
};

/// A file of the archive: the size is compared, the contents are not.
const fn unpacked(name: &'static str, bytes: u64) -> Form<'static> {
    Form { name, bytes, sha256: None }
}

impl Family {
    /// What the samples are like.
    pub fn spec(&self) -> Spec {
        Spec::new(self.source.name, SHAPE, self.classes.iter().copied())
    }

    /// Reads both sets, from the archive or the folder it unpacks to, either of them in `FOLDER/<name>` or in
    /// `FOLDER` itself. Unpacked files larger than [`DataOptions::in_memory`] are read as they are needed.
    ///
    /// # Errors
    /// [`Kind::Environment`](rigl_base::Kind::Environment), naming every missing file;
    /// [`Kind::Data`](rigl_base::Kind::Data) for a damaged one.
    pub fn sets(&self, options: &DataOptions) -> Result<Sets> {
        let sets = self.samples(options)?.from_folder(options.folder.as_deref());
        let published = (sets.train.len(), sets.test.len()) == (TRAIN, TEST);
        Ok(sets.published(published))
    }

    fn samples(&self, options: &DataOptions) -> Result<Sets> {
        let found = self.source.find(options.folder.as_deref())?;
        let Some(found) = found.first() else {
            return Err(Error::internal(format!("data set `{}` has no file", self.source.name)));
        };
        if !found.unpacked {
            let path = &found.paths[0];
            let file = files::open(path)?;
            return self.sets_of_archive(BufReader::new(file), &path.display().to_string());
        }
        let (train, test) = found.paths.split_at(found.paths.len() - 1);
        let open = |paths| Records::open(self.format(), paths, options.in_memory).map(Arc::new);
        Ok(Sets::new(open(train)?, open(test)?))
    }

    /// Reads both sets out of an archive, which `name` stands for in messages. They are held in memory.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if it is not such an archive;
    /// [`Kind::Environment`](rigl_base::Kind::Environment) if it cannot be read.
    pub fn sets_of_archive(&self, archive: impl BufRead, name: &str) -> Result<Sets> {
        let files = self.source.files.iter().flat_map(|file| file.unpacked);
        let wanted: Vec<Wanted> = files.map(|form| Wanted { name: form.name, bytes: form.bytes }).collect();
        let contents = archive::read(archive, name, &wanted)?;
        let named = wanted.iter().zip(contents);
        let named = named.map(|(wanted, contents)| (Path::new(name).join(wanted.name), contents));
        let mut train: Vec<_> = named.map(|(path, bytes)| (path.display().to_string(), bytes)).collect();
        let test = train.split_off(train.len().saturating_sub(1));
        let records = |files| Records::from_memory(self.format(), files).map(Arc::new);
        Ok(Sets::new(records(train)?, records(test)?))
    }

    fn format(&self) -> RecordFormat {
        RecordFormat { spec: self.spec(), header: self.labels, label: self.labels - 1 }
    }
}

static TEN: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

#[rustfmt::skip]
static HUNDRED: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur",
    "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
    "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
    "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket",
    "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider",
    "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
];

#[cfg(test)]
mod tests {
    use rigl_base::{Kind, files};

    use super::*;
    use crate::archive::tests::{entry, gz, tar};
    use crate::dataset::{Dataset, Sample};

    /// So many records whose images begin with `first`, `first + 1`, …
    fn records(family: &Family, first: u8, labels: &[u8]) -> Vec<u8> {
        let record = |(i, &label): (u8, &u8)| {
            let mut header = vec![19; family.labels];
            header[family.labels - 1] = label;
            [header, vec![first + i], vec![i; 3071]].concat()
        };
        (0..).zip(labels).flat_map(record).collect()
    }

    /// The files of a small data set, by the names of the official ones.
    fn contents(family: &Family) -> Vec<(&'static str, Vec<u8>)> {
        let forms = family.source.files[0].unpacked;
        (0..).zip(forms).map(|(i, form)| (form.name, records(family, 10 * i, &[i, 9]))).collect()
    }

    fn write(folder: &Path, contents: &[(&str, Vec<u8>)]) {
        for (name, bytes) in contents {
            let path = folder.join(name);
            files::create_folder(path.parent().unwrap()).unwrap();
            files::write_atomic(&path, bytes).unwrap();
        }
    }

    fn archive(contents: &[(&str, Vec<u8>)]) -> Vec<u8> {
        // Not in their order: they are found by name.
        let mut entries: Vec<_> = contents.iter().map(|(name, bytes)| entry(name, b'0', bytes)).collect();
        entries.reverse();
        gz(&tar(&entries))
    }

    fn load(family: &Family, folder: &Path, in_memory: u64) -> Result<Sets> {
        let folder = Some(folder.to_path_buf());
        family.sets(&DataOptions { folder, in_memory, ..DataOptions::default() })
    }

    fn samples(set: &Arc<dyn Dataset>) -> Vec<Sample> {
        let mut sample = Sample::default();
        let read = |i| {
            set.read(i, &mut sample).unwrap();
            sample.clone()
        };
        (0..set.len()).map(read).collect()
    }

    #[test]
    fn the_archive_and_the_folder_hold_the_same_samples_in_the_order_of_the_files() {
        for family in &FAMILIES {
            for place in ["", family.source.name] {
                let [packed, unpacked] = [(); 2].map(|()| tempfile::tempdir().unwrap());
                let contents = contents(family);
                write(&unpacked.path().join(place), &contents);
                write(
                    &packed.path().join(place),
                    &[(family.source.files[0].published.name, archive(&contents))],
                );
                let sets = [
                    load(family, packed.path(), u64::MAX).unwrap(),
                    load(family, unpacked.path(), u64::MAX).unwrap(),
                    load(family, unpacked.path(), 0).unwrap(),
                ];
                let last = contents.len() - 1;
                for set in &sets {
                    assert_eq!((set.train.len(), set.test.len()), (2 * last, 2));
                    assert_eq!(samples(&set.train), samples(&sets[0].train));
                    assert_eq!(samples(&set.test), samples(&sets[0].test));
                    assert_eq!(*set.train.spec(), family.spec());
                }
                let train = samples(&sets[0].train);
                let found: Vec<_> = train.iter().map(|s| (s.image[0], s.image.len(), s.label)).collect();
                let expected: Vec<_> =
                    (0..last as u8).flat_map(|i| [(10 * i, 3072, i.into()), (10 * i + 1, 3072, 9)]).collect();
                assert_eq!(found, expected);
                assert_eq!(samples(&sets[0].test)[0].label, last as u32);
            }
        }
    }

    #[test]
    fn labels_without_a_class_and_broken_records_are_refused_by_file() {
        for family in &FAMILIES {
            let refused = |bytes: Vec<u8>| {
                let mut contents = contents(family);
                let name = contents[1].0;
                contents[1].1 = bytes;
                let folder = tempfile::tempdir().unwrap();
                write(folder.path(), &contents);
                let error = load(family, folder.path(), u64::MAX).unwrap_err();
                let of_archive = family.sets_of_archive(&archive(&contents)[..], "a.tar.gz").unwrap_err();
                for error in [&error, &of_archive] {
                    assert_eq!(error.kind(), Kind::Data);
                    assert!(error.to_string().contains(&format!("{name}`")), "{error}");
                }
                of_archive.to_string()
            };
            let classes = family.classes.len() as u8;
            let text = refused(records(family, 0, &[3, classes]));
            assert!(
                text.ends_with(&format!("label {classes} of sample 1, allowed are labels below {classes}"))
            );
            let mut short = records(family, 0, &[3, 4]);
            short.pop();
            assert!(refused(short).contains("expected a whole number of records of 307"));
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(&FAMILIES[0], folder.path(), 0).unwrap_err();
        assert_eq!((error.kind(), error.hint_text()), (Kind::Environment, Some("rigl data fetch cifar10")));
        let text = error.to_string();
        assert!(text.contains("`cifar-10-binary.tar.gz` is missing"), "{text}");
        assert!(text.ends_with("(the unpacked folder `cifar-10-batches-bin` will do)"), "{text}");
        let mut contents = contents(&FAMILIES[0]);
        contents.remove(2);
        write(folder.path(), &contents);
        let text = load(&FAMILIES[0], folder.path(), 0).unwrap_err().to_string();
        assert!(text.contains("`cifar-10-batches-bin/data_batch_3.bin` is missing; looked in `"), "{text}");
        let text = FAMILIES[0].sets_of_archive(&archive(&contents)[..], "a").unwrap_err().to_string();
        assert_eq!(text, "`a`: `cifar-10-batches-bin/data_batch_3.bin` is not in it");
    }

    #[test]
    fn there_are_as_many_classes_as_the_names_say() {
        for classes in [&TEN[..], &HUNDRED] {
            assert!(classes.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn the_real_files_hold_what_was_published() {
        let Some(folder) = std::env::var_os("RIGL_DATA_DIR") else {
            println!("skipped: RIGL_DATA_DIR is not set");
            return;
        };
        for (family, published) in FAMILIES.iter().zip([[0.4914, 0.4822, 0.4465], [0.5071, 0.4865, 0.4409]]) {
            let status = family.source.status(Path::new(&folder), true);
            if !status.is_complete() {
                println!("skipped: no {} in RIGL_DATA_DIR", family.source.name);
                continue;
            }
            let sets = load(family, Path::new(&folder), u64::MAX).unwrap();
            assert_eq!((sets.train.len(), sets.test.len()), (TRAIN, TEST));
            let mut counts = vec![0; family.classes.len()];
            let (mut sums, mut sample) = ([0u64; 3], Sample::default());
            for i in 0..TRAIN {
                sets.train.read(i, &mut sample).unwrap();
                counts[sample.label as usize] += 1;
                for (sum, plane) in sums.iter_mut().zip(sample.image.chunks_exact(1024)) {
                    *sum += plane.iter().map(|&p| u64::from(p)).sum::<u64>();
                }
            }
            assert!(counts.iter().all(|&n| n == TRAIN / counts.len()), "{counts:?}");
            for (sum, published) in sums.into_iter().zip(published) {
                let mean = sum as f64 / (TRAIN as f64 * 1024.0 * 255.0);
                assert!((mean - published).abs() < 1e-4, "{mean}");
            }
            let read_as_needed = load(family, Path::new(&folder), 0).unwrap();
            let mut other = Sample::default();
            for i in (0..10_000).step_by(7) {
                sets.test.read(i, &mut sample).unwrap();
                read_as_needed.test.read(i, &mut other).unwrap();
                assert_eq!(sample, other);
            }
        }
    }
}
