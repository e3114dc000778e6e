//! What clients say (RFC 6143, 7.5).

use std::io::{self, ErrorKind};

use bytes::{Buf, BytesMut};

use super::super::desktop::Area;
use super::pixels::Format;

/// The longest clipboard text that is read over; it is not kept.
const CUT_TEXT_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(super) enum Message {
    Format(Format),
    Encodings(Vec<i32>),
    Update { incremental: bool, area: Option<Area> },
    Key { down: bool, keysym: u32 },
    Pointer { buttons: u8, x: u16, y: u16 },
    CutText,
}

/// Takes one message out of the buffer; `None` when it is not all there yet.
pub(super) fn take(input: &mut BytesMut) -> io::Result<Option<Message>> {
    let Some(length) = length(input)? else { return Ok(None) };
    if input.len() < length {
        input.reserve(length - input.len());
        return Ok(None);
    }
    let mut body = input.split_to(length).freeze();
    let kind = body.get_u8();
    Ok(Some(match kind {
        0 => {
            body.advance(3);
            Message::Format(Format::decoded(&body)?)
        }
        2 => {
            body.advance(3);
            Message::Encodings(std::iter::from_fn(|| body.try_get_i32().ok()).collect())
        }
        3 => {
            let incremental = body.get_u8() != 0;
            let (x, y, width, height) =
                (body.get_u16(), body.get_u16(), body.get_u16(), body.get_u16());
            Message::Update { incremental, area: Area::within(x, y, width, height) }
        }
        4 => {
            let down = body.get_u8() != 0;
            body.advance(2);
            Message::Key { down, keysym: body.get_u32() }
        }
        5 => Message::Pointer { buttons: body.get_u8(), x: body.get_u16(), y: body.get_u16() },
        _ => Message::CutText,
    }))
}

/// How long the message at the front is; `None` when that cannot be told yet.
fn length(input: &[u8]) -> io::Result<Option<usize>> {
    let Some(kind) = input.first() else { return Ok(None) };
    Ok(match kind {
        0 => Some(20),
        2 => input
            .get(2..4)
            .map(|count| 4 + 4 * usize::from(u16::from_be_bytes([count[0], count[1]]))),
        3 => Some(10),
        4 => Some(8),
        5 => Some(6),
        6 => match input.get(4..8) {
            None => None,
            Some(bytes) => {
                // A negative length marks the extended clipboard of some clients.
                let length = i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                let length = length.unsigned_abs() as usize;
                if length > CUT_TEXT_MAX {
                    return Err(io::Error::new(ErrorKind::InvalidData, "clipboard text too long"));
                }
                Some(8 + length)
            }
        },
        other => {
            let text = format!("unknown RFB message {other}");
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any bytes are messages, an error, or wait for more; a message takes bytes away.
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(0u8..8, 0..80)) {
            let mut input = BytesMut::from(bytes.as_slice());
            loop {
                let before = input.len();
                match take(&mut input) {
                    Ok(Some(_)) => prop_assert!(input.len() < before),
                    Ok(None) | Err(_) => break,
                }
            }
        }
    }

    #[test]
    fn messages_come_whole_and_in_order() {
        let mut input = BytesMut::new();
        let all = [4, 1, 0, 0, 0, 0, 0xff, 0x0d, 5, 1, 0, 2, 0, 3, 6, 0, 0, 0, 0, 0, 0, 1, b'x'];
        let mut seen = Vec::new();
        for byte in all {
            input.extend_from_slice(&[byte]);
            if let Some(message) = take(&mut input).expect("good messages") {
                seen.push(format!("{message:?}"));
            }
        }
        let expected =
            ["Key { down: true, keysym: 65293 }", "Pointer { buttons: 1, x: 2, y: 3 }", "CutText"];
        assert_eq!(seen, expected);
    }
}
