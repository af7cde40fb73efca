//! MNIST (LeCun, Cortes, Burges) and Fashion-MNIST (Xiao, Rasul, Vollgraf, arXiv 1708.07747): four IDX files
//! each, of the same names, in any of the folders people keep them in.

use std::path::Path;
use std::sync::Arc;

use rigl_base::{Error, Result};

use crate::dataset::{Sets, Spec};
use crate::idx::{self, Images};
use crate::memory::InMemory;
use crate::options::DataOptions;
use crate::source::{File, Form, Source};

/// A data set in the four files of MNIST.
#[derive(Debug)]
pub struct Family {
    /// Its name, its files, and where they come from.
    pub source: Source<'static>,
    classes: [&'static str; 10],
}

/// The data sets of this form: `mnist` and `fashion-mnist`.
pub static FAMILIES: [Family; 2] = [
    Family {
        source: Source {
            name: "mnist",
            // The second is the folder that torchvision makes.
            places: &["mnist", "MNIST/raw", ""],
            files: &MNIST,
            mirrors: &[
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ],
        },
        classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    },
    Family {
        source: Source {
            name: "fashion-mnist",
            places: &["fashion-mnist", "FashionMNIST/raw", ""],
            files: &FASHION,
            // One store under two addresses; the second is the one its authors publish.
            mirrors: &[
                "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            ],
        },
        classes: [
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ],
    },
];

/// Images and labels of the training set, then of the test set, as published.
#[rustfmt::skip]
static MNIST: [File<'static>; 4] = [
    File {
        published: Form { name: "train-images-idx3-ubyte.gz", bytes: 9_912_422, sha256: Some("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609") },
        unpacked: &[Form { name: "train-images-idx3-ubyte", bytes: 47_040_016, sha256: Some("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db") }],
    },
    File {
        published: Form { name: "train-labels-idx1-ubyte.gz", bytes: 28_881, sha256: Some("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c") },
        unpacked: &[Form { name: "train-labels-idx1-ubyte", bytes: 60_008, sha256: Some("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5") }],
    },
    File {
        published: Form { name: "t10k-images-idx3-ubyte.gz", bytes: 1_648_877, sha256: Some("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6") },
        unpacked: &[Form { name: "t10k-images-idx3-ubyte", bytes: 7_840_016, sha256: Some("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7") }],
    },
    File {
        published: Form { name: "t10k-labels-idx1-ubyte.gz", bytes: 4_542, sha256: Some("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6") },
        unpacked: &[Form { name: "t10k-labels-idx1-ubyte", bytes: 10_008, sha256: Some("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2") }],
    },
];

/// The same of Fashion-MNIST.
#[rustfmt::skip]
static FASHION: [File<'static>; 4] = [
    File {
        published: Form { name: "train-images-idx3-ubyte.gz", bytes: 26_421_880, sha256: Some("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84") },
        unpacked: &[Form { name: "train-images-idx3-ubyte", bytes: 47_040_016, sha256: Some("c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888") }],
    },
    File {
        published: Form { name: "train-labels-idx1-ubyte.gz", bytes: 29_515, sha256: Some("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845") },
        unpacked: &[Form { name: "train-labels-idx1-ubyte", bytes: 60_008, sha256: Some("bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9") }],
    },
    File {
        published: Form { name: "t10k-images-idx3-ubyte.gz", bytes: 4_422_102, sha256: Some("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073") },
        unpacked: &[Form { name: "t10k-images-idx3-ubyte", bytes: 7_840_016, sha256: Some("5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b") }],
    },
    File {
        published: Form { name: "t10k-labels-idx1-ubyte.gz", bytes: 5_148, sha256: Some("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5") },
        unpacked: &[Form { name: "t10k-labels-idx1-ubyte", bytes: 10_008, sha256: Some("0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34") }],
    },
];

const SIDE: usize = 28;

/// Training samples of the official files.
pub const TRAIN: usize = 60_000;

/// Test samples of the official files.
pub const TEST: usize = 10_000;

impl Family {
    /// What the samples are like.
    pub fn spec(&self) -> Spec {
        Spec::new(self.source.name, [1, SIDE, SIDE], self.classes)
    }

    /// Reads both sets. The four files, `.gz` or plain, are looked for in `FOLDER/<name>`, in torchvision's
    /// `FOLDER/MNIST/raw` or `FOLDER/FashionMNIST/raw`, and in `FOLDER` itself.
    ///
    /// # Errors
    /// [`Kind::Environment`](rigl_base::Kind::Environment), naming every missing file;
    /// [`Kind::Data`](rigl_base::Kind::Data) for a damaged one.
    pub fn sets(&self, options: &DataOptions) -> Result<Sets> {
        let files = self.source.find(options.folder.as_deref())?;
        let paths: Vec<&Path> =
            files.iter().flat_map(|file| &file.paths).map(|path| path.as_path()).collect();
        let [train_images, train_labels, test_images, test_labels] = paths[..] else {
            return Err(Error::internal(format!(
                "data set `{}` has {} files",
                self.source.name,
                paths.len()
            )));
        };
        let train = self.read(train_images, train_labels)?;
        let test = self.read(test_images, test_labels)?;
        Ok(Sets::new(Arc::new(train), Arc::new(test)))
    }

    fn read(&self, images: &Path, labels: &Path) -> Result<InMemory> {
        let Images { count, rows, columns, pixels } = idx::read_images(images)?;
        if (rows, columns) != (SIDE, SIDE) {
            return Err(Error::data(format!(
                "`{}`: images of {rows}×{columns} pixels, allowed are {SIDE}×{SIDE}",
                images.display(),
            )));
        }
        let found = idx::read_labels(labels, self.classes.len())?;
        if found.len() != count {
            return Err(Error::data(format!(
                "`{}` has {} labels, but `{}` has {count} images",
                labels.display(),
                found.len(),
                images.display(),
            )));
        }
        InMemory::new(self.spec(), pixels, found)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rigl_base::{Kind, files};

    use super::*;
    use crate::dataset::Sample;

    const FILES: [&str; 4] = [
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ];

    fn images(count: u32, side: u32) -> Vec<u8> {
        let header = [2051, count, side, side].map(u32::to_be_bytes).concat();
        [header, (0..count * side * side).map(|i| i as u8).collect()].concat()
    }

    fn labels(values: &[u8]) -> Vec<u8> {
        [[2049, values.len() as u32].map(u32::to_be_bytes).concat(), values.to_vec()].concat()
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn contents() -> [Vec<u8>; 4] {
        [images(3, 28), labels(&[0, 9, 4]), images(2, 28), labels(&[1, 2])]
    }

    fn write(place: &Path, contents: &[Vec<u8>; 4], packed: bool) {
        files::create_folder(place).unwrap();
        for (name, bytes) in FILES.iter().zip(contents) {
            if packed {
                files::write_atomic(&place.join(format!("{name}.gz")), &gz(bytes)).unwrap();
            } else {
                files::write_atomic(&place.join(name), bytes).unwrap();
            }
        }
    }

    fn load(family: usize, folder: &Path) -> Result<Sets> {
        FAMILIES[family].sets(&DataOptions { folder: Some(folder.to_path_buf()), ..DataOptions::default() })
    }

    #[test]
    fn files_are_found_in_every_layout_packed_or_not() {
        for (family, place) in
            [(0, ""), (0, "mnist"), (0, "MNIST/raw"), (1, "fashion-mnist"), (1, "FashionMNIST/raw")]
        {
            for packed in [false, true] {
                let folder = tempfile::tempdir().unwrap();
                write(&folder.path().join(place), &contents(), packed);
                let sets = load(family, folder.path()).unwrap();
                assert_eq!((sets.train.len(), sets.test.len()), (3, 2), "{place} {packed}");
                let mut sample = Sample::default();
                sets.train.read(1, &mut sample).unwrap();
                assert_eq!((sample.image[0], sample.image.len(), sample.label), (16, 784, 9));
                assert_eq!(sets.train.spec().shape, [1, 28, 28]);
            }
        }
    }

    #[test]
    fn the_folder_of_the_name_wins_over_files_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &contents(), true);
        let mut other = contents();
        other[2] = images(1, 28);
        other[3] = labels(&[5]);
        write(&folder.path().join("fashion-mnist"), &other, true);
        assert_eq!(load(1, folder.path()).unwrap().test.len(), 1);
        assert_eq!(load(0, folder.path()).unwrap().test.len(), 2);
    }

    #[test]
    fn every_missing_file_is_named_with_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let error = load(0, folder.path()).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), Kind::Environment);
        assert!(FILES.iter().all(|file| text.contains(file)), "{text}");
        assert!(text.contains(&folder.path().display().to_string()), "{text}");
        assert_eq!(error.hint_text(), Some("rigl data fetch mnist"));

