//! `daas-lab`: the lab by hand: what is missing, build the templates, boot one guest, clear up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use daas_lab::tools::{DESKTOP_TOOLS, GUEST_TOOLS, Missing};
use daas_lab::{Lab, LabConfig, NspawnGuest, NspawnGuests, Recipe, Templates, sweep};
use daas_sim::guest::{Guest, GuestMaker, GuestSpec, GuestState, Seed};

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Say what is missing, and how to install it.
    Doctor,
    /// Build the templates that are not in the cache.
    Templates {
        /// Their names; all that guests are made from if none.
        names: Vec<String>,
    },
    /// Boot one guest; Ctrl-C ends it.
    Up {
        /// Its host name.
        name: String,
        /// What it is made from.
        template: String,
        /// An OpenSSH public key that may sign in as root.
        #[arg(long)]
        key: Option<String>,
    },
    /// Clear what killed runs left.
    Sweep,
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let config = LabConfig::from_env();
    match Arguments::parse().chore {
        Chore::Doctor => doctor(),
        Chore::Templates { names } => templates(&config, &names),
        Chore::Up { name, template, key } => up(config, &name, &template, key),
        Chore::Sweep => {
            for id in sweep(&config.state)? {
                say(&format!("cleared {id}"));
            }
            Ok(())
        }
    }
}

fn doctor() -> anyhow::Result<()> {
    let all = [GUEST_TOOLS, DESKTOP_TOOLS].concat();
    match Missing::of(&all) {
        None => say("real guests and their desktops can run here"),
        Some(missing) => bail!("{missing}"),
    }
    Ok(())
}

fn templates(config: &LabConfig, names: &[String]) -> anyhow::Result<()> {
    let templates = Templates::new(&config.cache);
    let named = names.iter().map(|name| Recipe::named(name)).collect::<Result<Vec<_>, _>>()?;
    for recipe in if named.is_empty() { Recipe::all() } else { named } {
        let started = Instant::now();
        let tree = templates.ensure(&recipe)?;
        say(&format!("{}: {} ({:.1?})", recipe.name, tree.display(), started.elapsed()));
    }
    Ok(())
}

fn up(config: LabConfig, name: &str, template: &str, key: Option<String>) -> anyhow::Result<()> {
    let recipe = Recipe::named(template)?;
    // Before the lab is entered, where no package can be fetched.
    Templates::new(&config.cache).ensure(&recipe)?;
    let lab = Arc::new(Lab::open(config)?);
    lab.enter()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let done = runtime.block_on(run_one(&lab, name, recipe, key));
    drop(runtime);
    lab.close()?;
    done
}

async fn run_one(
    lab: &Arc<Lab>,
    name: &str,
    recipe: Recipe,
    key: Option<String>,
) -> anyhow::Result<()> {
    let image = recipe.name;
    let guests = NspawnGuests::prepare(Arc::clone(lab), &[(image, recipe)]).await?;
    let guest = guests.guest(&GuestSpec { vmid: 100, image: image.to_owned() }).await?;
    let started = Instant::now();
    guest.start(&seed(name, key)).await?;
    let mut state = guest.state();
    let up = state.wait_for(|state| *state == GuestState::AgentUp);
    let up = tokio::time::timeout(Duration::from_secs(120), up).await;
    up.with_context(|| format!("{name} does not come up:\n{}", guest.console()))??;
    let took = started.elapsed();
    say(&format!("{name} is up after {took:.1?} at {}", addresses(&guest).await?));
    say(&format!("to be in its network: nsenter --net=/run/netns/{}", lab.namespace()));
    tokio::signal::ctrl_c().await?;
    guests.close().await;
    Ok(())
}

async fn addresses(guest: &NspawnGuest) -> anyhow::Result<String> {
    let output = guest.exec(&["hostname", "-I"]).await?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn seed(name: &str, key: Option<String>) -> Seed {
    Seed {
        hostname: name.to_owned(),
        user: None,
        password_hash: None,
        ssh_keys: key.into_iter().collect(),
        mac: "BC:24:11:00:00:01".to_owned(),
        address: None,
        cores: 1,
        memory_mib: 1024,
        agent: true,
        boot: Duration::ZERO,
        agent_start: Duration::ZERO,
    }
}

#[expect(clippy::print_stdout, reason = "a program's answer")]
fn say(line: &str) {
    println!("{line}");
}
