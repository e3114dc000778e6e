//! The second factor: enrolled, asked for, used once, recovered from, taken away.

#![allow(clippy::unwrap_used, reason = "a test that unwraps None has failed")]

mod world;

use std::sync::Arc;
use std::time::Duration;

use daas_core::access::Role;
use daas_core::clock::{Clock, ManualClock};
use daas_core::store::SessionStore;
use daas_http::identity::{IdentityConfig, SecondFactorRule, Tries};
use totp_rs::{Algorithm, Builder, Secret};
use world::{Answer, RIGHT, Wanted, World, request, with_cookie, with_fields};

const STEP: Duration = Duration::from_secs(30);

struct Place {
    world: World,
    clock: Arc<ManualClock>,
}

/// Somebody's telephone.
struct Telephone(String);

impl Telephone {
    /// What has read the secret of a page.
    fn reading(page: &Answer) -> Self {
        let secret = page.text.split("<code>").nth(1).unwrap().split('<').next().unwrap();
        Self(secret.replace(' ', ""))
    }

    /// What it shows at the time of `clock`, in `steps`.
    fn code(&self, clock: &ManualClock, steps: i64) -> String {
        let secret = Secret::try_from_base32(&self.0).unwrap();
        let totp = Builder::new().with_algorithm(Algorithm::SHA1).with_digits(6);
        let totp = totp.with_step_duration(30).with_account_name("x").with_secret(secret);
        let at = clock.now().as_second() + 30 * steps;
        totp.build().unwrap().generate(at.cast_unsigned()).to_string()
    }
}

fn hidden<'a>(page: &'a Answer, name: &str) -> &'a str {
    let start = format!("name=\"{name}\" value=\"");
    page.text.split(&start).nth(1).unwrap().split('"').next().unwrap()
}

fn said(answer: &Answer) -> &str {
    let after = answer.text.split("role=\"alert\">").nth(1);
    after.and_then(|text| text.split('<').next()).unwrap_or_else(|| panic!("{}", answer.text))
}

/// The recovery codes that a page shows.
fn shown(page: &Answer) -> Vec<String> {
    let codes = page.text.split("<li><code>").skip(1);
    codes.map(|code| code.split('<').next().unwrap().to_owned()).collect()
}

fn cookie(answer: &Answer, name: &str) -> Option<String> {
    let given = answer.headers.get_all("set-cookie").iter().map(|v| v.to_str().unwrap());
    let pairs = given.filter_map(|cookie| cookie.split(';').next());
    pairs
        .filter(|c| c.starts_with(&format!("{name}=")) && !c.ends_with('='))
        .map(str::to_owned)
        .next_back()
}

impl Place {
    async fn new(identity: Option<IdentityConfig>) -> Self {
        let start = "2026-11-20T10:11:12Z".parse().unwrap();
        let clock = Arc::new(ManualClock::starting_at(start));
        let wanted = Wanted {
            idle_engine: true,
            identity,
            clock: Some(Arc::clone(&clock)),
            ..Wanted::default()
        };
        Self { world: World::with(wanted).await, clock }
    }

    /// Enrols whoever has `cookie`: their telephone, and the recovery codes.
    async fn enrol(&self, cookie: &str) -> (Telephone, Vec<String>) {
        let page = self.world.page("/account/second-factor", cookie).await;
        let telephone = Telephone::reading(&page);
        let code = telephone.code(&self.clock, 0);
        let fields = format!("offer={}&code={code}", hidden(&page, "offer"));
        let done = self.world.submit("/account/second-factor", cookie, &fields).await;
        assert_eq!(done.status, 200, "{}", done.text);
        (telephone, shown(&done))
    }

    /// Gives the right password; the cookie of who waits.
    async fn password(&self, name: &str) -> String {
        let fields = format!("name={name}&password={RIGHT}&next=%2Faccount");
        let answer = self.world.submit("/sign-in", "", &fields).await;
        let to = (answer.status, answer.header("location"));
        assert_eq!(to, (303, "/sign-in/second-factor"), "{}", answer.text);
        assert_eq!(cookie(&answer, "daas"), None, "nobody is signed in yet");
        cookie(&answer, "daas-waiting").unwrap()
    }

    async fn code(&self, waiting: &str, code: &str) -> Answer {
        self.world.submit("/sign-in/second-factor", waiting, &format!("code={code}")).await
    }
}

