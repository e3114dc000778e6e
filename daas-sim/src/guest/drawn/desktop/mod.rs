//! The desktop of a drawn guest: a picture that answers keys and the pointer.
//!
//! The picture's memory exists only while somebody looks ([`Viewer`]), so that hundreds of guests
//! cost little. Each viewer learns which rectangles have changed since it last asked. What is
//! drawn is in `scene`, how in `canvas`, and what keys mean in `keys`.

mod canvas;
mod keys;
mod scene;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

pub(super) use canvas::Area;
use canvas::Canvas;
pub(super) use keys::{Key, Keyboard};
use scene::Scene;

/// The picture's width in pixels.
pub(super) const WIDTH: u16 = 1280;

/// The picture's height in pixels.
pub(super) const HEIGHT: u16 = 800;

/// A viewer with more changed areas than this gets one around them all.
const AREAS_MAX: usize = 32;

/// The desktop, whether somebody looks or not.
#[derive(Debug)]
pub(super) struct Desktop {
    inner: Mutex<Inner>,
    /// Counts changes.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    scene: Scene,
    canvas: Option<Canvas>,
    /// What each viewer has not seen yet.
    unseen: BTreeMap<u64, Vec<Area>>,
    last_viewer: u64,
}

/// Somebody who looks.
#[derive(Debug)]
pub(super) struct Viewer {
    desktop: Arc<Desktop>,
    id: u64,
    changes: watch::Receiver<u64>,
}

impl Desktop {
    pub(super) fn new(hostname: &str, clock: bool) -> Self {
        let scene = Scene::new(hostname, clock);
        let inner = Inner { scene, canvas: None, unseen: BTreeMap::new(), last_viewer: 0 };
        Self { inner: Mutex::new(inner), changes: watch::Sender::new(0) }
    }

    /// Begins to look; the whole picture is new to the viewer.
    pub(super) fn look(self: &Arc<Self>) -> Viewer {
        let changes = self.changes.subscribe();
        let mut inner = self.lock();
        if inner.canvas.is_none() {
            let mut canvas = Canvas::new(WIDTH, HEIGHT);
            inner.scene.draw(&mut canvas, Area::WHOLE);
            inner.canvas = Some(canvas);
        }
        inner.last_viewer += 1;
        let id = inner.last_viewer;
        inner.unseen.insert(id, vec![Area::WHOLE]);
        drop(inner);
        Viewer { desktop: self.clone(), id, changes }
    }

    /// The pointer is there now, with these buttons down (bit 0 is the left one).
    pub(super) fn pointer(&self, x: u16, y: u16, buttons: u8) {
        self.change(|scene| scene.pointer(x.min(WIDTH - 1), y.min(HEIGHT - 1), buttons));
    }

    /// A key was pressed.
    pub(super) fn key(&self, key: Key) {
        self.change(|scene| scene.key(key));
    }

    /// The guest has another name.
    pub(super) fn name_changed(&self, hostname: &str) {
        self.change(|scene| scene.renamed(hostname));
    }

    /// Somebody logged in.
    pub(super) fn logged_in(&self, user: &str) {
        self.change(|scene| scene.logged_in(user));
    }

    /// Time goes on; viewers call this now and then for the clock.
    pub(super) fn tick(&self) {
        self.change(Scene::tick);
    }

    /// As after a boot.
    pub(super) fn reset(&self) {
        self.change(Scene::reset);
    }

