//! `T?`: what null looks like depends on what may be null.

use crate::{Decode, Encode, ErrorKind, Kind, Layout, Reader, Result, Shape, Sizer, Writer};

impl<T: Shape> Shape for Option<T> {
    const KIND: Kind = T::KIND.optional();
    const CHECKED: bool = T::CHECKED;
}

impl<T: Encode> Encode for Option<T> {
    #[inline]
    fn size(&self, sizer: &mut Sizer) -> usize {
        const { _ = Self::KIND };
        match (const { T::KIND }, self) {
            (Kind::Raw(Layout { size, align, .. }), value) => {
                if T::CHECKED {
                    value.iter().for_each(|value| _ = value.size(sizer));
                }
                align + size
            }
            (Kind::Value(_), Some(value)) => 1 + value.size(sizer),
            (_, Some(value)) => value.size(sizer),
            (Kind::Length, None) => 4,
            (_, None) => 1,
        }
    }

    #[inline]
    fn encode(&self, out: &mut Writer<'_>) {
        match (const { T::KIND }, self) {
            (Kind::Raw(Layout { size, align, .. }), None) => out.zeros(align + size),
            (Kind::Raw(Layout { size, align, .. }), Some(value)) => out.run(align + size, |out| {
                out.put([1]);
                out.zeros(align - 1);
                value.encode(out);
            }),
            (Kind::Value(_), Some(value)) => {
                out.put([1]);
                value.encode(out);
            }
            (_, Some(value)) => value.encode(out),
            (Kind::Length, None) => out.put([255; 4]),
            (_, None) => out.put([255]),
        }
    }
}

/// Whether a value follows; what says so is taken, but for the header that is a part of the value.
#[inline]
fn some<T: Shape>(reader: &mut Reader<'_>) -> Result<bool> {
    match const { T::KIND } {
        // Raw memory is read by its own function, because the bytes of an absent value are there, too.
        Kind::Raw(_) | Kind::Length => {
            if reader.null_length() {
                reader.take::<4>()?;
                return Ok(false);
            }
            Ok(true)
        }
        Kind::Value(_) => match *reader.take()? {
            [1] => Ok(true),
            [255] => Ok(false),
            _ => Err(reader.error(ErrorKind::Members)),
        },
        _ => {
            if reader.peek()? == 255 {
                reader.take::<1>()?;
                return Ok(false);
            }
            Ok(true)
        }
    }
}

/// The value of a raw `T?` of this layout. What lies behind the flag of an absent one means nothing.
#[inline]
fn raw<'de, T: Decode<'de>>(reader: &mut Reader<'de>, Layout { size, align, .. }: Layout) -> Result<Option<T>> {
    let mut run = reader.run(align + size)?;
    let flag = run.bytes(align)?[0];
    match flag {
        0 => Ok(None),
        1 => T::decode(&mut run).map(Some),
        _ => Err(run.error(ErrorKind::Value)),
    }
}

impl<'de, T: Decode<'de>> Decode<'de> for Option<T> {
    #[inline]
    fn decode(reader: &mut Reader<'de>) -> Result<Self> {
        const { _ = Self::KIND };
        match const { T::KIND } {
            Kind::Raw(layout) => raw(reader, layout),
            _ if some::<T>(reader)? => T::decode(reader).map(Some),
            _ => Ok(None),
        }
    }

    #[inline]
    fn decode_in_place(&mut self, reader: &mut Reader<'de>) -> Result<()> {
        match (const { T::KIND }, self.as_mut()) {
            (Kind::Raw(layout), _) => *self = raw(reader, layout)?,
            (_, Some(value)) if some::<T>(reader)? => value.decode_in_place(reader)?,
            (_, Some(_)) => *self = None,
            (_, None) => *self = Self::decode(reader)?,
        }
        Ok(())
    }

    #[inline]
    fn check(reader: &mut Reader<'de>) -> Result<()> {
        match const { T::KIND } {
            Kind::Raw(layout) => raw::<T>(reader, layout).map(drop),
            _ if some::<T>(reader)? => T::check(reader),
            _ => Ok(()),
        }
    }

    fn missing() -> Result<Self> {
        Ok(None)
    }
}
