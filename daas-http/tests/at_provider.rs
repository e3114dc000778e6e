//! Signing in at a provider of OpenID Connect, as a browser does it: out there and back.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod provider;
mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use daas_core::access::Role;
use daas_http::HttpConfig;
use daas_http::identity::{IdentityConfig, Oidc, OidcConfig, Others, Sources, Tries};
use provider::{Provider, SECRET, Shared, Twist};
use serde_json::json;
use tokio::task::JoinHandle;
use url::Url;
use url::form_urlencoded::byte_serialize;
use world::{Answer, Wanted, World, request, with_cookie};

const HERE: &str = "/sign-in/oidc/school/callback";

struct Place {
    world: World,
    provider: Shared,
    task: JoinHandle<()>,
}

impl Place {
    async fn new() -> Self {
        Self::with(IdentityConfig::default(), |_| {}, false).await
    }

    async fn with(
        identity: IdentityConfig,
        change: fn(&mut OidcConfig),
        no_passwords: bool,
    ) -> Self {
        let (provider, task) = Provider::start().await;
        let mut config = OidcConfig::new(provider.url.clone(), "desk");
        config.client_secret = Some(SECRET.into());
        config.claims.name_domain = Some("school.test".to_owned());
        config.label = Some("School <account>".to_owned());
        change(&mut config);
        let providers = vec![Arc::new(Oidc::new("school", config).unwrap()) as _];
        let public_url = Some("https://desk.school.test".parse().unwrap());
        let world = World::with(Wanted {
            idle_engine: true,
            identity: Some(identity),
            sources: Sources { providers, ..Sources::default() },
            config: HttpConfig { public_url, ..HttpConfig::default() },
            no_passwords,
            ..Wanted::default()
        });
        Self { world: world.await, provider, task }
    }

    /// Begins: where the browser is sent, and its cookie.
    async fn begin(&self) -> (Url, String) {
        let path = "/sign-in/oidc/school?next=%2Fdesktops%2Fnew";
        let begun = self.world.page(path, "").await;
        assert_eq!(begun.status, 303, "{}", begun.text);
        let cookie = begun.header("set-cookie").split(';').next().unwrap().to_owned();
        (begun.header("location").parse().unwrap(), cookie)
    }

    /// The provider sends the browser back.
    async fn back(&self, cookie: &str, state: &str, code: &str, language: &str) -> Answer {
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let path =
            format!("{HERE}?state={}&code={}&session_state=1", encoded(state), encoded(code));
        self.come(&path, cookie, language).await
    }

    async fn come(&self, path: &str, cookie: &str, language: &str) -> Answer {
        let mut request = with_cookie(request("GET", path), cookie);
        for (name, value) in [("accept-language", language), ("sec-fetch-site", "cross-site")] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        Answer::of(self.world.send(request).await).await
    }

    async fn sign_in(&self, language: &str) -> Answer {
        let (url, cookie) = self.begin().await;
        let (state, code) = self.provider.authorize(&url);
        self.back(&cookie, &state, &code, language).await
    }

    async fn stop(self) {
        self.task.abort();
        self.world.stop().await;
    }
}

/// What the page says went wrong.
fn said(answer: &Answer) -> &str {
    let after = answer.text.split("role=\"alert\">").nth(1);
    after.and_then(|text| text.split('<').next()).unwrap_or_else(|| panic!("{}", answer.text))
}

