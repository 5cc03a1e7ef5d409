//! Provisioning over MQTT, by a clock of the test's own: tokens, templates, claims.

use std::time::Duration;

use identity::policy::{Expected, PolicyName, Target};
use identity::provisioning::{PENDING_PER_MINUTE_MAX, ProvisionError, TemplateName};
use identity::{
    Action, Actor, Certificate, CertificateFilter, CertificateId, CertificateRefusal, CertificateStatus,
    Followers, Identity, NewKey, Who,
};
use serde_json::{Value, json};

use crate::house::House;
use crate::{name, path};

const CREATE: &str = "$aws/certificates/create/json";
const CREATE_FROM_CSR: &str = "$aws/certificates/create-from-csr/json";
const PROVISION: &str = "$aws/provisioning-templates/pumps/provision/json";

const TEMPLATE: &str = r#"{
  "Parameters": {"SerialNumber": {"Type": "String"}, "Hall": {"Type": "String", "Default": "hall-1"}},
  "Mappings": {"Halls": {"hall-1": {"Group": "hq/hall-1"}, "hall-2": {"Group": "hq/hall-2"}}},
  "Resources": {
    "thing": {
      "Type": "AWS::IoT::Thing",
      "Properties": {
        "ThingName": {"Fn::Join": ["-", ["pump", {"Ref": "SerialNumber"}]]},
        "AttributePayload": {"serial": {"Ref": "SerialNumber"}},
        "ThingTypeName": "Pump",
        "ThingGroups": [{"Fn::FindInMap": ["Halls", {"Ref": "Hall"}, "Group"]}]
      }
    },
    "certificate": {
      "Type": "AWS::IoT::Certificate",
      "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}
    },
    "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "pumps"}}
  },
  "DeviceConfiguration": {"hall": {"Ref": "Hall"}, "url": {"Fn::Sub": "mqtts://${Hall}.works:8883"}}
}"#;

const POLICY: &str = r#"{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}"#;

impl House {
    /// With the template above, its groups and its policy.
    async fn of_pumps() -> Self {
        let house = Self::open().await;
        let identity = &house.identity;
        let by = Actor::inside();
        for group in ["hq/hall-1", "hq/hall-2"] {
            identity.add_group(&by, &path(group)).await.expect("made");
        }
        let policy = PolicyName::parse("pumps").expect("a name");
        identity.put_policy(&by, &policy, POLICY, Expected::Nothing, true).await.expect("put");
        house.put(TEMPLATE).await.expect("put");
        house
    }

    async fn put(&self, template: &str) -> Result<u64, ProvisionError> {
        let put = self.identity.put_template(&Actor::inside(), &pumps(), template).await?;
        Ok(put.version)
    }

    async fn claim(&self, devices: u64) -> Who {
        let made = self.identity.make_claim(&Actor::inside(), &pumps(), 30, devices).await.expect("made");
        self.enter(&made.certificate.der).expect("in")
    }

    async fn ask(&self, who: &Who, topic: &str, asked: Value) -> Result<Value, (String, String)> {
        let reply = self.identity.answer(who, topic, asked.to_string().as_bytes()).await;
        let said: Value = serde_json::from_slice(&reply.payload).expect("JSON");
        if reply.topic == format!("{topic}/accepted") {
            return Ok(said);
        }
        assert_eq!(reply.topic, format!("{topic}/rejected"));
        assert!(said["statusCode"].as_u64().is_some_and(|status| (400..=500).contains(&status)), "{said}");
        let text = |member: &str| said[member].as_str().expect("a text").to_owned();
        Err((text("errorCode"), text("errorMessage")))
    }

    /// A certificate that waits, and its token.
    async fn waiting(&self, who: &Who) -> (CertificateId, String) {
        let made = self.ask(who, CREATE, json!({})).await.expect("made");
        let id = CertificateId::parse(made["certificateId"].as_str().expect("an id")).expect("an id");
        (id, made["certificateOwnershipToken"].as_str().expect("a token").to_owned())
    }

    async fn register(&self, who: &Who, token: &str, sent: Value) -> Result<Value, (String, String)> {
        let asked = json!({ "certificateOwnershipToken": token, "parameters": sent });
        self.ask(who, PROVISION, asked).await
    }

    async fn certificate(&self, id: &CertificateId) -> Certificate {
        self.identity.certificate(id).await.expect("read").expect("there")
    }

