//! The client against servers that follow a script: late acknowledgements, lost connections, refusals.

mod connect;
mod publish;
mod server;
mod subscribe;
