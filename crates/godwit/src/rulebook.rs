//! The rules of a server: the files of a directory, and those that Godwit ships.
//!
//! Not here: what a rule means (`rules`), and what becomes of its verdicts (`alerts`, `sinks`). The laws: at a start what is
//! wrong is refused; a file that is changed while the server runs takes effect within seconds, all files or none, and what is
//! wrong leaves the rules that stand in force and is said.

pub(crate) mod at_work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::Disk;
use parking_lot::Mutex;
use rules::{FileFault, Limits, RuleSet};
use serde::Deserialize;

use crate::fault::with_hint;
use crate::watched::{Watched, changed};

/// The rules that are switched on in every server.
pub(crate) const SHIPPED: &str = include_str!("rulebook/shipped.yaml");

/// What faults of the shipped rules, and rules of them, name as their file.
pub(crate) const SHIPPED_FILE: &str = "(shipped)";

/// Most rule files.
const FILES_MAX: usize = 1_000;

/// `[rules]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RuleSettings {
    /// Where the rule files (`*.yaml`, `*.yml`) are. Default: `rules` where the server is started; it need not be there.
    pub(crate) dir: Option<PathBuf>,
    /// Whether the rules that Godwit ships are in force. One of them is replaced by a rule of its name in a file. Default: true.
    pub(crate) shipped: bool,
}

impl Default for RuleSettings {
    fn default() -> Self {
        Self { dir: None, shipped: true }
    }
}

/// The files as they were read last: text by name.
type Files = BTreeMap<String, String>;

/// The rules of a server.
pub(crate) struct Rulebook {
    dir: PathBuf,
    is_named: bool,
    has_shipped: bool,
    disk: Arc<dyn Disk>,
    limits: Limits,
    watched: Watched<Result<Files, String>>,
    /// Why actions of rules that are in force are not at work.
    idle: Mutex<Option<String>>,
}

impl Rulebook {
    pub(crate) fn new(settings: &RuleSettings, disk: Arc<dyn Disk>) -> Self {
        Self {
            dir: settings.dir.clone().unwrap_or_else(|| PathBuf::from("rules")),
            is_named: settings.dir.is_some(),
            has_shipped: settings.shipped,
            disk,
            limits: Limits::default(),
            watched: Watched::new("the rule files are"),
            idle: Mutex::default(),
        }
    }

    /// Reads and checks all files.
    ///
    /// # Errors
    /// Every fault of every file.
    pub(crate) fn open(&self) -> anyhow::Result<RuleSet> {
        let files = self.files();
        self.watched.begin(files.clone());
        files.and_then(|files| self.load(&files)).map_err(|problem| {
            with_hint(
                anyhow::anyhow!("the rules are not right:\n{problem}"),
                Some("`godwit rule check FILE…` says the same without a server; docs/rules.md describes the language"),
            )
        })
    }

    /// Why not all is in force and at work as the files say now: they are wrong, or what acts could not begin.
    pub(crate) fn problem(&self) -> Option<String> {
        let problems = [self.watched.problem(), self.idle.lock().clone()];
        let problems: Vec<String> = problems.into_iter().flatten().collect();
        (!problems.is_empty()).then(|| problems.join("\n"))
    }

    /// Takes note of why actions are not at work; `None` when they are.
    fn note_idle(&self, why: Option<String>) {
        *self.idle.lock() = why;
    }

    /// Waits for a change of the files that leads to other rules. To be waited for to its end.
    pub(crate) async fn changed(self: &Arc<Self>) -> RuleSet {
        changed(self, Self::look).await
    }

    fn look(&self) -> Option<RuleSet> {
        let files = self.files();
        if self.watched.is_judged(|judged| *judged == files) {
            return None;
        }
        self.watched.see(files, |files| self.load(files.as_ref().map_err(Clone::clone)?))
    }

    fn files(&self) -> Result<Files, String> {
        let at = |path: &Path, error: std::io::Error| format!("cannot read `{}`: {error}", path.display());
        let listed = match self.disk.list(&self.dir) {
            Ok(listed) => listed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.is_named => Vec::new(),
            Err(error) => return Err(at(&self.dir, error)),
        };
        let is_rules = |name: &str| {
            let is_hidden = name.starts_with('.');
            !is_hidden && Path::new(name).extension().is_some_and(|end| end == "yaml" || end == "yml")
        };
        let mut names: Vec<String> =
            listed.into_iter().map(|entry| entry.name).filter(|name| is_rules(name)).collect();
        names.sort();
        if names.len() > FILES_MAX {
            return Err(format!(
                "`{}` has {} rule files; the most is {FILES_MAX}",
                self.dir.display(),
                names.len()
            ));
        }
        let mut files = Files::new();
        for name in names {
            let path = self.dir.join(&name);
            let bytes =
                self.disk.read(&path, rules::FILE_BYTES_MAX as u64).map_err(|error| at(&path, error))?;
            let text = String::from_utf8(bytes).map_err(|_| format!("`{}` is not UTF-8", path.display()))?;
            files.insert(path.display().to_string(), text);
        }
        Ok(files)
    }