    /// Everything that a rejection must leave as it was.
    async fn all(&self) -> String {
        let filter = CertificateFilter { limit: 1000, ..CertificateFilter::default() };
        let certificates = self.identity.certificates(filter).await.expect("read");
        let devices = self.identity.devices(identity::DeviceFilter::default(), identity::Page::default());
        let audit = self.identity.audit_head().await.expect("read");
        let policies = self.identity.policies(None, 100).await.expect("read");
        format!("{certificates:?} {:?} {} {policies:?}", devices.await.expect("read"), audit.0)
    }
}

fn pumps() -> TemplateName {
    TemplateName::parse("pumps").expect("a name")
}

fn code<T: std::fmt::Debug>(answer: Result<T, (String, String)>) -> String {
    answer.expect_err("rejected").0
}

#[tokio::test]
async fn a_claim_gets_a_device_an_identity_that_the_template_says() {
    let house = House::of_pumps().await;
    let who = house.claim(10).await;
    let (id, token) = house.waiting(&who).await;
    let waiting = house.certificate(&id).await;
    assert_eq!((waiting.status, &waiting.device), (CertificateStatus::Pending, &None));
    assert_eq!(house.enter(&waiting.der), Err(CertificateRefusal::Pending(id)));

    let sent = json!({ "SerialNumber": "7", "Hall": "hall-2", "Colour": "what nobody asked for" });
    let accepted = house.register(&who, &token, sent).await.expect("accepted");
    let configuration = json!({ "hall": "hall-2", "url": "mqtts://hall-2.works:8883" });
    assert_eq!(accepted, json!({ "thingName": "pump-7", "deviceConfiguration": configuration }));
    let device = house.enter(&waiting.der).expect("in");
    assert_eq!(device.device, Some(name("pump-7")));
    let page = house.identity.devices(identity::DeviceFilter::default(), identity::Page::default()).await;
    let known = &page.expect("read").devices[0];
    assert_eq!(known.group, Some(path("hq/hall-2")));
    let said: Vec<_> = known.attributes.iter().collect();
    assert_eq!(said, [("serial", "7"), ("type", "Pump")]);
    let target = Target::Device(name("pump-7"));
    assert_eq!(house.identity.policies_of(&target), [PolicyName::parse("pumps").expect("a name")]);
    let may = house.identity.permissions(&device, "c").may(Action::Publish, "anything");
    assert!(may.is_permitted(), "by the policy of the template");

    // As the next start reads it.
    let again = Identity::open(house.catalog.clone(), house.host.clone()).expect("read");
    assert_eq!(again.authenticate_certificate(&waiting.der).expect("in").device, Some(name("pump-7")));
    assert_eq!(again.policies_of(&target).len(), 1);
    let (about, _) = again.template(&pumps()).await.expect("read");
    assert_eq!((about.claims[0].devices, about.claims[0].devices_max), (1, 10));
}

#[tokio::test]
async fn a_request_of_its_own_keeps_its_key_and_one_that_is_none_is_rejected() {
    let house = House::of_pumps().await;
    let who = house.claim(10).await;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "from the works");
    let request = params.serialize_request(&key).expect("a request").pem().expect("PEM");
    let asked = json!({ "certificateSigningRequest": request });
    let one = house.ask(&who, CREATE_FROM_CSR, asked.clone()).await.expect("made");
    let other = house.ask(&who, CREATE_FROM_CSR, asked).await.expect("made");
    assert_ne!(one["certificateId"], other["certificateId"], "one request twice gives two certificates");
    assert_eq!(one.get("privateKey"), None);
    let id = CertificateId::parse(one["certificateId"].as_str().expect("an id")).expect("an id");
    assert_eq!(house.certificate(&id).await.subject, "CN=from the works");
    for wrong in ["", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"] {
        let answer = house.ask(&who, CREATE_FROM_CSR, json!({ "certificateSigningRequest": wrong })).await;
        assert_eq!(code(answer), "InvalidCertificateSigningRequest");
    }
    assert_eq!(code(house.ask(&who, CREATE_FROM_CSR, json!({})).await), "InvalidPayload");
}

