//! What a client says to a desktop, as far as its frames tell: input has frames of its own
//! (fast-path, [MS-RDPBCGR] 2.2.8.1.2), so that a key press is told from acknowledgements.

use bytes::BytesMut;

use crate::gateway::carry;

/// Reads a client. Everything passes; a stream that is not understood any more counts as use, for
/// nobody's desktop may end because of our ignorance.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The beginning of a header that is not whole yet.
    header: Vec<u8>,
    /// What is left of the frame at hand.
    left: usize,
    lost: bool,
}

/// What a frame is, and how long with its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Input(usize),
    Other(usize),
    Unknown,
}

impl carry::Reader for Reader {
    fn read(&mut self, mut said: &[u8], out: &mut BytesMut) -> Result<bool, &'static str> {
        out.extend_from_slice(said);
        let mut input = false;
        while !said.is_empty() && !self.lost {
            if self.left > 0 {
                let count = self.left.min(said.len());
                self.left -= count;
                said = &said[count..];
                continue;
            }
            self.header.push(said[0]);
            said = &said[1..];
            let Some(frame) = frame(&self.header) else { continue };
            let length = match frame {
                Frame::Input(length) => {
                    input = true;
                    length
                }
                Frame::Other(length) => length,
                Frame::Unknown => 0,
            };
            match length.checked_sub(self.header.len()) {
                Some(left) => self.left = left,
                None => self.lost = true,
            }
            self.header.clear();
        }
        Ok(input || self.lost)
    }
}

/// What frame begins so; absent while that cannot be told.
fn frame(header: &[u8]) -> Option<Frame> {
    let byte = |at: usize| header.get(at).copied().map(usize::from);
    let first = *header.first()?;
    if first == 3 {
        // A TPKT (RFC 1006): the length is in the third and fourth octet.
        return Some(Frame::Other((byte(2)? << 8) | byte(3)?));
    }
    if first == 0x30 {
        // Before the session, network level authentication: DER, the length with its own length.
        let short = byte(1)?;
        return Some(match short {
            0..=0x7f => Frame::Other(2 + short),
            0x81 => Frame::Other(3 + byte(2)?),
            0x82 => Frame::Other(4 + ((byte(2)? << 8) | byte(3)?)),
            0x83 => Frame::Other(5 + ((byte(2)? << 16) | (byte(3)? << 8) | byte(4)?)),
            _ => Frame::Unknown,
        });
    }
    if first & 3 == 0 {
        // Fast-path: one octet of length, or two where the first has its top bit set.
        let short = byte(1)?;
        let length = if short & 0x80 == 0 { short } else { ((short & 0x7f) << 8) | byte(2)? };
        return Some(Frame::Input(length));
    }
    Some(Frame::Unknown)
}

#[cfg(test)]
mod tests {
    use carry::Reader as _;

    use super::*;

    fn read(reader: &mut Reader, said: &[u8]) -> bool {
        let mut out = BytesMut::new();
        let input = reader.read(said, &mut out).expect("everything passes");
        assert_eq!(out, said);
        input
    }

    /// A slow-path frame, one of authentication, and a key by fast-path.
    const SLOW: [u8; 7] = [3, 0, 0, 7, 2, 0xf0, 0x80];
    const AUTHENTICATION: [u8; 5] = [0x30, 3, 0xa0, 1, 4];
    const KEY: [u8; 4] = [0x04, 4, 0x00, 0x1e];
    const LONG_KEY: [u8; 5] = [0x04, 0x80, 5, 0x00, 0x1e];

    #[test]
    fn input_is_told_from_the_rest_wherever_it_is_cut() {
        assert!(!read(&mut Reader::default(), &SLOW));
        assert!(!read(&mut Reader::default(), &AUTHENTICATION));
        assert!(read(&mut Reader::default(), &KEY));
        assert!(read(&mut Reader::default(), &LONG_KEY));
        let said = [SLOW.as_slice(), &AUTHENTICATION, &KEY, &SLOW, &LONG_KEY, &SLOW].concat();
        for cut in 0..said.len() {
            let mut reader = Reader::default();
            let (first, second) =
                (read(&mut reader, &said[..cut]), read(&mut reader, &said[cut..]));
            assert!(first || second, "cut at {cut}");
            assert!(!read(&mut reader, &SLOW), "cut at {cut}: still in step");
            assert!(read(&mut reader, &KEY), "cut at {cut}: still in step");
        }
    }

    #[test]
    fn what_is_not_understood_is_taken_for_use() {
        for rubbish in [[1, 2, 3, 4, 5].as_slice(), &[0x30, 0x85, 0, 0, 0], &[3, 0, 0, 1], &[4, 1]]
        {
            let mut reader = Reader::default();
            assert!(read(&mut reader, rubbish), "{rubbish:?}");
            assert!(read(&mut reader, &SLOW), "and so is all that follows");
        }
    }
}
