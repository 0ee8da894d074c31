//! The append-only log behind one collection.
//!
//! A log is a sequence of frames: payload length (u32, little endian), CRC-32 of the payload (u32,
//! little endian), payload (a protobuf [`Record`]). Appends are serialised by the caller and
//! synced before they return, so that at most one unacknowledged frame can be torn by a crash.
//! Replay cuts such a tail off and refuses to open a log that is damaged anywhere else.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use qdrant_client::qdrant::{
    CreateCollection, CreateFieldIndexCollection, DeleteFieldIndexCollection, PointsIdsList,
    UpsertPoints,
};

const HEADER_BYTES: u64 = 8;

/// One durable change of a collection. The first record of a log is always `Create`.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    /// What happened; absent only in a log written by a newer version.
    #[prost(oneof = "Operation", tags = "1, 2, 3, 4, 5")]
    pub operation: Option<Operation>,
}

/// The kinds of change, carried in the messages of the protocol itself.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Operation {
    /// The collection with its vector size and distance.
    #[prost(message, boxed, tag = "1")]
    Create(Box<CreateCollection>),
    /// Points written whole; the last one wins.
    #[prost(message, tag = "2")]
    Upsert(UpsertPoints),
    /// Points removed, already resolved to ids so that a replay needs no filter.
    #[prost(message, tag = "3")]
    Delete(PointsIdsList),
    /// A payload field declared as indexed.
    #[prost(message, tag = "4")]
    CreateIndex(CreateFieldIndexCollection),
    /// Such a declaration taken back.
    #[prost(message, tag = "5")]
    DeleteIndex(DeleteFieldIndexCollection),
}

impl Operation {
    /// The encoded record, ready for [`Log::append`].
    pub fn into_record(self) -> (Vec<u8>, Self) {
        let record = Record {
            operation: Some(self),
        };
        let bytes = record.encode_to_vec();
        let operation = record
            .operation
            .expect("the operation was set two lines above");
        (bytes, operation)
    }
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// The log.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A frame in the middle is unreadable, so what follows it cannot be trusted.
    #[error(
        "{path} is damaged at byte {offset}: {reason}; restore the file or move it away to start that collection empty"
    )]
    Damaged {
        /// The log.
        path: PathBuf,
        /// Where the unreadable frame begins.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// An open log, positioned at its end.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    length: u64,
    /// Set when the file's state is unknown after a failed write or sync; nothing may follow.
    broken: bool,
}