#[tokio::test]
async fn somebody_goes_there_and_comes_back_signed_in() {
    let roles = [("4A@school".to_owned(), Role::Operator)].into();
    let identity = IdentityConfig { roles, ..IdentityConfig::default() };
    let place = Place::with(identity, |_| {}, false).await;
    let page = place.world.page("/sign-in?next=%2Fdesktops%2Fnew", "").await;
    let link = "href=\"/sign-in/oidc/school?next=%2Fdesktops%2Fnew\">School &#60;account&#62;</a>";
    assert!(page.text.contains(link), "{}", page.text);
    assert!(page.text.contains("name=\"password\""), "{}", page.text);

    let begun = place.world.page("/sign-in/oidc/school?next=%2Fdesktops%2Fnew", "").await;
    let cookie = begun.header("set-cookie");
    for part in ["daas-begun=", "; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age=600"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = cookie.split(';').next().unwrap();
    let url: Url = begun.header("location").parse().unwrap();
    assert_eq!(place.world.page("/desktops", cookie).await.status, 303, "begun is not signed in");
    let (state, code) = place.provider.authorize(&url);
    let back = place.back(cookie, &state, &code, "en").await;
    assert_eq!((back.status, back.header("location")), (303, "/desktops/new"), "{}", back.text);
    let given: Vec<&str> =
        back.headers.get_all("set-cookie").iter().map(|v| v.to_str().unwrap()).collect();
    assert!(given.iter().any(|c| c.starts_with("daas-begun=;") && c.contains("Max-Age=0")));
    let own = given.iter().find(|c| c.starts_with("daas=")).unwrap().split(';').next().unwrap();
    let account = place.world.page("/account", own).await;
    for part in ["Alice Martin", "alice@school", "operator"] {
        assert!(account.text.contains(part), "{part}: {}", account.text);
    }
    // The page loaded again: the code is used up.
    let again = place.back(cookie, &state, &code, "en").await;
    assert_eq!(again.status, 409, "{}", again.text);
    assert!(!again.header("set-cookie").starts_with("daas=a"), "nobody is signed in");
    place.stop().await;
}

#[tokio::test]
async fn without_a_password_source_there_is_the_button_alone() {
    let place = Place::with(IdentityConfig::default(), |config| config.label = None, true).await;
    let page = place.world.page("/sign-in", "").await;
    assert!(page.text.contains("Sign in by school"), "{}", page.text);
    assert!(!page.text.contains("<form class"), "{}", page.text);
    // A second factor is the provider's to ask for, not ours.
    let entered = place.sign_in("en").await;
    let given = entered.headers.get_all("set-cookie").iter().map(|v| v.to_str().unwrap());
    let own = given.filter_map(|c| c.split(';').next()).find(|c| c.starts_with("daas=")).unwrap();
    let account = place.world.page("/account", own).await;
    assert!(account.status == 200 && !account.text.contains("/account/second-factor"));
    assert_eq!(place.world.page("/account/second-factor", own).await.status, 404);
    assert_eq!(place.world.submit("/account/second-factor", own, "code=1").await.status, 404);
    let tried = place.world.submit("/sign-in", "", "name=alice&password=x").await;
    assert_eq!(tried.status, 401);
    place.stop().await;
}

#[tokio::test]
async fn what_this_browser_did_not_begin_is_not_ended() {
    let place = Place::new().await;
    let (url, cookie) = place.begin().await;
    let (state, code) = place.provider.authorize(&url);
    let (_, other) = place.begin().await;
    let mut changed = cookie.clone().into_bytes();
    let last = changed.last_mut().unwrap();
    *last = if *last == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    for (what, cookie, state) in [
        ("no cookie", "", state.as_str()),
        ("another sign-in's", &other, &state),
        ("changed", &changed, &state),
        ("another state", &cookie, "x"),
        ("no state", &cookie, ""),
    ] {
        for (language, words) in [("en", "begun elsewhere"), ("fr", "commencée ailleurs")] {
            let refused = place.back(cookie, state, &code, language).await;
            assert_eq!(refused.status, 409, "{what}: {}", refused.text);
            assert!(said(&refused).contains(words), "{what}: {}", said(&refused));
            assert!(!refused.header("set-cookie").starts_with("daas="), "{what}");
        }
    }
    // With a code that was never given nobody is known; the right one is good all the same.
    assert_eq!(place.back(&cookie, &state, "made-up", "en").await.status, 409);
    assert_eq!(place.back(&cookie, &state, &code, "en").await.status, 303);
    place.stop().await;
}

#[tokio::test]
async fn what_the_provider_says_is_checked_and_its_refusal_told() {
    let place = Place::new().await;
    let twists: [(&str, Twist); 5] = [
        ("another nonce", |_, c| c["nonce"] = json!("other")),
        ("another audience", |_, c| c["aud"] = json!("other")),
        ("another key", |h, _| h["kid"] = json!("two")),
        ("expired", |_, c| c["exp"] = json!(1_000_000)),
        ("not signed", |h, _| h["alg"] = json!("none")),
    ];
    for (what, twist) in twists {
        *place.provider.twist.lock().unwrap() = twist;
        for (language, words) in [("en", "cannot be trusted"), ("fr", "digne de confiance")] {
            let refused = place.sign_in(language).await;
            assert_eq!(refused.status, 403, "{what}: {}", refused.text);
            assert!(said(&refused).contains(words), "{what}: {}", said(&refused));
        }
    }
    *place.provider.twist.lock().unwrap() = |_, c| c["groups"] = json!("admins");
    let refused = place.sign_in("en").await;
    assert_eq!((refused.status, said(&refused).contains("not set up")), (503, true));
    let (_, cookie) = place.begin().await;
    for (language, words) in [("en", "did not let you in"), ("fr", "pas laissé entrer")] {
        let path = format!("{HERE}?error=access_denied&error_description=%3Cb%3Ehi&state=x");
        let refused = place.come(&path, &cookie, language).await;
        assert_eq!(refused.status, 403, "{}", refused.text);
        assert!(said(&refused).contains(words) && !refused.text.contains("b>hi"));
    }
    place.stop().await;
}

#[tokio::test]
async fn a_provider_that_is_away_or_refuses_us_is_told_from_one_that_refuses_somebody() {
    let place = Place::new().await;
    let (url, cookie) = place.begin().await;
    let (state, code) = place.provider.authorize(&url);
    place.provider.away.store(true, Ordering::SeqCst);
    let closed = place.back(&cookie, &state, &code, "fr").await;
    assert_eq!(closed.status, 503, "{}", closed.text);
    assert!(said(&closed).contains("ne répond pas"), "{}", said(&closed));
    place.provider.away.store(false, Ordering::SeqCst);
    assert_eq!(place.back(&cookie, &state, &code, "fr").await.status, 303, "it was not used up");
    place.stop().await;

    let nowhere = |config: &mut OidcConfig| config.issuer = "http://127.0.0.1:1/".parse().unwrap();
    let place = Place::with(IdentityConfig::default(), nowhere, false).await;
    let begun = place.world.page("/sign-in/oidc/school", "").await;
    assert_eq!(begun.status, 503);
    assert!(said(&begun).contains("does not answer"), "{}", said(&begun));
    assert_eq!(begun.header("set-cookie"), "");
    place.stop().await;

    let wrong = |config: &mut OidcConfig| config.client_secret = Some("wrong".into());
    let place = Place::with(IdentityConfig::default(), wrong, false).await;
    let refused = place.sign_in("en").await;
    assert_eq!(refused.status, 503);
    assert!(said(&refused).contains("not set up right"), "{}", said(&refused));
    place.stop().await;
}

#[tokio::test]
async fn who_is_known_there_needs_a_group_that_is_let_in_here() {
    let roles = [("teachers@school".to_owned(), Role::User)].into();
    let identity = IdentityConfig { roles, others: Others::None, ..IdentityConfig::default() };
    let place = Place::with(identity, |_| {}, false).await;
    let refused = place.sign_in("en").await;
    assert_eq!(refused.status, 403);
    assert!(said(&refused).contains("no group of yours"), "{}", said(&refused));
    *place.provider.twist.lock().unwrap() = |_, c| c["groups"] = json!(["Teachers"]);
    assert_eq!(place.sign_in("en").await.status, 303);
    place.stop().await;
}

#[tokio::test]
async fn nobody_is_sent_elsewhere_and_no_other_page_begins() {
    let place = Place::new().await;
    for next in ["https%3A%2F%2Fevil.test", "%2F%2Fevil.test", "%2F%5Cevil.test", ""] {
        let begun = place.world.page(&format!("/sign-in/oidc/school?next={next}"), "").await;
        let cookie = begun.header("set-cookie").split(';').next().unwrap().to_owned();
        let (state, code) = place.provider.authorize(&begun.header("location").parse().unwrap());
        let back = place.back(&cookie, &state, &code, "en").await;
        assert_eq!((back.status, back.header("location")), (303, "/desktops"), "{next}");
    }
    let lent = place.come("/sign-in/oidc/school", "", "en").await;
    assert_eq!((lent.status, lent.header("location")), (303, "/sign-in"));
    assert_eq!(lent.header("set-cookie"), "");
    for path in ["/sign-in/oidc/other", "/sign-in/oidc/other/callback?state=a&code=b"] {
        assert_eq!(place.world.page(path, "").await.status, 404, "{path}");
    }
    place.stop().await;
}

#[tokio::test]
async fn the_browser_comes_back_to_where_it_was_or_to_the_public_address() {
    let (provider, task) = Provider::start().await;
    let mut config = OidcConfig::new(provider.url.clone(), "desk");
    config.client_secret = Some(SECRET.into());
    config.claims.name_domain = Some("school.test".to_owned());
    let providers = vec![Arc::new(Oidc::new("school", config).unwrap()) as _];
    let sources = Sources { providers, ..Sources::default() };
    let world = World::with(Wanted { idle_engine: true, sources, ..Wanted::default() }).await;
    let begin = async |host: &str| {
        let mut request = request("GET", "/sign-in/oidc/school");
        request.headers_mut().insert("host", host.parse().unwrap());
        Answer::of(world.send(request).await).await
    };
    for host in ["localhost:5000", "127.0.0.1:5000", "[::1]:5000"] {
        *provider.back.lock().unwrap() = format!("http://{host}{HERE}");
        provider.authorize(&begin(host).await.header("location").parse().unwrap());
    }
    // A name that whoever asks may have made up.
    for host in ["evil.test", "localhost.evil.test", "192.0.2.1:5000"] {
        let refused = begin(host).await;
        assert_eq!(refused.status, 503, "{host}");
        assert!(said(&refused).contains("not set up"), "{}", said(&refused));
    }
    task.abort();
    world.stop().await;
}

#[tokio::test]
async fn made_up_answers_run_out_for_an_address() {
    let tries = Tries { account: 10, address: 3, period: Duration::from_secs(600) };
    let identity = IdentityConfig { tries, ..IdentityConfig::default() };
    let place = Place::with(identity, |_| {}, false).await;
    for _ in 0..10 {
        assert_eq!(place.sign_in("en").await.status, 303, "a good one costs nothing");
    }
    let (url, cookie) = place.begin().await;
    let (state, code) = place.provider.authorize(&url);
    for _ in 0..3 {
        assert_eq!(place.back(&cookie, &state, "made-up", "en").await.status, 409);
    }
    let held = place.back(&cookie, &state, &code, "en").await;
    assert_eq!(held.status, 429, "{}", held.text);
    assert!(!held.header("retry-after").is_empty());
    place.stop().await;
}
