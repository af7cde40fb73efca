//! Single files out of a tar archive, plain or gzipped, told apart by its first bytes: the archive is read once, as
//! a stream, and nothing is written by a path that it names.
//!
//! A tar archive is a row of entries: a header of 512 bytes with a name, a size and a checksum, then the contents,
//! filled up to a multiple of 512 with zeros. Two headers of zeros end it.
//!
//! What an archive says is a claim. An entry that is asked for has the size that its reader allows, and no more of
//! the archive is decompressed than such entries and `SLACK` need.

use std::io::{self, BufRead, Read};

use rigl_base::error::short;
use rigl_base::{Error, Result};

use crate::gzip::{Members, unreadable};

/// Bytes of a header, and what contents are filled up to.
const BLOCK: usize = 512;

/// Bytes an archive may hold beyond the entries that are asked for: headers, a file of notes.
const SLACK: u64 = 1 << 20;

/// An entry to be read.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its name: the last parts of the path in the archive.
    pub name: &'a str,
    /// The most bytes it may have.
    pub bytes: u64,
}

/// The contents of the wanted entries, in their order; `name` stands for the archive in messages.
///
/// # Errors
/// [`Kind::Data`](rigl_base::Kind::Data) if the archive is damaged, lacks an entry, has one twice, or is larger than
/// it may be; [`Kind::Environment`](rigl_base::Kind::Environment) if it cannot be read.
pub fn read(mut archive: impl BufRead, name: &str, wanted: &[Wanted<'_>]) -> Result<Vec<Vec<u8>>> {
    let allowed = wanted.iter().fold(SLACK, |sum, entry| sum.saturating_add(entry.bytes));
    let start = archive.fill_buf().map_err(|e| unreadable(name, e))?;
    if !start.starts_with(&[0x1f, 0x8b]) {
        return entries(&mut Tar { reader: archive, name, left: allowed, allowed }, wanted);
    }
    entries(&mut Tar { reader: Members::new(archive), name, left: allowed, allowed }, wanted)
}

fn entries(tar: &mut Tar<'_, impl Read>, wanted: &[Wanted<'_>]) -> Result<Vec<Vec<u8>>> {
    let mut found: Vec<Option<Vec<u8>>> = vec![None; wanted.len()];
    while let Some(entry) = tar.next()? {
        let at = wanted.iter().position(|wanted| entry.is_called(wanted.name));
        let Some(at) = at.filter(|_| entry.is_file) else {
            tar.skip(entry.size)?;
            continue;
        };
        let Wanted { name, bytes } = wanted[at];
        if entry.size > bytes {
            return Err(tar.error(&format!("`{name}` has {} bytes, allowed are {bytes}", entry.size)));
        }
        if found[at].is_some() {
            return Err(tar.error(&format!("`{name}` is in it twice")));
        }
        found[at] = Some(tar.contents(entry.size)?);
    }
    tar.end()?;
    let missing = wanted.iter().zip(&found).filter(|(_, found)| found.is_none());
    let missing: Vec<String> = missing.map(|(wanted, _)| format!("`{}`", wanted.name)).collect();
    if !missing.is_empty() {
        let is = if missing.len() == 1 { "is" } else { "are" };
        return Err(tar.error(&format!("{} {is} not in it", missing.join(", "))));
    }
    Ok(found.into_iter().flatten().collect())
}

/// The header of an entry.
struct Entry {
    path: Vec<u8>,
    size: u64,
    is_file: bool,
}

impl Entry {
    fn is_called(&self, name: &str) -> bool {
        self.path
            .strip_suffix(name.as_bytes())
            .is_some_and(|folder| folder.is_empty() || folder.ends_with(b"/"))
    }
}

struct Tar<'a, R> {
    reader: R,
    name: &'a str,
    /// Bytes that may still come.
    left: u64,
    allowed: u64,
}