#[tokio::test]
async fn a_code_is_asked_for_after_the_password_and_is_good_once() {
    let place = Place::new(None).await;
    let first = place.world.sign_in("alice").await;
    let account = place.world.page("/account", &first).await;
    assert!(account.text.contains("/account/second-factor"), "{}", account.text);
    let page = place.world.page("/account/second-factor", &first).await;
    for part in ["<svg class=\"qr\"", "href=\"otpauth://totp/", "role=\"img\""] {
        assert!(page.text.contains(part), "{part}: {}", page.text);
    }
    // A wrong code changes nothing, and the secret on the page stays the same.
    let telephone = Telephone::reading(&page);
    let offer = hidden(&page, "offer");
    let fields = format!("offer={offer}&code=000000");
    let wrong = place.world.submit("/account/second-factor", &first, &fields).await;
    assert_eq!(wrong.status, 401);
    assert_eq!(Telephone::reading(&wrong).0, telephone.0);
    assert_eq!(hidden(&wrong, "offer"), offer);
    let used = telephone.code(&place.clock, 0);
    let fields = format!("offer={offer}&code={used}");
    let done = place.world.submit("/account/second-factor", &first, &fields).await;
    assert_eq!((done.status, shown(&done).len()), (200, 10), "{}", done.text);

    let waiting = place.password("alice").await;
    for closed in ["/desktops", "/account", "/account/second-factor"] {
        assert_eq!(place.world.page(closed, &waiting).await.status, 303, "{closed}");
    }
    assert_eq!(place.world.page("/api/v1/sessions", &waiting).await.status, 401);
    let asked = place.world.page("/sign-in/second-factor", &waiting).await;
    assert!(asked.text.contains("autocomplete=\"one-time-code\""), "{}", asked.text);
    assert!(!asked.text.contains("otpauth"), "the secret is not shown again");
    // The code that enrolled is used up; so is every one after it is used, and earlier ones.
    for (code, status) in [
        (used.clone(), 401),
        ("000000".to_owned(), 401),
        (String::new(), 401),
        ("x".repeat(5_000), 401),
    ] {
        let refused = place.code(&waiting, &code).await;
        assert_eq!(refused.status, status, "{code}");
        assert_eq!(cookie(&refused, "daas"), None);
    }
    let other = place.password("alice").await;
    place.clock.advance(STEP);
    let code = telephone.code(&place.clock, 0);
    let spaced = format!("{}+{}", &code[..3], &code[3..]);
    let entered = place.code(&waiting, &spaced).await;
    assert_eq!((entered.status, entered.header("location")), (303, "/account"));
    let own = cookie(&entered, "daas").unwrap();
    assert_eq!(place.world.page("/account", &own).await.status, 200);
    assert_eq!(place.code(&other, &code).await.status, 401, "a replay");
    assert_eq!(place.code(&other, &telephone.code(&place.clock, -1)).await.status, 401);
    // A telephone whose clock is half a minute ahead.
    assert_eq!(place.code(&other, &telephone.code(&place.clock, 1)).await.status, 303);
    let late = place.code(&waiting, &telephone.code(&place.clock, 1)).await;
    assert_eq!((late.status, late.header("location")), (303, "/sign-in"), "it waits no more");
    place.world.stop().await;
}

#[tokio::test]
async fn each_step_of_a_sign_in_is_written_down() {
    let place = Place::new(None).await;
    let own = place.world.sign_in("alice").await;
    let (telephone, codes) = place.enrol(&own).await;
    let waiting = place.password("alice").await;
    place.code(&waiting, "000000").await;
    place.clock.advance(STEP);
    place.code(&waiting, &telephone.code(&place.clock, 0)).await;
    let waiting = place.password("alice").await;
    place.code(&waiting, &codes[0]).await;
    let all = place.world.audited().await;
    let told: Vec<_> = all
        .iter()
        .filter(|e| e.stage != daas_core::audit::Stage::Asked)
        .map(|e| (e.act.as_str(), e.status.unwrap(), e.owner.is_some(), e.reason.as_deref()))
        .collect();
    let waits = ("sign-in", 303, false, Some("waits for the second factor"));
    assert_eq!(
        told,
        [
            ("sign-in", 303, true, None),
            ("account-change", 200, true, None),
            waits,
            ("sign-in", 401, false, Some("wrong code")),
            ("sign-in", 303, true, None),
            waits,
            ("sign-in", 303, true, Some("by a recovery code")),
        ]
    );
    let text = serde_json::to_string(&all).unwrap();
    assert!(!text.contains(&codes[0]) && !text.contains(&telephone.0), "{text}");
    place.world.stop().await;
}

