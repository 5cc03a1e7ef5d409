//! Provisioning through the binary: the operator's commands, and devices out of the box with a client that is not ours.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use crate::python::printed;
use crate::server::Home;
use crate::strangers::python_with_mqtt;
use crate::tls::{Pair, answer, home, openssl, secure};

pub(crate) const TEMPLATE: &str = r#"{
  "Parameters": {"SerialNumber": {"Type": "String"}},
  "Resources": {
    "thing": {
      "Type": "AWS::IoT::Thing",
      "Properties": {
        "ThingName": {"Fn::Join": ["-", ["pump", {"Ref": "SerialNumber"}]]},
        "AttributePayload": {"serial": {"Ref": "SerialNumber"}},
        "ThingGroups": ["hq"]
      }
    },
    "certificate": {
      "Type": "AWS::IoT::Certificate",
      "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}}
    }
  },
  "DeviceConfiguration": {"site": "hq"}
}"#;

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs the device; what it was told at the end.
fn box_of(home: &Home, claim: &Pair, serial: &str, version: &str, how: &str) -> String {
    let mut device = python_with_mqtt("paho_provision.py");
    let port = secure(home)[0].port().to_string();
    let out = home.path().join(serial);
    device.arg(home.data().join("ca.pem")).arg(port).arg(&claim.certificate).arg(&claim.key);
    device.arg(serial).arg(out).arg(version).arg(how).stderr(Stdio::piped());
    printed(&device.output().expect("python starts"))
}

#[test]
fn a_device_out_of_the_box_gets_an_identity_by_a_claim_and_keeps_it_over_kill_9() {
    let home = home();
    let mut server = home.start();
    let dir = home.path().to_owned();
    server.ok(&["group", "add", "hq"]);
    let file = dir.join("pumps.json");
    std::fs::write(&file, TEMPLATE).expect("written");
    assert_eq!(
        server.ok(&["provision", "template", "put", "pumps", text(&file)]),
        "template pumps, version 1\n"
    );
    assert_eq!(server.ok(&["provision", "template", "show", "pumps"]).trim_end(), TEMPLATE);
    let out = dir.join("claim");
    let said =
        server.ok(&["provision", "claim", "pumps", "--out", text(&out), "--days", "2", "--devices", "5"]);
    assert!(said.contains("pumps, 5 devices at most"), "{said}");
    let claim = Pair::named(&out, "claim");
    let mode = std::fs::metadata(&claim.key).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = server.run(&["provision", "claim", "pumps", "--out", text(&out)]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"));

    openssl(
        &dir,
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout 2.key.pem -out 2.csr -subj /CN=two",
    );
    let csr = dir.join("2.csr");
    for (serial, version, how) in [("1", "5", "key"), ("2", "3", text(&csr))] {
        let told = box_of(&home, &claim, serial, version, how);
        let expect =
            format!("{{\"deviceConfiguration\": {{\"site\": \"hq\"}}, \"thingName\": \"pump-{serial}\"}}\n");
        assert_eq!(told, expect);
        // What was accepted is so, whatever becomes of the server the moment after.
        server.kill();
        server = home.start();
        let own = Pair {
            certificate: dir.join(format!("{serial}.cert.pem")),
            key: dir.join(format!("{serial}.key.pem")),
        };
        assert_eq!(answer(&home, secure(&home)[0], Some(&own), 5, "").expect("an answer").0, 0, "{serial}");
    }
    let listed = server.ok(&["provision", "template", "list"]);
    assert!(listed.contains("active, 2 of 5 devices"), "{listed}");
    assert!(server.ok(&["device", "show", "pump-1"]).contains("hq"));
    let audit = server.ok(&["audit", "list"]);
    for action in ["provisioning.put", "provisioning.claim", "certificate.create", "certificate.provision"] {
        assert!(audit.contains(action), "{action}: {audit}");
    }

    let removed = server.ok(&["provision", "template", "remove", "pumps"]);
    assert!(removed.contains("1 claims are revoked"), "{removed}");
    let refused = answer(&home, secure(&home)[0], Some(&claim), 5, "").expect("an answer");
    assert!(refused.0 == 0x87 && refused.1.contains("was revoked"), "{}", refused.1);
}
