//! Laws of the authority, with handshakes in memory.

use host::sim::Machine;

use super::*;

/// 2026-06-01.
const NOW: Timestamp = Timestamp::from_micros(1_780_272_000_000_000);

fn names(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

fn open(dir: &std::path::Path, host: &Host) -> Catalog {
    Catalog::open(&dir.join("catalog.db"), crate::Identity::migrations(), host).expect("opens")
}

/// A machine whose catalog is a real file.
fn machine() -> (tempfile::TempDir, Machine, Host) {
    let dir = tempfile::tempdir().expect("a directory");
    let machine = Machine::new(3);
    machine.clock.set(NOW);
    let host = Host { disk: Arc::new(host::SystemDisk), ..machine.host() };
    (dir, machine, host)
}

/// A handshake in memory: what a client that trusts `root` says of the server's certificate for `name`.
fn handshake(authority: &Authority, root: &str, name: &str, at: Timestamp) -> Result<Vec<u8>, String> {
    #[derive(Debug)]
    struct At(Timestamp);
    impl rustls::time_provider::TimeProvider for At {
        fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
            let since = Duration::from_micros(self.0.micros().unsigned_abs());
            Some(rustls::pki_types::UnixTime::since_unix_epoch(since))
        }
    }
    let mut roots = rustls::RootCertStore::empty();
    let der = pem::parse(root).expect("PEM").into_contents();
    roots.add(der.into()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_details(provider, Arc::new(At(at)))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(client), name).expect("a client");
    let mut server = rustls::ServerConnection::new(Arc::new(authority.server_tls())).expect("a server");
    for _ in 0..8 {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("to memory");
        server.read_tls(&mut bytes.as_slice()).expect("from memory");
        server.process_new_packets().map_err(|error| error.to_string())?;
        let mut bytes = Vec::new();
        server.write_tls(&mut bytes).expect("to memory");
        client.read_tls(&mut bytes.as_slice()).expect("from memory");
        client.process_new_packets().map_err(|error| error.to_string())?;
    }
    assert!(!client.is_handshaking());
    Ok(client.peer_certificates().expect("shown")[0].to_vec())
}

