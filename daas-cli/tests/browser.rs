//! What people see, in a real browser: stories told to headless Chromium (`browser/*.mjs`) against
//! the demo's server, its simulated cluster and its drawn desktops. Pictures of every page stay in
//! `target/tmp/pictures`.
//!
//! They need Node.js, Chromium and what `cargo xtask test --install` puts beside them; where that is
//! missing they are ignored with the reason, and where `CI=true` they fail.

mod served;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use daas_core::secret::Secret;
use daas_http::identity::hash_password;
use daas_lab::trials::{run_or_explain, trial_unless};
use daas_sim::{NullGuests, SimConfig, Simulator};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use served::Served;

/// The stories, by the file that tells each.
const STORIES: [&str; 4] = ["console", "rdp", "pages", "ends"];
/// How long a story may take.
const STORY: Duration = Duration::from_secs(300);
/// How long the demo may take until its first desktop is there, and until nothing of it is left.
const DEMO: Duration = Duration::from_secs(120);
/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Who signs in, and the password.
const PERSON: &str = "demo";
const WAY_OUT: &str = "cargo xtask test --install";

fn main() {
    let missing = missing();
    let reason = missing.clone().unwrap_or_default();
    let told = |name: &'static str| {
        trial_unless(missing.clone(), name, move || {
            let demo = Demo::start();
            tell(name, &demo.place);
            demo.stop();
        })
    };
    let mut trials: Vec<_> = STORIES.into_iter().map(told).collect();
    trials.push(trial_unless(missing, "restart", restart));
    run_or_explain(trials, &reason);
}

/// The server is killed under somebody who is connected, and comes back.
fn restart() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let guests = Arc::new(NullGuests::default());
        let sim = Simulator::start(SimConfig::nodes(1), guests).await.expect("a cluster");
        let hash = hash_password(&Secret::from(PERSON)).expect("a hash");
        let identity = format!("[identity.users.{PERSON}]\npassword_hash = {hash:?}\n");
        let mut served = Served::on(Arc::new(sim), &identity).await;
        served.keep_address();
        let key_file = served.directory.path().join("browser.key");
        fs::write(&key_file, &served.key).expect("writes");
        let place =
            Place { url: served.url().to_owned(), key_file: key_file.display().to_string() };
        let told = std::thread::spawn(move || tell("restart", &place));
        let is_shown = async || {
            let listed = served.call("GET", "/api/v1/connections", Value::Null).await;
            let carried = |c: &Value| c["bytes_down"].as_u64().is_some_and(|bytes| bytes > 0);
            listed.is_some_and(|(_, list)| {
                list["connections"].as_array().is_some_and(|all| all.iter().any(carried))
            })
        };
        served.until_in(STORY, "shown", is_shown).await;
        served.kill();
        served.serve();
        tokio::task::spawn_blocking(|| told.join().expect("the story")).await.expect("its end");
    });
}

/// Where the stories' own tools are installed, and where they are told.
fn room() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser")
}

fn missing() -> Option<String> {
    let program = ["node", "chromium"].into_iter().find(|program| find(program).is_none());
    let needs = match program {
        Some(program) => program,
        None if !room().join("node_modules").is_dir() => "playwright-core and axe-core",
        None => return None,
    };
    Some(format!("needs {needs}; to run them: {WAY_OUT}"))
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|place| place.join(program)).find(|file| file.is_file())
}

/// Tells a story; a failure shows all it said.
fn tell(name: &str, place: &Place) {
    let (room, scripts) = (room(), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser"));
    for script in fs::read_dir(&scripts).expect("the stories are there") {
        let script = script.expect("a story").path();
        if script.extension().is_some_and(|e| e == "mjs") {
            fs::copy(&script, room.join(script.file_name().expect("a file"))).expect("copies");
        }
    }
    let mut story = Command::new("node")
        .arg(format!("{name}.mjs"))
        .current_dir(&room)
        .env("DAAS_URL", &place.url)
        .env("DAAS_KEY_FILE", &place.key_file)
        .env("DAAS_PERSON", PERSON)
        .env("DAAS_PASSWORD", PERSON)
        .env("DAAS_CHROMIUM", find("chromium").expect("it was there"))
        .env("DAAS_PICTURES", Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut streams: Vec<Box<dyn std::io::Read + Send>> = Vec::new();
    streams.extend(story.stdout.take().map(|s| Box::new(s) as Box<dyn std::io::Read + Send>));
    streams.extend(story.stderr.take().map(|s| Box::new(s) as Box<dyn std::io::Read + Send>));
    let readers: Vec<JoinHandle<String>> = streams.into_iter().map(read).collect();
    let good = ends(&mut story, STORY).unwrap_or_else(|| {
        // The browser ends with the script that drives it.
        story.kill().expect("it is ours");
        story.wait().expect("it is ours");
        false
    });
    let said: Vec<String> = readers.into_iter().filter_map(|r| r.join().ok()).collect();
    assert!(good, "{name}:\n{}", said.concat());
}

fn read(mut stream: Box<dyn std::io::Read + Send>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = Vec::new();
        // What was read before an error is all there is to show.
        let _ = stream.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// Whether a process ended well; absent: it did not end in time.
fn ends(child: &mut Child, within: Duration) -> Option<bool> {
    let end = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait().expect("it is ours") {
            return Some(status.success());
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}

/// Where a story is told.
#[derive(Debug, Clone, Default)]
struct Place {
    url: String,
    /// An administrator's key.
    key_file: String,
}

/// A demo at work.
struct Demo {
    process: Child,
    place: Place,
}

impl Demo {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_daas"))
            .args(["demo", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the demo starts");
        let said = BufReader::new(process.stdout.take().expect("its output"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                // After the guide nobody listens any more, but it must not wait for a reader.
                let _ = sender.send(line);
            }
        });
        let mut demo = Self { process, place: Place::default() };
        let end = Instant::now() + DEMO;
        while demo.place.key_file.is_empty() || demo.place.url.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            let line = lines.recv_timeout(left).expect("the demo's guide");
            if let Some(rest) = line.trim().strip_prefix("API") {
                let mut words = rest.split_whitespace();
                let api = words.next().expect("an address");
                demo.place.url = api.trim_end_matches("/api/docs").to_owned();
                demo.place.key_file =
                    words.last().expect("a file").trim_end_matches(')').to_owned();
            }
        }
        demo
    }

    /// Ends it as Ctrl-C does; it must leave in order.
    fn stop(mut self) {
        self.interrupt();
        assert_eq!(ends(&mut self.process, DEMO), Some(true), "the demo does not end in order");
    }

    fn interrupt(&self) {
        if let Some(pid) = Pid::from_raw(self.process.id().cast_signed()) {
            // It may be gone already.
            let _ = kill_process(pid, Signal::INT);
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(Some(_))) {
            return;
        }
        self.interrupt();
        if ends(&mut self.process, DEMO).is_none() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
