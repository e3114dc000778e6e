//! The HTTP layer and signing in, byte by byte where clients look.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod common;

use std::time::Duration;

use common::{Client, Said, said, start};
use daas_sim::{SimConfig, TokenConfig, UserConfig, Version};
use reqwest::Method;
use serde_json::json;

/// Asks without signing in again, and compares status, reason and body.
fn check(said: &Said, status: u16, reason: &str, body: &str) {
    assert_eq!((said.brief(), said.text.as_str()), ((status, reason), body));
}

#[tokio::test]
async fn errors_are_told_in_the_reason_and_in_the_body() {
    let (sim, client) = start(SimConfig::default()).await;
    let missing = "Configuration file 'nodes/pve/qemu-server/101.conf' does not exist";
    let body = format!(r#"{{"data":null,"message":"{missing}\n"}}"#);
    let said = client.get("/nodes/pve/qemu/101/config").await;
    check(&said, 500, missing, &body);
    assert_eq!(said.headers["content-type"], "application/json;charset=UTF-8");
    assert_eq!(said.headers["connection"], "close");
    assert_eq!(said.headers["server"], "pve-api-daemon/3.0");

    let unknown = "Method 'GET /nonsense/x' not implemented";
    assert_eq!(client.get("//nonsense/x/").await.brief(), (501, unknown));
    let unknown = "Method 'DELETE /version' not implemented";
    assert_eq!(client.delete("/version").await.brief(), (501, unknown));
    let head = client.send(Method::HEAD, "/version", None).await.unwrap();
    assert_eq!(head.brief(), (501, "method 'HEAD' not available"));
    let options = client.send(Method::OPTIONS, "/version", None).await.unwrap();
    assert_eq!(options.brief(), (501, "method 'OPTIONS' not available"));
    let nowhere = client.get("/nodes/elsewhere/qemu/100/config").await;
    assert_eq!(nowhere.status, 500);
    assert!(nowhere.reason.starts_with("hostname lookup 'elsewhere' failed"), "{nowhere:?}");
    sim.stop().await;
}

#[tokio::test]
async fn bodies_come_as_form_json_or_without_a_type() {
    let (sim, client) = start(SimConfig::default()).await;
    let path = "/nodes/pve/qemu/9000/config";
    let send = async |kind: Option<&str>, body: &str| {
        let request = client.request(Method::PUT, path).body(body.to_owned());
        let request = match kind {
            Some(kind) => request.header("Content-Type", kind),
            None => request,
        };
        said(request.send().await.unwrap()).await.unwrap()
    };
    let onboot = async || client.get(path).await.data()["onboot"].clone();
    assert_eq!(send(None, "onboot=1").await.status, 200);
    assert_eq!(onboot().await, 1);
    assert_eq!(send(Some("application/json"), r#"{"onboot":false}"#).await.status, 200);
    assert_eq!(onboot().await, 0);
    assert_eq!(send(Some("application/json; charset=utf-8"), "[]").await.status, 400);
    let other = send(Some("text/plain"), "onboot=1").await;
    assert_eq!(other.status, 506, "{other:?}");

    let request = client.request(Method::DELETE, "/nodes/pve/qemu/9000").body("purge=1");
    let unexpected = said(request.send().await.unwrap()).await.unwrap();
    assert_eq!(unexpected.brief(), (501, "Unexpected content for method 'DELETE'"));
    let large = send(None, &"x".repeat(600 << 10)).await;
    assert_eq!(large.brief(), (501, "for data too large"));
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>("onboot=1")]);
    let request = client.request(Method::PUT, path).body(reqwest::Body::wrap_stream(chunks));
    let chunked = said(request.send().await.unwrap()).await.unwrap();
    assert_eq!(chunked.brief(), (501, "chunked transfer encoding not supported"));

    let over = client.put(&format!("{path}?onboot=1"), &[("onboot", "0")]).await;
    assert_eq!(over.status, 200);
    assert_eq!(onboot().await, 1, "the query wins over the body");
    sim.stop().await;
}

#[tokio::test]
async fn parameters_are_checked_after_permission() {
    let config = SimConfig {
        users: vec![
            UserConfig::new("root@pam", Some("simulated")),
            UserConfig::new("x@pve", Some("x")),
        ],
        tokens: vec![],
        acl: vec![],
        ..SimConfig::default()
    };
    let sim =
        daas_sim::Simulator::start(config, std::sync::Arc::new(daas_sim::NullGuests::default()));
    let sim = sim.await.unwrap();
    let client = Client::new(&sim);
    let (root, poor) = (client.root().await, client.ticket("x@pve", "x").await);
    let path = "/nodes/pve/qemu/9000/clone";
    let denied = poor.post(path, &[("newid", "7"), ("full", "maybe")]).await;
    assert_eq!(denied.brief(), (403, "Permission check failed (/vms/9000, VM.Clone)"));
    let invalid = root.post(path, &[("newid", "7"), ("full", "maybe"), ("nonsense", "1")]).await;
    assert_eq!(invalid.brief(), (400, "Parameter verification failed."));
    let unknown =
        "property is not defined in schema and the schema does not allow additional properties";
    assert_eq!(
        invalid.json(),
        json!({
            "data": null,
            "message": "Parameter verification failed.\n",
            "errors": {
                "newid": "value must have a minimum value of 100",
                "full": "type check ('boolean') failed - got 'maybe'",
                "nonsense": unknown,
            },
        })
    );
    let any = poor.put("/nodes/pve/qemu/9000/config", &[("onboot", "1")]).await;
    let expect = "Permission check failed (/vms/9000, VM.Config.Disk|VM.Config.CDROM|\
                  VM.Config.CPU|VM.Config.Memory|VM.Config.Network|VM.Config.HWType|\
                  VM.Config.Options|VM.Config.Cloudinit)";
    assert_eq!(any.brief(), (403, expect));
    assert_eq!(poor.get("/cluster/resources?type=vm").await.data(), json!([]), "filtered");
    assert_eq!(poor.get("/nodes/pve/qemu").await.data(), json!([]), "filtered");
    let keys = root.put("/nodes/pve/qemu/9000/config", &[("sshkeys", "ssh-ed25519 AAAA")]).await;
    assert_eq!(
        keys.json()["errors"]["sshkeys"],
        "invalid format - invalid urlencoded string: ssh-ed25519 AAAA\n"
    );
    sim.stop().await;
}

#[tokio::test]
async fn tickets_need_a_csrf_token_to_write_and_end() {
    let (sim, client) = start(SimConfig::default()).await;
    let bare = client.bare();
    check(&bare.get("/version").await, 401, "No ticket", "");
    let form = [("username", "root@pam"), ("password", "wrong")];
    let wrong = bare.post("/access/ticket", &form).await;
    let body = r#"{"data":null,"message":"authentication failure\n"}"#;
    check(&wrong, 401, "authentication failure", body);

    let form = [("username", "root"), ("realm", "pam"), ("password", "simulated")];
    let data = bare.post("/access/ticket", &form).await.data();
    assert_eq!(data["username"], "root@pam");
    let ticket = data["ticket"].as_str().unwrap();
    assert!(ticket.starts_with("PVE:root@pam:"), "{ticket}");
    let cookie = bare.clone().header("Cookie", &format!("PVEAuthCookie={ticket}"));
    assert_eq!(cookie.get("/version").await.status, 200);
    let refused = cookie.put("/nodes/pve/qemu/9000/config", &[("onboot", "1")]).await;
    check(&refused, 401, "Permission denied - invalid csrf token", "");
    let token = data["CSRFPreventionToken"].as_str().unwrap();
    let full = cookie.clone().header("CSRFPreventionToken", token);
    assert_eq!(full.put("/nodes/pve/qemu/9000/config", &[("onboot", "1")]).await.status, 200);
    let escaped = ticket.replace(':', "%3A").replace('+', "%2B").replace('=', "%3D");
    let escaped = bare.clone().header("Cookie", &format!("a=b; PVEAuthCookie={escaped}"));
    assert_eq!(escaped.get("/version").await.status, 200);
    let header = bare.clone().header("Authorization", &format!("PVEAuthCookie={ticket}"));
    assert_eq!(header.get("/version").await.status, 200);

    let renewal = [("username", "root@pam"), ("password", ticket)];
    sim.clock().skip(Duration::from_secs(7000));
    assert_eq!(bare.post("/access/ticket", &renewal).await.status, 200, "a ticket renews");
    sim.clock().skip(Duration::from_secs(300));
    check(&cookie.get("/version").await, 401, "permission denied - invalid PVE ticket", "");
    assert_eq!(bare.post("/access/ticket", &renewal).await.status, 401);
    sim.stop().await;
}

#[tokio::test]
async fn tokens_are_told_what_is_wrong_until_9_2() {
    let token = |name: &str, expire| TokenConfig {
        user: "daas@pve".to_owned(),
        name: name.to_owned(),
        secret: "s".to_owned(),
        privsep: true,
        expire,
    };
    let off = UserConfig { enabled: false, ..UserConfig::new("off@pve", None) };
    let base = SimConfig::default();
    let users = [base.users.clone(), vec![off]].concat();
    let tokens = [base.tokens.clone(), vec![token("old", 1), token("poor", 0)]].concat();
    let base = SimConfig { users, tokens, ..base };
    let (sim, client) = start(base.clone()).await;
    let with = |client: &Client, value: &str| {
        client.bare().header("Authorization", &format!("PVEAPIToken={value}"))
    };
    let cases = [
        ("daas@pve!daas=wrong", "invalid token value!"),
        ("daas@pve!nope=x", "no such token 'nope' for user 'daas@pve'"),
        ("daas@pve!old=s", "token 'old' access expired"),
        ("off@pve!x=s", "user 'off@pve' is disabled"),
    ];
    for (value, expect) in cases {
        check(&with(&client, value).get("/version").await, 401, expect, "");
    }
    let poor = with(&client, "daas@pve!poor=s");
    assert_eq!(poor.get("/version").await.status, 200);
    let denied = poor.get("/nodes/pve/qemu/9000/config").await;
    assert_eq!(denied.brief(), (403, "Permission check failed (/vms/9000, VM.Audit)"));
    sim.stop().await;

    let (sim, client) = start(SimConfig { version: Version::V9_2, ..base }).await;
    for (value, _) in cases {
        check(&with(&client, value).get("/version").await, 401, "Authentication failed!", "");
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_connection_is_kept_and_every_node_answers_for_all() {
    let (sim, client) = start(SimConfig::nodes(3)).await;
    assert_eq!(client.get("/version").await.headers["connection"], "Keep-Alive");
    for (node, url) in sim.urls() {
        let client = client.at(&url);
        let config = client.get("/nodes/pve1/qemu/9000/config").await;
        assert_eq!(config.status, 200, "{node} proxies to pve1");
        let status = client.get("/cluster/status").await.data();
        let local = status.as_array().unwrap().iter().find(|n| n["local"] == 1).unwrap();
        assert_eq!(local["name"], *node);
    }
    assert_eq!(client.get("/nodes").await.data().as_array().unwrap().len(), 3);
    sim.stop().await;
}
