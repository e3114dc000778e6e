//! The audit log: what is written verifies, and whatever is changed afterwards is found and named.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use daas_core::audit::file::{self, Export, Line};
use daas_core::audit::{
    Act, AuditFilter, AuditKey, AuditLog, AuditPage, AuditSettings, AuditStore, Chain, Entry, Head,
    KnownBy, Note, Placed, PublicKey, SignedHead, Stage, Verdict,
};
use daas_core::clock::{Clock, ManualClock};
use daas_core::ids::DeploymentId;
use daas_core::owner::Owner;
use daas_core::store::{SessionStore, memory::MemoryStore};
use daas_core::{Error, Kind, Operation, Result};
use futures::TryStreamExt;
use jiff::Timestamp;

struct Bench {
    store: Arc<dyn AuditStore>,
    deployment: DeploymentId,
    clock: Arc<ManualClock>,
    pkcs8: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        Self::on(MemoryStore::new().audit())
    }

    fn on(store: Arc<dyn AuditStore>) -> Self {
        let clock = Arc::new(ManualClock::starting_at("2026-11-20T10:00:00Z".parse().unwrap()));
        let pkcs8 = AuditKey::mint().unwrap().pkcs8().to_vec();
        Self { store, deployment: DeploymentId::mint(), clock, pkcs8 }
    }

    fn key(&self) -> AuditKey {
        AuditKey::from_pkcs8(self.pkcs8.clone()).unwrap()
    }

    async fn open(&self) -> AuditLog {
        self.open_with(AuditSettings::default()).await.unwrap()
    }

    async fn open_with(&self, settings: AuditSettings) -> Result<AuditLog> {
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock) as Arc<dyn Clock>);
        AuditLog::open(store, self.deployment.clone(), self.key(), clock, settings).await
    }

    /// The log as a file.
    async fn lines(&self) -> Vec<Line> {
        let (deployment, key) = (self.deployment.clone(), self.key().public());
        let about = Export { version: 1, deployment, key, at: self.clock.now() };
        let text = file::export(Arc::clone(&self.store), about);
        let text: Vec<String> = text.try_collect().await.unwrap();
        text.concat().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    async fn verdict(&self) -> Verdict {
        self.judge(&self.lines().await, &[])
    }

    fn judge(&self, lines: &[Line], expect: &[Head]) -> Verdict {
        judge(lines, &[self.key().public()], expect).unwrap()
    }
}

fn judge(lines: &[Line], keys: &[PublicKey], expect: &[Head]) -> Result<Verdict> {
    let line = |line: &Line| serde_json::to_string(line).unwrap() + "\n";
    let text: String = lines.iter().map(line).collect();
    Ok(file::read(text.as_bytes(), keys)?.1.finish(expect))
}

fn stop(stage: Stage, answers: Option<u64>) -> Note {
    Note {
        owner: Some(Owner { realm: "lab".into(), name: "alice".into() }),
        known_by: KnownBy::Key("alice".into()),
        address: Some("192.0.2.1".parse().unwrap()),
        answers,
        ..Note::of(Act::SessionStop, stage)
    }
}

/// An act and its end.
async fn act(log: &AuditLog) -> u64 {
    let number = log.write(stop(Stage::Asked, None)).await.unwrap();
    log.leave(stop(Stage::Done, Some(number))).await;
    number
}

/// Two runs, the first with ten acts, the second with one.
async fn two_runs() -> Bench {
    let bench = Bench::new();
    let first = bench.open().await;
    for _ in 0..10 {
        act(&first).await;
    }
    first.close().await;
    let second = bench.open().await;
    act(&second).await;
    second.close().await;
    bench
}

