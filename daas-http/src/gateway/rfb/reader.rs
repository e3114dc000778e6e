//! What a client says to a screen (RFC 6143, 7.5): read message by message, so that a key press is
//! told from chatter, nothing that is not allowed passes, and nobody grows our memory.

use bytes::BytesMut;

use crate::gateway::carry;

/// The longest text a client may paste, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Said of what cannot be read.
const RUBBISH: &str = "it is no message of RFB that is known here";

/// Extended mouse buttons: a client that was promised them writes other pointer messages, and the
/// promise is in what the screen says, which is not read. So they are not asked for.
const EXTENDED_MOUSE_BUTTONS: i32 = -316;

/// Reads a client.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// The beginning of a message that is not whole yet.
    begun: BytesMut,
    greeted: bool,
}

/// What a whole message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    /// A key or the mouse.
    Input,
    /// What encodings the client takes.
    Encodings,
    /// Anything else.
    Other,
}

impl carry::Reader for Reader {
    fn read(&mut self, said: &[u8], out: &mut BytesMut) -> Result<bool, &'static str> {
        self.begun.extend_from_slice(said);
        let mut input = false;
        if !self.greeted && !self.begun.is_empty() {
            // ClientInit: whether others may look on at the same time.
            out.extend_from_slice(&self.begun.split_to(1));
            self.greeted = true;
        }
        while let Some((message, length)) = whole(&self.begun)? {
            if self.begun.len() < length {
                break;
            }
            let bytes = self.begun.split_to(length);
            match message {
                Message::Input => input = true,
                Message::Encodings => {
                    put_encodings(&bytes, out);
                    continue;
                }
                Message::Other => {}
            }
            out.extend_from_slice(&bytes);
        }
        Ok(input)
    }
}

/// What the message that begins here is, and how long; absent while that cannot be told.
fn whole(bytes: &[u8]) -> Result<Option<(Message, usize)>, &'static str> {
    let Some(kind) = bytes.first() else { return Ok(None) };
    let number = |at: usize, bytes_of: usize| -> Option<usize> {
        let part = bytes.get(at..at + bytes_of)?;
        Some(part.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)))
    };
    let told = match kind {
        // SetPixelFormat, FramebufferUpdateRequest
        0 => Some((Message::Other, 20)),
        3 => Some((Message::Other, 10)),
        // KeyEvent, PointerEvent
        4 => Some((Message::Input, 8)),
        5 => Some((Message::Input, 6)),
        // SetEncodings
        2 => number(2, 2).map(|count| (Message::Encodings, 4 + 4 * count)),
        // ClientCutText; its extension writes the length as a negative number
        6 => {
            let length = number(4, 4).map(|length| u32::try_from(length).unwrap_or_default());
            let length = length.map(|length| length.cast_signed().unsigned_abs() as usize);
            if length.is_some_and(|length| length > TEXT_BYTES_MAX) {
                return Err("the pasted text is too long");
            }
            length.map(|length| (Message::Input, 8 + length))
        }
        // EnableContinuousUpdates, ClientFence, xvp, SetDesktopSize
        150 => Some((Message::Other, 10)),
        248 => number(8, 1).map(|length| (Message::Other, 9 + length)),
        250 => Some((Message::Other, 4)),
        251 => number(6, 1).map(|screens| (Message::Other, 8 + 16 * screens)),
        // QEMU: an extended key, or audio
        255 => match (bytes.get(1), number(2, 2)) {
            (Some(0), _) => Some((Message::Input, 12)),
            (Some(1), Some(0 | 1)) => Some((Message::Other, 4)),
            (Some(1), Some(2)) => Some((Message::Other, 10)),
            (Some(1) | None, None) => None,
            _ => return Err(RUBBISH),
        },
        _ => return Err(RUBBISH),
    };
    Ok(told)
}

