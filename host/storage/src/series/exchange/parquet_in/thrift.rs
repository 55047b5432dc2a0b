//! Thrift's compact protocol, as far as Parquet's metadata needs it, over bytes that nobody vouches for: nothing is allocated
//! by a count that was read, and every list ends with its bytes.
//!
//! The format: <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

/// Structures within structures that are passed over.
const DEPTH_MAX: u32 = 16;

/// Why bytes cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bad {
    /// They end too early: more of them may help.
    Short,
    Wrong(&'static str),
}

pub(super) type Read<T> = Result<T, Bad>;

/// What a field or an element is, by its number in the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Type(u8);

impl Type {
    const TRUE: Self = Self(1);
    const FALSE: Self = Self(2);
    const BYTE: Self = Self(3);
    const I16: Self = Self(4);
    const I32: Self = Self(5);
    const I64: Self = Self(6);
    const DOUBLE: Self = Self(7);
    const BINARY: Self = Self(8);
    const LIST: Self = Self(9);
    const SET: Self = Self(10);
    const MAP: Self = Self(11);
    pub(super) const STRUCT: Self = Self(12);
    const UUID: Self = Self(13);
}

/// Bytes that are read from the front.
#[derive(Debug, Clone)]
pub(super) struct Thrift<'a> {
    rest: &'a [u8],
}

