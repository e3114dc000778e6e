//! `daas user`: people whom the server knows by itself, in its configuration.

use daas_core::secret::Secret;
use daas_http::identity::hash_password;
use serde_json::json;

use super::password;
use crate::args::UserCommand;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{Output, print, tell};

pub(crate) fn run(output: Output, command: &UserCommand) -> Outcome {
    let UserCommand::Hash { password_file } = command;
    let given = password(Some(password_file))?.unwrap_or_default();
    let hash = hash_password(&Secret::new(given));
    let hash = hash.map_err(|e| Failure::new(Code::Usage, e.to_string()))?;
    tell("for [identity.users.NAME] of the configuration, as password_hash");
    if output.json {
        return output.print_json(&json!({ "password_hash": hash }));
    }
    print(&hash)
}
