//! A picture in memory that can be drawn on within a frame.

use std::convert::Infallible;

use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::primitives::Rectangle;

use super::{HEIGHT, WIDTH};

/// A rectangle of the picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Area {
    pub(in super::super) x: u16,
    pub(in super::super) y: u16,
    pub(in super::super) width: u16,
    pub(in super::super) height: u16,
}

impl Area {
    pub(in super::super) const WHOLE: Self = Self { x: 0, y: 0, width: WIDTH, height: HEIGHT };

    /// One pixel past the right edge.
    pub(in super::super) fn right(&self) -> u16 {
        self.x + self.width
    }

    /// One pixel past the lower edge.
    pub(in super::super) fn bottom(&self) -> u16 {
        self.y + self.height
    }

    /// The part of a wanted rectangle that is on the picture; `None` when nothing of it is.
    pub(in super::super) fn within(x: u16, y: u16, width: u16, height: u16) -> Option<Self> {
        let (width, height) =
            (width.min(WIDTH.saturating_sub(x)), height.min(HEIGHT.saturating_sub(y)));
        (width > 0 && height > 0).then_some(Self { x, y, width, height })
    }

    pub(super) fn contains(&self, other: &Self) -> bool {
        let from = self.x <= other.x && self.y <= other.y;
        from && other.right() <= self.right() && other.bottom() <= self.bottom()
    }

    pub(super) fn around(self, other: Self) -> Self {
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        let right = self.right().max(other.right());
        Self { x, y, width: right - x, height: self.bottom().max(other.bottom()) - y }
    }

    /// The part both have; `None` when they do not touch.
    pub(in super::super) fn both(self, other: Self) -> Option<Self> {
        let (x, y) = (self.x.max(other.x), self.y.max(other.y));
        let (right, bottom) = (self.right().min(other.right()), self.bottom().min(other.bottom()));
        let part = (right > x && bottom > y).then(|| (right - x, bottom - y));
        part.map(|(width, height)| Self { x, y, width, height })
    }
}

#[derive(Debug)]
pub(super) struct Canvas {
    width: u16,
    height: u16,
    pixels: Vec<u32>,
    /// Nothing is drawn outside of it.
    pub(super) frame: Area,
}

impl Canvas {
    pub(super) fn new(width: u16, height: u16) -> Self {
        let pixels = vec![0; usize::from(width) * usize::from(height)];
        Self { width, height, pixels, frame: Area { x: 0, y: 0, width, height } }
    }

    pub(super) fn pixels(&self, area: Area) -> Vec<u32> {
        let mut pixels = Vec::with_capacity(usize::from(area.width) * usize::from(area.height));
        for y in area.y..area.bottom() {
            let start = self.at(area.x, y);
            pixels.extend_from_slice(&self.pixels[start..start + usize::from(area.width)]);
        }
        pixels
    }

    pub(super) fn set(&mut self, x: u16, y: u16, colour: u32) {
        let at = self.at(x, y);
        self.pixels[at] = colour;
    }

    fn at(&self, x: u16, y: u16) -> usize {
        usize::from(y) * usize::from(self.width) + usize::from(x)
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.width.into(), self.height.into())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        let frame = self.frame;
        for Pixel(point, colour) in pixels {
            let (Ok(x), Ok(y)) = (u16::try_from(point.x), u16::try_from(point.y)) else { continue };
            if frame.contains(&Area { x, y, width: 1, height: 1 }) {
                self.set(x, y, number(colour));
            }
        }
        Ok(())
    }

    fn fill_solid(&mut self, area: &Rectangle, colour: Rgb888) -> Result<(), Infallible> {
        let Area { x, y, width, height } = self.frame;
        let corner = Point::new(x.into(), y.into());
        let frame = Rectangle::new(corner, Size::new(width.into(), height.into()));
        let part = area.intersection(&frame);
        if part.is_zero_sized() {
            return Ok(());
        }
        // Inside the frame, so that neither number is negative or too large.
        let (left, top) = (part.top_left.x as u16, part.top_left.y as u16);
        for y in top..top + part.size.height as u16 {
            let start = self.at(left, y);
            self.pixels[start..start + part.size.width as usize].fill(number(colour));
        }
        Ok(())
    }
}

fn number(colour: Rgb888) -> u32 {
    u32::from_be_bytes([0, colour.r(), colour.g(), colour.b()])
}