/// The encodings that a client takes, without those that are not offered here.
fn put_encodings(message: &[u8], out: &mut BytesMut) {
    let encodings = message[4..].chunks_exact(4);
    let taken = encodings.filter(|e| *e != EXTENDED_MOUSE_BUTTONS.to_be_bytes());
    let taken: Vec<&[u8]> = taken.collect();
    // There were as many, or more: the number fits.
    let count = u16::try_from(taken.len()).unwrap_or_default();
    out.extend_from_slice(&message[..2]);
    out.extend_from_slice(&count.to_be_bytes());
    taken.into_iter().for_each(|encoding| out.extend_from_slice(encoding));
}

#[cfg(test)]
mod tests {
    use carry::Reader as _;

    use super::*;

    /// What passes of `said`, and whether it is input.
    fn pass(said: &[u8]) -> (Vec<u8>, bool) {
        let (mut reader, mut out) = (Reader::default(), BytesMut::new());
        let input = reader.read(said, &mut out).expect("it is RFB");
        (out.to_vec(), input)
    }

    fn key() -> Vec<u8> {
        vec![4, 1, 0, 0, 0, 0, 0, 97]
    }

    #[test]
    fn input_is_told_from_chatter() {
        let check = |message: &[u8], input: bool| {
            let said = [&[1], message].concat();
            assert_eq!(pass(&said), (said.clone(), input), "{message:?}");
        };
        check(&[0; 20], false);
        check(&[2, 0, 0, 1, 0, 0, 0, 16], false);
        check(&[3; 10], false);
        check(&key(), true);
        check(&[5, 0, 0, 1, 0, 1], true);
        check(b"\x06\0\0\0\0\0\0\x02hi", true);
        // The extended clipboard writes the length as a negative number.
        check(b"\x06\0\0\0\xff\xff\xff\xfehi", true);
        check(&[150; 10], false);
        check(&[248, 0, 0, 0, 0, 0, 0, 0, 2, 7, 7], false);
        check(&[250, 0, 1, 2], false);
        check(&[251, 0, 4, 0, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 3, 0, 0, 0, 0, 0], false);
        check(&[255, 0, 0, 1, 0, 0, 0, 97, 0, 0, 0, 30], true);
        check(&[255, 1, 0, 0], false);
        check(&[255, 1, 0, 2, 0, 2, 0, 0, 172, 68], false);
    }

    #[test]
    fn messages_cut_anywhere_pass_whole() {
        let said = [&[1], key().as_slice(), b"\x06\0\0\0\0\0\0\x02hi", &[3; 10], &key()].concat();
        for cut in 0..said.len() {
            let (mut reader, mut out) = (Reader::default(), BytesMut::new());
            let first = reader.read(&said[..cut], &mut out).expect("RFB");
            let second = reader.read(&said[cut..], &mut out).expect("RFB");
            assert_eq!(out, said, "cut at {cut}");
            assert!(first || second);
        }
        let (mut reader, mut out) = (Reader::default(), BytesMut::new());
        assert!(!reader.read(&said[..8], &mut out).expect("RFB"), "half a key is no key");
    }

    #[test]
    fn what_would_change_the_clients_messages_is_not_asked_for() {
        let asked = [&[1, 2, 0, 0, 3][..], &[0, 0, 0, 16], &(-316i32).to_be_bytes(), &[0, 0, 0, 5]];
        let (passed, _) = pass(&asked.concat());
        assert_eq!(passed, [1, 2, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 5]);
    }

    #[test]
    fn rubbish_ends_it_and_nobody_grows_our_memory() {
        let refused = |said: &[u8]| {
            let (mut reader, mut out) = (Reader::default(), BytesMut::new());
            reader.read(said, &mut out).expect_err("refused")
        };
        assert_eq!(refused(&[1, 77]), RUBBISH);
        assert_eq!(refused(&[1, 255, 9, 0, 0]), RUBBISH);
        assert!(refused(&[1, 6, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]).contains("too long"));
        assert!(refused(&[1, 6, 0, 0, 0, 0x80, 0, 0, 0]).contains("too long"));
    }
}