#[tokio::test]
async fn recovery_codes_are_good_once_are_renewed_and_rest_as_hashes() {
    let place = Place::new(None).await;
    let own = place.world.sign_in("alice").await;
    let (telephone, codes) = place.enrol(&own).await;
    let kept = place.world.store.second_factors();
    let kept = kept.second_factor_of(&world::alice().owner).await.unwrap().unwrap();
    let at_rest = format!("{kept:?}");
    assert!(!at_rest.contains(&telephone.0) && !at_rest.contains(&codes[0]), "{at_rest}");

    let waiting = place.password("alice").await;
    assert_eq!(place.code(&waiting, &codes[0].to_uppercase()).await.status, 303);
    let waiting = place.password("alice").await;
    assert_eq!(place.code(&waiting, &codes[0]).await.status, 401, "it was used");
    let page = place.world.page("/account/second-factor", &own).await;
    assert!(page.text.contains("9 recovery codes are left"), "{}", page.text);

    let renew = "/account/second-factor/recovery-codes";
    assert_eq!(place.world.submit(renew, &own, "code=123456").await.status, 401);
    place.clock.advance(STEP);
    let fields = format!("code={}", telephone.code(&place.clock, 0));
    let renewed = place.world.submit(renew, &own, &fields).await;
    let others = shown(&renewed);
    assert_eq!((renewed.status, others.len()), (200, 10), "{}", renewed.text);
    assert_eq!(place.code(&waiting, &codes[1]).await.status, 401, "it was replaced");
    assert_eq!(place.code(&waiting, &others[1]).await.status, 303);

    let remove = "/account/second-factor/remove";
    assert_eq!(place.world.submit(remove, &own, "code=123456").await.status, 401);
    let gone = place.world.submit(remove, &own, &format!("code={}", others[2])).await;
    assert_eq!((gone.status, gone.header("location")), (303, "/account"), "{}", gone.text);
    assert_eq!(place.world.submit(remove, &own, "code=123456").await.status, 409);
    place.world.sign_in("alice").await;
    place.world.stop().await;
}

#[tokio::test]
async fn who_must_have_one_enrols_before_anything_else() {
    let second_factor = SecondFactorRule::RequiredFor([Role::Operator, Role::Admin].into());
    let roles = [("Staff@api".to_owned(), Role::Operator)].into();
    let identity = IdentityConfig { second_factor, roles, ..IdentityConfig::default() };
    let place = Place::new(Some(identity)).await;
    place.world.sign_in("alice").await;

    let waiting = place.password("olga").await;
    assert_eq!(place.world.page("/desktops", &waiting).await.status, 303);
    let page = place.world.page("/sign-in/second-factor", &waiting).await;
    assert!(page.text.contains("Your role asks"), "{}", page.text);
    let (telephone, offer) = (Telephone::reading(&page), hidden(&page, "offer"));
    let enrol = async |code: &str| {
        let fields = format!("offer={offer}&code={code}");
        place.world.submit("/sign-in/second-factor", &waiting, &fields).await
    };
    let wrong = enrol("000000").await;
    assert_eq!((wrong.status, hidden(&wrong, "offer")), (401, offer));
    assert_eq!(place.code(&waiting, "000000").await.status, 409, "there is none to prove");
    let done = enrol(&telephone.code(&place.clock, 0)).await;
    assert_eq!((done.status, shown(&done).len()), (200, 10), "{}", done.text);
    assert!(done.text.contains("href=\"/account\""), "{}", done.text);
    let own = cookie(&done, "daas").unwrap();
    assert_eq!(place.world.page("/desktops?all=true", &own).await.status, 200);

    let waiting = place.password("olga").await;
    place.clock.advance(STEP);
    let entered = place.code(&waiting, &telephone.code(&place.clock, 0)).await;
    assert_eq!(entered.status, 303, "{}", entered.text);
    place.world.stop().await;
}