#[tokio::test]
async fn what_is_written_verifies_from_run_to_run() {
    let bench = two_runs().await;
    let lines = bench.lines().await;
    let verdict = bench.judge(&lines, &[]);
    assert_eq!(verdict.breaks, []);
    // Opened, ten acts of two entries, closed; opened, one act, closed.
    assert_eq!((verdict.entries, verdict.unsigned, verdict.unanswered), (26, 0, 0));
    assert_eq!(verdict.chains.len(), 2);
    assert!(verdict.chains.iter().all(|chain| chain.closed && chain.signed == chain.head.number));
    let newest = verdict.newest.unwrap();
    assert!(bench.judge(&lines, std::slice::from_ref(&newest)).is_sound());
    let opened = entries(&lines).into_iter().rfind(|e| e.act == "log-opened").unwrap();
    assert_eq!(opened.links.len(), 1, "it vouches for the run before it");
}

fn entries(lines: &[Line]) -> Vec<Entry> {
    let entry = |line: &Line| match line {
        Line::Entry(entry) => Some((**entry).clone()),
        _ => None,
    };
    lines.iter().filter_map(entry).collect()
}

/// The lines' indices of the entries of the first chain.
fn places(lines: &[Line]) -> Vec<usize> {
    let first = entries(lines)[0].writer.clone();
    let ours = |line: &Line| matches!(line, Line::Entry(entry) if entry.writer == first);
    lines.iter().enumerate().filter(|(_, line)| ours(line)).map(|(at, _)| at).collect()
}

fn entry_at(lines: &mut [Line], index: usize) -> &mut Entry {
    match &mut lines[index] {
        Line::Entry(entry) => entry,
        other => panic!("{other:?} is no entry"),
    }
}

/// Makes the hashes right from the entry at `from` on, as whoever knows how would.
fn rehash(lines: &mut [Line], from: usize) {
    let writer = entry_at(lines, from).writer.clone();
    let mut previous = None;
    for line in &mut lines[from..] {
        if let Line::Entry(entry) = line
            && entry.writer == writer
        {
            entry.previous = previous.unwrap_or(entry.previous);
            entry.hash = entry.digest();
            previous = Some(entry.hash);
        }
    }
}

/// The file's last line made right.
fn recount(lines: &mut [Line]) {
    let count = |is: fn(&Line) -> bool| lines.iter().filter(|line| is(line)).count() as u64;
    let entries = count(|line| matches!(line, Line::Entry(_)));
    let heads = count(|line| matches!(line, Line::Head(_)));
    if let Some(Line::End(end)) = lines.last_mut() {
        (end.entries, end.heads) = (entries, heads);
    }
}

type Tamper = fn(&mut Vec<Line>);

