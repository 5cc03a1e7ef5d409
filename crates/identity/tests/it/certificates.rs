//! Certificates of devices, by a clock of the test's own.

use std::time::Duration;

use identity::{
    Action, Actor, CertificateError, CertificateRefusal, CertificateStatus, Followers, NewKey, Who,
};
use model::Kind;

use crate::house::{House, NOW};
use crate::name;

const DAY: Duration = Duration::from_secs(86_400);

impl House {
    async fn add(&self, device: &str) -> Vec<u8> {
        let issued =
            self.identity.add_device_with_certificate(&Actor::inside(), &name(device), NewKey::Made).await;
        issued.expect("added").certificate.der
    }

    fn may(&self, who: &Who, action: Action, topic: &str) -> bool {
        self.identity.permissions(who, "c").may(action, topic).is_permitted()
    }
}

/// A request for a certificate, with a key of its own.
fn request(subject: &str) -> String {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, subject);
    params.serialize_request(&key).expect("a request").pem().expect("PEM")
}

#[tokio::test]
async fn a_certificate_is_its_devices_whatever_the_client_id() {
    let house = House::open().await;
    let der = house.add("pump-1").await;
    let who = house.enter(&der).expect("in");
    assert_eq!(who.device, Some(name("pump-1")));
    assert!(house.identity.stands(&who));
    assert!(house.may(&who, Action::Publish, "dt/pump-1/x"));
    assert!(!house.may(&who, Action::Publish, "dt/pump-2/x"));
    let second =
        house.identity.add_device_with_certificate(&Actor::inside(), &name("pump-1"), NewKey::Made).await;
    assert!(matches!(second, Err(CertificateError::HasOne(_))));
}

#[tokio::test]
async fn a_removed_device_has_no_certificate_and_one_that_comes_back_needs_another() {
    let house = House::open().await;
    let der = house.add("pump-1").await;
    let who = house.enter(&der).expect("in");
    house.identity.remove_device(&Actor::inside(), &name("pump-1"), None).await.expect("removed");
    assert!(!house.identity.stands(&who), "its session is cut");
    assert!(matches!(house.enter(&der), Err(CertificateRefusal::Revoked(_))));
    let again = house.add("pump-1").await;
    assert!(house.enter(&again).is_ok());
    assert!(matches!(house.enter(&der), Err(CertificateRefusal::Revoked(_))));
}

#[tokio::test]
async fn a_device_in_quarantine_is_cut_and_comes_back_to_its_diagnosis_topics_alone() {
    let house = House::open().await;
    let der = house.add("pump-1").await;
    let before = house.enter(&der).expect("in");
    let by = Actor::inside();
    house.identity.quarantine_device(&by, &name("pump-1"), "odd", None).await.expect("quarantined");
    assert!(!house.identity.stands(&before), "cut");
    let held = house.enter(&der).expect("it may come back");
    assert!(house.identity.stands(&held));
    assert!(house.may(&held, Action::Connect, "c"));
    assert!(house.may(&held, Action::Publish, "dt/pump-1/diag/log"));
    assert!(house.may(&held, Action::Subscribe, "cmd/pump-1/diag/#"));
    assert!(house.may(&held, Action::Receive, "cmd/pump-1/diag/ask"));
    for topic in ["dt/pump-1/state", "dt/pump-2/diag/log", "$aws/things/pump-1/certificates/renew"] {
        assert!(!house.may(&held, Action::Publish, topic), "{topic}");
    }
    assert!(!house.may(&held, Action::Subscribe, "cmd/pump-1/#"));
    house.identity.release_device(&by, &name("pump-1"), None).await.expect("released");
    assert!(!house.identity.stands(&held), "cut once more, to come back as what it was");
    let free = house.enter(&der).expect("in");
    assert!(house.may(&free, Action::Publish, "dt/pump-1/state"));
}

