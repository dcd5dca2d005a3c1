//! Whether a JPEG is whole (ITU-T T.81). Decoders show what they can make of a damaged one, shifted
//! or in grey, and say nothing; even zune-jpeg's strict mode does not see most damage. So the
//! compressed numbers are counted here: behind the damage there are more or fewer of them than the
//! picture needs, or codes that mean nothing.

use std::ops::RangeInclusive;

use anyhow::{Result, bail};

/// Bytes behind the last number of a scan that are no sign of damage: there are encoders that fill
/// up to a multiple of two or four.
const SPARE: usize = 3;

const TOO_FEW: &str = "its numbers end too early";
const TOO_MANY: &str = "it has more numbers than pixels";
const NO_CODE: &str = "a code in it means nothing";
const HEADER: &str = "a header is not as it should be";

/// What is wrong, if something is.
type Checked<T = ()> = Result<T, &'static str>;

/// Checks that a JPEG goes on to the mark of its end and has as many numbers as its picture. What
/// lies behind the end, as some cameras leave there, does not matter. Of what no decoder here reads,
/// such as lossless or arithmetic coding, only the marks are looked at.
///
/// # Errors
/// If it ends before, or is damaged.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    let mut file = File { bytes, at: 0 };
    match walk(&mut file) {
        Ok(()) => Ok(()),
        Err(_) if file.at >= bytes.len() => bail!("the JPEG ends in its middle"),
        Err(why) => bail!("it begins as a JPEG and is damaged before byte {}: {why}", file.at),
    }
}

/// Goes from mark to mark until that of the end.
fn walk(file: &mut File<'_>) -> Checked {
    let mut frame: Option<Frame> = None;
    let mut tables: Option<Tables> = None;
    let mut restart = 0;
    loop {
        // What lies between, if no scan has read it, has no mark in it.
        match file.next_mark()? {
            0xd9 => return Ok(()),
            // The beginning, and restarts, are marks alone.
            0x01 | 0xd0..=0xd8 => {}
            0xc4 => tables.get_or_insert_default().define(file.segment()?)?,
            mark @ 0xc0..=0xc2 => frame = Some(Frame::new(file.segment()?, mark == 0xc2)?),
            0xdd => {
                let [high, low] = file.segment()?.try_into().map_err(|_| HEADER)?;
                restart = usize::from(u16::from_be_bytes([high, low]));
            }
            0xda => {
                let header = file.segment()?;
                // Without tables there are those that everybody knows, as in films.
                if let (Some(frame), Some(tables)) = (&mut frame, &tables) {
                    frame.scan(header, tables, restart, file)?;
                }
            }
            _ => drop(file.segment()?),
        }
    }
}

/// A file, and how far it is read.
struct File<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> File<'a> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    /// Goes behind the next mark: 0xff and a byte that is neither that nor 0.
    fn next_mark(&mut self) -> Checked<u8> {
        while self.next_number().is_some() {}
        self.next().and_then(|_| self.next()).ok_or(TOO_FEW)
    }

    /// A byte of the compressed numbers; none at a mark, or at the end.
    fn next_number(&mut self) -> Option<u8> {
        let byte = self.next()?;
        if byte != 0xff {
            return Some(byte);
        }
        // In numbers, 0 follows 0xff, to tell it from a mark's.
        let fill = self.bytes[self.at..].iter().take_while(|byte| **byte == 0xff).count();
        self.at += fill;
        match self.next()? {
            0 => Some(byte),
            _ => {
                self.at -= 2;
                None
            }
        }
    }

    /// What follows a mark, without its length.
    fn segment(&mut self) -> Checked<&'a [u8]> {
        let length = [self.next().ok_or(TOO_FEW)?, self.next().ok_or(TOO_FEW)?];
        let length = usize::from(u16::from_be_bytes(length)).checked_sub(2).ok_or(HEADER)?;
        let start = self.at;
        self.at += length;
        self.bytes.get(start..self.at).ok_or(TOO_FEW)
    }
}

/// The codes of a scan's numbers: up to four tables for the mean of a block, four for the rest.
#[derive(Default)]
struct Tables([[Table; 4]; 2]);

