//! The desktop as fast-path bitmap updates ([MS-RDPBCGR] 2.2.9.1.2.1.2).
//!
//! Changed areas go out as tiles, several to an update, each update small enough to need no
//! fragmentation. Tiles of 32 bits are compressed (planar, RLE), others are sent as they are.

use std::collections::BTreeSet;

use ironrdp_core::encode_vec;
use ironrdp_graphics::rdp6::{BgrAChannels, BitmapStreamEncoder};
use ironrdp_pdu::bitmap::{BitmapData, BitmapUpdateData, CompressedDataHeader, Compression};
use ironrdp_pdu::fast_path::{
    EncryptionFlags, FastPathHeader, FastPathUpdatePdu, Fragmentation, UpdateCode,
};
use ironrdp_pdu::geometry::InclusiveRectangle;

use super::super::desktop::{Area, HEIGHT, Viewer, WIDTH};

/// The side of a tile: a multiple of 4, and 64 rows of 24 bits still fit into one update.
const TILE: u16 = 64;

/// The payload of one update; clients take at least 16 KiB without fragmentation.
const UPDATE_BYTES_MAX: usize = 15_000;

/// How a client wants its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    Bits15,
    Bits16,
    Bits24,
    Bits32,
}

impl Depth {
    pub(super) fn of(bits: u16) -> Option<Self> {
        match bits {
            15 => Some(Self::Bits15),
            16 => Some(Self::Bits16),
            24 => Some(Self::Bits24),
            32 => Some(Self::Bits32),
            _ => None,
        }
    }

    fn bits(self) -> u16 {
        match self {
            Self::Bits15 => 15,
            Self::Bits16 => 16,
            Self::Bits24 => 24,
            Self::Bits32 => 32,
        }
    }

    fn put(self, out: &mut Vec<u8>, pixel: u32) {
        let [_, red, green, blue] = pixel.to_be_bytes().map(u16::from);
        match self {
            Self::Bits15 => {
                out.extend((red >> 3 << 10 | green >> 3 << 5 | blue >> 3).to_le_bytes());
            }
            Self::Bits16 => {
                out.extend((red >> 3 << 11 | green >> 2 << 5 | blue >> 3).to_le_bytes());
            }
            Self::Bits24 => out.extend(&pixel.to_le_bytes()[..3]),
            Self::Bits32 => out.extend(pixel.to_le_bytes()),
        }
    }
}

/// A tile ready to be sent.
struct Tile {
    area: Area,
    bytes: Vec<u8>,
    compressed: bool,
}

/// What a client still has to be sent, one update at a time: a whole picture takes long enough to
/// encode that other connections must have their turn in between.
pub(super) struct Picture {
    depth: Depth,
    /// Corners of tiles, in rows and columns of the grid.
    due: BTreeSet<(u16, u16)>,
}

impl Picture {
    pub(super) fn new(depth: Depth) -> Self {
        Self { depth, due: BTreeSet::new() }
    }

    /// Adds areas that have changed.
    pub(super) fn changed(&mut self, areas: &[Area]) {
        for area in areas {
            for row in area.y / TILE..=(area.bottom() - 1) / TILE {
                for column in area.x / TILE..=(area.right() - 1) / TILE {
                    self.due.insert((row, column));
                }
            }
        }
    }

    /// Whether the client has everything.
    pub(super) fn is_sent(&self) -> bool {
        self.due.is_empty()
    }

    /// The next update, from the top down; `None` when the client has everything.
    pub(super) fn update(&mut self, viewer: &Viewer) -> Result<Option<Vec<u8>>, String> {
        let (mut tiles, mut bytes) = (Vec::new(), 0);
        while let Some(corner) = self.due.pop_first() {
            let area = area_of(corner);
            let tile = tile(area, &viewer.pixels(area), self.depth)?;
            // Each tile has a header of its own, 26 bytes at most.
            bytes += tile.bytes.len() + 26;
            if bytes > UPDATE_BYTES_MAX && !tiles.is_empty() {
                self.due.insert(corner);
                break;
            }
            tiles.push(tile);
        }
        if tiles.is_empty() { Ok(None) } else { update(&tiles, self.depth).map(Some) }
    }
}

