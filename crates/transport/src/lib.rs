//! Listening and dialling with TLS, mTLS or, when asked for, plaintext.
