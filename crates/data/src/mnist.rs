//! MNIST (LeCun, Cortes, Burges) and Fashion-MNIST (Xiao, Rasul, Vollgraf, arXiv 1708.07747): four IDX files
//! each, of the same names, in any of the folders people keep them in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rigl_base::{Error, Result};

use crate::dataset::{Sets, Spec};
use crate::idx::{self, Images};
use crate::memory::InMemory;
use crate::options::DataOptions;

/// A data set in the four files of MNIST.
#[derive(Debug)]
pub struct Family {
    /// The name of the data set, also of its folder.
    pub name: &'static str,
    /// The folder torchvision makes for it.
    torchvision: &'static str,
    classes: [&'static str; 10],
}

/// The data sets of this form: `mnist` and `fashion-mnist`.
pub static FAMILIES: [Family; 2] = [
    Family {
        name: "mnist",
        torchvision: "MNIST/raw",
        classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    },
    Family {
        name: "fashion-mnist",
        torchvision: "FashionMNIST/raw",
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

/// Images and labels of the training set, then of the test set; each may end in `.gz`.
const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

const SIDE: usize = 28;

/// Training samples of the official files.
pub const TRAIN: usize = 60_000;

impl Family {
    /// What the samples are like.
    pub fn spec(&self) -> Spec {
        Spec::new(self.name, [1, SIDE, SIDE], self.classes)
    }

    /// Reads both sets. The four files, plain or `.gz`, are looked for in `FOLDER/<name>`, in torchvision's
    /// `FOLDER/MNIST/raw` or `FOLDER/FashionMNIST/raw`, and in `FOLDER` itself.
    ///
    /// # Errors
    /// [`Kind::Environment`](rigl_base::Kind::Environment), naming every missing file;
    /// [`Kind::Data`](rigl_base::Kind::Data) for a damaged one.
    pub fn sets(&self, options: &DataOptions) -> Result<Sets> {
        let Some(folder) = &options.folder else {
            let message = format!("data set `{}` is read from files, and no data folder is given", self.name);
            return Err(Error::environment(message).hint(HINT));
        };
        let [train_images, train_labels, test_images, test_labels] = self.find(folder)?;
        let train = self.read(&train_images, &train_labels)?;
        let test = self.read(&test_images, &test_labels)?;
        Ok(Sets::new(Arc::new(train), Arc::new(test)))
    }

    fn find(&self, folder: &Path) -> Result<[PathBuf; 4]> {
        let places = [folder.join(self.name), folder.join(self.torchvision), folder.to_path_buf()];
        // The place with the most of the files: if that is not all, its missing ones are what to name.
        let found = places.iter().map(|place| FILES.map(|file| present(place, file)));
        let best = found.rev().max_by_key(|files| files.iter().flatten().count());
        let best = best.unwrap_or_default();
        if let [Some(a), Some(b), Some(c), Some(d)] = best {
            return Ok([a, b, c, d]);
        }
        let missing: Vec<String> = FILES
            .iter()
            .zip(&best)
            .filter(|(_, path)| path.is_none())
            .map(|(file, _)| format!("`{file}.gz`"))
            .collect();
        let looked_in = match best.iter().flatten().next().and_then(|path| path.parent()) {
            Some(place) => format!("`{}`", place.display()),
            None => {
                let [named, torchvision, folder] = places.each_ref().map(|place| place.display());
                format!("`{folder}`, `{named}` and `{torchvision}`")
            }
        };
        let message = format!(
            "data set `{}`: {} {} missing; looked in {looked_in} (files without `.gz` will do)",
            self.name,
            missing.join(", "),
            if missing.len() == 1 { "is" } else { "are" },
        );
        Err(Error::environment(message).hint(HINT))
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

const HINT: &str = "--data-dir DIR, the folder that holds them";

fn present(place: &Path, file: &str) -> Option<PathBuf> {
    [format!("{file}.gz"), file.to_string()].iter().map(|name| place.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rigl_base::{Kind, files};

    use super::*;
    use crate::dataset::Sample;

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
        assert_eq!(error.hint_text(), Some(HINT));

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