#[tokio::test]
async fn a_token_is_used_once_within_an_hour_by_whom_it_was_given_to() {
    let house = House::of_pumps().await;
    let (who, other) = (house.claim(10).await, house.claim(10).await);
    let sent = json!({ "SerialNumber": "7" });
    let empty = house.register(&who, "", sent.clone()).await.expect_err("rejected");
    assert_eq!(empty.1, "Certificate ownership token cannot be empty.");
    let wrong = house.register(&who, "0011", sent.clone()).await.expect_err("rejected");
    let invalid =
        ("InvalidCertificateOwnershipToken".to_owned(), "Certificate ownership token is invalid.".to_owned());
    assert_eq!(wrong, invalid);

    let (_, token) = house.waiting(&who).await;
    let stolen = house.register(&other, &token, sent.clone()).await;
    assert_eq!(stolen, Err(invalid.clone()), "another claim's");
    house.register(&who, &token, sent.clone()).await.expect("accepted");
    assert_eq!(
        house.register(&who, &token, json!({ "SerialNumber": "8" })).await,
        Err(invalid.clone()),
        "used"
    );

    let (id, token) = house.waiting(&who).await;
    let der = house.certificate(&id).await.der;
    house.pass(Duration::from_secs(3600));
    assert_eq!(
        house.register(&who, &token, json!({ "SerialNumber": "9" })).await,
        Err(invalid),
        "an hour old"
    );
    assert_eq!(house.identity.forget_pending_certificates().await.expect("looked"), 1);
    assert_eq!(house.identity.certificate(&id).await.expect("read"), None);
    assert!(matches!(house.enter(&der), Err(CertificateRefusal::Unknown { .. })));
    assert_eq!(house.identity.forget_pending_certificates().await.expect("looked"), 0, "what was used stays");

    let (id, _) = house.waiting(&who).await;
    let der = house.certificate(&id).await.der;
    let by = Actor::inside();
    house
        .identity
        .set_certificate_status(&by, &id, CertificateStatus::Revoked, Followers::Unsaid)
        .await
        .expect("revoked");
    house.pass(Duration::from_secs(3600));
    assert_eq!(house.identity.forget_pending_certificates().await.expect("looked"), 0);
    assert_eq!(house.enter(&der), Err(CertificateRefusal::Revoked(id)), "what an operator revoked stays so");
}

#[tokio::test]
async fn a_rejection_changes_nothing() {
    let house = House::of_pumps().await;
    let who = house.claim(10).await;
    let by = Actor::inside();
    house.identity.add_device_with_password(&by, &name("pump-p")).await.expect("added");
    house.identity.add_device(&by, &name("pump-gone")).await.expect("added");
    house.identity.remove_device(&by, &name("pump-gone"), None).await.expect("removed");
    house.identity.add_device(&by, &name("pump-sick")).await.expect("added");
    house.identity.quarantine_device(&by, &name("pump-sick"), "smoke", None).await.expect("done");
    let attributed = identity::NewDevice {
        attributes: identity::Attributes::new([("serial", "another")]).expect("attributes"),
        ..identity::NewDevice::from(&name("pump-a"))
    };
    house.identity.add_device(&by, attributed).await.expect("added");
    let (_, token) = house.waiting(&who).await;
    let before = house.all().await;
    for (sent, expect, words) in [
        (json!({}), "InvalidParameters", "`SerialNumber` is missing"),
        (json!({ "SerialNumber": "" }), "InvalidParameters", "`SerialNumber` is empty"),
        (json!({ "SerialNumber": "  " }), "InvalidParameters", "`SerialNumber` is empty"),
        (json!({ "SerialNumber": 7 }), "InvalidParameters", "is not a text"),
        (json!({ "SerialNumber": "x".repeat(1025) }), "InvalidParameters", "the most is 1024"),
        (json!({ "SerialNumber": "7", "Hall": "hall-9" }), "InvalidParameters", "`hall-9`"),
        (json!({ "SerialNumber": "a/b" }), "ProvisioningFailed", ""),
        (json!({ "SerialNumber": "p" }), "ProvisioningFailed", "proves itself already"),
        (json!({ "SerialNumber": "gone" }), "ProvisioningFailed", "was removed"),
        (json!({ "SerialNumber": "sick" }), "ProvisioningFailed", "quarantine"),
        (json!({ "SerialNumber": "a" }), "ProvisioningFailed", "other attributes"),
    ] {
        let (code, said) = house.register(&who, &token, sent.clone()).await.expect_err("rejected");
        assert!(code == expect && said.contains(words), "{sent}: {code}: {said}");
        assert_eq!(house.all().await, before, "{sent}");
    }
    for (topic, asked, expect) in [
        (PROVISION, json!([]), "InvalidPayload"),
        (PROVISION, json!({ "certificateOwnershipToken": 7 }), "InvalidPayload"),
        (PROVISION, json!({ "certificateOwnershipToken": token, "parameters": [] }), "InvalidPayload"),
        ("$aws/provisioning-templates/other/provision/json", json!({}), "AccessDenied"),
    ] {
        assert_eq!(code(house.ask(&who, topic, asked).await), expect, "{topic}");
        assert_eq!(house.all().await, before);
    }
    house.register(&who, &token, json!({ "SerialNumber": "7" })).await.expect("the token is still good");
}

