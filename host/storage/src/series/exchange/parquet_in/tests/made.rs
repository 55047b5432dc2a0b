//! Files byte by byte, for what no writer would write.

/// Thrift's compact protocol, written.
#[derive(Default)]
pub(super) struct Out {
    bytes: Vec<u8>,
    last: Vec<i16>,
}

impl Out {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.bytes.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.bytes.push(n as u8);
    }

    fn zigzag(&mut self, n: i64) {
        self.varint(((n << 1) ^ (n >> 63)).cast_unsigned());
    }

    fn field(&mut self, id: i16, of: u8) {
        let last = self.last.last_mut().unwrap();
        let delta = (id - *last) as u8;
        *last = id;
        self.bytes.push(delta << 4 | of);
    }

    /// A structure by itself, or an element of a list.
    pub(super) fn plain(mut self, inside: impl FnOnce(Self) -> Self) -> Self {
        self.last.push(0);
        let mut this = inside(self);
        this.bytes.push(0);
        this.last.pop();
        this
    }

    pub(super) fn int(mut self, id: i16, n: i64) -> Self {
        self.field(id, 6);
        self.zigzag(n);
        self
    }

    pub(super) fn text(mut self, id: i16, text: &str) -> Self {
        self.field(id, 8);
        self.varint(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    pub(super) fn inner(mut self, id: i16, inside: impl FnOnce(Self) -> Self) -> Self {
        self.field(id, 12);
        self.plain(inside)
    }

    pub(super) fn list(
        mut self,
        id: i16,
        count: usize,
        mut element: impl FnMut(usize, Self) -> Self,
    ) -> Self {
        self.field(id, 9);
        self.bytes.push(0xfc);
        self.varint(count as u64);
        let mut this = self;
        for at in 0..count {
            this = this.plain(|out| element(at, out));
        }
        this
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.bytes
    }
}

/// One page: the bytes of its head, and what follows them.
pub(super) struct Page {
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
}

/// A page of the first version with required values.
pub(super) fn data(values: i64, encoding: i64, unpacked: i64, body: &[u8]) -> Page {
    let head = Out::default().plain(|out| {
        out.int(1, 0)
            .int(2, unpacked)
            .int(3, body.len() as i64)
            .inner(5, |out| out.int(1, values).int(2, encoding).int(3, 3).int(4, 3))
    });
    Page { head: head.done(), body: body.to_vec() }
}

pub(super) fn dictionary(values: i64, unpacked: i64, body: &[u8]) -> Page {
    let head = Out::default().plain(|out| {
        out.int(1, 2).int(2, unpacked).int(3, body.len() as i64).inner(7, |out| out.int(1, values).int(2, 0))
    });
    Page { head: head.done(), body: body.to_vec() }
}

/// A required column, its physical type by number.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) physical: i64,
    pub(super) codec: i64,
    pub(super) pages: Vec<Page>,
}

/// A column `time` of so many nanoseconds one after another.
pub(super) fn times(count: i64) -> Column {
    let body: Vec<u8> = (0..count).flat_map(i64::to_le_bytes).collect();
    let pages = vec![data(count, 0, body.len() as i64, &body)];
    Column { name: "time", physical: 2, codec: 0, pages }
}

/// A file of one row group.
pub(super) fn file(rows: i64, columns: &[Column]) -> Vec<u8> {
    let mut out = b"PAR1".to_vec();
    let mut places = Vec::new();
    for column in columns {
        let start = out.len();
        let mut data = start;
        for page in &column.pages {
            // The dictionary is the first.
            if page.head.get(1) == Some(&4) {
                data = out.len() + page.head.len() + page.body.len();
            }
            out.extend_from_slice(&page.head);
            out.extend_from_slice(&page.body);
        }
        places.push((start, data, out.len() - start));
    }
    let footer = Out::default().plain(|out| {
        out.int(1, 1)
            .list(2, columns.len() + 1, |at, out| match at.checked_sub(1).and_then(|at| columns.get(at)) {
                None => out.text(4, "rows").int(5, columns.len() as i64),
                Some(c) => out.int(1, c.physical).int(3, 0).text(4, c.name),
            })
            .int(3, rows)
            .list(4, 1, |_, out| {
                out.list(1, columns.len(), |at, out| {
                    let ((start, data, size), column) = (places[at], &columns[at]);
                    out.int(2, 0).inner(3, |out| {
                        let out = out.int(1, column.physical).int(4, column.codec).int(7, size as i64);
                        let out = out.int(9, data as i64);
                        if data == start { out } else { out.int(11, start as i64) }
                    })
                })
                .int(3, rows)
            })
    });
    let footer = footer.done();
    out.extend_from_slice(&footer);
    out.extend_from_slice(&(footer.len() as u32).to_le_bytes());
    out.extend_from_slice(b"PAR1");
    out
}
