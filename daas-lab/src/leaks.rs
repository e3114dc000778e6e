//! Proves that nothing is left of a lab: an inventory of all that bears a lab's name, by what the
//! kernel and the file system say, compared with an earlier one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::lab::LabConfig;
use crate::process;
use crate::run::PREFIX;
use crate::trace;

/// The inventory at one moment.
#[derive(Debug)]
pub struct Leaks {
    config: LabConfig,
    of: String,
    before: BTreeSet<String>,
}

impl Leaks {
    /// What there is of all labs on this machine.
    pub fn snapshot(config: &LabConfig) -> Leaks {
        Leaks::of(config, "")
    }

    /// What there is of the lab with this id; other labs may come and go meanwhile.
    pub fn of(config: &LabConfig, id: &str) -> Leaks {
        let of = format!("{PREFIX}{id}");
        let before = inventory(config, &of);
        Leaks { config: config.clone(), of, before }
    }

    /// For the lab with this id, which ought to be gone: all there is of it is a leak.
    pub fn of_absent(config: &LabConfig, id: &str) -> Leaks {
        let of = format!("{PREFIX}{id}");
        Leaks { config: config.clone(), of, before: BTreeSet::new() }
    }

    /// What is there now and was not before, a line each; waits up to two seconds for the kernel to
    /// finish with what was killed.
    pub fn check(&self) -> Vec<String> {
        let new = || -> Vec<String> {
            inventory(&self.config, &self.of).difference(&self.before).cloned().collect()
        };
        let gone = process::poll(Duration::from_secs(2), Duration::from_millis(20), || {
            new().is_empty().then_some(())
        });
        if gone.is_some() { Vec::new() } else { new() }
    }
}

fn inventory(config: &LabConfig, name: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let namespaces = trace::entries(Path::new(trace::NAMESPACES), name);
    for path in &namespaces {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        all.insert(format!("namespace {name}"));
        for process in trace::in_namespace(&name) {
            all.insert(format!("process {} {}", process.pid, process.name()));
        }
    }
    for dir in [&config.temp, &config.state] {
        all.extend(trace::entries(dir, name).iter().map(|path| format!("dir {}", path.display())));
    }
    for point in trace::mounts_below(Path::new("/")) {
        if point.to_string_lossy().contains(name) {
            all.insert(format!("mount {}", point.display()));
        }
    }
    for process in process::all() {
        if runs_a_machine(process.pid, name) || is_rooted(&config.temp, process, name) {
            all.insert(format!("process {} {}", process.pid, process.name()));
        }
    }
    if let Some(groups) = crate::cgroup::path("") {
        let groups = trace::entries(&groups, name);
        all.extend(groups.iter().map(|path| format!("group {}", path.display())));
    }
    for link in trace::entries(Path::new("/sys/class/net"), "labv") {
        // Outside its lab's namespace a card has lost its owner, and is a leak of every lab.
        all.insert(format!("link {}", link.display()));
    }
    all
}

/// Also finds an nspawn whose namespace has lost its name.
fn runs_a_machine(pid: i32, name: &str) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line);
    line.split('\0').any(|word| {
        word.strip_prefix("--machine=").is_some_and(|machine| machine.starts_with(name))
    })
}

fn is_rooted(temp: &Path, process: process::Process, name: &str) -> bool {
    trace::root_of(process)
        .and_then(|upper| upper.strip_prefix(temp).ok().map(Path::to_owned))
        .is_some_and(|rest| rest.to_string_lossy().starts_with(name))
}
