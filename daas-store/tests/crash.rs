//! Crash points on the store in a file: whole lives of desktops, whose processes are stopped and
//! killed around every call and open the real file again.
//!
//! A selection is lived, drawn anew in each run; what it was drawn with is told when one goes
//! wrong. `DAAS_CRASH_SEED` draws the same again, `DAAS_CRASH_POINTS=all` lives every point.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use async_trait::async_trait;
use daas_core::Result;
use daas_core::crash::{
    InRealTime, Lives, Points, Storage, Story, every_point, in_real_time, late_effects,
    several_at_once,
};
use daas_core::store::SessionStore;
use daas_store::SqliteStore;
use tempfile::TempDir;

/// How many points of each story are lived, unless all are.
const LIVES_MAX: usize = 25;

/// What of a killed store's files is found by the next process.
#[derive(Debug, Clone, Copy)]
enum Found {
    /// All that was in them.
    All,
    /// Not the log: what was acknowledged is lost.
    NotTheLog,
}

/// A store in a file, which may be killed.
#[derive(Debug)]
struct InFile {
    directory: TempDir,
    found: Found,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Each kill leaves the file behind; the next process has a copy as of that moment.
    kills: usize,
    open: Option<Arc<SqliteStore>>,
}

impl InFile {
    fn make() -> Arc<dyn Storage> {
        Self::of(Found::All)
    }

    fn of(found: Found) -> Arc<dyn Storage> {
        let directory = tempfile::tempdir().unwrap();
        Arc::new(Self { directory, found, state: Mutex::default() })
    }

    fn path(&self, kills: usize) -> PathBuf {
        self.directory.path().join(format!("sessions-{kills}.db"))
    }

    /// The store that is open, from now on no longer.
    fn take(&self) -> Option<Arc<SqliteStore>> {
        self.state.lock().unwrap().open.take()
    }
}

#[async_trait(?Send)]
impl Storage for InFile {
    async fn open(&self) -> Result<Arc<dyn SessionStore>> {
        let path = self.path(self.state.lock().unwrap().kills);
        let store = in_real_time(SqliteStore::open(path)).await?;
        self.state.lock().unwrap().open = Some(Arc::clone(&store));
        Ok(InRealTime::around(store))
    }

    async fn close(&self) {
        if let Some(store) = self.take() {
            in_real_time(store.close()).await;
        }
    }

    /// What a kill leaves is what the files hold at that moment, uncommitted parts and the log that
    /// nobody has folded back included. The store goes on for a moment in the files left behind.
    async fn kill(&self) {
        let Some(store) = self.take() else { return };
        let (old, new) = {
            let mut state = self.state.lock().unwrap();
            state.kills += 1;
            (self.path(state.kills - 1), self.path(state.kills))
        };
        copy(&old, &new, self.found);
        in_real_time(store.close()).await;
    }
}

/// The database first: its log only grows meanwhile, and holds what the database lacks.
fn copy(old: &Path, new: &Path, found: Found) {
    let with = |path: &Path, end: &str| PathBuf::from(format!("{}{end}", path.display()));
    let ends: &[&str] = match found {
        Found::All => &["", "-wal"],
        Found::NotTheLog => &[""],
    };
    for end in ends {
        match std::fs::copy(with(old, end), with(new, end)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            copied => drop(copied.unwrap()),
        }
    }
}

/// What the lives are drawn with.
fn seed() -> u64 {
    match std::env::var("DAAS_CRASH_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => {
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() % 1_000_000
        }
    }
}

fn points() -> Points {
    match std::env::var("DAAS_CRASH_POINTS").as_deref() {
        Ok("all") => Points::All,
        Ok(other) => panic!("DAAS_CRASH_POINTS is {other:?}; set it to \"all\" or not at all"),
        Err(_) => Points::Some { lives_max: LIVES_MAX, seed: seed() },
    }
}

fn judge(lives: &Lives) {
    eprintln!("{lives}");
    lives.judge();
}

fn crash(story: &str) {
    judge(&every_point(&Story::named(story), &InFile::make, points()));
}

#[test]
fn an_ephemeral_desktop_survives_crashes() {
    crash("ephemeral");
}

#[test]
fn a_personal_desktop_survives_crashes() {
    crash("personal");
}

#[test]
fn two_desktops_at_once_survive_crashes() {
    crash("together");
}

#[test]
fn one_close_behind_another_survives_crashes() {
    crash("close behind");
}

#[test]
fn a_full_house_survives_crashes() {
    crash("in turn");
}

#[test]
fn a_cancelled_desktop_survives_crashes() {
    crash("cancelled");
}

#[test]
fn a_desktop_cancelled_while_it_is_configured_survives_crashes() {
    crash("cancelled inside");
}

#[test]
fn lives_with_several_crashes_end_well() {
    judge(&several_at_once(&Story::named("close behind"), &InFile::make, seed(), LIVES_MAX));
}

#[test]
fn a_machine_that_arrives_late_leaves_nothing_behind() {
    judge(&late_effects(&Story::named("cancelled"), &InFile::make));
}

/// The crash points would tell if the store lost what it had acknowledged.
#[test]
fn a_store_that_loses_its_log_is_found_out() {
    let story = Story::named("cancelled");
    let lossy = || InFile::of(Found::NotTheLog);
    let lives = every_point(&story, &lossy, Points::Some { lives_max: 35, seed: 1 });
    assert!(!lives.wrong.is_empty(), "{lives}");
    assert!(lives.wrong.len() < lives.lives, "only kills lose anything: {lives}");
}
