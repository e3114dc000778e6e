//! Many clients at once: everything is answered, no id is given twice, nothing is left.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod common;

use common::start;
use daas_sim::SimConfig;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_desktops_come_and_go_at_once() {
    let (sim, client) = start(SimConfig::default()).await;
    let life = async |vmid: u32| {
        client.clone_of_9000(&sim, vmid, &format!("desktop-{vmid}")).await;
        let vm = format!("/nodes/pve/qemu/{vmid}");
        client.put(&format!("{vm}/config"), &[("cores", "1")]).await.data();
        for act in ["start", "stop"] {
            let said = client.post(&format!("{vm}/status/{act}"), &[]).await;
            assert_eq!(client.done(&sim, said).await, "OK", "{act} {vmid}");
        }
        let said = client.delete(&vm).await;
        assert_eq!(client.done(&sim, said).await, "OK", "delete {vmid}");
    };
    futures::future::join_all((100..140).map(life)).await;
    assert!(sim.cluster().vms().is_empty());
    assert_eq!(sim.cluster().tasks_running(), 0);
    assert_eq!(sim.cluster().volumes("pve", "local-zfs").len(), 2, "the template's own");
    sim.stop().await;
}
