//! Arrays of numbers in MATLAB files of level 5 (MathWorks, "MAT-File Format", R2023a), compressed
//! or not, one after the other and without holding any of them in memory.

use std::io::{self, Read};

use anyhow::{Context as _, Result, bail, ensure};
use flate2::bufread::ZlibDecoder;

use super::thousands;

/// Bytes before the first element: text, and at the end version and byte order.
const HEADER: usize = 128;
const COMPRESSED: u32 = 15;
const MATRIX: u32 = 14;
/// What names and sizes of an array take at most.
const MOST_DESCRIPTION: usize = 4096;

/// How numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    F32,
    F64,
    I64,
    U64,
}

impl Stored {
    fn from_type(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::I8,
            2 => Self::U8,
            3 => Self::I16,
            4 => Self::U16,
            5 => Self::I32,
            6 => Self::U32,
            7 => Self::F32,
            9 => Self::F64,
            12 => Self::I64,
            13 => Self::U64,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }
}

/// The order of bytes in numbers.
#[derive(Clone, Copy, Debug)]
struct Order {
    big: bool,
}

impl Order {
    fn array<const N: usize>(self, mut bytes: [u8; N]) -> [u8; N] {
        if self.big {
            bytes.reverse();
        }
        bytes
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        u32::from_le_bytes(self.array(bytes))
    }
}

/// An array that is passed over, having no numbers.
pub(super) struct PassedOver {
    /// Its name.
    pub(super) name: String,
    /// What it is, for people.
    pub(super) what: &'static str,
}

/// One array, whose numbers follow.
pub(super) struct Array<'a> {
    /// Its name.
    pub(super) name: String,
    /// Its sizes; the first runs fastest.
    pub(super) sizes: Vec<usize>,
    /// How its numbers are stored.
    pub(super) stored: Stored,
    order: Order,
    from: &'a mut dyn Read,
}

impl Array<'_> {
    /// How many numbers it has.
    fn len(&self) -> Option<usize> {
        self.sizes.iter().try_fold(1_usize, |product, size| product.checked_mul(*size))
    }

    /// `uint8 [32, 32, 3, 100]`, for people.
    pub(super) fn describe(&self) -> String {
        format!("{:?} {:?}", self.stored, self.sizes)
    }

    /// Reads the next bytes of an array of bytes.
    pub(super) fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.from.read_exact(bytes)
    }

    /// Hands all numbers to `take`, one after the other; none is kept, however many a file claims.
    pub(super) fn numbers(&mut self, mut take: impl FnMut(usize, f64) -> Result<()>) -> Result<()> {
        let count = self.len().context("it is too large")?;
        let mut bytes = [0; 8];
        for at in 0..count {
            self.from
                .read_exact(&mut bytes[..self.stored.bytes()])
                .context("the data ends early")?;
            let [a, b, c, d, ..] = bytes;
            let (one, two, four) = ([a], [a, b], [a, b, c, d]);
            let number = match self.stored {
                Stored::I8 => f64::from(i8::from_le_bytes(one)),
                Stored::U8 => f64::from(a),
                Stored::I16 => f64::from(i16::from_le_bytes(self.order.array(two))),
                Stored::U16 => f64::from(u16::from_le_bytes(self.order.array(two))),
                Stored::I32 => f64::from(i32::from_le_bytes(self.order.array(four))),
                Stored::U32 => f64::from(self.order.u32(four)),
                Stored::F32 => f64::from(f32::from_le_bytes(self.order.array(four))),
                Stored::F64 => f64::from_le_bytes(self.order.array(bytes)),
                Stored::I64 => i64::from_le_bytes(self.order.array(bytes)) as f64,
                Stored::U64 => u64::from_le_bytes(self.order.array(bytes)) as f64,
            };
            take(at, number)?;
        }
        Ok(())
    }
}

