//! A text as a square of dots that a telephone reads (QR code), drawn as SVG.

use std::fmt::Write;

use qrcode::{Color, QrCode};

/// The blank border that readers need, in dots.
const BORDER: usize = 4;

/// The drawing of a text.
pub(crate) struct Drawing {
    /// The side, border included, in dots.
    pub(crate) side: usize,
    /// The dark dots, as an SVG path.
    pub(crate) path: String,
}

/// Draws `text`; nothing when it is too long.
pub(crate) fn draw(text: &str) -> Option<Drawing> {
    let code = QrCode::new(text).ok()?;
    let (width, mut path) = (code.width(), String::new());
    for (at, color) in code.to_colors().into_iter().enumerate() {
        if color == Color::Dark {
            let (x, y) = (at % width + BORDER, at / width + BORDER);
            let _ = write!(path, "M{x} {y}h1v1h-1z");
        }
    }
    Some(Drawing { side: width + 2 * BORDER, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_drawn_with_its_three_corners() {
        let drawing = draw("otpauth://totp/a").expect("short enough");
        let last = drawing.side - BORDER - 1;
        for (x, y) in [(BORDER, BORDER), (last, BORDER), (BORDER, last)] {
            assert!(drawing.path.contains(&format!("M{x} {y}h")), "{x} {y}");
        }
        assert!(!drawing.path.contains("M0 "), "the border is blank");
        assert!(draw(&"x".repeat(10_000)).is_none());
    }
}
