//! Fetches the browser clients (`clients/package-lock.json`) with npm and packs them for the
//! program. They are other people's work under their own licences, so none of it is in this
//! repository. Without npm, or without a way to its registry, the build goes on without them and
//! says so; `DAAS_BROWSER_CLIENTS=required` makes that an error, `none` leaves them out.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;

const SETTING: &str = "DAAS_BROWSER_CLIENTS";
/// The files that decide what is fetched.
const LOCK: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];
/// What is served of each package: files, and folders with all their scripts.
const SERVED: [(&str, &[&str]); 3] = [
    ("@novnc/novnc", &["core", "vendor", "LICENSE.txt"]),
    ("@devolutions/iron-remote-desktop", &["iron-remote-desktop.js"]),
    ("@devolutions/iron-remote-desktop-rdp", &["iron-remote-desktop-rdp.js"]),
];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    println!("cargo::rerun-if-env-changed={SETTING}");
    for file in LOCK {
        println!("cargo::rerun-if-changed=clients/{file}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    let wish = std::env::var(SETTING).unwrap_or_default();
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut table = String::from("static FILES: &[(&str, &[u8])] = &[\n");
    if wish != "none" {
        match fetched(&out) {
            Ok(packages) => pack(&packages, &out, &mut table)?,
            Err(error) if wish == "required" => return Err(error),
            Err(error) => println!(
                "cargo::warning=desktops cannot be shown in browsers: the clients were not fetched \
                 ({error}); install npm, or set {SETTING}=none to leave them out"
            ),
        }
    }
    table.push_str("];\n");
    fs::write(out.join("clients.rs"), table)?;
    Ok(())
}

/// Fetches what the lock file names, each proved by its checksum; where it is.
fn fetched(out: &Path) -> Result<PathBuf> {
    let room = out.join("clients");
    fs::create_dir_all(&room)?;
    for file in LOCK {
        fs::copy(Path::new("clients").join(file), room.join(file))?;
    }
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let ran = Command::new(npm)
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&room)
        .output()
        .map_err(|error| format!("cannot run npm: {error}"))?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr);
        let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("no word").trim();
        return Err(format!("npm ci: {said}").into());
    }
    Ok(room.join("node_modules"))
}

/// Packs every file that is served and adds it to the table, by its name in addresses: the
/// version is in it, so that browsers may keep what they have.
fn pack(packages: &Path, out: &Path, table: &mut String) -> Result<()> {
    let packed = out.join("packed");
    fs::create_dir_all(&packed)?;
    let mut count = 0;
    for (package, parts) in SERVED {
        let root = packages.join(package);
        let about = fs::read_to_string(root.join("package.json"))?;
        let version = about
            .split("\"version\"")
            .nth(1)
            .and_then(|rest| rest.split('"').nth(1))
            .ok_or_else(|| format!("{package} does not tell its version"))?;
        let short = package.rsplit('/').next().unwrap_or(package);
        let mut files = Vec::new();
        for part in parts {
            files_of(&root.join(part), &mut files)?;
        }
        files.sort();
        for file in files {
            let inside = file.strip_prefix(&root)?.to_string_lossy().replace('\\', "/");
            let target = packed.join(format!("{count}.gz"));
            count += 1;
            let mut gz = GzEncoder::new(fs::File::create(&target)?, Compression::best());
            std::io::copy(&mut fs::File::open(&file)?, &mut gz)?;
            gz.finish()?;
            let name = format!("{short}-{version}/{inside}");
            writeln!(table, "    ({name:?}, include_bytes!({:?})),", target.display().to_string())?;
        }
    }
    Ok(())
}

fn files_of(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            files_of(&entry?.path(), files)?;
        }
        return Ok(());
    }
    let served = path.extension().is_some_and(|e| e == "js" || e == "txt");
    if served || path.file_name().is_some_and(|name| name == "LICENSE") {
        files.push(path.to_owned());
    }
    Ok(())
}
