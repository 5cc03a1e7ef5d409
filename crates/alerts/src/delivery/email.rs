//! Mail, by SMTP (RFC 5321) with STARTTLS (RFC 3207) or TLS from the first byte (RFC 8314).
//!
//! Not here: the queue. The laws: without TLS nothing is sent unless the configuration says `require_tls: false`; a password
//! goes over TLS or not at all; the same notice has the same `Message-ID`.

use std::time::{Duration, UNIX_EPOCH};

use lettre::address::Envelope;
use lettre::message::{Mailbox, header};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use model::Timestamp;

use super::{Failure, Letter, chain, text};
use crate::config::receiver::Email;

/// The port on which TLS begins with the first byte.
const SUBMISSIONS: u16 = 465;

pub(crate) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mailer {
    pub(crate) fn open(email: &Email, timeout: Duration) -> Result<Self, String> {
        let mailbox =
            |text: &String| text.parse::<Mailbox>().map_err(|_| format!("`{text}` is no mail address"));
        let (from, to) =
            (mailbox(&email.from)?, email.to.iter().map(mailbox).collect::<Result<Vec<_>, _>>()?);
        let is_wrapped = email.implicit_tls || email.port == SUBMISSIONS;
        let tls = if is_wrapped || email.require_tls {
            let mut parameters = TlsParameters::builder(email.host.clone());
            if let Some(pem) = &email.authority {
                let authority = Certificate::from_pem(pem).map_err(|error| chain(&error))?;
                parameters = parameters.add_root_certificate(authority);
            }
            let parameters = parameters.build().map_err(|error| chain(&error))?;
            if is_wrapped { Tls::Wrapper(parameters) } else { Tls::Required(parameters) }
        } else {
            if email.login.is_some() {
                return Err(
                    "a password would go over the network in the clear: set `require_tls: true`".to_owned()
                );
            }
            Tls::None
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(email.host.as_str())
            .port(email.port)
            .timeout(Some(timeout))
            .tls(tls);
        if let Some(hello) = &email.hello {
            transport = transport.hello_name(ClientId::Domain(hello.clone()));
        }
        if let Some((user, password)) = &email.login {
            transport = transport.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
        }
        Ok(Self { transport: transport.build(), from, to })
    }

    pub(crate) async fn send(&self, letter: &Letter<'_>) -> Result<(), Failure> {
        let message = self.message(letter).map_err(|error| Failure::for_good(chain(&error)))?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) => {
                // 530 to 539 speak of the login, which an operator may set right without touching the notice.
                let is_login = error.status().is_some_and(|code| code.to_string().starts_with("53"));
                let is_final = error.is_permanent() && !is_login;
                Err(Failure { text: chain(&error), is_final, after: None })
            }
        }
    }

    fn message(&self, letter: &Letter<'_>) -> Result<Message, lettre::error::Error> {
        let micros = u64::try_from(letter.made_at.micros()).unwrap_or_default();
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(text::title(letter.body))
            .date(UNIX_EPOCH + Duration::from_micros(micros))
            .message_id(Some(format!("<{}@{}>", letter.id, self.from.email.domain())))
            // Out-of-office answers to an alarm help nobody (RFC 3834).
            .raw_header(header::HeaderValue::new(
                header::HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let to = self.to.iter().map(|to| to.email.clone()).collect();
        let envelope = Envelope::new(Some(self.from.email.clone()), to)?;
        let mut body = text::lines(letter);
        body.push(String::new());
        body.push(format!("notice {}, made {}", letter.id, Timestamp::from_micros(letter.made_at.micros())));
        builder.envelope(envelope).header(header::ContentType::TEXT_PLAIN).body(body.join("\r\n"))
    }
}
