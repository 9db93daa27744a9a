//! One replica of the control plane over a store's handle: the API server and its informers always, controllers
//! and scheduler while its member leads.
//!
//! A master's process and a simulation assemble it here, from values: handle, clock, certificates. It binds no
//! port: whoever holds it accepts connections ([`Server::serve`], [`Server::serve_stream`]).
//!
//! [`Server::serve`]: master_apiserver::Server::serve
//! [`Server::serve_stream`]: master_apiserver::Server::serve_stream

mod leader;
mod replica;

pub use replica::{Config, Replica};
