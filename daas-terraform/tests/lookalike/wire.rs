//! Protocol Buffers by hand, as much as Terraform's plugin protocol takes.

/// A message in the making.
#[derive(Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// With a field of bytes, text or another message.
    pub(crate) fn bytes(mut self, field: u32, value: &[u8]) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    /// With a number or a flag.
    pub(crate) fn number(mut self, field: u32, value: u64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value);
        self
    }

    /// What it is on the wire.
    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

/// The last field of this number that holds bytes; empty if there is none.
pub(crate) fn field(message: &[u8], wanted: u32) -> &[u8] {
    let mut rest = message;
    let mut found: &[u8] = &[];
    while let Some(key) = varint(&mut rest) {
        match key & 7 {
            0 => drop(varint(&mut rest)),
            2 => {
                let size = varint(&mut rest).and_then(|size| usize::try_from(size).ok());
                let Some((value, tail)) = size.and_then(|size| rest.split_at_checked(size)) else {
                    break;
                };
                rest = tail;
                if key >> 3 == u64::from(wanted) {
                    found = value;
                }
            }
            _ => break,
        }
    }
    found
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
