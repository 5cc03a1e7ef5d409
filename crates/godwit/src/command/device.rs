//! `godwit device`: the devices that are known. One file for each form.

mod add;
mod certificate;
mod change;
mod export;
mod gateway;
mod import;
mod list;
mod show;
mod shown;

/// The forms of `godwit device`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Args {
    /// Add a device and give it a way to prove itself
    Add(add::Args),
    /// Its certificates: list, add, register, revoke, deactivate, activate
    #[command(subcommand)]
    Certificate(certificate::Args),
    /// Say which devices a gateway speaks for
    Gateway(gateway::Args),
    /// List devices
    List(list::Args),
    /// Show all that is known of one device
    Show(show::Args),
    /// Move a device to another group
    Move(change::Move),
    /// Set and remove attributes of a device
    Set(change::Set),
    /// Put a device in the place of another
    Replace(change::Replace),
    /// Remove a device; its readings stay
    Remove(change::Remove),
    /// Let a device do nothing but speak of its own condition
    Quarantine(change::Quarantine),
    /// End the quarantine of a device
    Release(change::Release),
    /// Clear the flags of a device: somebody has looked
    Clear(change::Clear),
    /// Add devices from a CSV file
    Import(import::Args),
    /// Write devices as CSV
    Export(export::Args),
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::Add(args) => add::run(args).await,
        Args::Certificate(args) => certificate::run(args).await,
        Args::Gateway(args) => gateway::run(args).await,
        Args::List(args) => list::run(args).await,
        Args::Show(args) => show::run(args).await,
        Args::Move(args) => change::r#move(args).await,
        Args::Set(args) => change::set(args).await,
        Args::Replace(args) => change::replace(args).await,
        Args::Remove(args) => change::remove(args).await,
        Args::Quarantine(args) => change::quarantine(args).await,
        Args::Release(args) => change::release(args).await,
        Args::Clear(args) => change::clear(args).await,
        Args::Import(args) => import::run(args).await,
        Args::Export(args) => export::run(args).await,
    }
}
