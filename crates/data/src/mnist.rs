//! MNIST (LeCun, Cortes, Burges) and Fashion-MNIST (Xiao, Rasul, Vollgraf, arXiv 1708.07747): four IDX files
//! each, of the same names, in any of the folders people keep them in.
//!
//! Which set files hold is not told by their names: labels are compared with those that were published. Those of the
//! other set are refused. Files that hold neither are data of one's own, of images of any size and up to 256 classes.

use std::path::Path;
use std::sync::Arc;

use rigl_base::{Error, Result};

use crate::dataset::{Sets, Spec};
use crate::idx::{self, Images};
use crate::memory::InMemory;
use crate::options::DataOptions;
use crate::source::{File, Form, Source, sha256_of};

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
    /// [`Kind::Data`](rigl_base::Kind::Data) for a damaged one, one of the other set, and files that do not fit together.
    pub fn sets(&self, options: &DataOptions) -> Result<Sets> {
        let folder = options.folder.as_deref();
        let files = self.source.find(folder)?;
        let paths: Vec<&Path> =
            files.iter().flat_map(|file| &file.paths).map(|path| path.as_path()).collect();
        let [train_images, train_labels, test_images, test_labels] = paths[..] else {
            return Err(Error::internal(format!(
                "data set `{}` has {} files",
                self.source.name,
                paths.len()
            )));
        };
        // Labels are small, and say which set this is before the images are read.
        let labels = [idx::read_labels(train_labels)?, idx::read_labels(test_labels)?];
        let published =
            is_published(self.source.name, &published_labels(), &labels, [train_labels, test_labels])?;
        let images = [idx::read_images(train_images)?, idx::read_images(test_images)?];
        if images[0].shape != images[1].shape {
            return Err(Error::data(format!(
                "`{}` has images of {}, `{}` of {}, and both must have the same",
                train_images.display(),
                size(images[0].shape),
                test_images.display(),
                size(images[1].shape),
            )));
        }
        let spec = self.spec_of(images[0].shape, &labels);
        // Whatever the labels are, images of another size are not the published ones.
        let published = published && images[0].shape == [1, SIDE, SIDE];
        let [train, test] = images;
        let [of_train, of_test] = labels;
        let train = set(&spec, train, of_train, train_images, train_labels)?;
        let test = set(&spec, test, of_test, test_images, test_labels)?;
        Ok(Sets::new(Arc::new(train), Arc::new(test)).from_folder(folder).published(published))
    }

    /// What samples of this shape with these labels are like: with the classes of this set, or with as many as there are
    /// labels, which are then called by their numbers.
    fn spec_of(&self, shape: [usize; 3], labels: &[Vec<u8>; 2]) -> Spec {
        let most = labels.iter().flatten().max().map_or(0, |&label| usize::from(label) + 1);
        if most <= self.classes.len() {
            return Spec::new(self.source.name, shape, self.classes);
        }
        Spec::new(self.source.name, shape, (0..most).map(|class| class.to_string()))
    }
}

/// A data set's name, and the SHA-256 of the unpacked files of its labels, of training and of test.
type PublishedLabels<'a> = (&'a str, [&'a str; 2]);

fn published_labels() -> Vec<PublishedLabels<'static>> {
    let of = |file: &File<'static>| file.unpacked.first().and_then(|form| form.sha256).unwrap_or_default();
    let of_family =
        |Family { source, .. }: &Family| (source.name, [1, 3].map(|file| of(&source.files[file])));
    FAMILIES.iter().map(of_family).collect()
}