/// Hands every array of real numbers to `visit`, which says whether it read all of its numbers.
/// Anything else in the file is passed over; gives what has a name.
///
/// # Errors
/// If the file is of another level, or not whole.
pub(super) fn arrays(
    mut from: impl io::BufRead,
    mut visit: impl FnMut(&mut Array<'_>) -> Result<bool>,
) -> Result<Vec<PassedOver>> {
    let mut others = Vec::new();
    let order = header(&mut from)?;
    let mut at = HEADER as u64;
    while let Some((kind, bytes)) = next(&mut from, order, at)? {
        let place = || format!("the element at byte {}", thousands(at));
        let mut element = (&mut from).take(bytes.into());
        match kind {
            MATRIX => {
                matrix(&mut element, order, &mut visit, &mut others).with_context(place)?;
            }
            COMPRESSED => {
                let mut unpacked = ZlibDecoder::new(&mut element);
                let mut tag = [0; 8];
                unpacked.read_exact(&mut tag).with_context(place)?;
                let [kind, _] = pair(tag, order);
                if kind == MATRIX
                    && matrix(&mut unpacked, order, &mut visit, &mut others).with_context(place)?
                {
                    // Behind the padding is the checksum of all that was read.
                    let rest = io::copy(&mut (&mut unpacked).take(64), &mut io::sink());
                    ensure!(rest.with_context(place)? < 64, "{} is too long", place());
                }
            }
            _ => {}
        }
        let left = element.limit();
        let passed = io::copy(&mut element, &mut io::sink())?;
        ensure!(passed == left, "{} is cut: the file ends within it", place());
        // Elements that are not compressed are filled up to eight bytes, with all of their parts.
        at += 8 + u64::from(bytes);
    }
    Ok(others)
}

/// Checks what the file begins with.
fn header(from: &mut impl Read) -> Result<Order> {
    let mut header = [0; HEADER];
    let mut filled = 0;
    while filled < HEADER {
        match from.read(&mut header[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    let hdf5 = b"\x89HDF\r\n\x1a\n";
    if header.starts_with(b"MATLAB 7.3") || header.starts_with(hdf5) {
        bail!(
            "it is a MATLAB file of level 7.3 (HDF5), and level 5 is read: save it again with \
             `save(file, 'X', 'y', '-v7')` in MATLAB, or with scipy.io.savemat in Python"
        );
    }
    let order = match &header[126..] {
        b"IM" => Order { big: false },
        b"MI" => Order { big: true },
        _ => bail!(
            "it is no MATLAB file of level 5: bytes 126 and 127 are {:02x} {:02x}, expected IM or MI",
            header[126],
            header[127]
        ),
    };
    let version = u16::from_le_bytes(order.array([header[124], header[125]]));
    ensure!(version == 0x0100, "it is a MATLAB file of version {version:#06x}, expected 0x0100");
    Ok(order)
}

/// Type and size of the next element; `None` at the end of the file.
fn next(from: &mut impl io::BufRead, order: Order, at: u64) -> Result<Option<(u32, u32)>> {
    if from.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut tag = [0; 8];
    from.read_exact(&mut tag)
        .with_context(|| format!("the file ends within the tag at byte {}", thousands(at)))?;
    let [kind, bytes] = pair(tag, order);
    Ok(Some((kind, bytes)))
}

fn pair(bytes: [u8; 8], order: Order) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = bytes;
    [order.u32([a, b, c, d]), order.u32([e, f, g, h])]
}

/// Reads what describes an array, and hands it on with its numbers.
fn matrix(
    from: &mut dyn Read,
    order: Order,
    visit: &mut impl FnMut(&mut Array<'_>) -> Result<bool>,
    others: &mut Vec<PassedOver>,
) -> Result<bool> {
    let (_, flags) = part(from, order)?;
    let class = flags.get(..4).and_then(|flags| flags.try_into().ok()).map(|f| order.u32(f));
    // These have other parts than numbers, after the same beginning.
    let passed_over = match class.map(|class| class & 0xff) {
        Some(1) => Some("a list of cells"),
        Some(2) => Some("a structure"),
        Some(3) => Some("an object"),
        Some(4) => Some("text"),
        Some(5) => Some("a sparse array"),
        // Of double, single, and whole numbers of 8 to 64 bits.
        Some(6..=15) => None,
        _ => return Ok(false),
    };
    let (_, sizes) = part(from, order)?;
    let (sizes, _) = sizes.as_chunks::<4>();
    let sizes = sizes.iter().map(|size| order.u32(*size) as usize).collect();
    let (_, name) = part(from, order)?;
    let name = String::from_utf8_lossy(&name).into_owned();
    if let Some(what) = passed_over {
        others.push(PassedOver { name, what });
        return Ok(false);
    }
    let (kind, bytes, inside) = tag(from, order)?;
    let Some(stored) = Stored::from_type(kind) else {
        others.push(PassedOver { name, what: "of numbers that are stored in no known way" });
        return Ok(false);
    };
    let mut inside = inside.as_slice().take(bytes.into());
    let mut outside = from.take(if inside.get_ref().is_empty() { bytes.into() } else { 0 });
    let mut data = (&mut inside).chain(&mut outside);
    let mut array = Array { name, sizes, stored, order, from: &mut data };
    let told = array.describe();
    let expected = array.len().and_then(|len| len.checked_mul(stored.bytes()));
    ensure!(
        expected == usize::try_from(bytes).ok(),
        "{} is said to be {told} and has {} bytes",
        array.name,
        thousands(bytes.into())
    );
    let name = array.name.clone();
    visit(&mut array).with_context(|| format!("its array {name}"))
}

/// Type and size of a part. Up to four bytes may lie in the tag itself.
fn tag(from: &mut dyn Read, order: Order) -> Result<(u32, u32, Vec<u8>)> {
    let mut tag = [0; 8];
    from.read_exact(&mut tag)?;
    let [kind, bytes] = pair(tag, order);
    let small = kind >> 16;
    if small == 0 {
        return Ok((kind, bytes, Vec::new()));
    }
    ensure!(small <= 4, "a part of {small} bytes cannot lie in its tag");
    Ok((kind & 0xffff, small, tag[4..].to_vec()))
}

/// A short part, such as a name.
fn part(from: &mut dyn Read, order: Order) -> Result<(u32, Vec<u8>)> {
    let (kind, bytes, mut inside) = tag(from, order)?;
    let bytes = bytes as usize;
    if inside.is_empty() {
        ensure!(bytes <= MOST_DESCRIPTION, "a name or list of sizes has {bytes} bytes");
        inside = vec![0; bytes.next_multiple_of(8)];
        from.read_exact(&mut inside)?;
    }
    inside.truncate(bytes);
    Ok((kind, inside))
}