    /// Changes the scene and redraws the areas that the closure names.
    fn change(&self, act: impl FnOnce(&mut Scene) -> Vec<Area>) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let areas = act(&mut inner.scene);
        let Some(canvas) = inner.canvas.as_mut().filter(|_| !areas.is_empty()) else { return };
        for area in areas {
            inner.scene.draw(canvas, area);
            for unseen in inner.unseen.values_mut() {
                remember(unseen, area);
            }
        }
        drop(guard);
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Viewer {
    pub(super) fn desktop(&self) -> &Desktop {
        &self.desktop
    }

    /// The areas that have changed since the last call. They do not reach over the edges.
    pub(super) fn unseen(&self) -> Vec<Area> {
        self.desktop.lock().unseen.get_mut(&self.id).map(std::mem::take).unwrap_or_default()
    }

    /// Marks an area as not seen, because the viewer asks for it again.
    pub(super) fn forget(&self, area: Area) {
        if let Some(unseen) = self.desktop.lock().unseen.get_mut(&self.id) {
            remember(unseen, area);
        }
    }

    /// The pixels of an area, row by row, as `0x00RRGGBB`.
    pub(super) fn pixels(&self, area: Area) -> Vec<u32> {
        self.desktop.lock().canvas.as_ref().map(|canvas| canvas.pixels(area)).unwrap_or_default()
    }

    /// Waits for the next change. Safe to cancel.
    pub(super) async fn changed(&mut self) {
        // The sender lives as long as the desktop this viewer holds.
        let _ = self.changes.changed().await;
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let mut inner = self.desktop.lock();
        inner.unseen.remove(&self.id);
        if inner.unseen.is_empty() {
            inner.canvas = None;
        }
    }
}

fn remember(unseen: &mut Vec<Area>, area: Area) {
    if unseen.iter().any(|known| known.contains(&area)) {
        return;
    }
    unseen.retain(|known| !area.contains(known));
    unseen.push(area);
    if unseen.len() > AREAS_MAX {
        let around = unseen.iter().copied().reduce(Area::around);
        unseen.clear();
        unseen.extend(around);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_unseen_and_it_really_changed() {
        let desktop = Arc::new(Desktop::new("desktop-1", false));
        let viewer = desktop.look();
        assert_eq!(viewer.unseen(), [Area::WHOLE]);
        let before = viewer.pixels(Area::WHOLE);
        desktop.key(Key::Character('x'));
        let areas = viewer.unseen();
        let after = viewer.pixels(Area::WHOLE);
        assert!(!areas.is_empty() && !areas.contains(&Area::WHOLE), "{areas:?}");
        let mut changed = 0;
        for (i, (old, new)) in before.iter().zip(&after).enumerate() {
            let (x, y) = (i as u16 % WIDTH, (i / usize::from(WIDTH)) as u16);
            let inside =
                areas.iter().any(|area| area.contains(&Area { x, y, width: 1, height: 1 }));
            assert!(old == new || inside, "{x},{y} changed outside of {areas:?}");
            changed += usize::from(old != new);
        }
        assert!(changed > 0, "a letter shows");
        desktop.key(Key::Backspace);
        assert_eq!(viewer.pixels(Area::WHOLE), before, "and is gone again");
    }

    #[test]
    fn the_wallpaper_has_many_colours_and_memory_goes_with_the_last_viewer() {
        let desktop = Arc::new(Desktop::new("desktop-1", false));
        let viewer = desktop.look();
        let colours: std::collections::HashSet<u32> =
            viewer.pixels(Area::WHOLE).into_iter().collect();
        assert!(colours.len() > 200, "{}", colours.len());
        drop(viewer);
        assert!(desktop.lock().canvas.is_none());
    }

    #[test]
    fn clicks_and_the_pointer_show() {
        let desktop = Arc::new(Desktop::new("desktop-1", false));
        let viewer = desktop.look();
        let first = viewer.pixels(Area::WHOLE);
        desktop.pointer(5, 790, 0);
        let moved = viewer.pixels(Area::WHOLE);
        assert_ne!(first, moved);
        desktop.pointer(5, 790, 1);
        let clicked = viewer.pixels(Area::WHOLE);
        assert_ne!(moved, clicked);
        desktop.pointer(5, 790, 1);
        assert_eq!(clicked, viewer.pixels(Area::WHOLE), "held down is one click");
    }
}