impl<'a> Thrift<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes that were not read.
    pub(super) const fn left(&self) -> usize {
        self.rest.len()
    }

    fn byte(&mut self) -> Read<u8> {
        let (first, rest) = self.rest.split_first().ok_or(Bad::Short)?;
        self.rest = rest;
        Ok(*first)
    }

    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Bad::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Read<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Bad::Wrong("a number of more than 64 bits"))
    }

    fn zigzag(&mut self) -> Read<i64> {
        let raw = self.varint()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A whole number as it stands, without a sign.
    pub(super) fn unsigned(&mut self) -> Read<u64> {
        self.varint()
    }

    fn size(&mut self) -> Read<usize> {
        usize::try_from(self.varint()?).map_err(|_| Bad::Wrong("a length of more than 64 bits"))
    }

    /// A whole number of any width.
    pub(super) fn int(&mut self, of: Type) -> Read<i64> {
        match of {
            Type::BYTE => Ok(i64::from(self.byte()?.cast_signed())),
            Type::I16 | Type::I32 | Type::I64 => self.zigzag(),
            _ => Err(Bad::Wrong("something else where a whole number stands")),
        }
    }

    /// A field that is a boolean has its value in its type.
    pub(super) const fn boolean(of: Type) -> Read<bool> {
        match of {
            Type::TRUE => Ok(true),
            Type::FALSE => Ok(false),
            _ => Err(Bad::Wrong("something else where a boolean stands")),
        }
    }

    pub(super) fn binary(&mut self, of: Type) -> Read<&'a [u8]> {
        if of != Type::BINARY {
            return Err(Bad::Wrong("something else where a text stands"));
        }
        let length = self.size()?;
        self.take(length)
    }

    pub(super) fn text(&mut self, of: Type) -> Read<&'a str> {
        std::str::from_utf8(self.binary(of)?).map_err(|_| Bad::Wrong("a name that is not UTF-8"))
    }

    /// Reads a structure field by field; `field` says whether it took one, and what it leaves is passed over.
    pub(super) fn structure(
        &mut self,
        of: Type,
        mut field: impl FnMut(&mut Self, i16, Type) -> Read<bool>,
    ) -> Read<()> {
        if of != Type::STRUCT {
            return Err(Bad::Wrong("something else where a structure stands"));
        }
        let mut id = 0_i16;
        while let Some((next, of)) = self.field(id)? {
            id = next;
            if !field(self, id, of)? {
                self.skip(of, DEPTH_MAX)?;
            }
        }
        Ok(())
    }

    /// The number and type of the next field, `None` at the end of the structure.
    fn field(&mut self, last: i16) -> Read<Option<(i16, Type)>> {
        let head = self.byte()?;
        if head == 0 {
            return Ok(None);
        }
        let id = match i16::from(head >> 4) {
            0 => i16::try_from(self.zigzag()?).ok(),
            more => last.checked_add(more),
        };
        Ok(Some((id.ok_or(Bad::Wrong("a field whose number is none"))?, Type(head & 0x0f))))
    }

    /// Reads a list of at most `most` elements.
    pub(super) fn list(
        &mut self,
        of: Type,
        most: usize,
        too_many: &'static str,
        mut element: impl FnMut(&mut Self, Type) -> Read<()>,
    ) -> Read<()> {
        if of != Type::LIST {
            return Err(Bad::Wrong("something else where a list stands"));
        }
        let (count, of) = self.list_head()?;
        if count > most {
            return Err(Bad::Wrong(too_many));
        }
        (0..count).try_for_each(|_| element(self, of))
    }

    fn list_head(&mut self) -> Read<(usize, Type)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.size()?,
            few => usize::from(few),
        };
        Ok((count, Type(head & 0x0f)))
    }

    fn skip(&mut self, of: Type, depth: u32) -> Read<()> {
        let depth = depth.checked_sub(1).ok_or(Bad::Wrong("structures within structures without end"))?;
        match of {
            Type::TRUE | Type::FALSE => Ok(()),
            Type::BYTE => self.byte().map(drop),
            Type::I16 | Type::I32 | Type::I64 => self.varint().map(drop),
            Type::DOUBLE => self.take(8).map(drop),
            Type::UUID => self.take(16).map(drop),
            Type::BINARY => self.binary(of).map(drop),
            Type::LIST | Type::SET => {
                let (count, of) = self.list_head()?;
                self.skip_all(count, &[of], depth)
            }
            Type::MAP => {
                let count = self.size()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                self.skip_all(count, &[Type(kinds >> 4), Type(kinds & 0x0f)], depth)
            }
            Type::STRUCT => {
                let mut id = 0;
                while let Some((next, of)) = self.field(id)? {
                    id = next;
                    self.skip(of, depth)?;
                }
                Ok(())
            }
            _ => Err(Bad::Wrong("a type that the format does not have")),
        }
    }

    fn skip_all(&mut self, count: usize, of: &[Type], depth: u32) -> Read<()> {
        // Each takes a byte at least: a count that is greater than what is left is none.
        if count > self.left() {
            return Err(Bad::Short);
        }
        for _ in 0..count {
            for of in of {
                // An element that is a boolean is a byte, a field that is one has no more than its type.
                let of = if matches!(*of, Type::TRUE | Type::FALSE) { Type::BYTE } else { *of };
                self.skip(of, depth)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_are_read_as_the_format_writes_them() {
        let read = |bytes: &[u8], of| Thrift::new(bytes).int(of);
        assert_eq!(read(&[0x00], Type::I32), Ok(0));
        assert_eq!(read(&[0x01], Type::I32), Ok(-1));
        assert_eq!(read(&[0xfe, 0x01], Type::I64), Ok(127));
        assert_eq!(read(&[0x80], Type::I64), Err(Bad::Short));
        assert!(matches!(read(&[0xff; 11], Type::I64), Err(Bad::Wrong(_))));
        assert_eq!(Thrift::new(&[3, b'a', b'b', b'c']).text(Type::BINARY), Ok("abc"));
        assert_eq!(Thrift::new(&[4, b'a']).text(Type::BINARY), Err(Bad::Short));
        assert!(Thrift::new(&[1, 0xff]).text(Type::BINARY).is_err());
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        // {1: i32 7, 2: [{1: true}], 3: {}, 4: "x"}, the second and third not taken.
        let bytes = [0x15, 14, 0x19, 0x1c, 0x11, 0, 0x1c, 0, 0x18, 1, b'x', 0];
        let mut seen = Vec::new();
        let mut thrift = Thrift::new(&bytes);
        thrift
            .structure(Type::STRUCT, |t, id, of| {
                seen.push(id);
                match id {
                    1 => t.int(of).map(|n| n == 7),
                    4 => t.text(of).map(|s| s == "x"),
                    _ => Ok(false),
                }
            })
            .unwrap();
        assert_eq!((seen, thrift.left()), (vec![1, 2, 3, 4], 0));
    }

    #[test]
    fn nesting_and_counts_are_bounded() {
        let deep = |levels: usize| {
            let mut bytes = vec![0x1c; levels];
            bytes.extend(std::iter::repeat_n(0, levels + 1));
            Thrift::new(&bytes).structure(Type::STRUCT, |_, _, _| Ok(false))
        };
        assert_eq!(deep(DEPTH_MAX as usize), Ok(()));
        assert!(matches!(deep(DEPTH_MAX as usize + 1), Err(Bad::Wrong(_))));
        // A list of four billion booleans in five bytes.
        let list = [0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0];
        assert_eq!(Thrift::new(&list).structure(Type::STRUCT, |_, _, _| Ok(false)), Err(Bad::Short));
        let mut count = 0;
        let three = [0x35, 2, 2, 2];
        let mut read = |most| {
            Thrift::new(&three).list(Type::LIST, most, "too many", |t, of| {
                count += t.int(of)?;
                Ok(())
            })
        };
        assert_eq!(read(3), Ok(()));
        assert_eq!(read(2), Err(Bad::Wrong("too many")));
        assert_eq!(count, 3);
    }
}