#[tokio::test]
async fn a_claim_may_do_nothing_but_provision_by_its_own_template_whatever_is_attached_to_it() {
    let house = House::of_pumps().await;
    let who = house.claim(10).await;
    let model::Principal::Certificate(id) = who.principal else { panic!("a certificate") };
    let everything = PolicyName::parse("pumps").expect("a name");
    let target = Target::Certificate(id);
    house.identity.attach_policy(&Actor::inside(), &everything, &target).await.expect("attached");
    let may = |action, topic: &str| house.identity.permissions(&who, "c").may(action, topic).is_permitted();
    assert!(may(Action::Connect, "any-client-id"));
    for topic in [CREATE, CREATE_FROM_CSR, PROVISION] {
        assert!(may(Action::Publish, topic), "{topic}");
        for answer in ["accepted", "rejected", "+"] {
            assert!(may(Action::Subscribe, &format!("{topic}/{answer}")), "{topic}/{answer}");
        }
        assert!(may(Action::Receive, &format!("{topic}/accepted")));
        assert!(!may(Action::RetainPublish, topic));
    }
    for topic in [
        "dt/pump-1/flow",
        "cmd/pump-1/stop",
        "$aws/provisioning-templates/other/provision/json",
        "$aws/things/pump-1/certificates/renew",
        "c",
    ] {
        assert!(!may(Action::Publish, topic), "{topic}");
        assert!(!may(Action::Subscribe, topic) && !may(Action::Receive, topic), "{topic}");
    }
    assert!(!may(Action::Subscribe, "#") && !may(Action::Subscribe, "$aws/#"));
    // As the next start reads it.
    let again = Identity::open(house.catalog.clone(), house.host.clone()).expect("read");
    assert!(!again.permissions(&who, "c").may(Action::Publish, "dt/pump-1/flow").is_permitted());

    assert_eq!(house.identity.remove_template(&Actor::inside(), &pumps()).await.expect("removed"), 1);
    assert!(!house.identity.stands(&who), "a template takes its claims with it");
}

#[tokio::test]
async fn a_claim_is_bounded_in_time_in_devices_and_in_how_fast_it_asks() {
    let house = House::of_pumps().await;
    let by = Actor::inside();
    for (days, devices) in [(0, 1), (367, 1), (1, 0), (1, 100_001)] {
        let made = house.identity.make_claim(&by, &pumps(), days, devices).await;
        assert!(matches!(made, Err(ProvisionError::ClaimBound { .. })), "{days} {devices}");
    }
    let who = house.claim(1).await;
    let (_, first) = house.waiting(&who).await;
    let (_, second) = house.waiting(&who).await;
    house.register(&who, &first, json!({ "SerialNumber": "1" })).await.expect("accepted");
    assert_eq!(code(house.register(&who, &second, json!({ "SerialNumber": "2" })).await), "AccessDenied");
    assert_eq!(code(house.ask(&who, CREATE, json!({})).await), "AccessDenied", "it is spent");

    let who = house.claim(1000).await;
    for _ in 0..PENDING_PER_MINUTE_MAX {
        house.waiting(&who).await;
    }
    assert_eq!(code(house.ask(&who, CREATE, json!({})).await), "Throttled");
    house.pass(Duration::from_secs(61));
    house.waiting(&who).await;

    let made = house.identity.make_claim(&by, &pumps(), 1, 1).await.expect("made");
    house.pass(Duration::from_secs(86_400 + 2));
    assert!(matches!(house.enter(&made.certificate.der), Err(CertificateRefusal::Expired { .. })));
}

