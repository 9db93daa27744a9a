//! Protobuf's wire format: tags, varints, lengths. Bounds are checked, nothing is allocated.

use super::Malformed;

/// One field's value as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Datum<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The fields of a message, in order.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    fn field(&mut self) -> Result<(u64, Datum<'a>), Malformed> {
        let tag = varint(&mut self.left)?;
        let datum = match tag & 7 {
            0 => Datum::Varint(varint(&mut self.left)?),
            1 => Datum::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = varint(&mut self.left)?;
                let length = usize::try_from(length).map_err(|_| short())?;
                let (bytes, rest) = self.left.split_at_checked(length).ok_or_else(short)?;
                self.left = rest;
                Datum::Bytes(bytes)
            }
            5 => Datum::Fixed32(u32::from_le_bytes(self.array()?)),
            other => return Err(Malformed(format!("wire type {other} is unknown"))),
        };
        Ok((tag >> 3, datum))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.left.split_first_chunk::<N>().ok_or_else(short)?;
        self.left = rest;
        Ok(*bytes)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u64, Datum<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.left = &[];
        }
        Some(field)
    }
}

/// Numbers packed one after the other.
pub(super) fn varints(
    bytes: &[u8],
) -> Result<impl Iterator<Item = Result<u64, Malformed>> + '_, Malformed> {
    let mut left = bytes;
    Ok(std::iter::from_fn(move || {
        if left.is_empty() {
            return None;
        }
        let number = varint(&mut left);
        if number.is_err() {
            left = &[];
        }
        Some(number)
    }))
}

fn varint(left: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = left.split_first().ok_or_else(short)?;
        *left = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed("a number is too long".into()))
}

fn short() -> Malformed {
    Malformed("it ends too early".into())
}