impl<R: Read> Tar<'_, R> {
    /// The header of the next entry, or `None` at the end.
    fn next(&mut self) -> Result<Option<Entry>> {
        let header = self.take(BLOCK as u64)?;
        let Some(header) = header.first_chunk::<BLOCK>() else {
            // Some programs leave the two headers of zeros out.
            return if header.is_empty() { Ok(None) } else { Err(self.error("it ends too early")) };
        };
        if header.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        // The checksum is the sum of all bytes, with spaces in its own place.
        let sum = header[..148].iter().chain(&header[156..]).map(|&byte| u64::from(byte)).sum::<u64>();
        if number(&header[148..156]) != Some(sum + 8 * u64::from(b' ')) {
            return Err(self.error("no header of a tar archive where one should be"));
        }
        let path = text(&header[..100]);
        let path = match text(&header[345..500]) {
            folder if header[257..263] == *b"ustar\0" && !folder.is_empty() => [folder, b"/", path].concat(),
            _ => path.to_vec(),
        };
        let Some(size) = number(&header[124..136]) else {
            let path = String::from_utf8_lossy(&path);
            return Err(self.error(&format!("the size of its entry `{}` is no number", short(&path))));
        };
        Ok(Some(Entry { path, size, is_file: matches!(header[156], b'0' | 0) }))
    }

    /// The contents of an entry of that size; what fills them up is passed over.
    fn contents(&mut self, size: u64) -> Result<Vec<u8>> {
        self.check(size)?;
        let contents = self.take(size)?;
        let filling = padding(size);
        if contents.len() as u64 != size || self.take(filling)?.len() as u64 != filling {
            return Err(self.error("it ends too early"));
        }
        Ok(contents)
    }

    fn skip(&mut self, size: u64) -> Result<()> {
        self.check(size)?;
        let all = size + padding(size);
        self.left -= all;
        match io::copy(&mut (&mut self.reader).take(all), &mut io::sink()) {
            Ok(skipped) if skipped == all => Ok(()),
            Ok(_) => Err(self.error("it ends too early")),
            Err(e) => Err(unreadable(self.name, e)),
        }
    }

    /// Whether contents of that size may come.
    fn check(&self, size: u64) -> Result<()> {
        match size.checked_add(padding(size)) {
            Some(all) if all <= self.left => Ok(()),
            _ => Err(self.too_large()),
        }
    }

    /// Reads to the end of what contains the archive.
    fn end(&mut self) -> Result<()> {
        let rest = io::copy(&mut (&mut self.reader).take(self.left + 1), &mut io::sink());
        match rest {
            Ok(rest) if rest <= self.left => Ok(()),
            Ok(_) => Err(self.too_large()),
            Err(e) => Err(unreadable(self.name, e)),
        }
    }

    /// Up to `limit` bytes, fewer only at the end.
    fn take(&mut self, limit: u64) -> Result<Vec<u8>> {
        if limit > self.left {
            return Err(self.too_large());
        }
        self.left -= limit;
        let mut bytes = Vec::new();
        match (&mut self.reader).take(limit).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(e) => Err(unreadable(self.name, e)),
        }
    }

    fn too_large(&self) -> Error {
        self.error(&format!("it holds more than the {} bytes that it may", self.allowed))
    }

    fn error(&self, message: &str) -> Error {
        Error::data(format!("`{}`: {message}", self.name))
    }
}

/// What contents of that size are filled up with, in bytes.
fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