        let place = folder.path().join("mnist");
        write(&place, &contents(), true);
        files::remove(&place.join("t10k-labels-idx1-ubyte.gz")).unwrap();
        let text = load(0, folder.path()).unwrap_err().to_string();
        let expected = format!("`t10k-labels-idx1-ubyte.gz` is missing; looked in `{}`", place.display());
        assert!(text.contains(&expected) && !text.contains("train-"), "{text}");

        let error = FAMILIES[0].sets(&DataOptions::default()).unwrap_err();
        assert_eq!(error.kind(), Kind::Environment);
        assert!(error.to_string().contains("no data folder"), "{error}");
    }

    #[test]
    fn sets_that_do_not_fit_together_are_refused() {
        let refused = |at: usize, bytes: Vec<u8>| {
            let folder = tempfile::tempdir().unwrap();
            let mut contents = contents();
            contents[at] = bytes;
            write(folder.path(), &contents, true);
            let error = load(0, folder.path()).unwrap_err();
            assert_eq!(error.kind(), Kind::Data);
            error.to_string()
        };
        let text = refused(1, labels(&[1, 2]));
        assert!(text.contains("2 labels") && text.contains("3 images") && text.contains(FILES[0]), "{text}");
        assert!(refused(0, images(3, 27)).contains("27×27 pixels, allowed are 28×28"));
        assert!(refused(3, labels(&[1, 10])).contains("label 10 of sample 1"));
    }

    #[test]
    fn the_real_files_have_their_published_sizes() {
        let Some(folder) = std::env::var_os("RIGL_DATA_DIR") else {
            println!("skipped: RIGL_DATA_DIR is not set");
            return;
        };
        for family in 0..2 {
            let status = FAMILIES[family].source.status(Path::new(&folder), true);
            assert!(status.is_complete(), "{status:?}");
            let sets = load(family, Path::new(&folder)).unwrap();
            assert_eq!((sets.train.len(), sets.test.len()), (60_000, 10_000));
            let mut counts = [0; 10];
            let (mut sum, mut sample) = (0, Sample::default());
            for i in 0..sets.train.len() {
                sets.train.read(i, &mut sample).unwrap();
                counts[sample.label as usize] += 1;
                sum += sample.image.iter().map(|&p| u64::from(p)).sum::<u64>();
            }
            // The mean pixel that is published for both sets.
            let mean = sum as f64 / (60_000.0 * 784.0 * 255.0);
            assert!((mean - [0.1307, 0.2860][family]).abs() < 5e-5, "{mean}");
            assert!(counts.iter().all(|&n| n > 5000), "{counts:?}");
        }
    }
}
