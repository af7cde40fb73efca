//! Files of records of one length, each a few bytes, the label among them, and then an image: the layout of CIFAR's
//! binary files. What fits is held in memory as it lies in the files; what does not is read record by record, by
//! positioned reads, when it is asked for. Both give the same samples.
//!
//! Limits: a file holds a whole number of records, at least one. Labels of files held in memory are checked when
//! they are opened, those of others as they are read.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rigl_base::{Error, Result};

use crate::dataset::{Dataset, Sample, Spec, no_such_sample};
use crate::positioned::{open, read_at};

/// What a record is made of.
#[derive(Clone, Debug)]
pub struct RecordFormat {
    /// What the samples are like.
    pub spec: Spec,
    /// Bytes before the image.
    pub header: usize,
    /// Which of them is the label.
    pub label: usize,
}

impl RecordFormat {
    /// Bytes of a record.
    fn len(&self) -> Result<usize> {
        let image = self.spec.sample_len().filter(|&len| len > 0);
        image.and_then(|len| len.checked_add(self.header)).filter(|_| self.label < self.header).ok_or_else(
            || {
                Error::data(format!(
                    "data set `{}`: images of shape {:?} behind a label, byte {} of {}; allowed are sides from 1 \
                     up and a label that is one of the bytes",
                    self.spec.name, self.spec.shape, self.label, self.header
                ))
            },
        )
    }
}

/// Samples in one or several files of records, in their order.
///
/// Always so: every part holds a whole number of records, and `end` is the number of those up to its end.
#[derive(Debug)]
pub struct Records {
    format: RecordFormat,
    record: usize,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    /// What messages call it.
    name: String,
    /// The number of samples in this part and those before it.
    end: usize,
    stored: Stored,
}

#[derive(Debug)]
enum Stored {
    Memory(Vec<u8>),
    File(File),
}

impl Records {
    /// Opens files of records. If they have at most `in_memory` bytes together they are read now, else as they are
    /// needed.
    ///
    /// # Errors
    /// [`Kind::Environment`](rigl_base::Kind::Environment) if a file cannot be read;
    /// [`Kind::Data`](rigl_base::Kind::Data) if one is no file of such records.
    pub fn open(format: RecordFormat, paths: &[PathBuf], in_memory: u64) -> Result<Records> {
        let mut files = Vec::with_capacity(paths.len());
        let mut total = 0u64;
        for path in paths {
            let (file, bytes) = open(path)?;
            total = total.saturating_add(bytes);
            files.push((path, file, bytes));
        }
        let mut records = Records::empty(format)?;
        for (path, file, bytes) in files {
            let name = path.display().to_string();
            if total > in_memory {
                records.push(name, bytes, Stored::File(file))?;
                continue;
            }
            let mut contents = Vec::new();
            file.take(bytes).read_to_end(&mut contents).map_err(|e| Error::io("cannot read", path, e))?;
            records.push(name, contents.len() as u64, Stored::Memory(contents))?;
        }
        Ok(records)
    }

    /// Records that are in memory already: contents of files, each with what messages call it.
    ///
    /// # Errors
    /// [`Kind::Data`](rigl_base::Kind::Data) if one is no file of such records.
    pub fn from_memory(format: RecordFormat, files: Vec<(String, Vec<u8>)>) -> Result<Records> {
        let mut records = Records::empty(format)?;
        for (name, contents) in files {
            records.push(name, contents.len() as u64, Stored::Memory(contents))?;
        }
        Ok(records)
    }

    fn empty(format: RecordFormat) -> Result<Records> {
        Ok(Records { record: format.len()?, format, parts: Vec::new() })
    }

