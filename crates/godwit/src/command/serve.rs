//! `godwit serve`: wires the rooms, starts them from the ground up, stops them from the doors down.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use host::{DataDir, Host, Shutdown, SystemClock, SystemDisk, SystemRandom};
use model::route::Routes;
use model::{Channels, Timestamp};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::alertbook::{self, Alertbook};
use crate::archive::collect::About;
use crate::archive::service::Backups;
use crate::fault::{hinted, with_hint};
use crate::rulebook::Rulebook;
use crate::rulebook::at_work::{Ground, RulesAtWork};
use crate::server_file::ServerFile;
use crate::settings::Settings;
use crate::setup_link::SetupLink;
use crate::sparkplug::SparkplugHost;
use crate::{meters, operators, register_tables, upkeep};

/// What `--help` says behind the flags.
const HELP: &str =
    "Works with no settings at all: MQTT on port 8883 with TLS and client certificates, on 127.0.0.1:1883 with
passwords, HTTP on 127.0.0.1:8080, data in ./godwit-data. Stops on SIGTERM or Ctrl-C: what was accepted becomes durable and is acknowledged first.

Examples:
  godwit serve
  godwit serve --data /var/lib/godwit --config /etc/godwit.toml
  GODWIT_JOURNAL_KEEP=30d godwit serve   # any setting of a section, by environment";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Data directory; made when it is not there [default: godwit-data]
    #[arg(long, value_name = "DIR", env = "GODWIT_DATA")]
    data: Option<PathBuf>,
    /// Settings file (docs/settings.md)
    #[arg(long, value_name = "FILE", env = "GODWIT_CONFIG")]
    config: Option<PathBuf>,
}

/// Serves until told to stop.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let disk = Arc::new(SystemDisk);
    let settings = Settings::load(args.config.as_deref(), &*disk, std::env::vars())?;
    let data = args.data.or_else(|| settings.data.clone()).unwrap_or_else(crate::data::default_dir);
    // Listened for from the start: a word to stop that comes while starting is not lost.
    let stop_word = StopWord::listen()?;
    // A socket per device: the usual bound of 1,024 open files is for programs that expect fewer.
    host::machine::raise_open_files();
    let is_first = !data.join("FORMAT").exists();
    let (dir, host) = open_data(&data, &settings, disk)?;
    if dir.found_format() < host::FORMAT_VERSION {
        let (from, to) = (dir.found_format(), host::FORMAT_VERSION);
        tracing::info!(from, to, "data directory upgraded; older versions of Godwit will refuse it");
    }
    let house = House::start(&dir, &settings, host).await?;
    house.say_where()?;
    if is_first {
        say_recovery_code(&dir, &house.host)?;
    }
    stop_word.said().await;
    house.stop().await;
    Ok(())
}

/// Takes the data directory and what the machine lends.
fn open_data(data: &Path, settings: &Settings, disk: Arc<SystemDisk>) -> anyhow::Result<(DataDir, Host)> {
    let dir = DataDir::open(data, &settings.keys.source()?, &*disk, &SystemRandom)
        .map_err(hinted(host::DataDirError::hint))?;
    let keys = dir.key_store().status();
    if let Some(next) = &keys.next_master {
        tracing::warn!(
            present = keys.master,
            next,
            "the master key was rotated, and this is the one before: put the new one in place before the old one opens nothing any more"
        );
    }
    let host = Host {
        clock: Arc::new(SystemClock::start()),
        disk,
        random: Arc::new(SystemRandom),
        keys: dir.keys(),
        boot: dir.boot(),
    };
    Ok((dir, host))
}

/// Shows the recovery code of a new directory to whoever started it by hand. A log is no place for it: without a
/// terminal none is made until somebody asks.
fn say_recovery_code(dir: &DataDir, host: &Host) -> anyhow::Result<()> {
    if !std::io::stdout().is_terminal() {
        return Ok(());
    }
    let code = dir
        .key_store()
        .new_recovery_code(host.clock.now(), &*host.disk, &*host.random)
        .map_err(hinted(host::KeyError::hint))?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "Recovery code, shown this once; it opens the data if its key is lost (godwit keys recover):\n  {}",
        *code.reveal()
    )?;
    Ok(out.flush()?)
}

