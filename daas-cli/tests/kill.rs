//! kill -9 of the real server at seeded moments, while desktops are made and destroyed.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod served;

use serde_json::Value;
use served::{DEADLINE, Served};

const SEED: u64 = 20_261_121;
const KILLS: usize = 20;
const SESSIONS: usize = 50;

/// A small generator, so that a run can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_again_and_again_loses_and_leaks_nothing() {
    let mut random = Random(SEED);
    let mut served = Served::start(0.03, SEED).await;
    let mut asked: Vec<(String, Option<String>)> = Vec::new();
    let mut kills = 0;
    while kills < KILLS {
        // Some are asked for, some of the older ones are destroyed; answers may be lost.
        for _ in 0..random.below(6) + 1 {
            if asked.len() < SESSIONS {
                let key = format!("wish-{}", asked.len());
                let id = served.ask(&key).await;
                asked.push((key, id));
            }
        }
        for _ in 0..random.below(4) {
            let chosen = random.below(asked.len() as u64) as usize;
            if let Some(id) = asked[chosen].1.clone() {
                let path = format!("/api/v1/sessions/{id}");
                let _ = served.call("DELETE", &path, Value::Null).await;
            }
        }
        // The moment: after so many more things have happened on the cluster.
        let more = random.below(40) as usize;
        let before = served.sim.log().len();
        let log = served.sim.log().clone();
        let _ = log.wait_for(|_| log.len() >= before + more, DEADLINE / 40).await;
        served.kill();
        kills += 1;
        served.serve();
    }
    // Wishes whose answers were lost are sent again: the same key is the same wish.
    for index in asked.len()..SESSIONS {
        asked.push((format!("wish-{index}"), None));
    }
    for (key, id) in &mut asked {
        if id.is_none() {
            *id = served.ask(key).await;
        }
        let id = id.as_ref().expect("the server answers now");
        let path = format!("/api/v1/sessions/{id}");
        let answer = served.call("DELETE", &path, Value::Null).await;
        assert!(matches!(answer, Some((200..=202, _))), "{answer:?}");
    }
    served.until("all ended", async || served.live().await.is_empty()).await;
    served.until("no machine left", async || served.machines().is_empty()).await;
    served.never_two_machines();
    // The kills met work: most sessions had a machine, some of them before the last kill.
    let made = served.sim.log().count(|e| matches!(e, daas_sim::Event::VmCreated { .. }));
    assert!(made >= SESSIONS / 2, "only {made} machines were made");
}
