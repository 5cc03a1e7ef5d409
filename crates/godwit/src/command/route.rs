//! `godwit route`: tries routes before devices do.
//!
//! `check` and `test` need no server: they read a settings file. `suggest` guesses a route, `unrouted` asks a server what
//! came without one.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use api::UnroutedPattern;
use host::{Clock as _, Disk as _, SystemClock, SystemDisk};
use model::{Keep, Message, Names, Origin, Qos, Routes, TopicName, unrouted};
use reqwest::Method;

use crate::fault::with_hint;
use crate::http::ServerArgs;
use crate::settings::Settings;

/// Largest payload that is read from a file: what a decoder takes.
const PAYLOAD_BYTES_MAX: u64 = model::limit::JSON_BYTES_MAX as u64;

/// What `--help` says behind the flags.
const HELP: &str = r#"Examples:
  godwit route check godwit.toml
  godwit route test godwit.toml --topic tele/plug-1/SENSOR --payload '{"ENERGY":{"Power":4}}'
  godwit route test godwit.toml --topic v3/app/devices/a/up --payload @up.json
  godwit route suggest --topic shellies/plug-1/power --payload 12.5
  godwit route unrouted > more-routes.toml"#;

/// Arguments.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = HELP)]
pub(crate) enum Args {
    /// Say whether the routes of a settings file are right, and list them in their order
    Check {
        /// The settings file
        file: PathBuf,
    },
    /// Show which route matches a message, and the readings that come of it
    Test {
        /// The settings file
        file: PathBuf,
        #[command(flatten)]
        message: MessageArgs,
        /// Who sends it: the device of routes that say `device = "connection"`
        #[arg(long, value_name = "NAME", default_value = "client")]
        client: String,
    },
    /// Suggest a route for such a message
    Suggest {
        #[command(flatten)]
        message: MessageArgs,
    },
    /// List what came without a route, with routes that would fit, as TOML
    Unrouted {
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// A message to try.
#[derive(Debug, clap::Args)]
pub(crate) struct MessageArgs {
    /// Its topic
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// Its payload; @FILE reads it from a file
    #[arg(long, value_name = "TEXT", default_value = "")]
    payload: String,
}

impl MessageArgs {
    fn payload(&self) -> anyhow::Result<Vec<u8>> {
        match self.payload.strip_prefix('@') {
            None => Ok(self.payload.clone().into_bytes()),
            Some(path) => SystemDisk
                .read(path.as_ref(), PAYLOAD_BYTES_MAX)
                .with_context(|| format!("cannot read the payload from `{path}`")),
        }
    }
}

/// Does it.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let text = match args {
        Args::Check { file } => check(&routes(&file)?),
        Args::Test { file, message, client } => test(&routes(&file)?, &message, &client)?,
        Args::Suggest { message } => {
            let topic = TopicName::parse(message.topic.clone())?;
            unrouted::suggest(&topic, &message.payload()?).toml
        }
        Args::Unrouted { server } => unrouted(&server).await?,
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

fn routes(file: &std::path::Path) -> anyhow::Result<Routes> {
    let settings = Settings::load(Some(file), &SystemDisk, std::iter::empty())?;
    Routes::new(&settings.route).map_err(|errors| {
        let error = anyhow::anyhow!("`{}` has routes that are not right:\n{errors}", file.display());
        with_hint(error, Some("routes are described in docs/settings.md"))
    })
}

fn check(routes: &Routes) -> String {
    let mut text = format!("{} routes, the first that matches wins:\n", routes.iter().len());
    for (nth, route) in (1..).zip(routes.iter()) {
        let kept = match route.keep() {
            Keep::All => "",
            Keep::Journal => ", kept in the journal alone",
            Keep::None => ", not kept",
        };
        let (filter, device, lane) = (route.filter(), route.device_rule(), route.lane().name());
        text += &format!("  {nth}. {filter}: device {device}, {:?}, {lane}{kept}\n", route.decoder());
    }
    text
}

fn test(routes: &Routes, args: &MessageArgs, client: &str) -> anyhow::Result<String> {
    let topic = TopicName::parse(args.topic.clone())?;
    let message = message(topic, args.payload()?, client);
    let Some((nth, route)) =
        (1..).zip(routes.iter()).find(|(_, route)| route.filter().matches(&message.topic))
    else {
        let suggestion = unrouted::suggest(&message.topic, &message.payload).toml;
        return Ok(format!("no route matches `{}`; this one would:\n{suggestion}", message.topic));
    };
    let mut text = format!("route {nth} matches: {}\n", route.filter());
    let decoded = route.decode(&message, &mut Names::new()).map_err(|error| {
        let hint = error.hint();
        with_hint(
            anyhow::Error::new(error).context(format!("route {nth} (`{}`) cannot decode it", route.filter())),
            hint,
        )
    })?;
    for sample in &decoded.samples {
        let flags: Vec<String> = sample.flags.iter_names().map(|(name, _)| name.to_lowercase()).collect();
        let flags = if flags.is_empty() { String::new() } else { format!("  ({})", flags.join(", ")) };
        text += &format!("device {} at {}{flags}\n", sample.device, sample.time);
        let width = sample.readings.iter().map(|reading| reading.channel.chars().count()).max().unwrap_or(0);
        for reading in &sample.readings {
            let value = match (reading.value.number(), reading.value.text()) {
                (_, Some(text)) => format!("{text:?}"),
                (Some(number), None) => number.to_string(),
                (None, None) => String::new(),
            };
            text += &format!("  {:<width$}  {value}\n", reading.channel.as_str());
        }
    }
    if decoded.samples.is_empty() {
        text += "no readings come of it\n";
    }
    for (note, _) in decoded.notes.iter_names() {
        text += &format!("note: {}\n", note.to_lowercase().replace('_', " "));
    }
    Ok(text)
}

fn message(topic: TopicName, payload: Vec<u8>, client: &str) -> Message {
    let origin = Origin { client_id: client.into(), ..Origin::inside(0) };
    // QoS 1: what such a client sends has an identity if its payload has one.
    let (qos, received_at) = (Qos::AtLeastOnce, SystemClock::start().now());
    Message { qos, received_at, ..Message::new(topic, payload, origin) }
}

async fn unrouted(server: &ServerArgs) -> anyhow::Result<String> {
    let found: api::Unrouted = server.find()?.json(Method::GET, "/api/v1/unrouted", None).await?;
    let mut text = format!("# {} messages came without a route; they are in the journal\n", found.count);
    for UnroutedPattern { pattern, count, sample, routed, suggestion } in found.patterns {
        // A payload is anybody's text: it must not end the remark it stands in.
        let shown: String = sample.payload.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        text += &format!(
            "\n# {count} on {pattern}, such as {} at {}: {shown}\n",
            sample.topic, sample.received_at
        );
        if routed {
            text += "# a route matches them by now: `godwit reprocess` brings them to life\n";
        } else {
            text += &suggestion;
        }
    }
    if found.count > 0 {
        text += "\n# then restart the server, and: godwit reprocess --since 7d\n";
    }
    Ok(text)
}
