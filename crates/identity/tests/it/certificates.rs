//! Certificates of devices, by a clock of the test's own.

use std::time::Duration;

use identity::{Action, Actor, CertificateError, CertificateRefusal, CertificateStatus, NewKey, Who};
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
        .set_certificate_status(&Actor::inside(), &id, CertificateStatus::Revoked)
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
