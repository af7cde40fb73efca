//! Of which files a data set consists, where they lie, and whether they are the published ones: what a published file is
//! is known beforehand, by size and, for all that is downloaded, SHA-256.

use std::fs::File as Handle;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rigl_base::{Error, Result, files};
use sha2::{Digest, Sha256};

/// The contents of files up to this size, 1 MiB, are always compared: names and sizes do not tell which labels they are.
const SMALL: u64 = 1 << 20;

/// The files of a data set: where they lie, what they must be, where they can be had.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// The data set's name.
    pub name: &'a str,
    /// Folders in the data folder in which the files may lie, the best one first: that is where downloads go. An
    /// empty one is the data folder itself.
    pub places: &'a [&'a str],
    /// All of them are needed.
    pub files: &'a [File<'a>],
    /// Addresses that have them, the first to be asked first. A file's name follows directly.
    pub mirrors: &'a [&'a str],
}

/// A file of a data set.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// As it is published and downloaded.
    pub published: Form<'a>,
    /// The files in which people keep it once they have unpacked it, if they do; all of them together will do as
    /// well.
    pub unpacked: &'a [Form<'a>],
}

/// What a file must be.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// Its name, behind that of the folder and a `/` if it lies in one.
    pub name: &'a str,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 of its contents, in lower-case hexadecimal; `None` if the size alone is compared.
    pub sha256: Option<&'a str>,
}

/// A file that is there, as published or unpacked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Present {
    /// Its path, or those of what it was unpacked to, in the order of [`File::unpacked`].
    pub paths: Vec<PathBuf>,
    /// Whether it is not as published.
    pub unpacked: bool,
}

/// Where the files of a data set were found.
#[derive(Clone, Debug)]
pub struct Located {
    /// The folder with the most of them; the best place if no folder has any.
    pub place: PathBuf,
    /// Each of them, in the order of [`Source::files`]; `None` for one that is not there, or not all of it.
    pub files: Vec<Option<Present>>,
}

/// What became of a data set's files.
#[derive(Clone, Debug)]
pub struct Status {
    /// The folder in which they lie, or in which they would.
    pub place: PathBuf,
    /// Each of them, in the order of [`Source::files`]; in place of one that was unpacked what it was unpacked to.
    pub files: Vec<FileStatus>,
}

/// What became of one file.
#[derive(Clone, Debug)]
pub struct FileStatus {
    /// The name it has, or that it is published by.
    pub name: String,
    /// Its path; `None` if it is missing.
    pub path: Option<PathBuf>,
    /// Its size in bytes, 0 if it is missing.
    pub bytes: u64,
    /// In what it differs from the published one, if it does: "has 3 bytes, expected 9". It may be damaged, or data of
    /// somebody's own.
    pub damage: Option<String>,
    /// Whether all of it was compared, not only its size.
    pub compared: bool,
}

