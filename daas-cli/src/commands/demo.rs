//! `daas demo`: a simulated cluster with drawn guests, the server, and one desktop, on loopback.

use std::time::Duration;

use super::session::idempotency_key;
use crate::args::DemoArgs;
use crate::exit::{Code, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::{print, tell};
use crate::wire::{Ask, Session};
use crate::world::{PERSON, World, WorldArgs};

/// How long the desktop may take.
const READY: Duration = Duration::from_secs(180);
/// How long its destruction may take.
const GONE: Duration = Duration::from_secs(60);
/// The account in the demo's desktop. It is no secret: everything listens on this machine only.
const ACCOUNT: (&str, &str) = ("demo", "demo");

pub(crate) async fn run(args: DemoArgs) -> Outcome {
    let mut interrupt = Interrupt::listen()?;
    let world = World::start(WorldArgs {
        port: args.port,
        scale: args.scale,
        nodes: 3,
        ..WorldArgs::default()
    })
    .await?;
    let shown = tokio::select! {
        shown = show(&world, args.once) => shown,
        () = interrupt.pressed() => Ok(()),
    };
    tell("stopping: the desktop is destroyed, nothing is left (Ctrl-C: at once)");
    let cleaned = tokio::select! {
        cleaned = world.clear(GONE) => cleaned,
        () = interrupt.pressed() => {
            world.end().await?;
            return shown;
        }
    };
    let left = world.stop().await;
    shown?;
    cleaned?;
    left
}

async fn show(world: &World, once: bool) -> Outcome {
    let client = world.client()?;
    tell(&format!("a simulated Proxmox VE cluster runs at {}", world.sim_url()));
    tell(&format!("the server runs at {}", world.url()));
    let ask = Ask {
        template: "debian-xfce".to_owned(),
        session_user: Some(ACCOUNT.0.to_owned()),
        session_password: Some(ACCOUNT.1.to_owned()),
        ..Ask::default()
    };
    let asked = client.ask(&ask, &idempotency_key()).await?;
    let mut last = String::new();
    let seen = |session: &Session| {
        let line = format!("{}  {}: {}", session.id, session.phase, session.doing());
        if line != last {
            tell(&line);
            last = line;
        }
    };
    let done = |session: &Session| session.is_ready() || session.is_over();
    let session = client.until(&asked.id, READY, seen, done).await?;
    let Some(address) = session.address.clone().filter(|_| session.is_ready()) else {
        let why = session.failure().unwrap_or(session.doing());
        return Err(Failure::new(Code::Failed, format!("the desktop did not become ready: {why}")));
    };
    print(&guide(world, &session, &address))?;
    if once {
        return Ok(());
    }
    tell("the demo stays until Ctrl-C");
    std::future::pending().await
}

fn guide(world: &World, session: &Session, address: &str) -> String {
    let rdp = session.rdp_address().unwrap_or_default();
    let (user, password) = ACCOUNT;
    format!(
        "
{id} is ready.

  Pages  {url}/desktops   (sign in as {PERSON}, password {PERSON})
  RDP    xfreerdp /v:{rdp} /u:{user} /p:{password} /cert:ignore
  VNC    {address}:{vnc}  (password {vnc_password})
  API    {url}/api/docs   (key in {key})
  List   daas --server {url} --key-file {key} session list
",
        id = session.id,
        vnc = world.vnc_port(),
        vnc_password = world.vnc_password(),
        url = world.url(),
        key = world.key_file().display(),
    )
}