#[tokio::test]
async fn a_device_that_did_not_hear_the_answer_comes_again_and_one_that_was_used_is_not_taken_over() {
    let house = House::of_pumps().await;
    let (who, thief) = (house.claim(10).await, house.claim(10).await);
    let sent = json!({ "SerialNumber": "7" });
    let (first, token) = house.waiting(&who).await;
    house.register(&who, &token, sent.clone()).await.expect("accepted");
    let (_, token) = house.waiting(&thief).await;
    assert_eq!(code(house.register(&thief, &token, sent.clone()).await), "ProvisioningFailed", "not its own");
    let (second, token) = house.waiting(&who).await;
    house.register(&who, &token, sent.clone()).await.expect("accepted");
    let first = house.certificate(&first).await;
    assert_eq!(first.status, CertificateStatus::Revoked);
    assert!(matches!(house.enter(&first.der), Err(CertificateRefusal::Revoked(_))));

    house.enter(&house.certificate(&second).await.der).expect("in: the device has heard");
    house.catalog.write(|_| Ok(())).await.expect("what was submitted before is written");
    let (_, token) = house.waiting(&who).await;
    assert_eq!(code(house.register(&who, &token, sent.clone()).await), "ProvisioningFailed");
    // Whoever looks after the fleet says so.
    let by = Actor::inside();
    house
        .identity
        .set_certificate_status(&by, &second, CertificateStatus::Revoked, Followers::Unsaid)
        .await
        .expect("revoked");
    house.register(&who, &token, sent).await.expect("accepted");
}

#[tokio::test]
async fn a_claim_does_not_get_around_a_certificate_that_was_deactivated() {
    let house = House::of_pumps().await;
    let (by, who) = (Actor::inside(), house.claim(10).await);
    let sent = json!({ "SerialNumber": "7" });
    for is_used in [true, false] {
        let (id, token) = house.waiting(&who).await;
        house.register(&who, &token, sent.clone()).await.expect("accepted");
        if is_used {
            house.enter(&house.certificate(&id).await.der).expect("in");
            house.catalog.write(|_| Ok(())).await.expect("what was submitted before is written");
        }
        house
            .identity
            .set_certificate_status(&by, &id, CertificateStatus::Inactive, Followers::Unsaid)
            .await
            .expect("off");
        let (_, token) = house.waiting(&who).await;
        let refused = house.register(&who, &token, sent.clone()).await;
        assert_eq!(code(refused), "ProvisioningFailed", "used: {is_used}");
        assert_eq!(house.certificate(&id).await.status, CertificateStatus::Inactive);
        house
            .identity
            .set_certificate_status(&by, &id, CertificateStatus::Revoked, Followers::Unsaid)
            .await
            .expect("revoked");
    }
    // A template whose certificates wait for somebody to activate them gets around nothing: one that did not hear asks again.
    let inactive = TEMPLATE.replace("\"Status\": \"Active\"", "\"Status\": \"Inactive\"");
    house.put(&inactive).await.expect("put");
    let (first, token) = house.waiting(&who).await;
    house.register(&who, &token, sent.clone()).await.expect("accepted");
    let (second, token) = house.waiting(&who).await;
    house.register(&who, &token, sent).await.expect("accepted");
    assert_eq!(house.certificate(&first).await.status, CertificateStatus::Revoked);
    assert_eq!(house.certificate(&second).await.status, CertificateStatus::Inactive);
}

/// A template whose thing has these settings, and whose policy says so.
fn template_of(over: Value, policy: Value) -> String {
    let mut template: Value = serde_json::from_str(TEMPLATE).expect("JSON");
    template["Resources"]["thing"]["OverrideSettings"] = over;
    template["Resources"]["policy"]["Properties"] = policy;
    template.to_string()
}

