//! `godwit policy`: what devices may do. One file for each family of forms.

mod attach;
mod put;
mod show;
mod why;

pub(super) use put::read;

/// What `--help` says behind the flags.
const HELP: &str = r#"A policy is JSON in the form of AWS IoT: statements that allow or deny. A device that has none, itself or through its
groups or its certificate, is judged by the policy `default`; attached policies take its place. docs/policies.md has the
language, with examples.

Examples:
  godwit policy show default > own.json            # something to begin with
  godwit policy simulate own.json --device pump-1 publish dt/pump-1/flow
  godwit policy put own own.json
  godwit policy attach own --device pump-1         # at once, for live connections too
  godwit policy why pump-1 publish dt/pump-2/flow  # which statement decides
  godwit policy activate own 1                     # the version before"#;

/// The forms of `godwit policy`.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = HELP)]
pub(crate) enum Args {
    /// Put a policy, or a new version of it
    Put(put::Put),
    /// Let another version of a policy count
    Activate(put::Activate),
    /// Remove a policy that is attached to nothing
    Remove(put::Remove),
    /// Attach a policy to a device, a group or a certificate
    Attach(attach::Args),
    /// Detach a policy
    Detach(attach::Args),
    /// List policies, their versions and what they are attached to
    List(show::List),
    /// Print a policy
    Show(show::Show),
    /// Ask what a policy would decide, before it is put or attached
    Simulate(why::Simulate),
    /// Ask whether a device may do something, and which statement decides
    Why(why::Why),
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::Put(args) => put::put(args).await,
        Args::Activate(args) => put::activate(args).await,
        Args::Remove(args) => put::remove(args).await,
        Args::Attach(args) => attach::attach(args).await,
        Args::Detach(args) => attach::detach(args).await,
        Args::List(args) => show::list(args).await,
        Args::Show(args) => show::show(args).await,
        Args::Simulate(args) => why::simulate(args).await,
        Args::Why(args) => why::why(args).await,
    }
}