#[tokio::test]
async fn each_tampering_is_found_and_named() {
    let bench = two_runs().await;
    let whole = bench.lines().await;
    let writer = entries(&whole)[0].writer.clone();
    let checks: &[(Tamper, &str)] = &[
        (
            |lines| {
                let at = places(lines)[4];
                entry_at(lines, at).owner = Some("mallory@lab".into());
            },
            "entry 5 was changed",
        ),
        (
            |lines| {
                let at = places(lines)[4];
                entry_at(lines, at).at = Timestamp::UNIX_EPOCH;
            },
            "entry 5 was changed",
        ),
        (
            |lines| {
                let at = places(lines)[4];
                entry_at(lines, at).owner = None;
                entry_at(lines, at).hash = entry_at(lines, at).digest();
            },
            "entry 6 does not follow entry 5",
        ),
        (
            |lines| {
                let at = places(lines)[4];
                entry_at(lines, at).owner = None;
                rehash(lines, at);
            },
            "up to there the chain was rewritten",
        ),
        (
            |lines| {
                lines.remove(places(lines)[4]);
            },
            "entry 5 is missing",
        ),
        (
            |lines| {
                let at = places(lines);
                lines.drain(at[4]..=at[6]);
            },
            "entries 5 to 7 are missing",
        ),
        (
            |lines| {
                let at = places(lines);
                lines.swap(at[4], at[5]);
            },
            "entry 5 comes after later ones",
        ),
        (
            |lines| {
                let (at, other) = (places(lines), entries(lines)[4].clone());
                entry_at(lines, at[5]).number = other.number;
                rehash(lines, at[5]);
            },
            "entry 5 comes twice",
        ),
        (
            |lines| {
                let at = places(lines)[4];
                lines.insert(at, lines[at].clone());
            },
            "entry 5 comes twice",
        ),
        (
            |lines| {
                let at = places(lines);
                at[15..].iter().rev().for_each(|at| drop(lines.remove(*at)));
            },
            "ends with entry 15, but entry 22 was signed: its end was cut",
        ),
        (
            |lines| {
                let at = places(lines);
                lines.drain(..at[3]).filter(|line| !matches!(line, Line::Entry(_))).count();
            },
            "does not begin as an export does",
        ),
        (
            |lines| {
                let at = places(lines);
                lines.drain(at[0]..at[3]);
            },
            "begins with entry 4, and no signed entry says",
        ),
        (
            |lines| {
                let head = lines.iter_mut().find_map(|line| match line {
                    Line::Head(head) if head.head.number == 22 => Some(head),
                    _ => None,
                });
                head.unwrap().head.number = 21;
            },
            "the signature of entry 21 is forged",
        ),
        (
            |lines| {
                lines.pop();
            },
            "it was cut",
        ),
    ];
    for (number, (tamper, expected)) in checks.iter().enumerate() {
        let mut lines = whole.clone();
        tamper(&mut lines);
        recount(&mut lines);
        let said = match judge(&lines, &[bench.key().public()], &[]) {
            Ok(verdict) => {
                let breaks = verdict.breaks.iter().map(ToString::to_string);
                breaks.collect::<Vec<_>>().join("\n")
            }
            Err(error) => error.to_string(),
        };
        assert!(said.contains(expected), "{number}: {expected:?} is not in {said:?}");
        let in_chain = !said.contains("chain ") || said.contains(&writer.0);
        assert!(in_chain, "{number}: {said}");
    }
}

/// Removes all signatures of the first chain, as who has the store and not the key can.
fn unsign(lines: &mut Vec<Line>) {
    let writer = entries(lines)[0].writer.clone();
    lines.retain(|line| !matches!(line, Line::Head(head) if head.head.writer == writer));
}

#[tokio::test]
async fn without_its_signatures_a_chain_is_still_vouched_for_by_the_next() {
    let bench = two_runs().await;
    let mut lines = bench.lines().await;
    unsign(&mut lines);
    let at = places(&lines)[4];
    entry_at(&mut lines, at).owner = None;
    rehash(&mut lines, at);
    recount(&mut lines);
    let verdict = bench.judge(&lines, &[]);
    let said = verdict.breaks.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(said.contains("entry 22, which chain"), "{said}");
}

#[tokio::test]
async fn a_log_cut_with_its_signatures_is_shown_by_a_head_kept_elsewhere_alone() {
    let bench = two_runs().await;
    let whole = bench.lines().await;
    let newest = bench.judge(&whole, &[]).newest.unwrap();
    // The whole last run, its signatures included.
    let mut cut = whole.clone();
    cut.retain(|line| match line {
        Line::Entry(entry) => entry.writer != newest.writer,
        Line::Head(head) => head.head.writer != newest.writer,
        _ => true,
    });
    recount(&mut cut);
    assert!(bench.judge(&cut, &[]).is_sound(), "nothing in it can tell");
    let verdict = bench.judge(&cut, std::slice::from_ref(&newest));
    assert!(verdict.breaks[0].to_string().contains("cut or rewritten"), "{verdict:?}");
}