impl Log {
    /// Writes a new log with these records in one step: a reader sees all of it or none.
    ///
    /// # Errors
    /// Any failure of the file system; no log is left behind under `path` unless the final sync of
    /// the folder failed.
    pub fn create(path: &Path, records: impl Iterator<Item = Vec<u8>>) -> io::Result<Self> {
        let draft = path.with_extension("log.tmp");
        let mut writer = BufWriter::new(File::create(&draft)?);
        let mut length = 0;
        for payload in records {
            let header = header(&payload)?;
            writer.write_all(&header)?;
            writer.write_all(&payload)?;
            length += HEADER_BYTES + payload.len() as u64;
        }
        let file = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        sync_folder(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            broken: false,
        })
    }

    /// Opens a log and hands every record to `apply`, oldest first. A torn tail is kept aside as
    /// `<name>.log.torn` and cut off.
    ///
    /// # Errors
    /// [`OpenError::Io`] from the file system, [`OpenError::Damaged`] for an unreadable frame that
    /// is not the last one, or for a record that `apply` refuses.
    pub fn open(
        path: &Path,
        mut apply: impl FnMut(Operation) -> Result<(), String>,
    ) -> Result<Self, OpenError> {
        let io_error = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        let damaged = |offset, reason| OpenError::Damaged {
            path: path.to_owned(),
            offset,
            reason,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(io_error)?;
        let total = file.metadata().map_err(io_error)?.len();
        let mut reader = BufReader::new(&file);
        let mut offset = 0;
        loop {
            match read_frame(&mut reader, total - offset).map_err(io_error)? {
                Frame::Whole(payload) => {
                    let operation = Record::decode(payload.as_slice())
                        .map_err(|error| damaged(offset, error.to_string()))?
                        .operation
                        .ok_or_else(|| damaged(offset, "an unknown kind of record".to_owned()))?;
                    apply(operation).map_err(|reason| damaged(offset, reason))?;
                    offset += HEADER_BYTES + payload.len() as u64;
                }
                Frame::End => break,
                Frame::Torn => {
                    cut_tail(path, &file, offset, total).map_err(io_error)?;
                    break;
                }
                Frame::Damaged => {
                    let reason = "checksum mismatch before the end of the file".to_owned();
                    return Err(damaged(offset, reason));
                }
            }
        }
        drop(reader);
        let mut file = file;
        file.seek(SeekFrom::Start(offset)).map_err(io_error)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length: offset,
            broken: false,
        })
    }

    /// Appends one encoded record and returns once it is on disk.
    ///
    /// # Errors
    /// The record is not part of the log then. Where even that cannot be guaranteed, the log
    /// refuses every further append until the process has been restarted.
    pub fn append(&mut self, payload: &[u8]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other(format!(
                "{} could not be written before and its end is unknown; restart the process",
                self.path.display()
            )));
        }
        let mut frame = Vec::with_capacity(payload.len() + 8);
        frame.extend_from_slice(&header(payload)?);
        frame.extend_from_slice(payload);
        if let Err(error) = self.file.write_all(&frame) {
            // A full disk leaves half a frame; later frames must not follow it.
            self.broken = self.rewind().is_err();
            return Err(error);
        }
        if let Err(error) = self.file.sync_data() {
            // After a failed sync the kernel may have dropped the pages: nothing is certain.
            self.broken = true;
            return Err(error);
        }
        self.length += frame.len() as u64;
        Ok(())
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.sync_all()
    }

    /// Replaces the log by one that holds just these records.
    ///
    /// # Errors
    /// Failures before the replacement leave the old log in use; a failed sync of the folder
    /// afterwards closes the log for writing.
    pub fn rewrite(&mut self, records: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
        match Self::create(&self.path.clone(), records) {
            Ok(log) => {
                *self = log;
                Ok(())
            }
            Err(error) => {
                // The rename may have happened: appending to the unlinked file would lose writes.
                self.broken = !same_file(&self.file, &self.path);
                Err(error)
            }
        }
    }

    /// Removes the file for good.
    ///
    /// # Errors
    /// Any failure of the file system.
    pub fn remove(&mut self) -> io::Result<()> {
        std::fs::remove_file(&self.path)?;
        self.broken = true;
        sync_folder(&self.path)
    }

    /// Bytes on disk.
    pub fn length(&self) -> u64 {
        self.length
    }
}

enum Frame {
    Whole(Vec<u8>),
    End,
    Torn,
    Damaged,
}

/// Reads the next frame, of which at most `remaining` bytes can exist.
fn read_frame(reader: &mut impl BufRead, remaining: u64) -> io::Result<Frame> {
    if remaining == 0 {
        return Ok(Frame::End);
    }
    if remaining < HEADER_BYTES {
        return Ok(Frame::Torn);
    }
    let mut header = [0_u8; 8];
    reader.read_exact(&mut header)?;
    let [l0, l1, l2, l3, c0, c1, c2, c3] = header;
    let length = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
    let rest = remaining - HEADER_BYTES;
    if length > rest {
        return Ok(Frame::Torn);
    }
    if length == 0 {
        // No record is empty; a crash of the machine can leave a file extended by zeros.
        let zeros = reader.bytes().all(|byte| matches!(byte, Ok(0)));
        return Ok(if zeros && header == [0; 8] {
            Frame::Torn
        } else {
            Frame::Damaged
        });
    }
    let mut payload = Vec::new();
    reader.take(length).read_to_end(&mut payload)?;
    if crc32(&payload) == u32::from_le_bytes([c0, c1, c2, c3]) {
        Ok(Frame::Whole(payload))
    } else if length == rest {
        Ok(Frame::Torn)
    } else {
        Ok(Frame::Damaged)
    }
}