/// Everything that runs, in the order in which it was started.
struct House {
    data: PathBuf,
    host: Host,
    catalog: catalog::Catalog,
    journal: journal::Journal,
    series: series::Series,
    broker: Arc<broker::Broker>,
    sparkplug_host: Option<SparkplugHost>,
    http: SocketAddr,
    /// Where PostgreSQL clients are served, if they are.
    sql: Option<SocketAddr>,
    /// Where devices are served by HTTPS, and the tasks that do.
    https_urls: Vec<String>,
    https: Vec<tokio::task::JoinHandle<()>>,
    api: tokio::task::JoinHandle<()>,
    postgres: Option<tokio::task::JoinHandle<()>>,
    renewal: tokio::task::JoinHandle<()>,
    identity: identity::Identity,
    upkeep: tokio::task::JoinHandle<()>,
    /// What decides over notices, and the ways to their receivers.
    notices: Vec<tokio::task::JoinHandle<()>>,
    rules: RulesAtWork,
    setup: Arc<SetupLink>,
    /// What is said of the setup link.
    setup_said: String,
    shutdown: Shutdown,
}

impl House {
    async fn start(dir: &DataDir, settings: &Settings, host: Host) -> anyhow::Result<Self> {
        let metrics = meters::start()?;
        let data = dir.path().to_owned();
        // What can be refused at once is refused before anything is opened.
        let routes = Routes::new(&settings.route).map(Arc::new).map_err(|errors| {
            with_hint(
                anyhow::anyhow!("the settings have routes that are not right:\n{errors}"),
                None::<String>,
            )
        })?;
        let channels = Channels::new(&settings.channel).map(Arc::new).map_err(|errors| {
            with_hint(
                anyhow::anyhow!("the settings have channels that are not right:\n{errors}"),
                None::<String>,
            )
        })?;
        let is_classified = settings.channel.iter().any(|channel| channel.classified);
        let sparkplug_host = SparkplugHost::of(&settings.sparkplug)?;
        let alertbook = Arc::new(Alertbook::new(settings.alerts.config.clone(), Arc::clone(&host.disk)));
        let who_is_told = alertbook.open()?;
        let book = Arc::new(Rulebook::new(&settings.rules, Arc::clone(&host.disk)));
        let rules = book.open()?;
        let api = api::Api::bind(&settings.http).await.map_err(hinted(api::ServeError::hint))?;
        let postgres = series::Postgres::bind(&settings.postgres);
        let postgres = postgres.await.map_err(hinted(series::PostgresError::hint))?;

        let migrations: Vec<_> = [
            identity::Identity::migrations(),
            broker::Broker::migrations(),
            alerts::MIGRATIONS,
            alerts::EVALUATION_MIGRATIONS,
            sinks::MIGRATIONS,
        ]
        .concat();
        let catalog = catalog::Catalog::open(&data.join("catalog.db"), &migrations, &host)
            .map_err(hinted(catalog::OpenError::hint))?;
        let (journal, recovery) = journal::Journal::open(&data.join("journal"), &settings.journal, &host)
            .map_err(hinted(journal::OpenError::hint))?;
        say_what_was_recovered(&recovery);
        let authority = identity::Authority::open(&catalog, &host)
            .await
            .map_err(hinted(identity::AuthorityError::hint))?;
        let root = authority.root_pem();
        host.disk.replace(&data.join(CA_FILE), root.as_bytes()).context("cannot write `ca.pem`")?;
        let tls = Arc::new(authority.server_tls());

        let token = identity::LocalToken::generate(&*host.random);
        let identity = identity::Identity::open(catalog.clone(), host.clone())
            .map_err(hinted(identity::OpenError::hint))?
            .with_authority(authority.clone())
            .with_local_token(&token)
            .with_aws(settings.aws.clone())
            .with_way_back(settings.devices.renew_after_expiry);
        let renewal = tokio::spawn(renew(authority.clone(), identity.clone()));
        let series_settings = series::Settings { site: settings.site.clone(), ..settings.series.clone() };
        let series = series::Series::open(
            &data.join("series"),
            &series_settings,
            Arc::clone(&routes),
            channels,
            journal.clone(),
            host.clone(),
        )
        .map_err(hinted(series::OpenError::hint))?;
        series.schedule(&settings.export).map_err(hinted(series::LakeError::hint))?;
        // Everything was opened by the key: it is the right one, and what comes next may depend on it.
        if dir
            .adopt_keys(host.clock.now(), &*host.disk, &*host.random)
            .map_err(hinted(host::DataDirError::hint))?
        {
            tracing::info!("the data directory has a key ring now: `godwit keys rotate` works from here on");
        }

        if let Some(sparkplug_host) = &sparkplug_host {
            // Before the door opens: it finds the message retained.
            sparkplug_host.say(true, &journal, &host).await;
        }

        let parts = broker::Parts {
            host: host.clone(),
            journal: journal.clone(),
            catalog: catalog.clone(),
            identity: identity.clone(),
            routes: Arc::clone(&routes),
            tls: Some(authority.clone()),
        };
        let listeners = settings.listener.clone().unwrap_or_else(default_listeners);
        let (https_listeners, listeners): (Vec<_>, Vec<_>) =
            listeners.into_iter().partition(|listener| listener.door == broker::DoorName::Https);
        let mut https = Vec::with_capacity(https_listeners.len());
        for listener in https_listeners {
            let door = ingress::Https::bind(listener.bind, &authority).await;
            https.push(door.map_err(hinted(ingress::BindError::hint))?);
        }
        let broker = broker::Broker::start(&settings.mqtt, listeners, parts)
            .await
            .map_err(hinted(broker::StartError::hint))?;
        let broker = Arc::new(broker);

        let alerts = alerts::Alerts::open(catalog.clone(), host.clone(), identity.clone(), who_is_told);
        for table in
            register_tables::of(&identity, &broker).into_iter().chain([register_tables::alerts(&alerts)])
        {
            series.register(table).context("a table of the register is refused")?;
        }
        identity.quarantine_over_rate(settings.devices.quarantine_over_rate);
        let watcher = identity.clone();
        series.watch_samples(Arc::new(move |device, time, is_receipt| {
            watcher.sampled(device, time, is_receipt);
        }));
        let rules = RulesAtWork::start(Ground {
            book: Arc::clone(&book),
            rules,
            evaluate: alerts::EvaluateParts {
                host: host.clone(),
                catalog: catalog.clone(),
                journal: journal.clone(),
                series: series.clone(),
                identity: identity.clone(),
                routes: Arc::clone(&routes),
                wake: alerts.bell().clone(),
                connected: connected(&broker),
                urgent_within: alertbook::urgent_within(&alerts.config()),
            },
            sinks: settings.sinks.clone(),
            aws: &settings.aws,
            data: &data,
        })
        .await?;
        let shutdown = Shutdown::new();
        let mut notices = alerts.start(&journal, &shutdown).await?;
        let watched = (Arc::clone(&alertbook), alerts.clone(), rules.evaluation.clone(), shutdown.clone());
        notices.push(tokio::spawn(alertbook::watch(watched.0, watched.1, watched.2, watched.3)));
        let https_urls: Vec<_> = https.iter().map(|door| format!("https://{}", door.address())).collect();
        let serve = |door: ingress::Https| {
            tokio::spawn(door.serve(ingress::Parts {
                host: host.clone(),
                journal: journal.clone(),
                identity: identity.clone(),
                routes: Arc::clone(&routes),
                body_bytes_max: settings.mqtt.packet_bytes_max,
                shutdown: shutdown.clone(),
            }))
        };
        let https: Vec<_> = https.into_iter().map(serve).collect();
        let (sql, postgres) = match postgres {
            Some(postgres) => {
                let address = postgres.address();
                let parts = series::PostgresParts {
                    tls: Some(tls),
                    verifier: sql_users(&identity),
                    permit: sql_rights(&identity, is_classified),
                    changes: identity.changes(),
                    random: Arc::clone(&host.random),
                    shutdown: shutdown.clone(),
                };
                let serving =
                    postgres.serve(series.clone(), parts).map_err(hinted(series::PostgresError::hint))?;
                (Some(address), Some(tokio::spawn(serving)))
            }
            None => (None, None),
        };
        let http = api.address();
        let parts = api::Parts {
            settings: settings.http.clone(),
            is_classified,
            journal: journal.clone(),
            series: series.clone(),
            alerts: alerts.clone(),
            rules: rules.evaluation.clone(),
            rules_problem: {
                let book = Arc::clone(&book);
                Box::new(move || book.problem())
            },
            alerts_problem: Box::new(move || alertbook.problem()),
            sinks: rules.sinks.clone(),
            identity: identity.clone(),
            operators: operators::of(&broker),
            door: {
                let broker = Arc::clone(&broker);
                Box::new(move || meters::door(&broker))
            },
            metrics: {
                let (journal, series, broker) = (journal.clone(), series.clone(), Arc::clone(&broker));
                Box::new(move || meters::text(&metrics, &journal, &series, &broker))
            },
            backup: {
                let backups = Arc::new(Backups {
                    catalog: catalog.clone(),
                    journal: journal.clone(),
                    series: series.clone(),
                    about: About::of(dir, host::FORMAT_VERSION),
                    host: host.clone(),
                    shutdown: shutdown.clone(),
                    is_busy: Arc::default(),
                });
                Box::new(move |order| backups.begin(order))
            },
            keys: dir.key_store(),
            host: host.clone(),
            shutdown: shutdown.clone(),
        };
        let api = tokio::spawn(api.serve(parts));

        let file = ServerFile {
            pid: std::process::id(),
            mqtt: plain(&broker),
            listeners: [broker.urls(), https_urls.clone()].concat(),
            http: http.to_string(),
            postgres: sql.map(|address| address.to_string()),
            token: token.reveal().to_owned(),
        };
        file.write(&*host.disk, &data).context("cannot write `server.json`")?;
        let mut setup_said = String::new();
        let setup = Arc::new(SetupLink::make(&identity, http, &data, &*host.disk, &mut setup_said)?);
        let keep = upkeep::keep(
            identity.clone(),
            Arc::clone(&setup),
            journal.clone(),
            host.clone(),
            upkeep::Kept { audit: settings.audit.keep, alerts: settings.alerts.keep() },
            alerts,
        );
        let upkeep = tokio::spawn(keep);
        Ok(Self {
            data,
            host,
            catalog,
            journal,
            series,
            broker,
            sparkplug_host,
            http,
            sql,
            https_urls,
            https,
            api,
            postgres,
            renewal,
            identity,
            upkeep,
            notices,
            rules,
            setup,
            setup_said,
            shutdown,
        })
    }

