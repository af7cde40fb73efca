//! Formats that wrap their contents in lengths and checksums. Nearly every mutation of such a file is refused for
//! its checksum alone; here that is made right again, so that what lies behind it is reached.

use std::io::Read;
use std::ops::Range;

use flate2::{Crc, Decompress, FlushDecompress, bufread::DeflateDecoder};

/// The most that is decompressed to find out a checksum or the contents.
const OPENED: usize = 256 << 10;

/// The fixed part of a gzip header.
const GZIP_HEADER: usize = 10;

/// The header of an entry of a tar archive, and what contents are filled up to.
const TAR_BLOCK: usize = 512;

/// A format with checksums.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Envelope {
    /// gzip (RFC 1952): the CRC-32 and the length of the contents stand at its end.
    Gzip,
    /// A checkpoint: the header's length stands in front of it, two CRC-32C inside it.
    Checkpoint,
    /// A tar archive: every header holds the length of the contents behind it, and a checksum of itself.
    Tar,
}

impl Envelope {
    /// A file as the parts that can be changed on their own; `None` if it is too damaged for that.
    pub(crate) fn open(self, file: &[u8]) -> Option<[Vec<u8>; 2]> {
        match self {
            Envelope::Gzip => {
                let header = gzip_header(file)?;
                let mut plain = Vec::new();
                let compressed = file.get(header..)?;
                DeflateDecoder::new(compressed).take(OPENED as u64).read_to_end(&mut plain).ok()?;
                Some([file[..header].to_vec(), plain])
            }
            Envelope::Checkpoint => {
                let header = checkpoint_header(file)?;
                Some([file[header.clone()].to_vec(), file[header.end..].to_vec()])
            }
            Envelope::Tar => {
                let (mut headers, mut contents) = (Vec::new(), Vec::new());
                for (at, size) in tar_entries(file) {
                    headers.extend(&file[at..at + TAR_BLOCK]);
                    let rest = &file[at + TAR_BLOCK..];
                    contents.extend(&rest[..size.min(rest.len())]);
                }
                (!headers.is_empty()).then_some([headers, contents])
            }
        }
    }

    /// The inverse of [`Envelope::open`], with lengths and checksums that are right.
    pub(crate) fn close(self, [head, contents]: [Vec<u8>; 2]) -> Vec<u8> {
        let mut file = Vec::with_capacity(head.len() + contents.len() + 64);
        match self {
            Envelope::Gzip => {
                file.extend(head);
                store(&mut file, &contents);
                file.extend([0; 8]);
            }
            Envelope::Checkpoint => {
                file.extend((head.len() as u64).to_le_bytes());
                file.extend(head);
                file.extend(contents);
            }
            Envelope::Tar => {
                let mut rest = contents.as_slice();
                for header in head.chunks_exact(TAR_BLOCK) {
                    file.extend(header);
                    let size = tar_size(header).unwrap_or(0).min(rest.len());
                    file.extend(&rest[..size]);
                    file.resize(file.len().next_multiple_of(TAR_BLOCK), 0);
                    rest = &rest[size..];
                }
                file.extend([0; 2 * TAR_BLOCK]);
            }
        }
        self.reseal(&mut file);
        file
    }

    /// Makes the checksums right wherever they can be found.
    pub(crate) fn reseal(self, file: &mut Vec<u8>) {
        // What has no place for a checksum stays as it is.
        let _ = match self {
            Envelope::Gzip => reseal_gzip(file),
            Envelope::Checkpoint => reseal_checkpoint(file),
            Envelope::Tar => {
                for (at, _) in tar_entries(file) {
                    let header = &mut file[at..at + TAR_BLOCK];
                    header[148..156].fill(b' ');
                    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
                    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
                }
                Some(())
            }
        };
    }
}

/// Where headers stand, and the sizes they say, as far as one follows another.
fn tar_entries(file: &[u8]) -> Vec<(usize, usize)> {
    let (mut entries, mut at) = (Vec::new(), 0usize);
    while let Some(header) = file.get(at..).and_then(|rest| rest.get(..TAR_BLOCK)) {
        if header.iter().all(|&byte| byte == 0) {
            break;
        }
        let size = tar_size(header).unwrap_or(0);
        entries.push((at, size));
        at = at.saturating_add(TAR_BLOCK).saturating_add(size.min(file.len()).next_multiple_of(TAR_BLOCK));
    }
    entries
}

