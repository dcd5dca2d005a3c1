//! The framing of event files: length, checksum of the length, data, checksum of the data.

use std::io::{self, Read};
use std::ops::Range;

/// Bytes before a record's data: its length and the length's checksum.
const HEADER: usize = 12;
/// Bytes after a record's data: its checksum.
const FOOTER: usize = 4;

/// The checksum of some bytes, masked: a CRC over bytes that hold CRCs of their own is weak.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The bytes of one record.
pub fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(HEADER + data.len() + FOOTER);
    bytes.extend(length);
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(data);
    bytes.extend(masked_crc(data).to_le_bytes());
    bytes
}

/// One record of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it lies, framing included.
    pub bytes: Range<u64>,
    /// What it holds.
    pub data: Vec<u8>,
}

/// From where on a file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The first byte of the record that is damaged.
    pub at: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

/// The records of a file, up to its end or to the first that is damaged.
#[derive(Debug)]
pub struct Records<R> {
    from: R,
    at: u64,
    damage: Option<Damage>,
    ended: bool,
}

impl<R: Read> Records<R> {
    /// The records of what is read here; worth buffering.
    pub fn new(from: R) -> Self {
        Self { from, at: 0, damage: None, ended: false }
    }

    /// Where and why the records ended before the file did. To be asked after the last record.
    pub fn damage(&self) -> Option<Damage> {
        self.damage
    }

    /// Up to this many bytes: fewer at the end of the file. A length that lies takes no memory.
    fn read(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut self.from).take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The data of the next record; `None` at the end of the file.
    fn record(&mut self) -> io::Result<Result<Option<Vec<u8>>, &'static str>> {
        let header = self.read(HEADER as u64)?;
        if header.is_empty() {
            return Ok(Ok(None));
        }
        let Some((length, crc)) = header.split_first_chunk::<8>() else {
            return Ok(Err("the file ends within a record's length"));
        };
        if crc.len() < HEADER - length.len() {
            return Ok(Err("the file ends within a record's length"));
        }
        if crc != masked_crc(length).to_le_bytes() {
            return Ok(Err("the checksum of a record's length is wrong"));
        }
        let length = u64::from_le_bytes(*length);
        let data = self.read(length)?;
        let crc = self.read(FOOTER as u64)?;
        if (data.len() as u64) < length || crc.len() < FOOTER {
            return Ok(Err("the file ends within a record"));
        }
        if crc != masked_crc(&data).to_le_bytes() {
            return Ok(Err("the checksum of a record is wrong"));
        }
        Ok(Ok(Some(data)))
    }
}

impl<R: Read> Iterator for Records<R> {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let at = self.at;
        match self.record() {
            Ok(Ok(Some(data))) => {
                self.at += (HEADER + data.len() + FOOTER) as u64;
                return Some(Ok(Record { bytes: at..self.at, data }));
            }
            Ok(Ok(None)) => {}
            Ok(Err(what)) => self.damage = Some(Damage { at, what }),
            Err(error) => {
                self.ended = true;
                return Some(Err(error));
            }
        }
        self.ended = true;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(records: &[&[u8]]) -> Vec<u8> {
        records.iter().flat_map(|data| framed(data)).collect()
    }

    fn read(bytes: &[u8]) -> (Vec<Record>, Option<Damage>) {
        let mut records = Records::new(bytes);
        let read = records.by_ref().collect::<io::Result<_>>().expect("memory can be read");
        assert!(records.next().is_none());
        (read, records.damage())
    }

    #[test]
    fn checksums_are_the_known_ones() {
        // The check value of CRC-32C, and RFC 3720's for 32 zeros.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        let masked = 0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(masked_crc(&[0; 32]), masked);
        // The beginning of every event file of 24 bytes in its first record.
        let begins = [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22];
        assert_eq!(file(&[&[0; 24]])[..12], begins);
    }

    #[test]
    fn records_come_back_with_their_places() {
        let (records, damage) = read(&file(&[b"one", b"", b"three"]));
        let expected: [(Range<u64>, &[u8]); 3] =
            [(0..19, b"one"), (19..35, b""), (35..56, b"three")];
        assert_eq!(damage, None);
        assert_eq!(records.len(), expected.len());
        for (record, (bytes, data)) in records.iter().zip(expected) {
            assert_eq!((&record.bytes, &record.data[..]), (&bytes, data));
        }
        assert_eq!(read(&[]), (Vec::new(), None));
    }

    #[test]
    fn a_file_torn_anywhere_gives_what_is_whole() {
        let whole = file(&[b"one", b"", b"three"]);
        let (all, _) = read(&whole);
        for length in 0..whole.len() {
            let (records, damage) = read(&whole[..length]);
            let expected = all.iter().filter(|record| record.bytes.end <= length as u64).count();
            assert_eq!(records, all[..expected], "{length}");
            let end = records.last().map_or(0, |record| record.bytes.end);
            let at = (end < length as u64).then_some(end);
            assert_eq!(damage.map(|damage| damage.at), at, "{length}");
        }
    }

    #[test]
    fn any_changed_byte_is_found() {
        let whole = file(&[b"one", b"two"]);
        let (all, _) = read(&whole);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            let (records, damage) = read(&changed);
            let sound = usize::from(at >= 19);
            assert_eq!(records, all[..sound], "{at}");
            assert_eq!(damage.map(|damage| damage.at), Some(19 * sound as u64), "{at}");
        }
    }

    #[test]
    fn a_length_that_lies_takes_no_memory() {
        let mut bytes = u64::MAX.to_le_bytes().to_vec();
        bytes.extend(masked_crc(&bytes).to_le_bytes());
        bytes.extend(b"little");
        let (records, damage) = read(&bytes);
        assert_eq!(records, []);
        assert_eq!(damage, Some(Damage { at: 0, what: "the file ends within a record" }));
    }
}
