//! The domain's layer: what provisioning wrote over the `dc` template, made once and kept beside
//! the templates. A guest on top of both is a domain controller after one boot.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use daas_sim::guest::Guest;
use sha2::{Digest, Sha256};

use super::facts;
use crate::error::LabError;
use crate::guest::{NspawnGuest, NspawnGuests};
use crate::lab::Lab;
use crate::template::{Recipe, Templates};
use crate::{process, sweep};

/// What makes the domain, read by a shell in the guest.
const PROVISION: &str = include_str!("provision.sh");

/// How long it may take; 20 seconds where this was written.
const PROVISION_DEADLINE: Duration = Duration::from_secs(300);
const STOP_DEADLINE: Duration = Duration::from_secs(60);
const COPY_DEADLINE: Duration = Duration::from_secs(120);

/// The trees a domain controller stands on, the topmost first; made if they are not in the cache.
pub(super) async fn ensure(lab: &Arc<Lab>) -> Result<Vec<PathBuf>, LabError> {
    let (cache, recipe) = (lab.config().cache.clone(), Recipe::dc());
    let layer = cache.join(key(&recipe));
    let (templates, wanted) = (Templates::new(&cache), recipe.clone());
    let template = blocking("build a template", move || templates.ensure(&wanted)).await?;
    // One maker at a time; who comes second finds it made.
    let _lock = blocking("lock the cache", move || {
        let lock = File::create(cache.join("domain.lock"));
        let lock = lock.map_err(LabError::io("open the cache's lock"))?;
        lock.lock().map_err(LabError::io("lock the cache"))?;
        Ok(lock)
    })
    .await?;
    if !layer.is_dir() {
        make(lab, &template, &layer).await?;
    }
    Ok(vec![layer, template])
}

/// Another script, another template or other facts make another layer.
fn key(recipe: &Recipe) -> String {
    let text = format!("{} {PROVISION} {:?}", recipe.key(), facts::environment());
    let digest = Sha256::digest(text.as_bytes());
    let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("domain-{hex}")
}

async fn make(lab: &Arc<Lab>, template: &Path, layer: &Path) -> Result<(), LabError> {
    tracing::info!("provisioning a domain");
    let guests = NspawnGuests::on_trees(Arc::clone(lab), "dc", vec![template.to_owned()]);
    let guest = super::boot(&guests, "dc").await?;
    let provisioned = provision(&guest).await;
    let stopped = match provisioned {
        // In good order, so that its databases are whole.
        Ok(()) => {
            guest.shutdown(STOP_DEADLINE).await.map_err(super::guest_error("stop the domain"))
        }
        Err(error) => Err(error),
    };
    let kept = match stopped {
        Ok(()) => {
            let (upper, layer) = (guest.upper(), layer.to_owned());
            blocking("keep the domain's layer", move || keep(&upper, &layer)).await
        }
        Err(error) => Err(error),
    };
    guest.erase().await.map_err(super::guest_error("remove the provisioning guest"))?;
    kept
}

async fn provision(guest: &NspawnGuest) -> Result<(), LabError> {
    let variables = facts::environment();
    let mut argv = vec!["env".to_owned()];
    argv.extend(variables.iter().map(|(name, value)| format!("{name}={value}")));
    argv.extend(["sh", "-c", PROVISION].map(str::to_owned));
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    let run = guest.exec(&words);
    let output = tokio::time::timeout(PROVISION_DEADLINE, run).await.map_err(|_| {
        LabError::Deadline { doing: "provision a domain".to_owned(), after: PROVISION_DEADLINE }
    })?;
    let output = output.map_err(super::guest_error("provision a domain"))?;
    super::checked("provision a domain", &output).map(drop)
}

/// Copies what the guest wrote, with all that an overlay and a domain controller keep in extended
/// attributes.
fn keep(upper: &Path, layer: &Path) -> Result<(), LabError> {
    let part = layer.with_extension("part");
    sweep::remove_tree(&part)?;
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(upper).arg(&part);
    process::run(&mut copy, b"", COPY_DEADLINE)?;
    fs::rename(&part, layer).map_err(LabError::io("put the domain's layer in its place"))
}

async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, LabError> + Send + 'static,
) -> Result<T, LabError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| LabError::io(doing)(std::io::Error::other(error)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_template_has_another_layer() {
        let mut more = Recipe::dc();
        more.packages.push("curl");
        assert_ne!(key(&Recipe::dc()), key(&more));
        assert_eq!(key(&Recipe::dc()), key(&Recipe::dc()));
    }
}