#[tokio::test]
async fn an_expired_certificate_opens_the_way_to_a_new_one_for_a_year_and_no_other() {
    let house = House::open().await;
    let first = house.add("pump-1").await;
    let who = house.enter(&first).expect("in");
    let renewed =
        house.identity.renew_certificate(&who, request("pump-1").as_bytes()).await.expect("renewed");
    assert!(renewed.not_after.micros() - NOW.micros() <= 365 * DAY.as_micros() as i64, "a year from now on");
    let who = house.enter(&renewed.der).expect("in");
    assert!(house.may(&who, Action::Publish, "dt/pump-1/state"));

    house.pass(366 * DAY);
    assert!(house.identity.stands(&who), "a session that is open goes on: it renews over it");
    let late = house.enter(&renewed.der).expect("it slept past its time");
    assert!(house.may(&late, Action::Publish, "$aws/things/pump-1/certificates/renew"));
    assert!(house.may(&late, Action::Subscribe, "$aws/things/pump-1/certificates/renew/+"));
    assert!(!house.may(&late, Action::Publish, "dt/pump-1/state"));
    assert!(!house.may(&late, Action::Subscribe, "cmd/pump-1/#"));
    let back = house.identity.renew_certificate(&late, request("pump-1").as_bytes()).await.expect("renewed");
    assert!(house.may(&house.enter(&back.der).expect("in"), Action::Publish, "dt/pump-1/state"));

    house.pass(366 * DAY);
    assert!(
        matches!(house.enter(&renewed.der), Err(CertificateRefusal::Expired { .. })),
        "the grace is over"
    );
    let id = back.id;
    house
        .identity
        .set_certificate_status(&Actor::inside(), &id, CertificateStatus::Revoked, Followers::Unsaid)
        .await
        .expect("revoked");
    assert!(matches!(house.enter(&back.der), Err(CertificateRefusal::Revoked(_))), "withdrawn has no grace");
}

#[tokio::test]
async fn an_old_certificate_retires_a_week_after_the_new_one_was_used_once_and_not_before() {
    let house = House::open().await;
    let old = house.add("pump-1").await;
    let who = house.enter(&old).expect("in");
    let new = house.identity.renew_certificate(&who, request("pump-1").as_bytes()).await.expect("renewed");
    let too_often =
        house.identity.renew_certificate(&who, request("pump-1").as_bytes()).await.expect_err("refused");
    assert_eq!(too_often.kind(), Kind::TooMuch);
    house.pass(Duration::from_secs(60));
    let newer = house.identity.renew_certificate(&who, request("pump-1").as_bytes()).await.expect("renewed");
    assert!(
        matches!(house.enter(&new.der), Err(CertificateRefusal::Revoked(_))),
        "never used, and asked for again"
    );

    house.pass(30 * DAY);
    assert_eq!(house.identity.retire_certificates().await.expect("looked"), 0, "the new one was never used");
    house.enter(&newer.der).expect("in");
    // What is counted in passing is counted when a later write is.
    house.identity.add_device(&Actor::inside(), &name("other")).await.expect("added");
    house.pass(6 * DAY);
    assert_eq!(house.identity.retire_certificates().await.expect("looked"), 0, "a week is not over");
    assert!(house.enter(&old).is_ok());
    house.pass(2 * DAY);
    assert_eq!(house.identity.retire_certificates().await.expect("looked"), 1);
    assert!(matches!(house.enter(&old), Err(CertificateRefusal::Inactive(_))));
    assert!(!house.identity.stands(&who));
    let shown =
        house.identity.certificate(&identity::CertificateId::of(&old)).await.expect("read").expect("there");
    assert_eq!(shown.retired_by, Some(newer.id));
}

#[tokio::test]
async fn what_ends_soon_is_counted_by_week() {
    let house = House::open().await;
    let der = house.add("pump-1").await;
    let who = house.enter(&der).expect("in");
    house.identity.renew_certificate(&who, request("pump-1").as_bytes()).await.expect("renewed");
    assert_eq!(house.identity.expiring_certificates(4), [0, 0, 0, 0, 0]);
    house.pass(355 * DAY);
    assert_eq!(house.identity.expiring_certificates(4), [0, 0, 1, 0, 0], "in ten days");
    house.pass(20 * DAY);
    assert_eq!(house.identity.expiring_certificates(4), [1, 0, 0, 0, 0], "over");
}

#[tokio::test]
async fn a_stolen_certificate_renews_into_a_bounded_number_and_its_revocation_ends_them_all() {
    let house = House::open().await;
    let stolen = house.add("pump-1").await;
    let thief = house.enter(&stolen).expect("in");
    let mut got = Vec::new();
    let refused = loop {
        match house.identity.renew_certificate(&thief, request("pump-1").as_bytes()).await {
            Ok(new) => {
                // Used once: it is not taken for one whose answer was lost.
                house.enter(&new.der).expect("in");
                let too_often = house.identity.renew_certificate(&thief, request("pump-1").as_bytes()).await;
                assert!(matches!(too_often, Err(CertificateError::TooOften)), "{too_often:?}");
                got.push(new);
            }
            Err(refused) => break refused,
        }
        assert!(got.len() < 100, "it does not end");
        house.pass(Duration::from_secs(11));
    };
    assert!(matches!(refused, CertificateError::TooMany(_)), "{refused}");
    assert_eq!(got.len(), 15, "beside the first");
    // The second connection by one of them retires the stolen one.
    let next = house.enter(&got[3].der).expect("in");
    let id = identity::CertificateId::of(&stolen);
    let revoke = async |followers| {
        let by = Actor::inside();
        house.identity.set_certificate_status(&by, &id, CertificateStatus::Revoked, followers).await
    };
    let unsaid = revoke(Followers::Unsaid).await.expect_err("it retired");
    assert!(matches!(unsaid, CertificateError::Followed { standing: 15, .. }), "{unsaid}");
    let changed = revoke(Followers::Revoke).await.expect("revoked");
    assert_eq!(changed.revoked, got.iter().map(|new| new.id).collect::<Vec<_>>());
    assert!(changed.standing.is_empty());
    assert!(!house.identity.stands(&next), "cut");
    for new in &got {
        assert!(matches!(house.enter(&new.der), Err(CertificateRefusal::Revoked(_))));
    }
    let page = identity::AuditPage { is_oldest_first: false, after: None, limit: 1_000 };
    let (entries, _) = house.identity.audit(identity::AuditFilter::default(), page).await.expect("read");
    let had = entries.iter().filter(|entry| format!("{entry:?}").contains("had_by")).count();
    assert_eq!(had, 15, "each is in the audit log");
}

