//! The in-memory backends keep their contracts.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod conformance_benches;

use std::sync::Arc;
use std::time::Duration;

use conformance_benches::{FakeGuestBench, FakeMachineBench};
use daas_core::conformance;
use daas_core::fake::Timing;
use daas_core::idle::{IdlePolicy, TemplateRules};
use daas_core::store::SessionStore;
use daas_core::store::memory::MemoryStore;

#[tokio::test(start_paused = true)]
async fn the_store_in_memory_keeps_its_contract() {
    conformance::store(|| async { Arc::new(MemoryStore::new()) as Arc<dyn SessionStore> }).await;
}

#[tokio::test(start_paused = true)]
async fn the_fake_provisioner_keeps_its_contract() {
    let slow = Timing { create: Duration::from_secs(30), boot: Duration::from_secs(20) };
    for timing in [Timing::default(), slow] {
        conformance::provisioner(|| async { FakeMachineBench::honest(timing) }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_fake_configurator_keeps_its_contract() {
    conformance::configurator(|| async { FakeGuestBench::honest() }).await;
}

#[tokio::test(start_paused = true)]
async fn the_rules_of_templates_keep_the_contract() {
    conformance::idle(|| async { Arc::new(TemplateRules) as Arc<dyn IdlePolicy> }).await;
}