impl Source<'_> {
    /// The folders in which the files may lie, the best one first.
    pub fn folders(&self, folder: &Path) -> impl DoubleEndedIterator<Item = PathBuf> {
        self.places
            .iter()
            .map(|place| if place.is_empty() { folder.to_path_buf() } else { folder.join(place) })
    }

    /// Looks for the files. All of them must lie in one place; of two with equally many the better one counts.
    pub fn locate(&self, folder: &Path) -> Located {
        let located = self.folders(folder).map(|place| {
            let files: Vec<_> = self.files.iter().map(|file| file.present(&place)).collect();
            let begun = self.files.iter().filter(|file| file.is_begun(&place)).count();
            ((files.iter().flatten().count(), begun), Located { place, files })
        });
        let best = located.rev().max_by_key(|(count, _)| *count).map(|(_, located)| located);
        best.unwrap_or_else(|| Located { place: folder.to_path_buf(), files: vec![None; self.files.len()] })
    }

    /// The files, all of them, in the order of [`Source::files`]; `folder` is the data folder, if there is one.
    ///
    /// # Errors
    /// [`Kind::Environment`](rigl_base::Kind::Environment), naming every file that is missing, with the command
    /// that downloads them as hint.
    pub fn find(&self, folder: Option<&Path>) -> Result<Vec<Present>> {
        let Some(folder) = folder else {
            let message = format!("data set `{}` is read from files, and no data folder is given", self.name);
            return Err(Error::environment(message).hint("--data-dir DIR, the folder that holds them"));
        };
        let Located { place, files } = self.locate(folder);
        if let Some(files) = files.into_iter().collect() {
            return Ok(files);
        }
        let status: Vec<FileStatus> = self.files.iter().flat_map(|file| file.status(&place, false)).collect();
        let missing: Vec<String> =
            status.iter().filter(|file| file.path.is_none()).map(|file| format!("`{}`", file.name)).collect();
        let looked_in = if missing.len() < status.len() {
            format!("`{}`", place.display())
        } else {
            let places: Vec<_> = self.folders(folder).map(|place| format!("`{}`", place.display())).collect();
            match places.split_last() {
                Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
                _ => places.concat(),
            }
        };
        // What is unpacked to one file loses the ending of compressed files, what is unpacked to several has a folder.
        let will_do = match self.files.first().and_then(|file| file.unpacked.first()?.name.split_once('/')) {
            Some((unpacked, _)) => format!("the unpacked folder `{unpacked}` will do"),
            None => "files without `.gz` will do".into(),
        };
        let message = format!(
            "data set `{}`: {} {} missing; looked in {looked_in} ({will_do})",
            self.name,
            missing.join(", "),
            if missing.len() == 1 { "is" } else { "are" },
        );
        Err(Error::environment(message).hint(format!("rigl data fetch {}", self.name)))
    }

    /// Looks for the files and compares their sizes with what was published, and the contents of small ones; with `verify`
    /// those of all whose SHA-256 is known.
    pub fn status(&self, folder: &Path, verify: bool) -> Status {
        let place = self.locate(folder).place;
        let files = self.files.iter().flat_map(|file| file.status(&place, verify)).collect();
        Status { place, files }
    }
}

impl Status {
    /// Whether every file is there, and as published.
    pub fn is_complete(&self) -> bool {
        self.files.iter().all(FileStatus::is_good)
    }

    /// The files that are missing.
    pub fn missing(&self) -> impl Iterator<Item = &FileStatus> {
        self.files.iter().filter(|file| file.path.is_none())
    }

    /// The files that are not as published.
    pub fn damaged(&self) -> impl Iterator<Item = &FileStatus> {
        self.files.iter().filter(|file| file.damage.is_some())
    }

    /// The size of all that is there, in bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

impl FileStatus {
    /// Whether the file is there, and as published.
    pub fn is_good(&self) -> bool {
        self.path.is_some() && self.damage.is_none()
    }
}

impl<'a> File<'a> {
    /// The forms that count in this folder: the published one if it is there, else what it was unpacked to if any
    /// of that is.
    fn forms(&self, place: &Path) -> &[Form<'a>] {
        let is_there = |form: &Form| is_there(&place.join(form.name));
        if !is_there(&self.published) && self.unpacked.iter().any(is_there) {
            self.unpacked
        } else {
            std::slice::from_ref(&self.published)
        }
    }

    /// Whether any of it is there.
    fn is_begun(&self, place: &Path) -> bool {
        self.forms(place).iter().any(|form| is_there(&place.join(form.name)))
    }

    /// The file in this folder, if all of it is there.
    fn present(&self, place: &Path) -> Option<Present> {
        let forms = self.forms(place);
        let paths: Vec<PathBuf> = forms.iter().map(|form| place.join(form.name)).collect();
        let unpacked = forms[0].name != self.published.name;
        paths.iter().all(|path| is_there(path)).then_some(Present { paths, unpacked })
    }

