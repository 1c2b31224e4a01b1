use crate::{Decode, Encode, ErrorKind, Kind, Layout, Reader, Result, Shape, Sizer, Writer};
use std::{fmt, str::FromStr};

/// A .NET `decimal`: a sign, an integer of 96 bits, and how many of its decimal digits, 0 to 28, stand behind the point.
///
/// Trailing zeros are a part of it: `1.5` and `1.50` are equal numbers to .NET and different values here.
///
/// ```
/// use catga_memorypack::Decimal;
///
/// let price: Decimal = "-1.50".parse()?;
/// assert_eq!((price.is_negative(), price.mantissa(), price.scale()), (true, 150, 2));
/// assert_eq!(price.to_string(), "-1.50");
/// # Ok::<(), catga_memorypack::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Decimal {
    mantissa: u128,
    scale: u8,
    negative: bool,
}

impl Decimal {
    /// The number `mantissa` / 10^`scale`; `None` where the mantissa has more than 96 bits or the scale is above 28.
    pub const fn new(negative: bool, mantissa: u128, scale: u8) -> Option<Self> {
        if mantissa >> 96 == 0 && scale <= 28 { Some(Self { mantissa, scale, negative }) } else { None }
    }

    /// Whether its sign is minus; zero may have one, too.
    pub const fn is_negative(self) -> bool {
        self.negative
    }

    /// Its digits as an integer, without the point.
    pub const fn mantissa(self) -> u128 {
        self.mantissa
    }

    /// How many of its digits stand behind the point.
    pub const fn scale(self) -> u8 {
        self.scale
    }
}

/// As .NET shows it: zero without its sign.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = usize::from(self.scale);
        let mut text = format!("{:0width$}", self.mantissa, width = scale + 1);
        if scale > 0 {
            text.insert(text.len() - scale, '.');
        }
        f.pad_integral(!self.negative || self.mantissa == 0, "", &text)
    }
}

impl FromStr for Decimal {
    type Err = crate::Error;

    /// Reads digits with at most one point among them, a minus in front or not.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || crate::Error::new(ErrorKind::Value, 0);
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let mut mantissa = 0_u128;
        for digit in whole.bytes().chain(part.bytes()) {
            let digit = digit.wrapping_sub(b'0');
            mantissa = match mantissa.checked_mul(10) {
                Some(tens) if digit < 10 => tens + u128::from(digit),
                _ => return Err(wrong()),
            };
        }
        let scale = u8::try_from(part.len()).map_err(|_| wrong())?;
        Self::new(negative, mantissa, scale).filter(|_| !whole.is_empty()).ok_or_else(wrong)
    }
}

impl Shape for Decimal {
    const KIND: Kind = Kind::Raw(Layout::of(16, 8));
}

impl Encode for Decimal {
    #[inline]
    fn size(&self, _: &mut Sizer) -> usize {
        16
    }

    #[inline]
    fn encode(&self, out: &mut Writer<'_>) {
        // Flags, the high 32 bits, the low 64.
        let flags = u32::from(self.scale) << 16 | u32::from(self.negative) << 31;
        let high = (self.mantissa >> 64) as u32;
        let raw = u128::from(flags) | u128::from(high) << 32 | self.mantissa << 64;
        out.put(raw.to_le_bytes());
    }
}

impl Decode<'_> for Decimal {
    #[inline]
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let raw = u128::from_le_bytes(*reader.take()?);
        let (flags, high) = (raw as u32, (raw >> 32) as u32);
        let value = Self::new(flags >> 31 == 1, raw >> 64 | u128::from(high) << 64, (flags >> 16) as u8);
        match value {
            Some(value) if flags & 0x7F00_FFFF == 0 => Ok(value),
            _ => Err(reader.error(ErrorKind::Value)),
        }
    }

    fn missing() -> Result<Self> {
        Ok(Self::default())
    }
}