#[tokio::test]
async fn wrong_codes_run_out_as_passwords_do() {
    let tries = Tries { account: 3, address: 100, period: Duration::from_secs(600) };
    let place = Place::new(Some(IdentityConfig { tries, ..IdentityConfig::default() })).await;
    let own = place.world.sign_in("alice").await;
    let (telephone, codes) = place.enrol(&own).await;
    let waiting = place.password("alice").await;
    place.clock.advance(STEP);
    for _ in 0..3 {
        assert_eq!(place.code(&waiting, "000000").await.status, 401);
    }
    for code in [&telephone.code(&place.clock, 0), &codes[0]] {
        let held = place.code(&waiting, code).await;
        assert_eq!(held.status, 429, "also the right one");
        assert!(said(&held).contains("4 minutes"), "{}", said(&held));
    }
    // Another sign-in is held back as well, by the code, not by the password.
    let other = place.password("alice").await;
    assert_eq!(place.code(&other, &codes[1]).await.status, 429);
    let fields = format!("code={}", codes[1]);
    let page = place.world.submit("/account/second-factor/remove", &own, &fields).await;
    assert_eq!(page.status, 429);
    place.world.stop().await;
}

#[tokio::test]
async fn an_offer_is_for_one_person_and_for_a_while() {
    let place = Place::new(None).await;
    let (alice, bob) = (place.world.sign_in("alice").await, place.world.sign_in("bob").await);
    let page = place.world.page("/account/second-factor", &alice).await;
    let (telephone, offer) = (Telephone::reading(&page), hidden(&page, "offer"));
    let enrol = async |cookie: &str| {
        let code = telephone.code(&place.clock, 0);
        let fields = format!("offer={offer}&code={code}");
        place.world.submit("/account/second-factor", cookie, &fields).await
    };
    let theirs = enrol(&bob).await;
    assert_eq!(theirs.status, 409, "{}", theirs.text);
    assert_ne!(Telephone::reading(&theirs).0, telephone.0);
    place.clock.advance(Duration::from_secs(900));
    assert_eq!(enrol(&alice).await.status, 409, "it is no longer on offer");
    let (_, codes) = place.enrol(&alice).await;
    assert_eq!(codes.len(), 10);
    let (alice_again, bobs) = (place.enrol_again(&alice, &bob).await, place.enrol(&bob).await);
    assert_eq!(alice_again, 409, "nobody's second factor is replaced");
    assert_eq!(bobs.1.len(), 10);
    place.world.stop().await;
}

impl Place {
    /// Whether who has a second factor could enrol another by an offer made before.
    async fn enrol_again(&self, cookie: &str, other: &str) -> u16 {
        let page = self.world.page("/account/second-factor", other).await;
        let code = Telephone::reading(&page).code(&self.clock, 0);
        let fields = format!("offer={}&code={code}", hidden(&page, "offer"));
        self.world.submit("/account/second-factor", cookie, &fields).await.status
    }
}

#[tokio::test]
async fn an_administrator_takes_it_away_from_who_has_lost_it() {
    let place = Place::new(None).await;
    let own = place.world.sign_in("alice").await;
    place.enrol(&own).await;
    place.password("alice").await;
    let path = "/api/v1/second-factors/alice@api";
    let keys = &place.world.keys;
    for key in [&keys.alice, &keys.operator] {
        assert_eq!(place.world.delete(path, key).await.status, 403);
    }
    assert_eq!(
        place.world.delete("/api/v1/second-factors/API%5CAlice", &keys.admin).await.status,
        204
    );
    assert_eq!(place.world.delete(path, &keys.admin).await.status, 404);
    place.world.sign_in("alice").await;
    place.world.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_said_in_both_languages_and_no_other_page_gives_codes() {
    let place = Place::new(None).await;
    let own = place.world.sign_in("alice").await;
    place.enrol(&own).await;
    let waiting = place.password("alice").await;
    for (language, words) in [("en", "was used before"), ("fr", "a déjà servi")] {
        let path = "/sign-in/second-factor";
        let mut request = with_cookie(with_fields(request("POST", path), "code=1"), &waiting);
        for (name, value) in [("accept-language", language), ("sec-fetch-site", "same-origin")] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let refused = Answer::of(place.world.send(request).await).await;
        assert!(said(&refused).contains(words), "{}", said(&refused));
    }
    for path in ["/sign-in/second-factor", "/account/second-factor/remove"] {
        let both = format!("{waiting}; {own}");
        let mut request = with_cookie(with_fields(request("POST", path), "code=1"), &both);
        request.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
        assert_eq!(Answer::of(place.world.send(request).await).await.status, 403, "{path}");
    }
    let nobody = place.world.page("/sign-in/second-factor", "").await;
    assert_eq!((nobody.status, nobody.header("location")), (303, "/sign-in"));
    place.world.stop().await;
}
