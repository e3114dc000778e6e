//! `daas audit`: the log of who did what, taken away and checked.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;

use daas_compose::Settings;
use daas_core::audit::file::{self, Export};
use daas_core::audit::{AuditFilter, AuditPage, Head, PublicKey, Verdict, Verifier};
use daas_core::store::SessionStore;
use futures::{StreamExt, TryStreamExt};

use super::serve::{compose, settings};
use crate::args::{AuditCommand, ServeArgs};
use crate::client::Client;
use crate::exit::{Code, Failure, Outcome};
use crate::output::{Output, print, tell};

pub(crate) async fn run(
    client: impl FnOnce() -> Outcome<Client>,
    output: Output,
    command: AuditCommand,
) -> Outcome {
    match command {
        AuditCommand::Export { offline: false, .. } => fetch(&client()?).await,
        AuditCommand::Export { offline: true, serve } => write_store(&serve).await,
        AuditCommand::Verify { file: Some(path), key, expect, .. } => {
            let (about, verifier) = read_file(&path, &key)?;
            if key.is_empty() {
                tell(&format!(
                    "warning: the signatures are checked with the key that the file itself names, \
                     {}; whoever made the file chose it. Give yours with --key",
                    about.key
                ));
            }
            judge(output, &verifier.finish(&expect))
        }
        AuditCommand::Verify { file: None, key, expect, serve } => {
            let verdict = read_store(&serve, key, &expect).await?;
            judge(output, &verdict)
        }
        AuditCommand::Head { serve } => {
            let (_, store) = store(&serve).await?;
            let page = AuditPage { after: None, newest_first: true, limit: 1 };
            let newest = store.audit().entries(&AuditFilter::default(), &page).await;
            match newest.map_err(failed)?.first() {
                Some(placed) => print(&placed.entry.head().to_string()),
                None => Err(Failure::new(Code::NotFound, "the audit log is empty")),
            }
        }
        AuditCommand::Key { serve } => {
            let key = daas_compose::audit_key(&settings(&serve)?).map_err(compose)?;
            print(&key.public().to_string())
        }
    }
}

/// The server's log to standard output, as it comes.
async fn fetch(client: &Client) -> Outcome {
    let response = client.audit_export().await?;
    let mut pieces = response.bytes_stream();
    let mut last = Vec::new();
    while let Some(piece) = pieces.next().await {
        let broken = |e| Failure::new(Code::Unavailable, format!("the export broke off: {e}"));
        let piece = piece.map_err(broken)?;
        put(&piece)?;
        // The end of what was written, to see whether the last line is there.
        last.extend_from_slice(&piece);
        let surplus = last.len().saturating_sub(200);
        last.drain(..surplus);
    }
    let end = String::from_utf8_lossy(&last);
    if end.trim_end().lines().last().is_some_and(|line| line.starts_with("{\"kind\":\"end\"")) {
        return Ok(());
    }
    Err(Failure::new(Code::Unavailable, "the export broke off before its last line")
        .hint("the server's log tells why; try again"))
}

async fn write_store(args: &ServeArgs) -> Outcome {
    let (settings, store) = store(args).await?;
    let key = daas_compose::audit_key(&settings).map_err(compose)?.public();
    let deployment = store.deployment().await.map_err(failed)?;
    let about = Export { version: 1, deployment, key, at: jiff::Timestamp::now() };
    let mut lines = Box::pin(file::export(store.audit(), about));
    while let Some(piece) = lines.try_next().await.map_err(failed)? {
        put(piece.as_bytes())?;
    }
    Ok(())
}

fn put(bytes: &[u8]) -> Outcome {
    match std::io::stdout().lock().write_all(bytes) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::Unread, "nobody reads the answer"))
        }
        Err(error) => Err(Failure::new(Code::Failed, format!("standard output: {error}"))),
    }
}

fn read_file(path: &Path, keys: &[PublicKey]) -> Outcome<(Export, Verifier)> {
    let input: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let cannot = |e| Failure::new(Code::Usage, format!("cannot read {}: {e}", path.display()));
        Box::new(BufReader::new(File::open(path).map_err(cannot)?))
    };
    let wrong = |e: daas_core::Error| {
        Failure::new(Code::Failed, format!("{}: {}", path.display(), e.chain()))
            .hint("a whole file is what `daas audit export` writes")
    };
    file::read(input, keys).map_err(wrong)
}

async fn read_store(
    args: &ServeArgs,
    mut keys: Vec<PublicKey>,
    expect: &[Head],
) -> Outcome<Verdict> {
    let (settings, store) = store(args).await?;
    if keys.is_empty() {
        keys.push(daas_compose::audit_key(&settings).map_err(compose)?.public());
    }
    let deployment = store.deployment().await.map_err(failed)?;
    let mut verifier = Verifier::new(deployment, keys);
    file::read_store(store.audit().as_ref(), &mut verifier).await.map_err(failed)?;
    Ok(verifier.finish(expect))
}

/// What was found, for people or for programs; a log that was changed is a failure.
fn judge(output: Output, verdict: &Verdict) -> Outcome {
    if output.json {
        output.print_json(verdict)?;
    } else {
        for line in said(verdict) {
            print(&line)?;
        }
    }
    let breaks = verdict.breaks.len() as u64 + verdict.more_breaks;
    if verdict.is_sound() {
        return Ok(());
    }
    let why = format!("the audit log is not as it was written: {breaks} breaks were found");
    Err(Failure::new(Code::Failed, why))
}

fn said(verdict: &Verdict) -> Vec<String> {
    let mut lines: Vec<String> = verdict.breaks.iter().map(|b| format!("BREAK  {b}")).collect();
    if verdict.more_breaks > 0 {
        lines.push(format!("BREAK  and {} more", verdict.more_breaks));
    }
    let (entries, chains) = (verdict.entries, verdict.chains.len());
    lines.push(format!("{entries} entries in {chains} chains"));
    for chain in verdict.chains.iter().filter(|chain| !chain.closed) {
        let (writer, number) = (&chain.head.writer, chain.head.number);
        lines.push(format!(
            "chain {writer} was not closed: it runs still, or was killed at {number}"
        ));
    }
    if verdict.unsigned > 0 {
        let what =
            "entries follow the last signature of their chain: nothing proves that they are all";
        lines.push(format!("{} {what}", verdict.unsigned));
    }
    if verdict.unanswered > 0 {
        let what = "acts have no end: they may have happened or not";
        lines.push(format!("{} {what}", verdict.unanswered));
    }
    if let (true, Some(newest)) = (verdict.is_sound(), &verdict.newest) {
        lines.push(
            "nothing was changed up to the newest entry; a log cut after it shows only by".into(),
        );
        lines.push(format!("--expect {newest}"));
    }
    lines
}

async fn store(args: &ServeArgs) -> Outcome<(Settings, Arc<dyn SessionStore>)> {
    let settings = settings(args)?;
    let store = daas_compose::open_store(&settings).await.map_err(|e| {
        compose(e)
            .hint("while the server runs: `daas audit export > FILE`, then verify --file FILE")
    })?;
    Ok((settings, store))
}

fn failed(error: daas_core::Error) -> Failure {
    Failure::new(Code::Failed, error.chain())
}
