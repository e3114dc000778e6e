//! What the client's keyboard and pointer do to the desktop, in both forms of the protocol.

use ironrdp_pdu::input::InputEvent;
use ironrdp_pdu::input::fast_path::{FastPathInputEvent, KeyboardFlags, SynchronizeFlags};
use ironrdp_pdu::input::mouse::PointerFlags;
use ironrdp_pdu::input::{MousePdu, scan_code, sync, unicode};

use super::super::activity::Connection;
use super::super::desktop::{Desktop, Key, Keyboard};

/// The client's input devices.
pub(super) struct Devices<'a> {
    desktop: &'a Desktop,
    presence: &'a Connection,
    keyboard: Keyboard,
    buttons: u8,
}

impl<'a> Devices<'a> {
    pub(super) fn new(desktop: &'a Desktop, presence: &'a Connection) -> Self {
        Self { desktop, presence, keyboard: Keyboard::default(), buttons: 0 }
    }

    pub(super) fn fast(&mut self, event: &FastPathInputEvent) {
        match event {
            FastPathInputEvent::KeyboardEvent(flags, code) => {
                let down = !flags.contains(KeyboardFlags::RELEASE);
                self.scan_code(*code, flags.contains(KeyboardFlags::EXTENDED), down);
            }
            FastPathInputEvent::UnicodeKeyboardEvent(flags, code) => {
                self.unicode(*code, !flags.contains(KeyboardFlags::RELEASE));
            }
            FastPathInputEvent::MouseEvent(mouse) => self.mouse(mouse),
            FastPathInputEvent::SyncEvent(flags) => {
                self.keyboard.set_capitals(flags.contains(SynchronizeFlags::CAPS_LOCK));
            }
            FastPathInputEvent::MouseEventEx(_) | FastPathInputEvent::MouseEventRel(_) => {
                self.presence.input();
            }
            FastPathInputEvent::QoeEvent(_) => {}
        }
    }

    pub(super) fn slow(&mut self, event: &InputEvent) {
        match event {
            InputEvent::ScanCode(key) => {
                let down = !key.flags.contains(scan_code::KeyboardFlags::RELEASE);
                let extended = key.flags.contains(scan_code::KeyboardFlags::EXTENDED);
                if let Ok(code) = u8::try_from(key.key_code) {
                    self.scan_code(code, extended, down);
                }
            }
            InputEvent::Unicode(key) => {
                let down = !key.flags.contains(unicode::KeyboardFlags::RELEASE);
                self.unicode(key.unicode_code, down);
            }
            InputEvent::Mouse(mouse) => self.mouse(mouse),
            InputEvent::Sync(event) => {
                self.keyboard.set_capitals(event.flags.contains(sync::SyncToggleFlags::CAPS_LOCK));
            }
            InputEvent::MouseX(_) | InputEvent::MouseRel(_) => self.presence.input(),
            InputEvent::Unused(_) => {}
        }
    }

    fn scan_code(&mut self, code: u8, extended: bool, down: bool) {
        self.presence.input();
        if let Some(key) = self.keyboard.event(code, extended, down) {
            self.desktop.key(key);
        }
    }

    fn unicode(&mut self, code: u16, down: bool) {
        self.presence.input();
        let key = char::from_u32(code.into()).and_then(Key::of_character);
        if let Some(key) = key.filter(|_| down) {
            self.desktop.key(key);
        }
    }

    fn mouse(&mut self, mouse: &MousePdu) {
        self.presence.input();
        let down = mouse.flags.contains(PointerFlags::DOWN);
        let buttons = [
            (PointerFlags::LEFT_BUTTON, 1),
            (PointerFlags::MIDDLE_BUTTON_OR_WHEEL, 2),
            (PointerFlags::RIGHT_BUTTON, 4),
        ];
        for (flag, bit) in buttons {
            if mouse.flags.contains(flag) {
                self.buttons = if down { self.buttons | bit } else { self.buttons & !bit };
            }
        }
        self.desktop.pointer(mouse.x_position, mouse.y_position, self.buttons);
    }
}