    fn push(&mut self, name: String, bytes: u64, stored: Stored) -> Result<()> {
        let record = self.record as u64;
        if bytes == 0 || !bytes.is_multiple_of(record) {
            return Err(Error::data(format!(
                "`{name}` has {bytes} bytes, expected a whole number of records of {record}, at least one"
            )));
        }
        if let Stored::Memory(contents) = &stored {
            for (i, record) in contents.chunks_exact(self.record).enumerate() {
                self.check_label(&name, i, record[self.format.label])?;
            }
        }
        let end = usize::try_from(bytes / record).ok().and_then(|count| self.len().checked_add(count));
        let end = end.ok_or_else(|| Error::data(format!("`{name}`: too many records")))?;
        self.parts.push(Part { name, end, stored });
        Ok(())
    }

    fn check_label(&self, name: &str, record: usize, label: u8) -> Result<()> {
        let classes = self.format.spec.classes.len();
        if usize::from(label) < classes {
            return Ok(());
        }
        Err(Error::data(format!(
            "`{name}`: label {label} of sample {record}, allowed are labels below {classes}"
        )))
    }
}

impl Dataset for Records {
    fn spec(&self) -> &Spec {
        &self.format.spec
    }

    fn len(&self) -> usize {
        self.parts.last().map_or(0, |part| part.end)
    }

    fn is_held(&self) -> bool {
        self.parts.iter().all(|part| matches!(part.stored, Stored::Memory(_)))
    }

    fn read(&self, index: usize, into: &mut Sample) -> Result<()> {
        let at = self.parts.partition_point(|part| part.end <= index);
        let part = self.parts.get(at).ok_or_else(|| no_such_sample(self, index))?;
        let local = index - if at == 0 { 0 } else { self.parts[at - 1].end };
        let RecordFormat { header, label, .. } = self.format;
        into.image.clear();
        into.numbers.clear();
        let label = match &part.stored {
            Stored::Memory(contents) => {
                let record = &contents[local * self.record..][..self.record];
                into.image.extend_from_slice(&record[header..]);
                record[label]
            }
            Stored::File(file) => {
                into.image.resize(self.record, 0);
                let offset = local as u64 * self.record as u64;
                read_at(file, &mut into.image, offset)
                    .map_err(|e| Error::io("cannot read", Path::new(&part.name), e))?;
                let label = into.image[label];
                self.check_label(&part.name, local, label)?;
                into.image.drain(..header);
                label
            }
        };
        into.label = u32::from(label);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rigl_base::{Kind, files};

    use super::*;

    /// Two bytes, the second the label, and an image of four.
    fn format() -> RecordFormat {
        RecordFormat { spec: Spec::new("t", [1, 2, 2], ["a", "b", "c"]), header: 2, label: 1 }
    }

    fn records(count: u8) -> Vec<u8> {
        (0..count).flat_map(|i| [99, i % 3, i, i + 1, i + 2, i + 3]).collect()
    }

    fn written(folder: &Path, contents: &[Vec<u8>]) -> Vec<PathBuf> {
        let write = |(i, bytes): (usize, &Vec<u8>)| {
            let path = folder.join(format!("part{i}.bin"));
            files::write_atomic(&path, bytes).unwrap();
            path
        };
        contents.iter().enumerate().map(write).collect()
    }

    #[test]
    fn samples_are_the_same_held_in_memory_read_from_files_or_handed_over() {
        let folder = tempfile::tempdir().unwrap();
        let parts = [records(5), records(1), records(7)];
        let paths = written(folder.path(), &parts);
        let memory = Records::open(format(), &paths, 78).unwrap();
        let files = Records::open(format(), &paths, 77).unwrap();
        assert!(memory.parts.iter().all(|part| matches!(part.stored, Stored::Memory(_))));
        assert!(files.parts.iter().all(|part| matches!(part.stored, Stored::File(_))));
        let named = parts.iter().map(|bytes| ("f".to_string(), bytes.clone())).collect();
        let handed = Records::from_memory(format(), named).unwrap();
        // From the largest buffer to the smallest: what it held must not shine through.
        let mut sample = Sample { image: vec![7; 50], label: 9, ..Sample::default() };
        for set in [&memory, &files, &handed] {
            assert_eq!(set.len(), 13);
            for (index, i) in [0, 1, 2, 3, 4, 0, 0, 1, 2, 3, 4, 5, 6u8].into_iter().enumerate() {
                set.read(index, &mut sample).unwrap();
                let image = vec![i, i + 1, i + 2, i + 3];
                assert_eq!(sample, Sample { image, label: u32::from(i % 3), ..Sample::default() }, "{index}");
            }
            assert_eq!(set.read(13, &mut sample).unwrap_err().kind(), Kind::Internal);
        }
    }

    #[test]
    fn several_threads_read_from_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let set = Arc::new(Records::open(format(), &written(folder.path(), &[records(200)]), 0).unwrap());
        let threads = (0..4).map(|t| {
            let set = Arc::clone(&set);
            std::thread::spawn(move || {
                let mut sample = Sample::default();
                for i in (0..2000).map(|i| (i * 7 + t * 13) % 200) {
                    set.read(i, &mut sample).unwrap();
                    assert_eq!((usize::from(sample.image[0]), sample.label as usize), (i, i % 3));
                }
            })
        });
        threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn files_that_hold_no_whole_records_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for (bytes, found) in [(vec![], 0), (vec![0; 5], 5), (vec![0; 13], 13)] {
            let paths = written(folder.path(), &[records(2), bytes]);
            for in_memory in [0, u64::MAX] {
                let error = Records::open(format(), &paths, in_memory).unwrap_err();
                assert_eq!(error.kind(), Kind::Data);
                assert_eq!(
                    error.to_string(),
                    format!(
                        "`{}` has {found} bytes, expected a whole number of records of 6, at least one",
                        paths[1].display()
                    )
                );
            }
        }
        let kind = |path: &Path| Records::open(format(), &[path.to_path_buf()], 0).unwrap_err().kind();
        assert_eq!(kind(folder.path()), Kind::Environment);
        assert_eq!(kind(&folder.path().join("none")), Kind::Environment);
    }

