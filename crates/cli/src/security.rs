//! TLS options, the same for every listener and client.

/// Defines the arguments of one listener; each option's name begins with `$prefix`.
macro_rules! server_arguments {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $env:literal) => {
        $(#[$doc])*
        #[derive(clap::Args)]
        pub(crate) struct $name {
            /// Serve without TLS.
            #[arg(id = concat!($prefix, "plaintext"), long = concat!($prefix, "plaintext"), env = concat!($env, "PLAINTEXT"))]
            plaintext: bool,
            /// Certificate chain, PEM; read again when it changes.
            #[arg(id = concat!($prefix, "tls-cert"), long = concat!($prefix, "tls-cert"), env = concat!($env, "TLS_CERT"), value_name = "FILE")]
            cert: Option<std::path::PathBuf>,
            /// The certificate's private key, PEM.
            #[arg(id = concat!($prefix, "tls-key"), long = concat!($prefix, "tls-key"), env = concat!($env, "TLS_KEY"), value_name = "FILE")]
            key: Option<std::path::PathBuf>,
            /// Clients must show a certificate signed by one of these (mTLS).
            #[arg(id = concat!($prefix, "tls-client-ca"), long = concat!($prefix, "tls-client-ca"), env = concat!($env, "TLS_CLIENT_CA"), value_name = "FILE")]
            client_ca: Option<std::path::PathBuf>,
        }

        impl $name {
            /// Reads the certificates.
            pub(crate) fn load(self) -> Result<rheostat_transport::ServerSecurity, rheostat_transport::SecurityError> {
                let Self { plaintext, cert, key, client_ca } = self;
                rheostat_transport::ServerOptions { prefix: $prefix, plaintext, cert, key, client_ca }.load()
            }
        }
    };
}

/// Defines the arguments of one client; each option's name begins with `$prefix`.
macro_rules! client_arguments {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $env:literal) => {
        $(#[$doc])*
        #[derive(clap::Args)]
        pub(crate) struct $name {
            /// Connect without TLS.
            #[arg(id = concat!($prefix, "plaintext"), long = concat!($prefix, "plaintext"), env = concat!($env, "PLAINTEXT"))]
            plaintext: bool,
            /// The server's certificate must be signed by one of these, PEM.
            #[arg(id = concat!($prefix, "tls-ca"), long = concat!($prefix, "tls-ca"), env = concat!($env, "TLS_CA"), value_name = "FILE")]
            ca: Option<std::path::PathBuf>,
            /// Certificate chain to show (mTLS), PEM; read again when it changes.
            #[arg(id = concat!($prefix, "tls-cert"), long = concat!($prefix, "tls-cert"), env = concat!($env, "TLS_CERT"), value_name = "FILE")]
            cert: Option<std::path::PathBuf>,
            /// Its private key, PEM.
            #[arg(id = concat!($prefix, "tls-key"), long = concat!($prefix, "tls-key"), env = concat!($env, "TLS_KEY"), value_name = "FILE")]
            key: Option<std::path::PathBuf>,
            /// The name in the server's certificate, where it is dialled by address.
            #[arg(id = concat!($prefix, "tls-server-name"), long = concat!($prefix, "tls-server-name"), env = concat!($env, "TLS_SERVER_NAME"), value_name = "NAME")]
            server_name: Option<String>,
        }

        impl $name {
            /// Reads the certificates.
            pub(crate) fn load(self) -> Result<rheostat_transport::ClientSecurity, rheostat_transport::SecurityError> {
                let Self { plaintext, ca, cert, key, server_name } = self;
                rheostat_transport::ClientOptions { prefix: $prefix, plaintext, ca, cert, key, server_name }.load()
            }
        }
    };
}

pub(crate) use {client_arguments, server_arguments};