    /// What became of the file in this folder: one entry, or one for each file that it was unpacked to.
    pub fn status(&self, place: &Path, verify: bool) -> Vec<FileStatus> {
        let status = |form: &Form| {
            let path = place.join(form.name);
            let name = form.name.to_string();
            if !is_there(&path) {
                return FileStatus { name, path: None, bytes: 0, damage: None, compared: false };
            }
            let bytes = path.metadata().map_or(0, |metadata| metadata.len());
            let compared = form.compared(verify).is_some();
            FileStatus { name, bytes, damage: form.damage(&path, verify), path: Some(path), compared }
        };
        self.forms(place).iter().map(status).collect()
    }
}

/// Whether there is a file, or something that this process may not look at: that is not missing.
pub(crate) fn is_there(path: &Path) -> bool {
    match path.metadata() {
        Ok(found) => found.is_file(),
        Err(e) => ![io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&e.kind()),
    }
}

impl Form<'_> {
    /// The SHA-256 with which contents are compared.
    fn compared(&self, verify: bool) -> Option<&str> {
        self.sha256.filter(|_| verify || self.bytes <= SMALL)
    }

    /// In what the file at `path` differs; the contents of one that is not small are looked at only if they are to be
    /// verified.
    pub fn damage(&self, path: &Path, verify: bool) -> Option<String> {
        let mut file = match files::open(path) {
            Ok(file) => file,
            Err(error) => return Some(format!("cannot be read: {error}")),
        };
        let mut check = || -> io::Result<Option<String>> {
            let found = file.metadata()?.len();
            if found != self.bytes {
                return Ok(Some(format!("has {found} bytes, expected {}", self.bytes)));
            }
            let Some(expected) = self.compared(verify) else { return Ok(None) };
            let found = sha256(&mut file)?;
            Ok((found != expected).then(|| format!("has the SHA-256 `{found}`, expected `{expected}`")))
        };
        check().unwrap_or_else(|e| Some(format!("cannot be read: {e}")))
    }
}

fn sha256(file: &mut Handle) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hash.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(hexadecimal(hash))
}

/// The SHA-256 of these bytes, one piece after the other, in lower-case hexadecimal.
pub(crate) fn sha256_of(pieces: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    pieces.iter().for_each(|piece| hash.update(piece));
    hexadecimal(hash)
}