#[tokio::test]
async fn what_is_there_is_overridden_as_the_template_says() {
    let house = House::of_pumps().await;
    let who = house.claim(100).await;
    for (how, expect) in [
        ("DO_NOTHING", Some((vec![("old", "x"), ("type", "Valve")], "hq/hall-2", 0))),
        ("MERGE", Some((vec![("old", "x"), ("serial", "MERGE"), ("type", "Valve")], "hq/hall-2", 1))),
        ("REPLACE", Some((vec![("serial", "REPLACE"), ("type", "Valve")], "hq/hall-1", 0))),
        ("FAIL", None),
    ] {
        let over = json!({ "AttributePayload": how, "ThingGroups": how, "ThingTypeName": "DO_NOTHING" });
        house.put(&template_of(over, json!({ "PolicyName": "pumps" }))).await.expect("put");
        let device = identity::NewDevice {
            name: name(&format!("pump-{how}")),
            group: Some(path("hq/hall-2")),
            attributes: identity::Attributes::new([("old", "x"), ("type", "Valve")]).expect("attributes"),
            if_version: None,
        };
        house.identity.add_device(&Actor::inside(), device).await.expect("added");
        let (_, token) = house.waiting(&who).await;
        let answer = house.register(&who, &token, json!({ "SerialNumber": how })).await;
        let Some((attributes, home, memberships)) = expect else {
            assert_eq!(code(answer), "ProvisioningFailed", "{how}");
            continue;
        };
        answer.expect("accepted");
        let page = house
            .identity
            .devices(identity::DeviceFilter::default(), identity::Page { limit: 100, ..Default::default() });
        let page = page.await.expect("read");
        let device = page.devices.iter().find(|device| device.name == name(&format!("pump-{how}")));
        let device = device.expect("there");
        assert_eq!(device.attributes.iter().collect::<Vec<_>>(), attributes, "{how}");
        assert_eq!((&device.group, device.memberships.len()), (&Some(path(home)), memberships), "{how}");
    }
}

#[tokio::test]
async fn what_a_device_sends_widens_no_policy() {
    let house = House::of_pumps().await;
    let who = house.claim(100).await;
    let document = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "iot:Connect", "Resource": "*" },
        { "Effect": "Allow", "Action": "iot:Publish", "Resource": { "Fn::Sub": "arn:aws:iot:*:*:topic/site/${SerialNumber}/*" } },
    ]});
    // Of a name that does not depend on what was sent, so that nothing else refuses it.
    let template = template_of(json!({}), json!({ "PolicyDocument": document }));
    let named = template.replace(r#"{"Fn::Join":["-",["pump",{"Ref":"SerialNumber"}]]}"#, r#""pump-7""#);
    assert_ne!(named, template);
    house.put(&named).await.expect("put");
    let (_, token) = house.waiting(&who).await;
    for serial in ["*", "a*", "?", "a/b", "#", "+", "${godwit:Device}", "\"", "ä"] {
        let answer = house.register(&who, &token, json!({ "SerialNumber": serial })).await;
        assert_eq!(code(answer), "InvalidParameters", "{serial}");
    }
    let answer = house.register(&who, &token, json!({ "SerialNumber": "7" })).await;
    assert_eq!(answer.expect("accepted")["thingName"], "pump-7");
    let device = Target::Device(name("pump-7"));
    let policies = house.identity.policies_of(&device);
    assert_eq!(policies.len(), 1);
    let (_, text) = house.identity.policy_text(&policies[0], None).await.expect("read");
    assert!(text.contains("topic/site/7/*"), "{text}");
}

