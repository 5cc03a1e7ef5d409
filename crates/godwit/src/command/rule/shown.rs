//! `godwit rule list` and `show`: the rules in force in a server, and every text that one has had.

use std::fmt::Write as _;

use reqwest::Method;

use super::say;
use crate::http::{ServerArgs, encoded};

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// Its name: what stands behind `alert:`
    name: String,
    /// Only this text: 16 hexadecimal digits, as `show` without it lists them. Put it back into the file to go back to it
    #[arg(long)]
    version: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn list(args: &List) -> anyhow::Result<()> {
    let found: api::Rules = args.server.find()?.json(Method::GET, "/api/v1/rules", None).await?;
    if args.json {
        return say(&format!("{}\n", serde_json::to_string(&found)?));
    }
    let mut text = format!(
        "{:<24} {:>8} {:>8} {:>8} {:>10} {:>8} {:>9}  {}\n",
        "rule", "keys", "pending", "firing", "samples", "late", "undefined", "file"
    );
    for rule in &found.rules {
        let _ = writeln!(
            text,
            "{:<24} {:>8} {:>8} {:>8} {:>10} {:>8} {:>9}  {}",
            rule.name,
            rule.keys,
            rule.pending,
            rule.firing,
            rule.samples,
            rule.late,
            rule.undefined,
            rule.file
        );
    }
    if let Some(problem) = &found.problem {
        let _ = writeln!(text, "Not all is in force as the files say now:\n{problem}");
    }
    if found.backlog > 0 {
        let _ = writeln!(text, "{} records wait to be judged", found.backlog);
    }
    say(&text)
}

pub(super) async fn show(args: &Show) -> anyhow::Result<()> {
    let path = format!("/api/v1/rules/{}", encoded(&args.name));
    let found: api::RuleHistory = args.server.find()?.json(Method::GET, &path, None).await?;
    if let Some(wanted) = &args.version {
        let version = found.versions.iter().find(|version| version.version == *wanted);
        let Some(version) = version else {
            anyhow::bail!(
                "`{}` never had a text {wanted}; `godwit rule show {0}` lists those it had",
                args.name
            );
        };
        return say(&format!("{}\n", version.text.trim_end()));
    }
    if args.json {
        return say(&format!("{}\n", serde_json::to_string(&found)?));
    }
    let mut text = String::new();
    match &found.rule {
        Some(rule) => {
            let _ = writeln!(
                text,
                "{} is in force: {} keys, {} pending, {} firing; {} samples, {} late, {} too late, {} undefined",
                rule.name,
                rule.keys,
                rule.pending,
                rule.firing,
                rule.samples,
                rule.late,
                rule.too_late,
                rule.undefined
            );
        }
        None => {
            let _ = writeln!(text, "{} is not in force", args.name);
        }
    }
    for version in &found.versions {
        let _ = writeln!(
            text,
            "\nversion {} from {} until {} at least, {}\n{}",
            version.version,
            version.first_at,
            version.last_at,
            version.file,
            version.text.trim_end()
        );
    }
    say(&text)
}
