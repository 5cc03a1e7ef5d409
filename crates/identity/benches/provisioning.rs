//! Devices that get their identity over MQTT: a certificate for a key that is made here, and its registration.
//!
//! `cargo bench -p identity --bench provisioning`. The disk is the machine's own; the clock is not, for one claim is given
//! no more than sixty certificates a minute, whatever the machine can do.

use std::sync::Arc;
use std::time::Duration;

use catalog::Catalog;
use divan::Bencher;
use divan::counter::ItemsCount;
use host::sim::Machine;
use host::{Clock as _, Host, SystemDisk, SystemRandom};
use identity::provisioning::TemplateName;
use identity::{Actor, Authority, Identity, Who};
use model::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

fn main() {
    divan::main();
}

const TEMPLATE: &str = r#"{
  "Parameters": {"SerialNumber": {"Type": "String"}},
  "Resources": {
    "thing": {
      "Type": "AWS::IoT::Thing",
      "Properties": {
        "ThingName": {"Fn::Join": ["-", ["pump", {"Ref": "SerialNumber"}]]},
        "AttributePayload": {"serial": {"Ref": "SerialNumber"}}
      }
    },
    "certificate": {
      "Type": "AWS::IoT::Certificate",
      "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}}
    }
  }
}"#;

/// How long a factory waits between rounds, each of fewer devices than a claim may ask for in a minute.
const PAUSE: Duration = Duration::from_secs(61);

/// A server's register with a claim for its factory.
struct Factory {
    runtime: Runtime,
    identity: Arc<Identity>,
    claim: Who,
    machine: Machine,
    made: usize,
    _dir: tempfile::TempDir,
}

impl Factory {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let machine = Machine::new(7);
        machine.clock.set(Timestamp::from_micros(1_780_272_000_000_000));
        let host = Host { disk: Arc::new(SystemDisk), random: Arc::new(SystemRandom), ..machine.host() };
        let catalog =
            Catalog::open(&dir.path().join("catalog.db"), Identity::migrations(), &host).expect("opened");
        let runtime = Runtime::new().expect("a runtime");
        let authority = runtime.block_on(Authority::open(&catalog, &host)).expect("an authority");
        let identity = Identity::open(catalog, host).expect("read").with_authority(authority);
        let (by, name) = (Actor::inside(), TemplateName::parse("pumps").expect("a name"));
        let claim = runtime.block_on(async {
            identity.put_template(&by, &name, TEMPLATE).await.expect("put");
            identity.make_claim(&by, &name, 300, 100_000).await.expect("made")
        });
        let claim = identity.authenticate_certificate(&claim.certificate.der).expect("in");
        Self { runtime, identity: Arc::new(identity), claim, machine, made: 0, _dir: dir }
    }

    /// Provisions `count` devices at once.
    fn provision(&mut self, count: usize) {
        // A minute for each round: nobody is told to wait.
        let now = self.machine.clock.now().micros() + PAUSE.as_micros() as i64;
        self.machine.clock.set(Timestamp::from_micros(now));
        let (first, identity, claim) = (self.made, &self.identity, &self.claim);
        self.made += count;
        self.runtime.block_on(async {
            let mut devices = JoinSet::new();
            for serial in first..first + count {
                let (identity, claim) = (Arc::clone(identity), claim.clone());
                devices.spawn(async move { provision(&identity, &claim, serial).await });
            }
            devices.join_all().await;
        });
    }
}

/// What one device asks for.
async fn provision(identity: &Identity, claim: &Who, serial: usize) {
    let created = ask(identity, claim, "$aws/certificates/create/json", &json!({})).await;
    let asked = json!({
        "certificateOwnershipToken": created["certificateOwnershipToken"],
        "parameters": { "SerialNumber": serial.to_string() },
    });
    let said = ask(identity, claim, "$aws/provisioning-templates/pumps/provision/json", &asked).await;
    assert_eq!(said["thingName"], format!("pump-{serial}"));
}

async fn ask(identity: &Identity, claim: &Who, topic: &str, asked: &Value) -> Value {
    let reply = identity.answer(claim, topic, asked.to_string().as_bytes()).await;
    assert_eq!(reply.topic, format!("{topic}/accepted"), "{}", String::from_utf8_lossy(&reply.payload));
    serde_json::from_slice(&reply.payload).expect("JSON")
}

/// Devices that come in so many at once: each is two changes, durable and in the audit log before the answer.
#[divan::bench(args = [1, 8, 32], sample_count = 20, sample_size = 1)]
fn devices(bencher: Bencher<'_, '_>, at_once: usize) {
    let mut factory = Factory::new();
    bencher.counter(ItemsCount::new(at_once)).bench_local(|| factory.provision(at_once));
}