fn hexadecimal(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use rigl_base::files;

    use super::*;

    /// "abc", the example of the standard (FIPS 180-4), and nothing.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    const SOURCE: Source<'static> = Source {
        name: "letters",
        places: &["letters", "other/raw", ""],
        files: &[
            File {
                published: Form { name: "abc.gz", bytes: 3, sha256: Some(ABC) },
                unpacked: &[Form { name: "abc", bytes: 0, sha256: Some(NOTHING) }],
            },
            File { published: Form { name: "nothing", bytes: 0, sha256: Some(NOTHING) }, unpacked: &[] },
        ],
        mirrors: &[],
    };

    fn write(folder: &Path, name: &str, bytes: &[u8]) {
        let path = folder.join(name);
        files::create_folder(path.parent().unwrap()).unwrap();
        files::write_atomic(&path, bytes).unwrap();
    }

    fn damage(folder: &Path, verify: bool) -> Vec<Option<String>> {
        SOURCE.status(folder, verify).files.into_iter().map(|file| file.damage).collect()
    }

    #[test]
    fn the_place_with_the_most_files_counts_and_of_two_the_better() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let place = || SOURCE.status(folder, true).place;
        let status = SOURCE.status(folder, true);
        assert_eq!((status.place, status.files[1].path.as_ref()), (folder.join("letters"), None));
        write(folder, "abc.gz", b"abc");
        assert_eq!(place(), folder);
        write(folder, "letters/nothing", b"");
        assert_eq!(place(), folder.join("letters"));
        write(folder, "other/raw/abc", b"");
        write(folder, "other/raw/nothing", b"");
        assert_eq!(place(), folder.join("other/raw"));
        assert!(SOURCE.status(folder, true).is_complete());
    }

    #[test]
    fn damage_is_told_by_size_and_on_demand_by_contents() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write(folder, "letters/nothing", b"x");
        assert_eq!(damage(folder, false), [None, Some("has 1 bytes, expected 0".into())]);
        write(folder, "letters/nothing", b"");
        write(folder, "letters/abc.gz", b"abd");
        assert_eq!(damage(folder, false), damage(folder, true));
        let found = damage(folder, true)[0].clone().unwrap();
        assert!(
            found.starts_with("has the SHA-256 `") && found.ends_with(&format!("expected `{ABC}`")),
            "{found}"
        );
        write(folder, "letters/abc.gz", b"abc");
        // The published form is the one that is read, so it is the one that counts.
        write(folder, "letters/abc", b"x");
        assert_eq!(damage(folder, true), [None, None]);
        assert_eq!(SOURCE.status(folder, true).bytes(), 3);
    }

    #[test]
    fn contents_of_large_files_are_compared_on_demand() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = vec![7; SMALL as usize + 1];
        write(folder.path(), "large", &bytes);
        let path = folder.path().join("large");
        let own = sha256_of(&[&bytes]);
        let damage = |sha256: Option<&str>, verify| {
            Form { name: "large", bytes: SMALL + 1, sha256 }.damage(&path, verify)
        };
        assert_eq!(damage(Some(ABC), false), None);
        assert!(damage(Some(ABC), true).unwrap().starts_with("has the SHA-256 `"));
        assert_eq!(damage(Some(own.as_str()), true), None);
        assert_eq!(damage(None, true), None);
    }

    #[test]
    fn a_missing_file_has_the_name_it_is_published_by() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "letters/nothing", b"");
        let status = SOURCE.status(folder.path(), true);
        assert!(!status.is_complete() && status.damaged().count() == 0);
        assert_eq!(status.missing().map(|file| &*file.name).collect::<Vec<_>>(), ["abc.gz"]);
    }

    /// An archive of two files.
    const PACKED: Source<'static> = Source {
        name: "packed",
        places: &["packed", ""],
        files: &[File {
            published: Form { name: "both.tar.gz", bytes: 3, sha256: Some(ABC) },
            unpacked: &[
                Form { name: "both/one", bytes: 1, sha256: None },
                Form { name: "both/two", bytes: 2, sha256: None },
            ],
        }],
        mirrors: &[],
    };

    #[test]
    fn an_archive_may_be_unpacked_but_then_wholly() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let text = || PACKED.find(Some(folder)).unwrap_err().to_string();
        let (a, b) = (folder.join("packed"), folder.display());
        assert_eq!(
            text(),
            format!(
                "data set `packed`: `both.tar.gz` is missing; looked in `{}` and `{b}` (the unpacked folder `both` \
                 will do)",
                a.display()
            )
        );
        write(folder, "both/two", b"12");
        assert!(text().contains(&format!("`both/one` is missing; looked in `{b}` ")), "{}", text());
        let status = PACKED.status(folder, true);
        assert_eq!(status.missing().map(|file| &*file.name).collect::<Vec<_>>(), ["both/one"]);
        // Without a checksum the size decides.
        write(folder, "both/one", b"");
        assert_eq!(PACKED.status(folder, true).damaged().count(), 1);
        write(folder, "both/one", b"1");
        assert!(PACKED.status(folder, true).is_complete());
        let found = PACKED.find(Some(folder)).unwrap().remove(0);
        assert_eq!(
            (found.paths, found.unpacked),
            (["both/one", "both/two"].map(|p| folder.join(p)).into(), true)
        );
        write(folder, "packed/both.tar.gz", b"abc");
        let found = PACKED.find(Some(folder)).unwrap().remove(0);
        assert_eq!((found.paths, found.unpacked), (vec![a.join("both.tar.gz")], false));
        assert_eq!(PACKED.find(None).unwrap_err().kind(), rigl_base::Kind::Environment);
    }
}