#[tokio::test]
async fn another_key_or_another_deployment_is_found() {
    let (bench, other) = (two_runs().await, two_runs().await);
    let lines = bench.lines().await;
    let by_other = judge(&lines, &[other.key().public()], &[]).unwrap();
    assert!(by_other.breaks[0].to_string().contains("by another key"), "{by_other:?}");
    assert_eq!(by_other.unsigned, by_other.entries, "what another signed is not signed");
    // Either of two keys is good: a key may have been replaced.
    let both = [other.key().public(), bench.key().public()];
    assert!(judge(&lines, &both, &[]).unwrap().is_sound());
    // Without a key the file's own is believed.
    assert!(judge(&lines, &[], &[]).unwrap().is_sound());

    // A chain of another deployment, with its own good signatures, put into ours.
    let grafts = other.lines().await;
    let inner = |line: &&Line| matches!(line, Line::Entry(_) | Line::Head(_));
    let mut grafted = lines.clone();
    let end = grafted.pop().unwrap();
    grafted.extend(grafts.iter().filter(inner).cloned());
    grafted.push(end);
    recount(&mut grafted);
    let verdict = judge(&grafted, &both, &[]).unwrap();
    let said: Vec<String> = verdict.breaks.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|s| s.contains("not begun by this deployment")), "{said:?}");
    assert!(said.iter().any(|s| s.contains("is forged")), "{said:?}");
}

#[tokio::test]
async fn a_run_that_was_killed_is_vouched_for_by_the_next() {
    let bench = Bench::new();
    let killed = bench.open().await;
    let asked = killed.write(stop(Stage::Asked, None)).await.unwrap();
    assert_eq!(asked, 2);
    let before = bench.verdict().await;
    assert!(before.is_sound());
    assert_eq!((before.unsigned, before.unanswered), (1, 1), "{before:?}");
    assert!(!before.chains[0].closed);
    let next = bench.open().await;
    let lines = bench.lines().await;
    let mut cut = lines.clone();
    cut.remove(places(&cut)[1]);
    recount(&mut cut);
    let said = bench.judge(&cut, &[]).breaks[0].to_string();
    assert!(said.contains("entry 2, which chain"), "{said}");
    next.close().await;
}

#[tokio::test]
async fn what_is_old_goes_and_the_rest_verifies() {
    let bench = Bench::new();
    let first = bench.open().await;
    act(&first).await;
    first.close().await;
    let second = bench.open().await;
    act(&second).await;
    bench.clock.advance(Duration::from_secs(3_600));
    act(&second).await;
    let middle = bench.clock.now();
    assert_eq!(second.prune(Timestamp::UNIX_EPOCH).await.unwrap(), 0);
    // All of the first run (4), and of the second its beginning and one act (3).
    assert_eq!(second.prune(middle).await.unwrap(), 7);
    let verdict = bench.verdict().await;
    assert_eq!(verdict.breaks, []);
    assert_eq!(verdict.chains.len(), 1);
    assert_eq!(verdict.chains[0].first, 4);
    // A third run refers to nothing that is gone; later the entry that told of the first removal
    // goes too.
    bench.clock.advance(Duration::from_secs(3_600));
    act(&second).await;
    second.prune(bench.clock.now()).await.unwrap();
    second.close().await;
    let third = bench.open().await;
    third.close().await;
    let lines = bench.lines().await;
    assert_eq!(bench.judge(&lines, &[]).breaks, []);
    // Whoever removes the beginning without the key is found.
    let mut cut = lines.clone();
    cut.remove(places(&cut)[0]);
    recount(&mut cut);
    let said = bench.judge(&cut, &[]).breaks[0].to_string();
    assert!(said.contains("no signed entry says that those before it were pruned"), "{said}");
}

/// A store that fails, before or after it has written.
#[derive(Debug)]
struct Failing {
    real: Arc<dyn AuditStore>,
    /// 0: works; 1: fails before the write; 2: fails after it, once.
    how: Arc<AtomicUsize>,
}

#[async_trait]
impl AuditStore for Failing {
    async fn append(&self, entries: &[Entry]) -> Result<()> {
        let failure = || Err(Error::new(Kind::Unavailable, Operation::Store, "audit", "away"));
        match self.how.load(Ordering::SeqCst) {
            0 => self.real.append(entries).await,
            1 => failure(),
            _ => {
                self.real.append(entries).await?;
                self.how.store(0, Ordering::SeqCst);
                failure()
            }
        }
    }

