//! Writes updates: pixel formats, and the encodings Raw and ZRLE (RFC 6143, 7.4 and 7.7).

use std::io::{self, ErrorKind, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::super::desktop::Area;

const RAW: i32 = 0;
const ZRLE: i32 = 16;

/// The side of a ZRLE tile.
const TILE: u16 = 64;

/// How a client wants its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    bits: u8,
    depth: u8,
    big_endian: bool,
    /// The largest value and the shift of red, green and blue.
    channels: [(u16, u8); 3],
}

impl Default for Format {
    fn default() -> Self {
        let channels = [(255, 16), (255, 8), (255, 0)];
        Self { bits: 32, depth: 24, big_endian: false, channels }
    }
}

impl Format {
    pub(super) fn encoded(&self) -> [u8; 16] {
        let [(red, r), (green, g), (blue, b)] = self.channels;
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&[self.bits, self.depth, self.big_endian.into(), 1]);
        for (i, max) in [red, green, blue].into_iter().enumerate() {
            bytes[4 + 2 * i..6 + 2 * i].copy_from_slice(&max.to_be_bytes());
        }
        bytes[10..13].copy_from_slice(&[r, g, b]);
        bytes
    }

    pub(super) fn decoded(bytes: &[u8]) -> io::Result<Self> {
        let invalid = |text: &str| io::Error::new(ErrorKind::InvalidData, text.to_owned());
        let [bits, depth, big_endian, true_colour, maxima @ .., _, _, _] = bytes else {
            return Err(invalid("short pixel format"));
        };
        let [r1, r2, g1, g2, b1, b2, r, g, b] = maxima else {
            return Err(invalid("short pixel format"));
        };
        if *true_colour == 0 {
            return Err(invalid("colour maps are not supported; ask for true colour"));
        }
        let max = |high: &u8, low: &u8| u16::from_be_bytes([*high, *low]);
        let channels = [(max(r1, r2), *r), (max(g1, g2), *g), (max(b1, b2), *b)];
        if !matches!(bits, 8 | 16 | 32) || channels.iter().any(|(_, shift)| shift >= bits) {
            return Err(invalid("impossible pixel format"));
        }
        Ok(Self { bits: *bits, depth: *depth, big_endian: *big_endian != 0, channels })
    }

    /// Appends a pixel; `compact` leaves out the unused byte of 32 bits (ZRLE's CPIXEL).
    fn put(&self, out: &mut Vec<u8>, pixel: u32, compact: bool) {
        let [_, red, green, blue] = pixel.to_be_bytes();
        let mut value = 0u32;
        for (level, (max, shift)) in [red, green, blue].into_iter().zip(self.channels) {
            let scaled = (u32::from(level) * u32::from(max) + 127) / 255;
            value |= scaled << shift;
        }
        let all = value.to_be_bytes();
        let bytes = usize::from(self.bits / 8);
        let mut used = [0; 4];
        used[..bytes].copy_from_slice(&all[4 - bytes..]);
        let mut range = 0..bytes;
        if compact && self.bits == 32 && self.depth <= 24 {
            // The three bytes that the channels are in: the lower ones, unless those are empty.
            let low = self.channels.iter().all(|(max, shift)| u32::from(*max) << shift < 1 << 24);
            range = if low { 1..4 } else { 0..3 };
        }
        let part = &mut used[range];
        if !self.big_endian {
            part.reverse();
        }
        out.extend_from_slice(part);
    }
}

/// Turns pictures into updates for one client.
pub(super) struct Painter {
    format: Format,
    encoding: i32,
    /// One stream of compressed data for the whole connection, as ZRLE has it.
    zlib: ZlibEncoder<Vec<u8>>,
}

impl Painter {
    pub(super) fn new() -> Self {
        let zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        Self { format: Format::default(), encoding: RAW, zlib }
    }

    pub(super) fn set_format(&mut self, format: Format) -> io::Result<()> {
        self.format = format;
        Ok(())
    }

    /// Takes the first encoding of the client's list that is known here.
    pub(super) fn set_encodings(&mut self, wanted: &[i32]) {
        let known = wanted.iter().find(|encoding| matches!(**encoding, RAW | ZRLE));
        self.encoding = known.copied().unwrap_or(RAW);
    }

    /// A whole `FramebufferUpdate` message.
    pub(super) fn update(&mut self, pictures: Vec<(Area, Vec<u32>)>) -> io::Result<Vec<u8>> {
        let mut out = vec![0, 0];
        out.extend_from_slice(&(pictures.len() as u16).to_be_bytes());
        for (area, pixels) in pictures {
            for number in [area.x, area.y, area.width, area.height] {
                out.extend_from_slice(&number.to_be_bytes());
            }
            out.extend_from_slice(&self.encoding.to_be_bytes());
            if self.encoding == ZRLE {
                self.zrle(&mut out, area, &pixels)?;
            } else {
                pixels.iter().for_each(|pixel| self.format.put(&mut out, *pixel, false));
            }
        }
        Ok(out)
    }

    fn zrle(&mut self, out: &mut Vec<u8>, area: Area, pixels: &[u32]) -> io::Result<()> {
        let mut tiles = Vec::new();
        for top in (0..area.height).step_by(TILE.into()) {
            for left in (0..area.width).step_by(TILE.into()) {
                let width = usize::from(TILE.min(area.width - left));
                let rows = top..top + TILE.min(area.height - top);
                let tile: Vec<u32> = rows
                    .flat_map(|y| {
                        let start = usize::from(y) * usize::from(area.width) + usize::from(left);
                        &pixels[start..start + width]
                    })
                    .copied()
                    .collect();
                // Subencoding 1 is one colour, 0 is all pixels.
                let solid = tile.iter().all(|pixel| *pixel == tile[0]);
                tiles.push(u8::from(solid));
                let count = if solid { 1 } else { tile.len() };
                tile[..count].iter().for_each(|pixel| self.format.put(&mut tiles, *pixel, true));
            }
        }
        self.zlib.write_all(&tiles)?;
        self.zlib.flush()?;
        let data = std::mem::take(self.zlib.get_mut());
        out.extend_from_slice(&(data.len() as u32).to_be_bytes());
        out.extend_from_slice(&data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_kept_and_pixels_follow_them() {
        let format = Format::default();
        assert_eq!(Format::decoded(&format.encoded()).expect("a good format"), format);
        let table: [(Format, bool, &[u8]); 4] = [
            (format, false, &[0x33, 0x22, 0x11, 0]),
            (format, true, &[0x33, 0x22, 0x11]),
            (Format { big_endian: true, ..format }, false, &[0, 0x11, 0x22, 0x33]),
            (
                Format {
                    bits: 16,
                    depth: 16,
                    big_endian: false,
                    channels: [(31, 11), (63, 5), (31, 0)],
                },
                false,
                &[0x06, 0x11],
            ),
        ];
        for (format, compact, expected) in table {
            let mut out = Vec::new();
            format.put(&mut out, 0x112233, compact);
            assert_eq!(out, expected, "{format:?}");
        }
        let mut palette = format.encoded();
        palette[3] = 0;
        assert!(Format::decoded(&palette).is_err());
    }
}
