//! Certificates that are replaced, the way from plain HTTP to TLS, and proxies that speak TLS for us.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::path::Path;
use std::time::Duration;

use daas_http::{Addresses, Extra, HttpConfig, Listeners, ServeError, Server, Tls};
use rcgen::{CertificateParams, KeyPair};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use world::{Answer, PATIENCE, RIGHT, Wanted, World, from, request, with_cookie, with_fields};

struct Served {
    addresses: Addresses,
    stop: CancellationToken,
    running: JoinHandle<Result<(), ServeError>>,
}

impl Served {
    async fn new(world: &World, config: HttpConfig) -> Self {
        let server = Server::bind(config, world.engine.clone(), Extra::default()).await.unwrap();
        let (addresses, stop) = (*server.addresses(), CancellationToken::new());
        let running = tokio::spawn(server.run(stop.clone()));
        Self { addresses, stop, running }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap().unwrap();
    }
}

async fn quiet(config: HttpConfig) -> World {
    World::with(Wanted { idle_engine: true, config, ..Wanted::default() }).await
}

/// A certificate for `localhost` and its key, in PEM.
fn made() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
    (params.unwrap().self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn files(directory: &Path) -> HttpConfig {
    let tls = Tls::Files { certificate: directory.join("c.pem"), key: directory.join("k.pem") };
    let mut config =
        HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), tls, ..HttpConfig::default() };
    config.limits.reload_time = Duration::from_millis(20);
    config
}

/// What a new connection gets that trusts `certificate` alone.
async fn connect(url: &str, certificate: &str) -> reqwest::Result<reqwest::Response> {
    let trusted = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([trusted]).no_proxy().timeout(PATIENCE);
    client.build().unwrap().get(format!("{url}/health")).send().await
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_shown_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (directory.path().join("c.pem"), directory.path().join("k.pem"));
    let (old, new, last) = (made(), made(), made());
    let write = |pair: &(String, String)| {
        std::fs::write(&certificate, &pair.0).unwrap();
        std::fs::write(&key, &pair.1).unwrap();
    };
    write(&old);
    let config = files(directory.path());
    let world = quiet(config.clone()).await;
    let served = Served::new(&world, config).await;
    let url = served.addresses.url();
    assert_eq!(connect(&url, &old.0).await.unwrap().status(), 200);
    assert!(connect(&url, &new.0).await.is_err(), "it is another one");
    let until_shown = async |certificate: &str| {
        let shown = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            while connect(&url, certificate).await.is_err() {
                ticks.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, shown).await.expect("it is shown in time");
    };
    write(&new);
    until_shown(&new.0).await;
    assert!(connect(&url, &old.0).await.is_err(), "the one before is shown no more");
    // What cannot be used is not: rubbish, another's key, nothing at all. The one before stays.
    std::fs::write(&certificate, "rubbish").unwrap();
    std::fs::write(&certificate, &last.0).unwrap();
    std::fs::remove_file(&key).unwrap();
    assert_eq!(connect(&url, &new.0).await.unwrap().status(), 200);
    std::fs::write(&key, &old.1).unwrap();
    assert_eq!(connect(&url, &new.0).await.unwrap().status(), 200);
    std::fs::write(&key, &last.1).unwrap();
    until_shown(&last.0).await;
    served.stop().await;
    // At the start there is none before.
    std::fs::write(&key, &old.1).unwrap();
    let refused = Listeners::bind(&files(directory.path())).await.unwrap_err();
    assert!(refused.to_string().contains("c.pem"), "{refused}");
    world.stop().await;
}