/// An octal number between spaces, up to the first byte that is none of its digits.
fn number(field: &[u8]) -> Option<u64> {
    let digits = text(field).trim_ascii();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// A field up to its first zero.
fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|&byte| byte == 0).unwrap_or(field.len())]
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use proptest::prelude::*;
    use rigl_base::Kind;

    use super::*;

    /// An entry of a tar archive.
    pub(crate) fn entry(path: &str, kind: u8, contents: &[u8]) -> Vec<u8> {
        let mut header = [0; BLOCK];
        header[..path.len()].copy_from_slice(path.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", contents.len()).as_bytes());
        header[156] = kind;
        header[257..263].copy_from_slice(b"ustar\0");
        sum(&mut header);
        let filling = padding(contents.len() as u64) as usize;
        [&header[..], contents, &vec![0; filling]].concat()
    }

    fn sum(header: &mut [u8]) {
        header[148..156].fill(b' ');
        let sum: u32 = header[..BLOCK].iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }

    /// The entries with what ends an archive.
    pub(crate) fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
        [entries.concat(), vec![0; 2 * BLOCK]].concat()
    }

    pub(crate) fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    const WANTED: [Wanted<'static>; 2] =
        [Wanted { name: "data/a.bin", bytes: 1000 }, Wanted { name: "data/b.bin", bytes: 2000 }];

    fn whole() -> Vec<u8> {
        tar(&[
            entry("data/", b'5', b""),
            entry("data/readme", b'0', &[7; 700]),
            entry("data/b.bin", b'0', &[2; 1536]),
            entry("./data/a.bin", 0, &[1; 1000]),
        ])
    }

    fn refused(archive: &[u8]) -> String {
        let text = |bytes: &[u8]| {
            let error = read(bytes, "f", &WANTED).unwrap_err();
            assert_eq!(error.kind(), Kind::Data, "{error}");
            error.to_string()
        };
        let (plain, packed) = (text(archive), text(&gz(archive)));
        assert_eq!(plain, packed);
        plain
    }

    #[test]
    fn wanted_entries_are_read_in_their_order_and_others_passed_over() {
        for archive in [whole(), gz(&whole())] {
            assert_eq!(read(&archive[..], "f", &WANTED).unwrap(), [vec![1; 1000], vec![2; 1536]]);
        }
        // Without the end, and with more zeros behind it, as `tar` writes them.
        let bare = whole();
        let bare = &bare[..bare.len() - 2 * BLOCK];
        assert!(read(bare, "f", &WANTED).is_ok());
        assert!(read(&[&whole()[..], &[0; 8192]].concat()[..], "f", &WANTED).is_ok());
    }

    #[test]
    fn a_long_path_is_put_together_from_its_two_fields() {
        let mut long = entry("a.bin", b'0', &[3; 10]);
        long[345..354].copy_from_slice(b"some/data");
        sum(&mut long);
        let archive = tar(&[long, entry("data/b.bin", b'0', &[])]);
        assert_eq!(read(&archive[..], "f", &WANTED).unwrap(), [vec![3; 10], vec![]]);
    }

    #[test]
    fn only_whole_names_of_files_count() {
        for path in ["xdata/a.bin", "data/a.bin2", "a.bin", "data/a.bin/"] {
            let archive = tar(&[entry(path, b'0', &[1; 10]), entry("data/b.bin", b'0', &[2; 10])]);
            assert_eq!(refused(&archive), "`f`: `data/a.bin` is not in it", "{path}");
        }
        for kind in [b'1', b'2', b'5', b'x', b'L'] {
            let text = refused(&tar(&[entry("data/a.bin", kind, &[1; 10])]));
            assert_eq!(text, "`f`: `data/a.bin`, `data/b.bin` are not in it", "{kind}");
        }
        assert_eq!(refused(&tar(&[])), "`f`: `data/a.bin`, `data/b.bin` are not in it");
        assert_eq!(refused(b""), "`f`: `data/a.bin`, `data/b.bin` are not in it");
    }

    #[test]
    fn each_fault_has_its_own_message() {
        let twice = tar(&[entry("data/a.bin", b'0', &[1; 10]), entry("data/a.bin", b'0', &[1; 10])]);
        assert_eq!(refused(&twice), "`f`: `data/a.bin` is in it twice");
        let large = tar(&[entry("data/a.bin", b'0', &[1; 1001])]);
        assert_eq!(refused(&large), "`f`: `data/a.bin` has 1001 bytes, allowed are 1000");
        for cut in [100, BLOCK + 100, 3 * BLOCK + 10] {
            assert_eq!(refused(&whole()[..BLOCK + cut]), "`f`: it ends too early", "{cut}");
        }
        let mut wrong = whole();
        wrong[3 * BLOCK + 5] = b'x';
        assert!(read(&wrong[..], "f", &WANTED).is_ok(), "contents have no checksum");
        wrong[BLOCK + 5] = b'x';
        assert_eq!(refused(&wrong), "`f`: no header of a tar archive where one should be");
        assert_eq!(refused(&[1; 600]), "`f`: no header of a tar archive where one should be");
        let mut size = entry("data/\na.bin", b'0', b"");
        size[124..136].fill(0x80);
        sum(&mut size);
        assert_eq!(refused(&size), "`f`: the size of its entry `data/ a.bin` is no number");
    }

    #[test]
    fn more_than_there_may_be_is_not_read() {
        // Claimed in a header, there as entries, and behind the end.
        let allowed = SLACK + 3000;
        let text = format!("`f`: it holds more than the {allowed} bytes that it may");
        let mut claim = entry("other", b'0', b"");
        claim[124..135].copy_from_slice(b"77777777777");
        sum(&mut claim);
        assert_eq!(refused(&claim), text);
        let pieces: Vec<_> = (0..40).map(|_| entry("other", b'0', &[0; 40_000])).collect();
        assert_eq!(refused(&tar(&pieces)), text);
        assert_eq!(refused(&[whole(), vec![0; SLACK as usize + 10_000]].concat()), text);
    }

    #[test]
    fn a_damaged_gzip_file_is_told() {
        let packed = gz(&whole());
        let text = |bytes: &[u8]| read(bytes, "f", &WANTED).unwrap_err().to_string();
        assert!(text(&packed[..packed.len() - 3]).starts_with("`f`: the gzip file ends too early"));
        let mut wrong = packed.clone();
        let at = wrong.len() - 6;
        wrong[at] ^= 1;
        assert!(text(&wrong).starts_with("`f`: damaged gzip file"), "{}", text(&wrong));
        assert_eq!(text(&[&packed[..], &[7]].concat()), "`f`: damaged gzip file: other bytes follow it");
        // As tools that compress block by block leave it, on a tape.
        let plain = whole();
        let (head, tail) = plain.split_at(700);
        let parts = [gz(head), gz(tail), vec![0; 600]].concat();
        assert_eq!(read(&parts[..], "f", &WANTED).unwrap(), read(&whole()[..], "f", &WANTED).unwrap());
    }

    proptest! {
        #[test]
        fn bytes_changed_anywhere_never_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in 0.0f64..1.0,
        ) {
            for mut bytes in [whole(), gz(&whole())] {
                for (at, byte) in &changes {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                for bytes in [&bytes[..], &bytes[..(cut * bytes.len() as f64) as usize]] {
                    match read(bytes, "f", &WANTED) {
                        Ok(contents) => prop_assert!(contents[0].len() <= 1000 && contents[1].len() <= 2000),
                        Err(error) => prop_assert_eq!(error.kind(), Kind::Data),
                    }
                }
            }
        }
    }
}