/// Whether these labels of training and test samples are the published ones of the set of that name.
fn is_published(
    name: &str,
    known: &[PublishedLabels<'_>],
    labels: &[Vec<u8>; 2],
    paths: [&Path; 2],
) -> Result<bool> {
    let mut published = true;
    for part in [0, 1] {
        let digest = sha256_of(&[&idx::labels_head(&labels[part]), &labels[part]]);
        let mut holders = known.iter().filter(|(_, digests)| digests[part] == digest).map(|(name, _)| *name);
        let holder = holders.next();
        if let Some(other) = holder.filter(|&holder| holder != name) {
            return Err(Error::data(format!(
                "`{}` holds the labels of `{other}`, and the data set is `{name}`",
                paths[part].display()
            ))
            .hint(format!(
                "--set data.name={other}, or put the files of `{name}` into a folder of that name"
            )));
        }
        published &= holder.is_some();
    }
    Ok(published)
}

fn set(spec: &Spec, images: Images, labels: Vec<u8>, of_images: &Path, of_labels: &Path) -> Result<InMemory> {
    if labels.len() != images.count {
        return Err(Error::data(format!(
            "`{}` has {} labels, but `{}` has {} images",
            of_labels.display(),
            labels.len(),
            of_images.display(),
            images.count,
        )));
    }
    InMemory::new(spec.clone(), images.pixels, labels)
}

/// `28×28 pixels`, with its channels if there are several.
fn size(shape: [usize; 3]) -> String {
    match shape {
        [1, rows, columns] => format!("{rows}×{columns} pixels"),
        [channels, rows, columns] => format!("{channels}×{rows}×{columns} pixels"),
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
        let text = refused(0, images(3, 27));
        assert!(
            text.contains("images of 27×27 pixels") && text.contains("of 28×28 pixels, and both"),
            "{text}"
        );
    }

    #[test]
    fn images_may_have_any_size_and_labels_any_of_256_classes() {
        let folder = tempfile::tempdir().unwrap();
        let load_with = |contents: &[Vec<u8>; 4]| {
            write(folder.path(), contents, true);
            load(0, folder.path()).unwrap()
        };
        let sets = load_with(&[images(3, 5), labels(&[0, 9, 4]), images(2, 5), labels(&[1, 255])]);
        let spec = sets.test.spec();
        assert_eq!((&spec.shape[..], spec.classes.len()), (&[1, 5, 5][..], 256));
        assert_eq!((sets.train.spec().classes.len(), spec.classes[255].as_str()), (256, "255"));
        // Fewer labels than the set has leave its classes as they are.
        let sets = load_with(&[images(2, 28), labels(&[0, 1]), images(1, 28), labels(&[1])]);
        assert_eq!(sets.train.spec(), &FAMILIES[0].spec());
        assert_eq!(
            (sets.identity.published, sets.identity.folder),
            (Some(false), Some(folder.path().into()))
        );
        let colour = [[2052, 1, 3, 2, 2].map(u32::to_be_bytes).concat(), vec![7; 12]].concat();
        let sets = load_with(&[colour.clone(), labels(&[0]), colour, labels(&[0])]);
        assert_eq!(sets.train.spec().shape, [3, 2, 2]);
    }

    #[test]
    fn labels_of_the_other_set_are_refused_whatever_their_file_is_called() {
        let (one, two, three) = (vec![1u8, 2], vec![3u8], vec![4u8, 4]);
        let digest = |labels: &Vec<u8>| sha256_of(&[&idx::labels_head(labels), labels]);
        let [a, b, c] = [&one, &two, &three].map(digest);
        let known = [("ours", [a.as_str(), b.as_str()]), ("theirs", [c.as_str(), "none"])];
        let check = |train: &Vec<u8>, test: &Vec<u8>| {
            let labels = [train.clone(), test.clone()];
            is_published("ours", &known, &labels, [Path::new("train"), Path::new("test")])
        };
        assert!(check(&one, &two).unwrap());
        assert!(!check(&one, &one).unwrap() && !check(&two, &two).unwrap());
        let error = check(&three, &two).unwrap_err();
        assert_eq!(error.to_string(), "`train` holds the labels of `theirs`, and the data set is `ours`");
        assert!(error.hint_text().unwrap().starts_with("--set data.name=theirs, or"), "{error:?}");
        assert!(published_labels().iter().flat_map(|(_, of)| of).all(|digest| digest.len() == 64));
        let Some(folder) = std::env::var_os("RIGL_DATA_DIR") else {
            println!("skipped: RIGL_DATA_DIR is not set");
            return;
        };
        let place = |family: usize| FAMILIES[family].source.locate(Path::new(&folder)).place;
        for (own, other) in [(0, 1), (1, 0)] {
            for parts in [&[1][..], &[3], &[0, 1, 2, 3]] {
                let mixed = tempfile::tempdir().unwrap();
                for (part, name) in FILES.iter().enumerate() {
                    let from = place(if parts.contains(&part) { other } else { own });
                    let bytes = std::fs::read(from.join(format!("{name}.gz"))).unwrap();
                    files::write_atomic(&mixed.path().join(format!("{name}.gz")), &bytes).unwrap();
                }
                let error = load(own, mixed.path()).unwrap_err();
                let other = FAMILIES[other].source.name;
                assert!(error.to_string().contains(&format!("holds the labels of `{other}`")), "{error}");
            }
        }
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
            assert_eq!(sets.identity.published, Some(true));
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
