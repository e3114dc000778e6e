//! The commands, one module each.

pub(crate) mod audit;
pub(crate) mod bench;
pub(crate) mod connect;
pub(crate) mod demo;
pub(crate) mod inventory;
pub(crate) mod key;
pub(crate) mod onlooker;
pub(crate) mod quarantine;
pub(crate) mod serve;
pub(crate) mod session;
pub(crate) mod user;
mod watch;

use crate::exit::Outcome;
use std::path::Path;

/// A password from a file, or a line of standard input; never from the command line.
pub(crate) fn password(file: Option<&Path>) -> Outcome<Option<String>> {
    use crate::exit::{Code, Failure};
    let Some(file) = file else { return Ok(None) };
    let text = if file == Path::new("-") {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    } else {
        std::fs::read_to_string(file)
    };
    let cannot = |e| Failure::new(Code::Usage, format!("cannot read {}: {e}", file.display()));
    let text = text.map_err(cannot)?;
    Ok(Some(text.trim_end_matches(['\n', '\r']).to_owned()))
}