    async fn sign(&self, head: &SignedHead) -> Result<()> {
        self.real.sign(head).await
    }

    async fn chains(&self) -> Result<Vec<Chain>> {
        self.real.chains().await
    }

    async fn entries(&self, filter: &AuditFilter, page: &AuditPage) -> Result<Vec<Placed>> {
        self.real.entries(filter, page).await
    }

    async fn heads(&self, after: u64, limit: usize) -> Result<Vec<(u64, SignedHead)>> {
        self.real.heads(after, limit).await
    }

    async fn aged(&self, before: Timestamp, limit: u64) -> Result<Vec<Head>> {
        self.real.aged(before, limit).await
    }

    async fn forget(&self, marks: &[Head]) -> Result<u64> {
        self.real.forget(marks).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_refuses_acts_and_loses_no_result() {
    let how = Arc::<AtomicUsize>::default();
    let failing = Failing { real: MemoryStore::new().audit(), how: Arc::clone(&how) };
    let bench = Bench::on(Arc::new(failing));
    let log = bench.open().await;
    let asked = log.write(stop(Stage::Asked, None)).await.unwrap();
    how.store(1, Ordering::SeqCst);
    log.leave(stop(Stage::Done, Some(asked))).await;
    let refused = log.write(stop(Stage::Asked, None)).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unavailable);
    assert!(refused.to_string().contains("nothing is done"), "{refused}");
    let state = log.state();
    assert_eq!((state.waiting, state.failing.is_some()), (1, true), "{state:?}");
    // It comes back: the result is written, and what was refused is not there.
    how.store(0, Ordering::SeqCst);
    let next = log.write(stop(Stage::Asked, None)).await.unwrap();
    assert_eq!(next, asked + 2);
    assert_eq!(log.state().failing, None);
    // Written, but the answer was lost: the chain goes on after it, and no result is doubled.
    how.store(2, Ordering::SeqCst);
    log.leave(stop(Stage::Done, Some(next))).await;
    log.write(stop(Stage::Asked, None)).await.unwrap_err();
    log.close().await;
    let verdict = bench.verdict().await;
    assert_eq!(verdict.breaks, []);
    assert_eq!(verdict.unanswered, 1, "the last may have happened: {verdict:?}");
    let done = entries(&bench.lines().await).iter().filter(|e| e.stage == Stage::Done).count();
    assert_eq!(done, 2);
    assert_eq!(log.write(stop(Stage::Asked, None)).await.unwrap_err().kind(), Kind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_chain_is_signed_after_some_entries_and_after_some_time() {
    let bench = Bench::new();
    let settings = AuditSettings { sign_entries: 4, ..AuditSettings::default() };
    let log = bench.open_with(settings).await.unwrap();
    assert_eq!(log.state().signed, 1, "its beginning at once");
    for _ in 0..4 {
        log.write(stop(Stage::Noted, None)).await.unwrap();
    }
    let until = async |signed: u64| {
        let wait = async {
            while log.state().signed < signed {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), wait).await.unwrap();
    };
    until(5).await;
    log.write(stop(Stage::Noted, None)).await.unwrap();
    assert_eq!(log.state().signed, 5);
    until(6).await;
    let none = AuditSettings { sign_entries: 0, ..AuditSettings::default() };
    assert_eq!(bench.open_with(none).await.unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn an_entry_with_something_beside_what_is_hashed_is_refused() {
    let bench = two_runs().await;
    let lines = bench.lines().await;
    let line = |line: &Line| serde_json::to_string(line).unwrap() + "\n";
    let text: String = lines.iter().map(line).collect();
    let more = text.replacen("\"act\":", "\"note\":\"x\",\"act\":", 1);
    let error = file::read(more.as_bytes(), &[]).unwrap_err().to_string();
    assert!(error.contains("note"), "{error}");
}
