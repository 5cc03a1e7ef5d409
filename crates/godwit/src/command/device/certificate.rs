//! `godwit device certificate`: which certificates there are, and whether they may be used.

mod add;
mod change;
pub(super) mod files;
mod list;
mod register;

/// The forms of `godwit device certificate`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// List certificates, of one device or of all
    List(list::Args),
    /// Give a device a further certificate
    Add(add::Args),
    /// Register a certificate that was made elsewhere
    Register(register::Args),
    /// Take a certificate back for ever; its connections are cut at once
    Revoke(change::Args),
    /// Turn a certificate off; its connections are cut at once
    Deactivate(change::Args),
    /// Turn a certificate on
    Activate(change::Args),
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::List(args) => list::run(args).await,
        Args::Add(args) => add::run(args).await,
        Args::Register(args) => register::run(args).await,
        Args::Revoke(args) => change::run(args, "revoked").await,
        Args::Deactivate(args) => change::run(args, "inactive").await,
        Args::Activate(args) => change::run(args, "active").await,
    }
}
