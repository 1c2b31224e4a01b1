//! The circular type: objects by their order of first visit, and references to them.

use super::show::Show;
use catga_memorypack::{Decode, Encode, ErrorKind, Kind, Reader, Result, Shape, Sizer, Writer};
use serde_json::{Value, json};

/// Objects, each holding the next one. The last holds none or one of those before.
#[derive(Clone, Debug, PartialEq)]
pub struct Ring {
    numbers: Vec<i32>,
    /// The index of the object that the last one holds.
    back: Option<usize>,
}

impl Show for Ring {
    fn show(&self) -> Value {
        let last = self.numbers.len() - 1;
        let next = |index| if index == last { self.back } else { Some(index + 1) };
        let object = |(index, number)| json!({ "Id": number, "Next": next(index).map(|next| json!({ "$ref": next })) });
        json!({ "objects": self.numbers.iter().enumerate().map(object).collect::<Vec<_>>() })
    }
}

impl Shape for Ring {
    const KIND: Kind = Kind::Object;
}

/// A reference id in the form of variable length.
fn id(id: usize) -> Vec<u8> {
    match id {
        0..128 => vec![id as u8],
        128..0x1_0000 => [&[0x85][..], &(id as u16).to_le_bytes()].concat(),
        _ => [&[0x83][..], &(id as u32).to_le_bytes()].concat(),
    }
}

impl Ring {
    /// The lengths of the second members, from the first object to the last.
    fn lengths(&self, sizer: &Sizer) -> Vec<usize> {
        let mut lengths = vec![self.back.map_or(1, |back| 1 + id(back).len())];
        for index in (1..self.numbers.len()).rev() {
            let inner = lengths[lengths.len() - 1];
            lengths.push(sizer.slots(&[4, inner]) + id(index).len() + 4 + inner);
        }
        lengths.reverse();
        lengths
    }
}

impl Encode for Ring {
    fn size(&self, sizer: &mut Sizer) -> usize {
        let first = self.lengths(sizer)[0];
        sizer.slots(&[4, first]) + 1 + 4 + first
    }

    fn encode(&self, out: &mut Writer<'_>) {
        let lengths = self.lengths(&out.sizer());
        for (index, (number, length)) in self.numbers.iter().zip(lengths).enumerate() {
            out.slots(&[4, length]);
            out.put_slice(&id(index));
            number.encode(out);
        }
        match self.back {
            Some(back) => {
                out.put([250]);
                out.put_slice(&id(back));
            }
            None => out.put([255]),
        }
    }
}

fn read_id(reader: &mut Reader<'_>) -> Result<u32> {
    let id = reader.varint()?;
    u32::try_from(id).map_err(|_| reader.error(ErrorKind::Length))
}

/// Reads one object and what it holds.
fn read(reader: &mut Reader<'_>, ids: &mut Vec<u32>, ring: &mut Ring) -> Result<()> {
    let slots = reader.slots::<2>()?;
    let id = read_id(reader)?;
    if ids.contains(&id) {
        return Err(reader.error(ErrorKind::Duplicate));
    }
    ids.push(id);
    let before = reader.remaining();
    ring.numbers.push(if slots.lengths[0] == 0 { 0 } else { i32::decode(reader)? });
    reader.spent(before, slots.lengths[0])?;
    let before = reader.remaining();
    match slots.lengths[1] {
        0 => {}
        _ if reader.peek()? == 255 => _ = reader.take::<1>()?,
        _ if reader.peek()? == 250 => {
            reader.take::<1>()?;
            let id = read_id(reader)?;
            let known = ids.iter().position(|known| *known == id);
            ring.back = Some(known.ok_or_else(|| reader.error(ErrorKind::Value))?);
        }
        _ => reader.nested(|reader| read(reader, ids, ring))?,
    }
    reader.spent(before, slots.lengths[1])?;
    reader.bytes(slots.more).map(drop)
}

impl Decode<'_> for Ring {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        if reader.peek()? == 250 {
            return Err(reader.error(ErrorKind::Value));
        }
        let mut ring = Self { numbers: Vec::new(), back: None };
        read(reader, &mut Vec::new(), &mut ring)?;
        Ok(ring)
    }
}
