//! `daas key`: API keys of the deployment on this machine, written straight into its store.

use daas_core::access::Role;
use daas_core::owner::Realms;
use serde_json::json;

use super::serve::{compose, settings};
use crate::args::{KeyCommand, RoleArg, ServeArgs};
use crate::exit::{Code, Failure, Outcome};
use crate::output::{Output, print, tell};

/// What to do while the server has the store open.
const WAY: &str = "while the server runs, make keys with its API: POST /api/v1/keys";

pub(crate) async fn run(output: Output, command: KeyCommand) -> Outcome {
    match command {
        KeyCommand::Add { name, owner, role, organisation, serve } => {
            let (store, realms) = store(&serve, WAY).await?;
            let wrong = |e: daas_core::Error| Failure::new(Code::Usage, e.to_string());
            let role = match role {
                RoleArg::User => Role::User,
                RoleArg::Operator => Role::Operator,
                RoleArg::Admin => Role::Admin,
            };
            let owner = realms.owner(&owner).map_err(wrong)?;
            let organisation = organisation.parse().map_err(wrong)?;
            let now = jiff::Timestamp::now();
            let (key, at_rest) =
                daas_http::mint_key(&name, owner, organisation, role, now).map_err(wrong)?;
            store.keys().add_key(&at_rest).await.map_err(failed)?;
            tell("this key is shown once; keep it in a file that only its user can read");
            if output.json {
                let owner = at_rest.owner.to_string();
                let made = json!({"name": at_rest.name, "owner": owner, "key": key.expose()});
                return output.print_json(&made);
            }
            print(key.expose())
        }
        KeyCommand::List { serve } => {
            let keys = store(&serve, WAY).await?.0.keys().keys().await.map_err(failed)?;
            let rows = keys.iter().map(|k| {
                let role = format!("{:?}", k.role).to_lowercase();
                vec![k.name.clone(), k.owner.to_string(), role, k.created_at.to_string()]
            });
            output.rows(&keys, &["name", "owner", "role", "made"], rows)
        }
        KeyCommand::Revoke { name, serve } => {
            if store(&serve, WAY).await?.0.keys().revoke_key(&name).await.map_err(failed)? {
                return Ok(());
            }
            Err(Failure::new(Code::NotFound, format!("there is no key {name}")))
        }
    }
}

/// The store on this machine, which nobody has open; `way` is what to do when somebody has.
pub(super) async fn store(
    args: &ServeArgs,
    way: &str,
) -> Outcome<(std::sync::Arc<dyn daas_core::store::SessionStore>, Realms)> {
    let settings = settings(args)?;
    let realms = settings.realms.clone();
    let store = daas_compose::open_store(&settings).await.map_err(|e| compose(e).hint(way))?;
    Ok((store, realms))
}

fn failed(error: daas_core::Error) -> Failure {
    Failure::new(Code::Failed, error.to_string())
}