    /// Prints where to reach it and three lines that send a first reading. No secret is among them.
    fn say_where(&self) -> anyhow::Result<()> {
        let data = self.data.display();
        let mut text = format!("Godwit {} serves {data}\n", env!("CARGO_PKG_VERSION"));
        for url in self.broker.urls() {
            text += &format!("  MQTT  {url}\n");
        }
        for url in &self.https_urls {
            text += &format!("  HTTPS {url} (devices)\n");
        }
        let mqtt: Vec<SocketAddr> = plain(&self.broker).iter().filter_map(|text| text.parse().ok()).collect();
        let port = self.http.port();
        text += &format!("  HTTP  http://{}\n", self.http);
        if self.http.ip().is_loopback() {
            text += &format!(
                "        from another machine: ssh -L {port}:127.0.0.1:{port} {}\n",
                host::machine::name()
            );
        }
        if let Some(sql) = self.sql {
            text += &format!(
                "  SQL   PGPASSWORD=$(sed -n 's/.*\"token\": *\"\\(.*\\)\".*/\\1/p' {data}/server.json) psql -h {} -p {} -U local godwit\n",
                sql.ip(),
                sql.port()
            );
        }
        if let Some(first) = mqtt.first() {
            text += &format!(
                "Send a first reading:\n  \
                 godwit device add office-1 --password --data {data}\n  \
                 mosquitto_pub -h {} -p {} -q 1 -u office-1 -P PASSWORD -t dt/office-1/climate -m '{{\"temperature\": 21.5}}'\n  \
                 godwit query --data {data} \"SELECT * FROM latest\"\n",
                first.ip(),
                first.port()
            );
        }
        text += &self.setup_said;
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// From the doors down: what was accepted is acknowledged, then everything below writes out what it holds.
    async fn stop(self) {
        tracing::info!("stopping: no new connections, what was accepted is made durable");
        if let Err(error) = ServerFile::remove(&*self.host.disk, &self.data) {
            tracing::warn!(%error, "cannot remove `server.json`");
        }
        self.renewal.abort();
        self.upkeep.abort();
        self.setup.remove(&*self.host.disk);
        if let Some(sparkplug_host) = &self.sparkplug_host
            && let Some(seq) = sparkplug_host.say(false, &self.journal, &self.host).await
        {
            self.broker.delivered(seq).await;
        }
        self.broker.close().await;
        self.shutdown.stop();
        for door in self.https {
            if tokio::time::timeout(REQUESTS_PATIENCE, door).await.is_err() {
                tracing::warn!("HTTPS publishes under way were cut off");
            }
        }
        if tokio::time::timeout(REQUESTS_PATIENCE, self.api).await.is_err() {
            tracing::warn!("requests under way were cut off");
        }
        if let Some(postgres) = self.postgres
            && tokio::time::timeout(REQUESTS_PATIENCE, postgres).await.is_err()
        {
            tracing::warn!("SQL clients were cut off");
        }
        for task in self.notices {
            if tokio::time::timeout(REQUESTS_PATIENCE, task).await.is_err() {
                tracing::warn!("a notice under way was cut off; it is sent again at the next start");
            }
        }
        self.rules.close().await;
        self.series.close().await;
        self.identity.close();
        upkeep::anchor(&self.identity, &self.journal).await;
        self.journal.close().await;
        self.catalog.close().await;
        tracing::info!("stopped");
    }
}

/// What clients trust: the root certificate, written at each start.
const CA_FILE: &str = "ca.pem";

/// Certificates that end within so many weeks are counted as ending soon.
const EXPIRY_WEEKS: usize = 4;

/// How often it is looked whether the server's certificate is due.
const RENEWAL_LOOK: std::time::Duration = std::time::Duration::from_secs(3_600);

/// Renews the server's certificate when it is due, retires those of devices that were followed by others, and counts those
/// that end soon; until aborted.
async fn renew(authority: identity::Authority, identity: identity::Identity) {
    let expiring = metrics::gauge!("godwit_identity_certificates_expiring_4w");
    let expired = metrics::gauge!("godwit_identity_certificates_expired");
    loop {
        let weeks = identity.expiring_certificates(EXPIRY_WEEKS);
        expired.set(weeks[0] as f64);
        expiring.set(weeks[1..].iter().sum::<u64>() as f64);
        tokio::time::sleep(RENEWAL_LOOK).await;
        if let Err(error) = identity.forget_pending_certificates().await {
            tracing::warn!(%error, "certificates that nobody took were not removed");
        }
        if let Err(error) = identity.retire_certificates().await {
            tracing::error!(%error, "certificates that were followed by others are not retired");
        }
        if let Err(error) = authority.renew().await {
            tracing::error!(%error, hint = error.hint(), not_after = %authority.server_not_after(), "the server's certificate was not renewed");
        }
    }
}

/// What those who logged in may do, and what of it is written down.
fn sql_rights(identity: &identity::Identity, is_classified: bool) -> series::PermitFunction {
    let identity = identity.clone();
    Arc::new(move |login, ask| {
        let series::SqlLogin { name, address, secret } = login;
        let refusal = |denied: identity::SqlDenied| series::SqlRefusal {
            text: denied.to_string(),
            hint: denied.hint().to_owned(),
        };
        match ask {
            series::SqlAsk::Try => return identity.try_sql(name, *address).map_err(refusal),
            series::SqlAsk::Unproven => {
                identity.notice_sql_login(name, *secret, *address, identity::Outcome::Refused);
                return Ok(());
            }
            _ => {}
        }
        let allowed = identity.may_ask_sql(name, *secret).map_err(refusal);
        match ask {
            series::SqlAsk::LogIn => {
                identity.sql_was_right(name, *address);
                let outcome =
                    if allowed.is_ok() { identity::Outcome::Done } else { identity::Outcome::Refused };
                identity.notice_sql_login(name, *secret, *address, outcome);
            }
            series::SqlAsk::Prepare(statement) if is_classified && allowed.is_ok() => {
                identity.notice_sql(&identity.sql_actor(name, *secret, *address), statement);
            }
            _ => {}
        }
        allowed
    })
}

/// Who may log in by the PostgreSQL protocol: `identity` keeps, `series` asks.
fn sql_users(identity: &identity::Identity) -> series::VerifierFunction {
    let identity = identity.clone();
    Arc::new(move |name| {
        let (kept, secret) = identity.scram(name);
        series::ScramVerifier {
            salt: kept.salt.to_vec(),
            iterations: kept.iterations,
            stored_key: kept.stored_key,
            server_key: kept.server_key,
            is_known: kept.is_known,
            secret,
        }
    })
}

/// Which devices have a connection, and since when: the broker knows, the rules ask.
fn connected(broker: &Arc<broker::Broker>) -> alerts::ConnectedFunction {
    let broker = Arc::clone(broker);
    Arc::new(move || {
        let sessions = broker.sessions().into_iter();
        // A confined one may say next to nothing.
        let sessions = sessions.filter(|session| !session.is_confined);
        let connections = sessions.filter_map(|one| Some((one.device?, one.connection?.connected_at)));
        earliest(connections).into_iter().collect()
    })
}

/// Since when each has been there: one that comes by several connections, since the first of them.
fn earliest<T: Ord>(all: impl Iterator<Item = (T, Timestamp)>) -> BTreeMap<T, Timestamp> {
    let mut since = BTreeMap::new();
    for (one, at) in all {
        let first = since.entry(one).or_insert(at);
        *first = at.min(*first);
    }
    since
}

/// How long HTTP requests under way may take after the word to stop.
const REQUESTS_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Where plain MQTT is spoken.
fn plain(broker: &broker::Broker) -> Vec<String> {
    let plain = |url: &String| url.strip_prefix("mqtt://").map(str::to_owned);
    broker.urls().iter().filter_map(plain).collect()
}

/// TLS with client certificates for the network, and plain MQTT with passwords for this machine only.
fn default_listeners() -> Vec<broker::ListenerSettings> {
    vec![
        broker::ListenerSettings::certificates(SocketAddr::from(([0, 0, 0, 0], 8883))),
        broker::ListenerSettings::password(SocketAddr::from(([127, 0, 0, 1], 1883))),
    ]
}

/// Says what the journal found: what is lost by name, neighbours together.
fn say_what_was_recovered(recovery: &journal::Recovery) {
    for torn in &recovery.torn {
        let segment = torn.chain.segment_name(torn.segment);
        tracing::info!(
            segment,
            bytes = torn.bytes,
            "a half-written tail was left out; nothing in it was acknowledged"
        );
    }
    let mut damage = recovery.damage.iter().peekable();
    while let Some(first) = damage.next() {
        let mut to = first.to;
        while let Some(next) = damage.next_if(|next| {
            (next.chain, next.segment, next.reason, next.from)
                == (first.chain, first.segment, first.reason, to + 1)
        }) {
            to = next.to;
        }
        let segment = first.chain.segment_name(first.segment);
        tracing::error!(segment, from = first.from, to, reason = %first.reason, "messages of the journal are lost");
    }
    tracing::info!(
        clean = recovery.clean,
        segments = recovery.segments,
        last_seq = recovery.last_seq,
        "journal opened"
    );
}

/// SIGTERM or SIGINT.
struct StopWord {
    terminate: Signal,
    interrupt: Signal,
}

impl StopWord {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for it. A second one ends the process at once: the journal is made for that.
    async fn said(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("told to stop twice: ending at once");
            std::process::exit(130);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_with_several_connections_is_there_since_the_first() {
        let at = Timestamp::from_micros;
        for order in [[3, 5, 9], [9, 5, 3], [5, 3, 9]] {
            let sessions = order.map(|micros| ("pump", at(micros))).into_iter().chain([("fan", at(7))]);
            assert_eq!(earliest(sessions), BTreeMap::from([("pump", at(3)), ("fan", at(7))]));
        }
    }
}
