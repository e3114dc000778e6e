//! `daas user`: people whom the server knows by itself, and what it keeps of others.

use std::path::Path;

use daas_core::audit::Act;
use daas_core::secret::Secret;
use daas_core::{Error, Kind, Operation};
use daas_http::identity::hash_password;
use serde_json::json;

use super::key::{audited, store};
use super::password;
use crate::args::{ServeArgs, UserCommand};
use crate::exit::{Code, Failure, Outcome};
use crate::output::{Output, print, tell};

pub(crate) async fn run(output: Output, command: UserCommand) -> Outcome {
    match command {
        UserCommand::Hash { password_file } => hash(output, &password_file),
        UserCommand::ResetSecondFactor { owner, serve } => reset(&owner, &serve).await,
    }
}

fn hash(output: Output, password_file: &Path) -> Outcome {
    let given = password(Some(password_file))?.unwrap_or_default();
    let hash = hash_password(&Secret::new(given));
    let hash = hash.map_err(|e| Failure::new(Code::Usage, e.to_string()))?;
    tell("for [identity.users.NAME] of the configuration, as password_hash");
    if output.json {
        return output.print_json(&json!({ "password_hash": hash }));
    }
    print(&hash)
}

async fn reset(owner: &str, serve: &ServeArgs) -> Outcome {
    let way = "while the server runs, ask its API: DELETE /api/v1/second-factors/OWNER";
    let (settings, store) = store(serve, way).await?;
    let owner =
        settings.realms.owner(owner).map_err(|e| Failure::new(Code::Usage, e.to_string()))?;
    let removed = async {
        if store.second_factors().remove_second_factor(&owner).await? {
            return Ok(());
        }
        let why = format!("{owner} has no second factor");
        Err(Error::new(Kind::NotFound, Operation::Store, &owner, why))
    };
    let subject = format!("second factor of {owner}");
    audited(&settings, &store, Act::AccountChange, &subject, removed).await?;
    tell(&format!("{owner} has no second factor any more"));
    Ok(())
}
