//! The desktop.

/// The desktop.
#[derive(Debug)]
pub(super) struct Desktop {}

impl Desktop {
    pub(super) fn new(_hostname: &str) -> Self {
        Self {}
    }
    pub(super) fn name_changed(&self, _hostname: &str) {}
    pub(super) fn reset(&self) {}
}