fn tar_size(header: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(&header[124..136]).ok()?;
    usize::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

/// Where the compressed bytes begin.
fn gzip_header(file: &[u8]) -> Option<usize> {
    let flags = *file.get(3).filter(|_| file.starts_with(&[0x1f, 0x8b]))?;
    let mut at = GZIP_HEADER;
    if flags & 4 != 0 {
        let length = file.get(at..at + 2)?;
        at += 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    }
    for text in [8, 16] {
        if flags & text != 0 {
            at += 1 + file.get(at..)?.iter().position(|&byte| byte == 0)?;
        }
    }
    at += if flags & 2 != 0 { 2 } else { 0 };
    (at <= file.len()).then_some(at)
}

/// Bytes as a deflate stream of uncompressed blocks.
fn store(file: &mut Vec<u8>, bytes: &[u8]) {
    let blocks = bytes.len().div_ceil(usize::from(u16::MAX)).max(1);
    for i in 0..blocks {
        let start = i * usize::from(u16::MAX);
        let block = &bytes[start..bytes.len().min(start + usize::from(u16::MAX))];
        file.push(u8::from(i + 1 == blocks));
        file.extend((block.len() as u16).to_le_bytes());
        file.extend((!(block.len() as u16)).to_le_bytes());
        file.extend(block);
    }
}

/// Puts header checksum, CRC and length where the deflate stream says, and cuts what follows.
fn reseal_gzip(file: &mut Vec<u8>) -> Option<()> {
    let header = gzip_header(file)?;
    if file[3] & 2 != 0 {
        let crc = crc32(&file[..header - 2]) as u16;
        file[header - 2..header].copy_from_slice(&crc.to_le_bytes());
    }
    let mut plain = vec![0; OPENED];
    let mut stream = Decompress::new(false);
    stream.decompress(&file[header..], &mut plain, FlushDecompress::Finish).ok()?;
    let plain = &plain[..stream.total_out() as usize];
    file.truncate(header + stream.total_in() as usize);
    file.extend(crc32(plain).to_le_bytes());
    file.extend((plain.len() as u32).to_le_bytes());
    Some(())
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Where the header stands.
fn checkpoint_header(file: &[u8]) -> Option<Range<usize>> {
    let length = u64::from_le_bytes(*file.first_chunk()?);
    let end = usize::try_from(length).ok()?.checked_add(8)?;
    (end <= file.len()).then_some(8..end)
}

fn reseal_checkpoint(file: &mut [u8]) -> Option<()> {
    let end = checkpoint_header(file)?.end;
    let (head, data) = file.split_at_mut(end);
    let places = ["\"crc32c-data\":\"", "\"crc32c-header\":\""].map(|key| {
        let at = head.windows(key.len()).position(|window| window == key.as_bytes())? + key.len();
        (at + 8 <= head.len()).then_some(at..at + 8)
    });
    let [data_place, header_place] = places;
    if let Some(place) = data_place {
        head[place].copy_from_slice(format!("{:08x}", crc32c::crc32c(data)).as_bytes());
    }
    let place = header_place?;
    head[place.clone()].copy_from_slice(b"00000000");
    let digits = format!("{:08x}", crc32c::crc32c(head));
    head[place].copy_from_slice(digits.as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::bufread::GzDecoder;
    use rigl_formats::{Metadata, checkpoint};

    use super::*;

    fn gunzip(file: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        GzDecoder::new(file).read_to_end(&mut plain).map(|_| plain)
    }

    #[test]
    fn what_is_put_into_a_gzip_file_is_what_comes_out() {
        for length in [0, 1, 65_535, 65_536, 200_000] {
            let plain: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&plain).unwrap();
            let [head, contents] = Envelope::Gzip.open(&encoder.finish().unwrap()).unwrap();
            assert!(contents == plain);
            assert!(gunzip(&Envelope::Gzip.close([head, contents])).unwrap() == plain);
        }
    }

    #[test]
    fn a_gzip_file_with_every_optional_field_is_resealed() {
        let mut encoder = flate2::GzBuilder::new()
            .extra("abc")
            .filename("a")
            .comment("b")
            .write(Vec::new(), Compression::fast());
        encoder.write_all(b"contents").unwrap();
        let mut file = encoder.finish().unwrap();
        let length = file.len();
        file[3] |= 2;
        let header = gzip_header(&file).unwrap();
        file.splice(header - 2..header - 2, [0, 0]);
        file[length - 1] ^= 1;
        assert!(gunzip(&file).is_err());
        Envelope::Gzip.reseal(&mut file);
        assert_eq!(gunzip(&file).unwrap(), b"contents");
    }

    #[test]
    fn a_changed_checkpoint_is_accepted_again() {
        let metadata = Metadata { configuration: "a = 1".into(), ..Metadata::default() };
        let file = checkpoint::to_bytes(&[], &metadata).unwrap();
        let [head, data] = Envelope::Checkpoint.open(&file).unwrap();
        assert!(Envelope::Checkpoint.close([head.clone(), data.clone()]) == file);
        let head = String::from_utf8(head).unwrap().replace("a = 1", "a = 12345").into_bytes();
        let found = checkpoint::parse(&Envelope::Checkpoint.close([head, data]), "f").unwrap();
        assert_eq!(found.metadata.configuration, "a = 12345");
    }

    #[test]
    fn what_is_put_into_a_tar_archive_is_what_comes_out() {
        let mut header = [0; TAR_BLOCK];
        header[..3].copy_from_slice(b"a/b");
        header[124..135].copy_from_slice(b"00000001004");
        let contents: Vec<u8> = (0..516).map(|i| i as u8).collect();
        let mut file = Envelope::Tar.close([header.to_vec(), contents.clone()]);
        assert_eq!(file.len(), 5 * TAR_BLOCK);
        let wanted = [rigl_data::archive::Wanted { name: "a/b", bytes: 516 }];
        let read = |file: &[u8]| rigl_data::archive::read(file, "f", &wanted);
        assert!(read(&file).unwrap()[0] == contents);
        let [head, found] = Envelope::Tar.open(&file).unwrap();
        assert_eq!((head.len(), found), (TAR_BLOCK, contents));
        file[100] = b'7';
        assert!(read(&file).is_err());
        Envelope::Tar.reseal(&mut file);
        assert!(read(&file).is_ok());
    }

    #[test]
    fn what_is_too_damaged_is_left_alone() {
        for envelope in [Envelope::Gzip, Envelope::Checkpoint, Envelope::Tar] {
            for file in
                [&[][..], &[0x1f, 0x8b], &[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0, 255, 255], &[255; 9], &[0; 8]]
            {
                let mut changed = file.to_vec();
                envelope.reseal(&mut changed);
                assert_eq!(changed, file);
            }
        }
    }
}