#[tokio::test]
async fn a_device_that_renews_each_month_does_so_for_ever_and_tidying_up_behind_it_cuts_nobody() {
    let house = House::open().await;
    let mut held = house.add("pump-1").await;
    let first = identity::CertificateId::of(&held);
    for month in 0..40 {
        let who = house.enter(&held).expect("in");
        let new = house.identity.renew_certificate(&who, request("pump-1").as_bytes()).await;
        held = new.unwrap_or_else(|error| panic!("month {month}: {error}")).der;
        house.enter(&held).expect("in");
        house.enter(&held).expect("in");
        house.pass(30 * DAY);
    }
    let revoke = async |followers| {
        let by = Actor::inside();
        house.identity.set_certificate_status(&by, &first, CertificateStatus::Revoked, followers).await
    };
    let unsaid = revoke(Followers::Unsaid).await.expect_err("it may be a thief's doing, or tidying up");
    assert!(matches!(unsaid, CertificateError::Followed { standing: 40, .. }), "{unsaid}");
    let changed = revoke(Followers::Keep).await.expect("revoked");
    assert!(changed.revoked.is_empty());
    assert!(changed.standing.contains(&identity::CertificateId::of(&held)), "they are named");
    let who = house.enter(&held).expect("in");
    // It was a thief after all.
    let again = revoke(Followers::Unsaid).await.expect("it is revoked");
    assert!((again.revoked.len(), again.standing.len()) == (0, 40) && house.identity.stands(&who));
    let changed = revoke(Followers::Revoke).await.expect("revoked");
    assert!((changed.revoked.len(), changed.standing.len()) == (40, 0));
    assert!(!house.identity.stands(&who), "cut");
    assert!(matches!(house.enter(&held), Err(CertificateRefusal::Revoked(_))));
    let page = identity::AuditPage { is_oldest_first: false, after: None, limit: 1_000 };
    let (entries, _) = house.identity.audit(identity::AuditFilter::default(), page).await.expect("read");
    let of_first = entries
        .iter()
        .filter(|entry| entry.action == "certificate.status" && entry.object.contains(&first.to_string()));
    assert_eq!(of_first.count(), 1, "it was revoked once");
}

#[tokio::test]
async fn a_chain_of_renewals_is_no_longer_than_a_hundred_a_day() {
    let house = House::open().await;
    let mut held = house.add("pump-1").await;
    let mut renewals = 0;
    let refused = loop {
        let who = house.enter(&held).expect("in");
        match house.identity.renew_certificate(&who, request("pump-1").as_bytes()).await {
            Ok(new) => held = new.der,
            Err(refused) => break refused,
        }
        renewals += 1;
        house.enter(&held).expect("in");
        house.enter(&held).expect("in");
        house.pass(Duration::from_secs(60));
    };
    assert!(matches!(refused, CertificateError::TooOften), "{refused}");
    assert_eq!(renewals, 100);
    house.pass(DAY);
    let who = house.enter(&held).expect("in");
    house.identity.renew_certificate(&who, request("pump-1").as_bytes()).await.expect("another day");
}

#[tokio::test]
async fn what_was_had_by_a_certificate_in_use_goes_with_it() {
    let house = House::open().await;
    let stolen = house.add("pump-1").await;
    let thief = house.enter(&stolen).expect("in");
    let new = house.identity.renew_certificate(&thief, request("pump-1").as_bytes()).await.expect("renewed");
    let id = identity::CertificateId::of(&stolen);
    let by = Actor::inside();
    let changed =
        house.identity.set_certificate_status(&by, &id, CertificateStatus::Revoked, Followers::Unsaid).await;
    assert_eq!(changed.expect("revoked").revoked, [new.id]);
    assert!(matches!(house.enter(&new.der), Err(CertificateRefusal::Revoked(_))));
}
