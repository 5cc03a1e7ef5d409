//! `alerts.yaml` and the files that it names: who is told, as it is in force and as it becomes while the server runs.
//!
//! Not here: what the file says (`alerts::Config`), and what follows (`alerts`). The laws: at a start what is wrong is refused;
//! later a change takes effect within seconds, all of it or nothing, and what is wrong is said and leaves the one in force
//! where it is. A file that holds a secret counts as part of the whole: a secret that is changed is taken over too.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alerts::{Alerts, Config, ConfigError, Evaluation};
use anyhow::Context;
use aws_lc_rs::digest;
use host::{Disk, Shutdown};

use crate::fault::hinted;
use crate::watched::{Watched, changed};

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = alerts::CONFIG_BYTES_MAX as u64;

/// What the files said when they were read: a hash of each, for secrets are not kept twice; `None` of one that cannot be read.
type Files = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// The configuration of alerts, and where it comes from.
pub(crate) struct Alertbook {
    /// `None`: what is shipped is in force, for ever.
    file: Option<PathBuf>,
    disk: Arc<dyn Disk>,
    watched: Watched<Files>,
}

impl Alertbook {
    pub(crate) fn new(file: Option<PathBuf>, disk: Arc<dyn Disk>) -> Self {
        Self { file, disk, watched: Watched::new("the configuration of alerts is") }
    }

    /// Reads and checks the file and those that it names.
    ///
    /// # Errors
    /// Every fault of the file.
    pub(crate) fn open(&self) -> anyhow::Result<Config> {
        let Some(file) = &self.file else { return Ok(Config::shipped()) };
        let (files, config) = read_all(file, &*self.disk);
        self.watched.begin(files);
        config
    }

    /// What is wrong with the files as they are now, if the configuration in force is older for it.
    pub(crate) fn problem(&self) -> Option<String> {
        self.watched.problem()
    }

    /// Waits for a change of the files that leads to another configuration. To be waited for to its end.
    pub(crate) async fn changed(self: &Arc<Self>) -> Config {
        changed(self, Self::look).await
    }

    fn look(&self) -> Option<Config> {
        let file = self.file.as_ref()?;
        let is_same = |files: &Files| files.iter().all(|(path, hash)| hash_of(&*self.disk, path) == *hash);
        if self.watched.is_judged(is_same) {
            return None;
        }
        let (files, config) = read_all(file, &*self.disk);
        self.watched.see(files, |_| config.map_err(|error| format!("{error:#}")))
    }
}

/// Puts the configuration in force whenever its files change; until the shutdown.
pub(crate) async fn watch(book: Arc<Alertbook>, alerts: Alerts, evaluation: Evaluation, shutdown: Shutdown) {
    loop {
        let config = tokio::select! {
            () = shutdown.stopping() => return,
            config = book.changed() => config,
        };
        tracing::info!(receivers = config.receivers().len(), "another configuration of alerts is in force");
        evaluation.set_urgent_within(urgent_within(&config)).await;
        alerts.replace(config).await;
    }
}

/// Behind the newest sample's age of which an episode is late.
pub(crate) fn urgent_within(config: &Config) -> Duration {
    Duration::from_micros(u64::try_from(config.urgent_within_micros()).unwrap_or_default())
}

/// Reads a configuration from its file, and the files that it names.
///
/// # Errors
/// Every fault of the file.
pub(crate) fn read(file: &Path, disk: &dyn Disk) -> anyhow::Result<Config> {
    read_all(file, disk).1
}

fn read_all(file: &Path, disk: &dyn Disk) -> (Files, anyhow::Result<Config>) {
    let files = RefCell::new(Files::new());
    let read = |path: &Path| {
        let bytes = disk.read(path, FILE_BYTES_MAX);
        files.borrow_mut().insert(path.to_owned(), bytes.as_ref().ok().map(|bytes| hash(bytes)));
        bytes
    };
    let config = (|| {
        let bytes = read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let text = String::from_utf8(bytes).with_context(|| format!("`{}` is not UTF-8", file.display()))?;
        let dir = file.parent().map(Path::to_path_buf).unwrap_or_default();
        Config::parse(&file.display().to_string(), &text, dir, &read).map_err(hinted(ConfigError::hint))
    })();
    (files.into_inner(), config)
}

fn hash_of(disk: &dyn Disk, path: &Path) -> Option<[u8; 32]> {
    disk.read(path, FILE_BYTES_MAX).ok().map(|bytes| hash(&bytes))
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "route: {receiver: ops}\nreceivers:\n- name: ops\n  webhook_configs: [{url: 'https://x.test/', secret_file: secret}]\n";

    #[test]
    fn a_change_of_the_file_or_of_a_secret_counts_and_what_is_wrong_changes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, secret) = (dir.path().join("alerts.yaml"), dir.path().join("secret"));
        let write = |path: &Path, text: &str| {
            Disk::replace(&host::SystemDisk, path, text.as_bytes()).expect("written");
        };
        write(&file, FILE);
        let book = Alertbook::new(Some(file.clone()), Arc::new(host::SystemDisk));
        // A change counts when two looks find it.
        let looks = || book.look().or_else(|| book.look());
        assert!(book.open().is_err(), "the secret is not there");
        write(&secret, "one");
        assert!(looks().is_some(), "now it is");
        assert!(looks().is_none(), "nothing changed");
        write(&secret, "two");
        assert!(looks().is_some(), "another secret");
        write(&file, &FILE.replace("receiver: ops", "reciever: ops"));
        assert!(looks().is_none());
        let problem = book.problem().expect("said");
        assert!(problem.contains("line 1, column 9") && problem.contains("did you mean"), "{problem}");
        Disk::remove(&host::SystemDisk, &file).expect("removed");
        assert!(looks().is_none(), "a file that is gone is no wish for the shipped one");
        assert!(book.problem().expect("said").contains("cannot read"));
        write(&file, FILE);
        assert!(looks().is_some());
        assert_eq!(book.problem(), None);
    }
}