    fn load(&self, files: &Files) -> Result<RuleSet, String> {
        let own = files.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let loaded = RuleSet::load(own, &self.limits).map_err(|faults| shown(&faults))?;
        if !self.has_shipped {
            return Ok(loaded);
        }
        let mut shipped =
            RuleSet::load([(SHIPPED_FILE, SHIPPED)], &self.limits).map_err(|faults| shown(&faults))?;
        shipped.alerts.retain(|rule| loaded.alert(rule.name()).is_none());
        shipped.alerts.extend(loaded.alerts);
        Ok(RuleSet { alerts: shipped.alerts, ..loaded })
    }
}

/// Faults, a line each.
pub(crate) fn shown(faults: &[FileFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(dir: &Path, shipped: bool) -> Rulebook {
        let settings = RuleSettings { dir: Some(dir.to_owned()), shipped };
        Rulebook::new(&settings, Arc::new(host::SystemDisk))
    }

    fn write(dir: &Path, name: &str, text: &str) {
        Disk::replace(&host::SystemDisk, &dir.join(name), text.as_bytes()).expect("written");
    }

    fn names(rules: &RuleSet) -> Vec<&str> {
        rules.alerts.iter().map(rules::Rule::name).collect()
    }

    const MINE: &str = "groups:\n- name: g\n  rules:\n  - alert: Away\n    from: dt/#\n    absent_for: 1h\n";

    #[test]
    fn a_rule_of_a_file_takes_the_place_of_a_shipped_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let all = book(dir.path(), true).open().expect("the shipped rules are right");
        assert!(names(&all).contains(&"Silent") && names(&all).contains(&"DiskFilling"));
        write(dir.path(), "mine.yaml", MINE);
        let with_mine = book(dir.path(), true).open().expect("right");
        assert_eq!(names(&with_mine).len(), names(&all).len());
        assert_eq!(
            with_mine.alert("Away").expect("there").file(),
            dir.path().join("mine.yaml").display().to_string()
        );
        assert_eq!(names(&book(dir.path(), false).open().expect("right")), ["Away"]);
    }

    #[test]
    fn what_is_wrong_is_refused_at_the_start_and_leaves_the_rules_in_force_later() {
        let dir = tempfile::tempdir().expect("a directory");
        let book = book(dir.path(), false);
        // A change counts when two looks find it.
        let looks = || book.look().or_else(|| book.look());
        book.open().expect("no files");
        assert!(looks().is_none(), "nothing changed");
        write(dir.path(), "mine.yaml", MINE);
        assert_eq!(names(&looks().expect("a file more")), ["Away"]);
        write(dir.path(), "mine.yaml", &MINE.replace("absent_for", "absentfor"));
        assert!(looks().is_none());
        assert!(book.problem().expect("said").contains("mine.yaml"), "{:?}", book.problem());
        assert!(book.open().is_err());
        write(dir.path(), "mine.yaml", MINE);
        assert!(looks().is_some());
        assert_eq!(book.problem(), None);
    }

    #[test]
    fn a_file_that_is_gone_for_a_moment_takes_no_rule_out_of_force() {
        let dir = tempfile::tempdir().expect("a directory");
        let remove = || Disk::remove(&host::SystemDisk, &dir.path().join("mine.yaml")).expect("removed");
        write(dir.path(), "mine.yaml", MINE);
        let book = book(dir.path(), false);
        book.open().expect("right");
        // As editors do: the file is put aside, and the new one written.
        remove();
        assert!(book.look().is_none());
        write(dir.path(), "mine.yaml", MINE);
        assert!(book.look().is_none() && book.look().is_none());
        remove();
        assert!(book.look().is_none());
        assert_eq!(names(&book.look().expect("gone for good")), [""; 0]);
    }

    #[test]
    fn a_directory_that_is_named_must_be_there() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(book(&dir.path().join("none"), true).open().is_err());
        let unnamed = Rulebook::new(&RuleSettings::default(), Arc::new(host::SystemDisk));
        assert!(unnamed.open().is_ok());
    }
}
