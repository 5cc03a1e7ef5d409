//! Rules at work in a server: those that raise alerts, those that act, and the watch over their files.
//!
//! Not here: any of the three. The law: both kinds come into force together, from one reading of the files.

use std::sync::Arc;

use anyhow::Context;
use host::Host;
use rules::RuleSet;
use tokio::task::JoinHandle;

use super::Rulebook;
use crate::own_health::OwnHealth;

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
    loop {
        let (raising, acting) = divided(book.changed().await);
        tracing::info!(alerts = raising.len(), actions = acting.len(), "other rules are in force");
        evaluation.replace(raising).await;
        if let Err(error) = sinks.replace(acting).await {
            tracing::error!(
                error = model::in_one_line(&error),
                "the actions of rules from before stay in force"
            );
        }
    }
}

fn divided(rules: RuleSet) -> (Vec<Arc<rules::Rule>>, Vec<Arc<rules::ActionRule>>) {
    (rules.alerts.into_iter().map(Arc::new).collect(), rules.actions)
}