#[tokio::test]
async fn a_client_that_trusts_the_root_knows_the_server_by_each_of_its_names_and_no_other() {
    let (dir, _machine, host) = machine();
    let catalog = open(dir.path(), &host);
    let authority =
        Authority::open_for(&catalog, &host, &names(&["hut", "192.0.2.7", "::1"])).await.expect("made");
    let root = authority.root_pem();
    for name in ["hut", "192.0.2.7", "::1"] {
        handshake(&authority, &root, name, NOW).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let other = handshake(&authority, &root, "192.0.2.8", NOW).expect_err("another's name");
    assert!(other.contains("not valid for name"), "{other}");

    let (dir, _machine, host) = self::machine();
    host.random.fill(&mut [0; 7]);
    let catalog = open(dir.path(), &host);
    let stranger = Authority::open_for(&catalog, &host, &names(&["hut"])).await.expect("made");
    let refused = handshake(&authority, &stranger.root_pem(), "hut", NOW).expect_err("another's root");
    assert!(refused.contains("UnknownIssuer"), "{refused}");
}

#[tokio::test]
async fn the_same_authority_is_there_after_a_restart_and_its_keys_are_sealed() {
    let (dir, _machine, host) = machine();
    let catalog = open(dir.path(), &host);
    let first = Authority::open_for(&catalog, &host, &names(&["hut"])).await.expect("made");
    let shown = handshake(&first, &first.root_pem(), "hut", NOW).expect("known");
    catalog.close().await;
    let catalog = open(dir.path(), &host);
    let again = Authority::open_for(&catalog, &host, &names(&["hut"])).await.expect("read");
    assert_eq!(again.root_pem(), first.root_pem());
    assert_eq!(handshake(&again, &first.root_pem(), "hut", NOW).expect("known"), shown);
    catalog.close().await;

    let stored = host.disk.read(&dir.path().join("catalog.db"), 1 << 30).expect("the database");
    for pair in [first.root(), first.issuing()] {
        // RFC 5915: the private number is an octet string of 32 bytes.
        let at = pair.key.windows(2).position(|tag| tag == [0x04, 0x20]).expect("a private number");
        let secret = &pair.key[at + 2..at + 34];
        assert!(!stored.windows(32).any(|part| part == secret), "the key of `{}` is readable", pair.name);
    }
}

#[tokio::test]
async fn a_server_certificate_is_renewed_in_time_and_for_new_names_while_connections_go_on() {
    let (dir, machine, host) = machine();
    let catalog = open(dir.path(), &host);
    let authority = Authority::open_for(&catalog, &host, &names(&["hut"])).await.expect("made");
    let root = authority.root_pem();
    let first = handshake(&authority, &root, "hut", NOW).expect("known");
    assert!(!authority.renew_for(&names(&["hut"])).await.expect("not due"));

    let day_59 = Timestamp::from_micros(NOW.micros() + 59 * DAY.as_micros() as i64);
    machine.clock.set(day_59);
    assert!(!authority.renew_for(&names(&["hut"])).await.expect("not due"));
    let day_61 = Timestamp::from_micros(NOW.micros() + 61 * DAY.as_micros() as i64);
    machine.clock.set(day_61);
    assert!(authority.renew_for(&names(&["hut"])).await.expect("due"));
    let second = handshake(&authority, &root, "hut", day_61).expect("known");
    assert_ne!(first, second);

    assert!(authority.renew_for(&names(&["hut", "192.0.2.9"])).await.expect("a new name"));
    handshake(&authority, &root, "192.0.2.9", day_61).expect("known by it");
    let expired = Timestamp::from_micros(day_61.micros() + 91 * DAY.as_micros() as i64);
    let refused = handshake(&authority, &root, "hut", expired).expect_err("too late");
    assert!(refused.contains("xpired"), "{refused}");
}

#[tokio::test]
async fn nothing_is_made_while_the_clock_is_wrong() {
    let (dir, machine, host) = machine();
    machine.clock.set(Timestamp::from_micros(0));
    let catalog = open(dir.path(), &host);
    let refused = Authority::open_for(&catalog, &host, &names(&["hut"])).await.err().expect("refused");
    assert!(matches!(refused, AuthorityError::Clock { .. }), "{refused}");
    machine.clock.set(NOW);
    Authority::open_for(&catalog, &host, &names(&["hut"])).await.expect("made once it is right");
}

#[tokio::test]
async fn the_root_is_taken_away_and_issuing_goes_on_and_a_new_issuing_authority_needs_it_back() {
    let (dir, machine, host) = machine();
    let catalog = open(dir.path(), &host);
    let by = crate::Actor::inside();
    let authority = Authority::open_for(&catalog, &host, &names(&["hut"])).await.expect("made");
    let root = authority.root_pem();
    let secret = {
        let pair = authority.root();
        let at = pair.key.windows(2).position(|tag| tag == [0x04, 0x20]).expect("a private number");
        pair.key[at + 2..at + 34].to_vec()
    };
    let stored_key = |catalog: &Catalog| {
        let rows = catalog.read::<_, ReadError>(|connection| {
            Ok(connection.query(
                "SELECT sealed_key FROM authorities WHERE name = 'root'",
                catalog::params![],
                |row| row.get::<Vec<u8>>(0),
            )?)
        });
        rows.expect("read").remove(0)
    };
    let before = stored_key(&catalog);
    let sealed = authority.export_root(&by, &[9; 32], true).await.expect("exported");
    assert!(!sealed.windows(32).any(|part| part == secret), "it leaves sealed");
    assert!(stored_key(&catalog).is_empty(), "nothing of it is kept");
    assert!(matches!(authority.export_root(&by, &[9; 32], true).await, Err(AuthorityError::RootOffline)));
    catalog.close().await;
    let file = host.disk.read(&dir.path().join("catalog.db"), 1 << 30).expect("the database");
    assert!(
        !file.windows(before.len()).any(|part| part == before),
        "nor is it in what the database left free"
    );

    let catalog = open(dir.path(), &host);
    let authority = Authority::open_for(&catalog, &host, &names(&["hut"])).await.expect("read");
    assert!(!authority.views()[0].has_key);
    authority.sign_new_key(&model::DeviceName::parse("pump-1").expect("a name")).expect("issuing goes on");
    let nine_years = Timestamp::from_micros(NOW.micros() + 9 * 365 * DAY.as_micros() as i64);
    machine.clock.set(nine_years);
    let first = authority.views()[1].id;
    authority.renew_for(&names(&["hut"])).await.expect("the server's own is renewed");
    assert_eq!(authority.views()[1].id, first, "no new issuing authority without the root");

    let wrong = authority.import_root(&by, &[8; 32], &sealed).await.expect_err("another passphrase");
    assert!(matches!(wrong, AuthorityError::Passphrase), "{wrong}");
    authority.import_root(&by, &[9; 32], &sealed).await.expect("back");
    assert!(authority.renew_for(&names(&["hut"])).await.expect("renewed"));
    assert_ne!(authority.views()[1].id, first);
    handshake(&authority, &root, "hut", nine_years).expect("who trusts the root knows the server");
}
