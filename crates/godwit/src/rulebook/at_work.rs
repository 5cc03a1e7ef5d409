//! Rules at work in a server: those that raise alerts, those that act, and the watch over their files.
//!
//! Not here: any of the three. The laws: both kinds come into force together, from one reading of the files; what could not begin is said,
//! and tried again until it does.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use host::Host;
use rules::RuleSet;
use tokio::task::JoinHandle;

use super::Rulebook;
use crate::own_health::OwnHealth;

/// When it is tried again to put actions to work that could not begin.
const AGAIN: Duration = Duration::from_secs(5);

/// What is at work. [`Self::close`] ends it.
pub(crate) struct RulesAtWork {
    /// Judges samples.
    pub(crate) evaluation: alerts::Evaluation,
    /// Acts on messages.
    pub(crate) sinks: sinks::Sinks,
    tasks: [JoinHandle<()>; 2],
}

/// What they stand on.
pub(crate) struct Ground<'a> {
    pub(crate) book: Arc<Rulebook>,
    /// As the book was opened.
    pub(crate) rules: RuleSet,
    pub(crate) evaluate: alerts::EvaluateParts,
    pub(crate) sinks: sinks::Settings,
    pub(crate) aws: &'a identity::policy::AwsSettings,
    pub(crate) data: &'a std::path::Path,
}

impl RulesAtWork {
    pub(crate) async fn start(ground: Ground<'_>) -> anyhow::Result<Self> {
        let Ground { book, rules, evaluate, sinks, aws, data } = ground;
        let host: Host = evaluate.host.clone();
        let own = OwnHealth {
            data: data.to_owned(),
            host: host.clone(),
            journal: evaluate.journal.clone(),
            series: evaluate.series.clone(),
            identity: evaluate.identity.clone(),
        };
        let parts = sinks::Parts {
            catalog: evaluate.catalog.clone(),
            journal: evaluate.journal.clone(),
            host,
            routes: Arc::clone(&evaluate.routes),
            account_id: aws.account.clone(),
            settings: sinks,
        };
        let (raising, acting) = divided(rules);
        let evaluation =
            alerts::Evaluation::start(evaluate, raising).await.context("cannot start the rules")?;
        let sinks = sinks::Sinks::start(parts, acting).await.context("cannot start the actions of rules")?;
        let watching = tokio::spawn(watch(book, evaluation.clone(), sinks.clone()));
        Ok(Self { evaluation, sinks, tasks: [watching, tokio::spawn(own.say())] })
    }

    /// Stops, and stores where each is.
    pub(crate) async fn close(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.sinks.close().await;
        self.evaluation.close().await;
    }
}

/// Puts rules in force whenever their files change; until aborted.
async fn watch(book: Arc<Rulebook>, evaluation: alerts::Evaluation, sinks: sinks::Sinks) {
    let mut other = book.changed().await;
    loop {
        let (raising, acting) = divided(other);
        tracing::info!(alerts = raising.len(), actions = acting.len(), "other rules are in force");
        evaluation.replace(raising).await;
        other = put_to_work(&book, &sinks, &acting).await;
    }
}

/// Lets the actions of rules do what the rules in force say, as often as it takes. Gives the rules that come next.
async fn put_to_work(
    book: &Arc<Rulebook>,
    sinks: &sinks::Sinks,
    acting: &[Arc<rules::ActionRule>],
) -> RuleSet {
    let mut changed = pin!(book.changed());
    while let Err(error) = sinks.replace(acting.to_vec()).await {
        let error = model::in_one_line(&error);
        tracing::error!(error, "actions of the rules in force are not at work; it is tried again");
        book.note_idle(Some(format!("actions are not at work, and it is tried again: {error}")));
        tokio::select! {
            other = &mut changed => return other,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
    book.note_idle(None);
    changed.await
}

fn divided(rules: RuleSet) -> (Vec<Arc<rules::Rule>>, Vec<Arc<rules::ActionRule>>) {
    (rules.alerts.into_iter().map(Arc::new).collect(), rules.actions)
}
