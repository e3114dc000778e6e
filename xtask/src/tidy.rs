//! House rules that no lint knows: size of files, a first line that says what a file is, and nothing
//! that belongs to one machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{root, say};

/// Lines of a file; what is longer wants to be two.
const LINES_MAX: usize = 600;

/// Bytes of a file that is looked at; larger ones are data.
const BYTES_MAX: u64 = 1 << 20;

/// Checks every file that git knows or would add.
pub(crate) fn run() -> Result<()> {
    let root = root();
    let mut found = Vec::new();
    for path in files(&root)? {
        let whole = root.join(&path);
        if !whole.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= BYTES_MAX) {
            continue;
        }
        let bytes = fs::read(&whole).with_context(|| format!("read {}", path.display()))?;
        if let Ok(text) = String::from_utf8(bytes) {
            found.extend(faults(&path, &text));
        }
    }
    for fault in &found {
        say(fault);
    }
    if !found.is_empty() {
        bail!("{} faults", found.len());
    }
    Ok(())
}

fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let listed = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output =
        Command::new("git").current_dir(root).args(listed).output().context("start git")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let names = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}

fn faults(path: &Path, text: &str) -> Vec<String> {
    let shown = path.display();
    let mut found = Vec::new();
    if path.extension().is_some_and(|extension| extension == "rs") {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            found.push(format!("{shown}: {lines} lines; split it, {LINES_MAX} are enough"));
        }
        if !text.starts_with("//!") {
            found.push(format!("{shown}: opens without //!; say what the file is"));
        }
    }
    for (number, line) in text.lines().enumerate() {
        if let Some(why) = foreign(line) {
            found.push(format!("{shown}:{}: {why}", number + 1));
        }
    }
    found
}

/// What in a line belongs to the machine it was written on.
fn foreign(line: &str) -> Option<String> {
    // Put together here, so that this file passes its own check.
    let homes = [concat!("/wo", "rk/"), concat!("/ro", "ot/.cargo"), concat!("/ro", "ot/.rustup")];
    let hosts = [concat!("arti", "factory"), concat!("index.crates", ".io:")];
    let has =
        |words: &[&str]| words.iter().find(|word| line.contains(*word)).map(|w| (*w).to_owned());
    if let Some(word) = has(&homes) {
        return Some(format!("the path {word} is of one machine"));
    }
    has(&hosts).map(|word| format!("{word} is of one registry"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_fault_and_nothing_else() {
        let check = |name: &str, text: &str| faults(Path::new(name), text).len();
        assert_eq!(check("a.rs", "//! Says what.\nfn a() {}\n"), 0);
        assert_eq!(check("a.rs", "fn a() {}\n"), 1);
        assert_eq!(check("a.rs", &format!("//! a\n{}", "\n".repeat(LINES_MAX))), 1);
        assert_eq!(check("a.md", &"\n".repeat(LINES_MAX + 1)), 0);
        assert_eq!(check("a.md", &format!("see {}/x\n", concat!("/wo", "rk"))), 1);
        assert_eq!(check("a.toml", &format!("{}.example\n", concat!("arti", "factory"))), 1);
    }
}