#[tokio::test]
async fn browsers_are_told_to_come_by_tls_alone_where_the_certificate_is_somebodys() {
    let file = |name: &str| std::path::PathBuf::from(name);
    let by_files = Tls::Files { certificate: file("c.pem"), key: file("k.pem") };
    let own = Tls::SelfSigned { directory: file("kept"), names: Vec::new() };
    let half_a_year = Duration::from_hours(180 * 24);
    for (tls, hsts, told) in [
        (by_files.clone(), half_a_year, "max-age=15552000"),
        (by_files.clone(), Duration::from_secs(60), "max-age=60"),
        (by_files, Duration::ZERO, ""),
        (own, half_a_year, ""),
        (Tls::None, half_a_year, ""),
    ] {
        let config = HttpConfig { tls: tls.clone(), hsts, ..HttpConfig::default() };
        let world = quiet(config).await;
        for path in ["/health", "/sign-in", "/nowhere"] {
            let answer = Answer::of(world.send(request("GET", path)).await).await;
            assert_eq!(answer.header("strict-transport-security"), told, "{tls:?} {path}");
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn plain_http_leads_browsers_to_tls_and_serves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = made();
    std::fs::write(directory.path().join("c.pem"), certificate).unwrap();
    std::fs::write(directory.path().join("k.pem"), key).unwrap();
    let redirect_listen = Some("127.0.0.1:0".parse().unwrap());
    let config = HttpConfig { redirect_listen, ..files(directory.path()) };
    let world = quiet(config.clone()).await;
    for public in [None, Some("https://desk.school.test")] {
        let public_url = public.map(|url| url.parse().unwrap());
        let served = Served::new(&world, HttpConfig { public_url, ..config.clone() }).await;
        let port = served.addresses.main.port();
        let base = public.map_or_else(|| format!("https://localhost:{port}"), str::to_owned);
        let plain = served.addresses.redirect.unwrap().port();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE);
        let client = client.build().unwrap();
        let call = async |method: http::Method, path: &str, accept: &str| {
            let url = format!("http://localhost:{plain}{path}");
            let answer = client.request(method, url).header("accept", accept).send().await.unwrap();
            let to = answer.headers().get("location").map(|v| v.to_str().unwrap().to_owned());
            (answer.status().as_u16(), to.unwrap_or_default())
        };
        let html = "text/html,*/*";
        for path in ["/", "/desktops?all=true", "/nowhere", "//evil.test", "/api/v1/sessions"] {
            let sent = call(http::Method::GET, path, html).await;
            assert_eq!(sent, (308, format!("{base}{path}")), "{path}");
        }
        // Those of the earlier orchestrator are sent nowhere, nor is what carries anything.
        for path in ["/api/sessions", "/"] {
            assert_eq!(call(http::Method::GET, path, "*/*").await, (403, String::new()), "{path}");
        }
        for path in ["/api/session/create", "/api/session/destroy", "/sign-in"] {
            let sent = call(http::Method::POST, path, html).await;
            assert_eq!(sent, (403, String::new()), "{path}");
        }
        served.stop().await;
    }
    let circle = HttpConfig { tls: Tls::None, ..config };
    let refused = Listeners::bind(&circle).await.unwrap_err();
    assert!(refused.to_string().contains("set tls or public_url"), "{refused}");
    world.stop().await;
}

#[tokio::test]
async fn behind_a_named_proxy_a_page_of_ours_is_told_from_others_by_the_name_outside() {
    let proxies = vec!["192.0.2.9".parse().unwrap()];
    let world = quiet(HttpConfig { trusted_proxies: proxies, ..HttpConfig::default() }).await;
    let check = async |peer: &str, origin: &str, forwarded: &[&str], passes: bool| {
        let fields = format!("name=alice&password={RIGHT}");
        let mut request = from(with_fields(request("POST", "/sign-in"), &fields), peer);
        // An older browser, which says its origin alone.
        for (name, value) in [("origin", origin), ("host", "inside:5000")] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        for host in forwarded {
            request.headers_mut().append("x-forwarded-host", host.parse().unwrap());
        }
        let status = world.send(request).await.status().as_u16();
        assert_eq!(status, if passes { 303 } else { 403 }, "{peer} {origin} {forwarded:?}");
    };
    let ours = "https://desk.school.test";
    check("192.0.2.9", ours, &["desk.school.test"], true).await;
    check("192.0.2.9", ours, &["evil.test, desk.school.test"], true).await;
    check("192.0.2.9", ours, &["evil.test", "desk.school.test"], true).await;
    check("192.0.2.9", "https://evil.test", &["desk.school.test"], false).await;
    check("192.0.2.9", "https://evil.test", &["evil.test, desk.school.test"], false).await;
    check("192.0.2.9", ours, &[], false).await;
    check("192.0.2.9", "http://inside:5000", &[], true).await;
    // Whoever is no proxy of ours may say what it likes.
    check("192.0.2.10", "https://evil.test", &["evil.test"], false).await;
    check("192.0.2.10", "http://inside:5000", &["evil.test"], true).await;
    let mut local = with_cookie(from(request("GET", "/api/sessions"), "127.0.0.1"), "");
    for (name, value) in [("host", "daas.example"), ("x-forwarded-host", "localhost")] {
        local.headers_mut().insert(name, value.parse().unwrap());
    }
    assert_eq!(world.send(local).await.status(), 401, "a name that anybody may have made up");
    world.stop().await;
}
