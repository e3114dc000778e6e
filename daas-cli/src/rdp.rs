//! The RDP client that is there: found, started, and waited for.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::exit::{Code, Failure, Outcome};

/// What a client is started with.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// The .rdp file.
    pub(crate) file: &'a Path,
    /// `address:port`
    pub(crate) address: &'a str,
    /// The account, if there is one of its own.
    pub(crate) user: Option<&'a str>,
}

/// A way to start a client: the program, and its arguments with `{file}`, `{address}`, `{user}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RdpClient {
    program: PathBuf,
    arguments: Vec<String>,
}

/// The clients looked for, in this order, with the arguments each needs.
const KNOWN: [(&str, &[&str]); 5] = [
    ("mstsc", &["{file}"]),
    ("xfreerdp3", &["/v:{address}", "/u:{user}", "/cert:tofu", "/dynamic-resolution"]),
    ("xfreerdp", &["/v:{address}", "/u:{user}", "/cert:tofu", "/dynamic-resolution"]),
    ("wlfreerdp", &["/v:{address}", "/u:{user}", "/cert:tofu"]),
    ("remmina", &["-c", "{file}"]),
];

impl RdpClient {
    /// The client named by the user, or the first that is there.
    pub(crate) fn find(wished: Option<&str>) -> Outcome<Self> {
        if let Some(line) = wished {
            let mut words = line.split_whitespace().map(str::to_owned);
            let program =
                words.next().ok_or_else(|| Failure::new(Code::Usage, "--rdp-client is empty"))?;
            return Ok(Self { program: program.into(), arguments: words.collect() });
        }
        for (name, arguments) in KNOWN {
            if let Some(program) = on_path(name) {
                let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
                return Ok(Self { program, arguments });
            }
        }
        if cfg!(target_os = "macos") && Path::new("/Applications/Windows App.app").exists() {
            let arguments = ["-W", "-a", "Windows App", "{file}"].map(str::to_owned).to_vec();
            return Ok(Self { program: "/usr/bin/open".into(), arguments });
        }
        let names: Vec<_> = KNOWN.iter().map(|(name, _)| *name).collect();
        Err(Failure::new(
            Code::Failed,
            format!("no RDP client found (looked for {})", names.join(", ")),
        )
        .hint("install one (Debian: apt install freerdp2-x11), or name one with --rdp-client"))
    }

    /// Starts it. It ends when the handle is dropped.
    pub(crate) fn start(&self, target: &Target<'_>) -> Outcome<Child> {
        let user = target.user.unwrap_or_default();
        let arguments = self
            .arguments
            .iter()
            .filter(|argument| !(user.is_empty() && argument.contains("{user}")))
            .map(|argument| {
                argument
                    .replace("{file}", &target.file.to_string_lossy())
                    .replace("{address}", target.address)
                    .replace("{user}", user)
            });
        Command::new(&self.program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Failure::new(Code::Failed, format!("{}: {e}", self.program.display())))
    }

    /// Its name, for people.
    pub(crate) fn name(&self) -> String {
        self.program.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = [name.to_owned(), format!("{name}.exe")];
    std::env::split_paths(&path)
        .flat_map(|directory| names.clone().map(|name| directory.join(name)))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_client_is_taken_as_it_is() {
        let client = RdpClient::find(Some("my-client --full {file}")).expect("named");
        assert_eq!(client.name(), "my-client");
        assert_eq!(client.arguments, ["--full", "{file}"]);
        assert!(RdpClient::find(Some("  ")).is_err());
    }
}