impl Tables {
    fn define(&mut self, mut segment: &[u8]) -> Checked {
        while let Some((place, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(HEADER)?;
            let many = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(many).ok_or(HEADER)?;
            let table = self.0.get_mut(usize::from(place >> 4)).ok_or(HEADER)?;
            *table.get_mut(usize::from(place & 15)).ok_or(HEADER)? = Table::new(counts, symbols);
            segment = rest;
        }
        Ok(())
    }
}

/// The codes of one kind of numbers.
#[derive(Default)]
struct Table {
    /// For each length of codes, where those of this length end, as the first 16 bits of what is
    /// read, and what their numbers and their places among the symbols differ by.
    lengths: [(u32, u32); 16],
    symbols: Vec<u8>,
}

impl Table {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Self {
        let (mut code, mut place) = (0_u32, 0_u32);
        let lengths = std::array::from_fn(|at| {
            let count = u32::from(counts[at]);
            let shift = place.wrapping_sub(code);
            (code, place) = (code + count, place + count);
            let end = code << (15 - at);
            code <<= 1;
            (end, shift)
        });
        Self { lengths, symbols: symbols.to_vec() }
    }
}

/// What a picture consists of.
struct Frame {
    progressive: bool,
    /// Groups of blocks, if a scan has several colours.
    groups: usize,
    colours: Vec<Colour>,
}

/// One colour of a picture: brightness, or one of the two others.
struct Colour {
    id: u8,
    /// Its blocks in a group.
    in_group: usize,
    blocks: usize,
    /// Which numbers of each block are not zero, as earlier scans have it; if there are several.
    seen: Vec<u64>,
}

impl Frame {
    fn new(segment: &[u8], progressive: bool) -> Checked<Self> {
        let &[_, a, b, c, d, _, ref rest @ ..] = segment else { return Err(HEADER) };
        let [high, wide] = [[a, b], [c, d]].map(|side| usize::from(u16::from_be_bytes(side)));
        let (colours, _) = rest.as_chunks::<3>();
        let factors = |sampling: u8| [usize::from(sampling >> 4), usize::from(sampling & 15)];
        let most = |of: usize| colours.iter().map(|[_, sampling, _]| factors(*sampling)[of]).max();
        let (Some(across @ 1..=4), Some(down @ 1..=4)) = (most(0), most(1)) else {
            return Err(HEADER);
        };
        let colour = |&[id, sampling, _]: &[u8; 3]| {
            let [h, v] = factors(sampling);
            let blocks = (wide * h).div_ceil(8 * across) * (high * v).div_ceil(8 * down);
            let seen = vec![0; if progressive { blocks } else { 0 }];
            Colour { id, in_group: h * v, blocks, seen }
        };
        let groups = wide.div_ceil(8 * across) * high.div_ceil(8 * down);
        Ok(Self { progressive, groups, colours: colours.iter().map(colour).collect() })
    }