#[tokio::test]
async fn a_template_that_godwit_would_not_follow_is_refused_when_it_is_put() {
    let house = House::of_pumps().await;
    let with = |place: &[&str], value: Value| {
        let mut template: Value = serde_json::from_str(TEMPLATE).expect("JSON");
        let (last, way) = place.split_last().expect("a place");
        let mut at = &mut template;
        for key in way {
            at = &mut at[*key];
        }
        at[*last] = value;
        template.to_string()
    };
    let thing = |key: &'static str| ["Resources", "thing", "Properties", key];
    for (template, words) in [
        ("{".to_owned(), "not JSON"),
        ("[]".to_owned(), "must be an object"),
        (format!("{{{}}}", " ".repeat(10_240)), "10242 characters; the most is 10240"),
        ("{}".to_owned(), "no `AWS::IoT::Certificate`"),
        (with(&["Hooks"], json!({})), "`Hooks` is not known"),
        (with(&["Parameters", "SerialNumber"], json!({ "Type": "Number" })), "must be `String`"),
        (with(&["Resources", "role"], json!({ "Type": "AWS::IAM::Role" })), "`AWS::IAM::Role`"),
        (with(&thing("BillingGroup"), json!("a")), "`BillingGroup` is not known"),
        (with(&thing("ThingName"), json!({ "Ref": "Serial" })), "`Serial`, which is no parameter"),
        (with(&thing("ThingName"), json!({ "Fn::GetAtt": "x" })), "no function `Fn::GetAtt`"),
        (
            with(&["Resources", "thing", "OverrideSettings"], json!({ "ThingTypeName": "MERGE" })),
            "must be DO_NOTHING",
        ),
        (with(&["Resources", "policy", "Properties", "PolicyDocument"], json!({})), "either `PolicyName`"),
    ] {
        let error = house.put(&template).await.expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(house.identity.template(&pumps()).await.expect("read").1 == TEMPLATE, "the one of before stays");
    for wrong in ["", "a/b", "ä", &"x".repeat(37)] {
        assert!(TemplateName::parse(wrong).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn every_function_of_a_template_does_what_it_is_documented_to() {
    let house = House::of_pumps().await;
    let who = house.claim(100).await;
    let mut template: Value = serde_json::from_str(TEMPLATE).expect("JSON");
    template["DeviceConfiguration"] = json!({
        "join": { "Fn::Join": ["/", ["a", { "Ref": "SerialNumber" }, 3]] },
        "select": { "Fn::Select": ["1", { "Fn::Split": ["-", { "Ref": "SerialNumber" }] }] },
        "sub": { "Fn::Sub": ["${One}${Hall}${!Literal}", { "One": { "Ref": "SerialNumber" } }] },
        "map": { "Fn::FindInMap": ["Halls", "hall-2", "Group"] },
        "id": { "Ref": "AWS::IoT::Certificate::Id" },
        "plain": [true, 1],
    });
    house.put(&template.to_string()).await.expect("put");
    let (id, token) = house.waiting(&who).await;
    let answer = house.register(&who, &token, json!({ "SerialNumber": "ab-cd" })).await.expect("accepted");
    let expect = json!({
        "join": "a/ab-cd/3", "select": "cd", "sub": "ab-cdhall-1${Literal}", "map": "hq/hall-2",
        "id": id.to_string(), "plain": [true, 1],
    });
    assert_eq!(answer["deviceConfiguration"], expect);
    let (_, token) = house.waiting(&who).await;
    let short = house.register(&who, &token, json!({ "SerialNumber": "ab" })).await;
    assert_eq!(code(short), "InvalidParameters", "there is no part 1");

    // Texts that double at each step.
    let mut node = json!({ "Ref": "SerialNumber" });
    for _ in 0..40 {
        node = json!({ "Fn::Sub": ["${x}${x}", { "x": node }] });
    }
    template["DeviceConfiguration"] = json!({ "bomb": node });
    house.put(&template.to_string()).await.expect("put");
    let (code, said) =
        house.register(&who, &token, json!({ "SerialNumber": "boom" })).await.expect_err("rejected");
    assert!(code == "ProvisioningFailed" && said.contains("10240 bytes"), "{code}: {said}");
}

#[tokio::test]
async fn whoever_proves_himself_otherwise_asks_as_himself_alone() {
    let house = House::of_pumps().await;
    let key = house.identity.add_device_with_certificate(&Actor::inside(), &name("gate"), NewKey::Made).await;
    let gate = house.enter(&key.expect("added").certificate.der).expect("in");
    let may = house.identity.permissions(&gate, "c").may(Action::Publish, CREATE);
    assert!(!may.is_permitted(), "the default policy allows no provisioning");
    // With a policy that does, it is a claim that lives as long as it does.
    let (_, token) = house.waiting(&gate).await;
    house.register(&gate, &token, json!({ "SerialNumber": "7" })).await.expect("accepted");
}

#[tokio::test]
async fn a_group_that_a_template_names_and_nobody_made_is_warned_of_when_it_is_put() {
    let house = House::of_pumps().await;
    let template = json!({
        "Parameters": { "Hall": { "Type": "String" } },
        "Resources": {
            "thing": { "Type": "AWS::IoT::Thing", "Properties": {
                "ThingName": "pump",
                "ThingGroups": ["hq", "plant/north", { "Ref": "Hall" }]
            } },
            "certificate": { "Type": "AWS::IoT::Certificate", "Properties": {
                "CertificateId": { "Ref": "AWS::IoT::Certificate::Id" }
            } }
        }
    })
    .to_string();
    let put = house.identity.put_template(&Actor::inside(), &pumps(), &template).await.expect("put");
    assert_eq!((put.version, put.warnings.len()), (2, 1), "{:?}", put.warnings);
    assert!(put.warnings[0].contains("there is no group `plant/north`"), "{:?}", put.warnings);
}