    #[test]
    fn a_label_without_a_class_is_refused_when_it_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let mut bad = records(4);
        bad[2 * 6 + 1] = 3;
        let paths = written(folder.path(), &[bad]);
        let expected = format!("`{}`: label 3 of sample 2, allowed are labels below 3", paths[0].display());
        let error = Records::open(format(), &paths, 1000).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (Kind::Data, expected.clone()));
        let set = Records::open(format(), &paths, 0).unwrap();
        let mut sample = Sample::default();
        set.read(1, &mut sample).unwrap();
        assert_eq!(set.read(2, &mut sample).unwrap_err().to_string(), expected);
        set.read(3, &mut sample).unwrap();
        assert_eq!(sample.image, [3, 4, 5, 6]);
    }

    #[test]
    fn a_file_cut_short_while_it_is_used_is_an_error_of_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let paths = written(folder.path(), &[records(4)]);
        let set = Records::open(format(), &paths, 0).unwrap();
        files::open_lock_file(&paths[0]).unwrap().set_len(20).unwrap();
        let mut sample = Sample::default();
        set.read(2, &mut sample).unwrap();
        assert_eq!(set.read(3, &mut sample).unwrap_err().kind(), Kind::Environment);
    }

    #[test]
    fn formats_that_make_no_sense_are_refused() {
        let refused = |shape: [usize; 3], header, label| {
            let format = RecordFormat { spec: Spec::new("t", shape, ["a"]), header, label };
            Records::from_memory(format, Vec::new()).unwrap_err().kind()
        };
        assert_eq!(refused([1, 2, 2], 1, 1), Kind::Data);
        assert_eq!(refused([1, 0, 2], 1, 0), Kind::Data);
        assert_eq!(refused([usize::MAX, 2, 2], 1, 0), Kind::Data);
    }
}
