//! What keys mean: X keysyms as VNC sends them, scan codes as RDP sends them.

/// A key that the desktop knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Key {
    Character(char),
    Enter,
    Backspace,
}

impl Key {
    /// From an X keysym (RFC 6143, 7.5.4): Latin-1 stands for itself.
    pub(in super::super) fn of_keysym(keysym: u32) -> Option<Self> {
        match keysym {
            0x20..=0x7e | 0xa0..=0xff => char::from_u32(keysym).map(Self::Character),
            0xff08 => Some(Self::Backspace),
            0xff0d | 0xff8d => Some(Self::Enter),
            0xffb0..=0xffb9 => char::from_digit(keysym - 0xffb0, 10).map(Self::Character),
            0x0100_0000.. => char::from_u32(keysym & 0x00ff_ffff).map(Self::Character),
            _ => None,
        }
    }

    /// From a character (a Unicode key event).
    pub(in super::super) fn of_character(c: char) -> Option<Self> {
        match c {
            '\r' | '\n' => Some(Self::Enter),
            '\u{8}' => Some(Self::Backspace),
            c if c.is_control() => None,
            c => Some(Self::Character(c)),
        }
    }
}

/// A keyboard with the US layout, which turns scan codes (set 1) into keys.
#[derive(Debug, Default)]
pub(in super::super) struct Keyboard {
    shift: [bool; 2],
    capitals: bool,
}

impl Keyboard {
    /// A key went down or up; extended ones carry the prefix 0xE0.
    pub(in super::super) fn event(&mut self, code: u8, extended: bool, down: bool) -> Option<Key> {
        match (code, extended) {
            (0x2a, false) => self.shift[0] = down,
            (0x36, false) => self.shift[1] = down,
            (0x3a, false) if down => self.capitals = !self.capitals,
            (0x1c, _) if down => return Some(Key::Enter),
            (0x0e, false) if down => return Some(Key::Backspace),
            (0x35, true) if down => return Some(Key::Character('/')),
            (_, false) if down => return self.character(code).map(Key::Character),
            _ => {}
        }
        None
    }

    /// Caps Lock as the client says it is.
    pub(in super::super) fn set_capitals(&mut self, on: bool) {
        self.capitals = on;
    }

    fn character(&self, code: u8) -> Option<char> {
        const ROWS: &[(u8, &str, &str)] = &[
            (0x02, "1234567890-=", "!@#$%^&*()_+"),
            (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
            (0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
            (0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
            (0x37, "*", "*"),
            (0x39, " ", " "),
            (0x47, "789-456+1230.", "789-456+1230."),
        ];
        let shift = self.shift[0] || self.shift[1];
        ROWS.iter().find_map(|(first, plain, shifted)| {
            let at = usize::from(code.checked_sub(*first)?);
            let letter = plain.chars().nth(at)?.is_ascii_alphabetic();
            let upper = shift != (letter && self.capitals);
            (if upper { shifted } else { plain }).chars().nth(at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keysyms_and_scan_codes() {
        assert_eq!(Key::of_keysym(u32::from('A')), Some(Key::Character('A')));
        assert_eq!(Key::of_keysym(0xff0d), Some(Key::Enter));
        assert_eq!(Key::of_keysym(0xffe1), None, "Shift alone");
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.event(0x1e, false, true), Some(Key::Character('a')));
        assert_eq!(keyboard.event(0x1e, false, false), None);
        assert_eq!(keyboard.event(0x2a, false, true), None);
        assert_eq!(keyboard.event(0x1e, false, true), Some(Key::Character('A')));
        assert_eq!(keyboard.event(0x02, false, true), Some(Key::Character('!')));
        keyboard.set_capitals(true);
        assert_eq!(keyboard.event(0x1e, false, true), Some(Key::Character('a')));
        assert_eq!(keyboard.event(0x2a, false, false), None);
        assert_eq!(keyboard.event(0x02, false, true), Some(Key::Character('1')));
        assert_eq!(keyboard.event(0x39, false, true), Some(Key::Character(' ')));
        assert_eq!(keyboard.event(0x3b, false, true), None, "F1");
    }
}