fn area_of((row, column): (u16, u16)) -> Area {
    let (x, y) = (column * TILE, row * TILE);
    Area { x, y, width: TILE.min(WIDTH - x), height: TILE.min(HEIGHT - y) }
}

fn tile(area: Area, pixels: &[u32], depth: Depth) -> Result<Tile, String> {
    // Rows go from the bottom up.
    let mut raw = Vec::with_capacity(pixels.len() * 4);
    for row in pixels.chunks(area.width.into()).rev() {
        row.iter().for_each(|pixel| depth.put(&mut raw, *pixel));
    }
    if depth != Depth::Bits32 {
        return Ok(Tile { area, bytes: raw, compressed: false });
    }
    let mut bytes = vec![0; raw.len() + raw.len() / 2 + 64];
    let mut encoder = BitmapStreamEncoder::new(area.width.into(), area.height.into());
    let length = encoder
        .encode_bitmap::<BgrAChannels>(&raw, &mut bytes, true)
        .map_err(|error| format!("a tile was not compressed: {error}"))?;
    bytes.truncate(length);
    Ok(Tile { area, bytes, compressed: true })
}

/// One whole fast-path PDU.
fn update(tiles: &[Tile], depth: Depth) -> Result<Vec<u8>, String> {
    let rectangles = tiles
        .iter()
        .map(|Tile { area, bytes, compressed }| BitmapData {
            rectangle: InclusiveRectangle {
                left: area.x,
                top: area.y,
                right: area.right() - 1,
                bottom: area.bottom() - 1,
            },
            width: area.width,
            height: area.height,
            bits_per_pixel: depth.bits(),
            compression_flags: match compressed {
                true => Compression::BITMAP_COMPRESSION,
                false => Compression::empty(),
            },
            compressed_data_header: compressed.then(|| CompressedDataHeader {
                main_body_size: bytes.len() as u16,
                scan_width: area.width,
                uncompressed_size: area.width * area.height * 4,
            }),
            bitmap_data: bytes,
        })
        .collect();
    let failed = |error: ironrdp_core::EncodeError| format!("an update was not encoded: {error}");
    let data = encode_vec(&BitmapUpdateData { rectangles }).map_err(failed)?;
    let body = encode_vec(&FastPathUpdatePdu {
        fragmentation: Fragmentation::Single,
        update_code: UpdateCode::Bitmap,
        compression_flags: None,
        compression_type: None,
        data: &data,
    })
    .map_err(failed)?;
    let mut pdu =
        encode_vec(&FastPathHeader::new(EncryptionFlags::empty(), body.len())).map_err(failed)?;
    pdu.extend_from_slice(&body);
    Ok(pdu)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::desktop::Desktop;
    use super::*;

    #[test]
    fn updates_stay_below_what_clients_take_at_every_depth() {
        let desktop = Arc::new(Desktop::new("desktop-1", false));
        for depth in [Depth::Bits15, Depth::Bits16, Depth::Bits24, Depth::Bits32] {
            let viewer = desktop.look();
            let mut picture = Picture::new(depth);
            picture.changed(&viewer.unseen());
            let mut lengths = Vec::new();
            while let Some(update) = picture.update(&viewer).expect("tiles are encoded") {
                lengths.push(update.len());
            }
            assert!(picture.is_sent() && lengths.len() > 1);
            assert!(lengths.iter().all(|length| *length < 16_384), "{depth:?}: {lengths:?}");
        }
    }

    #[test]
    fn areas_become_whole_tiles_once() {
        let area = |x, y, width, height| Area { x, y, width, height };
        let mut picture = Picture::new(Depth::Bits32);
        picture.changed(&[area(60, 0, 10, 10), area(0, 790, 10, 10), area(65, 1, 2, 2)]);
        let tiles: Vec<Area> = picture.due.into_iter().map(area_of).collect();
        assert_eq!(tiles, [area(0, 0, 64, 64), area(64, 0, 64, 64), area(0, 768, 64, 32)]);
    }
}
