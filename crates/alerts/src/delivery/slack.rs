//! What Slack and its like take: one text and an attachment per colour.
//!
//! Not here: the posting (`webhook`). The law: text from devices cannot make links, mentions or formats of its own.

use serde_json::{Value, json};

use super::{Letter, text};

/// Most characters of the attachment; Slack cuts beyond.
const TEXT_CHARACTERS_MAX: usize = 3_000;

pub(crate) fn document(letter: &Letter<'_>, channel: Option<&str>, username: Option<&str>) -> Value {
    let title = escaped(&text::title(letter.body));
    let lines = escaped(&text::lines(letter).join("\n"));
    let lines: String = lines.chars().take(TEXT_CHARACTERS_MAX).collect();
    let colour = if letter.body.firing > 0 { "danger" } else { "good" };
    let mut document = json!({
        "text": title,
        "attachments": [{ "fallback": title, "color": colour, "text": lines, "mrkdwn_in": [] }],
    });
    if let Some(channel) = channel {
        document["channel"] = channel.into();
    }
    if let Some(username) = username {
        document["username"] = username.into();
    }
    document
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