    /// Reads the numbers of a scan.
    fn scan(
        &mut self,
        header: &[u8],
        tables: &Tables,
        restart: usize,
        file: &mut File<'_>,
    ) -> Checked {
        let Some((colours, &[first, last, successive])) = header.split_last_chunk::<3>() else {
            return Err(HEADER);
        };
        let (colours, _) = colours.get(1..).ok_or(HEADER)?.as_chunks::<2>();
        // The blocks of a group, each with its colour and its tables.
        let mut group = Vec::new();
        for [id, places] in colours {
            let colour = self.colours.iter().position(|colour| colour.id == *id).ok_or(HEADER)?;
            let table = |kind: usize, place: u8| tables.0[kind].get(usize::from(place));
            let dc = table(0, places >> 4).ok_or(HEADER)?;
            let ac = table(1, places & 15).ok_or(HEADER)?;
            let blocks = if colours.len() == 1 { 1 } else { self.colours[colour].in_group };
            group.extend(std::iter::repeat_n((colour, dc, ac), blocks));
        }
        let count = match group.as_slice() {
            [] => return Err(HEADER),
            [(colour, ..)] if colours.len() == 1 => self.colours[*colour].blocks,
            _ => self.groups,
        };
        let (band, refines) = (first..=last, successive >> 4 != 0);
        if self.progressive && (last > 63 || first > last || (first > 0 && colours.len() > 1)) {
            return Err(HEADER);
        }
        let mut bits = Bits { file, buffer: 0, count: 0 };
        let mut run = 0;
        for number in 0..count {
            if restart > 0 && number > 0 && number % restart == 0 {
                bits.restart()?;
                run = 0;
            }
            for (colour, dc, ac) in &group {
                match (self.progressive, first) {
                    (false, _) => bits.block(dc, ac)?,
                    (true, 0) if refines => drop(bits.take(1)?),
                    (true, 0) => bits.mean(dc)?,
                    (true, _) => {
                        let seen = &mut self.colours[*colour].seen[number];
                        if refines {
                            bits.refine(ac, &band, &mut run, seen)?;
                        } else {
                            bits.rest(ac, &band, &mut run, seen)?;
                        }
                    }
                }
            }
        }
        bits.end()
    }
}

/// The numbers of a scan, bit by bit.
struct Bits<'f, 'a> {
    file: &'f mut File<'a>,
    buffer: u64,
    count: u32,
}

impl Bits<'_, '_> {
    fn fill(&mut self) {
        while self.count <= 48
            && let Some(byte) = self.file.next_number()
        {
            self.buffer = self.buffer << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    fn take(&mut self, count: u32) -> Checked<u32> {
        if self.count < count {
            self.fill();
        }
        self.count = self.count.checked_sub(count).ok_or(TOO_FEW)?;
        Ok((self.buffer >> self.count) as u32 & ((1 << count) - 1))
    }

    fn symbol(&mut self, table: &Table) -> Checked<u8> {
        if self.count < 16 {
            self.fill();
        }
        // Behind the last, as if there were zeros.
        let ahead = match self.count.checked_sub(16) {
            Some(more) => self.buffer >> more,
            None => self.buffer << (16 - self.count),
        } as u32
            & 0xffff;
        for (length, (end, shift)) in (1..).zip(table.lengths) {
            if ahead < end {
                let place = (ahead >> (16 - length)).wrapping_add(shift);
                self.take(length)?;
                return table.symbols.get(place as usize).copied().ok_or(NO_CODE);
            }
        }
        Err(if self.count < 16 { TOO_FEW } else { NO_CODE })
    }

    /// All numbers of a block.
    fn block(&mut self, dc: &Table, ac: &Table) -> Checked {
        self.mean(dc)?;
        let mut run = 0;
        self.rest(ac, &(1..=63), &mut run, &mut 0)?;
        // Only in scans one after another does the end of a block end others.
        if run == 0 { Ok(()) } else { Err(NO_CODE) }
    }

    /// A block's first number: by how many bits it differs from that of the block before, and these.
    fn mean(&mut self, table: &Table) -> Checked {
        let size = self.symbol(table)?;
        if size > 16 {
            return Err(NO_CODE);
        }
        self.take(size.into()).map(drop)
    }

    /// The numbers of a block in this band: how many zeros are before each, how many bits it has,
    /// and these. With no bits, the rest of this block and of a run of others is zeros.
    fn rest(
        &mut self,
        table: &Table,
        band: &RangeInclusive<u8>,
        run: &mut u32,
        seen: &mut u64,
    ) -> Checked {
        if *run > 0 {
            *run -= 1;
            return Ok(());
        }
        let mut at = *band.start();
        while at <= *band.end() {
            let symbol = self.symbol(table)?;
            match (symbol >> 4, symbol & 15) {
                (15, 0) => at += 16,
                (run_bits, 0) => {
                    *run = (1 << run_bits) - 1 + self.take(run_bits.into())?;
                    return Ok(());
                }
                (zeros, size) => {
                    at += zeros;
                    if at > *band.end() {
                        return Err(TOO_MANY);
                    }
                    self.take(size.into())?;
                    *seen |= 1 << at;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// One bit more for each number of a block that is not zero, and the numbers that are no longer.
    fn refine(
        &mut self,
        table: &Table,
        band: &RangeInclusive<u8>,
        run: &mut u32,
        seen: &mut u64,
    ) -> Checked {
        let mut at = *band.start();
        while *run == 0 && at <= *band.end() {
            let symbol = self.symbol(table)?;
            let (mut zeros, size) = (symbol >> 4, symbol & 15);
            if size == 0 && zeros < 15 {
                *run = (1 << zeros) + self.take(zeros.into())?;
                break;
            }
            if size > 1 {
                return Err(NO_CODE);
            }
            self.take(size.into())?;
            while at <= *band.end() && (*seen >> at & 1 == 1 || zeros > 0) {
                if *seen >> at & 1 == 1 {
                    self.take(1)?;
                } else {
                    zeros -= 1;
                }
                at += 1;
            }
            if size == 1 {
                if at > *band.end() {
                    return Err(TOO_MANY);
                }
                *seen |= 1 << at;
            }
            at += 1;
        }
        if *run > 0 {
            *run -= 1;
            for at in at..=*band.end() {
                self.take((*seen >> at & 1) as u32)?;
            }
        }
        Ok(())
    }

    /// Goes behind the mark of a restart.
    fn restart(&mut self) -> Checked {
        self.end()?;
        match self.file.next_mark()? {
            0xd0..=0xd7 => Ok(()),
            _ => Err(TOO_FEW),
        }
    }

    /// Nothing may be left but the rest of the last byte.
    fn end(&mut self) -> Checked {
        let mut left = self.count as usize / 8;
        while self.file.next_number().is_some() {
            left += 1;
        }
        self.count = 0;
        if left > SPARE { Err(TOO_MANY) } else { Ok(()) }
    }
}
