//! What is on the desktop and how it looks.

use std::convert::Infallible;

use embedded_graphics::Drawable;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{Point, Size};
use embedded_graphics::mono_font::ascii::{FONT_9X15, FONT_9X15_BOLD, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::primitives::{
    Primitive, PrimitiveStyle, Rectangle, RoundedRectangle, Triangle,
};
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::canvas::{Area, Canvas};
use super::keys::Key;
use super::{HEIGHT, WIDTH};

/// How much text the window shows; older lines go.
const LINES_MAX: usize = 12;
const COLUMNS_MAX: usize = 60;

const PANEL: Area = Area { x: 0, y: 0, width: WIDTH, height: 30 };
const WINDOW: Area = Area { x: 320, y: 150, width: 640, height: 420 };
const TITLE: Area = Area { x: 320, y: 150, width: 640, height: 28 };
const TEXT: Area = Area { x: 340, y: 196, width: 600, height: 290 };
const CLICKS: Area = Area { x: 340, y: 506, width: 240, height: 44 };

const INK: Rgb888 = Rgb888::new(0x22, 0x26, 0x2e);
const PAPER: Rgb888 = Rgb888::new(0xfa, 0xfa, 0xfa);
const FRAME: Rgb888 = Rgb888::new(0xdd, 0xe1, 0xe6);
const ACCENT: Rgb888 = Rgb888::new(0x1f, 0x6f, 0xb2);
const DARK: Rgb888 = Rgb888::new(0x2b, 0x30, 0x3b);
const LIGHT: Rgb888 = Rgb888::new(0xee, 0xf1, 0xf5);

#[derive(Debug)]
pub(super) struct Scene {
    hostname: String,
    user: Option<String>,
    lines: Vec<String>,
    clicks: u32,
    pointer: (u16, u16),
    buttons: u8,
    /// What the clock shows; `None` when there is no clock.
    clock: Option<String>,
}

impl Scene {
    pub(super) fn new(hostname: &str, clock: bool) -> Self {
        Self {
            hostname: hostname.into(),
            user: None,
            lines: vec![String::new()],
            clicks: 0,
            pointer: (WIDTH / 2, HEIGHT / 2),
            buttons: 0,
            clock: clock.then(time),
        }
    }

    pub(super) fn pointer(&mut self, x: u16, y: u16, buttons: u8) -> Vec<Area> {
        let mut areas = Vec::new();
        if (x, y) != self.pointer {
            areas.push(self.cursor_area());
            self.pointer = (x, y);
            areas.push(self.cursor_area());
        }
        if buttons & 1 != 0 && self.buttons & 1 == 0 {
            self.clicks += 1;
            areas.push(CLICKS);
        }
        self.buttons = buttons;
        areas
    }

    pub(super) fn key(&mut self, key: Key) -> Vec<Area> {
        match (key, self.lines.last_mut()) {
            (Key::Character(c), Some(line)) if line.len() < COLUMNS_MAX => line.push(c),
            (Key::Character(c), _) => self.lines.push(c.to_string()),
            (Key::Enter, _) => self.lines.push(String::new()),
            (Key::Backspace, Some(line)) => {
                if line.pop().is_none() && self.lines.len() > 1 {
                    self.lines.pop();
                }
            }
            (Key::Backspace, None) => {}
        }
        if self.lines.len() > LINES_MAX {
            self.lines.remove(0);
        }
        vec![TEXT]
    }

    pub(super) fn renamed(&mut self, hostname: &str) -> Vec<Area> {
        self.hostname = hostname.into();
        vec![PANEL, TITLE]
    }

    pub(super) fn logged_in(&mut self, user: &str) -> Vec<Area> {
        self.user = Some(user.into());
        vec![TITLE]
    }

    pub(super) fn tick(&mut self) -> Vec<Area> {
        let now = self.clock.is_some().then(time);
        if now == self.clock {
            return Vec::new();
        }
        self.clock = now;
        vec![PANEL]
    }

    pub(super) fn reset(&mut self) -> Vec<Area> {
        *self = Self::new(&self.hostname, self.clock.is_some());
        vec![Area::WHOLE]
    }

    /// Draws what lies in the area; nothing else changes.
    pub(super) fn draw(&self, canvas: &mut Canvas, area: Area) {
        canvas.frame = area;
        wallpaper(canvas, area);
        for draw in [Self::panel, Self::window, Self::text, Self::clicks, Self::cursor] {
            let Ok(()) = draw(self, canvas);
        }
    }

    fn panel(&self, canvas: &mut Canvas) -> Result<(), Infallible> {
        fill(canvas, PANEL, DARK)?;
        write(canvas, "Applications", (12, 15), &FONT_9X15_BOLD, LIGHT, Alignment::Left)?;
        let middle = (i32::from(WIDTH / 2), 15);
        write(canvas, &self.hostname, middle, &FONT_9X15, LIGHT, Alignment::Center)?;
        let time = self.clock.as_deref().unwrap_or_default();
        let right = (i32::from(WIDTH) - 12, 15);
        write(canvas, time, right, &FONT_9X15, LIGHT, Alignment::Right)
    }

    fn window(&self, canvas: &mut Canvas) -> Result<(), Infallible> {
        let shadow = Rectangle::new(corner(WINDOW) + Point::new(6, 6), size(WINDOW));
        let corners = Size::new(8, 8);
        let dark = PrimitiveStyle::with_fill(Rgb888::new(0x16, 0x24, 0x38));
        RoundedRectangle::with_equal_corners(shadow, corners).into_styled(dark).draw(canvas)?;
        let body = Rectangle::new(corner(WINDOW), size(WINDOW));
        let frame = PrimitiveStyle::with_fill(FRAME);
        RoundedRectangle::with_equal_corners(body, corners).into_styled(frame).draw(canvas)?;
        fill(canvas, TITLE, ACCENT)?;
        let title = match &self.user {
            Some(user) => format!("Notes - {user}@{}", self.hostname),
            None => format!("Notes - {}", self.hostname),
        };
        write(
            canvas,
            &title,
            (i32::from(TITLE.x) + 12, 164),
            &FONT_9X15_BOLD,
            PAPER,
            Alignment::Left,
        )
    }

    fn text(&self, canvas: &mut Canvas) -> Result<(), Infallible> {
        fill(canvas, TEXT, PAPER)?;
        let (x, mut y) = (i32::from(TEXT.x) + 10, i32::from(TEXT.y) + 16);
        for (i, line) in self.lines.iter().enumerate() {
            let caret = if i + 1 == self.lines.len() { "_" } else { "" };
            let text = format!("{line}{caret}");
            write(canvas, &text, (x, y), &FONT_9X15, INK, Alignment::Left)?;
            y += 22;
        }
        Ok(())
    }

    fn clicks(&self, canvas: &mut Canvas) -> Result<(), Infallible> {
        fill(canvas, CLICKS, ACCENT)?;
        let text = format!("Clicks: {}", self.clicks);
        let middle =
            (i32::from(CLICKS.x + CLICKS.width / 2), i32::from(CLICKS.y + CLICKS.height / 2));
        write(canvas, &text, middle, &FONT_10X20, PAPER, Alignment::Center)
    }

    fn cursor(&self, canvas: &mut Canvas) -> Result<(), Infallible> {
        let tip = Point::new(self.pointer.0.into(), self.pointer.1.into());
        let arrow = |grow: i32| {
            Triangle::new(
                tip,
                tip + Point::new(0, 16 - grow),
                tip + Point::new(11 - grow, 11 - grow),
            )
        };
        arrow(0).into_styled(PrimitiveStyle::with_fill(INK)).draw(canvas)?;
        let inner =
            Triangle::new(tip + Point::new(1, 3), tip + Point::new(1, 13), tip + Point::new(8, 10));
        inner.into_styled(PrimitiveStyle::with_fill(PAPER)).draw(canvas)
    }

    fn cursor_area(&self) -> Area {
        let (x, y) = self.pointer;
        Area { x, y, width: 14.min(WIDTH - x), height: 18.min(HEIGHT - y) }
    }
}

/// A sky that goes from dawn to night, with some hills.
fn wallpaper(canvas: &mut Canvas, area: Area) {
    for y in area.y..area.bottom() {
        for x in area.x..area.right() {
            let (down, across) = (u32::from(y) * 255 / 800, u32::from(x) * 255 / 1280);
            let hill = 640 + hill(x);
            let colour = if u32::from(y) > hill {
                let depth = (u32::from(y) - hill).min(150) / 2;
                (0x1c + across / 16) << 16
                    | (0x5a + depth / 2 - depth / 4) << 8
                    | (0x48 + depth / 3)
            } else {
                (0x24 + down / 2) << 16 | (0x48 + down / 3 + across / 8) << 8 | (0x9a - down / 5)
            };
            canvas.set(x, y, colour);
        }
    }
}

/// How far below their highest line the hills begin at `x`.
fn hill(x: u16) -> u32 {
    let wave = |length: u32, height: u32| {
        let at = u32::from(x) % length * 2;
        let slope = if at < length { at } else { 2 * length - at };
        slope * height / length
    };
    wave(420, 70) + wave(170, 20)
}

fn time() -> String {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    now.strftime("%a %d %b  %H:%M").to_string()
}

fn corner(area: Area) -> Point {
    Point::new(area.x.into(), area.y.into())
}

fn size(area: Area) -> Size {
    Size::new(area.width.into(), area.height.into())
}

fn fill(canvas: &mut Canvas, area: Area, colour: Rgb888) -> Result<(), Infallible> {
    canvas.fill_solid(&Rectangle::new(corner(area), size(area)), colour)
}

fn write(
    canvas: &mut Canvas,
    text: &str,
    at: (i32, i32),
    font: &MonoFont<'_>,
    colour: Rgb888,
    alignment: Alignment,
) -> Result<(), Infallible> {
    let style = TextStyleBuilder::new().alignment(alignment).baseline(Baseline::Middle).build();
    let point = Point::new(at.0, at.1);
    Text::with_text_style(text, point, MonoTextStyle::new(font, colour), style).draw(canvas)?;
    Ok(())
}