fn cut_tail(path: &Path, mut file: &File, offset: u64, total: u64) -> io::Result<()> {
    let aside = path.with_extension("log.torn");
    file.seek(SeekFrom::Start(offset))?;
    io::copy(&mut file, &mut File::create(&aside)?)?;
    file.set_len(offset)?;
    file.sync_all()?;
    tracing::warn!(
        log = %path.display(), bytes = total - offset, kept = %aside.display(),
        "cut off an unfinished record that was never acknowledged"
    );
    Ok(())
}

fn header(payload: &[u8]) -> io::Result<[u8; 8]> {
    let length = u32::try_from(payload.len())
        .map_err(|_| io::Error::other("a record cannot exceed 4 GiB"))?;
    let [l0, l1, l2, l3] = length.to_le_bytes();
    let [c0, c1, c2, c3] = crc32(payload).to_le_bytes();
    Ok([l0, l1, l2, l3, c0, c1, c2, c3])
}

/// Makes a rename or removal durable, which on POSIX needs a sync of the folder.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// CRC-32 as in ISO 3309 and zlib (reflected polynomial 0xEDB88320).
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc = CRC_TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8);
    }
    !crc
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0_u32; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                (value >> 1) ^ 0xEDB8_8320
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn delete(number: u64) -> Operation {
        Operation::Delete(PointsIdsList {
            ids: vec![number.into()],
        })
    }

    fn log_of(path: &Path, numbers: &[u64]) {
        Log::create(
            path,
            numbers.iter().map(|&number| delete(number).into_record().0),
        )
        .unwrap();
    }

    fn replay(path: &Path) -> Result<Vec<Operation>, OpenError> {
        let mut seen = Vec::new();
        Log::open(path, |operation| {
            seen.push(operation);
            Ok(())
        })?;
        Ok(seen)
    }

    #[test]
    fn checksum_matches_the_published_check_value() {
        // "123456789" -> CBF43926 is the check value of CRC-32/ISO-HDLC in the CRC catalogue.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn every_possible_torn_tail_keeps_the_acknowledged_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.log");
        log_of(&path, &[1, 2]);
        let acknowledged = std::fs::metadata(&path).unwrap().len() as usize;
        log_of(&path, &[1, 2, 3]);
        let whole = std::fs::read(&path).unwrap();
        for length in acknowledged..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(
                replay(&path).unwrap(),
                vec![delete(1), delete(2)],
                "cut at {length}"
            );
            assert_eq!(
                std::fs::metadata(&path).unwrap().len() as usize,
                acknowledged
            );
        }
    }

    #[test]
    fn zeros_after_the_last_record_are_a_torn_tail() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.log");
        log_of(&path, &[1]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(&[0; 4096]);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(replay(&path).unwrap(), vec![delete(1)]);
    }

    #[test]
    fn damage_in_the_middle_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.log");
        log_of(&path, &[1, 2]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[9] ^= 0xFF;
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(
            replay(&path),
            Err(OpenError::Damaged { offset: 0, .. })
        ));
    }

    #[test]
    fn appends_after_a_cut_tail_and_a_rewrite_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.log");
        log_of(&path, &[1]);
        OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(&[7, 0, 0])
            .unwrap();
        let mut log = Log::open(&path, |_| Ok(())).unwrap();
        log.append(&delete(2).into_record().0).unwrap();
        log.rewrite([delete(5).into_record().0].into_iter())
            .unwrap();
        log.append(&delete(6).into_record().0).unwrap();
        assert_eq!(log.length(), std::fs::metadata(&path).unwrap().len());
        assert_eq!(replay(&path).unwrap(), vec![delete(5), delete(6)]);
    }
}
